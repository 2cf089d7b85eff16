"""Nothing escapes a cap, and nothing counts on one that is not its own."""

import pytest

from ainf.inference.moments import HOUR_US
from ainf.ledger import Window
from ainf.store.balances import CreditKind, NewCredit, open_balance
from ainf.store.caps import remove_cap
from ainf.store.invariants import Reading
from ainf.store.scopes import SCOPES
from ainf.store.verify import verify
from tests.store.books import Books


@pytest.fixture
def books(tmp_path):
    books = Books(tmp_path)
    books.account("acme")
    books.account("team", "acme")
    return books


def faults(books):
    """Return what is wrong: (exchange, cap, fault)."""
    rows = [row for _, row in SCOPES.breaches(Reading(books.tx))]
    return [(row["inference_id"], row["cap_id"], row["fault"]) for row in rows]


def forget(books, inference_id):
    books.sql("UPDATE inferences SET caps = '[]' WHERE inference_id = ?", inference_id)


def balance(books, account):
    cap_id = books.new_id("bal")
    first = NewCredit(books.new_id("cred"), CreditKind.TOP_UP, 10**9)
    books.run(open_balance, cap_id=cap_id, account=account, at=books.tick(), first=first)
    return cap_id


def test_what_was_in_force_at_the_opening_must_be_listed(books):
    """Caps of the key and of every account above it; removed ones and those of other models are not missed."""
    key = books.key("team")
    caps = [books.cap(10**9, account="acme"), books.cap(10**9, key_id=key, model="s*")]
    books.cap(10**9, key_id=key, model="large")
    books.cap(10**9, account="team")
    books.run(remove_cap, scope=books.scope(account="team"), at=books.tick())
    inference_id = books.open(key)
    assert faults(books) == []
    forget(books, inference_id)
    assert faults(books) == [(inference_id, cap_id, "is not listed") for cap_id in caps]


def test_a_clock_that_stands_still_or_steps_back(books):
    """What a cap was set to and what became of it are told apart, whatever the clock says of both."""
    key = books.key("team")
    running = books.open(key)
    for step in (0, -7):
        cap_id = books.cap(10**9, account="acme")
        books.run(remove_cap, scope=books.scope(account="acme"), at=books.at + step)
        books.close(books.open(key))
        assert cap_id in books.sql("SELECT caps FROM inferences WHERE inference_id = ?", running)[0][0]
    assert verify(books.tx) == []


def test_what_comes_while_it_runs_must_be_listed(books):
    """A cap that is set before it closes is; one that is set after that, or in a later window, is not missed."""
    key = books.key("team")
    closed, running = books.open(key), books.open(key)
    books.close(closed)
    cap_id = books.cap(10**9, account="acme")
    books.at += HOUR_US
    books.cap(10**9, account="acme", window=Window.HOUR)
    assert faults(books) == []
    forget(books, running)
    assert faults(books) == [(running, cap_id, "is not listed, though it was set while the attempt ran")]


@pytest.mark.parametrize("closes", [True, False])
def test_what_was_never_in_force_must_not_be_listed(books, closes):
    """Neither a cap that came after its end, nor another account's, nor one that never was."""
    inference_id = books.open(books.key("acme"))
    if closes:
        books.close(inference_id)
    other = books.cap(10**9, account="team")
    books.sql("""UPDATE inferences SET caps = '[["ghost",0],["' || ? || '",0]]'""", other)
    fault = "is listed, and was never in force for it"
    assert faults(books) == [(inference_id, other, fault), (inference_id, "ghost", fault)]


def test_the_window_is_that_of_the_admission(books):
    """The right cap in another window is a missing and a wrong one."""
    cap_id = books.cap(10**9, account="acme", window=Window.HOUR)
    inference_id = books.open(books.key("acme"))
    books.sql("UPDATE inferences SET caps = replace(caps, '1699999200000000', '1699995600000000')")
    assert faults(books) == [
        (inference_id, cap_id, "is not listed"),
        (inference_id, cap_id, "is listed, and was never in force for it"),
    ]


def test_the_nearest_balance_and_no_other(books):
    """One above it must not be listed, and one that is opened while it runs neither."""
    far, near = balance(books, "acme"), balance(books, "team")
    inference_id = books.open(books.key("team"))
    assert faults(books) == []
    books.sql("UPDATE inferences SET caps = replace(caps, ?, ?)", near, far)
    assert faults(books) == [
        (inference_id, near, "is not listed"),
        (inference_id, far, "is listed, and was never in force for it"),
    ]


def test_a_balance_that_came_later(books):
    """What runs under none, or under another one, goes on so."""
    key = books.key("team")
    books.open(key)
    balance(books, "acme")
    books.open(key)
    balance(books, "team")
    assert faults(books) == []


def test_what_is_committed_after_a_cap_of_a_later_window(books):
    """An opening may be of a moment before the window that a cap was set in; that counts on it in no window."""
    key = books.key("acme")
    before = books.at
    books.at += HOUR_US
    books.cap(10**9, account="acme", window=Window.HOUR)
    books.at = before
    books.open(key)
    assert books.sql("SELECT caps FROM inferences") == [("[]",)]
    assert faults(books) == []


def test_twice_is_once_too_often(books):
    """A cap that is listed twice would be moved twice."""
    cap_id = books.cap(10**9, account="acme")
    inference_id = books.open(books.key("acme"))
    books.sql("UPDATE inferences SET caps = json_insert(caps, '$[#]', json(json_extract(caps, '$[0]')))")
    assert faults(books) == [(inference_id, cap_id, "is listed more than once")]
