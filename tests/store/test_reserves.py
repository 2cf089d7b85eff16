"""A store whose database is away or full: what its reserves keep, what they refuse, and what becomes of it."""

from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest
import trio

from ainf.inference.errors import GatewayError
from ainf.inference.outcome import Ending
from ainf.store import reserves as module
from ainf.store.ballast import Ballast
from ainf.store.parts import LeaseTerms
from ainf.store.reserves import Reserves, ReserveTerms
from ainf.store.spool import InlineDisk, Replayed, Spool
from ainf.store.spool_file import SpoolError, left_files
from ainf.store.sqlite import SQLiteEngine
from ainf.store.store import Store
from ainf.store.verify import verify
from tests.store.conftest import never
from tests.store.faults import faulty_store, full
from tests.store.records import COST, KEY, START, closing, closing_of, counter, entries, events, later, opening, seeded
from tests.store.test_leases import LEASE_S, Uptime, live_on
from tests.store.waiting import ANSWER, waiting

BALLAST = 1 << 20
AT = START + 1_000
TERMS = LeaseTerms()


def at(folder, *, terms=TERMS, **changes):
    reserves = ReserveTerms(**{"spool": folder / "a.db.spool", "ballast_bytes": BALLAST, **changes})
    return Store.open(f"sqlite:{folder / 'a.db'}", now=lambda: AT, on_fatal=never, terms=terms, reserves=reserves)


@asynccontextmanager
async def dying(folder, **changes):
    """A store whose process is gone behind the block, without a last deed."""
    async with at(folder, **changes) as store:
        yield store
        store._flush = lambda: None
        store._writer.submit_nowait = lambda *_: None


async def settled(store, number=1):
    return await store.read(
        lambda tx: tx.one(
            "SELECT ending, settled_nusd, epoch, notes FROM settlements WHERE inference_id = ?", (f"inf-{number:06d}",)
        )
    )


async def sound(store):
    assert await store.read(verify) == []


# --- the spool ---


async def test_a_closing_that_waits_is_replayed(tmp_path):
    """It is settled as it would have been, in the same epoch, with a note; the counters and the spool agree."""
    async with at(tmp_path) as store:
        await store.write(seeded(account_cap=1_000))
        await store.open_inference(opening())
        settlement = await store.spool(waiting(cost_nusd=COST))
        assert (settlement.held_nusd, settlement.settled_nusd, settlement.hash) == (50, COST, None)
        assert await settled(store) is None
        replayed = await store.replay_spool()
        assert (replayed.settled, store.reserves.waiting) == (1, 0)
        assert await settled(store) == ("completed", COST, 1, f'{{"spooled_at":{START + 101}}}')
        assert await store.read(lambda tx: counter(tx, "cap-org")) == (COST, 0)
        await sound(store)


async def test_without_a_spool_nothing_is_kept(store):
    """Who asks is told so, and a replay finds nothing."""
    with pytest.raises(GatewayError, match="store_unavailable"):
        await store.spool(waiting())
    assert (await store.replay_spool()).settled == 0
    assert (store.reserves.admits, store.reserves.fault, store.reserves.waiting) == (True, None, 0)


async def test_the_next_process_settles_before_it_recovers(tmp_path):
    """What ended is settled at its true end, in the later epoch; what did not is abandoned. Both are sound."""
    async with dying(tmp_path) as store:
        await store.write(seeded(account_cap=1_000))
        for number in (1, 2):
            await store.open_inference(opening(number))
        await store.spool(waiting(1))
    async with at(tmp_path) as store:
        assert await store.recover(AT) == ["inf-000002"]
        assert (await settled(store, 1))[:3] == ("completed", COST, 2)
        assert (await settled(store, 2))[0] == Ending.ABANDONED
        assert left_files(tmp_path / "a.db.spool") == [store.reserves._spool._file.path]
        await sound(store)


async def test_an_epoch_that_owes_something_is_not_ended(tmp_path):
    """A stop in good order is one behind which nothing waits."""
    async with at(tmp_path) as store:
        await store.write(seeded())
        await store.open_inference(opening())
        await store.spool(waiting())
    engine = SQLiteEngine.open_reader(str(tmp_path / "a.db"))
    assert engine.execute("SELECT epoch, ended_at IS NULL FROM instances") == [(1, 1)]
    engine.close()
    async with at(tmp_path) as store:
        assert (await store.replay_spool()).settled == 1
        await sound(store)


