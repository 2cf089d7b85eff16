"""The group-commit writer, in its thread and on the loop: grouping, cancellation, time limits, death."""

import threading

import pytest
import trio

from ainf.inference.errors import GatewayError, SpendError
from ainf.store.epochs import begin_epoch
from ainf.store.sqlite import MEMORY, SQLiteEngine
from ainf.store.writer import MAX_BATCH, InlineWriter, ThreadWriter
from tests.store.faults import FaultyEngine, broken, full
from tests.store.test_batch import note, notes, refuse


class Bench:
    """A writer over an engine that can be made to fail, and what it reported."""

    def __init__(self, path):
        self.engine = FaultyEngine(SQLiteEngine.open(path))
        self.tx = begin_epoch(self.engine.inner, "gateway", 1)
        self.fatal = []
        self.writer = None

    def inline(self, **changes):
        self.writer = InlineWriter(self.engine, self.tx, wait_s=5, on_fatal=self.fatal.append, **changes)
        return self.writer

    def thread(self, wait_s=5.0):
        self.writer = ThreadWriter(self.engine, self.tx, wait_s=wait_s, on_fatal=self.fatal.append)
        return self.writer

    async def hold_commit(self, *operations):
        """Queue operations and wait until the writer is at their commit, which the gate holds up."""
        self.engine.gate.clear()
        for operation in operations:
            self.writer.submit_nowait(operation)
        await trio.to_thread.run_sync(self.engine.commits_begun.acquire)

    async def read_notes(self):
        """Return what is durable, once everything that is queued is done; read by who has the connection."""
        return await self.writer.submit(lambda _: notes(self.engine))


@pytest.fixture
async def bench(tmp_path):
    bench = Bench(str(tmp_path / "bench.db"))
    yield bench
    bench.engine.gate.set()
    await bench.writer.aclose()


@pytest.fixture(params=["inline", "thread"])
def writer(request, bench):
    return getattr(bench, request.param)()


