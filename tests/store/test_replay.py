"""The replay of the caps: limits at every entry, and the counters they end at."""

import pytest

from ainf.inference.moments import HOUR_US
from ainf.ledger import Window
from ainf.store import replay
from ainf.store.caps import remove_cap
from ainf.store.invariants import Reading
from ainf.store.replay import COUNTERS_ARE_SUMS, REPLAY, WITHIN_LIMITS
from tests.store.books import COST, Books

HELD = 110_000


@pytest.fixture
def books(tmp_path):
    books = Books(tmp_path)
    books.account("acme")
    return books


def breaches(books):
    return list(REPLAY.breaches(Reading(books.tx)))


def counters_of(found):
    return sorted((row["cap_id"], row["window_start"], row["right_settled_nusd"]) for _, row in found)


def test_a_counter_for_each_window(books):
    """An exchange counts in the window of its admission, whenever it is settled; each window has its own limit."""
    key = books.key("acme")
    cap_id = books.cap(HELD, account="acme", window=Window.HOUR)
    first = books.open(key)
    books.at += HOUR_US
    second = books.open(key)
    books.close(first)
    books.close(second)
    assert breaches(books) == []
    books.sql("UPDATE counters SET settled_nusd = 0 WHERE window_start = (SELECT max(window_start) FROM counters)")
    ((invariant, row),) = breaches(books)
    assert invariant == COUNTERS_ARE_SUMS
    assert (row["cap_id"], row["settled_nusd"], row["right_settled_nusd"]) == (cap_id, 0, COST)


def test_the_entry_that_breaks_a_limit_is_told(books):
    """It is the first one that takes the total above the limit that was in force when it was written."""
    key = books.key("acme")
    cap_id = books.cap(2 * HELD, account="acme")
    books.open(key)
    second = books.open(key)
    books.sql("UPDATE cap_limits SET limit_nusd = ?", 2 * HELD - 1)
    ((invariant, row),) = breaches(books)
    assert invariant == WITHIN_LIMITS
    assert row == {
        "cap_id": cap_id, "window_start": 0, "seq": 2, "inference_id": second, "total_nusd": 2 * HELD,
        "limit_nusd": 2 * HELD - 1,
    }  # fmt: skip


def test_what_was_spent_before_a_cap_counts_by_its_scope(books):
    """Of the present window it does, of other models and earlier windows it does not; what runs counts once."""
    key = books.key("acme")
    books.close(books.open(key))
    books.at += HOUR_US
    books.close(books.open(key))
    running = books.open(key)
    books.cap(10**9, account="acme", window=Window.HOUR)
    books.cap(10**9, account="acme", model="large")
    books.extend(running, 5)
    assert books.sql("SELECT settled_nusd, held_nusd FROM counters ORDER BY held_nusd") == [(0, 0), (COST, HELD + 5)]
    assert breaches(books) == []


def test_a_removed_cap_is_counted_on(books):
    """What was admitted under it still moves its counter; the cap that is set after it begins with all of it."""
    key = books.key("acme")
    books.cap(10**9, account="acme")
    running = books.open(key)
    books.run(remove_cap, scope=books.scope(account="acme"), at=books.tick())
    books.cap(10**9, account="acme")
    books.close(running)
    assert books.sql("SELECT settled_nusd, held_nusd FROM counters") == [(COST, 0), (COST, 0)]
    assert breaches(books) == []


@pytest.mark.parametrize("most", [1, 2, 5])
def test_in_batches_as_at_once(books, monkeypatch, most):
    """However few counters are kept in memory at a time, the same is found."""
    key = books.key("acme")
    for window in Window:
        books.cap(10**9, account="acme", window=window)
    for _ in range(3):
        books.close(books.open(key))
        books.at += 24 * HOUR_US
    books.sql("UPDATE counters SET held_nusd = 1")
    books.sql("DELETE FROM counters WHERE window_start = (SELECT max(window_start) FROM counters)")
    at_once = counters_of(breaches(books))
    monkeypatch.setattr(replay, "MOST_COUNTERS", most)
    assert counters_of(breaches(books)) == at_once
    assert len(at_once) == 3 + 3 + 1 + 1 + 1