async def test_dying_at_any_place_of_a_replay_changes_nothing(tmp_path):
    """K12: after each settlement of it the process is gone; those that follow come to the same books."""
    async with dying(tmp_path) as store:
        await store.write(seeded(account_cap=10_000))
        for number in range(1, 6):
            await store.open_inference(opening(number))
            if number < 5:
                await store.spool(waiting(number))
    for process in range(4):
        async with dying(tmp_path) as store:
            close, done = store.close_inference, []

            async def deadly(record, close=close, done=done, process=process):
                if len(done) == process:
                    raise GatewayError("store_unavailable", "the process is gone")
                done.append(await close(record))
                return done[-1]

            store.close_inference = deadly
            with pytest.raises(GatewayError):
                await store.recover(AT)
            assert len(done) == process
    async with at(tmp_path) as store:
        assert await store.recover(AT) == ["inf-000005"]
        assert [(await settled(store, number))[:2] for number in range(1, 5)] == [("completed", COST)] * 4
        assert len(await store.read(lambda tx: events(tx, "inference.closed"))) == 5
        await sound(store)


@pytest.mark.parametrize("is_shared", [False, True], ids=["recovery", "the reaper"])
async def test_what_comes_of_a_replay_is_told_whoever_ran_it(is_shared, tmp_path):
    """A file that recovery or the reaper kept, and what was lost with it, are told by the next replay, once."""
    uptime = Uptime()
    terms = LeaseTerms(LEASE_S, is_shared=is_shared, uptime=uptime)
    async with dying(tmp_path, terms=terms) as store:
        await store.write(seeded())
        await store.recover(AT)
        for number in (1, 2):
            await store.open_inference(opening(number))
        await store.spool(waiting(1))
        store.reserves._spool._file.append([b"x\n"])
    async with at(tmp_path, terms=terms) as store:
        await live_on(uptime, store, LEASE_S + 1)
        closed = await (store.reap(AT) if is_shared else store.recover(AT))
        assert closed == ["inf-000002"]
        replayed = await store.replay_spool()
        assert (replayed.settled, replayed.broken, len(replayed.kept)) == (1, 1, 1)
        assert await store.replay_spool() == Replayed()


async def test_a_closing_that_was_queued_and_spooled_is_settled_once(tmp_path):
    """The database had taken it after all: the replay finds it."""
    async with at(tmp_path) as store:
        await store.write(seeded())
        await store.open_inference(opening())
        await store.spool(waiting())
        first = await store.close_inference(closing())
        assert (await store.replay_spool()).settled == 1
        assert (await store.receipt("inf-000001"))["hash"] == first.hash
        assert (await settled(store))[3] == "{}"
        assert await store.read(lambda tx: len(events(tx, "inference.closed"))) == 1
        await sound(store)


@pytest.mark.parametrize("cost", [COST, 3, 70])
async def test_what_was_abandoned_first_is_adjusted(tmp_path, cost):
    """The difference is posted, with an event that tells the true end; a second replay posts nothing."""
    async with at(tmp_path) as store:
        await store.write(seeded(account_cap=1_000))
        await store.open_inference(opening())
        abandoned = closing(ending=Ending.ABANDONED, finish_reason=None, cost_nusd=11, attempts=closing_of(11).attempts)
        await store.close_inference(abandoned)
        line = closing_of(cost).attempts
        for _ in range(2):
            await store.spool(waiting(cost_nusd=cost, attempts=line))
            assert (await store.replay_spool()).settled == 1
        posted = await store.read(entries)
        assert [amount for kind, amount in posted if kind == "adjustment"] == [cost - 11]
        assert await store.read(lambda tx: counter(tx, "cap-org")) == (cost, 0)
        (event,) = await store.read(lambda tx: events(tx, "inference.adjusted"))
        assert '"spooled_at"' in event
        assert '"ending":"completed"' in event


async def test_an_answer_is_kept_through_the_spool(tmp_path):
    """It is told again under its idempotency key from the replay on; until then its key is in use."""
    from ainf.store.base import Claim

    claim = Claim("k-1", b"f" * 16)
    async with dying(tmp_path) as store:
        await store.write(seeded())
        await store.open_inference(opening(claim=claim))
        await store.spool(waiting(answer=ANSWER, frees_claim=False, claim_expires_at=AT + 10**9))
        found = await store.find_claim(KEY, "/v1/chat/completions", "k-1")
        assert (found.state, found.answer) == ("running", None)
    async with at(tmp_path) as store:
        await store.replay_spool()
        found = await store.find_claim(KEY, "/v1/chat/completions", "k-1")
        assert (found.state, found.answer, found.outcome.billed_nusd) == ("kept", ANSWER, COST)
        await sound(store)


