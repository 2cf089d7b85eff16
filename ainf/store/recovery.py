"""What a process that died left open is closed as ``abandoned``, at its last durable progress.

A dead process is *fenced* first, in a transaction of its own: from then on nobody writes in its epoch.
Each exchange is then an operation of its own and settles like any other, so running recovery twice, two processes that
run it at once, or dying in the middle of it, change nothing: what is settled has no hold any more.
"""

from typing import Final

import attrs
import msgspec

from ainf.inference.moments import SECOND_US
from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.pricing import cost, price_from_canonical
from ainf.store import attempts
from ainf.store.attempts import OpenedAttempt
from ainf.store.base import AttemptResult, Closing, Settlement
from ainf.store.leases import Lease
from ainf.store.settling import close_inference
from ainf.store.transaction import Transaction

GRACE_US: Final = SECOND_US
"""How long a lease must have run out."""

_DEAD: Final = """
    SELECT p.epoch, p.fenced_at, (SELECT max(e.seq) FROM audit_events AS e WHERE e.epoch = p.epoch)
    FROM instances AS p
    WHERE p.epoch IN (SELECT epoch FROM holds) AND p.epoch <> ? AND (
        ? OR p.fenced_at IS NOT NULL OR p.ended_at IS NOT NULL OR p.lease_until IS NULL
        OR p.lease_boot <> ? OR p.lease_until + ? <= ?
    )
    ORDER BY p.epoch
"""
_FENCE: Final = "UPDATE instances SET fenced_at = ?, fenced_seq = ? WHERE epoch = ?"
_LEFT: Final = """
    SELECT h.inference_id FROM holds AS h JOIN instances AS p ON p.epoch = h.epoch
    WHERE p.fenced_at IS NOT NULL AND p.epoch <> ? ORDER BY h.inference_id
"""
_HOLD: Final = """
    SELECT h.attempt, h.progress_at, h.progress_usage, h.progress_nusd, h.output_bytes
    FROM holds AS h JOIN instances AS p ON p.epoch = h.epoch
    WHERE h.inference_id = ? AND p.fenced_at IS NOT NULL AND p.epoch <> ?
"""
_ENDED: Final = "SELECT opened_at, ended FROM later_attempts WHERE inference_id = ? ORDER BY number"
_PRICE: Final = "SELECT body FROM prices WHERE price_version = ?"
_USAGE: Final = msgspec.json.Decoder(Usage)
_COSTS: Final = msgspec.json.Decoder(list[tuple[int, int]])


@attrs.frozen
class _Known:
    """How far an attempt came, as far as is known."""

    until: int
    """When that was."""
    usage: Usage
    cost_nusd: int


def fence_dead(tx: Transaction, at: int, lease: Lease | None = None) -> list[str]:
    """Fence the processes that are dead, and return what they left open, in the order of its opening (an operation).

    Dead is who was fenced before, who ended, and who had a lease of an earlier boot of the machine, or none: such a
    process had the database for itself, as nobody can have now. Of one whose lease ran out longer ago than ``GRACE_US``
    only who may reap can say so: after the machine slept, or its disk hung, the leases of all have run out.

    Args:
        tx: the transaction.
        at: now, in microseconds since 1970 UTC.
        lease: this process's own; None where it is certain that no other uses the database: then all others are dead.
    """
    known: tuple[bool, str, int, int] = (True, "", 0, 0)
    if lease is not None:
        known = (False, lease.uptime.boot, GRACE_US, lease.uptime.now() if lease.may_reap else 0)
    for epoch, fenced_at, seq in tx.execute(_DEAD, (tx.epoch, *known)):
        if fenced_at is None:
            tx.execute(_FENCE, (at, seq, epoch))
            tx.append_audit("epoch.fenced", at, None, {"fenced": epoch, "last_seq": seq})
    return [row[0] for row in tx.execute(_LEFT, (tx.epoch,))]


def abandon(tx: Transaction, inference_id: str, at: int) -> Settlement | None:
    """Close one exchange of a dead process (an operation); None where there is nothing left to close.

    An attempt that had ended is settled at its cost, the one that was answering at its last durable progress. Of any
    other it cannot be known whether its provider was called: it is settled at the estimated input.
    """
    row = tx.one(_HOLD, (inference_id, tx.epoch))
    if row is None:
        return None
    answering, progress_at, usage_json, progress_nusd, output_bytes = row
    known = _ended(tx, inference_id)
    served = None
    if usage_json is not None and answering not in known:
        served = answering
        known[served] = _Known(progress_at, _USAGE.decode(usage_json), progress_nusd)
    opened = attempts.opened(tx, inference_id)
    lines = tuple(_line(one, known.get(one.number) or _estimate(tx, one)) for one in opened)
    charges = tuple(line.cost_nusd for line in lines)
    closing = Closing(
        inference_id=inference_id,
        at=at,
        ending=Ending.ABANDONED,
        error_code=None,
        finish_reason=None,
        usage=sum((line.usage for line in lines), Usage()),
        evidence=Evidence.METERED,
        cost_nusd=sum(charges),
        output_bytes=output_bytes,
        received_bytes=output_bytes,  # at least: what was read and not handed over went with the process
        attempts=lines,
        notes={"progress_at": progress_at},
        charges=charges,
        served=served,
    )
    return close_inference(tx, closing)


def _ended(tx: Transaction, inference_id: str) -> dict[int, _Known]:
    """Return the attempts that had ended: their cost is known, and that they had when the next one was opened."""
    return {
        number: _Known(opened_at, Usage(), cost_nusd)
        for opened_at, ended in tx.execute(_ENDED, (inference_id,))
        for number, cost_nusd in _COSTS.decode(ended)
    }


def _estimate(tx: Transaction, attempt: OpenedAttempt) -> _Known:
    """Return what an attempt is settled at of which nothing is known."""
    row = tx.one(_PRICE, (attempt.price_version,))
    assert row is not None, attempt.price_version
    usage = Usage(input_tokens=attempt.input_estimate)
    return _Known(attempt.opened_at, usage, cost(price_from_canonical(row[0].encode()), usage))


def _line(attempt: OpenedAttempt, known: _Known) -> AttemptResult:
    return AttemptResult(
        model=attempt.model,
        upstream_model=attempt.upstream_model,
        provider=attempt.provider,
        price_version=attempt.price_version,
        started_at=attempt.opened_at,
        ended_at=known.until,
        status=None,
        error_code=None,
        provider_request_id=None,
        response_id=None,
        raw_usage=None,
        raw_finish_reason=None,
        usage=known.usage,
        evidence=Evidence.METERED,
        cost_nusd=known.cost_nusd,
    )
