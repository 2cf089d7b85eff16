"""What became of routed requests: the listing, and the sums."""

import pytest

from ainf.inference.outcome import Ending
from ainf.routing.outcome import RoutingStatus
from ainf.store.period import Period
from ainf.store.routing_report import (
    OutcomesAsk,
    RoutedRequest,
    StatusSums,
    routed_request,
    routing_outcomes,
)
from tests.store.books import START, Books
from tests.store.routed import RULESET, Routed, decision

ALWAYS = Period(0, START * 2)
SMALL_NUSD, LARGE_NUSD = 2_800_000, 11_200_000


@pytest.fixture
def books(tmp_path):
    """Four outcomes in their order (answered by an alias, fallen back, refused, cancelled), one that runs, a pinned."""
    books = Books(tmp_path)
    routed = books.routed = Routed(books)
    books.ids = [routed.answered(decision(requested="fleet-auto")), routed.fallen_back()]
    routed.refused()
    books.ids.append(routed.open(decision()))
    routed.close(books.ids[-1], "small", ending=Ending.CLIENT_DISCONNECTED, finish_reason=None, first_byte_us=None)
    books.running = routed.open(decision())
    books.pinned = books.open(routed.key)
    books.close(books.pinned)
    return books


def report(books, period=ALWAYS, **ask):
    return routing_outcomes(books.tx, OutcomesAsk(period, **ask))


def numbers(found):
    return [each.outcome_id for each in found.outcomes]


def test_all_of_them(books):
    """Each that ended, the newest last, with what is known of it; what runs and what is pinned have no outcome."""
    found = report(books)
    assert [(each.inference_id, each.status, each.cost_nusd) for each in found.outcomes] == [
        (books.ids[0], "succeeded", SMALL_NUSD),
        (books.ids[1], "fell_back", LARGE_NUSD),
        (None, "rejected_floor", 0),
        (books.ids[2], "cancelled", SMALL_NUSD),
    ]
    answered, fallen_back, refused, cancelled = found.outcomes
    assert answered == RoutedRequest(
        outcome_id=1,
        inference_id=books.ids[0],
        at=START + 4_000,
        account="agents",
        key_id=books.routed.key,
        path="/v1/chat/completions",
        stream=True,
        requested_model="fleet-auto",
        target="fleet",
        ruleset=RULESET.hash,
        status="succeeded",
        code=None,
        model="small",
        provider="small-vendor",
        attempts=1,
        first_byte_us=123_456,
        cost_nusd=SMALL_NUSD,
    )
    assert (fallen_back.model, fallen_back.attempts) == ("large", 2)
    assert (refused.model, refused.provider, refused.attempts, refused.code) == (None, None, 0, "no_candidate")
    assert refused.stream is False
    assert cancelled.first_byte_us is None


def test_the_sums(books):
    """By status, the most frequent first; the totals are theirs."""
    books.routed.refused()
    found = report(books)
    assert found.sums == (
        StatusSums("rejected_floor", 2, 0, 0),
        StatusSums("cancelled", 1, 1, SMALL_NUSD),
        StatusSums("fell_back", 1, 2, LARGE_NUSD),
        StatusSums("succeeded", 1, 1, SMALL_NUSD),
    )
    assert found.totals == StatusSums("", 5, 4, 2 * SMALL_NUSD + LARGE_NUSD)


@pytest.mark.parametrize(
    ("ask", "listed"),
    [
        ({"target": "fleet"}, [1, 2, 3, 4]),
        ({"target": "fleet-auto"}, [1, 3]),
        ({"target": "other"}, []),
        ({"status": RoutingStatus.FELL_BACK}, [2]),
        ({"status": RoutingStatus.CANCELLED, "target": "fleet-auto"}, []),
    ],
)
def test_some_of_them(books, ask, listed):
    """Of a target, of those who asked by an alias, of one status: what is listed is what is summed."""
    found = report(books, **ask)
    assert numbers(found) == listed
    assert found.totals.requests == len(listed)


def test_a_period(books):
    """From one moment until before another, by when they ended."""
    first, second, *_ = report(books).outcomes
    assert numbers(report(books, Period(first.at, second.at))) == [1]
    assert numbers(report(books, Period(first.at + 1, second.at + 1))) == [2]
    assert report(books, Period(0, first.at)).sums == ()


def test_the_newest(books):
    """Over the limit the oldest are not listed, and summed all the same."""
    found = report(books, most=2)
    assert numbers(found) == [3, 4]
    assert found.totals.requests == 4


def test_at_the_same_moment(books):
    """Those that ended at once stand in the order in which they were written."""
    books.sql("UPDATE routing_outcomes SET at = ?", START)
    assert numbers(report(books)) == [1, 2, 3, 4]
    assert numbers(report(books, most=1)) == [4]


@pytest.mark.parametrize("ask", [{}, {"target": "fleet"}, {"status": "failed"}])
def test_it_reads_only_the_period(books, ask):
    """The listing is found by its time, so that it does not read all outcomes there ever were."""
    seen = []
    execute = books.tx.execute

    class Spy:
        def execute(self, sql, parameters=()):
            seen.append(" ".join(str(row[-1]) for row in execute(f"EXPLAIN QUERY PLAN {sql}", parameters)))
            return execute(sql, parameters)

    routing_outcomes(Spy(), OutcomesAsk(ALWAYS, **ask))
    assert len(seen) == 2
    assert all("SEARCH o USING INDEX routing_outcomes_by_time (at>? AND at<?)" in plan for plan in seen), seen


def test_one_of_them(books):
    """By its number or by its inference; what runs, is pinned or is no name of one has none."""
    assert routed_request(books.tx, "2") == routed_request(books.tx, books.ids[1])
    assert routed_request(books.tx, "3").inference_id is None
    for other in (books.running, books.pinned, "0", "99", "9" * 18, "9" * 5000, "٣", "", "-1"):
        assert routed_request(books.tx, other) is None
