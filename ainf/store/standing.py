"""Whether a key may spend now, and under which caps: what every opening and extension reads afresh, in one query."""

from collections.abc import Collection
from operator import itemgetter
from typing import Final

import attrs
import msgspec

from ainf.admission import invalid_key
from ainf.ledger import CapState, Window, covers, window_start, window_starts
from ainf.store.counters import IN_WINDOW, CounterKey
from ainf.store.transaction import Row, Transaction

_OWNER = """
    SELECT k.account_id, a.name, a.path FROM keys AS k JOIN accounts AS a ON a.account_id = k.account_id
    WHERE k.key_id = ?
"""
_CAP = (
    'c.cap_id, c.kind, c.subject_id, c."window", c.model, c.limit_nusd, c.created_at,'
    " n.window_start, n.settled_nusd, n.held_nusd"
)
_KEY = f"""
    SELECT s.revoked_at, s.expires_at, 'key ' || s.key_id, {_CAP}
    FROM keys AS s
    LEFT JOIN caps AS c ON c.subject = 'key' AND c.subject_id = s.key_id AND c.removed_at IS NULL
    {IN_WINDOW}
    WHERE s.key_id = ?
"""  # noqa: S608 - constants of this file
_ACCOUNTS = f"""
    SELECT s.closed_at, NULL, 'account ' || s.name, {_CAP}
    FROM accounts AS s
    LEFT JOIN caps AS c ON c.subject = 'account' AND c.subject_id = s.account_id AND c.removed_at IS NULL
    {IN_WINDOW}
    WHERE s.account_id IN ({{marks}})
"""  # noqa: S608 - as above
_PATTERNS = "SELECT cap_id, model FROM caps WHERE cap_id IN ({marks})"
_WINDOWS: Final = tuple(Window)
_WINDOW_NAMED: Final = {window.value: window for window in Window}
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
    """A key's live state at one moment, for one exchange."""

    owner: Owner
    valid: bool
    """Neither revoked nor expired, and no account on the path is closed."""
    caps: list[CapState]
    """Every cap and the balance in force that the exchange falls under, each in its window."""


@attrs.frozen
class AttemptStanding:
    """Whether a running exchange may open another attempt, and under which caps."""

    valid: bool
    """As in ``Standing``."""
    counted_on: list[CounterKey]
    """The counters that the attempt counts on."""
    in_force: dict[CounterKey, CapState]
    """Every cap and balance in force on the path, whatever model it is for, in its window of the admission."""


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


def standing_of(tx: Transaction, key_id: str, at: int, *, model: str) -> Standing:
    """Read whether a key may open an exchange at ``at``, and under which caps.

    These are all on the key and its path that are for the model, and of the balances the nearest.

    Args:
        tx: the transaction.
        key_id: whose.
        at: the moment of the admission: the exchange counts in the windows that hold it.
        model: the configured name.

    Raises:
        DownstreamError: ``invalid_api_key``: there is no such key.
    """
    owner = owner_of(tx, key_id)
    rows = _read(tx, owner, key_id, at)
    caps: list[CapState] = []
    balances: dict[int, CapState] = {}
    for row in rows:
        if (cap := _cap(row, at)) is None:
            continue
        if cap.kind == "balance":
            balances[owner.path.index(row[5])] = cap
        elif covers(cap.model, model) and _begins_by(row, cap, at):
            caps.append(cap)
    if balances:
        caps.append(balances[max(balances)])
    return Standing(owner, _is_valid(rows, at), caps)


def standing_of_running(
    tx: Transaction, key_id: str, at: int, *, opened_at: int, fixed: Collection[CounterKey]
) -> Standing:
    """Read whether a running exchange may go on spending at ``at``, and what is in force of the caps it counts on.

    These stay the ones of its admission, in the windows of that moment: a balance that was opened nearer to the key
    meanwhile is not for it.

    Args:
        tx: the transaction.
        key_id: whose.
        at: now.
        opened_at: the moment of the admission.
        fixed: the counters that the exchange counts on.

    Raises:
        DownstreamError: ``invalid_api_key``: there is no such key.
    """
    owner = owner_of(tx, key_id)
    rows = _read(tx, owner, key_id, opened_at)
    caps = [cap for row in rows if (cap := _cap(row, opened_at)) and (cap.cap_id, cap.window_start) in fixed]
    return Standing(owner, _is_valid(rows, at), caps)


