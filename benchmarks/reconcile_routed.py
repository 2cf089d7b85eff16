"""Our ledger beside the books of two providers: exchanges that fall back, and those asked of two models at once.

``benchmarks.reconcile`` runs this too. Each exchange is of a target of two models, at providers of different formats,
of which the second costs more; each of its attempts is laid beside what its own provider bills for it.
"""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import attrs

from ainf.inference.outcome import Ending, Verdict
from ainf.routing.observed import LEAST_LATENCIES
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
from tests.gateway.backends import FORMATS
from tests.gateway.candidates import LIMITS, Candidate, name_of, target_text
from tests.gateway.holds import base_of
from tests.gateway.world import Client, World, question, world

RATES: Final = ((1000, 2000), (1500, 3000))
"""Of the first model and of the second."""
_FRAME: Final = "sim-text-english-tokens-60-per-frame-60"
"""An answer whose head comes long before its content."""
_USUAL_MS: Final = 200
"""How soon the first model is known to begin."""
_ROUTING: Final = "[routing]\nhedging = true\nbreaker_failures = 1000000\n"
_LEFT: Final = Verdict(Ending.CLIENT_DISCONNECTED)
_ATTEMPTS: Final = """
    SELECT a.evidence, sum(e.amount_nusd) FROM attempts AS a
    JOIN entries AS e ON e.inference_id = a.inference_id AND e.attempt = a.number
        AND e.kind IN ('settle', 'overrun', 'adjustment')
    WHERE a.inference_id = ? GROUP BY a.number, a.evidence ORDER BY a.number
"""


@attrs.frozen
class Kind:
    """What befalls a routed exchange."""

    title: str
    first: str
    """What the first model does, as the simulator's names have it."""
    second: str = ANSWER
    ending: Ending = Ending.COMPLETED
    stream: bool = True
    loser: int | None = None
    """The first is late, so that the second is asked beside it, where both bill what they delivered: who loses then."""
    loser_has_head: bool = False
    """Whether it had taken the request on by then."""
    verdict: Verdict | None = None
    """What is offered at some moment of the second's answer."""
    is_capped: bool = False
    format: str | None = None
    """The wire format of the first model's provider, where others tell that it thinks; None: any."""

    def attempts(self, policy: str) -> int:
        """Return how many models are asked."""
        return 1 if self.loser is not None and policy != "delivered" else 2


KINDS: Final = (
    Kind("refused, by a status 500", f"{ANSWER}-error-500"),
    Kind("reset before the head", f"{ANSWER}-reset-before-head"),
    Kind("silent before the head", f"{ANSWER}-delay-9s"),
    Kind("over behind the head", f"{ANSWER}-eof-after-head"),
    Kind("in error at once", f"{ANSWER}-error-first"),
    Kind("silent behind the head", f"{_FRAME}-pace-200ms"),
    Kind("reset while thinking unseen", "sim-hidden-reasoning-40-pace-20ms-reset-after-25", format="chat"),
    Kind("reset within its whole answer", f"{ANSWER}-reset-after-9", stream=False),
    Kind("in error as a whole answer", f"{ANSWER}-error-after-9", stream=False),
    Kind(
        "over behind the head, like the second", f"{ANSWER}-eof-after-head", "sim-eof-after-head",
        Ending.UPSTREAM_ERROR,
    ),
    Kind("refused; then the client leaves", f"{ANSWER}-error-500", ending=_LEFT.ending, verdict=_LEFT),
    Kind(
        "refused; then a cap ends it", f"{ANSWER}-error-500", f"{ANSWER}-unlimited", Ending.SPEND_CAP_EXCEEDED,
        is_capped=True,
    ),
    Kind("late, yet before the second's head", f"{ANSWER}-delay-400ms", f"{ANSWER}-delay-5s", loser=2),
    Kind(
        "late, yet before the second's content", f"{ANSWER}-delay-400ms", f"{_FRAME}-pace-20ms", loser=2,
        loser_has_head=True,
    ),
    Kind("too late, without a head", f"{ANSWER}-delay-3s", loser=1),
    Kind("too late, with a head", f"{_FRAME}-pace-40ms", loser=1, loser_has_head=True),
    Kind("too late, thinking unseen", "sim-hidden-reasoning-60-pace-40ms", loser=1, loser_has_head=True, format="chat"),
)  # fmt: skip


@attrs.frozen
class Part:
    """One attempt in both books; nano-dollars."""

    evidence: str
    posted_nusd: int
    billed_nusd: int

    @property
    def difference_nusd(self) -> int:
        """What the provider bills beyond what we charged; negative where we charged more."""
        return self.billed_nusd - self.posted_nusd


@attrs.frozen
class RoutedPair:
    """One exchange in our books and in those of the providers that it called."""

    inference_id: str
    policy: str
    kind: Kind
    parts: tuple[Part, ...]
    """Its attempts."""

    @property
    def difference_nusd(self) -> int:
        """As of a part."""
        return sum(part.difference_nusd for part in self.parts)

    @property
    def is_exact(self) -> bool:
        """Whether what is by reported usage is what its provider bills."""
        return not any(part.evidence == "reported" and part.difference_nusd for part in self.parts)


