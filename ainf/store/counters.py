"""What the caps have seen: one row for each cap and window, moved together with the entries it sums up."""

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from ainf.ledger import CapState
from ainf.store.transaction import Transaction

CounterKey: TypeAlias = tuple[str, int]
"""A cap's id and the start of its window."""

IN_WINDOW: Final = """
    LEFT JOIN counters AS n ON n.cap_id = c.cap_id
        AND n.window_start = CASE c."window" WHEN 'hour' THEN ? WHEN 'day' THEN ? WHEN 'week' THEN ? WHEN 'month' THEN ?
            ELSE 0 END
"""
"""Joins to a cap ``c`` its counter ``n`` in a window, in SQL; its parameters: ``ledger.window_starts`` of a moment."""

_MOVE: Final = """
    UPDATE counters SET held_nusd = held_nusd + ?, settled_nusd = settled_nusd + ? WHERE cap_id = ? AND window_start = ?
"""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[CounterKey])


def keys_of(caps: Iterable[CapState]) -> list[CounterKey]:
    """Return what names the counters of caps."""
    return [(cap.cap_id, cap.window_start) for cap in caps]


def to_json(keys: Sequence[CounterKey]) -> str:
    """Return counters as an attempt keeps them from its opening on: ``[[cap_id, window_start], ...]``."""
    return _encoder.encode(keys).decode()


def from_json(text: str) -> list[CounterKey]:
    """Return the counters that an attempt counts on."""
    return _decoder.decode(text)


def hold(tx: Transaction, keys: Sequence[CounterKey], amount: int) -> None:
    """Add a new hold to counters; one that is not there yet begins with it."""
    if not keys:
        return
    rows = ", ".join(["(?, ?, ?)"] * len(keys))
    tx.execute(
        f"INSERT INTO counters (cap_id, window_start, held_nusd) VALUES {rows}"  # noqa: S608 - only marks are put in
        " ON CONFLICT (cap_id, window_start) DO UPDATE SET held_nusd = counters.held_nusd + excluded.held_nusd",
        [part for key in keys for part in (*key, amount)],
    )


def move(tx: Transaction, keys: Sequence[CounterKey], *, held: int = 0, settled: int = 0) -> None:
    """Add amounts (negative: take them) on counters that are there."""
    if keys:
        tx.executemany(_MOVE, [(held, settled, *key) for key in keys])
