"""kill -9 at random moments, in the middle of many requests that fall back and are hedged.

An attempt that was told as ended is settled at its cost, the one that answered at its last durable progress, and every
other one at its estimated input, for it may have been called; each on the caps of its own model.
"""

import pytest
import trio

from tests.extent import FULL, SEED
from tests.gateway.live import unwrapped
from tests.gateway.lives import lives

MOMENTS, AGENTS, CLIENTS_OF_EACH = (60, 10, 15) if FULL else (2, 6, 10)
ANSWERS_OF_EACH = 40 * MOMENTS
CALLS = 80
"""Of a life: before so many it is not killed."""


@pytest.mark.law
async def test_what_a_kill_leaves_of_routed_requests_is_settled_by_attempt(tmp_path, tell, count_cases):
    """Killed at random moments: every call was durable before it was made, each attempt is settled by its own rule."""
    tell(f"routed, and killed: AINF_SEED={SEED}")
    with trio.fail_after(60 + 15 * MOMENTS), unwrapped():
        async with lives(tmp_path, str(SEED), agents=AGENTS, answers_of_each=ANSWERS_OF_EACH) as here:
            for _ in range(MOMENTS):
                moment = here.chance.uniform(0, 1.5 if FULL else 0.5)
                await here.die_at(moment, AGENTS * CLIENTS_OF_EACH, calls=CALLS)
                if here.deaths <= 12:
                    tell(f"killed {moment:.2f} s later: attempts left: {dict(here.left.kinds)}")
            await here.end()
    count_cases("kills", MOMENTS)
    seen = here.settled_by_recovery
    assert len(seen) > len({inference_id for inference_id, _ in seen}), "some had called several models"
