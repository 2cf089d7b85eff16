"""Real processes, and a store that another program holds while the gateway is told to stop."""

import sqlite3

import trio

from ainf.app import wall_clock
from ainf.store.verify import verify
from tests.gateway.process import deployment

MODEL = "sim-tokens-3000-pace-5ms"
DRAIN_S = 1.0


async def test_a_stuck_store_does_not_hold_up_the_drain(tmp_path, tell):
    """SIGTERM ends the process within ``drain_s`` + 5 s; each stream is told its end, and the next start settles it."""
    with trio.fail_after(40):
        async with deployment(tmp_path, MODEL, now=wall_clock, server=f"drain_s = {DRAIN_S}") as here:
            clients = [await here.ask(MODEL) for _ in range(3)]
            for client in clients:
                await client.read_until(b'content":"')
            holder = sqlite3.connect(tmp_path / "ainf.db", isolation_level=None)
            holder.execute("BEGIN IMMEDIATE")
            told_at = trio.current_time()
            status = await here.terminate()
            took_s = trio.current_time() - told_at
            holder.execute("ROLLBACK")
            holder.close()
            tell(f"SIGTERM to exit with a stuck store: {took_s:.2f} s for drain_s = {DRAIN_S}")
            assert status == 0
            assert took_s <= DRAIN_S + 5
            for client in clients:
                await client.read_until(b"[DONE]")
            spooled = list(tmp_path.glob("ainf.db.spool.*"))
            assert [path.read_bytes().count(b'"ending":"shutdown"') for path in spooled] == [3]
            await here.start()
            assert here.rows("SELECT ending, count(*) FROM settlements GROUP BY ending") == [("shutdown", 3)]
            assert not set(spooled) & set(tmp_path.glob("ainf.db.spool.*"))
            assert here.rows("SELECT count(*) FROM holds") == [(0,)]
            assert here.read(verify) == []
