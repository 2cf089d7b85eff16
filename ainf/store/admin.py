"""Accounts and keys, as an operator makes and ends them; each change is an audit event of the command's own epoch.

All functions but ``key_text`` and ``digest_of`` are operations (see ``transaction``). Names, ids, times (microseconds)
and randomness come in as arguments. What is wrong with a request is an ``AinfError`` whose message says what to do.
"""

import base64
import hashlib
import re

import attrs
import msgspec

from ainf.inference.errors import DownstreamError
from ainf.store.transaction import Row, Transaction

LEAST_SECRET_BYTES = 24
FINISH_REASONS = ("extended", "strict", "loud")
MONEY_REFUSALS = ("402", "429")

_NAME = re.compile(r"[a-z0-9._-]{1,64}")
_KEY_ID = re.compile(r"[a-z0-9]{8,32}")


@attrs.frozen
class Account:
    """An account as it is listed."""

    account_id: str
    name: str
    parent: str | None
    """The parent's name."""
    created_at: int
    closed_at: int | None


@attrs.frozen
class Key:
    """A key as it is listed; the key itself was shown once, when it was made."""

    key_id: str
    account: str
    models: tuple[str, ...] | None
    endpoints: tuple[str, ...] | None
    finish_reasons: str
    money_refusal: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None


@attrs.frozen
class KeyRights:
    """What a new key may do, and how money refusals are told to its clients."""

    models: tuple[str, ...] | None = None
    """Allowed model names; None for all."""
    endpoints: tuple[str, ...] | None = None
    """Allowed request paths; None for all."""
    expires_at: int | None = None
    finish_reasons: str = FINISH_REASONS[0]
    money_refusal: str = MONEY_REFUSALS[0]


def key_text(key_id: str, secret: bytes) -> str:
    """Return the key that its owner sends: ``ainf_<id>_<secret>``.

    Args:
        key_id: the public part; lower-case letters and digits.
        secret: at least 24 random bytes.
    """
    assert _KEY_ID.fullmatch(key_id), key_id
    assert len(secret) >= LEAST_SECRET_BYTES
    return f"ainf_{key_id}_{base64.b32encode(secret).decode().rstrip('=').lower()}"


def digest_of(key: str) -> bytes:
    """Return what is stored of a key, and looked up: the SHA-256 of the whole text."""
    return hashlib.sha256(key.encode()).digest()


def create_account(tx: Transaction, *, account_id: str, name: str, parent: str | None, at: int) -> Account:
    """Make an account, at the root or below ``parent`` (a name).

    Raises:
        DownstreamError: ``invalid_value``: the name is no name or taken, or the parent is closed; ``not_found``.
    """
    if not _NAME.fullmatch(name):
        raise DownstreamError(
            "invalid_value", f"The account name {name[:80]!r} is not 1 to 64 characters of a-z, 0-9, `.`, `_`, `-`."
        )
    if tx.one("SELECT 1 FROM accounts WHERE name = ?", (name,)) is not None:
        raise DownstreamError("invalid_value", f"There is an account {name!r} already; names are unique for ever.")
    parent_id, path = _place(tx, parent)
    path_json = msgspec.json.encode([*path, account_id]).decode()
    tx.execute(
        "INSERT INTO accounts (account_id, name, parent_id, path, created_at) VALUES (?, ?, ?, ?, ?)",
        (account_id, name, parent_id, path_json, at),
    )
    tx.append_audit("account.created", at, None, {"account_id": account_id, "name": name, "parent_id": parent_id})
    return Account(account_id, name, parent, at, None)


def _place(tx: Transaction, parent: str | None) -> tuple[str | None, list[str]]:
    if parent is None:
        return None, []
    parent_id, path_json = _open_account(tx, parent)
    return parent_id, msgspec.json.decode(path_json, type=list[str])


def _open_account(tx: Transaction, name: str) -> tuple[str, str]:
    """Return the id and path of an account on whose path nothing is closed."""
    account_id, path_json = find_account(tx, name)
    path = msgspec.json.decode(path_json, type=list[str])
    closed = tx.execute(
        f"SELECT name FROM accounts WHERE closed_at IS NOT NULL AND account_id IN ({', '.join('?' * len(path))})",  # noqa: S608 - only marks are put in
        path,
    )
    if closed:
        raise DownstreamError("invalid_value", f"The account {closed[0][0]!r} is closed; take another one.")
    return account_id, path_json


def find_account(tx: Transaction, name: str) -> tuple[str, str]:
    """Return the id of an account and its path as JSON.

    Raises:
        DownstreamError: ``not_found``.
    """
    row = tx.one("SELECT account_id, path FROM accounts WHERE name = ?", (name,))
    if row is None:
        raise DownstreamError("not_found", f"There is no account {name[:80]!r}; `ainf accounts list` shows them.")
    return row[0], row[1]


