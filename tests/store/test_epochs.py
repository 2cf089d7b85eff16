"""Epochs: numbered lives with chains of their own, each carrying the heads of those before it."""

import msgspec
import pytest

from ainf.store.epochs import begin_epoch, end_epoch
from ainf.store.sqlite import MEMORY, SQLiteEngine


@pytest.fixture
def engine():
    engine = SQLiteEngine.open(MEMORY)
    yield engine
    engine.close()


def heads(tx):
    (body,) = tx.one("SELECT body FROM audit_events WHERE epoch = ? AND seq = 1", (tx.epoch,))
    return [(head["epoch"], head["seq"], head["hash"]) for head in msgspec.json.decode(body)["heads"]]


def write(engine, tx):
    engine.begin()
    link = tx.append_audit("note", 1, None, {})
    engine.commit()
    return link.hash


def test_epochs_are_numbered_and_begin_with_an_event(engine):
    """Each begins its chain with ``epoch.started``, which says what it is the life of."""
    first, second = begin_epoch(engine, "gateway", 5), begin_epoch(engine, "command", 6)
    assert (first.epoch, second.epoch) == (1, 2)
    rows = engine.execute("SELECT epoch, seq, kind, at, body ->> 'instance' FROM audit_events ORDER BY epoch")
    assert rows == [(1, 1, "epoch.started", 5, "gateway"), (2, 1, "epoch.started", 6, "command")]


def test_an_epoch_carries_the_heads_before_it(engine):
    """The last event of every chain is named, with its hash."""
    first = begin_epoch(engine, "gateway", 1)
    last = write(engine, first)
    second = begin_epoch(engine, "command", 2)
    third = begin_epoch(engine, "command", 3)
    assert heads(first) == []
    assert heads(second) == [(1, 2, last)]
    assert heads(third) == [(2, 1, second.head.hash)]


def test_a_chain_that_grew_is_carried_again(engine):
    """A gateway that runs on while commands come and go has its new head carried by the next of them."""
    gateway = begin_epoch(engine, "gateway", 1)
    begin_epoch(engine, "command", 2)
    last = write(engine, gateway)
    assert (1, 2, last) in heads(begin_epoch(engine, "command", 3))


def test_an_end_is_noted(engine):
    """An epoch that ended in good order says when."""
    tx = begin_epoch(engine, "gateway", 1)
    engine.begin()
    end_epoch(tx, 9)
    engine.commit()
    assert engine.execute("SELECT ended_at FROM instances") == [(9,)]
