"""The audit trail, walked: every chain from its first event to its last, and the links between the chains."""

from collections.abc import Callable, Iterator
from typing import Final

import attrs
import msgspec

from ainf import audit
from ainf.store.paging import walk
from ainf.store.transaction import Transaction

_EVENTS: Final = """
    SELECT seq, kind, inference_id, at, body, prev_hash, hash FROM audit_events
    WHERE epoch = {epoch} AND seq > ? ORDER BY seq LIMIT ?
"""
_FIRST_KIND: Final = "epoch.started"


@attrs.frozen
class _Started:
    heads: list[audit.Head]


_started_decoder = msgspec.json.Decoder(_Started)


def chain_faults(tx: Transaction, on_page: Callable[[int], None] | None = None) -> Iterator[str]:
    """Yield what is wrong with the audit trail, in words; nothing where it holds (an operation).

    Each epoch's chain is gapless and its hashes hold; each begins with an event that names heads of earlier chains,
    and these are still there, so that neither a changed event nor a cut tail goes unseen. ``on_page`` is told of every
    page of events that is read, as ``walk`` does.
    """
    for (epoch,) in tx.execute("SELECT epoch FROM instances UNION SELECT epoch FROM audit_events ORDER BY epoch"):
        yield from audit.faults(events_of(tx, epoch, on_page), epoch)
        yield from _start_faults(tx, epoch)


def events_of(tx: Transaction, epoch: int, on_page: Callable[[int], None] | None = None) -> Iterator[audit.Event]:
    """Yield the events of one epoch in order."""
    rows = walk(tx, _EVENTS.format(epoch=int(epoch)), (0,), on_page)
    for seq, kind, inference_id, at, body, prev_hash, hash_ in rows:
        yield audit.Event(epoch, seq, kind, inference_id, at, body, prev_hash, hash_)


def _start_faults(tx: Transaction, epoch: int) -> Iterator[str]:
    row = tx.one("SELECT kind, body FROM audit_events WHERE epoch = ? AND seq = 1", (epoch,))
    if row is None:
        yield f"epoch {epoch} seq 1: is not there"
        return
    kind, body = row
    if kind != _FIRST_KIND:
        yield f"epoch {epoch} seq 1: is {kind!r}, not {_FIRST_KIND!r}"
        return
    try:
        heads = _started_decoder.decode(body).heads
    except (msgspec.DecodeError, RecursionError):
        yield f"epoch {epoch} seq 1: names no heads"
        return
    for head in heads:
        found = tx.one("SELECT hash FROM audit_events WHERE epoch = ? AND seq = ?", (head.epoch, head.seq))
        if found != (head.hash,):
            state = "is not there" if found is None else "has another hash"
            yield f"epoch {head.epoch} seq {head.seq}: {state}, though epoch {epoch} names it"
