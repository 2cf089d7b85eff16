"""Counters: begun by the first hold, moved by the rest, never below nothing held."""

import apsw
import pytest

from ainf.ledger import CapState
from ainf.store import counters
from tests.store.records import counter, seeded

CAPS = [CapState(cap_id, 0, 100, 0, 0, "lifetime", cap_id) for cap_id in ("cap-org", "cap-key")]
KEYS = [("cap-org", 0), ("cap-key", 0)]


def both(tx):
    return counter(tx, "cap-org"), counter(tx, "cap-key")


def test_caps_are_kept_as_text():
    """What an exchange keeps of its caps gives back the counters they count on."""
    assert counters.to_json(counters.keys_of(CAPS)) == '[["cap-org",0],["cap-key",0]]'
    assert counters.from_json(counters.to_json(KEYS)) == KEYS


async def test_all_counters_move_together(store):
    """A hold and a move touch every cap of the path, each by the same amounts."""
    await store.write(seeded(account_cap=100, key_cap=100))
    await store.write(lambda tx: tx.execute("DELETE FROM counters"))
    await store.write(lambda tx: counters.hold(tx, KEYS, 7))
    await store.write(lambda tx: counters.hold(tx, KEYS[:1], 5))
    assert await store.read(both) == ((0, 12), (0, 7))
    await store.write(lambda tx: counters.move(tx, KEYS, held=-7, settled=3))
    assert await store.read(both) == ((3, 5), (3, 0))


async def test_without_caps_nothing_moves(store):
    """No statement is run for no caps."""
    await store.write(lambda tx: (counters.hold(tx, [], 7), counters.move(tx, [], held=-7)))


async def test_more_cannot_be_released_than_is_held(store):
    """The database itself refuses it: a bug shows at once."""
    await store.write(seeded(account_cap=100))
    with pytest.raises(apsw.ConstraintError):
        await store.write(lambda tx: counters.move(tx, KEYS[:1], held=-1))
