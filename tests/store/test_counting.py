"""What a subject has settled and holds, counted from the entries."""

import pytest

from ainf.store.caps import set_cap
from ainf.store.counting import Counted, count
from tests.store.books import COST, Books


@pytest.fixture
def books(tmp_path):
    books = Books(tmp_path)
    books.account("root")
    books.account("team", "root")
    return books


def test_an_empty_ledger(books):
    """Nothing was counted up to nothing."""
    assert count(books.tx, books.scope(account="root"), 1) == Counted()


def test_only_newer_entries_are_counted_on(books):
    """A count that was begun earlier is carried on, not begun again."""
    key = books.key("team")
    scope = books.scope(account="root")
    books.close(books.open(key))
    before = count(books.tx, scope, books.at)
    books.open(key)
    after = count(books.tx, scope, books.at, before)
    assert after == count(books.tx, scope, books.at)
    assert (after.settled_nusd, before.held_nusd) == (COST, 0)
    assert after.held_nusd > 0
    pretended = Counted(0, after.up_to_seq, 7, 8)
    cap_id = books.run(set_cap, cap_id="c", scope=scope, limit_nusd=10**9, at=books.tick(), counted=pretended)
    assert books.sql("SELECT settled_nusd, held_nusd FROM counters WHERE cap_id = ?", cap_id) == [(7, 8)]


def test_overrun_and_adjustments_count_as_settled(books):
    """Everything that was charged counts, also what the hold did not cover."""
    key = books.key("team")
    inference_id = books.open(key, base=1, first_tokens=1)
    books.close(inference_id, cost_nusd=COST)
    assert books.sql("SELECT count(*) FROM entries WHERE kind = 'overrun'") == [(1,)]
    books.run(
        lambda tx: tx.execute(
            "INSERT INTO entries (inference_id, kind, account_id, provider, amount_nusd, at)"
            " SELECT inference_id, 'adjustment', account_id, provider, -3, 1 FROM inferences"
        )
    )
    assert count(books.tx, books.scope(account="team"), books.at).settled_nusd == COST - 3
