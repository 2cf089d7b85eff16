"""C2: nothing escapes a cap, and nothing counts on one that is not its own.

Strategy: the openings and closings, in the order of the ledger's entries, beside the history of the caps. An opening
must list the caps that were then in force for it, each in the window of its admission, and of the balances the nearest;
while it runs, a cap that comes into force must be added, if it counts the same window.
"""

from collections.abc import Iterator
from typing import Final

import attrs

from ainf.ledger import covers
from ainf.store.counters import CounterKey
from ainf.store.history import CapHistory, PlayedCap, listed_caps, start_of, subjects_of
from ainf.store.invariants import Breach, Check, Invariant, Reading
from ainf.store.transaction import Row

NOTHING_ESCAPES: Final = Invariant(
    "C2",
    "an exchange lists every cap in force for it, the nearest balance, and nothing else, each once and in the window"
    " of its admission",
)

_MOMENTS = """
    SELECT e.seq, e.kind, e.inference_id, i.caps, i.key_id, i.account_path, i.model, i.opened_at
    FROM entries AS e JOIN inferences AS i ON i.inference_id = e.inference_id
    WHERE e.seq > ? AND e.kind IN ('hold', 'settle') ORDER BY e.seq LIMIT ?
"""


@attrs.define(eq=False)
class _Running:
    """An exchange between its first entry and its settlement."""

    inference_id: str
    key_id: str
    account_path: str
    model: str
    opened_at: int
    listed: frozenset[CounterKey]
    unexplained: set[CounterKey]
    """Listed, and not in force at its opening: caps that must have come into force since."""

    def falls_under(self, cap: PlayedCap, at: int) -> CounterKey | None:
        """Return the counter of a cap that comes into force at ``at``, where this exchange counts on it."""
        window = cap.scope.window
        start = start_of(window, at)
        if start is None or cap.kind != "cap" or start_of(window, self.opened_at) != start:
            return None
        holds = cap.scope.holds(
            key_id=self.key_id,
            account_path=self.account_path,
            model=self.model,
            opened_at=self.opened_at,
            start=start,
        )
        return (cap.cap_id, start) if holds else None


class _Scopes:
    """Which exchanges run, beside the caps that are in force."""

    def __init__(self, history: CapHistory) -> None:
        self._history = history
        self._running: dict[str, _Running] = {}

    def take(self, moment: Row) -> Iterator[Breach]:
        """Take the next opening or closing."""
        seq, kind, inference_id, *opening = moment
        yield from self._begun(self._history.advance(seq))
        if kind == "settle":
            yield from _never_in_force(self._running.pop(inference_id, None))
        elif inference_id not in self._running:
            yield from self._open(inference_id, *opening)

    def end(self) -> Iterator[Breach]:
        """Take it that there are no more."""
        yield from self._begun(self._history.rest())
        for running in self._running.values():
            yield from _never_in_force(running)

    def _begun(self, begun: Iterator[tuple[PlayedCap, int]]) -> Iterator[Breach]:
        for cap, at in begun:
            for running in self._running.values():
                key = running.falls_under(cap, at)
                if key is None:
                    continue
                running.unexplained.discard(key)
                if key not in running.listed:
                    yield _breach(running.inference_id, key, "is not listed, though it was set while the exchange ran")

    def _open(
        self, inference_id: str, caps: str, key_id: str, account_path: str, model: str, opened_at: int
    ) -> Iterator[Breach]:
        listed = listed_caps(caps)
        if listed is None:
            yield NOTHING_ESCAPES, {"inference_id": inference_id, "caps": caps, "fault": "cannot be read"}
            return
        expected = frozenset(self._in_force(key_id, account_path, model, opened_at))
        for key in sorted(expected - set(listed)):
            yield _breach(inference_id, key, "is not listed")
        for key in sorted({key for key in listed if listed.count(key) > 1}):
            yield _breach(inference_id, key, "is listed more than once")
        self._running[inference_id] = _Running(
            inference_id, key_id, account_path, model, opened_at, frozenset(listed), set(listed) - expected
        )

    def _in_force(self, key_id: str, account_path: str, model: str, opened_at: int) -> Iterator[CounterKey]:
        has_balance = False
        for subject in subjects_of(key_id, account_path):  # the nearest first
            for cap in self._history.by_subject.get(subject, ()):
                start = start_of(cap.scope.window, opened_at)
                if cap.limit is None or start is None:
                    continue
                if cap.kind == "balance":
                    if not has_balance:
                        yield cap.cap_id, start
                    has_balance = True
                elif covers(cap.scope.model, model) and _counts_from(cap) <= start:
                    yield cap.cap_id, start


def _counts_from(cap: PlayedCap) -> int:
    """Return the first window that a cap counts: what was admitted before it may still be committed after it."""
    return 0 if cap.first_start is None else cap.first_start


def _never_in_force(running: _Running | None) -> Iterator[Breach]:
    if running is not None:
        for key in sorted(running.unexplained):
            yield _breach(running.inference_id, key, "is listed, and was never in force for it")


def _breach(inference_id: str, key: CounterKey, fault: str) -> Breach:
    return NOTHING_ESCAPES, {"inference_id": inference_id, "cap_id": key[0], "window_start": key[1], "fault": fault}


def _breaches(reading: Reading) -> Iterator[Breach]:
    scopes = _Scopes(CapHistory(reading.tx))
    for moment in reading.walk(_MOMENTS, (0,)):
        yield from scopes.take(moment)
    yield from scopes.end()


SCOPES: Final = Check((NOTHING_ESCAPES,), _breaches)
