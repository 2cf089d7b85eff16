"""The transaction that operations see: rows, and the audit chain in step with the database."""

import pytest

from ainf import audit
from ainf.store.epochs import begin_epoch
from ainf.store.sqlite import MEMORY, SQLiteEngine
from ainf.store.transaction import Transaction


@pytest.fixture
def engine():
    engine = SQLiteEngine.open(MEMORY)
    yield engine
    engine.close()


def test_one_returns_a_row_or_none(engine):
    """More than one row is a bug of the caller."""
    tx = begin_epoch(engine, "gateway", 1)
    assert tx.one("SELECT 1 WHERE 1 = ?", (1,)) == (1,)
    assert tx.one("SELECT 1 WHERE 1 = ?", (2,)) is None
    with pytest.raises(AssertionError):
        tx.one("SELECT 1 UNION ALL SELECT 2")


def test_an_appended_event_is_stored_as_it_is_linked(engine):
    """The row holds what the hash covers; the link is what a receipt shows."""
    tx = begin_epoch(engine, "gateway", 1)
    first = tx.head
    link = tx.append_audit("key.created", 7, None, {"key_id": "k"})
    (row,) = tx.execute(
        "SELECT epoch, seq, kind, inference_id, at, body, prev_hash, hash FROM audit_events WHERE seq > 1"
    )
    event = audit.Event(*row)
    assert (event.hash, event.prev_hash, link.prev_hash) == (link.hash, link.prev_hash, first.hash)
    assert event.hash == audit.digest(first.hash, event.body)
    assert tx.head == audit.Head(1, 2, link.hash)


def test_rewinding_puts_the_chain_back(engine):
    """After a rollback the next event takes the place of the one that was undone."""
    tx = begin_epoch(engine, "gateway", 1)
    engine.begin()
    head = tx.head
    tx.memo["seen"] = 1
    undone = tx.append_audit("a", 1, None, {})
    engine.rollback()
    tx.rewind(head)
    assert tx.memo == {}
    engine.begin()
    again = tx.append_audit("b", 1, None, {})
    engine.commit()
    assert again.prev_hash == undone.prev_hash == head.hash
    assert tx.execute("SELECT kind FROM audit_events WHERE seq = 2") == [("b",)]


def test_a_reading_transaction_has_no_chain(engine):
    """It cannot append an event."""
    with pytest.raises(AssertionError):
        Transaction(engine, audit.Head(0)).append_audit("a", 1, None, {})
