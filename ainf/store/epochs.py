"""Epochs: the numbered lives of processes, each with an audit chain of its own.

The first event of an epoch, ``epoch.started``, carries the heads of the chains before it, so that cutting the tail off
an old chain shows. Only those that grew since they were carried last are named, which keeps the event small.
"""

import attrs

from ainf import audit
from ainf.store.transaction import Engine, Transaction

_INSTANCE = """
    INSERT INTO instances (kind, started_at, shared, lease_boot, lease_until) VALUES (?, ?, ?, ?, ?) RETURNING epoch
"""
_GROWN_HEADS = """
    SELECT i.epoch, e.seq, e.hash
    FROM instances AS i
    JOIN audit_events AS e ON e.epoch = i.epoch
        AND e.seq = (SELECT max(last.seq) FROM audit_events AS last WHERE last.epoch = i.epoch)
    WHERE i.epoch < ? AND e.seq > i.carried_seq
    ORDER BY i.epoch
"""


@attrs.frozen
class Lessee:
    """The lease that a process begins with."""

    boot: str
    """Which boot of the machine the times are counted from."""
    at: int
    """Microseconds of that machine's uptime."""
    until: int
    is_shared: bool
    """Whether other processes may use the database beside it."""


def begin_epoch(engine: Engine, kind: str, at: int, lessee: Lessee | None = None) -> Transaction:
    """Begin this process's epoch, durably, and return the transaction object that its writer uses from then on.

    Args:
        engine: the writing connection, with no transaction open.
        kind: "gateway" or "command".
        at: now, in microseconds since 1970 UTC.
        lessee: the lease of a process that has one.
    """
    tx = Transaction(engine, audit.Head(0))
    engine.begin()
    try:
        enter_epoch(tx, kind, at, lessee)
        engine.commit()
    finally:
        engine.rollback()
    return tx


def enter_epoch(tx: Transaction, kind: str, at: int, lessee: Lessee | None = None) -> None:
    """Begin an epoch, and write in it from here on (an operation).

    Whoever undoes the transaction puts it back to the epoch that it had. The arguments are those of ``begin_epoch``.
    """
    lease = (False, None, None) if lessee is None else (lessee.is_shared, lessee.boot, lessee.until)
    row = tx.one(_INSTANCE, (kind, at, *lease))
    assert row is not None
    tx.enter(row[0])
    heads = tx.execute(_GROWN_HEADS, (tx.epoch,))
    tx.executemany("UPDATE instances SET carried_seq = ? WHERE epoch = ?", [(seq, epoch) for epoch, seq, _ in heads])
    body = {"instance": kind, "heads": [{"epoch": epoch, "seq": seq, "hash": hash_} for epoch, seq, hash_ in heads]}
    tx.append_audit("epoch.started", at, None, body)


def end_epoch(tx: Transaction, at: int) -> None:
    """Note that this process stopped in good order (an operation)."""
    tx.execute("UPDATE instances SET ended_at = ? WHERE epoch = ?", (at, tx.epoch))
