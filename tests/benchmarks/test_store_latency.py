"""The benchmark of the store works on the store as it is."""

from ainf.inference.outcome import Ending
from ainf.store.store import Store
from benchmarks.store_latency import closing, opening, seed


async def test_its_exchanges_open_and_close_under_its_caps():
    """What it seeds admits what it opens, under both of its caps, and settles what it closes."""
    async with Store.open("memory:", now=lambda: 1) as store:
        await store.write(seed)
        opened = await store.open_inference(opening(1))
        settlement = await store.close_inference(closing(1))
        counters = await store.read(lambda tx: tx.execute("SELECT cap_id, settled_nusd FROM counters ORDER BY 1"))
    assert opened.account_name == "team"
    assert (settlement.ending, settlement.settled_nusd) == (Ending.COMPLETED, 180_000)
    assert counters == [("cap-account", 180_000), ("cap-key", 180_000)]
