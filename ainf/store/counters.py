"""What the caps have seen: one row for each cap and window, moved together with the entries it sums up."""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from ainf.ledger import CapState
from ainf.store.transaction import Transaction

CounterKey: TypeAlias = tuple[str, int]
"""A cap's id and the start of its window."""

_MOVE = """
    UPDATE counters SET held_nusd = held_nusd + ?, settled_nusd = settled_nusd + ? WHERE cap_id = ? AND window_start = ?
"""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[CounterKey])


def to_json(caps: Sequence[CapState]) -> str:
    """Return the caps as an exchange keeps them from its admission on: ``[[cap_id, window_start], ...]``."""
    return _encoder.encode([(cap.cap_id, cap.window_start) for cap in caps]).decode()


def from_json(text: str) -> list[CounterKey]:
    """Return the counters that an exchange was admitted under."""
    return _decoder.decode(text)


def hold(tx: Transaction, caps: Sequence[CapState], amount: int) -> None:
    """Add a new hold to the counters of its caps; a counter that is not there yet begins with it."""
    if not caps:
        return
    rows = ", ".join(["(?, ?, ?)"] * len(caps))
    tx.execute(
        f"INSERT INTO counters (cap_id, window_start, held_nusd) VALUES {rows}"  # noqa: S608 - only marks are put in
        " ON CONFLICT (cap_id, window_start) DO UPDATE SET held_nusd = counters.held_nusd + excluded.held_nusd",
        [part for cap in caps for part in (cap.cap_id, cap.window_start, amount)],
    )


def move(tx: Transaction, keys: Sequence[CounterKey], *, held: int = 0, settled: int = 0) -> None:
    """Add amounts (negative: take them) on counters that are there."""
    if keys:
        tx.executemany(_MOVE, [(held, settled, *key) for key in keys])
