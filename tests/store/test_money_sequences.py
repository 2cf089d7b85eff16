"""The property of the money: whatever happens, in whatever order, every counter, hold and verdict is the model's.

Each sequence has a number; ``AINF_SEED=<number>`` begins with that one. What fails is told cut down to the steps that
it takes.
"""

from collections import Counter
from collections.abc import Sequence

import pytest

from tests.extent import FULL, SEED
from tests.store.money_player import Player
from tests.store.money_script import Step, random_script, shrunk

SEQUENCES = 10_000 if FULL else 1_000
BATCHES = 10

KINDS = {
    "opened", "opened under caps", "opened with a clamp", "refused by a cap", "refused by a balance",
    "refused: key not valid", "refused: closed", "extension granted", "extension granted in part", "extension refused",
    "settled", "settled with overrun", "adjusted", "recovered", "caps set over what runs", "caps set over a past",
    "later attempts", "later attempts refused", "later attempts under other caps", "hedges", "holds shrunk",
    "holds shrunk to nothing", "holds grown", "settled with several attempts", "recovered with several attempts",
    "fell back", "rejected",
}  # fmt: skip
"""What must come about in every batch, or the sequences say little."""

pytestmark = pytest.mark.law


def fault(steps: Sequence[Step]) -> Exception | None:
    """Play a sequence; return what went wrong."""
    try:
        Player().play(steps)
    except Exception as error:  # noqa: BLE001 - whatever the store does wrong is what is looked for
        return error
    return None


def report(seed: int) -> str:
    """Tell the shortest part of a sequence that still fails."""
    whole = random_script(seed)
    kind = type(fault(whole))
    steps = shrunk(whole, lambda part: type(fault(part)) is kind)
    lines = [f"again: AINF_SEED={seed} python -m pytest {__file__}", *map(str, steps), repr(fault(steps))]
    return "\n".join(lines)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_the_store_agrees_with_the_model(batch, count_cases, tell):
    """Counters in every window, holds, refusals, clamps and grants are right after every commit, and all verifies."""
    size = SEQUENCES // BATCHES
    seen: Counter[str] = Counter()
    for seed in range(SEED + batch * size, SEED + (batch + 1) * size):
        player = Player()
        try:
            player.play(random_script(seed))
        except Exception:  # noqa: BLE001 - told in full, cut down
            pytest.fail(report(seed))
        seen += player.seen
    assert set(seen) == KINDS
    assert all(seen[kind] >= size // 25 for kind in KINDS), seen
    count_cases("sequences of what happens to money", size)
    if not batch:
        told = ", ".join(f"{kind} {count:,}" for kind, count in sorted(seen.items()))
        tell(f"sequences of what happens to money: from seed {SEED}; in the first {size}: {told}")
