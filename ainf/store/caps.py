"""Caps, as an operator sets and removes them; each change is an audit event of the command's own epoch.

A cap counts the whole lifetime of its subject, also what was before the cap was. All functions are operations.
"""

from typing import Any

import attrs

from ainf import audit
from ainf.inference.errors import DownstreamError
from ainf.ledger import LIFETIME_START
from ainf.store import counters
from ainf.store.admin import find_account, require_key
from ainf.store.counting import NOTHING, Counted, Subject, count, newest_entry
from ainf.store.transaction import Transaction

LIFETIME = "lifetime"


@attrs.frozen
class Cap:
    """A cap as it is listed, with what it has seen."""

    cap_id: str
    subject: str
    """"account" or "key"."""
    name: str
    """The account's name or the key's id."""
    window: str
    limit_nusd: int
    settled_nusd: int
    held_nusd: int
    created_at: int


def subject_of(tx: Transaction, *, account: str | None = None, key_id: str | None = None) -> Subject:
    """Return the subject of a cap: an account by its name, or a key by its id; exactly one of them is given.

    Raises:
        DownstreamError: ``not_found``.
    """
    assert (account is None) != (key_id is None)
    if account is not None:
        return Subject("account", find_account(tx, account)[0])
    assert key_id is not None
    require_key(tx, key_id)
    return Subject("key", key_id)


def set_cap(
    tx: Transaction, *, cap_id: str, subject: Subject, limit_nusd: int, at: int, counted: Counted = NOTHING
) -> str:
    """Set the lifetime cap of an account or key, or change its limit; return its id.

    A new cap counts the subject's whole past: what it has settled, and what its running exchanges hold; these count on
    it from now on, as if it had been there at their admission. A limit below that is allowed: nothing opens or extends
    until the total is below it again.

    Args:
        tx: the transaction.
        cap_id: the id, where the cap is new.
        subject: what it caps (``subject_of``).
        limit_nusd: the limit.
        at: now.
        counted: what a reading transaction has counted of the subject before, so that only newer entries are read
            while the database is held for writing.
    """
    assert limit_nusd >= 0
    row = tx.one(
        'SELECT cap_id, removed_at FROM caps WHERE subject = ? AND subject_id = ? AND "window" = ?',
        (subject.kind, subject.subject_id, LIFETIME),
    )
    if row is None:
        tx.execute(
            'INSERT INTO caps (cap_id, subject, subject_id, "window", limit_nusd, created_at)'
            " VALUES (?, ?, ?, ?, ?, ?)",
            (cap_id, subject.kind, subject.subject_id, LIFETIME, limit_nusd, at),
        )
    else:
        cap_id = row[0]
        tx.execute("UPDATE caps SET limit_nusd = ?, removed_at = NULL WHERE cap_id = ?", (limit_nusd, cap_id))
    if row is None or row[1] is not None:
        _begin_counting(tx, cap_id, subject, counted)
    _note_limit(tx, cap_id, limit_nusd, at)
    body: dict[str, Any] = {
        "cap_id": cap_id,
        "subject": subject.kind,
        "subject_id": subject.subject_id,
        "window": LIFETIME,
        "limit_nusd": limit_nusd,
    }
    tx.append_audit("cap.set", at, None, body)
    return cap_id


def _begin_counting(tx: Transaction, cap_id: str, subject: Subject, counted: Counted) -> None:
    total = count(tx, subject, counted)
    tx.execute(
        "INSERT INTO counters (cap_id, window_start, settled_nusd, held_nusd) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (cap_id, window_start) DO UPDATE SET settled_nusd = excluded.settled_nusd,"
        " held_nusd = excluded.held_nusd",
        (cap_id, LIFETIME_START, total.settled_nusd, total.held_nusd),
    )
    _count_running(tx, cap_id, subject)


def _count_running(tx: Transaction, cap_id: str, subject: Subject) -> None:
    """Let the subject's running exchanges move the counter from now on, since it holds what they hold."""
    running = tx.execute(
        "SELECT i.inference_id, i.caps, i.key_id, i.account_path"
        " FROM holds AS h JOIN inferences AS i ON i.inference_id = h.inference_id"
    )
    for inference_id, caps, key_id, account_path in running:
        keys = counters.from_json(caps)
        under = subject.subject_id == key_id if subject.kind == "key" else f'"{subject.subject_id}"' in account_path
        if under and (cap_id, LIFETIME_START) not in keys:
            longer = audit.canonical([*keys, (cap_id, LIFETIME_START)])
            tx.execute("UPDATE inferences SET caps = ? WHERE inference_id = ?", (longer, inference_id))


def _note_limit(tx: Transaction, cap_id: str, limit_nusd: int | None, at: int) -> None:
    tx.execute(
        "INSERT INTO cap_limits (cap_id, after_seq, limit_nusd, at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (cap_id, after_seq, at) DO UPDATE SET limit_nusd = excluded.limit_nusd",
        (cap_id, newest_entry(tx), limit_nusd, at),
    )


def remove_cap(tx: Transaction, *, subject: Subject, at: int) -> None:
    """Remove the lifetime cap of an account or key; running exchanges are no longer bound by it.

    Raises:
        DownstreamError: ``not_found``: it has none.
    """
    rows = tx.execute(
        'UPDATE caps SET removed_at = ? WHERE subject = ? AND subject_id = ? AND "window" = ? AND removed_at IS NULL'
        " RETURNING cap_id",
        (at, subject.kind, subject.subject_id, LIFETIME),
    )
    if not rows:
        raise DownstreamError("not_found", f"This {subject.kind} has no {LIFETIME} cap; `ainf caps list` shows them.")
    cap_id = rows[0][0]
    _note_limit(tx, cap_id, None, at)
    tx.append_audit("cap.removed", at, None, {"cap_id": cap_id})


def list_caps(tx: Transaction) -> list[Cap]:
    """Return the caps in force, with what they have seen."""
    rows = tx.execute(
        'SELECT c.cap_id, c.subject, coalesce(a.name, c.subject_id), c."window", c.limit_nusd,'
        " coalesce(n.settled_nusd, 0), coalesce(n.held_nusd, 0), c.created_at FROM caps AS c"
        " LEFT JOIN counters AS n ON n.cap_id = c.cap_id AND n.window_start = ?"
        " LEFT JOIN accounts AS a ON c.subject = 'account' AND a.account_id = c.subject_id"
        " WHERE c.removed_at IS NULL ORDER BY c.subject, 3",
        (LIFETIME_START,),
    )
    return [Cap(*row) for row in rows]
