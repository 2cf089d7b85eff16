"""The queries of several attempts are well-formed; what they find is tested in ``test_corruption.py``."""

import pytest

from ainf.store.attempt_queries import ATTEMPTS
from ainf.store.invariants import Reading
from tests.store.books import Books
from tests.store.captured import attempt, close, line, route


@pytest.mark.parametrize("query", ATTEMPTS, ids=lambda query: f"{query.name}: {query.meaning}")
def test_queries_give_the_columns_that_they_name(tmp_path, query):
    """Each query runs, finds nothing in new books, and has as many columns as it names."""
    Books(tmp_path).check_columns(query)


@pytest.fixture
def books(tmp_path):
    """Books with an exchange that ended after two attempts, and one that runs on after one."""
    books = Books(tmp_path)
    books.account("acme")
    key = books.key("acme")
    for _ in range(2):
        attempt(books, route(books, key), 2, "medium", (1, 700))
    first = books.sql("SELECT min(inference_id) FROM inferences")[0][0]
    close(books, first, [line(books, "small", 700), line(books, "medium")])
    return books


def rows(books):
    """Return what is found: (the name of the invariant, its row)."""
    found = [breach for query in ATTEMPTS for breach in query.check().breaches(Reading(books.tx))]
    return [(invariant.name, row) for invariant, row in found]


def test_what_agrees(books):
    """An attempt that ended keeps its cost, gave back the rest, and is settled at it; the other one is settled too."""
    assert rows(books) == []


def test_what_is_set_aside_for_an_attempt_that_ended(books):
    """It is told beside its cost, whether its exchange runs or is settled."""
    books.sql("UPDATE later_attempts SET ended = '[[1,701]]'")
    found = [row for name, row in rows(books) if name == "I2"]
    assert [(row["attempt"], row["set_aside_nusd"], row["cost_nusd"]) for row in found] == [(1, 700, 701)] * 2


def test_an_attempt_that_none_told_as_ended(books):
    """It gives nothing back before its exchange ends."""
    books.sql("UPDATE later_attempts SET ended = '[]'")
    found = [row for name, row in rows(books) if name == "I2"]
    assert [(row["given_back_nusd"], row["cost_nusd"]) for row in found] == [(109_300, None)] * 2


@pytest.mark.parametrize(
    "ended", ["{", "5", "null", '{"a":[1,2]}', "[[1]]", '[["1",2]]', "[[1,2.5]]", '["[1,2]"]', "[[2,5]]"]
)
def test_ends_that_cannot_be_read(books, ended):
    """What is no list of pairs of numbers, or tells of no earlier attempt, is found, and breaks no query."""
    books.sql("UPDATE later_attempts SET ended = ?", ended)
    assert [row["ended"] for name, row in rows(books) if name == "S6"] == [ended, ended]
