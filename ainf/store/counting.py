"""What a cap's subject has settled and holds, counted from the entries: how a counter begins, and is checked."""

from typing import Final

import attrs

from ainf.ledger import LIFETIME_START, Window, covers, window_end, window_start
from ainf.store.entries import HELD
from ainf.store.transaction import Transaction

_OF_SUBJECT: Final = {
    "account": "instr(e.account_path, '\"' || ? || '\"') > 0",
    "key": "e.key_id = ?",
}

_NEVER: Final = 2**63 - 1
"""Later than every moment."""

_SUMS: Final = f"""
    SELECT e.model, coalesce(sum(CASE WHEN e.kind IN ('settle', 'overrun', 'adjustment') THEN e.amount_nusd END), 0),
        coalesce(sum({HELD}), 0)
    FROM attempt_entries AS e
    WHERE e.seq > ? AND e.seq <= ? AND e.admitted_at >= ? AND e.admitted_at < ? AND {{subject}}
    GROUP BY e.model
"""  # noqa: S608 - a constant is put in


@attrs.frozen
class Subject:
    """What a cap is on."""

    kind: str
    """"account" (with everything below it) or "key"."""
    subject_id: str


@attrs.frozen
class Scope:
    """What a cap counts: attempts on some models, in exchanges of its subject that were admitted in its window."""

    subject: Subject
    window: Window = Window.LIFETIME
    model: str = "*"
    """A pattern of configured names; ``*`` stands for any characters."""

    def holds(self, *, key_id: str, account_path: str, model: str, opened_at: int, start: int) -> bool:
        """Whether it counts an attempt in the window that begins at ``start``; the exchange says all but the model."""
        subject = self.subject
        under = subject.subject_id == key_id if subject.kind == "key" else f'"{subject.subject_id}"' in account_path
        return under and covers(self.model, model) and window_start(self.window, opened_at) == start


@attrs.frozen
class Counted:
    """Amounts summed over the entries of a scope up to and including one, in one window."""

    start: int = LIFETIME_START
    """When the window began."""
    up_to_seq: int = 0
    settled_nusd: int = 0
    """Settled, overrun and adjustments together."""
    held_nusd: int = 0


def newest_entry(tx: Transaction) -> int:
    """Return the seq of the ledger's last entry; 0 where it has none."""
    row = tx.one("SELECT coalesce(max(seq), 0) FROM entries")
    assert row is not None
    return int(row[0])


def count(tx: Transaction, scope: Scope, at: int, since: Counted | None = None) -> Counted:
    """Return the sums of a scope over the window that holds ``at``, up to now (an operation).

    It reads every entry that is newer than ``since``: on a large ledger count in a reading transaction first, and the
    rest while writing. What was counted of another window is of no use, and all is read again.
    """
    start, newest = window_start(scope.window, at), newest_entry(tx)
    if since is None or since.start != start:
        since = Counted(start)
    end = window_end(scope.window, start) or _NEVER
    sql = _SUMS.format(subject=_OF_SUBJECT[scope.subject.kind])
    rows = tx.execute(sql, (since.up_to_seq, newest, start, end, scope.subject.subject_id))
    own = [(settled, held) for model, settled, held in rows if covers(scope.model, model)]
    return Counted(
        start,
        newest,
        since.settled_nusd + sum(settled for settled, _ in own),
        since.held_nusd + sum(held for _, held in own),
    )
