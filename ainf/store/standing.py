"""Whether a key may spend now, and under which caps: what every opening and extension reads afresh, in one query."""

import attrs
import msgspec

from ainf.admission import invalid_key
from ainf.ledger import LIFETIME_START, CapState
from ainf.store.transaction import Row, Transaction

_OWNER = """
    SELECT k.account_id, a.name, a.path FROM keys AS k JOIN accounts AS a ON a.account_id = k.account_id
    WHERE k.key_id = ?
"""
_KEY = """
    SELECT s.revoked_at, s.expires_at, 'key ' || s.key_id, c.cap_id, c."window", c.limit_nusd,
        n.settled_nusd, n.held_nusd
    FROM keys AS s
    LEFT JOIN caps AS c ON c.subject = 'key' AND c.subject_id = s.key_id AND c.removed_at IS NULL
    LEFT JOIN counters AS n ON n.cap_id = c.cap_id AND n.window_start = ?
    WHERE s.key_id = ?
"""
_ACCOUNTS = """
    SELECT s.closed_at, NULL, 'account ' || s.name, c.cap_id, c."window", c.limit_nusd, n.settled_nusd, n.held_nusd
    FROM accounts AS s
    LEFT JOIN caps AS c ON c.subject = 'account' AND c.subject_id = s.account_id AND c.removed_at IS NULL
    LEFT JOIN counters AS n ON n.cap_id = c.cap_id AND n.window_start = ?
    WHERE s.account_id IN ({marks})
"""
_TEXTS = msgspec.json.Decoder(list[str])


@attrs.frozen
class Owner:
    """Where a key belongs. Keys and accounts are never moved or renamed, so this holds for ever."""

    account_id: str
    name: str
    path: tuple[str, ...]
    """Account ids, root first, the key's own account last."""
    path_json: str
    query: str
    """The statement that reads the standing of a key at this depth of the tree."""


@attrs.frozen
class Standing:
    """A key's live state at one moment."""

    owner: Owner
    valid: bool
    """Neither revoked nor expired, and no account on the path is closed."""
    caps: list[CapState]
    """Every cap on the key and its path, in its present window."""


def owner_of(tx: Transaction, key_id: str) -> Owner:
    """Return where a key belongs.

    Raises:
        DownstreamError: ``invalid_api_key``: there is no such key.
    """
    owner: Owner | None = tx.memo.get((Owner, key_id))
    if owner is None:
        row = tx.one(_OWNER, (key_id,))
        if row is None:
            raise invalid_key()
        path = tuple(_TEXTS.decode(row[2]))
        query = _KEY + " UNION ALL " + _ACCOUNTS.format(marks=", ".join("?" * len(path)))
        owner = tx.memo[Owner, key_id] = Owner(row[0], row[1], path, row[2], query)
    return owner


def standing_of(tx: Transaction, key_id: str, at: int) -> Standing:
    """Read whether a key may spend at ``at``, and its caps.

    Raises:
        DownstreamError: ``invalid_api_key``: there is no such key.
    """
    owner = owner_of(tx, key_id)
    rows = tx.execute(owner.query, (LIFETIME_START, key_id, LIFETIME_START, *owner.path))
    valid = all(_is_future(row[0], at) and _is_future(row[1], at) for row in rows)
    return Standing(owner, valid, [_cap(row) for row in rows if row[3] is not None])


def _is_future(moment: int | None, at: int) -> bool:
    return moment is None or moment > at


def _cap(row: Row) -> CapState:
    _, _, whose, cap_id, window, limit, settled, held = row
    return CapState(cap_id, LIFETIME_START, limit, settled or 0, held or 0, window, whose)
