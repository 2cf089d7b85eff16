"""Exchanges that were routed, with attempts after and beside the first, in books: what capture is tested on."""

from collections.abc import Sequence
from typing import Any

import attrs
import msgspec

from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.ledger import HoldAsk
from ainf.pricing import cost
from ainf.routing.ruleset import Quality, RatedModel, Ruleset
from ainf.store.base import (
    AttemptOpened,
    AttemptOpening,
    AttemptPlan,
    AttemptResult,
    EndedAttempt,
    Progress,
    RoutingRecord,
    Settlement,
    Unrouted,
)
from ainf.store.exchanges import open_attempt, record_progress
from ainf.store.routing import note_unrouted
from tests.store.books import COST, PRICE, USAGE, Books

TARGET = "ainf-inference"
PLANS = {
    "small": AttemptPlan("small", "small-2026", "openai", PRICE),
    "medium": AttemptPlan("medium", "medium-1", "anthropic", attrs.evolve(PRICE, output=900_000_000)),
    "big": AttemptPlan("big", "big-latest", "gemini", attrs.evolve(PRICE, request=500)),
}
RULESET = Ruleset(
    TARGET,
    500,
    tuple(
        RatedModel(plan.model, plan.provider, Quality(600), None, frozenset(), True, True, 1000, None)
        for plan in PLANS.values()
    ),
)
HELD = 110_000
"""What an attempt sets aside where nothing limits it."""


def routing(requested: str = TARGET) -> RoutingRecord:
    """Return a decision of the target's ruleset."""
    decision = {"target": TARGET, "requested": requested, "ruleset": RULESET.hash, "ranked": list(PLANS)}
    prices = tuple(plan.price for plan in PLANS.values())
    return RoutingRecord(TARGET, RULESET.hash, RULESET.body, msgspec.json.encode(decision).decode(), prices)


def route(books: Books, key: str) -> str:
    """Open a routed exchange; its first attempt is on "small"."""
    return books.open(key, requested_model=TARGET, routing=routing())


def attempt(
    books: Books, inference_id: str, number: int, model: str, *ended: tuple[int, int], base: int = 50_000
) -> AttemptOpened:
    """Open a later attempt; ``ended`` are the numbers of those that ended, with what they cost."""
    opening = AttemptOpening(
        inference_id=inference_id,
        at=books.tick(),
        number=number,
        attempt=PLANS[model],
        ask=HoldAsk(base, 600_000_000, 100, 1000, 16),
        input_tokens_estimate=200,
        ended=tuple(EndedAttempt(*one) for one in ended),
    )
    opened: AttemptOpened = books.run(open_attempt, opening)
    return opened


def line(books: Books, model: str, amount: int | None = None, **changes: Any) -> AttemptResult:
    """Return how a call to a model ended: answered, with the usage of the books, or after ``amount`` was spent."""
    plan = PLANS[model]
    answered = amount is None
    fields: dict[str, Any] = {
        "model": plan.model,
        "upstream_model": plan.upstream_model,
        "provider": plan.provider,
        "price_version": plan.price.version,
        "started_at": books.at,
        "ended_at": books.at + 1,
        "status": 200 if answered else 500,
        "error_code": None if answered else "upstream_error",
        "provider_request_id": None,
        "response_id": None,
        "raw_usage": None,
        "raw_finish_reason": "stop" if answered else None,
        "usage": USAGE if answered else Usage(output_tokens=amount or 0),
        "evidence": Evidence.REPORTED if answered else Evidence.METERED,
        "cost_nusd": cost(plan.price, USAGE) if amount is None else amount,
    }
    return AttemptResult(**(fields | changes))


def close(books: Books, inference_id: str, lines: Sequence[AttemptResult], **changes: Any) -> Settlement:
    """Close an exchange at the costs of its attempts."""
    charges = tuple(one.cost_nusd for one in lines)
    sums: dict[str, Any] = {
        "usage": sum((one.usage for one in lines), Usage()),
        "cost_nusd": sum(charges),
        "charges": charges,
        "attempts": tuple(lines),
        "first_byte_us": 900,
    }
    return books.close(inference_id, **(sums | changes))


