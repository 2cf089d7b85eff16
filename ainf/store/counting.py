"""What a cap's subject has settled and holds, counted from the entries: how a counter begins, and is checked."""

from typing import Final

import attrs

from ainf.store.transaction import Transaction

_OF_SUBJECT: Final = {
    "account": "e.account_id IN (SELECT a.account_id FROM accounts AS a WHERE instr(a.path, '\"' || ? || '\"') > 0)",
    "key": "e.inference_id IN (SELECT i.inference_id FROM inferences AS i WHERE i.key_id = ?)",
}

_SUMS: Final = """
    SELECT coalesce(sum(CASE WHEN e.kind IN ('settle', 'overrun', 'adjustment') THEN e.amount_nusd END), 0),
        coalesce(sum(CASE WHEN e.kind IN ('hold', 'extend') THEN e.amount_nusd
                          WHEN e.kind IN ('settle', 'release') THEN -e.amount_nusd END), 0)
    FROM entries AS e WHERE e.seq > ? AND e.seq <= ?
"""


@attrs.frozen
class Subject:
    """What a cap is on."""

    kind: str
    """"account" (with everything below it) or "key"."""
    subject_id: str


@attrs.frozen
class Counted:
    """Amounts summed over a subject's entries up to and including one."""

    up_to_seq: int = 0
    settled_nusd: int = 0
    """Settled, overrun and adjustments together."""
    held_nusd: int = 0


NOTHING: Final = Counted()


def newest_entry(tx: Transaction) -> int:
    """Return the seq of the ledger's last entry; 0 where it has none."""
    row = tx.one("SELECT coalesce(max(seq), 0) FROM entries")
    assert row is not None
    return int(row[0])


def count(tx: Transaction, subject: Subject, since: Counted = NOTHING) -> Counted:
    """Add the subject's entries that are newer than ``since`` to it, and return the sums up to now (an operation).

    It reads every newer entry: on a large ledger count in a reading transaction first, and the rest while writing.
    """
    newest = newest_entry(tx)
    sql = f"{_SUMS} AND {_OF_SUBJECT[subject.kind]}"
    row = tx.one(sql, (since.up_to_seq, newest, subject.subject_id))
    assert row is not None
    return Counted(newest, since.settled_nusd + row[0], since.held_nusd + row[1])