def list_accounts(tx: Transaction) -> list[Account]:
    """Return all accounts, closed ones too, parents before their children."""
    rows = tx.execute(
        "SELECT a.account_id, a.name, p.name, a.created_at, a.closed_at"
        " FROM accounts AS a LEFT JOIN accounts AS p ON p.account_id = a.parent_id ORDER BY a.created_at, a.path"
    )
    return [Account(*row) for row in rows]


def close_account(tx: Transaction, *, name: str, at: int) -> None:
    """Close an account: its keys, and those below it, no longer authenticate. It keeps its records and its name.

    Raises:
        DownstreamError: ``not_found``; ``invalid_value``: it is closed already.
    """
    account_id, _ = find_account(tx, name)
    rows = tx.execute(
        "UPDATE accounts SET closed_at = ? WHERE account_id = ? AND closed_at IS NULL RETURNING 1", (at, account_id)
    )
    if not rows:
        raise DownstreamError("invalid_value", f"The account {name!r} is closed already.")
    tx.append_audit("account.closed", at, None, {"account_id": account_id})


def create_key(tx: Transaction, *, key_id: str, digest: bytes, account: str, rights: KeyRights, at: int) -> Key:
    """Make a key of an account; only its digest is stored, so the caller shows the key now or never.

    Raises:
        DownstreamError: ``not_found``: no such account; ``invalid_value``: the account is closed, or a right is wrong.
    """
    account_id, _ = _open_account(tx, account)
    _check_rights(rights, at)
    tx.execute(
        "INSERT INTO keys (key_id, digest, account_id, models, endpoints, finish_reasons, money_refusal, created_at,"
        " expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key_id,
            digest,
            account_id,
            _json_or_null(rights.models),
            _json_or_null(rights.endpoints),
            rights.finish_reasons,
            rights.money_refusal,
            at,
            rights.expires_at,
        ),
    )
    body = {"key_id": key_id, "account_id": account_id, **attrs.asdict(rights)}
    tx.append_audit("key.created", at, None, body)
    return Key(key_id, account, created_at=at, revoked_at=None, **attrs.asdict(rights, recurse=False))


def _check_rights(rights: KeyRights, at: int) -> None:
    if rights.finish_reasons not in FINISH_REASONS:
        raise DownstreamError("invalid_value", f"Finish reasons are one of {', '.join(FINISH_REASONS)}.")
    if rights.money_refusal not in MONEY_REFUSALS:
        raise DownstreamError("invalid_value", f"A money refusal is one of {', '.join(MONEY_REFUSALS)}.")
    if rights.expires_at is not None and rights.expires_at <= at:
        raise DownstreamError("invalid_value", "The expiry is in the past; give a later time.")
    for path in rights.endpoints or ():
        if not path.startswith("/"):
            raise DownstreamError(
                "invalid_value", f"No endpoint is named {path[:80]!r}; give a path such as /v1/inference."
            )


def _json_or_null(names: tuple[str, ...] | None) -> str | None:
    return None if names is None else msgspec.json.encode(names).decode()


def list_keys(tx: Transaction, account: str | None) -> list[Key]:
    """Return the keys of an account, or all; revoked and expired ones too.

    Raises:
        DownstreamError: ``not_found``: no such account.
    """
    account_id = None if account is None else find_account(tx, account)[0]
    rows = tx.execute(
        "SELECT k.key_id, a.name, k.models, k.endpoints, k.finish_reasons, k.money_refusal, k.created_at, k.expires_at,"
        " k.revoked_at FROM keys AS k JOIN accounts AS a ON a.account_id = k.account_id"
        " WHERE ? IS NULL OR k.account_id = ? ORDER BY k.created_at, k.key_id",
        (account_id, account_id),
    )
    return [_key(row) for row in rows]


def _key(row: Row) -> Key:
    key_id, account, models, endpoints, *rest = row
    return Key(key_id, account, _texts(models), _texts(endpoints), *rest)


def _texts(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else msgspec.json.decode(text, type=tuple[str, ...])


def revoke_key(tx: Transaction, *, key_id: str, at: int) -> None:
    """Revoke a key: it no longer authenticates, and its running exchanges end.

    Raises:
        DownstreamError: ``not_found``; ``invalid_value``: it is revoked already.
    """
    require_key(tx, key_id)
    rows = tx.execute(
        "UPDATE keys SET revoked_at = ? WHERE key_id = ? AND revoked_at IS NULL RETURNING 1", (at, key_id)
    )
    if not rows:
        raise DownstreamError("invalid_value", f"The key {key_id!r} is revoked already.")
    tx.append_audit("key.revoked", at, None, {"key_id": key_id})


def require_key(tx: Transaction, key_id: str) -> None:
    """Check that there is such a key, revoked or not.

    Raises:
        DownstreamError: ``not_found``.
    """
    if tx.one("SELECT 1 FROM keys WHERE key_id = ?", (key_id,)) is None:
        raise DownstreamError("not_found", f"There is no key {key_id[:80]!r}; `ainf keys list` shows them.")
