"""The store as a whole: its life, what a wait that ran out leaves, rejections, restarts, kill -9."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
import trio

from ainf import audit
from ainf.inference.errors import DownstreamError, GatewayError, SpendError
from ainf.store.admin import revoke_key
from ainf.store.base import Rejection
from ainf.store.epochs import begin_epoch
from ainf.store.reader import InlineReader
from ainf.store.rejections import SINGLY
from ainf.store.sqlite import LockedError, SQLiteEngine
from ainf.store.store import FLUSH_S, FLUSHES, Store
from ainf.store.verify import verify
from ainf.store.writer import ThreadWriter
from tests.store.conftest import never
from tests.store.faults import FaultyEngine, broken, faulty_store, full
from tests.store.records import DIGEST, KEY, START, closing, counter, entries, events, opening, seeded

ROOT = Path(__file__).parents[2]


def opened(path, kind="gateway"):
    return Store.open(f"sqlite:{path}", now=lambda: START, kind=kind)


def chains_hold(path):
    """Check every chain of a database; return how many events there are."""
    engine = SQLiteEngine.open(str(path))
    rows = engine.execute(
        "SELECT epoch, seq, kind, inference_id, at, body, prev_hash, hash FROM audit_events ORDER BY epoch, seq"
    )
    engine.close()
    chains = [audit.Event(*row) for row in rows]
    for epoch in {event.epoch for event in chains}:
        assert list(audit.faults([event for event in chains if event.epoch == epoch], epoch)) == []
    return len(chains)


@pytest.mark.parametrize("url", ["", "sqlite:", "postgres://x", "ainf.db"])
async def test_an_unknown_url_is_refused(url):
    """The text says which there are."""
    with pytest.raises(ValueError, match="sqlite:<path>"):
        async with Store.open(url, now=lambda: 1):
            pass


async def test_a_receipt_can_be_read_at_once(store):
    """What was opened or settled is in the receipt as soon as the call has returned."""
    await store.write(seeded())
    await store.open_inference(opening())
    assert (await store.receipt("inf-000001"))["state"] == "open"
    settlement = await store.close_inference(closing())
    assert (await store.receipt("inf-000001"))["hash"] == settlement.hash
    assert await store.receipt("inf-000009") is None


async def test_a_revoked_key_is_looked_up_again(store):
    """A change through this process is seen by the next lookup."""
    await store.write(seeded())
    assert (await store.find_key(DIGEST)).revoked_at is None
    await store.write(lambda tx: revoke_key(tx, key_id=KEY, at=START))
    assert (await store.find_key(DIGEST)).revoked_at == START


async def test_an_opening_that_came_too_late_is_closed_at_zero(tmp_path):
    """One that commits after its caller was told that the store is away does not stay open, and costs nothing."""
    engine = FaultyEngine(SQLiteEngine.open(str(tmp_path / "a.db")))
    writer = ThreadWriter(engine, begin_epoch(engine.inner, "gateway", 1), wait_s=0.3, on_fatal=never)
    store = Store(writer, InlineReader(engine.inner), now=lambda: 1)
    await store.write(seeded(account_cap=1_000))
    engine.gate.clear()
    with pytest.raises(GatewayError, match="store_unavailable"):
        await store.open_inference(opening())
    engine.gate.set()
    for _ in range(2):
        await store.write(lambda _: None)
    assert await store.read(entries) == [("hold", 50), ("settle", 0), ("release", 50)]
    assert await store.read(lambda tx: counter(tx, "cap-org")) == (0, 0)
    row = await store.read(lambda tx: tx.one("SELECT ending, error_code, settled_nusd FROM settlements"))
    assert row == ("terminated", "store_unavailable", 0)
    assert await store.read(lambda tx: tx.execute("SELECT count(*) FROM holds")) == [(0,)]
    assert await store.read(verify) == []
    await store.aclose()


async def test_a_slow_store_opens_nothing(autojump_clock):
    """An opening that the writer does not come to within the limit is refused and never begun."""
    delay = 0

    async def turn():
        await trio.sleep(delay)

    async with faulty_store(turn) as (store, _):
        await store.write(seeded())
        delay = 6
        with pytest.raises(GatewayError, match="store_unavailable"):
            await store.open_inference(opening())
        delay = 0
        await store.write(lambda _: None)
        assert await store.read(lambda tx: tx.execute("SELECT count(*) FROM inferences")) == [(0,)]


async def test_a_slow_closing_is_settled_later(autojump_clock):
    """The exchange is told that it is not known to be settled; the writer settles it all the same."""
    delay = 0

    async def turn():
        await trio.sleep(delay)

    async with faulty_store(turn) as (store, _):
        await store.write(seeded())
        await store.open_inference(opening())
        delay = 6
        with pytest.raises(GatewayError, match="store_unavailable"):
            await store.close_inference(closing())
        delay = 0
        await store.write(lambda _: None)
        assert (await store.receipt("inf-000001"))["state"] == "settled"


async def test_a_full_disk_refuses_and_recovers():
    """While nothing can be committed everything is refused; afterwards it goes on, with nothing lost or left over."""
    async with faulty_store() as (store, engine):
        await store.write(seeded(account_cap=1_000))
        engine.commit_faults = {engine.commits + 1: full()}
        with pytest.raises(GatewayError, match="store_unavailable"):
            await store.open_inference(opening(1))
        assert (await store.open_inference(opening(2))).held_nusd == 50
        assert await store.read(lambda tx: counter(tx, "cap-org")) == (0, 50)


async def test_a_price_that_was_undone_is_stored_again():
    """What was remembered of a transaction that failed is not relied upon by the next."""
    async with faulty_store() as (store, engine):
        await store.write(seeded())
        engine.commit_faults = {engine.commits + 1: full()}
        with pytest.raises(GatewayError):
            await store.open_inference(opening(1))
        await store.open_inference(opening(2))
        assert await store.read(lambda tx: tx.execute("SELECT count(*) FROM prices")) == [(1,)]


async def test_after_a_fatal_error_everything_is_refused():
    """Nothing is written any more, and noting a rejection still raises nothing."""
    async with faulty_store() as (store, engine):
        await store.write(seeded())
        engine.commit_faults = {engine.commits + 1: broken()}
        for _ in range(2):
            with pytest.raises(GatewayError, match="store_unavailable"):
                await store.open_inference(opening())
        store.note_rejection(Rejection(KEY, "invalid_json", "/", 1))


async def rejected(store):
    bodies = await store.read(lambda tx: events(tx, "rejected"))
    return [(body["path"], body["count"]) for body in map(msgspec.json.decode, bodies)]


async def test_rejections_do_not_flood(autojump_clock):
    """The first makes a commit of its own; those after it wait for the next that comes anyway, folded."""
    async with faulty_store() as (store, engine):
        commits = engine.commits
        for number in range(20):
            store.note_rejection(Rejection(KEY, "invalid_json", f"/{number}", number))
        await store.record_progress([])
        assert engine.commits == commits + 1
        assert await rejected(store) == [("/0", 1), ("/1", 1), ("/2", 1), ("/3", 1), ("/4", 1), ("/19", 15)]
        await trio.sleep(FLUSH_S)
        store.note_rejection(Rejection(KEY, "invalid_json", "/later", 1))
        await store.record_progress([])
        assert (await rejected(store))[-1] == ("/later", 1)


async def test_rejections_do_not_pile_up_while_the_store_hangs(autojump_clock):
    """Only so many commits of them wait for it, however long that is; the last ones fold."""
    async with faulty_store() as (store, _):
        for number in range(1_000):
            store.note_rejection(Rejection(KEY, "invalid_json", f"/{number}", number))
            await trio.sleep(FLUSH_S)
        await store.record_progress([])
        assert len(await rejected(store)) == FLUSHES
        store.note_rejection(Rejection(KEY, "invalid_json", "/last", 1))
        await store.record_progress([])
        assert (await rejected(store))[-1] == ("/last", 1_000 - FLUSHES - SINGLY + 1)


async def test_rejections_are_lost_while_the_store_is_away():
    """They never wait and never fail the request that they are noted for."""
    async with faulty_store() as (store, engine):
        engine.commit_faults = {engine.commits + 1: full(), engine.commits + 2: full(), engine.commits + 3: full()}
        store.note_rejection(Rejection(KEY, "invalid_json", "/lost", 1))
        with pytest.raises(GatewayError):
            await store.record_progress([])
        await store.record_progress([])
        assert await rejected(store) == []


async def test_a_clean_stop_keeps_what_was_noted(tmp_path):
    """Rejections are flushed, the epoch is ended, and nothing is left open."""
    async with opened(tmp_path / "a.db") as store:
        await store.write(seeded())
        for number in range(3):
            store.note_rejection(Rejection(KEY, "invalid_json", f"/{number}", number))
    async with opened(tmp_path / "a.db") as store:
        assert await rejected(store) == [("/0", 1), ("/1", 1), ("/2", 1)]
        rows = await store.read(lambda tx: tx.execute("SELECT epoch, kind, ended_at FROM instances"))
        assert rows == [(1, "gateway", START), (2, "gateway", None)]
    assert chains_hold(tmp_path / "a.db") == 8


async def test_a_clean_stop_leaves_one_file_that_has_everything(tmp_path):
    """SQLite's log is written back: who copies the database of a gateway that was stopped has all of it."""
    path = tmp_path / "a.db"
    async with opened(path) as store:
        await store.write(seeded())
        await store.open_inference(opening(1))
        assert await store.read(lambda tx: tx.execute("SELECT count(*) FROM holds")) == [(1,)]
    assert not list(tmp_path.glob("a.db-*"))


