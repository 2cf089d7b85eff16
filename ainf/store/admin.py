"""Accounts and keys, as an operator makes and ends them; each change is an audit event of the command's own epoch.

All functions but ``key_text`` and ``digest_of`` are operations (see ``transaction``). Names, ids, times (microseconds)
and randomness come in as arguments. What is wrong with a request is an ``AinfError`` whose message says what to do.
"""

import base64
import hashlib
import re
from collections.abc import Mapping

import attrs
import msgspec

from ainf.inference.errors import DownstreamError
from ainf.store.base import KeyLimits
from ainf.store.rights import KeyRights, check_limits, check_rights, limits_within, within
from ainf.store.transaction import Row, Transaction

LEAST_SECRET_BYTES = 24

_NAME = re.compile(r"[a-z0-9._-]{1,64}")
_KEY_ID = re.compile(r"[a-z0-9]{8,32}")

_KEYS = """
    SELECT k.key_id, a.name, k.models, k.endpoints, k.finish_reasons, k.money_refusal, k.requests_per_minute,
        k.tokens_per_minute, k.concurrent_streams, k.inject_cost, k.maker_key_id, k.created_at, k.expires_at,
        k.revoked_at
    FROM keys AS k JOIN accounts AS a ON a.account_id = k.account_id
"""
_VALID = "SELECT key_id FROM keys WHERE key_id = ? AND revoked_at IS NULL"
_MADE = """
    WITH RECURSIVE made (key_id) AS (
        SELECT key_id FROM keys WHERE key_id = ?
        UNION
        SELECT k.key_id FROM made JOIN keys AS k ON k.maker_key_id = made.key_id
    )
    SELECT k.key_id FROM made JOIN keys AS k ON k.key_id = made.key_id
    WHERE k.revoked_at IS NULL ORDER BY k.created_at, k.key_id
"""


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
    limits: KeyLimits
    inject_cost: bool
    maker_key_id: str | None
    """The key in whose name it was made."""
    created_at: int
    expires_at: int | None
    revoked_at: int | None


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


def create_key(  # noqa: PLR0913 - what a key is
    tx: Transaction,
    *,
    key_id: str,
    digest: bytes,
    account: str,
    rights: KeyRights,
    at: int,
    maker_key_id: str | None = None,
) -> Key:
    """Make a key of an account; only its digest is stored, so the caller shows the key now or never.

    A key that is made in another's name has never more rights than that one, and the rest of its rights from it
    (``rights.within``); its account is that key's or below it. What the maker is given later, it is not. Caps are no
    rights: one on the maker does not count what the new key spends, as one on their account does.

    Raises:
        DownstreamError: ``not_found``: no such account or maker; ``invalid_value``: the account is closed, the maker is
            not valid, or a right is wrong or not within the maker's.
    """
    account_id, path_json = _open_account(tx, account)
    if maker_key_id is not None:
        maker = _valid_maker(tx, maker_key_id, path_json, at)
        rights = within(rights, _rights_of(maker))
    check_rights(rights, at)
    limits = rights.limits
    tx.execute(
        "INSERT INTO keys (key_id, digest, account_id, models, endpoints, finish_reasons, money_refusal, created_at,"
        " expires_at, requests_per_minute, tokens_per_minute, concurrent_streams, inject_cost, maker_key_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
            limits.requests_per_minute,
            limits.tokens_per_minute,
            limits.concurrent_streams,
            rights.inject_cost,
            maker_key_id,
        ),
    )
    body = {"key_id": key_id, "account_id": account_id, "maker_key_id": maker_key_id, **attrs.asdict(rights)}
    tx.append_audit("key.created", at, None, body)
    named = attrs.asdict(rights, recurse=False)
    return Key(key_id, account, created_at=at, revoked_at=None, maker_key_id=maker_key_id, **named)


def _valid_maker(tx: Transaction, key_id: str, path_json: str, at: int) -> Key:
    """Return the key that makes another one in an account whose path has nothing closed."""
    maker = require_key(tx, key_id)
    if maker.revoked_at is not None or (maker.expires_at is not None and maker.expires_at <= at):
        raise DownstreamError("invalid_value", f"The key {key_id!r} is revoked or expired, and makes none.")
    if find_account(tx, maker.account)[0] not in msgspec.json.decode(path_json, type=list[str]):
        raise DownstreamError(
            "invalid_value", f"The key {key_id!r} makes keys of the account {maker.account!r} and those below it only."
        )
    return maker


