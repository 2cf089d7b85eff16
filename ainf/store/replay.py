"""I4 and C1: what the caps have counted, replayed entry by entry over the whole ledger.

An entry counts on the caps that its attempt lists, or that cover its attempt's model: an exchange may call several.

Strategy: one total for each counter (a cap in one window), moved as the entries come by. That would grow with the
windows that ever were, so the caps are taken in batches of at most ``MOST_COUNTERS`` counters, and the ledger is walked
once for each batch: once, unless it is very large.
"""

from collections.abc import Collection, Iterator
from typing import Any, Final

import attrs

from ainf.store.counters import CounterKey
from ainf.store.history import CapHistory, PlayedCap, listed_caps, subjects_of
from ainf.store.invariants import Breach, Check, Invariant, Reading
from ainf.store.transaction import Row, Transaction

MOST_COUNTERS = 100_000
"""Totals that are kept in memory at a time: some 30 MB."""

WITHIN_LIMITS: Final = Invariant(
    "I4", "no hold or extension takes a cap or balance above the limit in force; no total is negative"
)
COUNTERS_ARE_SUMS: Final = Invariant(
    "C1", "a counter is the sum of the entries that count on it, and none that has any is missing"
)

_SIZES = """
    SELECT c.cap_id, count(n.cap_id) FROM caps AS c LEFT JOIN counters AS n ON n.cap_id = c.cap_id
    GROUP BY c.cap_id ORDER BY c.cap_id
"""
_ENTRIES = """
    SELECT seq, inference_id, kind, amount_nusd, caps, key_id, account_path, model, admitted_at FROM attempt_entries
    WHERE seq > ? ORDER BY seq LIMIT ?
"""
_COUNTERS = """
    SELECT cap_id, window_start, settled_nusd, held_nusd FROM counters
    WHERE (cap_id, window_start) > (?, ?) ORDER BY cap_id, window_start LIMIT ?
"""
_BEFORE_ALL: Final = -(2**63)
_SETS_ASIDE: Final = frozenset({"hold", "extend"})
_GIVES_BACK: Final = frozenset({"settle", "release"})
_SPENDS: Final = frozenset({"settle", "overrun", "adjustment"})


@attrs.define(eq=False)
class _Total:
    held: int = 0
    settled: int = 0

    def is_broken_by(self, kind: str, amount: int, limit: int | None) -> bool:
        """Take the next entry; return whether it breaks the limit (only what sets money aside can) or the sum."""
        if kind in _SETS_ASIDE:
            self.held += amount
            return limit is not None and self.held + self.settled > limit
        if kind in _GIVES_BACK:
            self.held -= amount
        if kind in _SPENDS:
            self.settled += amount
        return self.held < 0 or self.settled < 0


class _Replay:
    """The totals of a batch of caps."""

    def __init__(self, tx: Transaction, batch: Collection[str]) -> None:
        self._history = CapHistory(tx, batch)
        self._totals: dict[CounterKey, _Total] = {}
        # Behind this entry all that counts on a cap is of an attempt that lists it.
        self._all_listed_from = max((cap.counts_from for cap in self._history.caps.values()), default=0)

    def take(self, entry: Row) -> Iterator[Breach]:
        """Move the totals that an entry counts on; yield the limits that it breaks."""
        seq, inference_id, kind, amount, *_ = entry
        for _ in self._history.advance(seq):
            pass
        for key in self._counted_on(entry):
            cap = self._history.caps.get(key[0])
            if cap is None:
                continue
            total = self._totals.get(key)
            if total is None:
                total = self._totals[key] = _Total()
            if total.is_broken_by(kind, amount, cap.limit):
                yield WITHIN_LIMITS, _breaking_entry(key, seq, inference_id, total, cap)

    def _counted_on(self, entry: Row) -> Collection[CounterKey]:
        seq, _, _, _, caps, key_id, account_path, model, opened_at = entry
        listed = listed_caps(caps) or ()
        if seq > self._all_listed_from:
            return frozenset(listed)
        by_scope = {
            (cap.cap_id, cap.first_start)
            for subject in subjects_of(key_id, account_path)
            for cap in self._history.by_subject.get(subject, ())
            if cap.first_start is not None
            and cap.counts_by_scope(seq, key_id=key_id, account_path=account_path, model=model, opened_at=opened_at)
        }
        return by_scope | frozenset(listed)

    def differences(self, counters: Iterator[Row]) -> Iterator[Breach]:
        """Compare the totals with the counters of these caps, once all entries are taken."""
        for cap_id, start, settled, held in counters:
            total = self._totals.pop((cap_id, start), None) or _Total()
            if (settled, held) != (total.settled, total.held):
                yield COUNTERS_ARE_SUMS, _wrong_counter((cap_id, start), settled, held, total)
        for key, total in self._totals.items():
            yield COUNTERS_ARE_SUMS, _wrong_counter(key, None, None, total)


def _breaking_entry(key: CounterKey, seq: int, inference_id: str, total: _Total, cap: PlayedCap) -> dict[str, Any]:
    return {
        "cap_id": key[0],
        "window_start": key[1],
        "seq": seq,
        "inference_id": inference_id,
        "total_nusd": total.held + total.settled,
        "limit_nusd": cap.limit,
    }


def _wrong_counter(key: CounterKey, settled: int | None, held: int | None, right: _Total) -> dict[str, Any]:
    return {
        "cap_id": key[0],
        "window_start": key[1],
        "settled_nusd": settled,
        "right_settled_nusd": right.settled,
        "held_nusd": held,
        "right_held_nusd": right.held,
    }


def _batches(tx: Transaction) -> Iterator[list[str]]:
    """Yield the ids of all caps in order, as many at a time as have not too many counters together."""
    batch: list[str] = []
    size = 0
    for cap_id, counters in tx.execute(_SIZES):
        if batch and size + counters > MOST_COUNTERS:
            yield batch
            batch, size = [], 0
        batch.append(cap_id)
        size += counters
    if batch:
        yield batch


def _breaches(reading: Reading) -> Iterator[Breach]:
    for batch in _batches(reading.tx):
        played = _Replay(reading.tx, frozenset(batch))
        for entry in reading.walk(_ENTRIES, (0,)):
            yield from played.take(entry)
        yield from played.differences(_counters_of(reading, batch))


def _counters_of(reading: Reading, batch: list[str]) -> Iterator[Row]:
    """Yield the counters of a batch; its ids are a range of all."""
    known = frozenset(batch)
    for row in reading.walk(_COUNTERS, (batch[0], _BEFORE_ALL)):
        if row[0] > batch[-1]:
            return
        if row[0] in known:
            yield row


REPLAY: Final = Check((WITHIN_LIMITS, COUNTERS_ARE_SUMS), _breaches)
