"""The caps as the ledger's entries saw them."""

import pytest

from ainf.ledger import LIFETIME_START, Window
from ainf.store.caps import remove_cap
from ainf.store.counting import Subject
from ainf.store.history import CapHistory, listed_caps, start_of, subjects_of
from tests.store.books import START, Books


@pytest.fixture
def books(tmp_path):
    books = Books(tmp_path)
    books.account("acme")
    return books


def limits(books, cap_id):
    """Return the limit that was in force at each entry of the ledger, and behind the last."""
    history, told = CapHistory(books.tx), []
    for (seq,) in books.sql("SELECT seq FROM entries ORDER BY seq"):
        list(history.advance(seq))
        told.append(history.caps[cap_id].limit)
    list(history.rest())
    return [*told, history.caps[cap_id].limit]


def test_limits_are_in_force_between_the_entries_where_they_were_set(books):
    """Before a cap was set and after it was removed it has none; a change is in force from the next entry on."""
    key = books.key("acme")
    running = books.open(key)
    cap_id = books.cap(10**9, account="acme")
    books.extend(running, 1)
    books.cap(10**8, account="acme")
    books.cap(10**7, account="acme")
    books.extend(running, 1)
    books.run(remove_cap, scope=books.scope(account="acme"), at=books.tick())
    assert limits(books, cap_id) == [None, 10**9, 10**7, None]


def test_what_comes_into_force_is_told_once(books):
    """A cap is told of when it gets a limit and had none, with the moment; a change of its limit is no beginning."""
    books.open(books.key("acme"))
    cap_id = books.cap(10**9, account="acme")
    set_at = books.at
    books.cap(10**8, account="acme")
    history = CapHistory(books.tx)
    assert list(history.advance(1)) == []
    assert [(cap.cap_id, at) for cap, at in history.rest()] == [(cap_id, set_at)]


def test_a_batch_knows_no_other_caps(books):
    """Where only some caps are wanted, the others are not there."""
    one, _ = books.cap(1, account="acme"), books.cap(2, account="acme", window=Window.DAY)
    history = CapHistory(books.tx, {one})
    assert list(history.caps) == [one]
    assert [cap.cap_id for cap in history.by_subject[Subject("account", "acct000001")]] == [one]


def test_what_counts_by_scope(books):
    """Up to the entry that a cap was set after, what is in its scope and window counts on it; a balance counts none."""
    books.open(books.key("acme"))
    cap_id = books.cap(1, account="acme", window=Window.HOUR, model="sm*")
    cap = CapHistory(books.tx).caps[cap_id]
    inside = {"key_id": "k", "account_path": '["acct000001"]', "model": "small", "opened_at": START}
    assert cap.counts_by_scope(1, **inside)
    assert not cap.counts_by_scope(2, **inside)
    for change in ({"account_path": '["acct9"]'}, {"model": "large"}, {"opened_at": START - 3_600_000_000}):
        assert not cap.counts_by_scope(1, **(inside | change))
    assert not cap.counts_by_scope(1, **(inside | {"opened_at": 2**62}))
    cap.kind = "balance"
    assert not cap.counts_by_scope(1, **inside)


@pytest.mark.parametrize(
    ("window", "at", "start"),
    [
        (Window.HOUR, START, 1_699_999_200_000_000),
        (Window.LIFETIME, -(2**63), LIFETIME_START),
        (Window.DAY, 2**63 - 1, None),
        (Window.MONTH, -(2**63), None),
    ],
)
def test_windows_of_any_moment(window, at, start):
    """A moment that no calendar has is in no window, and no error."""
    assert start_of(window, at) == start


def test_subjects_are_told_from_the_nearest_up():
    """A key is nearer than its account, which is nearer than those above it; a path that cannot be read has none."""
    key, below, above = Subject("key", "k"), Subject("account", "b"), Subject("account", "a")
    assert subjects_of("k", '["a","b"]') == (key, below, above)
    assert subjects_of("k", "[") == subjects_of("k", "[1]") == (key,)


def test_lists_of_caps():
    """What an exchange lists is read as pairs; what cannot be read is not taken for an empty list."""
    assert listed_caps('[["c",0],["d",5]]') == (("c", 0), ("d", 5))
    assert listed_caps("[]") == ()
    assert listed_caps("[[") is listed_caps('[["c"]]') is None
