"""A gateway among others: it wakes after it was taken for dead, and its clients are told so; the money is right."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from ainf.app import wall_clock
from ainf.exchange.instance import beat, keep_instance
from ainf.inference.errors import GatewayError
from ainf.inference.money import format_usd
from ainf.store.epochs import begin_epoch
from ainf.store.leases import Renewal
from ainf.store.parts import LeaseTerms
from ainf.store.reader import InlineReader
from ainf.store.sqlite import SQLiteEngine
from ainf.store.store import Store
from ainf.store.verify import verify
from ainf.store.writer import InlineWriter
from tests.gateway.law import check_ledger, check_provider
from tests.gateway.world import World, question, world
from tests.store.conftest import never
from tests.store.test_leases import LEASE_S, Uptime

SLOW = "sim-tokens-100-pace-20ms"


def inline(path: Path, uptime: Uptime) -> Store:
    """A process's store over a file, without a thread of its own."""
    lease = LeaseTerms(LEASE_S, is_shared=True, uptime=uptime).lease("gateway", wall_clock)
    engine, lessee = SQLiteEngine.open(str(path)), lease.lessee()
    tx = begin_epoch(engine, "gateway", wall_clock(), lessee)
    lease.note(Renewal(tx.epoch, lessee.at, lessee.until))
    writer = InlineWriter(engine, tx, wait_s=5, on_fatal=never, begin=lease.look)
    return Store(writer, InlineReader(engine), now=wall_clock, lease=lease)


@attrs.define
class Two:
    """A gateway that runs, and another process of its database, which is nothing but its store."""

    here: World
    other: Store
    uptime: Uptime

    async def reap(self) -> list[str]:
        """Have the first one be silent for longer than its lease, and the other one find out."""
        for _ in range(LEASE_S + 1):
            self.uptime.at_s += 1
            await self.other.renew_lease()
        return await self.other.reap(wall_clock())

    async def beat(self) -> None:
        await beat(self.here.gateway.inflight, self.here.store, self.here.telemetry)


@asynccontextmanager
async def two(tmp_path: Path, *models: str, **how) -> AsyncIterator[Two]:
    uptime = Uptime()
    first, other = inline(tmp_path / "a.db", uptime), inline(tmp_path / "a.db", uptime)
    async with world(tmp_path, *models, store=first, **how) as here:
        yield Two(here, other, uptime)
        assert await other.read(verify) == []
    await other.aclose()
    await first.aclose()


async def adjusted(here: World) -> list[tuple[str, int, int]]:
    """Each settlement's ending and amount, and what was posted besides."""
    return await here.rows(
        "SELECT s.ending, s.settled_nusd, coalesce((SELECT sum(e.amount_nusd) FROM entries AS e"
        " WHERE e.inference_id = s.inference_id AND e.kind = 'adjustment'), 0) FROM settlements AS s"
    )


@pytest.mark.threat(66)
async def test_a_gateway_that_wakes_ends_what_it_lost(tmp_path, autojump_clock):
    """Its client is told an error, once; what recovery could not know is posted beside; it goes on admitting."""
    async with two(tmp_path, SLOW, "sim") as both:
        here = both.here
        client = here.client(question(SLOW))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(1)
            assert len(await both.reap()) == 1
            assert not here.store.admits
            await both.beat()
        said = client.said()
        assert (said.terminals, said.ends_with_terminal, said.error["code"]) == (1, True, "store_unavailable")
        ((ending, settled, more),) = await adjusted(here)
        assert (ending, more > 0) == ("abandoned", True)
        receipt = await here.receipt(client.inference_id)
        assert receipt["ending"] == "abandoned"
        assert said.error["billed"] == format_usd(settled + more)
        assert (await here.run(here.client(question("sim")))).said().reason == "stop"
        await check_provider(here)
        await check_ledger(here, admitted=2)


