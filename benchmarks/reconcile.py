"""Our ledger beside the provider's books: what each exchange was charged, and what the provider bills for it.

    python -m benchmarks.reconcile [--repeats 5] [--seed 1]

Every ending, under every way to bill an abort, from a provider of every format, as a stream and as a whole answer; each
breaks off at a moment that the seed decides, in real English text. The gateway is whole, in memory, under a clock that
runs by itself, and so is the simulated provider, whose own books are the invoice: one that bills "delivered" stops when
the socket closes, the others go on to the end. What is settled by reported usage must agree to the nano-dollar; of what
we counted ourselves the difference is listed, exchange by exchange, and with it the two sums are the same. Exchanges
that call two models, one after or beside the other, follow in a table of their own (``benchmarks.reconcile_routed``).
"""

import argparse
import random
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import trio
import trio.testing

from ainf.inference.outcome import Ending, Verdict
from benchmarks import reconcile_routed
from benchmarks.billed import (
    ANSWER,
    CAP_TOKENS,
    CAPPED,
    MOMENTS_S,
    SETTINGS,
    UnmatchedError,
    billed,
    by_kind,
    entries_of,
    goes_on,
    leave_room,
    run,
    under_each_policy,
)
from tests.gateway.backends import FORMATS, INPUT_RATE, OUTPUT_RATE
from tests.gateway.holds import base_of
from tests.gateway.world import World, question, world

RATES: Final = (INPUT_RATE, OUTPUT_RATE)
_POSTED: Final = """
    SELECT sum(amount_nusd) FROM entries WHERE inference_id = ? AND kind IN ('settle', 'overrun', 'adjustment')
"""


@attrs.frozen
class Kind:
    """A way for an exchange to end."""

    ending: Ending
    stream: bool = True
    behaviour: str = ""
    """What the model does besides, as the simulator's names have it."""
    verdict: Verdict | None = None
    """What is offered at some moment of the answer."""
    is_capped: bool = False

    @property
    def title(self) -> str:
        """The ending, and whether a whole answer was asked for."""
        return self.ending if self.stream else f"{self.ending} (whole answer)"


KINDS: Final = (
    Kind(Ending.COMPLETED),
    Kind(Ending.COMPLETED, stream=False),
    Kind(Ending.CLIENT_DISCONNECTED, verdict=Verdict(Ending.CLIENT_DISCONNECTED)),
    Kind(Ending.CLIENT_DISCONNECTED, stream=False, verdict=Verdict(Ending.CLIENT_DISCONNECTED)),
    Kind(Ending.DEADLINE_EXCEEDED, verdict=Verdict(Ending.DEADLINE_EXCEEDED, "deadline_exceeded", "Late.")),
    Kind(Ending.TERMINATED, verdict=Verdict(Ending.TERMINATED, "killed", "Killed.")),
    Kind(Ending.SHUTDOWN, verdict=Verdict(Ending.SHUTDOWN, "shutting_down", "Down.")),
    Kind(Ending.INTERNAL_ERROR, verdict=Verdict(Ending.INTERNAL_ERROR, "internal_error", "A bug.")),
    Kind(Ending.SPEND_CAP_EXCEEDED, behaviour="-unlimited", is_capped=True),
    Kind(Ending.UPSTREAM_ERROR, behaviour="-reset-after-9"),
    Kind(Ending.UPSTREAM_ERROR, stream=False, behaviour="-reset-after-9"),
)


@attrs.frozen
class Pair:
    """One exchange in both books; nano-dollars."""

    inference_id: str
    policy: str
    kind: Kind
    evidence: str
    posted_nusd: int
    """Settled, overrun and adjustments."""
    billed_nusd: int

    @property
    def difference_nusd(self) -> int:
        """What the provider bills beyond what we charged; negative where we charged more."""
        return self.billed_nusd - self.posted_nusd

    @property
    def is_exact(self) -> bool:
        """Whether what is by reported usage is what the provider bills."""
        return self.evidence != "reported" or not self.difference_nusd


