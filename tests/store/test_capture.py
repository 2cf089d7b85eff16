"""Every routed exchange is captured, once, as what it was; corruptions of it are tried in ``test_corruption.py``."""

import pytest

from ainf.inference.outcome import Ending
from ainf.store.capture import CAPTURE, OUTCOMES
from ainf.store.invariants import Reading
from ainf.store.verify import assert_capture_invariant
from tests.store.books import Books
from tests.store.captured import RULESET, attempt, close, line, reject, route


@pytest.mark.parametrize("query", OUTCOMES, ids=lambda query: f"{query.name}: {query.meaning}")
def test_queries_give_the_columns_that_they_name(tmp_path, query):
    """Each query runs, finds nothing in new books, and has as many columns as it names."""
    Books(tmp_path).check_columns(query)


@pytest.fixture
def books(tmp_path):
    """Books with a routed exchange that fell back and one that runs, a pinned one, and a rejected request."""
    books = Books(tmp_path)
    books.account("acme")
    key = books.key("acme")
    inference_id = route(books, key)
    attempt(books, inference_id, 2, "medium", (1, 0))
    close(books, inference_id, [line(books, "small", 0), line(books, "medium")])
    route(books, key)
    books.close(books.open(key))
    reject(books, key, "rejected_cost", "no_candidate")
    return books


def rows(books):
    return [(invariant.name, row) for check in CAPTURE for invariant, row in check.breaches(Reading(books.tx))]


def test_what_is_captured(books):
    """A routed one that ended has an outcome; one that runs has none yet, and a pinned one never."""
    assert rows(books) == []
    assert_capture_invariant(books.tx)
    assert books.sql("SELECT status, attempts FROM routing_outcomes ORDER BY outcome_id") == [
        ("fell_back", 2),
        ("rejected_cost", 0),
    ]


@pytest.mark.parametrize(("model", "status"), [("medium", "succeeded"), ("small", "fell_back")])
def test_a_status_is_that_of_the_attempt_that_answered(books, model, status):
    """The ending is told beside a status that no attempt on this model makes of it."""
    provider = {"small": "openai", "medium": "anthropic"}[model]
    outcome = "UPDATE routing_outcomes SET model = ?, provider = ?, status = ? WHERE inference_id IS NOT NULL"
    books.sql(outcome, model, provider, status)
    ((name, row),) = rows(books)
    assert (name, row["status"], row["ending"]) == ("R1", status, Ending.COMPLETED)


def test_models_that_were_tried_twice(books):
    """Where the first attempt and a later one were the same call, an outcome may be that of either."""
    key = books.sql("SELECT key_id FROM keys")[0][0]
    for served in (1, 2):
        inference_id = route(books, key)
        attempt(books, inference_id, 2, "small")
        close(books, inference_id, [line(books, "small"), line(books, "small", 0)], served=served)
    assert rows(books) == []


def test_a_ruleset_is_named_by_its_body(books):
    """One that differs in a byte is another."""
    books.sql("UPDATE rulesets SET body = body || ' '")
    ((name, row),) = rows(books)
    assert (name, row["ruleset"]) == ("R3", RULESET.hash)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM routing_outcomes WHERE status = 'fell_back'",
        "UPDATE routing_outcomes SET cost_nusd = 1",
        "UPDATE rulesets SET body = '{}'",
        "UPDATE audit_events SET body = json_set(body, '$.router', 'ainf-inference')",
    ],
)
def test_the_assertion(books, statement):
    """Whatever is not captured as it was fails the one assertion, be it told by the tables or by the audit trail."""
    books.sql(statement)
    with pytest.raises(AssertionError, match="not captured as it was"):
        assert_capture_invariant(books.tx)
