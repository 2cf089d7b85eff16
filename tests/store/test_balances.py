"""Balances: what was paid in is what may be spent, by those for whom it is the nearest."""

import pytest

from ainf.inference.errors import DownstreamError, SpendError
from ainf.store.balances import (
    MOST_NUSD,
    CreditKind,
    NewCredit,
    close_balance,
    credit,
    list_balances,
    list_credits,
    open_balance,
)
from tests.store.books import COST, Books

TOP_UP, ADJUSTMENT = CreditKind.TOP_UP, CreditKind.ADJUSTMENT
HELD = 110_000
"""What an exchange of the books holds where nothing limits it."""


@pytest.fixture
def books(tmp_path):
    books = Books(tmp_path)
    books.account("root")
    books.account("team", "root")
    return books


def balance(books, account, *amounts):
    """Open a balance with or without an amount on it; return its id."""
    first = NewCredit(books.new_id("cr"), TOP_UP, *amounts) if amounts else None
    opened = books.run(open_balance, cap_id=books.new_id("bal"), account=account, first=first, at=books.tick())
    return opened.cap_id


def put(books, account, amount, kind=None, note=""):
    new = NewCredit(books.new_id("cr"), kind or (TOP_UP if amount > 0 else ADJUSTMENT), amount, note)
    return books.run(credit, account=account, new=new, at=books.tick())


def standing(books, account="root"):
    (found,) = [each for each in list_balances(books.tx) if each.account == account]
    return found.paid_in_nusd, found.settled_nusd, found.held_nusd, found.left_nusd


def test_a_balance_has_spent_nothing_when_it_is_opened(books):
    """What was spent and what runs before it counts on it no more than on none."""
    key = books.key("team")
    books.close(books.open(key))
    running = books.open(key)
    balance(books, "root", 10**9)
    assert standing(books) == (10**9, 0, 0, 10**9)
    assert books.extend(running, 500) == 500
    books.close(running)
    assert standing(books) == (10**9, 0, 0, 10**9)
    running = books.open(key)
    assert standing(books) == (10**9, 0, HELD, 10**9 - HELD)
    books.close(running)
    assert standing(books) == (10**9, COST, 0, 10**9 - COST)


def test_nothing_opens_beyond_a_balance(books):
    """An empty one admits nothing, in words that say so; a top-up does; an extension gets what is left."""
    key = books.key("team")
    balance(books, "root")
    with pytest.raises(SpendError) as refused:
        books.open(key)
    assert refused.value.code == "insufficient_funds"
    assert refused.value.message == (
        "The balance of account root (0 USD) has 0 USD left; this request needs at least 0.0000596 USD. Top it up."
    )
    put(books, "root", HELD + 300)
    running = books.open(key)
    assert books.extend(running, 1000) == 300
    assert books.extend(running, 1000) == 0


def test_the_nearest_balance_pays_alone(books):
    """A balance of the account below takes nothing from the one above; where it is empty, the other does not help."""
    key, above = books.key("team"), books.key("root")
    balance(books, "root", 10**9)
    balance(books, "team", HELD)
    books.open(key)
    books.open(above)
    assert (standing(books)[2], standing(books, "team")[2]) == (HELD, HELD)
    with pytest.raises(SpendError, match="The balance of account team"):
        books.open(key)


def test_a_nearer_balance_takes_over_nothing_that_runs(books):
    """A running exchange goes on under the balance of its admission, and is bound by it alone."""
    key = books.key("team")
    balance(books, "root", HELD + 300)
    running = books.open(key)
    balance(books, "team", 10**9)
    assert books.extend(running, 1000) == 300
    assert (standing(books)[2], standing(books, "team")[2]) == (HELD + 300, 0)
    books.close(running)
    assert (standing(books)[1], standing(books, "team")[1]) == (COST, 0)


def test_a_balance_binds_beside_caps(books):
    """The least of what they leave decides, and each counts."""
    key = books.key("team")
    cap_id = books.cap(10**9, account="root")
    balance(books, "root", HELD + 300)
    running = books.open(key)
    assert books.extend(running, 1000) == 300
    assert books.sql("SELECT held_nusd FROM counters WHERE cap_id = ?", cap_id) == [(HELD + 300,)]
    books.cap(HELD + 300, account="root")
    put(books, "root", 10**9)
    assert books.extend(running, 1000) == 0
    with pytest.raises(SpendError, match="The lifetime cap of account root"):
        books.open(key)


