"""The hash chain: links that hold, and every way to break them."""

import hashlib

import attrs
import pytest

from ainf import audit


def chain(count):
    head, events = audit.Head(7), []
    for number in range(count):
        event = audit.next_event(head, "rejected", 100 + number, None, {"code": "b", "a": number})
        events.append(event)
        head = audit.Head(7, event.seq, event.hash)
    return events


def test_an_event_is_linked_to_the_one_before():
    """The hash is SHA-256 of the previous hash and the canonical body, which says epoch, seq, kind and time."""
    first, second = chain(2)
    assert first.body == '{"a":0,"at":100,"code":"b","epoch":7,"kind":"rejected","seq":1}'
    assert first.prev_hash == audit.GENESIS == "0" * 64
    assert first.hash == hashlib.sha256((audit.GENESIS + first.body).encode()).hexdigest()
    assert (second.seq, second.prev_hash) == (2, first.hash)


def test_an_event_names_its_exchange():
    """The inference id is in the body too, so that the hash covers it."""
    event = audit.next_event(audit.Head(1), "inference.closed", 5, "inf", {})
    assert '"inference_id":"inf"' in event.body


def test_a_body_may_not_contradict_its_place():
    """A body that claims another time or epoch than its event is a bug."""
    with pytest.raises(AssertionError):
        audit.next_event(audit.Head(1), "rejected", 5, None, {"at": 6})


def test_a_whole_chain_has_no_faults():
    """An untouched chain passes, as does an empty one."""
    assert list(audit.faults(chain(5), 7)) == []
    assert list(audit.faults([], 7)) == []


def relinked(event):
    return attrs.evolve(event, hash=audit.digest(event.prev_hash, event.body))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda events: events[1:], "seq 2: follows seq 0"),
        (lambda events: events[:1] + events[2:], "seq 3: follows seq 1"),
        (lambda events: [*events[:1], attrs.evolve(events[1], body="{}"), *events[2:]], "not that of its body"),
        (lambda events: [*events[:1], attrs.evolve(events[1], at=1), *events[2:]], "differ from its body"),
        (
            lambda events: [*events[:1], relinked(attrs.evolve(events[1], body="[")), *events[2:]],
            "differ from its body",
        ),
        (
            lambda events: [*events[:1], relinked(attrs.evolve(events[1], prev_hash="f" * 64)), *events[2:]],
            "seq 2: is not linked",
        ),
        (
            lambda events: [relinked(attrs.evolve(events[0], body=events[0].body.replace("b", "c"))), *events[1:]],
            "seq 2: is not linked",
        ),
    ],
)
def test_tampering_shows(change, says):
    """A removed, changed or rehashed event is named with its place."""
    assert any(says in fault for fault in audit.faults(change(chain(4)), 7))
