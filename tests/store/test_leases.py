"""Leases: who lives shows it; who does not is fenced, and what it left open is closed once, by whoever comes first."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from ainf.inference.errors import GatewayError
from ainf.inference.moments import SECOND_US
from ainf.inference.outcome import Ending
from ainf.store import recovery
from ainf.store.base import Extension, Progress
from ainf.store.leases import Lease, MachineUptime, OwnUptime, Renewal
from ainf.store.parts import LeaseTerms
from ainf.store.store import Store
from ainf.store.verify import verify
from tests.store.records import START, closing, entries, events, later, opening, seeded
from tests.store.test_later_attempts import closing_of

LEASE_S = 10


class Uptime:
    """A machine's uptime that a test moves on; each process may have one of its own, which stands still for it."""

    def __init__(self, boot: str = "boot-1") -> None:
        self.boot = boot
        self.at_s = 1_000.0

    def now(self) -> int:
        return round(self.at_s * SECOND_US)


def gateway(path, uptime, *, is_shared=True):
    terms = LeaseTerms(LEASE_S, is_shared=is_shared, uptime=uptime)
    return Store.open(f"sqlite:{path}", now=lambda: START + 500, terms=terms)


@asynccontextmanager
async def two(tmp_path, uptime: Uptime) -> AsyncIterator[tuple[Store, Store]]:
    """Two processes that share a database; the first has exchange 1 open, and progress of it durable."""
    async with gateway(tmp_path / "a.db", uptime) as one:
        await one.write(seeded(account_cap=10_000))
        await one.recover(START)
        async with gateway(tmp_path / "a.db", uptime) as other:
            await other.recover(START)
            await one.open_inference(opening())
            yield one, other
            assert await other.read(verify) == []


async def live_on(uptime: Uptime, store: Store, seconds: float) -> None:
    """Let time pass for one process, which shows all the time that it lives."""
    for _ in range(round(seconds)):
        uptime.at_s += 1
        assert not await store.renew_lease()


async def settled(store: Store) -> list[tuple[str, str, int]]:
    return await store.read(
        lambda tx: tx.execute("SELECT inference_id, ending, settled_nusd FROM settlements ORDER BY inference_id")
    )


async def test_what_a_silent_process_left_open_is_reaped(tmp_path):
    """After its lease and a grace, not before; at its last durable progress; once."""
    uptime = Uptime()
    async with two(tmp_path, uptime) as (one, other):
        await one.record_progress([Progress("inf-000001", closing().usage, 30, 120)])
        await live_on(uptime, other, LEASE_S)
        assert await other.reap(START) == []
        await live_on(uptime, other, 1)
        assert await other.reap(START) == ["inf-000001"]
        assert await other.reap(START) == []
        assert await settled(other) == [("inf-000001", "abandoned", 30)]
        (fenced,) = await other.read(lambda tx: events(tx, "epoch.fenced"))
        assert '"fenced":1,"kind":"epoch.fenced"' in fenced


async def test_who_lived_longer_reaps_a_newer_process(tmp_path):
    """The one that closes may be of an earlier epoch than the one that opened: verify, in ``two``, takes its fence."""
    uptime = Uptime()
    async with two(tmp_path, uptime) as (one, other):
        await other.open_inference(opening(2))
        await live_on(uptime, one, LEASE_S + 1)
        assert await one.reap(START) == ["inf-000002"]
        await one.close_inference(closing())


async def test_who_wakes_before_it_was_reaped_settles_as_it_ended(tmp_path):
    """Its reaper died between the fence and the closing: what ends is closed in a new epoch, and nothing is lost."""
    uptime = Uptime()
    async with two(tmp_path, uptime) as (one, other):
        await live_on(uptime, other, LEASE_S + 1)
        await other.write(lambda tx: recovery.fence_dead(tx, START, other._lease))
        await one.close_inference(closing())
        assert await settled(one) == [("inf-000001", "completed", 28)]
        notes = await one.read(lambda tx: tx.one("SELECT notes FROM settlements"))
        assert notes == ('{"outlived_epoch":1}',)
        assert await other.reap(START) == []


async def test_the_living_are_left_alone(tmp_path):
    """Whoever renews in time keeps what it has open, however long that runs."""
    uptime = Uptime()
    async with two(tmp_path, uptime) as (one, other):
        for _ in range(30):
            uptime.at_s += 1
            assert [await one.renew_lease(), await other.renew_lease()] == [False, False]
            assert [await one.reap(START), await other.reap(START)] == [[], []]
        assert await one.close_inference(closing())


