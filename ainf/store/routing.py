"""What is recorded of routing: the decision with an exchange's opening, the outcome once, with its closing.

A request that was not admitted though something was decided has an outcome alone, which keeps the decision. All
functions are operations.
"""

import hashlib
from typing import Final

import msgspec

from ainf.store.attempts import store_price
from ainf.store.base import RoutingRecord, Unrouted
from ainf.store.transaction import Transaction

_DECISION: Final = "INSERT INTO routing_decisions (inference_id, target, ruleset, body) VALUES (?, ?, ?, ?)"
_OUTCOME: Final = """
    INSERT INTO routing_outcomes (inference_id, at, key_id, account_id, path, stream, requested_model, target, ruleset,
        status, code, model, provider, attempts, first_byte_us, cost_nusd, decision)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


class RoutingOutcome(msgspec.Struct, frozen=True, gc=False):
    """What became of a routed request: its row, column by column."""

    inference_id: str | None
    """None: it was not admitted."""
    at: int
    key_id: str
    account_id: str
    path: str
    stream: bool
    requested_model: str
    target: str
    ruleset: str
    status: str
    """See ``routing.outcome``."""
    code: str | None
    """Of the error that the client was told."""
    model: str | None = None
    """The configured name of what answered, or was tried last."""
    provider: str | None = None
    attempts: int = 0
    """How many were opened."""
    first_byte_us: int | None = None
    cost_nusd: int = 0
    decision: str | None = None
    """Of what was not admitted; an exchange's own stands in ``routing_decisions``."""


def note_decision(tx: Transaction, inference_id: str, routing: RoutingRecord) -> None:
    """Record what was decided for an exchange that is being opened."""
    _store_ground(tx, routing)
    tx.execute(_DECISION, (inference_id, routing.target, routing.ruleset, routing.decision))


def note_outcome(tx: Transaction, outcome: RoutingOutcome) -> None:
    """Record what became of a routed request; of an exchange there is one, or the database refuses."""
    tx.execute(_OUTCOME, msgspec.structs.astuple(outcome))


def note_unrouted(tx: Transaction, unrouted: Unrouted) -> None:
    """Record what became of a request that was not admitted, with what was decided for it."""
    routing = unrouted.routing
    _store_ground(tx, routing)
    outcome = RoutingOutcome(
        inference_id=None,
        at=unrouted.at,
        key_id=unrouted.key_id,
        account_id=unrouted.account_id,
        path=unrouted.path,
        stream=unrouted.stream,
        requested_model=unrouted.requested_model,
        target=routing.target,
        ruleset=routing.ruleset,
        status=unrouted.status,
        code=unrouted.code,
        decision=routing.decision,
    )
    note_outcome(tx, outcome)


def decision_digest(decision: str) -> str:
    """Return what an exchange's closing event names its decision by: the SHA-256 of the record's text, in hex."""
    return hashlib.sha256(decision.encode()).hexdigest()


def _store_ground(tx: Transaction, routing: RoutingRecord) -> None:
    """Store what was decided by, each by its content: the ruleset, and the prices of the candidates."""
    for price in routing.prices:
        store_price(tx, price)
    if (RoutingRecord, routing.ruleset) not in tx.memo:
        tx.execute(
            "INSERT INTO rulesets (ruleset, body) VALUES (?, ?) ON CONFLICT (ruleset) DO NOTHING",
            (routing.ruleset, routing.ruleset_body),
        )
        tx.memo[RoutingRecord, routing.ruleset] = True