def _rights_of(key: Key) -> KeyRights:
    return KeyRights(**{field.name: getattr(key, field.name) for field in attrs.fields(KeyRights)})


def _json_or_null(names: tuple[str, ...] | None) -> str | None:
    return None if names is None else msgspec.json.encode(names).decode()


def list_keys(tx: Transaction, account: str | None) -> list[Key]:
    """Return the keys of an account, or all; revoked and expired ones too.

    Raises:
        DownstreamError: ``not_found``: no such account.
    """
    account_id = None if account is None else find_account(tx, account)[0]
    rows = tx.execute(
        f"{_KEYS} WHERE ? IS NULL OR k.account_id = ? ORDER BY k.created_at, k.key_id", (account_id, account_id)
    )
    return [_key(row) for row in rows]


def require_key(tx: Transaction, key_id: str) -> Key:
    """Return a key, revoked or not.

    Raises:
        DownstreamError: ``not_found``.
    """
    row = tx.one(f"{_KEYS} WHERE k.key_id = ?", (key_id,))
    if row is None:
        raise DownstreamError("not_found", f"There is no key {key_id[:80]!r}; `ainf keys list` shows them.")
    return _key(row)


def _key(row: Row) -> Key:
    key_id, account, models, endpoints, finish_reasons, money_refusal, *rest = row
    requests, tokens, streams, inject_cost, *rest = rest
    limits = KeyLimits(requests, tokens, streams)
    return Key(
        key_id, account, _texts(models), _texts(endpoints), finish_reasons, money_refusal, limits, bool(inject_cost),
        *rest,
    )  # fmt: skip


def _texts(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else msgspec.json.decode(text, type=tuple[str, ...])


def limit_key(tx: Transaction, *, key_id: str, change: Mapping[str, int | None], at: int) -> KeyLimits:
    """Change limits of a key, by their names; None lifts one. Return all that it has then.

    Of a key that was made in another's name, that one's limits are the highest that each may be changed to, and what
    None gives back. What is not changed stays, also where the maker's was lowered since.

    Raises:
        DownstreamError: ``not_found``; ``invalid_value``: it is revoked, or a limit is wrong or above the maker's.
    """
    key = require_key(tx, key_id)
    if key.revoked_at is not None:
        raise DownstreamError("invalid_value", f"The key {key_id!r} is revoked already.")
    changed = KeyLimits(**change)
    check_limits(changed)
    if key.maker_key_id is not None:
        changed = limits_within(changed, require_key(tx, key.maker_key_id).limits)
    limits = attrs.evolve(key.limits, **{name: getattr(changed, name) for name in change})
    tx.execute(
        "UPDATE keys SET requests_per_minute = ?, tokens_per_minute = ?, concurrent_streams = ? WHERE key_id = ?",
        (limits.requests_per_minute, limits.tokens_per_minute, limits.concurrent_streams, key_id),
    )
    tx.append_audit("key.limited", at, None, {"key_id": key_id, "limits": limits})
    return limits


def revoke_key(tx: Transaction, *, key_id: str, at: int, with_made: bool = False) -> list[str]:
    """Revoke a key: it no longer authenticates, and its running exchanges end; return what was revoked.

    Args:
        tx: the transaction.
        key_id: which.
        at: now.
        with_made: also every key that was made in its name, and in the names of these; they may be what is left of it.

    Raises:
        DownstreamError: ``not_found``; ``invalid_value``: it (and all that it made) is revoked already.
    """
    require_key(tx, key_id)
    rows = tx.execute(_MADE if with_made else _VALID, (key_id,))
    if not rows:
        raise DownstreamError("invalid_value", f"The key {key_id!r} is revoked already.")
    revoked = [row[0] for row in rows]
    for each in revoked:
        tx.execute("UPDATE keys SET revoked_at = ? WHERE key_id = ?", (at, each))
        tx.append_audit("key.revoked", at, None, {"key_id": each, "with_key_id": key_id})
    return revoked
