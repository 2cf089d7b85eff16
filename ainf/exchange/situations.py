"""The settlement rule worked out: every ending in every situation under every way to bill an abort, by one example.

docs/settlement.md shows the table; each of its cases is also run through a whole gateway and must cost the same there.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import attrs

from ainf.exchange.rule import OURS, Known, Reckoning, reads_on, reckon
from ainf.inference.money import format_usd
from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.pricing import Price


class Situation(StrEnum):
    """What the provider has let us know."""

    NO_HEAD = "no 200 head"
    SENT = "sent whole, no head yet"
    NO_USAGE = "a head, no usage"
    INPUT_ONLY = "a head, usage of the input alone"
    REPORTED = "its end, with usage"
    REJECTED = "its end, with usage that cannot be true"


class Abort(StrEnum):
    """How an attempt that we broke off was reckoned."""

    NONE = "it had ended itself"
    DELIVERED = "`delivered`"
    NOT_READ = "`drain`, not read on"
    READ_CUT = "`drain`, cut by a limit"
    READ_OUT = "`drain`, read to its end"
    HELD = "`held`"


_PRICE: Final = Price(input=1_000_000_000, cached_input=500_000_000, output=2_000_000_000, reasoning=2_000_000_000)


@attrs.frozen
class Example:
    """The numbers of the example, in tokens: the provider would write ``whole``, as we count it."""

    price: Price = _PRICE
    estimated_input: int = 10
    reported_input: int = 7
    reported_output: int = 33
    whole: int = 30
    arrived: int = 12
    """When our ending came."""
    read_until: int = 20
    """When a limit cut the reading on."""
    held: int = 40
    fitting: int = 12
    """What a cap left room for, where one ends the answer; the provider goes on past it by one token before we cut."""


EXAMPLE: Final = Example()


@attrs.frozen
class Case:
    """One row: an ending in a situation."""

    ending: Ending
    situation: Situation
    abort: Abort
    code: str | None = None

    @property
    def policy(self) -> str:
        """The setting ``aborted_billing`` under which it comes to this."""
        match self.abort:
            case Abort.HELD:
                return "held"
            case Abort.NONE | Abort.DELIVERED:
                return "delivered"
            case _:
                return "drain"

    @property
    def is_over(self) -> bool:
        """Whether the provider's own end had come when it was settled."""
        has_its_end = self.situation in {Situation.REPORTED, Situation.REJECTED}
        return has_its_end or self.abort is Abort.READ_OUT or (self.abort is Abort.NONE and self.ending not in _FAILED)

    @property
    def is_capped(self) -> bool:
        """Whether it was ended for money: then its hold is smaller."""
        return self.ending is Ending.SPEND_CAP_EXCEEDED

    @property
    def came(self) -> int:
        """The output tokens that had come in the end, by our count."""
        if self.situation in _HEADLESS:
            return 0
        if self.is_over:
            return EXAMPLE.fitting if self.is_capped and self.abort is Abort.NONE else EXAMPLE.whole
        if self.abort is Abort.READ_CUT:
            return EXAMPLE.read_until
        return EXAMPLE.fitting + 1 if self.is_capped else EXAMPLE.arrived

    @property
    def reported_output(self) -> int:
        """The output that the provider reports at its end."""
        return EXAMPLE.fitting if self.is_capped and self.abort is Abort.NONE else EXAMPLE.reported_output

    def known(self) -> Known:
        """Return what is known at the end."""
        held = EXAMPLE.fitting if self.is_capped else EXAMPLE.held
        told = {
            Situation.INPUT_ONLY: Usage(input_tokens=EXAMPLE.reported_input, output_tokens=1),
            Situation.REPORTED: Usage(input_tokens=EXAMPLE.reported_input, output_tokens=self.reported_output),
        }
        return Known(
            ending=self.ending,
            aborted_billing=_RECKONED_AS[self.abort],
            has_head=self.situation not in _HEADLESS,
            may_answer=self.situation is Situation.SENT,
            has_end=self.is_over,
            reported=told.get(self.situation),
            is_output_counted=self.situation is not Situation.INPUT_ONLY,
            is_usage_rejected=self.situation is Situation.REJECTED,
            input_tokens=EXAMPLE.estimated_input,
            output_tokens=self.came,
            paid_tokens=min(self.came, held),
            held_tokens=held,
            held_nusd=(2 * EXAMPLE.estimated_input * EXAMPLE.price.input + held * EXAMPLE.price.output) // 1_000_000,
            price=EXAMPLE.price,
        )

    def reckoning(self) -> Reckoning:
        """Return what the rule makes of it."""
        return reckon(self.known())

    @property
    def title(self) -> str:
        """The ending, as the table has it."""
        name = f"`{self.ending}`"
        if self.is_capped:
            return f"{name} ({'the clamp was reached' if self.abort is Abort.NONE else 'cut'})"
        return name if self.code is None else f"{name} ({self.code})"


