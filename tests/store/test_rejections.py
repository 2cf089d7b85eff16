"""Rejections: an event for the first few of a kind, one with a count for the rest."""

from ainf.store import rejections
from ainf.store.base import Rejection
from ainf.store.rejections import SINGLY, Folded, Rejections


def test_the_first_few_stand_alone_and_the_rest_fold():
    """Up to ``SINGLY`` of a key and code have a note each; all that follow share one with their count and times."""
    noted = Rejections()
    for number in range(10):
        noted.note(Rejection("key", "invalid_json", f"/{number}", number))
    notes = noted.take()
    assert notes[:SINGLY] == [Folded("key", "invalid_json", f"/{n}", 1, n, n) for n in range(SINGLY)]
    assert notes[SINGLY:] == [Folded("key", "invalid_json", "/9", 10 - SINGLY, SINGLY, 9)]
    assert noted.take() == []


def test_kinds_do_not_fold_into_each_other():
    """Another key or another code is counted by itself."""
    noted = Rejections()
    for key_id, code in (("a", "x"), ("a", "y"), ("b", "x")):
        noted.note(Rejection(key_id, code, "/", 1))
    assert [(note.key_id, note.code, note.count) for note in noted.take()] == [
        ("a", "x", 1),
        ("a", "y", 1),
        ("b", "x", 1),
    ]


def test_kinds_are_bounded(monkeypatch):
    """Beyond ``KINDS`` pairs of key and code, what comes is lost rather than kept without end."""
    monkeypatch.setattr(rejections, "KINDS", 2)
    noted = Rejections()
    for key_id in ("a", "b", "c"):
        noted.note(Rejection(key_id, "x", "/", 1))
    assert [note.key_id for note in noted.take()] == ["a", "b"]
