"""The caps as the ledger's entries saw them: which were in force at an entry, with which limit, and for whom.

Words: a cap *comes into force* when it gets a limit and had none, and is so until it is removed; both happen between
two entries, as ``cap_limits`` tells. What cannot be read is skipped here: other checks tell of it.
"""

import functools
from collections.abc import Collection, Iterator
from typing import Final

import attrs
import msgspec

from ainf.ledger import Window, window_start
from ainf.store import counters
from ainf.store.counters import CounterKey
from ainf.store.counting import Scope, Subject
from ainf.store.transaction import Transaction

_CAPS: Final = 'SELECT cap_id, kind, subject, subject_id, "window", model, counts_from, created_at FROM caps'
_LIMITS: Final = "SELECT after_seq, at, cap_id, limit_nusd FROM cap_limits ORDER BY number DESC"
_WINDOWS: Final = frozenset(Window)
_path_decoder = msgspec.json.Decoder(list[str])


@attrs.define(eq=False)
class PlayedCap:
    """A cap or balance, and its limit as of the entry that the history has come to."""

    cap_id: str
    kind: str
    scope: Scope
    counts_from: int
    """Entries up to this seq count by whose they are; later ones by what their attempt lists."""
    first_start: int | None
    """The start of the window that it was set in."""
    limit: int | None = None
    """None: it is not in force."""

    def counts_by_scope(self, seq: int, *, key_id: str, account_path: str, model: str, opened_at: int) -> bool:
        """Whether it counts an entry because its attempt is in its scope: such as were posted before it was set."""
        return (
            self.kind == "cap"
            and seq <= self.counts_from
            and self.first_start is not None
            and start_of(self.scope.window, opened_at) is not None
            and self.scope.holds(
                key_id=key_id, account_path=account_path, model=model, opened_at=opened_at, start=self.first_start
            )
        )


class CapHistory:
    """All caps, or some of them, along the ledger's entries.

    Attributes:
        caps: by id.
        by_subject: the same by what they are on.
    """

    def __init__(self, tx: Transaction, only: Collection[str] | None = None) -> None:
        self.caps: dict[str, PlayedCap] = {}
        self.by_subject: dict[Subject, list[PlayedCap]] = {}
        for cap_id, kind, subject, subject_id, window, model, counts_from, created_at in tx.execute(_CAPS):
            if window in _WINDOWS and (only is None or cap_id in only):
                scope = Scope(Subject(subject, subject_id), Window(window), model)
                cap = PlayedCap(cap_id, kind, scope, counts_from, start_of(scope.window, created_at))
                self.caps[cap_id] = cap
                self.by_subject.setdefault(scope.subject, []).append(cap)
        self._later = [row for row in tx.execute(_LIMITS) if row[2] in self.caps]

    def advance(self, seq: int) -> Iterator[tuple[PlayedCap, int]]:
        """Put the limits in force that were so for an entry; yield each cap that came into force on the way, and when.

        It must be consumed; seqs must not fall from call to call.
        """
        while self._later and self._later[-1][0] < seq:
            _, at, cap_id, limit = self._later.pop()
            cap = self.caps[cap_id]
            begins = cap.limit is None and limit is not None
            cap.limit = limit
            if begins:
                yield cap, at

    def rest(self) -> Iterator[tuple[PlayedCap, int]]:
        """Go on behind the last entry, as ``advance`` does."""
        return self.advance(2**63)


def start_of(window: Window, at: int) -> int | None:
    """Return when the window began that holds ``at``; None where no calendar has that moment."""
    try:
        return window_start(window, at)
    except (OverflowError, ValueError):
        return None


@functools.lru_cache(maxsize=4096)
def subjects_of(key_id: str, account_path: str) -> tuple[Subject, ...]:
    """Return what a cap may be on that counts an exchange: its key, then its accounts from the nearest up to the root.

    A path that cannot be read has no accounts.
    """
    try:
        path = _path_decoder.decode(account_path)
    except msgspec.DecodeError:
        path = []
    return (Subject("key", key_id), *(Subject("account", account_id) for account_id in reversed(path)))


@functools.lru_cache(maxsize=4096)
def listed_caps(caps: str) -> tuple[CounterKey, ...] | None:
    """Return the counters that an attempt counts on, as its row lists them; None where that cannot be read."""
    try:
        return tuple(counters.from_json(caps))
    except msgspec.DecodeError:
        return None
