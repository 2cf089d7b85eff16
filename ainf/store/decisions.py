"""What was decided for a routed request, read back from its record, whatever version wrote it.

``routing.decision`` writes the records and says what each field means; what a record leaves out has its default.
"""

from typing import Any, Final

import msgspec

from ainf.store.transaction import Transaction

_BODY: Final = "SELECT body FROM routing_decisions WHERE inference_id = ?"


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """How one model fared that the key may use."""

    model: str
    provider: str
    quality: int
    """What the floor was compared with, in thousandths."""
    quality_from: str
    """"prior" or "blended"."""
    input_tokens: int
    """Estimated."""
    output_tokens: int
    """Expected."""
    cost_nusd: int
    """Expected."""
    price: str
    """Its version."""
    observations: int = 0
    """How many answers a blended quality rests on."""
    latency_ms: int | None = None
    """What a tie was broken with, where it is known."""
    rests_ms: int | None = None
    """For how long it was let rest, if it was."""
    fell: str | None = None
    """At which filter; None: it is ranked."""


class Hint(msgspec.Struct, frozen=True, gc=False):
    """What the client said about the choice."""

    min_quality: int | None = None
    """In thousandths."""
    max_cost_nusd: int | None = None
    task_type: str | None = None


class Decided(msgspec.Struct, frozen=True, gc=False):
    """A decision."""

    target: str
    """The canonical name."""
    requested: str
    """The name that was asked for: this or an alias."""
    ruleset: str
    """The hash of what was decided by."""
    floor: int
    """In thousandths."""
    floor_from: str
    """"hint", "dial" or "default"."""
    preference: str
    """The one that took effect."""
    hint: Hint
    need: dict[str, Any]
    """What the request needs of a model."""
    ranked: tuple[str, ...]
    """The models in the order in which they are tried."""
    candidates: tuple[Candidate, ...]
    barred: tuple[str, ...] = ()
    """Models of the target that the key may not use."""
    unknown_preference: str | None = None
    """What the hint preferred, where there is no such preference."""


_decode: Final = msgspec.json.Decoder(Decided).decode


def read_decision(record: str) -> Decided:
    """Return what a stored decision says."""
    return _decode(record)


def decision_of(tx: Transaction, inference_id: str) -> Decided | None:
    """Return what was decided for an exchange; None where its model is pinned (an operation)."""
    row = tx.one(_BODY, (inference_id,))
    return None if row is None else read_decision(row[0])
