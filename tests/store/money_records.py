"""What the sequences of the money give to the store's operations, made of the model's exchanges."""

from collections.abc import Sequence

import msgspec

from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.ledger import HoldAsk
from ainf.pricing import Price
from ainf.routing.ruleset import Quality, RatedModel, Ruleset
from ainf.store.base import (
    AttemptOpening,
    AttemptPlan,
    AttemptResult,
    Closing,
    EndedAttempt,
    Opening,
    Progress,
    RoutingRecord,
    Unrouted,
)
from tests.store.money_model import Ask, Attempt, Exchange, Key

# One nano-dollar a token of output, so that usage says what it costs; input is dearer at the one than at the other.
PRICES = {
    "openai": Price(input=1_000_000, cached_input=0, output=1_000_000, reasoning=1_000_000),
    "anthropic": Price(input=2_000_000, cached_input=0, output=1_000_000, reasoning=1_000_000),
}
TARGET = "auto"
PATH = "/v1/chat/completions"
# What an exchange ends with: its ending, what became of it where its first attempt answered, its error code, and the
# finish reason that is told.
ENDINGS = {
    "completed": (Ending.COMPLETED, "succeeded", None, "stop"),
    "left": (Ending.CLIENT_DISCONNECTED, "cancelled", None, None),
    "capped": (Ending.SPEND_CAP_EXCEEDED, "capped", "spend_cap_exceeded", "spend_cap_exceeded"),
    "failed": (Ending.UPSTREAM_ERROR, "failed", "upstream_error", "error"),
    "late": (Ending.DEADLINE_EXCEEDED, "timed_out", "deadline_exceeded", "error"),
}
_RULESET = Ruleset(
    TARGET, 500, (RatedModel("opus", "anthropic", Quality(900), None, frozenset(), True, True, 400, None),)
)


def estimate_of(model: str, tokens: int) -> int:
    """Return what an estimated input costs at a model."""
    return tokens * (2 if model == "opus" else 1)


def outcome_of(ending: str, served: int) -> str:
    """Return what becomes of a routed exchange that ends so, when this attempt answered or was tried last."""
    return "fell_back" if ending == "completed" and served > 1 else ENDINGS[ending][1]


def _plan(model: str) -> AttemptPlan:
    provider = "anthropic" if model == "opus" else "openai"
    return AttemptPlan(model, f"{model}-2026", provider, PRICES[provider])


def _ask(ask: Ask) -> HoldAsk:
    return HoldAsk(ask.base, ask.rate, ask.first, ask.worst, ask.least)


def _routing(requested: str) -> RoutingRecord:
    decision = {"requested": requested, "target": TARGET, "ruleset": _RULESET.hash}
    prices = tuple(PRICES.values())
    return RoutingRecord(TARGET, _RULESET.hash, _RULESET.body, msgspec.json.encode(decision).decode(), prices)


def opening_of(exchange: Exchange, ask: Ask, tokens: int) -> Opening:
    """Return the opening of an exchange with its first attempt."""
    model = exchange.attempts[0].model
    requested = TARGET if exchange.is_routed else model
    return Opening(
        inference_id=exchange.inference_id,
        at=exchange.opened_at,
        key_id=exchange.key.key_id,
        protocol="chat_completions",
        path=PATH,
        stream=True,
        requested_model=requested,
        attempt=_plan(model),
        ask=_ask(ask),
        input_bytes=tokens * 4,
        input_tokens_estimate=tokens,
        fingerprint=exchange.inference_id.encode(),
        sdk_retry_count=None,
        routing=_routing(requested) if exchange.is_routed else None,
    )


def attempt_opening_of(
    exchange: Exchange, attempt: Attempt, ask: Ask, tokens: int, ended: dict[int, int]
) -> AttemptOpening:
    """Return the opening of another attempt, where these (by number) ended at these costs."""
    return AttemptOpening(
        inference_id=exchange.inference_id,
        at=attempt.opened_at,
        number=len(exchange.attempts) + 1,
        attempt=_plan(attempt.model),
        ask=_ask(ask),
        input_tokens_estimate=tokens,
        ended=tuple(EndedAttempt(*one) for one in ended.items()),
    )


def unrouted_of(key: Key, at: int, status: str) -> Unrouted:
    """Return a request of a key that was not admitted."""
    code = "spend_cap_exceeded" if status == "rejected_money" else "no_candidate"
    return Unrouted(
        at=at,
        key_id=key.key_id,
        account_id=key.account.account_id,
        path=PATH,
        stream=False,
        requested_model=TARGET,
        routing=_routing(TARGET),
        status=status,
        code=code,
    )


def progress_of(exchange: Exchange, attempt: Attempt, cost: int) -> Progress:
    """Return how far an attempt has come that cost so much until now."""
    number = exchange.attempts.index(attempt) + 1
    return Progress(exchange.inference_id, Usage(output_tokens=cost), cost, cost * 4, number)


def closing_of(
    exchange: Exchange, at: int, ending: str, costs: Sequence[int | None], served: int, *, told: int
) -> Closing:
    """Return the end of an exchange at what its attempts cost (None: nobody knows what any did).

    Only the first ``told`` attempts are known to the caller.
    """
    known = None not in costs
    charges = tuple(cost or 0 for cost in costs[:told])
    lines = tuple(_line(attempt, at, cost) for attempt, cost in zip(exchange.attempts, costs, strict=True))[:told]
    is_ending, _, error_code, finish_reason = ENDINGS[ending]
    return Closing(
        inference_id=exchange.inference_id,
        at=at,
        ending=is_ending,
        error_code=error_code,
        finish_reason=finish_reason,
        usage=sum((line.usage for line in lines), Usage()),
        evidence=Evidence.REPORTED if known else Evidence.NONE,
        cost_nusd=sum(charges) if known else None,
        output_bytes=sum(charges) * 4,
        received_bytes=sum(charges) * 4,
        attempts=lines,
        charges=charges if known else (),
        served=served,
        first_byte_us=at - exchange.opened_at,
    )


def _line(attempt: Attempt, at: int, cost: int | None) -> AttemptResult:
    plan = _plan(attempt.model)
    return AttemptResult(
        model=plan.model,
        upstream_model=plan.upstream_model,
        provider=plan.provider,
        price_version=plan.price.version,
        started_at=attempt.opened_at,
        ended_at=at,
        status=200,
        error_code=None,
        provider_request_id=None,
        response_id=None,
        raw_usage=None,
        raw_finish_reason=None,
        usage=Usage(output_tokens=cost or 0),
        evidence=Evidence.NONE if cost is None else Evidence.REPORTED,
        cost_nusd=cost or 0,
    )
