"""The attempts of an exchange as they were opened, each with the caps that it counts on and what is held for it alone.

The first one's facts stand with the exchange, those of the later ones in rows of their own.
"""

from typing import Final

import msgspec

from ainf.pricing import Price
from ainf.store import counters
from ainf.store.counters import CounterKey
from ainf.store.entries import HELD
from ainf.store.transaction import Transaction

_OPENED: Final = f"""
    SELECT o.number, o.opened_at, o.model, o.upstream_model, o.provider, o.price_version, o.input_estimate, o.caps,
        (SELECT sum({HELD}) FROM entries AS e WHERE e.inference_id = o.inference_id AND e.attempt = o.number)
    FROM opened_attempts AS o WHERE o.inference_id = ? ORDER BY o.number
"""  # noqa: S608 - a constant is put in


class OpenedAttempt(msgspec.Struct, frozen=True, gc=False):
    """A call to a provider that was opened, whether it was dialled, runs, or ended."""

    number: int
    """From 1."""
    opened_at: int
    model: str
    upstream_model: str
    provider: str
    price_version: str
    input_estimate: int
    """Tokens."""
    caps: str
    held_nusd: int
    """What is held for it now: nothing, where its exchange is settled."""

    @property
    def counted_on(self) -> list[CounterKey]:
        """The counters that what it holds and costs moves."""
        return counters.from_json(self.caps)


def opened(tx: Transaction, inference_id: str) -> list[OpenedAttempt]:
    """Return the attempts of an exchange in the order of their numbers, which have no gap (an operation)."""
    return [OpenedAttempt(*row) for row in tx.execute(_OPENED, (inference_id,))]


def store_price(tx: Transaction, price: Price) -> None:
    """Store a price under its content's digest, unless it is there (an operation)."""
    if (Price, price.version) not in tx.memo:
        tx.execute(
            "INSERT INTO prices (price_version, body) VALUES (?, ?) ON CONFLICT (price_version) DO NOTHING",
            (price.version, price.canonical().decode()),
        )
        tx.memo[Price, price.version] = True


def count_on(tx: Transaction, inference_id: str, number: int, caps: str) -> None:
    """Let an attempt count on these counters (``counters.to_json``) from now on (an operation)."""
    if number == 1:
        tx.execute("UPDATE inferences SET caps = ? WHERE inference_id = ?", (caps, inference_id))
    else:
        tx.execute(
            "UPDATE later_attempts SET caps = ? WHERE inference_id = ? AND number = ?", (caps, inference_id, number)
        )