async def reconcile(folder: Path, policy: str, kinds: Sequence[Kind], rng: random.Random) -> list[Pair]:
    """Run these kinds of exchange, one after the other, and return each beside its bill.

    Raises:
        UnmatchedError: see there.
    """
    formats = [rng.choice(tuple(FORMATS)) for _ in kinds]
    models = [_model(policy, kind, format_) for kind, format_ in zip(kinds, formats, strict=True)]
    more = f'{SETTINGS}\naborted_billing = "{policy}"'
    async with world(folder, *dict.fromkeys(models), more=more) as here:
        await here.new_account(CAPPED)
        capped_key = await here.new_key(CAPPED, key_id="kcapped1")
        pairs = []
        for kind, model in zip(kinds, models, strict=True):
            asked = question(model, stream=kind.stream)
            client = here.client(asked)
            if kind.is_capped:
                await leave_room(here, await base_of(here, client) + rng.randint(*CAP_TOKENS) * OUTPUT_RATE)
                client = attrs.evolve(here, key=capped_key).client(asked)
            inference_id = await run(here, client, kind.verdict, rng.uniform(*MOMENTS_S))
            pairs.append(await _pair(here, policy, kind, inference_id))
        _check_all_matched(here, pairs)
    return pairs


def _model(policy: str, kind: Kind, format_: str) -> str:
    return f"{format_}/{ANSWER}{kind.behaviour}{goes_on(policy)}"


async def _pair(here: World, policy: str, kind: Kind, inference_id: str) -> Pair:
    receipt = await here.receipt(inference_id)
    if receipt["ending"] != kind.ending:
        raise UnmatchedError(f"{inference_id} ended as {receipt['ending']}, not as {kind.ending}")
    ((posted,),) = await here.rows(_POSTED, inference_id)
    amount = sum(billed(entry, RATES) for entry in entries_of(here, inference_id))
    return Pair(inference_id, policy, kind, receipt["evidence"], posted, amount)


def _check_all_matched(here: World, pairs: Iterable[Pair]) -> None:
    """Both books hold the same exchanges: every bill belongs to one."""
    total = sum(billed(entry, RATES) for entry in here.simulator.books.entries)
    matched = sum(pair.billed_nusd for pair in pairs)
    if total != matched:
        raise UnmatchedError(f"the provider bills {total} nano-dollars, and {matched} for what we know of")


async def reconcile_all(folder: Path, *, repeats: int, seed: int) -> list[Pair]:
    """Run every kind under every policy so many times; see ``reconcile``."""
    return await under_each_policy(reconcile, folder, KINDS * repeats, seed)


def table(pairs: Iterable[Pair]) -> str:
    """Return the differences by policy and ending, as Markdown."""
    head = [
        "| the provider bills an abort as | ending | exchanges | by reported usage | billed | charged | difference "
        "| largest | mean |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *(_row(*names, group) for names, group in by_kind(pairs).items())])


def _row(policy: str, title: str, group: Sequence[Pair]) -> str:
    bill, posted = sum(pair.billed_nusd for pair in group), sum(pair.posted_nusd for pair in group)
    largest = max((pair.difference_nusd for pair in group), key=abs)
    shares = [100 * pair.difference_nusd / pair.billed_nusd for pair in group if pair.billed_nusd]
    mean = f"{sum(shares) / len(shares):+.1f} %" if shares else "-"
    reported = sum(pair.evidence == "reported" for pair in group)
    cells: tuple[Any, ...] = (
        f"`{policy}`", f"`{title}`", len(group), reported, f"{bill:,}", f"{posted:,}", f"{bill - posted:+,}",
        f"{largest:+,}", mean,
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Print the table; exit with an error where reported usage does not agree to the nano-dollar."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reconcile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    async def reconciled() -> tuple[list[Pair], list[reconcile_routed.RoutedPair]]:
        repeats, seed = arguments.repeats, arguments.seed
        with tempfile.TemporaryDirectory() as folder:
            pairs = await reconcile_all(Path(folder), repeats=repeats, seed=seed)
            return pairs, await reconcile_routed.reconcile_all(Path(folder), repeats=repeats, seed=seed)

    pairs, routed = trio.run(reconciled, clock=trio.testing.MockClock(autojump_threshold=0))
    print(table(pairs), reconcile_routed.table(routed), sep="\n\n")
    wrong = [pair.inference_id for pair in (*pairs, *routed) if not pair.is_exact]
    if wrong:
        raise SystemExit(f"Reported usage was not settled at what is billed: {', '.join(wrong)}.")
    listed = [pair for pair in (*pairs, *routed) if pair.difference_nusd]
    print(f"\n{len(pairs)} exchanges of one model, {len(routed)} of a target of two;", end=" ")
    print(f"{len(listed)} differ from their bills, in what was counted by ourselves.")


if __name__ == "__main__":
    main()
