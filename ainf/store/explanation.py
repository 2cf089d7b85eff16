"""Why a routed request went where it went, what it cost, and what it would have cost elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from ainf.inference.outcome import Evidence
from ainf.inference.usage import Usage
from ainf.pricing import Price, cost, price_from_canonical
from ainf.store.decisions import Candidate, Decided, decision_of, read_decision
from ainf.store.receipts import receipt
from ainf.store.routing_report import RoutedRequest, routed_request
from ainf.store.transaction import Transaction

_UNADMITTED: Final = "SELECT decision FROM routing_outcomes WHERE outcome_id = ?"
_RULESET: Final = "SELECT body FROM rulesets WHERE ruleset = ?"
_PRICES: Final = "SELECT price_version, body FROM prices WHERE price_version IN ({marks})"


@attrs.frozen
class Alternative:
    """One candidate, and what the answer would have cost with it."""

    candidate: Candidate
    attempts: tuple[int, ...]
    """The numbers of those that were made at it."""
    skipped: str | None
    """Why it was passed over when its turn came: "rests", or the code of the error that it cannot be asked so."""
    would_cost_nusd: int | None
    """The usage of the answer at its price; None where there is no such usage."""


@attrs.frozen
class Explanation:
    """Everything that is known of one routed request."""

    outcome: RoutedRequest | None
    """None while it runs."""
    receipt: Mapping[str, Any] | None
    """None: it was not admitted."""
    decided: Decided
    ruleset_body: str
    """What was decided by, as JSON."""
    usage: Usage | None
    """Of the attempt that answered, or was tried last; None where nothing is settled, was used, or is known of it."""
    alternatives: tuple[Alternative, ...]
    """The candidates: those that were ranked in their order, then the others."""

    @property
    def charged_nusd(self) -> int | None:
        """What all attempts together were charged, adjustments included; None while it runs, or was not admitted."""
        told = self.receipt
        if told is None or told["state"] == "open":
            return None
        adjusted = sum(adjustment["amount_nusd"] for adjustment in told["adjustments"])
        return int(told["settled_nusd"] + told["overrun_nusd"] + adjusted)


@attrs.frozen
class Pinned:
    """An exchange for which nothing was decided: its request named a model."""

    inference_id: str
    model: str


def explain(tx: Transaction, named: str) -> Explanation | Pinned | None:
    """Return why a request went where it went, by its inference id or its outcome's number; None where there is none.

    An operation that only reads.
    """
    outcome = routed_request(tx, named)
    if outcome is not None and outcome.inference_id is None:
        return _unadmitted(tx, outcome)
    inference_id = named if outcome is None or outcome.inference_id is None else outcome.inference_id
    told = receipt(tx, inference_id)
    if told is None:
        return None
    decided = decision_of(tx, inference_id)
    if decided is None:
        return Pinned(inference_id, told["requested_model"])
    usage = _usage_of_answer(told)
    return Explanation(outcome, told, decided, _ruleset(tx, decided), usage, _alternatives(tx, decided, told, usage))


def _unadmitted(tx: Transaction, outcome: RoutedRequest) -> Explanation:
    row = tx.one(_UNADMITTED, (outcome.outcome_id,))
    assert row is not None
    decided = read_decision(row[0])
    return Explanation(outcome, None, decided, _ruleset(tx, decided), None, _alternatives(tx, decided, {}, None))


def _ruleset(tx: Transaction, decided: Decided) -> str:
    row = tx.one(_RULESET, (decided.ruleset,))
    assert row is not None, f"the ruleset {decided.ruleset} was never stored"
    return str(row[0])


def _usage_of_answer(told: Mapping[str, Any]) -> Usage | None:
    if told["state"] == "open" or told["evidence"] == Evidence.NONE:
        return None
    attempts, served = told["attempts"], told["routing"]["served"]
    usage = Usage(**(attempts[served - 1]["usage"] if attempts else told["usage"]))
    return None if usage == Usage() else usage


def _alternatives(
    tx: Transaction, decided: Decided, told: Mapping[str, Any], usage: Usage | None
) -> tuple[Alternative, ...]:
    prices = {} if usage is None else _prices(tx, decided.candidates)
    skipped = told.get("notes", {}).get("routing_skipped", {})
    tried: dict[str, list[int]] = {}
    for number, attempt in enumerate(told.get("attempts", ()), 1):
        tried.setdefault(attempt["model"], []).append(number)
    ranks = {name: rank for rank, name in enumerate(decided.ranked)}
    return tuple(
        Alternative(
            candidate,
            tuple(tried.get(candidate.model, ())),
            skipped.get(candidate.model),
            None if usage is None else cost(prices[candidate.price], usage),
        )
        for candidate in sorted(decided.candidates, key=lambda one: (ranks.get(one.model, len(ranks)), one.model))
    )


def _prices(tx: Transaction, candidates: Sequence[Candidate]) -> dict[str, Price]:
    """Return the prices of the candidates by their versions."""
    versions = list({candidate.price for candidate in candidates})
    rows = tx.execute(_PRICES.format(marks=", ".join("?" * len(versions))), versions)
    return {version: price_from_canonical(body.encode()) for version, body in rows}