async def test_one_gateway_at_a_time_and_commands_beside_it(tmp_path):
    """A second gateway is refused; a command writes beside the first, in an epoch of its own, and both see it."""
    async with opened(tmp_path / "a.db") as store:
        with pytest.raises(LockedError):
            async with opened(tmp_path / "a.db"):
                pass
        async with opened(tmp_path / "a.db", kind="command") as command:
            await command.write(seeded(account_cap=60))
        await store.open_inference(opening(1))
        with pytest.raises(SpendError):
            await store.open_inference(opening(2))
    assert chains_hold(tmp_path / "a.db") >= 2


async def test_a_revocation_by_a_command_ends_the_next_opening(tmp_path):
    """Another process's change is read in the opening, whatever this one has remembered; then that is forgotten."""
    async with opened(tmp_path / "a.db") as store:
        await store.write(seeded())
        await store.find_key(DIGEST)
        await store.open_inference(opening(1))
        async with opened(tmp_path / "a.db", kind="command") as command:
            await command.write(lambda tx: revoke_key(tx, key_id=KEY, at=START))
        assert (await store.find_key(DIGEST)).revoked_at is None
        assert (await store.record_progress([])).revoked == {"inf-000001"}
        with pytest.raises(DownstreamError):
            await store.open_inference(opening(2))
        assert (await store.find_key(DIGEST)).revoked_at == START


