"""Caps, as an operator sets and removes them; each change is an audit event of the command's own epoch.

A new cap counts what its subject has spent in the present window, also what was before the cap was. All functions are
operations.
"""

from typing import Any

import attrs

from ainf.inference.errors import DownstreamError
from ainf.ledger import Window, window_end, window_start, window_starts
from ainf.store import attempts, counters
from ainf.store.admin import find_account, require_key
from ainf.store.counters import IN_WINDOW
from ainf.store.counting import Counted, Scope, Subject, count, newest_entry
from ainf.store.transaction import Transaction

_IN_FORCE = """
    SELECT cap_id FROM caps
    WHERE kind = 'cap' AND subject = ? AND subject_id = ? AND "window" = ? AND model = ? AND removed_at IS NULL
"""
_LIST = f"""
    SELECT c.cap_id, c.subject, c.subject_id, coalesce(a.name, c.subject_id), c."window", c.model, c.limit_nusd,
        c.created_at, coalesce(n.settled_nusd, 0), coalesce(n.held_nusd, 0)
    FROM caps AS c
    {IN_WINDOW}
    LEFT JOIN accounts AS a ON c.subject = 'account' AND a.account_id = c.subject_id
    WHERE c.kind = 'cap' AND c.removed_at IS NULL ORDER BY c.subject, 4, c.created_at, c.cap_id
"""  # noqa: S608 - a constant is put in
_RUNNING = """
    SELECT o.inference_id, o.number, o.model, o.caps, i.key_id, i.account_path, i.opened_at
    FROM opened_attempts AS o JOIN inferences AS i ON i.inference_id = o.inference_id
    WHERE o.inference_id IN (SELECT inference_id FROM holds)
"""
_MOST_PATTERN = 128


@attrs.frozen
class Cap:
    """A cap as it is listed, with what it has seen in its present window."""

    cap_id: str
    subject: str
    """"account" or "key"."""
    subject_id: str
    name: str
    """The account's name or the key's id."""
    window: str
    model: str
    limit_nusd: int
    created_at: int
    settled_nusd: int
    held_nusd: int
    resets_at: int | None
    """When its window ends; None where it never does."""

    @property
    def left_nusd(self) -> int:
        """What it leaves; negative where overrun or a lowered limit left the total above it."""
        return self.limit_nusd - self.settled_nusd - self.held_nusd


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
    tx: Transaction, *, cap_id: str, scope: Scope, limit_nusd: int, at: int, counted: Counted | None = None
) -> str:
    """Set a cap, or change its limit; return its id.

    A new cap counts what its scope has settled in the present window and what its running exchanges hold; these count
    on it from now on, as if it had been there at their admission. A limit below that is allowed: nothing opens or
    extends until the total is below it again.

    Windows are the wall clock's. Where it stepped back over the border of one, so that exchanges were admitted in a
    window that is still to come, a cap that is set then counts the window that it is, and of the next one only what is
    admitted from now on.

    Args:
        tx: the transaction.
        cap_id: the id, where the cap is new.
        scope: what it caps.
        limit_nusd: the limit.
        at: now.
        counted: what a reading transaction has counted of the scope before, so that only newer entries are read while
            the database is held for writing.

    Raises:
        DownstreamError: ``invalid_value``: the pattern of models is no pattern.
    """
    assert limit_nusd >= 0
    _check_pattern(scope.model)
    subject = scope.subject
    row = tx.one(_IN_FORCE, (subject.kind, subject.subject_id, scope.window, scope.model))
    if row is not None:
        cap_id = row[0]
        tx.execute("UPDATE caps SET limit_nusd = ? WHERE cap_id = ?", (limit_nusd, cap_id))
    else:
        total = count(tx, scope, at, counted)
        tx.execute(
            'INSERT INTO caps (cap_id, kind, subject, subject_id, "window", model, limit_nusd, counts_from, created_at)'
            " VALUES (?, 'cap', ?, ?, ?, ?, ?, ?, ?)",
            (
                cap_id, subject.kind, subject.subject_id, scope.window, scope.model, limit_nusd, total.up_to_seq, at,
            ),
        )  # fmt: skip
        tx.execute(
            "INSERT INTO counters (cap_id, window_start, settled_nusd, held_nusd) VALUES (?, ?, ?, ?)",
            (cap_id, total.start, total.settled_nusd, total.held_nusd),
        )
        _count_running(tx, cap_id, scope, total.start)
    note_limit(tx, cap_id, limit_nusd, at)
    body: dict[str, Any] = {
        "cap_id": cap_id,
        "subject": subject.kind,
        "subject_id": subject.subject_id,
        "window": scope.window,
        "model": scope.model,
        "limit_nusd": limit_nusd,
    }
    tx.append_audit("cap.set", at, None, body)
    return cap_id


def _check_pattern(pattern: str) -> None:
    if not pattern or len(pattern) > _MOST_PATTERN or not (pattern.isascii() and pattern.isprintable()):
        raise DownstreamError(
            "invalid_value",
            f"A cap is for a model's name or a pattern such as `gpt-*`, of at most {_MOST_PATTERN} printable ASCII"
            " characters.",
        )


def _count_running(tx: Transaction, cap_id: str, scope: Scope, start: int) -> None:
    """Let the scope's attempts of running exchanges move the counter from now on, since it holds what they hold."""
    for inference_id, number, model, caps, key_id, account_path, opened_at in tx.execute(_RUNNING):
        if scope.holds(key_id=key_id, account_path=account_path, model=model, opened_at=opened_at, start=start):
            longer = counters.to_json([*counters.from_json(caps), (cap_id, start)])
            attempts.count_on(tx, inference_id, number, longer)


def note_limit(tx: Transaction, cap_id: str, limit_nusd: int | None, at: int) -> None:
    """Add to the history of a limit, between two of the ledger's entries; None where the cap is removed."""
    tx.execute(
        "INSERT INTO cap_limits (cap_id, after_seq, limit_nusd, at) VALUES (?, ?, ?, ?)",
        (cap_id, newest_entry(tx), limit_nusd, at),
    )


def remove_cap(tx: Transaction, *, scope: Scope, at: int) -> None:
    """Remove a cap; running exchanges are no longer bound by it.

    Raises:
        DownstreamError: ``not_found``: there is none.
    """
    subject = scope.subject
    row = tx.one(_IN_FORCE, (subject.kind, subject.subject_id, scope.window, scope.model))
    if row is None:
        on = "" if scope.model == "*" else f" on models {scope.model}"
        raise DownstreamError(
            "not_found", f"This {subject.kind} has no {scope.window} cap{on}; `ainf caps list` shows them."
        )
    tx.execute("UPDATE caps SET removed_at = ? WHERE cap_id = ?", (at, row[0]))
    note_limit(tx, row[0], None, at)
    tx.append_audit("cap.removed", at, None, {"cap_id": row[0]})


def list_caps(tx: Transaction, at: int) -> list[Cap]:
    """Return the caps in force, with what they have seen in the windows that hold ``at``."""
    return [Cap(*(*row, _resets_at(Window(row[4]), at))) for row in tx.execute(_LIST, window_starts(at))]


def _resets_at(window: Window, at: int) -> int | None:
    return window_end(window, window_start(window, at))
