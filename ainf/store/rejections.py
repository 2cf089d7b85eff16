"""Requests of known keys that were not admitted, on their way to the audit trail without anybody waiting.

Between two flushes the first few of each key and code have an event each; more fold into one with a count.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import attrs

from ainf.store.base import Rejection
from ainf.store.transaction import Transaction

SINGLY: Final = 4
"""Rejections of one key with one code that have an event each, between two flushes."""
KINDS: Final = 1000
"""Pairs of key and code that are kept at once; those of more are lost."""


@attrs.frozen
class Folded:
    """Rejections of one key with one code that share an event."""

    key_id: str
    code: str
    path: str
    """Of the last of them."""
    count: int
    first_at: int
    last_at: int


Notes: TypeAlias = list[Folded]


class Rejections:
    """What was noted since the last flush."""

    def __init__(self) -> None:
        self._noted: dict[tuple[str, str], Notes] = {}

    def note(self, rejection: Rejection) -> None:
        """Keep a rejection, or fold it into those before it."""
        kind = (rejection.key_id, rejection.code)
        notes = self._noted.get(kind)
        if notes is None:
            if len(self._noted) >= KINDS:
                return
            notes = self._noted[kind] = []
        note = Folded(*kind, rejection.path, 1, rejection.at, rejection.at)
        if len(notes) <= SINGLY:
            notes.append(note)
        else:
            notes[-1] = attrs.evolve(note, count=notes[-1].count + 1, first_at=notes[-1].first_at)

    def take(self) -> Notes:
        """Return everything that was noted, and forget it."""
        noted, self._noted = self._noted, {}
        return [note for notes in noted.values() for note in notes]


def append_rejections(tx: Transaction, notes: Sequence[Folded]) -> None:
    """Append an audit event ``rejected`` for each note (an operation)."""
    for note in notes:
        tx.append_audit("rejected", note.last_at, None, attrs.asdict(note))