def write_routed(books: Books, named: dict[str, str], key: str) -> None:
    """Write what may become of routed exchanges, in the books of ``write_rich_books``; nothing is left running."""
    named["cap_medium"] = books.cap(10**8, account="team", model="medium")
    named["routed"] = route(books, key)
    close(books, named["routed"], [line(books, "small")])
    named["fell_back"] = route(books, key)
    attempt(books, named["fell_back"], 2, "medium", (1, 0))
    close(books, named["fell_back"], [line(books, "small", 0), line(books, "medium")])
    named["third"] = route(books, key)
    attempt(books, named["third"], 2, "medium", (1, 700))
    named["cap_big"] = books.cap(10**8, account="agent", model="b*")
    attempt(books, named["third"], 3, "big", (2, HELD + 5))
    close(books, named["third"], [line(books, "small", 700), line(books, "medium", HELD + 5), line(books, "big")])
    _hedge(books, named, key)
    named["all_failed"] = route(books, key)
    attempt(books, named["all_failed"], 2, "big", (1, 0))
    lines = [line(books, "small", 0), line(books, "big", 0)]
    close(books, named["all_failed"], lines, ending=Ending.UPSTREAM_ERROR, first_byte_us=None)
    named["routed_unknown"] = route(books, key)
    attempt(books, named["routed_unknown"], 2, "medium", (1, 10))
    unknown = {"cost_nusd": None, "evidence": Evidence.NONE, "attempts": ()}
    books.close(named["routed_unknown"], ending=Ending.INTERNAL_ERROR, **unknown)
    for status, code in [("rejected_floor", "no_candidate"), ("rejected_money", "spend_cap_exceeded")]:
        reject(books, key, status, code)


def _hedge(books: Books, named: dict[str, str], key: str) -> None:
    """Two attempts at once: the first answers; the second does, and overruns what was held for it."""
    named["hedged"] = route(books, key)
    attempt(books, named["hedged"], 2, "medium")
    books.extend(named["hedged"], 500, attempt=2)
    lost = line(books, "medium", 300, error_code=None, aborted_billing="delivered")
    close(books, named["hedged"], [line(books, "small"), lost], served=1)
    named["overtaken"] = route(books, key)
    attempt(books, named["overtaken"], 2, "medium", base=1)
    lost = line(books, "small", 300, error_code=None, aborted_billing="held")
    close(books, named["overtaken"], [lost, line(books, "medium")], served=2)


def reject(books: Books, key: str, status: str, code: str) -> None:
    """Record a request for the target that was not admitted."""
    ((account_id,),) = books.sql("SELECT account_id FROM keys WHERE key_id = ?", key)
    unrouted = Unrouted(
        at=books.tick(),
        key_id=key,
        account_id=account_id,
        path="/v1/messages",
        stream=False,
        requested_model="auto",
        routing=routing("auto"),
        status=status,
        code=code,
    )
    books.run(note_unrouted, unrouted)


def leave_routed(books: Books, named: dict[str, str], key: str) -> list[str]:
    """Open what a process leaves behind that dies; the second one has shown how far it has come."""
    named["routed_lost"], named["hedge_lost"] = route(books, key), route(books, key)
    attempt(books, named["routed_lost"], 2, "medium", (1, 80))
    attempt(books, named["hedge_lost"], 2, "big")
    progress = Progress(named["hedge_lost"], Usage(input_tokens=10, output_tokens=5), 4_000, 20, 2)
    books.run(record_progress, [progress], books.tick())
    return [named["routed_lost"], named["hedge_lost"]]


def recover_routed(books: Books, left: Sequence[str]) -> None:
    """Close it, as the next process does; the end of one comes late."""
    for inference_id in left:
        books.abandon(inference_id)
    close(books, left[0], [line(books, "small", 80), line(books, "medium")], cost_nusd=80 + COST, charges=(80, COST))


def run_routed(books: Books, named: dict[str, str], key: str) -> None:
    """Open what still runs: an attempt after one that ended, and two at once."""
    named["running_later"], named["running_both"] = route(books, key), route(books, key)
    attempt(books, named["running_later"], 2, "medium", (1, 600))
    attempt(books, named["running_both"], 2, "big")
    named["cap_big_late"] = books.cap(10**8, account="root", model="big")
    books.extend(named["running_later"], 50, attempt=2)
    progress = Progress(named["running_later"], Usage(output_tokens=5), 400, 20, 2)
    books.run(record_progress, [progress], books.tick())
