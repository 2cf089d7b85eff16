"""What was settled, beside prices, attempts and the audit trail."""

import pytest

from ainf.inference.usage import Usage
from ainf.store.closings import ADJUSTMENTS, CLOSINGS, COSTS_AS_PRICED, EVENTS_AGREE, PRICES, ROUTED_AS_TOLD
from ainf.store.invariants import Reading
from ainf.store.sqlite import SQLiteEngine
from tests.store.books import COST, Books
from tests.store.captured import TARGET, attempt, close, line, route
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
        ("audit_events SET body = json_set(body, '$.model', 'large')", "who answered"),
        ("audit_events SET body = json_set(body, '$.price_version', 'none')", "who answered"),
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


@pytest.fixture
def routed(books):
    """The books with an exchange that fell back, too; its id."""
    inference_id = route(books, books.sql("SELECT key_id FROM keys")[0][0])
    attempt(books, inference_id, 2, "medium", (1, 700))
    close(books, inference_id, [line(books, "small", 700), line(books, "medium")])
    return inference_id


def test_a_routed_one_s_event(books, routed):
    """It names the target, what became of it, which attempt answered, the ruleset, and the decision by its digest."""
    assert breaches(books) == []
    told = books.sql(
        "SELECT body ->> 'router', body ->> '$.routing.served' FROM audit_events WHERE inference_id = ?", routed
    )
    assert told == [(TARGET, 2)]


@pytest.mark.parametrize(
    "change",
    [
        "json_set(body, '$.router', 'direct')",
        "json_remove(body, '$.router')",
        "json_remove(body, '$.routing')",
        "json_set(body, '$.routing', 'yes')",
        "json_set(body, '$.routing.status', 'succeeded')",
        "json_set(body, '$.routing.served', 1)",
        "json_set(body, '$.routing.served', 'last')",
        "json_set(body, '$.routing.ruleset', 'rules_0')",
        "json_set(body, '$.routing.decision_sha256', '0')",
        "json_set(body, '$.model', 'small', '$.provider', 'openai', '$.price_version', attempts.price_version)",
    ],
)
def test_a_routed_one_s_event_that_tells_it_otherwise(books, routed, change):
    """Whatever of it differs, it is told that the event does not say how the exchange was routed."""
    books.sql(
        f"UPDATE audit_events SET body = {change} FROM attempts WHERE attempts.inference_id = ? AND attempts.number = 1"
        " AND audit_events.inference_id = attempts.inference_id",
        routed,
    )
    assert breaches(books) == [(ROUTED_AS_TOLD, {"inference_id": routed, "target": TARGET})]


@pytest.mark.parametrize("change", ["'$.router', 'ainf-inference'", "'$.routing', json('{}')"])
def test_a_pinned_one_s_event(books, change):
    """It says `direct`, or nothing where an older version wrote it; and nothing of a decision."""
    books.sql("UPDATE audit_events SET body = json_remove(body, '$.router')")
    assert breaches(books) == []
    books.sql(f"UPDATE audit_events SET body = json_set(body, {change}) WHERE kind = 'inference.closed'")
    assert [(invariant, row["target"]) for invariant, row in breaches(books)] == [(ROUTED_AS_TOLD, "direct")] * 2


def test_an_event_of_an_exchange_without_attempts(books):
    """Where none was told of, the event names the first as it was opened."""
    inference_id = books.open(books.sql("SELECT key_id FROM keys")[0][0])
    books.close(inference_id, cost_nusd=None, evidence="none", attempts=(), ending="internal_error")
    assert breaches(books) == []
    books.sql("UPDATE inferences SET provider = 'sim' WHERE inference_id = ?", inference_id)
    assert [row["differs"] for _, row in breaches(books)] == ["who answered"]