_FAILED: Final = frozenset({Ending.UPSTREAM_ERROR})
_RECKONED_AS: Final = {
    Abort.NONE: None,
    Abort.DELIVERED: "delivered",
    Abort.NOT_READ: "delivered",
    Abort.READ_CUT: "drain",
    Abort.READ_OUT: "drain",
    Abort.HELD: "held",
}
_HEADLESS: Final = frozenset({Situation.NO_HEAD, Situation.SENT})
_UNFINISHED: Final = (Situation.NO_HEAD, Situation.NO_USAGE, Situation.INPUT_ONLY)
_ANSWERED: Final = tuple(situation for situation in Situation if situation not in _HEADLESS)


def cases() -> Iterator[Case]:
    """Yield every case that there can be."""
    for ending in (Ending.COMPLETED, Ending.SPEND_CAP_EXCEEDED):
        yield from (Case(ending, situation, Abort.NONE) for situation in _ANSWERED)
    yield from (Case(Ending.UPSTREAM_ERROR, situation, Abort.NONE) for situation in _UNFINISHED)
    for ending in Ending:
        if ending is Ending.TERMINATED:
            for code in ("key_revoked", "killed", "store_unavailable"):
                yield from _broken_off(ending, code)
        elif ending in OURS:
            yield from _broken_off(ending, None)


def _broken_off(ending: Ending, code: str | None) -> Iterator[Case]:
    for abort in Abort:
        if abort is Abort.NONE:
            continue
        for situation in Situation:
            if _can_be(ending, code, abort, situation):
                yield Case(ending, situation, abort, code)


def _can_be(ending: Ending, code: str | None, abort: Abort, situation: Situation) -> bool:
    if ending is Ending.SPEND_CAP_EXCEEDED and situation in _HEADLESS:
        return False  # nothing has come that could use the hold up
    match abort:
        case Abort.DELIVERED | Abort.HELD:
            return True
        case Abort.NOT_READ:
            # Nothing is read on before the provider has the whole request.
            return situation is Situation.NO_HEAD or not reads_on(ending, code)
        case Abort.READ_OUT:
            return situation not in _HEADLESS and reads_on(ending, code)
        case _:
            has_no_end = situation in {Situation.SENT, Situation.NO_USAGE, Situation.INPUT_ONLY}
            return has_no_end and reads_on(ending, code)


def document() -> str:
    """Return the table as Markdown (docs/settlement.md)."""
    head = [
        "| the provider let us know | the abort | endings | input tokens | output tokens | amount | evidence |",
        "|---|---|---|---|---|---|---|",
    ]
    rows: dict[tuple[str, ...], list[str]] = {}
    for case in sorted(cases(), key=_order):
        rows.setdefault(_cells(case), []).append(case.title)
    lines = [
        f"| {known} | {abort} | {', '.join(dict.fromkeys(endings))} | {' | '.join(numbers)} |"
        for (known, abort, *numbers), endings in rows.items()
    ]
    return "\n".join([*head, *lines])


def _order(case: Case) -> tuple[int, int]:
    return tuple(Situation).index(case.situation), tuple(Abort).index(case.abort)


def _cells(case: Case) -> tuple[str, ...]:
    reckoning = case.reckoning()
    usage, known = reckoning.usage, case.known()
    if not reckoning.cost_nusd:
        words = ("0", "0")
    elif reckoning.evidence is Evidence.REPORTED:
        words = (f"{usage.input_tokens} reported", f"{usage.output_tokens} reported")
    else:
        source = "estimated" if known.reported is None else "reported"
        words = (f"{usage.input_tokens} {source}", f"{usage.output_tokens} {_output_word(case, usage.output_tokens)}")
    amount = f"{reckoning.cost_nusd:,} ({format_usd(reckoning.cost_nusd)} USD)"
    return (case.situation, case.abort, *words, amount, reckoning.evidence)


def _output_word(case: Case, tokens: int) -> str:
    if case.abort is Abort.HELD and tokens > case.came:
        return "held"
    return "counted" if tokens == case.came else "counted, inside the hold"
