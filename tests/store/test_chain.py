"""The audit trail, walked over all epochs."""

import pytest

from ainf.store.chain import chain_faults, events_of
from tests.store.books import Books


@pytest.fixture
def books(tmp_path):
    books = Books(tmp_path)
    books.account("one")
    books.new_epoch()
    books.account("two")
    books.new_epoch()
    return books


def faults(books):
    return list(chain_faults(books.tx))


def test_a_sound_trail(books):
    """Epochs that follow each other are linked and whole."""
    assert faults(books) == []
    assert [event.kind for event in events_of(books.tx, 2)] == ["epoch.started", "account.created"]


def test_a_tail_that_was_cut(books):
    """The last event of an old epoch is missed by the epoch that names it."""
    books.sql("DELETE FROM audit_events WHERE epoch = 2 AND seq = 2")
    assert faults(books) == ["epoch 2 seq 2: is not there, though epoch 3 names it"]


def test_a_chain_that_was_written_anew(books):
    """A chain that is consistent in itself, but not the one that was named, is found."""
    books.sql("UPDATE audit_events SET hash = prev_hash WHERE epoch = 2 AND seq = 2")
    assert "epoch 2 seq 2: has another hash, though epoch 3 names it" in faults(books)


def test_an_epoch_without_a_beginning(books):
    """Every epoch begins with the event that links it to those before."""
    books.sql("DELETE FROM audit_events WHERE epoch = 3")
    assert faults(books) == ["epoch 3 seq 1: is not there"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("kind = 'x'", "epoch 3 seq 1: is 'x', not 'epoch.started'"),
        ("body = '{'", "epoch 3 seq 1: names no heads"),
        ("body = '{\"heads\": 3}'", "epoch 3 seq 1: names no heads"),
    ],
)
def test_a_beginning_that_is_none(books, change, expected):
    """A first event of another kind, or one that names no heads, is told."""
    books.sql(f"UPDATE audit_events SET {change} WHERE epoch = 3")
    assert expected in faults(books)