def test_a_closed_balance_binds_nothing(books):
    """What runs under it goes on, counted on it and unbound; the balance above takes over what comes after."""
    key = books.key("team")
    balance(books, "root", 10**9)
    below = balance(books, "team", HELD)
    running = books.open(key)
    closed = books.run(close_balance, account="team", at=books.tick())
    assert (closed.paid_in_nusd, closed.held_nusd) == (HELD, HELD)
    assert [each.account for each in list_balances(books.tx)] == ["root"]
    assert books.extend(running, 1000) == 1000
    books.close(running)
    assert books.sql("SELECT settled_nusd, held_nusd FROM counters WHERE cap_id = ?", below) == [(COST, 0)]
    books.open(key)
    assert standing(books)[1:3] == (0, HELD)


def test_a_correction_may_leave_less_than_is_spent(books):
    """Then nothing opens until what is paid in is above it again."""
    key = books.key("team")
    balance(books, "root", 10**9)
    books.close(books.open(key))
    assert put(books, "root", -(10**9) - 5).left_nusd == -5 - COST
    assert standing(books) == (-5, COST, 0, -5 - COST)
    with pytest.raises(SpendError, match=r"The balance of account root \(-0.000000005 USD\) is passed by"):
        books.open(key)
    put(books, "root", 5 + COST + HELD)
    books.open(key)


def test_credits_are_its_limit(books):
    """Their sum is the limit, in the history too, and every one stays on the list with its note."""
    cap_id = balance(books, "root", 70)
    put(books, "root", -20, note="paid back")
    limits = books.sql("SELECT limit_nusd FROM cap_limits WHERE cap_id = ? ORDER BY rowid", cap_id)
    assert limits == [(0,), (70,), (50,)]
    assert books.sql("SELECT limit_nusd FROM caps") == [(50,)]
    books.run(close_balance, account="root", at=books.tick())
    again = balance(books, "root", 9)
    assert again != cap_id
    assert [(each.cap_id, each.kind, each.amount_nusd, each.note) for each in list_credits(books.tx, "root")] == [
        (cap_id, "top_up", 70, ""),
        (cap_id, "adjustment", -20, "paid back"),
        (again, "top_up", 9, ""),
    ]


@pytest.mark.parametrize(
    ("amount", "kind", "note", "text"),
    [
        (0, TOP_UP, "", "A top-up is more than nothing"),
        (-1, TOP_UP, "", "A top-up is more than nothing"),
        (0, ADJUSTMENT, "", "changes nothing"),
        (1, TOP_UP, "x" * 201, "at most 200 printable characters"),
        (1, TOP_UP, "a\nb", "at most 200 printable characters"),
        (MOST_NUSD, TOP_UP, "", "A balance is at most 4611686018.427387904 USD"),
        (-MOST_NUSD - 2, ADJUSTMENT, "", "A balance is at most"),
    ],
)
def test_what_is_no_credit(books, amount, kind, note, text):
    """It is refused by name, and the balance stays as it was."""
    balance(books, "root", 1)
    with pytest.raises(DownstreamError, match=text):
        put(books, "root", amount, kind, note)
    assert standing(books) == (1, 0, 0, 1)
    assert len(list_credits(books.tx, "root")) == 1


def test_refusals(books):
    """One balance an account; without one there is nothing to credit or close."""
    for operation in (lambda: put(books, "root", 1), lambda: books.run(close_balance, account="root", at=1)):
        with pytest.raises(DownstreamError, match="The account 'root' has no balance"):
            operation()
    balance(books, "root")
    with pytest.raises(DownstreamError, match="The account 'root' has a balance already"):
        balance(books, "root")
    with pytest.raises(DownstreamError, match="There is no account 'none'"):
        balance(books, "none")
    with pytest.raises(DownstreamError, match="A top-up is more than nothing"):
        balance(books, "team", 0)
    assert [each.account for each in list_balances(books.tx)] == ["root"]


def test_each_change_is_an_audit_event(books):
    """Opening, credits and closing are told in the chain, with the amounts."""
    balance(books, "root", 70)
    books.run(close_balance, account="root", at=books.tick())
    told = books.sql("SELECT kind, body FROM audit_events WHERE kind LIKE 'balance.%' ORDER BY seq")
    assert [kind for kind, _ in told] == ["balance.opened", "balance.credited", "balance.closed"]
    assert '"amount_nusd":70' in told[1][1]
    assert '"limit_nusd":70' in told[2][1]
