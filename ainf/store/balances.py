"""Balances: prepaid money of an account, as an operator opens, credits and closes them; each change is an audit event.

A balance is a cap for a lifetime whose limit is the sum of its credits. Of those on a request's path the nearest one
pays, and it alone; it counts the exchanges that were admitted under it, so one that is opened has spent nothing. All
functions are operations.
"""

from enum import StrEnum
from typing import Final

import attrs

from ainf.inference.errors import DownstreamError
from ainf.inference.money import format_usd
from ainf.ledger import Window
from ainf.store.admin import find_account
from ainf.store.caps import note_limit
from ainf.store.transaction import Transaction

MOST_NUSD: Final = 2**62
"""The most that a balance may be, up or down: what is left of it is told as an integer of 64 bits, too."""
MOST_NOTE: Final = 200

_BALANCES: Final = """
    SELECT c.cap_id, a.name, c.created_at, c.limit_nusd, coalesce(n.settled_nusd, 0), coalesce(n.held_nusd, 0)
    FROM caps AS c
    JOIN accounts AS a ON a.account_id = c.subject_id
    LEFT JOIN counters AS n ON n.cap_id = c.cap_id
    WHERE c.kind = 'balance' AND c.removed_at IS NULL AND (? IS NULL OR c.subject_id = ?)
    ORDER BY a.name
"""


@attrs.frozen
class Balance:
    """A balance in force, as it stands."""

    cap_id: str
    account: str
    """The account's name."""
    created_at: int
    paid_in_nusd: int
    """The sum of its credits: its limit; negative where corrections took more than was paid."""
    settled_nusd: int
    held_nusd: int

    @property
    def left_nusd(self) -> int:
        """What it still pays for; negative where overrun or a correction left more spent than was paid."""
        return self.paid_in_nusd - self.settled_nusd - self.held_nusd


class CreditKind(StrEnum):
    """Why a balance grew or shrank."""

    TOP_UP = "top_up"
    ADJUSTMENT = "adjustment"


@attrs.frozen
class NewCredit:
    """An amount to put on a balance, or to take off it."""

    credit_id: str
    kind: CreditKind
    amount_nusd: int
    """Of a top-up more than nothing; of an adjustment anything else than nothing."""
    note: str = ""
    """For who reads the list later: at most ``MOST_NOTE`` printable characters."""


@attrs.frozen
class Credit:
    """An amount that was put on a balance, or taken off it."""

    credit_id: str
    cap_id: str
    """The balance; an account that closed one may have opened another."""
    kind: str
    amount_nusd: int
    note: str
    posted_at: int


def open_balance(tx: Transaction, *, cap_id: str, account: str, at: int, first: NewCredit | None = None) -> Balance:
    """Open a balance of an account (by name); nothing is admitted under it before something was put on it.

    What runs already goes on under the balance that it was admitted under, or under none.

    Raises:
        DownstreamError: ``not_found``: no such account; ``invalid_value``: the account has one, or ``first`` is wrong.
    """
    account_id, _ = find_account(tx, account)
    if _find(tx, account_id) is not None:
        raise DownstreamError("invalid_value", f"The account {account!r} has a balance already; top it up.")
    balance = Balance(cap_id, account, at, 0, 0, 0)
    if first is not None:
        _check(balance, first)
    tx.execute(
        'INSERT INTO caps (cap_id, kind, subject, subject_id, "window", model, limit_nusd, counts_from, created_at)'
        " VALUES (?, 'balance', 'account', ?, ?, '*', 0, 0, ?)",
        (cap_id, account_id, Window.LIFETIME.value, at),
    )
    note_limit(tx, cap_id, 0, at)
    tx.append_audit("balance.opened", at, None, {"cap_id": cap_id, "account_id": account_id})
    return balance if first is None else _put(tx, balance, first, at)


def credit(tx: Transaction, *, account: str, new: NewCredit, at: int) -> Balance:
    """Put an amount on the balance of an account (by name); return how it stands then.

    An adjustment may leave less than is spent: then nothing opens until it is above that again.

    Raises:
        DownstreamError: ``not_found``: no such account, or it has no balance; ``invalid_value``: a top-up that is not
            positive, an adjustment by nothing, a note that is too long, or a balance out of range.
    """
    balance = _balance_of(tx, account)
    _check(balance, new)
    return _put(tx, balance, new, at)