async def test_a_defect_keeps_no_other_waiting(tmp_path):
    """What the ledger never heard of is told, and the rest settled."""
    async with at(tmp_path) as store:
        await store.write(seeded())
        await store.open_inference(opening(2))
        await store.spool(waiting(1))
        await store.spool(waiting(2))
        replayed = await store.replay_spool()
        assert ([told for told, _ in replayed.refused], replayed.settled) == (["inf-000001"], 1)


# --- receipts ---


async def test_the_receipt_is_made_from_the_spool(tmp_path):
    """Until the replay: settled, with what the database knows of its opening, and no hashes; then as any other."""
    async with at(tmp_path) as store:
        await store.write(seeded(account_cap=1_000))
        await store.open_inference(opening())
        await store.spool(waiting())
        before = await store.receipt("inf-000001")
        assert (before["state"], before["spooled"], before["hash"], before["prev_hash"]) == (
            "settled",
            True,
            None,
            None,
        )
        assert [cap["cap_id"] for cap in before["caps"]] == ["cap-org"]
        await store.replay_spool()
        after = await store.receipt("inf-000001")
        assert after["hash"]
        assert {**before, "spooled": False, "hash": after["hash"], "prev_hash": after["prev_hash"]} == after


async def test_a_receipt_where_the_database_cannot_even_be_read(tmp_path, monkeypatch):
    """It lacks the caps, and tells all that the process knew."""
    async with at(tmp_path) as store:
        await store.write(seeded(account_cap=1_000))
        await store.open_inference(opening())
        await store.spool(waiting())
        known = await store.receipt("inf-000001")

        async def away(operation):
            raise GatewayError("store_unavailable", "away")

        monkeypatch.setattr(store._reader, "read", away)
        assert await store.receipt("inf-000001") == {**known, "caps": []}
        with pytest.raises(GatewayError):
            await store.receipt("inf-000002")


async def test_what_is_held_is_told_as_the_database_has_it(tmp_path):
    """Where there were several attempts its process knows only of the last one what was held for it."""
    async with at(tmp_path) as store:
        await store.write(seeded())
        await store.open_inference(opening())
        await store.open_attempt(later(2, (1, 5)))
        await store.spool(waiting(record=closing_of(5, 40)))
        before = await store.receipt("inf-000001")
        await store.replay_spool()
        after = await store.receipt("inf-000001")
        amounts = ("held_nusd", "settled_nusd", "released_nusd", "overrun_nusd")
        for name in amounts:
            assert before[name] == after[name], (name, before[name], after[name])


async def test_the_committed_receipt_counts(tmp_path):
    """A closing that waits, and was committed after all, is told as it was committed."""
    async with at(tmp_path) as store:
        await store.write(seeded())
        await store.open_inference(opening())
        await store.spool(waiting())
        settlement = await store.close_inference(closing())
        receipt = await store.receipt("inf-000001")
        assert (receipt["hash"], receipt["spooled"]) == (settlement.hash, False)


# --- the ballast ---


@asynccontextmanager
async def ballasted(tmp_path):
    """A store in memory with a ballast, and its engine."""
    ballast = Ballast(tmp_path / "a.db.ballast", BALLAST)
    ballast.restore()
    async with faulty_store() as (store, engine):
        engine.relieve = lambda error: isinstance(error, apsw.FullError) and ballast.drop()
        store._reserves = Reserves(None, ballast, wait_s=5)
        await store.write(seeded(account_cap=1_000))
        yield store, engine, ballast


async def test_a_full_disk_settles_what_runs(tmp_path):
    """The closing that found no room is committed at once in the room of the ballast."""
    async with ballasted(tmp_path) as (store, engine, ballast):
        await store.open_inference(opening())
        engine.commit_faults = {engine.commits + 1: full()}
        assert (await store.close_inference(closing())).settled_nusd == COST
        assert not ballast.path.exists()


async def test_a_full_disk_admits_nothing(tmp_path):
    """Neither an exchange nor another attempt, and without a look at the database; what runs may be extended."""
    from ainf.store.base import Extension

    async with ballasted(tmp_path) as (store, engine, ballast):
        await store.open_inference(opening())
        ballast.drop()
        begun = engine.begins
        assert not store.admits
        for refused in (store.open_inference(opening(2)), store.open_attempt(later(2, (1, 5)))):
            with pytest.raises(GatewayError, match="store_unavailable"):
                await refused
        assert engine.begins == begun
        assert (await store.extend_hold(Extension("inf-000001", AT, 5, 5))).granted_nusd == 5
        assert await store.read(lambda tx: tx.execute("SELECT count(*) FROM inferences")) == [(1,)]
        await store.reserves.restore_ballast()
        assert store.admits
        await store.open_inference(opening(2))


