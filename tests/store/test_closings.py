"""What was settled, beside prices, attempts and the audit trail."""

import pytest

from ainf.inference.usage import Usage
from ainf.store.closings import ADJUSTMENTS, CLOSINGS, COSTS_AS_PRICED, EVENTS_AGREE, PRICES
from ainf.store.invariants import Reading
from ainf.store.sqlite import SQLiteEngine
from tests.store.books import COST, Books
from tests.store.old import write_schema_1


@pytest.fixture
def books(tmp_path):
    """Books with two settled exchanges."""
    books = Books(tmp_path)
    books.account("acme")
    key = books.key("acme")
    for _ in range(2):
        books.close(books.open(key))
    return books


def breaches(books, check=CLOSINGS):
    return list(check.breaches(Reading(books.tx)))


def test_what_agrees(books):
    """Settlement, attempts, prices and event say the same."""
    assert [*breaches(books), *breaches(books, PRICES), *breaches(books, ADJUSTMENTS)] == []


def test_an_older_version_s_events(tmp_path):
    """What they do not have was nothing, and breaks nothing."""
    engine = SQLiteEngine.open(write_schema_1(tmp_path))
    assert list(CLOSINGS.breaches(Reading(engine))) == []
    engine.close()


def test_attempts_are_taken_to_the_settlement_of_their_exchange(books):
    """One without a settlement, or a settlement without one, shifts no other."""
    first, second = (row[0] for row in books.sql("SELECT inference_id FROM settlements ORDER BY 1"))
    books.sql("DELETE FROM settlements WHERE inference_id = ?", first)
    assert breaches(books) == []
    books.sql("UPDATE attempts SET cost_nusd = 1 WHERE inference_id = ?", second)
    assert [(invariant, row["inference_id"]) for invariant, row in breaches(books)] == [
        (COSTS_AS_PRICED, second),
        (EVENTS_AGREE, second),
    ]


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ("settlements SET ending = 'shutdown', retry_of = NULL", "ending, retry_of"),
        ("settlements SET is_empty = 1, notes = '{}'", "is_empty, notes"),
        ("inferences SET caps = '[[', labels = '{}'", "caps, labels"),
        ("inferences SET fingerprint = x'00', path = '/v1/messages'", "path, fingerprint"),
        ("attempts SET status = 500", "attempts"),
        (
            "audit_events SET body = replace(body, '\"reasoning_tokens\":5', '\"reasoning_tokens\":6')",
            "usage, attempts",
        ),
        ("audit_events SET body = json_remove(body, '$.attempts', '$.evidence')", "evidence, attempts"),
        ("audit_events SET body = json_set(body, '$.attempts[0]', 5)", "attempts"),
        ("audit_events SET body = '{'", "the event cannot be read"),
    ],
)
def test_an_event_that_differs(books, change, differs):
    """The names of all that an event says otherwise than the tables are told."""
    last = "inference_id = (SELECT max(inference_id) FROM settlements)"
    books.sql(f"UPDATE {change} WHERE {last}")
    ((invariant, row),) = breaches(books)
    assert (invariant, row["differs"]) == (EVENTS_AGREE, differs)


def test_costs_are_recomputed(books):
    """A reported usage costs what its price says; what cannot be recomputed is told as None."""
    first = books.sql("SELECT min(inference_id) FROM attempts")[0][0]
    books.sql("UPDATE prices SET body = '[]'")
    row = next(row for _, row in breaches(books))
    assert row == {"inference_id": first, "attempt": 1, "cost_nusd": COST, "right_nusd": None}
    assert [row["body"] for _, row in breaches(books, PRICES)] == ["[]"]


def test_what_was_counted_is_not_recomputed(tmp_path):
    """A count of ours may be cut at the hold, or begin before the price does; only its sum is checked."""
    books = Books(tmp_path)
    books.account("acme")
    books.close(books.open(books.key("acme")), evidence="metered", cost_nusd=7, usage=Usage(output_tokens=3))
    assert breaches(books) == []
    books.sql("UPDATE settlements SET output_tokens = 4")
    assert [invariant for invariant, _ in breaches(books)] == [COSTS_AS_PRICED, EVENTS_AGREE]
