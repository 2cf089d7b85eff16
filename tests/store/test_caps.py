"""Caps: what they count, from when, and what removing and setting them again does."""

import pytest

from ainf.inference.errors import DownstreamError, SpendError
from ainf.store import caps
from ainf.store.caps import list_caps, remove_cap, subject_of
from tests.store.books import COST, Books


@pytest.fixture
def books(tmp_path):
    books = Books(tmp_path)
    books.account("root")
    books.account("team", "root")
    books.account("other")
    return books


def counter(books, cap_id):
    return books.sql("SELECT settled_nusd, held_nusd FROM counters WHERE cap_id = ?", cap_id)[0]


def test_a_cap_set_late_counts_the_past(books):
    """What was settled, and what running exchanges hold, counts on a new cap; other accounts and keys do not."""
    key, sibling, stranger = books.key("team"), books.key("team"), books.key("other")
    books.close(books.open(key))
    books.close(books.open(sibling))
    books.close(books.open(stranger))
    running = books.open(key)
    held = books.sql("SELECT held_nusd FROM holds")[0][0]
    on_root, on_key = books.cap(10**9, account="root"), books.cap(10**9, key_id=key)
    assert counter(books, on_root) == (2 * COST, held)
    assert counter(books, on_key) == (COST, held)
    assert books.extend(running, 500) == 500
    assert counter(books, on_root) == (2 * COST, held + 500)
    books.close(running)
    assert counter(books, on_root) == (3 * COST, 0)
    assert counter(books, on_key) == (2 * COST, 0)


def test_a_cap_set_late_binds_running_exchanges(books):
    """An exchange that was opened before the cap is not extended past it."""
    key = books.key("team")
    running = books.open(key)
    held = books.sql("SELECT held_nusd FROM holds")[0][0]
    books.cap(held + 300, account="root")
    assert books.extend(running, 1000) == 300
    assert books.extend(running, 1000) == 0
    with pytest.raises(SpendError):
        books.open(key)


def test_changing_a_limit_keeps_the_cap(books):
    """Setting a cap again changes its limit, keeps its id and counter, and the history has both limits."""
    key = books.key("team")
    cap_id = books.cap(10**9, account="root")
    books.close(books.open(key))
    assert books.cap(5, account="root") == cap_id
    assert counter(books, cap_id) == (COST, 0)
    (listed,) = list_caps(books.tx, books.at)
    assert (listed.subject, listed.name, listed.limit_nusd, listed.settled_nusd) == ("account", "root", 5, COST)
    entries = books.sql("SELECT max(seq) FROM entries")[0][0]
    assert books.sql("SELECT after_seq, limit_nusd FROM cap_limits ORDER BY after_seq") == [(0, 10**9), (entries, 5)]
    with pytest.raises(SpendError):
        books.open(key)


def test_a_removed_cap_stays_removed(books):
    """Set again it is another cap, which counts what was spent without one too; the old one goes on as it was."""
    key = books.key("team")
    first = books.cap(10**9, key_id=key)
    running = books.open(key)
    books.run(remove_cap, scope=books.scope(key_id=key), at=books.tick())
    assert list_caps(books.tx, books.at) == []
    books.close(books.open(key))
    between = books.open(key)
    second = books.cap(10**9, key_id=key)
    assert second != first
    held = books.sql("SELECT sum(held_nusd) FROM holds")[0][0]
    assert counter(books, second) == (COST, held)
    running_caps = dict(
        books.sql("SELECT i.inference_id, i.caps FROM inferences AS i JOIN holds AS h USING (inference_id)")
    )
    assert running_caps == {running: f'[["{first}",0],["{second}",0]]', between: f'[["{second}",0]]'}
    books.close(between)
    books.close(running)
    assert (counter(books, first), counter(books, second)) == ((COST, 0), (3 * COST, 0))
    limits = books.sql("SELECT cap_id, limit_nusd FROM cap_limits ORDER BY rowid")
    assert limits == [(first, 10**9), (first, None), (second, 10**9)]


def test_refusals(books):
    """Unknown subjects and caps that are not there are named."""
    with pytest.raises(DownstreamError, match="There is no account 'none'"):
        subject_of(books.tx, account="none")
    with pytest.raises(DownstreamError, match="There is no key 'none'"):
        subject_of(books.tx, key_id="none")
    with pytest.raises(DownstreamError, match="This account has no lifetime cap"):
        books.run(remove_cap, scope=books.scope(account="root"), at=1)
    books.cap(1, account="root")
    books.run(remove_cap, scope=books.scope(account="root"), at=1)
    with pytest.raises(DownstreamError, match="This account has no lifetime cap"):
        books.run(remove_cap, scope=books.scope(account="root"), at=2)


def test_each_change_is_an_audit_event(books):
    """Setting and removing are told in the chain, with the limit."""
    books.cap(5, account="root")
    books.run(remove_cap, scope=books.scope(account="root"), at=books.tick())
    kinds = [row[0] for row in books.sql("SELECT kind FROM audit_events ORDER BY epoch, seq")]
    assert kinds[-2:] == ["cap.set", "cap.removed"]
    assert '"limit_nusd":5' in books.sql("SELECT body FROM audit_events WHERE kind = 'cap.set'")[0][0]


def test_what_runs_is_found_without_reading_the_past(books):
    """Setting a cap holds the database for writing: of exchanges and attempts only those that run are read."""
    plan = [row[3] for row in books.sql(f"EXPLAIN QUERY PLAN {caps._RUNNING}")]
    assert not [step for step in plan if step.startswith("SCAN") and step not in {"SCAN o", "SCAN holds"}], plan
    assert any("later_attempts USING PRIMARY KEY (inference_id=?)" in step for step in plan), plan
