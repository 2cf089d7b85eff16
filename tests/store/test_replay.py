"""The replay of the caps: limits at every entry, and the counters they end at."""

import pytest

from ainf.inference.moments import HOUR_US
from ainf.ledger import Window
from ainf.store import replay
from ainf.store.caps import remove_cap
from ainf.store.invariants import Reading
from ainf.store.replay import COUNTERS_ARE_SUMS, REPLAY, WITHIN_LIMITS
from tests.store.books import COST, Books
from tests.store.captured import attempt, close, line, route

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


def test_each_attempt_counts_on_its_own(books):
    """What is held for an attempt, given back and charged counts on the caps of its model, and those of all models."""
    caps = {books.cap(10**9, account="acme", model=model): model for model in ("*", "small", "medium")}
    inference_id = route(books, books.key("acme"))
    attempt(books, inference_id, 2, "medium", (1, 700))

    def totals():
        rows = books.sql("SELECT cap_id, settled_nusd, held_nusd FROM counters")
        return {caps[cap_id]: amounts for cap_id, *amounts in rows}

    assert totals() == {"*": [0, HELD + 700], "small": [0, 700], "medium": [0, HELD]}
    assert breaches(books) == []
    answered = line(books, "medium")
    close(books, inference_id, [line(books, "small", 700), answered])
    charged = answered.cost_nusd
    assert totals() == {"*": [charged + 700, 0], "small": [700, 0], "medium": [charged, 0]}
    assert breaches(books) == []
    books.sql("UPDATE entries SET attempt = 1 WHERE kind = 'settle'")
    found = [(caps[row["cap_id"]], invariant) for invariant, row in breaches(books)]
    assert ("medium", COUNTERS_ARE_SUMS) in found
    assert ("*", COUNTERS_ARE_SUMS) not in found


def test_what_other_models_spent_before_a_cap(books):
    """A cap that is set over a past counts those attempts of an exchange that are on its models, and no others."""
    inference_id = route(books, books.key("acme"))
    attempt(books, inference_id, 2, "medium", (1, 700))
    close(books, inference_id, [line(books, "small", 700), line(books, "medium")])
    books.cap(10**9, account="acme", model="small")
    assert books.sql("SELECT settled_nusd FROM counters") == [(700,)]
    assert breaches(books) == []
    books.sql("UPDATE counters SET settled_nusd = settled_nusd + 1")
    assert counters_of(breaches(books))[0][2] == 700


def test_a_later_attempt_that_breaks_a_limit(books):
    """What ended gives back before the next attempt is set aside; one that takes the total above the limit is told."""
    cap_id = books.cap(HELD + 700, account="acme")
    inference_id = route(books, books.key("acme"))
    attempt(books, inference_id, 2, "medium", (1, 700))
    assert breaches(books) == []
    books.sql("UPDATE cap_limits SET limit_nusd = limit_nusd - 1")
    ((invariant, row),) = breaches(books)
    assert (invariant, row["cap_id"], row["seq"], row["total_nusd"]) == (WITHIN_LIMITS, cap_id, 3, HELD + 700)