def _put(tx: Transaction, balance: Balance, new: NewCredit, at: int) -> Balance:
    limit = balance.paid_in_nusd + new.amount_nusd
    tx.execute(
        "INSERT INTO credits (credit_id, cap_id, kind, amount_nusd, note, at) VALUES (?, ?, ?, ?, ?, ?)",
        (new.credit_id, balance.cap_id, new.kind, new.amount_nusd, new.note, at),
    )
    tx.execute("UPDATE caps SET limit_nusd = ? WHERE cap_id = ?", (limit, balance.cap_id))
    note_limit(tx, balance.cap_id, limit, at)
    body = {
        "credit_id": new.credit_id,
        "cap_id": balance.cap_id,
        "credit_kind": new.kind,
        "amount_nusd": new.amount_nusd,
        "note": new.note,
        "limit_nusd": limit,
    }
    tx.append_audit("balance.credited", at, None, body)
    return attrs.evolve(balance, paid_in_nusd=limit)


def _check(balance: Balance, new: NewCredit) -> None:
    if new.kind is CreditKind.TOP_UP and new.amount_nusd <= 0:
        raise DownstreamError("invalid_value", "A top-up is more than nothing; take back with an adjustment.")
    if not new.amount_nusd:
        raise DownstreamError("invalid_value", "An adjustment by nothing changes nothing; give an amount.")
    if len(new.note) > MOST_NOTE or not new.note.isprintable():
        raise DownstreamError("invalid_value", f"A note is at most {MOST_NOTE} printable characters.")
    if abs(balance.paid_in_nusd + new.amount_nusd) > MOST_NUSD:
        raise DownstreamError(
            "invalid_value", f"A balance is at most {format_usd(MOST_NUSD)} USD, up or down; give a smaller amount."
        )


def close_balance(tx: Transaction, *, account: str, at: int) -> Balance:
    """Close the balance of an account (by name): it binds nothing any more; return how it stood.

    What runs under it goes on and is counted on it, unbound. New exchanges fall under the next balance on their path,
    or under none.

    Raises:
        DownstreamError: ``not_found``: no such account, or it has no balance.
    """
    balance = _balance_of(tx, account)
    tx.execute("UPDATE caps SET removed_at = ? WHERE cap_id = ?", (at, balance.cap_id))
    note_limit(tx, balance.cap_id, None, at)
    body = {
        "cap_id": balance.cap_id,
        "limit_nusd": balance.paid_in_nusd,
        "settled_nusd": balance.settled_nusd,
        "held_nusd": balance.held_nusd,
    }
    tx.append_audit("balance.closed", at, None, body)
    return balance


def _balance_of(tx: Transaction, account: str) -> Balance:
    balance = _find(tx, find_account(tx, account)[0])
    if balance is None:
        raise DownstreamError("not_found", f"The account {account!r} has no balance; `ainf balances list` shows them.")
    return balance


def _find(tx: Transaction, account_id: str) -> Balance | None:
    row = tx.one(_BALANCES, (account_id, account_id))
    return None if row is None else Balance(*row)


def list_balances(tx: Transaction) -> list[Balance]:
    """Return the balances in force, by the names of their accounts."""
    return [Balance(*row) for row in tx.execute(_BALANCES, (None, None))]


def list_credits(tx: Transaction, account: str) -> list[Credit]:
    """Return what was put on the balances that an account (by name) has and had, oldest first.

    Raises:
        DownstreamError: ``not_found``: no such account.
    """
    account_id, _ = find_account(tx, account)
    rows = tx.execute(
        "SELECT r.credit_id, r.cap_id, r.kind, r.amount_nusd, r.note, r.at"
        " FROM credits AS r JOIN caps AS c ON c.cap_id = r.cap_id WHERE c.subject_id = ? ORDER BY r.at, r.credit_id",
        (account_id,),
    )
    return [Credit(*row) for row in rows]