async def test_the_next_extension_ends_what_was_lost_too(tmp_path, autojump_clock):
    """Before any beat: it is refused as lost, never told as a cap that was reached."""
    async with two(tmp_path, SLOW, more="slice_tokens = 8\nmin_output_tokens = 4") as both:
        here = both.here
        client = here.client(question(SLOW))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(0.2)
            await both.reap()
        said = client.said()
        assert (said.terminals, said.error["code"]) == (1, "store_unavailable")
        await check_ledger(here, admitted=1)


async def test_what_the_provider_ended_meanwhile_is_still_told_as_its_end(tmp_path, autojump_clock):
    """The evidence of an end came: the whole answer is the client's, and the difference is posted."""
    async with two(tmp_path, "sim-tokens-30-pace-20ms", more="slice_tokens = 4096") as both:
        here = both.here
        client = here.client(question("sim-tokens-30-pace-20ms"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(0.2)
            await both.reap()
        assert client.said().reason == "stop"
        ((ending, _, more),) = await adjusted(here)
        assert (ending, more > 0) == ("abandoned", True)
        await check_ledger(here, admitted=1)


@pytest.mark.threat(66)
async def test_what_was_opened_after_the_wake_goes_on(tmp_path, autojump_clock):
    """Only what was opened before is another's."""
    async with two(tmp_path, SLOW) as both:
        here = both.here
        old, new = here.client(question(SLOW)), here.client(question(SLOW))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, old)
            await trio.sleep(0.2)
            await both.reap()
            lease = here.store._lease
            assert lease is not None
            lease.note(await here.store.write(lease.renew))  # another transaction was first to notice
            nursery.start_soon(here.run, new)
            await trio.sleep(0.2)
            lease.epoch = 1
            await both.beat()
        assert old.said().error["code"] == "store_unavailable"
        assert new.said().reason == "stop"


@pytest.mark.threat(68)
async def test_a_gateway_whose_lease_ran_out_admits_nothing(tmp_path, autojump_clock):
    """503, as when the store is away, before anything is opened; replays of kept answers are another matter."""
    async with two(tmp_path, "sim") as both:
        here = both.here
        both.uptime.at_s += LEASE_S
        client = await here.run(here.client(question("sim")))
        assert (client.status, client.json()["error"]["code"]) == (503, "store_unavailable")
        assert client.headers["x-should-retry"] == "true"
        assert not here.simulator.books.entries
        await both.beat()
        assert (await here.run(here.client(question("sim")))).status == 200


class Beats:
    """A store whose beats fail as it is told, and whose reaping takes its time."""

    epoch = 1

    def __init__(self, *fail: Exception, reaping_s: float = 0, defect: Exception | None = None) -> None:
        self.fail = list(fail)
        self.reaping_s = reaping_s
        self.defect = defect
        self.renewed: list[float] = []
        self.reaped: list[int] = []

    async def renew_lease(self) -> bool:
        await trio.lowlevel.checkpoint()
        if self.fail:
            raise self.fail.pop(0)
        self.renewed.append(trio.current_time())
        return False

    async def reap(self, at: int) -> list[str]:
        await trio.sleep(self.reaping_s)
        if self.defect is not None:
            raise self.defect
        self.reaped.append(at)
        return []


async def beats(here: World, store: Beats, count: int) -> None:
    """Let so many beats be made."""
    async with trio.open_nursery() as nursery:
        now = partial(round, trio.current_time())
        nursery.start_soon(keep_instance, here.gateway.inflight, store, here.telemetry, now, 2.0)
        await trio.sleep(2.0 * count - 1)  # the first one is made at once
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("failing", [0, 3])
async def test_a_beat_that_the_store_refuses_is_made_up_for(tmp_path, autojump_clock, failing):
    """The next one comes all the same."""
    store = Beats(*[GatewayError("store_unavailable", "away")] * failing)
    async with world(tmp_path, "sim") as here:
        await beats(here, store, 5)
        assert len(store.reaped) == len(store.renewed) == 5 - failing
        assert here.log.getvalue().count("beat_refused") == failing


async def test_the_beats_go_on_while_much_is_reaped(tmp_path, autojump_clock):
    """A process that closes what others left open must not be taken for dead itself; it does so once at a time."""
    store = Beats(reaping_s=25)
    async with world(tmp_path, "sim") as here:
        await beats(here, store, 20)
    assert (len(store.renewed), len(store.reaped)) == (20, 1)


async def test_a_defect_in_a_beat_ends_nothing(tmp_path, autojump_clock):
    """Nor does one in what is reaped: the lease is renewed, and both are tried again."""
    store = Beats(AssertionError("a bug"), defect=AssertionError("another"))
    async with world(tmp_path, "sim") as here:
        await beats(here, store, 5)
        assert len(store.renewed) == 4
        assert [here.log.getvalue().count(f'"where":"{where}"') for where in ("beat", "reaping")] == [1, 4]


async def test_a_defect_in_one_exchange_that_was_lost_keeps_no_other_running(tmp_path, autojump_clock):
    """All that was opened before the new epoch ends, and the loss is counted."""
    async with two(tmp_path, SLOW) as both:
        here = both.here
        clients = [here.client(question(SLOW)) for _ in range(2)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(here.run, client)
                await trio.sleep(0.2)
            assert len(await both.reap()) == 2
            next(iter(here.gateway.inflight))._break_off = None
            await both.beat()
        assert [client.said().error["code"] for client in clients] == ["store_unavailable"] * 2
        assert b"ainf_fenced_total 1.0" in here.telemetry.exposition()
        await check_ledger(here, admitted=2)


@pytest.mark.parametrize("is_first", [True, False], ids=["before the beat", "behind it"])
async def test_what_is_opened_in_the_new_epoch_is_not_lost(is_first, tmp_path, autojump_clock):
    """Also where its opening and the beat that finds the new epoch are committed together."""
    async with two(tmp_path, SLOW, "sim") as both:
        here, go = both.here, trio.Event()
        new = here.client(question("sim"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, here.client(question(SLOW)))
            await trio.sleep(1)
            here.store._writer._turn = go.wait
            for job in [partial(here.run, new), both.beat] if is_first else [both.beat, partial(here.run, new)]:
                nursery.start_soon(job)
                await trio.sleep(0.1)
            assert len(await both.reap()) == 1
            here.store._writer._turn = trio.lowlevel.cancel_shielded_checkpoint
            go.set()
        assert new.said().reason == "stop"
        await check_ledger(here, admitted=2)


async def test_what_was_opened_just_before_the_loss_ends_as_it_begins(tmp_path, autojump_clock):
    """Its opening was committed, and the beat was there before its task: it is ended, and not dialled."""
    async with two(tmp_path, "sim") as both:
        here = both.here
        open_inference = here.store.open_inference

        async def open_and_lose(opening):
            opened = await open_inference(opening)
            await both.reap()
            await both.beat()
            return opened

        here.store.open_inference = open_and_lose
        client = await here.run(here.client(question("sim")))
        assert client.json()["error"]["code"] == "store_unavailable"
        assert list(here.simulator.books.entries) == []
        await check_ledger(here, admitted=1)


async def test_an_end_that_cannot_be_reckoned_takes_the_whole_hold_also_behind_a_fence(
    tmp_path, autojump_clock, monkeypatch
):
    """What its client is told is what the books come to."""

    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("ainf.exchange.ending.end_of", broken)
    async with two(tmp_path, SLOW) as both:
        here = both.here
        client = here.client(question(SLOW))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(1)
            await both.reap()
            await both.beat()
        ((ending, settled, more),) = await adjusted(here)
        receipt = await here.receipt(client.inference_id)
        assert (ending, settled + more) == ("abandoned", receipt["held_nusd"])
        assert client.said().error["billed"] == format_usd(settled + more)
        await check_ledger(here, admitted=1)