async def test_a_failed_start_leaves_the_lock(tmp_path):
    """What cannot be opened does not keep the next attempt from opening."""
    path = tmp_path / "a.db"
    path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(Exception, match="not a database"):
        async with opened(path):
            pass
    path.unlink()
    async with opened(path):
        pass


_ROUTED = """
    SELECT d.inference_id, o.status FROM routing_decisions AS d
    LEFT JOIN routing_outcomes AS o ON o.inference_id = d.inference_id ORDER BY d.inference_id
"""


def _status(id_, ending):
    if ending == "abandoned":
        return ending
    return "fell_back" if int(id_[4:]) % 3 == 1 else "succeeded"


@pytest.mark.parametrize("after", [5, 60, 250])
async def test_kill_9(tmp_path, after):
    """What was acknowledged is there; recovery closes the rest, once; each routed one has its outcome; chains hold."""
    path = tmp_path / "a.db"
    command = [sys.executable, "-m", "tests.store.killed", str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - nothing else runs
    acknowledged = [process.stdout.readline().split() for _ in range(after)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [line.split() for line in process.stdout if line.endswith("\n")]
    process.wait()
    process.stdout.close()
    async with opened(path) as store:
        left = await store.recover(START)
        assert await store.recover(START) == []
        ids = {row[0] for row in await store.read(lambda tx: tx.execute("SELECT inference_id FROM inferences"))}
        endings = dict(await store.read(lambda tx: tx.execute("SELECT inference_id, ending FROM settlements")))
        assert await store.read(lambda tx: tx.execute("SELECT count(*) FROM holds")) == [(0,)]
        later = {row[0] for row in await store.read(lambda tx: tx.execute("SELECT inference_id FROM later_attempts"))}
        routed = await store.read(lambda tx: tx.execute(_ROUTED))
        closed = await store.read(lambda tx: events(tx, "inference.closed"))
    assert {id_ for word, id_ in acknowledged if word == "opened"} <= ids
    assert all(endings[id_] == "completed" for word, id_ in acknowledged if word == "closed")
    assert set(endings) == ids
    assert {id_ for word, id_ in acknowledged if word == "fell-back"} <= later
    assert routed == sorted((id_, _status(id_, endings[id_])) for id_ in ids if int(id_[4:]) % 3)
    assert len(closed) == len(ids)
    assert all(endings[id_] == "abandoned" for id_ in left)
    chains_hold(path)


async def test_an_opening_that_comes_too_late_is_taken_back_before_the_end(tmp_path, monkeypatch):
    """Its client was told that nothing is charged; the disk comes back while the store is closed in good order."""
    gate, commit = threading.Event(), SQLiteEngine.commit
    hangs = [False]

    def hanging(self):
        if hangs.pop():
            assert gate.wait(60)
        hangs.append(False)
        commit(self)

    monkeypatch.setattr(SQLiteEngine, "commit", hanging)
    url = f"sqlite:{tmp_path / 'a.db'}"
    async with Store.open(url, now=lambda: START, wait_s=0.05) as store:
        await store.write(seeded())
        hangs[:] = [True]
        with pytest.raises(GatewayError, match="store_unavailable"):
            await store.open_inference(opening())
        store._writer._wait_s = 60
        flush = store._flush
        store._flush = lambda: (gate.set(), flush())  # from here on it is being closed
    async with Store.open(url, now=lambda: START) as store:
        assert await store.recover(START) == []
        settled = await store.read(lambda tx: tx.execute("SELECT ending, settled_nusd FROM settlements"))
        assert settled == [("terminated", 0)]
        assert await store.read(verify) == []