async def reconcile(folder: Path, policy: str, kinds: Sequence[Kind], rng: random.Random) -> list[RoutedPair]:
    """Run these kinds of exchange, one after the other, and return each beside its bills.

    Raises:
        UnmatchedError: see there.
    """
    formats = [_formats(kind, rng) for kind in kinds]
    targets = "".join(
        _target_text(_name(number), policy, kind, pair)
        for number, (kind, pair) in enumerate(zip(kinds, formats, strict=True))
    )
    async with world(folder, limits=LIMITS, after=_ROUTING + targets) as here:
        await here.new_account(CAPPED)
        capped_key = await here.new_key(CAPPED, key_id="kcapped1")
        pairs = []
        for number, (kind, (first, _)) in enumerate(zip(kinds, formats, strict=True)):
            client = here.client(question(_name(number), stream=kind.stream))
            if kind.loser is not None:
                _expect_soon(here, FORMATS[first][0], name_of(_name(number), 1))
            if kind.is_capped:
                client = await _capped(here, capped_key, _name(number), rng.randint(*CAP_TOKENS))
            inference_id = await run(here, client, kind.verdict, rng.uniform(*MOMENTS_S))
            pairs.append(await _pair(here, policy, kind, inference_id))
        _check_all_matched(here, pairs)
    return pairs


def _formats(kind: Kind, rng: random.Random) -> tuple[str, str]:
    """Draw the formats of the two providers."""
    first = kind.format or rng.choice(tuple(FORMATS))
    return first, rng.choice([each for each in FORMATS if each != first])


def _name(number: int) -> str:
    """Return the name of a target, which is as long as those of its models."""
    return f"kind-{number:04d}-0"


def _target_text(name: str, policy: str, kind: Kind, formats: tuple[str, str]) -> str:
    """Return the tables of a target of two models."""
    candidates = []
    for behaviour, format_, (input_rate, output_rate) in zip((kind.first, kind.second), formats, RATES, strict=True):
        price = f'price = {{ input = "{input_rate / 1000}", output = "{output_rate / 1000}" }}'
        more = f'{SETTINGS}\naborted_billing = "{policy}"\n{price}'
        candidates.append(Candidate(behaviour + goes_on(policy), format_, more=more))
    return target_text(*candidates, name=name)


def _expect_soon(here: World, provider: str, model: str) -> None:
    """Let it be known how soon a model usually begins."""
    for _ in range(LEAST_LATENCIES):
        here.gateway.services.health.observed(provider, model).note_latency(_USUAL_MS)


async def _capped(here: World, key: str, name: str, tokens: int) -> Client:
    """Return a client whose cap leaves room for the second model's input, and some of its output."""
    base = await base_of(here, here.client(question(name_of(name, 2))))
    await leave_room(here, base + tokens * RATES[1][1])
    return attrs.evolve(here, key=key).client(question(name))


async def _pair(here: World, policy: str, kind: Kind, inference_id: str) -> RoutedPair:
    receipt = await here.receipt(inference_id)
    if receipt["ending"] != kind.ending:
        raise UnmatchedError(f"{inference_id} ({kind.title}) ended as {receipt['ending']}, not as {kind.ending}")
    posted, called = await here.rows(_ATTEMPTS, inference_id), entries_of(here, inference_id)
    if not kind.attempts(policy) == len(posted) == len(called):
        raise UnmatchedError(f"{inference_id} ({kind.title}) has {len(posted)} attempts, of {len(called)} calls")
    parts = [
        Part(evidence, amount, billed(entry, rates))
        for (evidence, amount), entry, rates in zip(posted, called, RATES, strict=False)  # it may have but one
    ]
    return RoutedPair(inference_id, policy, kind, tuple(parts))


def _check_all_matched(here: World, pairs: Iterable[RoutedPair]) -> None:
    """Every bill belongs to an exchange."""
    known = {pair.inference_id for pair in pairs}
    for entry in here.simulator.books.entries:
        amount = entry.billed_input_tokens + entry.billed_output_tokens
        if amount and entry.headers.get("x-client-request-id") not in known:
            raise UnmatchedError(f"a provider bills {amount} tokens that we do not know of")


async def reconcile_all(folder: Path, *, repeats: int, seed: int) -> list[RoutedPair]:
    """Run every kind under every policy so many times; see ``reconcile``."""
    return await under_each_policy(reconcile, folder, KINDS * repeats, seed)


def table(pairs: Iterable[RoutedPair]) -> str:
    """Return the differences by policy and kind, as Markdown."""
    head = [
        "| the providers bill an abort as | the first model is | asked | exchanges | the first bills | charged"
        " | the second bills | charged | difference | largest |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *(_row(*names, group) for names, group in by_kind(pairs).items())])


def _row(policy: str, title: str, group: Sequence[RoutedPair]) -> str:
    cells = [f"`{policy}`", title, str(group[0].kind.attempts(policy)), str(len(group))]
    for number in range(len(RATES)):
        parts = [pair.parts[number] for pair in group if number < len(pair.parts)]
        cells += [f"{sum(part.billed_nusd for part in parts):,}", f"{sum(part.posted_nusd for part in parts):,}"]
    largest = max((pair.difference_nusd for pair in group), key=abs)
    cells += [f"{sum(pair.difference_nusd for pair in group):+,}", f"{largest:+,}"]
    return f"| {' | '.join(cells)} |"
