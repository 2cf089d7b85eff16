"""Entries as they are posted, and what they say is held."""

from ainf.ledger import EntryKind
from ainf.store import entries
from tests.store.records import opening, seeded

ALL = [
    (EntryKind.HOLD, 1, "openai", 50),
    (EntryKind.EXTEND, 2, "anthropic", 80),
    (EntryKind.RELEASE, 1, "openai", 43),
    (EntryKind.SETTLE, 2, "anthropic", 60),
    (EntryKind.OVERRUN, 2, "anthropic", 5),
    (EntryKind.ADJUSTMENT, 2, "anthropic", -3),
]


async def test_entries_are_posted_in_their_order(store):
    """Each for its attempt and to its provider, all on one account and at one moment."""
    await store.write(seeded())
    await store.open_inference(opening())
    await store.write(lambda tx: tx.execute("DELETE FROM entries"))
    await store.write(lambda tx: entries.post(tx, "inf-000001", "acct-team", 7, ALL[:1]))
    await store.write(lambda tx: entries.post(tx, "inf-000001", "acct-team", 7, ALL[1:]))
    columns = "kind, attempt, provider, amount_nusd, inference_id, account_id, at"
    rows = await store.read(lambda tx: tx.execute(f"SELECT {columns} FROM entries ORDER BY seq"))
    assert rows == [(*entry, "inf-000001", "acct-team", 7) for entry in ALL]


async def test_what_they_hold(store):
    """Holds and extensions add, releases and settlements take; overrun and adjustments were never held."""
    await store.write(seeded())
    await store.open_inference(opening())
    await store.write(lambda tx: entries.post(tx, "inf-000001", "acct-team", 7, ALL[1:]))
    sql = f"SELECT attempt, sum({entries.HELD}) FROM entries AS e GROUP BY attempt ORDER BY attempt"
    assert await store.read(lambda tx: tx.execute(sql)) == [(1, 50 - 43), (2, 80 - 60)]