async def test_what_waits_to_be_admitted_when_the_disk_is_full(tmp_path):
    """Is refused, though there is room again for a moment: that is for what ends."""
    async with ballasted(tmp_path) as (store, engine, _):
        await store.open_inference(opening(1))
        engine.commit_faults = {engine.commits + 1: full()}
        refused = []

        async def attempt():
            with pytest.raises(GatewayError, match="store_unavailable"):
                await store.open_inference(opening(2))
            refused.append(2)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt)
            nursery.start_soon(store.close_inference, closing(1))
        assert refused == [2]
        rows = await store.read(
            lambda tx: tx.execute("SELECT (SELECT count(*) FROM inferences), (SELECT count(*) FROM settlements)")
        )
        assert rows == [(1, 1)]
        await sound(store)


async def test_a_disk_that_stays_full(tmp_path):
    """Behind the ballast a closing is refused, for its exchange to try it again or spool it."""
    async with ballasted(tmp_path) as (store, engine, _):
        await store.open_inference(opening())
        engine.commit_faults = {engine.commits + 1: full(), engine.commits + 2: full()}
        with pytest.raises(GatewayError):
            await store.close_inference(closing())
        assert (await store.close_inference(closing())).settled_nusd == COST


async def test_a_ballast_that_cannot_be_made_is_no_reason_not_to_start(tmp_path, monkeypatch):
    """What is owed can be settled; nothing is admitted until there is room, and why can be told."""
    async with dying(tmp_path, ballast_bytes=0) as store:
        await store.write(seeded())
        await store.open_inference(opening())
        await store.spool(waiting())
    real = module.Ballast.restore

    def no_room(self):
        self.is_in_place, self.fault = False, OSError(28, "No space left on device")
        return False

    monkeypatch.setattr(module.Ballast, "restore", no_room)
    async with at(tmp_path) as store:
        assert (await store.replay_spool()).settled == 1
        assert (store.admits, store.reserves.fault) == (False, "No space left on device")
        monkeypatch.setattr(module.Ballast, "restore", real)
        await store.reserves.restore_ballast()
        assert (store.admits, store.reserves.fault) == (True, None)


async def test_a_database_that_is_full_at_start_is_opened_in_the_ballasts_room(tmp_path, monkeypatch):
    """A process that dies on a full disk must be able to come back and settle."""
    async with at(tmp_path) as store:
        await store.write(seeded())
    opened = SQLiteEngine.open

    def open_where_there_is_room(path, *how):
        if Path(f"{path}.ballast").exists():
            raise full()
        return opened(path, *how)

    monkeypatch.setattr(SQLiteEngine, "open", open_where_there_is_room)
    monkeypatch.setattr("ainf.store.ballast.os.fstatvfs", lambda _: type("Full", (), {"f_bavail": 0, "f_frsize": 1}))
    async with at(tmp_path) as store:
        assert not store.admits
        await store.write(lambda _: None)


async def test_a_database_that_is_full_without_a_ballast_is_not_opened(tmp_path, monkeypatch):
    """There is nothing to make room with."""

    def open_nothing(*_):
        raise full()

    monkeypatch.setattr(SQLiteEngine, "open", open_nothing)
    for size in (0, BALLAST):
        with pytest.raises(apsw.FullError):
            async with at(tmp_path, ballast_bytes=size):
                pass


async def test_a_spool_that_cannot_be_made_ends_the_start(tmp_path):
    """In good order: the database can be opened again at once."""
    with pytest.raises(SpoolError):
        async with at(tmp_path, spool=tmp_path / "none" / "spool"):
            pass
    async with at(tmp_path) as store:
        await store.write(seeded())


async def test_a_database_in_memory_may_have_a_spool(tmp_path, autojump_clock):
    """Where one is asked for; its disk is then waited for on the event loop."""
    terms = ReserveTerms(tmp_path / "spool", disk=InlineDisk)
    async with Store.open("memory:", now=lambda: AT, reserves=terms) as store:
        assert isinstance(store.reserves._spool, Spool)
        await store.write(seeded())
        await store.open_inference(opening())
        await store.spool(waiting())
        assert (await store.replay_spool()).settled == 1
        await sound(store)


async def test_a_command_has_no_reserves(tmp_path):
    """It takes no room, and leaves no file."""
    async with Store.open(f"sqlite:{tmp_path / 'a.db'}", now=lambda: AT, kind="command") as store:
        await store.write(seeded())
        names = {path.name for path in tmp_path.iterdir()}
    assert not [name for name in names if "spool" in name or "ballast" in name]