async def test_results_and_refusals_come_back(writer):
    """An operation's result is returned, and what it raises is raised, in the caller's task."""
    assert await writer.submit(lambda tx: tx.epoch) == 1
    with pytest.raises(SpendError):
        await writer.submit(refuse)
    with pytest.raises(ZeroDivisionError):
        await writer.submit(lambda _: 1 // 0)


async def test_submit_all_keeps_the_order(writer, bench):
    """Results come in the order of the operations, committed together, and the first error is raised after all ran."""
    assert await writer.submit_all(lambda _, n=n: n for n in range(5)) == [0, 1, 2, 3, 4]
    with pytest.raises(SpendError):
        await writer.submit_all([note("a"), refuse, note("b")])
    assert await bench.read_notes() == ["a", "b"]


async def test_callers_on_the_loop_share_a_commit(bench):
    """Ten tasks that submit at once make one commit."""
    writer = bench.inline()
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(writer.submit, note(str(number)))
    assert bench.engine.commits == 1
    assert len(notes(bench.engine)) == 10


async def test_callers_share_the_next_commit(bench):
    """What arrives while a commit is under way is committed together after it."""
    writer = bench.thread()
    await bench.hold_commit(note("first"))
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(writer.submit, note(str(number)))
        await trio.testing.wait_all_tasks_blocked()
        bench.engine.gate.set()
    assert bench.engine.commits == 2
    assert len(notes(bench.engine)) == 21


async def test_a_batch_is_bounded(bench):
    """More than ``MAX_BATCH`` are committed in several transactions."""
    writer = bench.thread()
    await bench.hold_commit(note("first"))
    for number in range(MAX_BATCH + 1):
        writer.submit_nowait(note(str(number)))
    bench.engine.gate.set()
    assert len(await bench.read_notes()) == MAX_BATCH + 2
    assert bench.engine.commits >= 3


async def test_cancelled_before_it_is_queued(writer, bench):
    """A cancelled task queues nothing."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await writer.submit(note("never"))
    assert scope.cancelled_caught
    assert await bench.read_notes() == []


async def test_cancelled_after_it_was_queued(bench):
    """Once queued it is awaited: the caller holds the result, and the cancellation comes at its next checkpoint."""
    writer = bench.thread()
    await bench.hold_commit(note("first"))
    results = []
    scope = trio.CancelScope()

    async def call():
        with scope:
            results.append(await writer.submit(note("queued")))
            await trio.lowlevel.checkpoint()
            results.append("not cancelled")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert results == []
        bench.engine.gate.set()
    assert len(results) == 1
    assert notes(bench.engine) == ["first", "queued"]


async def test_cancelled_anywhere_is_never_maybe_committed(bench):
    """Under a hundred racing time limits, exactly those that returned are in the database."""
    writer = bench.thread()
    returned = []

    async def call(number):
        with trio.move_on_after(number * 20e-6):
            await trio.lowlevel.checkpoint()
            await writer.submit(note(str(number)))
            returned.append(str(number))

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(call, number)
    assert sorted(returned) == sorted(await bench.read_notes())
    assert 0 < len(returned) < 100


async def test_not_begun_in_time_is_skipped(bench):
    """The caller is told that the store is away, and the writer passes over the operation."""
    writer = bench.thread(wait_s=0.05)
    await bench.hold_commit(note("first"))
    with pytest.raises(GatewayError, match="store_unavailable"):
        await writer.submit(note("late"), undo=lambda tx, _: note("undone")(tx))
    bench.engine.gate.set()
    assert await bench.read_notes() == ["first"]


async def test_unattended_is_run_all_the_same(bench):
    """What must be done is done when the writer comes to it, although nobody waits any more."""
    writer = bench.thread(wait_s=0.05)
    await bench.hold_commit(note("first"))
    with pytest.raises(GatewayError):
        await writer.submit(note("late"), unattended=True)
    bench.engine.gate.set()
    assert await bench.read_notes() == ["first", "late"]


async def test_begun_but_too_late_is_undone(bench):
    """An operation that commits after its caller gave up is taken back in the next batch."""
    writer = bench.thread(wait_s=0.05)
    bench.engine.gate.clear()
    with pytest.raises(GatewayError, match="store_unavailable"):
        await writer.submit(lambda tx: note("late")(tx) and 42, undo=lambda tx, result: note(f"undone {result}")(tx))
    bench.engine.gate.set()
    await bench.read_notes()
    assert await bench.read_notes() == ["late", "undone 42"]


async def test_an_undo_is_owed_until_it_is_done(bench):
    """A store that is away when an operation is to be taken back is asked again with whatever comes next."""
    writer = bench.thread(wait_s=0.05)
    bench.engine.gate.clear()
    with pytest.raises(GatewayError):
        await writer.submit(note("late"), undo=lambda tx, _: note("undone")(tx))
    bench.engine.commit_faults[2] = full()
    bench.engine.gate.set()
    for _ in range(2):
        await trio.to_thread.run_sync(bench.engine.commits_begun.acquire)
    await bench.read_notes()
    assert await bench.read_notes() == ["late", "undone"]


async def test_a_slow_turn_on_the_loop_runs_out(autojump_clock, bench):
    """On the loop too, who waits longer than ``wait_s`` is told so, and what was not begun never is."""

    async def turn():
        await trio.sleep(delay)

    delay = 6
    writer = bench.inline(turn=turn)
    before = trio.current_time()
    with pytest.raises(GatewayError, match="store_unavailable"):
        await writer.submit(note("late"))
    assert trio.current_time() - before == 5
    delay = 1
    assert await bench.read_notes() == []


async def test_whoever_waits_can_be_hurried(autojump_clock, bench):
    """At the end of a process nobody waits longer than told, neither who waits already nor who comes later."""

    async def turn():
        await trio.sleep(60)

    writer = bench.inline(turn=turn)
    waited = []

    async def call():
        began = trio.current_time()
        with pytest.raises(GatewayError, match="store_unavailable"):
            await writer.submit(note("late"))
        waited.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await trio.sleep(2)
        writer.hurry(1)
        nursery.start_soon(call)
    assert waited == pytest.approx([3, 1]) or waited == pytest.approx([1, 3])


async def test_a_dead_writer_answers_everybody(bench):
    """An input/output error ends it: who waits and who comes later is told, and the process is to be ended, once."""
    writer = bench.thread()
    await bench.hold_commit(note("first"))
    bench.engine.commit_faults[2] = broken()
    errors = []

    async def call():
        with pytest.raises(GatewayError) as caught:
            await writer.submit(note("lost"))
        errors.append(caught.value.code)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        bench.engine.gate.set()
    assert errors == ["store_unavailable"] * 3
    assert [type(error) for error in bench.fatal] == [type(broken())]
    with pytest.raises(GatewayError):
        await writer.submit(note("later"))
    with pytest.raises(GatewayError):
        writer.submit_nowait(note("later"))


async def test_a_dead_writer_on_the_loop_answers_everybody(bench):
    """The same without a thread."""
    writer = bench.inline()
    bench.engine.commit_faults[1] = broken()
    with pytest.raises(GatewayError, match="store_unavailable"):
        await writer.submit(note("lost"))
    assert len(bench.fatal) == 1
    with pytest.raises(GatewayError):
        await writer.submit(note("later"))


async def test_outcomes_are_told_on_the_loop(bench):
    """``on_done`` of an operation without a waiter runs in the event loop's thread, when it is durable."""
    writer = bench.thread()
    told = []
    writer.submit_nowait(note("a"), on_done=lambda job: told.append((threading.current_thread(), job.result)))
    (written,) = [await bench.read_notes()]
    assert written == ["a"]
    assert told[0][0] is threading.main_thread()
    assert len(told[0][1]) == 64


async def test_closing_commits_what_is_queued():
    """Nothing that was queued before the end is lost."""
    bench, seen = Bench(MEMORY), []
    bench.engine.close = lambda: seen.extend(notes(bench.engine))
    writer = bench.thread()
    for number in range(300):
        writer.submit_nowait(note(str(number)))
    await writer.aclose()
    assert len(seen) == 300
    bench.engine.inner.close()
