"""Nothing escapes a cap, and nothing counts on one that is not its own."""

import json

import pytest

from ainf.inference.moments import HOUR_US
from ainf.ledger import Window
from ainf.store.balances import CreditKind, NewCredit, close_balance, open_balance
from ainf.store.caps import remove_cap
from ainf.store.invariants import Reading
from ainf.store.scopes import SCOPES
from ainf.store.verify import verify
from tests.store.books import Books
from tests.store.captured import attempt, close, line, route


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


def lists(books, inference_id):
    """Return the caps that each attempt of an exchange lists."""
    rows = books.sql("SELECT caps FROM opened_attempts WHERE inference_id = ? ORDER BY number", inference_id)
    return [[cap_id for cap_id, _ in json.loads(caps)] for (caps,) in rows]


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


def test_each_attempt_lists_the_caps_of_its_model(books):
    """Those that are for all models stand in the lists of all, others where they are for the model."""
    every, small, medium = (books.cap(10**9, account="acme", model=model) for model in ("*", "small", "medium"))
    inference_id = route(books, books.key("team"))
    attempt(books, inference_id, 2, "medium")
    assert lists(books, inference_id) == [[every, small], [every, medium]]
    assert faults(books) == []
    books.sql("UPDATE later_attempts SET caps = (SELECT caps FROM inferences)")
    assert faults(books) == [
        (inference_id, medium, "is not listed"),
        (inference_id, small, "is listed, and was never in force for it"),
    ]


def test_a_cap_that_was_removed_before_a_later_attempt(books):
    """It stays where the exchange fell under it and the later attempt does too; else nothing was on it."""
    caps = {model: books.cap(10**9, account="acme", model=model) for model in ("*", "small", "medium")}
    inference_id = route(books, books.key("team"))
    for model in caps:
        books.run(remove_cap, scope=books.scope(account="acme", model=model), at=books.tick())
    attempt(books, inference_id, 2, "medium")
    assert lists(books, inference_id) == [[caps["*"], caps["small"]], [caps["*"]]]
    assert faults(books) == []
    forget_later(books)
    assert faults(books) == [(inference_id, caps["*"], "is not listed")]


def forget_later(books):
    books.sql("UPDATE later_attempts SET caps = '[]'")


@pytest.mark.parametrize("ended", [True, False])
def test_a_cap_that_comes_while_an_attempt_has_not_been_settled(books, ended):
    """Every attempt of a running exchange must list it that it is for, also one that has ended."""
    inference_id = route(books, books.key("team"))
    attempt(books, inference_id, 2, "medium")
    attempt(books, inference_id, 3, "big", *([(2, 7)] if ended else []))
    cap_id = books.cap(10**9, account="acme", model="m*")
    later = books.cap(10**9, account="acme", model="b*")
    assert lists(books, inference_id) == [[], [cap_id], [later]]
    close(books, inference_id, [line(books, "small", 0), line(books, "medium", 7), line(books, "big")])
    assert faults(books) == []
    forget_later(books)
    fault = "is not listed, though it was set while the attempt ran"
    assert faults(books) == [(inference_id, cap_id, fault), (inference_id, later, fault)]


def test_a_cap_that_came_before_a_later_attempt(books):
    """One that was set while the exchange ran is in force for the next attempt, if it counts the window."""
    key = books.key("team")
    inference_id = route(books, key)
    cap_id = books.cap(10**9, account="acme", model="medium")
    books.at += HOUR_US
    books.cap(10**9, account="acme", window=Window.HOUR)
    attempt(books, inference_id, 2, "medium")
    assert lists(books, inference_id) == [[], [cap_id]]
    assert faults(books) == []
    forget_later(books)
    assert faults(books) == [(inference_id, cap_id, "is not listed")]


def test_the_balance_is_that_of_the_admission(books):
    """A later attempt stays under it, though a nearer one was opened meanwhile, or it was closed."""
    far = balance(books, "acme")
    inference_id = route(books, books.key("team"))
    near = balance(books, "team")
    attempt(books, inference_id, 2, "medium")
    books.run(close_balance, account="acme", at=books.tick())
    attempt(books, inference_id, 3, "big")
    assert lists(books, inference_id) == [[far], [far], [far]]
    assert faults(books) == []
    books.sql("UPDATE later_attempts SET caps = replace(caps, ?, ?) WHERE number = 3", far, near)
    assert faults(books) == [
        (inference_id, far, "is not listed"),
        (inference_id, near, "is listed, and was never in force for it"),
    ]


def test_no_balance_at_the_admission(books):
    """Then there is none for a later attempt, though one was opened meanwhile."""
    inference_id = route(books, books.key("team"))
    balance(books, "team")
    attempt(books, inference_id, 2, "medium")
    assert lists(books, inference_id) == [[], []]
    assert faults(books) == []


def test_an_exchange_whose_first_caps_cannot_be_read(books):
    """That alone is told; a later attempt is held to what is in force."""
    cap_id = books.cap(10**9, account="acme")
    inference_id = route(books, books.key("team"))
    attempt(books, inference_id, 2, "medium")
    books.sql("UPDATE inferences SET caps = '[['")
    ((_, row),) = SCOPES.breaches(Reading(books.tx))
    assert row == {"inference_id": inference_id, "attempt": 1, "caps": "[[", "fault": "cannot be read"}
    forget_later(books)
    assert [row["cap_id"] for _, row in SCOPES.breaches(Reading(books.tx)) if "cap_id" in row] == [cap_id]


def test_an_extension_is_no_opening(books):
    """A cap that was removed between the opening of an attempt and its extension stays in its list."""
    cap_id = books.cap(10**9, account="acme", model="medium")
    inference_id = route(books, books.key("team"))
    attempt(books, inference_id, 2, "medium")
    books.run(remove_cap, scope=books.scope(account="acme", model="medium"), at=books.tick())
    assert books.extend(inference_id, 5, attempt=2)
    assert lists(books, inference_id) == [[], [cap_id]]
    assert faults(books) == []
