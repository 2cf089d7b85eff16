"""Whether a key may spend now, and under which caps: what every opening and extension reads afresh, in one query."""

from typing import Final

import attrs
import msgspec

from ainf.admission import invalid_key
from ainf.ledger import CapState, Window, covers, window_start
from ainf.store.transaction import Row, Transaction

_OWNER = """
    SELECT k.account_id, a.name, a.path FROM keys AS k JOIN accounts AS a ON a.account_id = k.account_id
    WHERE k.key_id = ?
"""
_CAP = (
    """c.cap_id, c.kind, c.subject_id, c."window", c.model, c.limit_nusd, n.window_start, n.settled_nusd, n.held_nusd"""
)
_COUNTER = """
    LEFT JOIN counters AS n ON n.cap_id = c.cap_id
        AND n.window_start = CASE c."window" WHEN 'hour' THEN ? WHEN 'day' THEN ? WHEN 'week' THEN ? WHEN 'month' THEN ?
            ELSE 0 END
"""
_KEY = f"""
    SELECT s.revoked_at, s.expires_at, 'key ' || s.key_id, {_CAP}
    FROM keys AS s
    LEFT JOIN caps AS c ON c.subject = 'key' AND c.subject_id = s.key_id AND c.removed_at IS NULL
    {_COUNTER}
    WHERE s.key_id = ?
"""  # noqa: S608 - constants of this file
_ACCOUNTS = f"""
    SELECT s.closed_at, NULL, 'account ' || s.name, {_CAP}
    FROM accounts AS s
    LEFT JOIN caps AS c ON c.subject = 'account' AND c.subject_id = s.account_id AND c.removed_at IS NULL
    {_COUNTER}
    WHERE s.account_id IN ({{marks}})
"""  # noqa: S608 - as above
_COUNTED: Final = (Window.HOUR, Window.DAY, Window.WEEK, Window.MONTH)
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
    """A key's live state at one moment, for one model."""

    owner: Owner
    valid: bool
    """Neither revoked nor expired, and no account on the path is closed."""
    caps: list[CapState]
    """Every cap on the key and its path that is for the model, and the balance that pays, each in its window."""


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


def standing_of(tx: Transaction, key_id: str, at: int, *, model: str, counted_at: int) -> Standing:
    """Read whether a key may spend at ``at``, and its caps.

    Args:
        tx: the transaction.
        key_id: whose.
        at: now.
        model: the configured name: caps on other models do not apply.
        counted_at: the admission of the exchange that is asked for: it counts in the windows of that moment.

    Raises:
        DownstreamError: ``invalid_api_key``: there is no such key.
    """
    owner = owner_of(tx, key_id)
    starts = [window_start(window, counted_at) for window in _COUNTED]
    rows = tx.execute(owner.query, (*starts, key_id, *starts, *owner.path))
    valid = all(_is_future(row[0], at) and _is_future(row[1], at) for row in rows)
    caps, balances = [], []
    for row in rows:
        if row[3] is None:
            continue
        cap = _cap(row, counted_at)
        if cap.kind == "balance":
            balances.append((owner.path.index(row[5]), cap))
        elif covers(cap.model, model):
            caps.append(cap)
    if balances:
        caps.append(max(balances, key=_depth)[1])
    return Standing(owner, valid, caps)


def _depth(balance: tuple[int, CapState]) -> int:
    return balance[0]


def _is_future(moment: int | None, at: int) -> bool:
    return moment is None or moment > at


def _cap(row: Row, counted_at: int) -> CapState:
    _, _, whose, cap_id, kind, _, window_name, model, limit, start, settled, held = row
    window = Window(window_name)
    if start is None:
        start = window_start(window, counted_at)
    return CapState(cap_id, start, limit, settled or 0, held or 0, window, whose, model, kind)
