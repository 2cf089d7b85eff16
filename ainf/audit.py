"""The audit trail's hash chain: how an event is written down, linked to the one before it, and checked again.

Each epoch (one life of one process) has a chain of its own, gapless from 1. An event's body is canonical JSON and holds
its epoch, seq, kind and time, so that the hash covers everything that the event says:
``hash = SHA-256(prev_hash + body)``, in hex; the first event of an epoch has ``GENESIS`` before it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs
import msgspec

GENESIS: Final = "0" * 64

_encoder = msgspec.json.Encoder(order="sorted")


@attrs.frozen
class Link:
    """An event's place in its chain."""

    hash: str
    prev_hash: str


@attrs.frozen
class Head:
    """The last event of a chain: what the next one is linked to."""

    epoch: int
    seq: int = 0
    hash: str = GENESIS


@attrs.frozen
class Event:
    """An audit event as it is stored."""

    epoch: int
    seq: int
    kind: str
    inference_id: str | None
    at: int
    """Microseconds since 1970 UTC."""
    body: str
    prev_hash: str
    hash: str


def canonical(value: object) -> str:
    """Return a value as canonical JSON: keys sorted, no spaces, so that equal values are equal text."""
    return _encoder.encode(value).decode()


def digest(prev_hash: str, body: str) -> str:
    """Return the hash that links a body to the event before it."""
    return hashlib.sha256((prev_hash + body).encode()).hexdigest()


def next_event(head: Head, kind: str, at: int, inference_id: str | None, body: Mapping[str, Any]) -> Event:
    """Return the event that follows ``head``; its body gets epoch, seq, kind and at (and the id, if there is one)."""
    seq = head.seq + 1
    own = {"epoch": head.epoch, "seq": seq, "kind": kind, "at": at}
    if inference_id is not None:
        own["inference_id"] = inference_id
    assert own.keys().isdisjoint(body) or all(body[name] == own[name] for name in own.keys() & body.keys()), kind
    text = canonical({**body, **own})
    return Event(head.epoch, seq, kind, inference_id, at, text, head.hash, digest(head.hash, text))


def faults(events: Iterable[Event], epoch: int) -> Iterable[str]:
    """Yield what is wrong with one epoch's events, taken in the order of their seq; nothing where the chain holds."""
    head = Head(epoch)
    for event in events:
        where = f"epoch {epoch} seq {event.seq}"
        if event.seq != head.seq + 1:
            yield f"{where}: follows seq {head.seq}"
        if event.prev_hash != head.hash:
            yield f"{where}: is not linked to the event before it"
        if event.hash != digest(event.prev_hash, event.body):
            yield f"{where}: its hash is not that of its body"
        elif not _says_itself(event):
            yield f"{where}: its columns differ from its body"
        head = Head(epoch, event.seq, event.hash)


def _says_itself(event: Event) -> bool:
    try:
        body = msgspec.json.decode(event.body, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return False
    said = (body.get("epoch"), body.get("seq"), body.get("kind"), body.get("at"), body.get("inference_id"))
    return said == (event.epoch, event.seq, event.kind, event.at, event.inference_id)
