"""Routed exchanges in the books: decided as the gateway decides, and written with the store's own operations."""

from typing import Any, Final

import attrs

from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.metering import MeterRatios
from ainf.pricing import Price, cost
from ainf.routing.decision import Decision, Need, Seen, decide
from ainf.routing.hint import NO_HINT, Hint
from ainf.routing.outcome import RoutingStatus
from ainf.routing.ruleset import Quality, RatedModel, Rules, Ruleset
from ainf.store.base import (
    AttemptOpening,
    AttemptPlan,
    AttemptResult,
    Closing,
    EndedAttempt,
    RoutingRecord,
    Settlement,
    Unrouted,
)
from ainf.store.exchanges import open_attempt, open_inference
from ainf.store.routing import note_unrouted
from ainf.store.settling import close_inference
from tests.store import records
from tests.store.books import Books

USAGE: Final = Usage(input_tokens=1000, output_tokens=100)


def _price(dollars: int) -> Price:
    """So many dollars per million tokens of input, four times as many of output."""
    rate = dollars * 1_000_000_000
    return Price(input=rate, cached_input=rate, output=4 * rate, reasoning=4 * rate)


PRICES: Final = {"weak": _price(1), "small": _price(2), "large": _price(8), "secret": _price(9)}
_QUALITIES: Final = {
    "weak": Quality(300), "small": Quality(600, (("code", 400),)), "large": Quality(900), "secret": Quality(950),
}  # fmt: skip


def _rated(name: str) -> RatedModel:
    return RatedModel(
        name=name,
        provider=f"{name}-vendor",
        quality=_QUALITIES[name],
        context_tokens=None,
        attachments=frozenset(),
        tools=name != "small",
        streams=True,
        max_output_tokens=4096,
        latency_ms=250 if name == "small" else None,
    )


def ruleset(*, learning: bool = False) -> Ruleset:
    """Return what the target "fleet" of four models decides by."""
    return Ruleset("fleet", 500, tuple(map(_rated, PRICES)), Rules(learning=learning))


RULESET: Final = ruleset()


def decision(hint: Hint = NO_HINT, *, requested: str = "fleet", has_tools: bool = False, **seen: Any) -> Decision:
    """Return what is decided for a key that may not use "secret"; ``seen`` are facts of models at this moment."""
    ratios = MeterRatios(mean=4000, low=2000)
    return decide(
        ruleset(learning=any("quality" in facts for facts in seen.values())),
        Need(input_bytes=4000, has_tools=has_tools),
        hint,
        {name: Seen(price, ratios, **seen.get(name, {})) for name, price in PRICES.items() if name != "secret"},
        requested=requested,
    )


def record(decided: Decision) -> RoutingRecord:
    """Return a decision as the gateway hands it to the store."""
    rules = decided.ruleset
    return RoutingRecord(rules.target, rules.hash, rules.body, decided.record(), decided.prices)


def plan(name: str) -> AttemptPlan:
    return AttemptPlan(name, f"{name}-2026", f"{name}-vendor", PRICES[name])


def line(name: str, at: int, *, usage: Usage = USAGE, **changes: Any) -> AttemptResult:
    """Return the line of an attempt that took 1.5 s, at its price."""
    return attrs.evolve(
        records.closing().attempts[0],
        model=name,
        upstream_model=f"{name}-2026",
        provider=f"{name}-vendor",
        price_version=PRICES[name].version,
        started_at=at,
        ended_at=at + 1_500_000,
        usage=usage,
        cost_nusd=cost(PRICES[name], usage),
        **changes,
    )


class Routed:
    """Routed exchanges of one key, beside whatever else is in the books."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.account = books.account("agents")
        self.key = books.key("agents")

    def open(self, decided: Decision) -> str:
        """Open an exchange at the best candidate."""
        opening = records.opening(
            inference_id=self.books.new_id("inf"),
            at=self.books.tick(),
            key_id=self.key,
            requested_model=decided.requested,
            attempt=plan(decided.ranked[0]),
            routing=record(decided),
        )
        self.books.run(open_inference, opening)
        return opening.inference_id

    def open_later(self, inference_id: str, number: int, name: str, *ended: EndedAttempt) -> None:
        """Open another attempt of it."""
        opening = AttemptOpening(inference_id, self.books.tick(), number, plan(name), records.ASK, 11, ended)
        self.books.run(open_attempt, opening)

    def close(self, inference_id: str, *names: str, **changes: Any) -> Settlement:
        """Close it; where there are several attempts, all but the last failed and cost nothing."""
        at = self.books.tick()
        failed = [
            line(name, at, usage=Usage(), status=500, error_code="upstream_error", evidence=Evidence.METERED)
            for name in names[:-1]
        ]
        lines = (*failed, line(names[-1], at))
        charges = tuple(one.cost_nusd for one in lines)
        closing = Closing(
            inference_id=inference_id,
            at=at,
            ending=Ending.COMPLETED,
            error_code=None,
            finish_reason="stop",
            usage=sum((one.usage for one in lines), Usage()),
            evidence=Evidence.REPORTED,
            cost_nusd=sum(charges),
            charges=charges,
            output_bytes=400,
            received_bytes=400,
            attempts=lines,
            first_byte_us=123_456,
        )
        settlement: Settlement = self.books.run(close_inference, attrs.evolve(closing, **changes))
        return settlement

    def answered(self, decided: Decision | None = None) -> str:
        """Open and close an exchange that the first candidate answered."""
        decided = decided or decision()
        inference_id = self.open(decided)
        self.close(inference_id, decided.ranked[0])
        return inference_id

    def fallen_back(self) -> str:
        """Open and close an exchange that the second candidate answered."""
        first, second = decision().ranked
        inference_id = self.open(decision())
        self.open_later(inference_id, 2, second, EndedAttempt(1, 0))
        self.close(inference_id, first, second)
        return inference_id

    def refused(self, decided: Decision | None = None, status: str = RoutingStatus.REJECTED_FLOOR) -> None:
        """Note a request that was not admitted."""
        unrouted = Unrouted(
            at=self.books.tick(),
            key_id=self.key,
            account_id=self.account,
            path="/v1/messages",
            stream=False,
            requested_model="fleet-auto",
            routing=record(decided or decision(Hint(min_quality=980), requested="fleet-auto")),
            status=status,
            code="no_candidate",
        )
        self.books.run(note_unrouted, unrouted)
