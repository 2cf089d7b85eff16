"""The exchanges that run now."""

import json
from io import StringIO

import attrs
import trio

from ainf.exchange.inflight import Inflight, keep_progress
from ainf.inference.errors import GatewayError
from ainf.inference.outcome import Ending, Verdict
from ainf.store.base import ProgressSeen
from ainf.telemetry import Telemetry


@attrs.define(eq=False)
class Running:
    """An exchange as far as this list knows one."""

    plan: "Running.Plan"
    step: str | None = None
    offered: list[Verdict] = attrs.field(factory=list)
    hurried: list[float] = attrs.field(factory=list)
    durable: list[str] = attrs.field(factory=list)

    @attrs.define
    class Plan:
        inference_id: str

    def offer(self, verdict: Verdict) -> bool:
        self.offered.append(verdict)
        return True

    def hurry(self, close_s: float) -> None:
        self.hurried.append(close_s)

    def progress(self) -> str | None:
        if self.step == "a defect":
            raise ZeroDivisionError
        return self.step

    def progress_is_durable(self, step: str) -> None:
        self.durable.append(step)
        self.step = None


def running(name: str, step: str | None = None) -> Running:
    return Running(Running.Plan(name), step)


@attrs.define
class Store:
    """Takes progress, refuses it when told, and says whose key is gone."""

    revoked: frozenset[str] = frozenset()
    away: bool = False
    breaks: bool = False
    taken: list[list[str]] = attrs.field(factory=list)

    async def record_progress(self, progress: list[str]) -> ProgressSeen:
        await trio.lowlevel.checkpoint()
        if self.away:
            raise GatewayError("store_unavailable", "away")
        assert not self.breaks
        self.taken.append(progress)
        return ProgressSeen(self.revoked)


async def test_waiting_until_nothing_runs(autojump_clock):
    """It waits for the last one, also for those that came meanwhile."""
    inflight = Inflight()
    await inflight.wait_empty()
    first, second = running("a"), running("b")
    inflight.add(first)
    done = []

    async def wait() -> None:
        await inflight.wait_empty()
        done.append(trio.current_time())

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(1)
        inflight.remove(first)
        inflight.add(second)
        await trio.sleep(1)
        assert done == []
        inflight.remove(second)
    assert done == [began + 2]
    assert len(inflight) == 0


def test_endings_for_all_and_for_one():
    """A shutdown is offered to everyone, a revocation to the one it names, and to nobody that has ended."""
    inflight = Inflight()
    first, second = running("a"), running("b")
    inflight.add(first)
    inflight.add(second)
    inflight.revoke("b")
    inflight.revoke("gone")
    inflight.shut_down(2.0)
    assert [verdict.ending for verdict in first.offered] == [Ending.SHUTDOWN]
    assert first.hurried == second.hurried == [2.0]
    assert [verdict.code for verdict in second.offered] == ["key_revoked", "shutting_down"]


def test_exchanges_may_end_while_all_are_told():
    """Going through them bears one being removed."""
    inflight = Inflight()
    first, second = running("a"), running("b")
    inflight.add(first)
    inflight.add(second)
    for exchange in inflight:
        inflight.remove(exchange)
    assert list(inflight) == []


async def tick(store: Store, *exchanges: Running, ticks: int = 1) -> StringIO:
    inflight, log = Inflight(), StringIO()
    for exchange in exchanges:
        inflight.add(exchange)
    with trio.move_on_after(2 * ticks + 1):
        await keep_progress(inflight, store, Telemetry(log), 2)
    return log


async def test_a_tick_is_one_call_for_all(autojump_clock):
    """All steps in one statement; those without a new one are left out."""
    store = Store()
    first, second, third = running("a", "1"), running("b", "2"), running("c")
    await tick(store, first, second, third)
    assert store.taken == [["1", "2"]]
    assert (first.durable, second.durable, third.durable) == (["1"], ["2"], [])


async def test_a_tick_without_progress_still_looks_for_revoked_keys(autojump_clock):
    """A stalled stream ends too when its key is gone."""
    stalled = running("a")
    await tick(Store(revoked=frozenset({"a"})), stalled)
    assert [verdict.code for verdict in stalled.offered] == ["key_revoked"]


async def test_a_tick_without_exchanges_asks_nothing(autojump_clock):
    """An idle gateway does not touch its database."""
    store = Store()
    await tick(store, ticks=5)
    assert store.taken == []


async def test_a_defect_in_a_tick_ends_nothing(autojump_clock):
    """A bug in one exchange's progress is logged, and all go on: at the next tick they are looked at again."""
    store, exchange = Store(breaks=True), running("a", "1")
    log = await tick(store, exchange, ticks=2)
    assert exchange.durable == []
    assert [json.loads(line)["event"] for line in log.getvalue().splitlines()] == ["defect", "defect"]


async def test_a_defect_in_one_exchange_keeps_no_other_from_being_durable(autojump_clock):
    """It is told at every tick, by itself."""
    store, broken, sound = Store(), running("a", "a defect"), running("b", "2")
    log = await tick(store, broken, sound)
    assert (store.taken, broken.durable, sound.durable) == ([["2"]], [], ["2"])
    assert [json.loads(line)["event"] for line in log.getvalue().splitlines()] == ["defect"]


async def test_a_refused_tick_is_made_up_for(autojump_clock):
    """What the store refused is offered again, and the log says so."""
    store, exchange = Store(away=True), running("a", "1")
    log = await tick(store, exchange)
    assert exchange.durable == []
    assert json.loads(log.getvalue())["event"] == "progress_refused"
    store.away = False
    await tick(store, exchange)
    assert exchange.durable == ["1"]
