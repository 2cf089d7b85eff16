"""C2: nothing escapes a cap, and nothing counts on one that is not its own.

Strategy: the openings and closings of attempts, in the order of the ledger's entries, beside the history of the caps. A
first attempt must list the caps that are in force for its model at the opening of its exchange, each in the window of
the admission, and of the balances the nearest; a later one those that are in force for its own model by then, in the
same windows, and what its exchange fell under before: that balance, and the caps that are for both models. While an
attempt runs, a cap that comes into force must be added, if it counts the same window.
"""

from collections.abc import Iterator
from typing import Final, TypeAlias

import attrs

from ainf.ledger import covers
from ainf.store.counters import CounterKey
from ainf.store.history import CapHistory, PlayedCap, listed_caps, start_of, subjects_of
from ainf.store.invariants import Breach, Check, Invariant, Reading
from ainf.store.transaction import Row

NOTHING_ESCAPES: Final = Invariant(
    "C2",
    "an attempt lists every cap in force for it, the nearest balance, and nothing else, each once and in the window"
    " of its exchange's admission",
)

_MOMENTS = """
    SELECT seq, kind, inference_id, attempt, caps, key_id, account_path, model, admitted_at FROM attempt_entries
    WHERE seq > ? AND (kind IN ('hold', 'settle') OR (kind = 'extend' AND attempt > 1)) ORDER BY seq LIMIT ?
"""

_AttemptId: TypeAlias = tuple[str, int]
"""An exchange and the number of its attempt."""


@attrs.define(eq=False)
class _Running:
    """An attempt between its first entry and its settlement."""

    inference_id: str
    number: int
    key_id: str
    account_path: str
    model: str
    admitted_at: int
    listed: frozenset[CounterKey]
    explained: set[CounterKey]
    """What was in force for it at its opening, or came into force since."""

    def falls_under(self, cap: PlayedCap, at: int) -> CounterKey | None:
        """Return the counter of a cap that comes into force at ``at``, where this attempt counts on it."""
        window = cap.scope.window
        start = start_of(window, at)
        if start is None or cap.kind != "cap" or start_of(window, self.admitted_at) != start:
            return None
        holds = cap.scope.holds(
            key_id=self.key_id,
            account_path=self.account_path,
            model=self.model,
            opened_at=self.admitted_at,
            start=start,
        )
        return (cap.cap_id, start) if holds else None

    def breach(self, key: CounterKey, fault: str) -> Breach:
        """Return what is wrong with a counter that it lists, or does not."""
        return NOTHING_ESCAPES, {
            "inference_id": self.inference_id,
            "attempt": self.number,
            "cap_id": key[0],
            "window_start": key[1],
            "fault": fault,
        }

    def never_in_force(self) -> Iterator[Breach]:
        """Yield what it lists without a reason; once it is known what came into force while it ran."""
        for key in sorted(self.listed - self.explained):
            yield self.breach(key, "is listed, and was never in force for it")


class _Scopes:
    """Which attempts run, beside the caps that are in force."""

    def __init__(self, history: CapHistory) -> None:
        self._history = history
        self._running: dict[_AttemptId, _Running] = {}

    def take(self, moment: Row) -> Iterator[Breach]:
        """Take the next opening or closing."""
        seq, kind, inference_id, number, *opening = moment
        yield from self._begun(self._history.advance(seq))
        if kind == "settle":
            running = self._running.pop((inference_id, number), None)
            if running is not None:
                yield from running.never_in_force()
        elif (inference_id, number) not in self._running:
            yield from self._open((inference_id, number), *opening)

    def end(self) -> Iterator[Breach]:
        """Take it that there are no more."""
        yield from self._begun(self._history.rest())
        for running in self._running.values():
            yield from running.never_in_force()

    def _begun(self, begun: Iterator[tuple[PlayedCap, int]]) -> Iterator[Breach]:
        for cap, at in begun:
            for running in self._running.values():
                key = running.falls_under(cap, at)
                if key is None:
                    continue
                running.explained.add(key)
                if key not in running.listed:
                    yield running.breach(key, "is not listed, though it was set while the attempt ran")

    def _open(
        self, attempt: _AttemptId, caps: str, key_id: str, account_path: str, model: str, admitted_at: int
    ) -> Iterator[Breach]:
        listed = listed_caps(caps)
        if listed is None:
            inference_id, number = attempt
            yield NOTHING_ESCAPES, {
                "inference_id": inference_id, "attempt": number, "caps": caps, "fault": "cannot be read",
            }  # fmt: skip
            return
        first = self._running.get((attempt[0], 1)) if attempt[1] > 1 else None
        expected = set(self._in_force(key_id, account_path, model, admitted_at, with_balance=first is None))
        if first is not None:
            expected |= self._kept(first, model)
        running = _Running(*attempt, key_id, account_path, model, admitted_at, frozenset(listed), expected)
        self._running[attempt] = running
        for key in sorted(expected - running.listed):
            yield running.breach(key, "is not listed")
        for key in sorted({key for key in listed if listed.count(key) > 1}):
            yield running.breach(key, "is listed more than once")

    def _in_force(
        self, key_id: str, account_path: str, model: str, admitted_at: int, *, with_balance: bool
    ) -> Iterator[CounterKey]:
        wants_balance = with_balance
        for subject in subjects_of(key_id, account_path):  # the nearest first
            for cap in self._history.by_subject.get(subject, ()):
                start = start_of(cap.scope.window, admitted_at)
                if cap.limit is None or start is None:
                    continue
                if cap.kind == "balance":
                    if wants_balance:
                        yield cap.cap_id, start
                    wants_balance = False
                elif covers(cap.scope.model, model) and _counts_from(cap) <= start:
                    yield cap.cap_id, start

    def _kept(self, first: _Running, model: str) -> set[CounterKey]:
        """Return what an exchange falls under already and another attempt does too, in force or removed since."""
        return {key for key in first.explained if covers(self._history.caps[key[0]].scope.model, model)}


def _counts_from(cap: PlayedCap) -> int:
    """Return the first window that a cap counts: what was admitted before it may still be committed after it."""
    return 0 if cap.first_start is None else cap.first_start


def _breaches(reading: Reading) -> Iterator[Breach]:
    scopes = _Scopes(CapHistory(reading.tx))
    for moment in reading.walk(_MOMENTS, (0,)):
        yield from scopes.take(moment)
    yield from scopes.end()


SCOPES: Final = Check((NOTHING_ESCAPES,), _breaches)
