"""Epochs: the numbered lives of processes, each with an audit chain of its own.

The first event of an epoch, ``epoch.started``, carries the heads of the chains before it, so that cutting the tail off
an old chain shows. Only those that grew since they were carried last are named, which keeps the event small.
"""

from ainf import audit
from ainf.store.transaction import Engine, Transaction

_GROWN_HEADS = """
    SELECT i.epoch, e.seq, e.hash
    FROM instances AS i
    JOIN audit_events AS e ON e.epoch = i.epoch
        AND e.seq = (SELECT max(last.seq) FROM audit_events AS last WHERE last.epoch = i.epoch)
    WHERE i.epoch < ? AND e.seq > i.carried_seq
    ORDER BY i.epoch
"""


def begin_epoch(engine: Engine, kind: str, at: int) -> Transaction:
    """Begin this process's epoch, durably, and return the transaction object that its writer uses from then on.

    Args:
        engine: the writing connection, with no transaction open.
        kind: "gateway" or "command".
        at: now, in microseconds.
    """
    engine.begin()
    try:
        row = engine.execute("INSERT INTO instances (kind, started_at) VALUES (?, ?) RETURNING epoch", (kind, at))
        tx = Transaction(engine, audit.Head(row[0][0]))
        heads = tx.execute(_GROWN_HEADS, (tx.epoch,))
        tx.executemany(
            "UPDATE instances SET carried_seq = ? WHERE epoch = ?", [(seq, epoch) for epoch, seq, _ in heads]
        )
        body = {"instance": kind, "heads": [{"epoch": epoch, "seq": seq, "hash": hash_} for epoch, seq, hash_ in heads]}
        tx.append_audit("epoch.started", at, None, body)
        engine.commit()
    finally:
        engine.rollback()
    return tx


def end_epoch(tx: Transaction, at: int) -> None:
    """Note that this process stopped in good order (an operation)."""
    tx.execute("UPDATE instances SET ended_at = ? WHERE epoch = ?", (at, tx.epoch))