def standing_of_attempt(
    tx: Transaction, key_id: str, at: int, *, model: str, opened_at: int, fixed: Collection[CounterKey]
) -> AttemptStanding:
    """Read whether a running exchange may open an attempt on a model at ``at``, and under which caps.

    These are all that are for the model and in force now, in the windows of the admission, and those of the admission
    that are for it, though they were removed meanwhile. The balance is that of the admission.

    Args:
        tx: the transaction.
        key_id: whose.
        at: now.
        model: the configured name.
        opened_at: the moment of the admission.
        fixed: the counters that the first attempt counts on.

    Raises:
        DownstreamError: ``invalid_api_key``: there is no such key.
    """
    owner = owner_of(tx, key_id)
    rows = _read(tx, owner, key_id, opened_at)
    in_force: dict[CounterKey, CapState] = {}
    counted_on: list[CounterKey] = []
    for row in rows:
        if (cap := _cap(row, opened_at)) is None:
            continue
        key = cap.cap_id, cap.window_start
        in_force[key] = cap
        if key in fixed if cap.kind == "balance" else covers(cap.model, model) and _begins_by(row, cap, opened_at):
            counted_on.append(key)
    counted_on += _for_model(tx, [key for key in fixed if key not in in_force], model)
    return AttemptStanding(_is_valid(rows, at), counted_on, in_force)


def caps_on_path(tx: Transaction, key_id: str, at: int) -> list[CapState]:
    """Return every cap and balance in force on a key and its path, whatever model it is for (an operation).

    Each is in its window that holds ``at``. The nearest come first: the key's own, its account's, those of the account
    above, ...; so of several balances the first one pays.

    Raises:
        DownstreamError: ``invalid_api_key``: there is no such key.
    """
    owner = owner_of(tx, key_id)
    depths = {account_id: depth for depth, account_id in enumerate(owner.path)}
    found = [
        ((-depths.get(row[5], len(depths)), _WINDOWS.index(cap.window), cap.kind, cap.model), cap)
        for row in _read(tx, owner, key_id, at)
        if (cap := _cap(row, at)) is not None
    ]
    return [cap for _, cap in sorted(found, key=itemgetter(0))]


def _for_model(tx: Transaction, removed: list[CounterKey], model: str) -> list[CounterKey]:
    """Return those of removed caps and balances that are for a model."""
    if not removed:
        return []
    rows = tx.execute(_PATTERNS.format(marks=", ".join("?" * len(removed))), [cap_id for cap_id, _ in removed])
    covering = {cap_id for cap_id, pattern in rows if covers(pattern, model)}
    return [key for key in removed if key[0] in covering]


def _read(tx: Transaction, owner: Owner, key_id: str, counted_at: int) -> list[Row]:
    """Return the key and each account on its path with each of their caps, in the windows that hold a moment."""
    starts = window_starts(counted_at)
    return tx.execute(owner.query, (*starts, key_id, *starts, *owner.path))


def _is_valid(rows: list[Row], at: int) -> bool:
    return all(_is_future(row[0], at) and _is_future(row[1], at) for row in rows)


def _is_future(moment: int | None, at: int) -> bool:
    return moment is None or moment > at


def _cap(row: Row, counted_at: int) -> CapState | None:
    """Return the cap of a row, in its window that holds a moment; None where the row is of a key or account alone."""
    _, _, whose, cap_id, kind, _, window_name, model, limit, _, start, settled, held = row
    if cap_id is None:
        return None
    window = _WINDOW_NAMED[window_name]
    if start is None:
        start = window_start(window, counted_at)
    return CapState(cap_id, start, limit, settled or 0, held or 0, window, whose, model, kind)


def _begins_by(row: Row, cap: CapState, at: int) -> bool:
    """Whether a cap counts the window of a moment: it counts none before the one that it was set in.

    An opening may be committed a little after its moment, and the cap have been set meanwhile, in the next window: what
    was spent in the one before was never summed up.
    """
    created_at: int = row[9]
    return created_at <= at or window_start(cap.window, created_at) <= cap.window_start