async def test_who_was_silent_itself_reaps_nobody(tmp_path):
    """A process that was out of touch, as when the machine slept, first lives through a whole lease again."""
    uptime = Uptime()
    async with two(tmp_path, uptime) as (one, other):
        uptime.at_s += 1_000  # for both: neither is to be blamed
        assert not await other.renew_lease()
        assert await other.reap(START) == []
        assert not await one.renew_lease()
        await one.extend_hold(Extension("inf-000001", START, 5, 5))
        await live_on(uptime, other, LEASE_S)
        await one.renew_lease()
        assert await other.reap(START) == []


async def test_who_starts_when_all_were_silent_reaps_nobody(tmp_path):
    """It cannot know whether the machine slept: the leases of the living have run out as well."""
    uptime = Uptime()
    async with two(tmp_path, uptime) as (one, other):
        uptime.at_s += 1_000
        async with gateway(tmp_path / "a.db", uptime) as third:
            assert await third.recover(START) == []
            for _ in range(LEASE_S + 1):
                uptime.at_s += 1
                assert [await each.renew_lease() for each in (one, other, third)] == [False] * 3
                assert await third.reap(START) == []


async def test_a_sleep_between_the_question_and_its_transaction(tmp_path, monkeypatch):
    """Whether one is fit to reap is asked in the transaction that does: the machine may have slept before it."""
    uptime = Uptime()
    async with two(tmp_path, uptime) as (one, other):
        for _ in range(LEASE_S + 1):
            uptime.at_s += 1
            await one.renew_lease()
            await other.renew_lease()
        fence = recovery.fence_dead

        def late(tx, at, lease):
            uptime.at_s += 1_000
            return fence(tx, at, lease)

        monkeypatch.setattr(recovery, "fence_dead", late)
        assert await other.reap(START) == []


@pytest.mark.threat(66)
async def test_who_wakes_after_it_was_reaped_begins_a_new_epoch(tmp_path):
    """Its next transaction is in it already; it learns of it, and its chain before ends where it was fenced."""
    uptime = Uptime()
    async with two(tmp_path, uptime) as (one, other):
        await live_on(uptime, other, LEASE_S + 1)
        await other.reap(START)
        assert not one.admits
        assert await one.renew_lease()
        assert (one.epoch, one.admits) == (3, True)
        assert (await one.open_inference(opening(2))).epoch == 3
        await one.close_inference(closing(2))
        assert not await one.renew_lease()


async def test_what_is_asked_before_the_next_beat_is_not_written_in_a_dead_epoch(tmp_path):
    """Every transaction that begins without a lease looks whether it was lost; a closing that comes late adjusts."""
    uptime = Uptime()
    async with two(tmp_path, uptime) as (one, other):
        await live_on(uptime, other, LEASE_S + 1)
        await other.reap(START)
        late = await one.close_inference(closing_of(28))
        assert (late.ending, late.settled_nusd) == (Ending.ABANDONED, 11)
        assert await one.read(entries) == [("hold", 50), ("settle", 11), ("release", 39), ("adjustment", 17)]
        assert len(await one.read(lambda tx: events(tx, "inference.adjusted"))) == 1
        assert await one.renew_lease()
        assert one.epoch == 3


MORE = {
    "extension": lambda store: store.extend_hold(Extension("inf-000001", START, 5, 5)),
    "attempt": lambda store: store.open_attempt(later(2)),
}


@pytest.mark.parametrize("more", MORE)
async def test_what_was_reaped_gets_no_more_money(tmp_path, more):
    """It must end: the money is another's to give away now."""
    uptime = Uptime()
    async with two(tmp_path, uptime) as (one, other):
        await live_on(uptime, other, LEASE_S + 1)
        await other.reap(START)
        with pytest.raises(GatewayError, match="store_unavailable"):
            await MORE[more](one)


@pytest.mark.threat(67)
async def test_two_reap_at_once(tmp_path):
    """Each exchange is closed by one of them, whichever."""
    uptime = Uptime()
    async with two(tmp_path, uptime) as (one, other), gateway(tmp_path / "a.db", uptime) as third:
        await third.recover(START)
        for number in range(2, 40):
            await one.open_inference(opening(number))
        for _ in range(LEASE_S + 1):
            uptime.at_s += 1
            await other.renew_lease()
            await third.renew_lease()
        found: list[str] = []

        async def reap(store: Store) -> None:
            found.extend(await store.reap(START))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reap, other)
            nursery.start_soon(reap, third)
        assert sorted(found) == [f"inf-{number:06d}" for number in range(1, 40)]
        assert len(await other.read(lambda tx: events(tx, "epoch.fenced"))) == 1


