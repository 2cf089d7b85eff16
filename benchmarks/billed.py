"""One exchange of a gateway in memory, and what its providers bill for it: what reconciliations are made of."""

import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from ainf.inference.outcome import Ending, Verdict
from ainf.simulator.books import Entry
from tests.gateway.world import Client, World

K = TypeVar("K")
P = TypeVar("P", bound=Any)

POLICIES: Final = ("delivered", "drain", "held")
"""How a provider bills an answer that is broken off."""
ANSWER: Final = "sim-text-english-tokens-60-pace-20ms"
MOMENTS_S: Final = (0.1, 1.1)
"""When an answer of 1.2 seconds is broken off."""
SETTINGS: Final = 'slice_tokens = 32\nmin_output_tokens = 4\nmetering = "configured"'
CAP_TOKENS: Final = (5, 50)
"""For how many tokens a cap leaves room that ends an answer."""
CAPPED: Final = "capped"
"""The account that has it."""
_USED_OF_CAPPED: Final = """
    SELECT coalesce(sum(s.settled_nusd + s.overrun_nusd), 0) FROM settlements AS s
    JOIN inferences AS i ON i.inference_id = s.inference_id WHERE i.account_id = 'acc_capped'
"""


class UnmatchedError(Exception):
    """The two books do not hold the same calls, or an exchange ended otherwise than it was made to."""


def billed(entry: Entry, rates: tuple[int, int]) -> int:
    """Return what a provider bills for a request; rates are nano-dollars of a token of input and of output."""
    input_rate, output_rate = rates
    return entry.billed_input_tokens * input_rate + entry.billed_output_tokens * output_rate


def entries_of(here: World, inference_id: str) -> list[Entry]:
    """Return what the providers were asked for an exchange, in order."""
    books = here.simulator.books.entries
    return [entry for entry in books if entry.headers.get("x-client-request-id") == inference_id]


def goes_on(policy: str) -> str:
    """Return what is added to the name of a simulated model that bills by a policy."""
    return "" if policy == "delivered" else "-bills-on"


async def leave_room(here: World, nusd: int) -> None:
    """Set the cap so that it leaves so much."""
    ((used,),) = await here.rows(_USED_OF_CAPPED)
    await here.set_cap(used + nusd, account=CAPPED)


async def run(here: World, client: Client, verdict: Verdict | None, after_s: float) -> str:
    """Run one exchange, and offer it a verdict, if there is one, so much later; return its id."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.run, client)
        if verdict is not None:
            await trio.sleep(after_s)
            for exchange in here.gateway.inflight:
                exchange.offer(verdict)
            if verdict.ending is Ending.CLIENT_DISCONNECTED:
                client.leave()
    ((inference_id,),) = await here.rows("SELECT max(inference_id) FROM inferences")
    return str(inference_id)


async def under_each_policy(
    reconcile: Callable[[Path, str, Sequence[K], random.Random], Awaitable[list[P]]],
    folder: Path,
    kinds: Sequence[K],
    seed: int,
) -> list[P]:
    """Reconcile exchanges of these kinds under every policy, one policy after the other."""
    rng = random.Random(seed)
    pairs: list[P] = []
    for policy in POLICIES:
        pairs += await reconcile(folder, policy, kinds, rng)
    return pairs


def by_kind(pairs: Iterable[P]) -> dict[tuple[str, str], list[P]]:
    """Return reconciled exchanges by policy and title of their kind, in the order in which these first came."""
    groups: dict[tuple[str, str], list[P]] = {}
    for pair in pairs:
        groups.setdefault((pair.policy, pair.kind.title), []).append(pair)
    return groups