@pytest.mark.threat(67)
async def test_a_reaper_that_stops_half_way(tmp_path):
    """What it left is found by the next: the fence stands, and each exchange is settled by itself."""
    uptime = Uptime()
    async with two(tmp_path, uptime) as (one, other):
        await one.open_inference(opening(2))
        await live_on(uptime, other, LEASE_S + 1)
        left = await other.write(lambda tx: recovery.fence_dead(tx, START, other._lease))
        assert left == ["inf-000001", "inf-000002"]
        await other.write(lambda tx: recovery.abandon(tx, left[0], START))
        assert await other.reap(START) == ["inf-000002"]


async def test_what_a_process_left_that_ended_in_good_order(tmp_path):
    """It has no lease to wait for."""
    uptime = Uptime()
    async with gateway(tmp_path / "a.db", uptime) as other:
        await other.write(seeded())
        await other.recover(START)
        async with gateway(tmp_path / "a.db", uptime) as one:
            await one.recover(START)
            await one.open_inference(opening())
        await live_on(uptime, other, LEASE_S)
        assert await other.reap(START) == ["inf-000001"]


@pytest.mark.threat(71)
async def test_a_lease_of_an_earlier_boot_is_worth_nothing(tmp_path):
    """Uptime begins anew with a machine: a moment of the boot before may be far ahead."""
    async with gateway(tmp_path / "a.db", Uptime()) as one:
        await one.write(seeded())
        await one.recover(START)
        await one.open_inference(opening())
        uptime = Uptime("boot-2")
        uptime.at_s = 1.0
        async with gateway(tmp_path / "a.db", uptime) as other:
            assert await other.recover(START) == ["inf-000001"]


async def test_the_first_one_on_the_spot_recovers_at_once(tmp_path):
    """Nobody else has the database: however fresh the leases of the dead are, they are dead."""
    uptime = Uptime()
    async with gateway(tmp_path / "a.db", uptime) as one:
        await one.write(seeded())
        await one.recover(START)
        await one.open_inference(opening())
    async with gateway(tmp_path / "a.db", uptime) as other:
        assert await other.recover(START) == ["inf-000001"]


async def test_alone_a_lapsed_lease_stops_admission_until_the_next_beat(tmp_path):
    """And changes nothing else: nobody can have taken the process for dead."""
    uptime = Uptime()
    async with gateway(tmp_path / "a.db", uptime, is_shared=False) as store:
        await store.write(seeded())
        await store.recover(START)
        await store.open_inference(opening())
        uptime.at_s += LEASE_S
        with pytest.raises(GatewayError, match="store_unavailable"):
            await store.open_inference(opening(2))
        await store.extend_hold(Extension("inf-000001", START, 5, 5))
        assert not await store.renew_lease()
        assert await store.reap(START) == []
        await store.open_inference(opening(2))


def lease(uptime: Uptime) -> Lease:
    return Lease(uptime, LEASE_S, is_shared=True, kind="gateway", now=lambda: START)


def test_a_lease_is_held_until_it_runs_out():
    """To the microsecond; one that was never begun is not held."""
    uptime = Uptime()
    held = lease(uptime)
    assert not held.is_held
    lessee = held.lessee()
    held.note(Renewal(1, lessee.at, lessee.until))
    assert held.is_held
    uptime.at_s += LEASE_S - 0.000001
    assert held.is_held
    uptime.at_s += 0.000001
    assert not held.is_held


def test_a_renewal_of_another_epoch_is_told():
    """Once; and what was unbroken begins anew with it."""
    uptime = Uptime()
    held = lease(uptime)
    assert held.note(Renewal(1, uptime.now(), uptime.now() + held.length_us))
    uptime.at_s += LEASE_S - 1
    assert not held.note(Renewal(1, uptime.now(), uptime.now() + held.length_us))
    uptime.at_s += 1
    assert held.may_reap
    assert held.note(Renewal(2, uptime.now(), uptime.now() + held.length_us))
    assert not held.may_reap


def test_the_machines_uptime():
    """It goes on, and every process of a machine knows the same."""
    one, other, own = MachineUptime(), MachineUptime(), OwnUptime()
    assert one.boot == other.boot
    assert one.now() <= own.now() <= other.now()
    assert one.boot not in {"", own.boot}
