"""The spool: many that append at once, disks that hang or fail, and replay, broken off wherever it may be."""

import errno
import os
import threading
from functools import partial

import pytest
import trio

from ainf.inference.errors import GatewayError
from ainf.store import spool_file
from ainf.store.spool import InlineDisk, Replayed, Spool, ThreadDisk
from ainf.store.spool_file import SpoolError, SpoolFile, left_files
from ainf.store.spooled import line_of
from tests.store.waiting import waiting

AWAY = GatewayError("store_unavailable", "away")


class Ledger:
    """What closings are settled in; ``faults`` are raised, and what is ``lacking`` told, by the exchange's id, once."""

    def __init__(self):
        self.settled = []
        self.faults = {}
        self.lacking = {}

    async def settle(self, record):
        await trio.lowlevel.checkpoint()
        fault = self.faults.pop(record.closing.inference_id, None)
        if fault is not None:
            raise fault
        self.settled.append(record.closing.inference_id)
        return self.lacking.pop(record.closing.inference_id, None)


class SlowDisk:
    """A disk that reads so many bytes a second, on the event loop."""

    RATE = 1 << 19

    def __init__(self, monkeypatch):
        self._read, self._looked = 0, spool_file.record_of
        monkeypatch.setattr(spool_file, "record_of", self._look)

    def _look(self, line):
        self._read += len(line)
        return self._looked(line)

    async def run(self, call):
        self._read = 0
        outcome = call()
        await trio.sleep(self._read / self.RATE)
        return outcome


class CancelAt(trio.abc.Instrument):
    """Cancels a scope at the step of that number."""

    def __init__(self, last, scope):
        self.left, self.scope = last, scope

    def before_task_step(self, task):
        self.left -= 1
        if not self.left:
            self.scope.cancel()


@pytest.fixture
def prefix(tmp_path):
    return tmp_path / "a.db.spool"


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture(params=[ThreadDisk, InlineDisk])
def disk(request):
    return request.param


@pytest.fixture
async def spool(prefix, disk):
    return await Spool.open(prefix, wait_s=5, disk=disk)


def leave(prefix, *numbers, before=b"", behind=b""):
    """Leave what a dead process had in its spool; return the file's path."""
    file = SpoolFile.create(prefix)
    file.append([before, *(line_of(waiting(number)) for number in numbers), behind])
    file.close()
    return file.path


async def replay(spool, ledger):
    """Replay; return what came of it."""
    await spool.replay(ledger.settle)
    return spool.take_replayed()


@pytest.mark.threat(69)
async def test_what_is_appended_waits_until_it_is_replayed(spool, ledger):
    """It is found by its id; after the replay it is gone from the file, and nothing is replayed twice."""
    for number in (1, 2):
        await spool.append(waiting(number))
    assert (spool.waiting, spool.holds("inf-000001"), spool.holds("inf-000003")) == (2, True, False)
    assert await spool.find("inf-000002") == waiting(2)
    assert await spool.find("inf-000003") is None
    replayed = await replay(spool, ledger)
    assert ledger.settled == ["inf-000001", "inf-000002"]
    assert (replayed.settled, replayed.broken, replayed.refused, replayed.unread, replayed.kept) == (2, 0, [], [], [])
    assert (spool.waiting, await spool.find("inf-000001")) == (0, None)
    assert spool._file.path.read_bytes() == b""
    assert (await replay(spool, ledger)).settled == 0
    await spool.append(waiting(3))
    assert (await replay(spool, ledger)).settled == 1
    await spool.aclose()


async def test_an_empty_spool_leaves_no_file(spool, prefix):
    """Who stops in good order leaves nothing behind."""
    assert len(left_files(prefix)) == 1
    await spool.aclose()
    assert left_files(prefix) == []


@pytest.mark.threat(69)
async def test_what_waits_outlives_its_process(spool, prefix, ledger, disk):
    """The next process replays it, in the order in which it came, and removes the file."""
    for number in (3, 1, 2):
        await spool.append(waiting(number))
    await spool.aclose()
    assert len(left_files(prefix)) == 1
    other = await Spool.open(prefix, wait_s=5, disk=disk)
    assert (await replay(other, ledger)).settled == 3
    assert ledger.settled == ["inf-000003", "inf-000001", "inf-000002"]
    assert left_files(prefix) == [other._file.path]
    await other.aclose()


async def test_a_living_process_replays_its_own(spool, prefix, ledger, disk):
    """Another one leaves it alone."""
    await spool.append(waiting(1))
    other = await Spool.open(prefix, wait_s=5, disk=disk)
    assert (await replay(other, ledger)).settled == 0
    assert len(left_files(prefix)) == 2
    assert (await replay(spool, ledger)).settled == 1


@pytest.mark.parametrize("fails_at", [1, 2, 3])
async def test_a_replay_that_the_store_breaks_off_goes_on_later(spool, prefix, ledger, fails_at):
    """What is settled is settled; a file of a dead process stays as it was, and is replayed from its beginning."""
    leave(prefix, 1, 2)
    await spool.append(waiting(3))
    ledger.faults = {f"inf-{fails_at:06d}": AWAY}
    with pytest.raises(GatewayError):
        await spool.replay(ledger.settle)
    assert len(ledger.settled) == fails_at - 1
    assert spool.waiting == 1
    await spool.replay(ledger.settle)
    assert {*ledger.settled} == {"inf-000001", "inf-000002", "inf-000003"}
    assert (spool.waiting, left_files(prefix)) == (0, [spool._file.path])


async def test_what_came_of_a_replay_that_was_broken_off_is_told_once(spool, prefix, ledger):
    """What it did is there to be taken; the one that goes on adds the rest, and what was odd is kept all the same."""
    leave(prefix, 1, 2, 3, before=b"zzz\n")
    defect = AssertionError("was never opened")
    ledger.faults, ledger.lacking = {"inf-000002": defect, "inf-000003": AWAY}, {"inf-000001": defect}
    with pytest.raises(GatewayError):
        await spool.replay(ledger.settle)
    taken = spool.take_replayed()
    assert (taken.settled, taken.blind, taken.refused) == (0, [("inf-000001", defect)], [("inf-000002", defect)])
    ledger.faults = {"inf-000003": AWAY}
    with pytest.raises(GatewayError):
        await spool.replay(ledger.settle)
    assert spool.take_replayed() == Replayed()
    await spool.append(waiting(4))
    await spool.replay(ledger.settle)
    await spool.replay(ledger.settle)
    taken = spool.take_replayed()
    assert (taken.settled, taken.broken, taken.blind, taken.refused, len(taken.kept)) == (2, 1, [], [], 1)
    assert spool.take_replayed() == Replayed()


async def test_a_file_that_was_kept_when_nobody_waited_any_more_is_told(prefix, ledger, monkeypatch):
    """The disk hung while it was given its other name."""
    leave(prefix, 1, behind=b"x\n")
    spool = await Spool.open(prefix, wait_s=60)
    begun, go, keep = threading.Event(), threading.Event(), SpoolFile.keep

    def hanging(file):
        begun.set()
        assert go.wait(60)
        return keep(file)

    monkeypatch.setattr(SpoolFile, "keep", hanging)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spool.replay, ledger.settle)
        await trio.to_thread.run_sync(begun.wait)
        nursery.cancel_scope.cancel()
    taken = spool.take_replayed()
    assert (taken.settled, taken.broken, taken.kept) == (1, 1, [])
    go.set()
    taken = await replay(spool, ledger)
    assert (taken.settled, taken.broken, len(taken.kept)) == (0, 0, 1)
    await spool.aclose()


async def test_a_replay_that_is_cancelled_anywhere_is_simply_run_again(prefix, ledger, autojump_clock):
    """At every step of it: nothing is lost, and no file is left behind that another process could not take."""
    for step in range(1, 200):
        leave(prefix, 1, 2)
        spool = await Spool.open(prefix, wait_s=5, disk=InlineDisk)
        await spool.append(waiting(3))
        ledger.settled.clear()
        with trio.CancelScope() as scope:
            counter = CancelAt(step, scope)
            trio.lowlevel.add_instrument(counter)
            try:
                await spool.replay(ledger.settle)
            finally:
                trio.lowlevel.remove_instrument(counter)
        was_cancelled = scope.cancelled_caught
        await spool.replay(ledger.settle)
        assert {*ledger.settled} == {"inf-000001", "inf-000002", "inf-000003"}, step
        assert (spool.waiting, left_files(prefix)) == (0, [spool._file.path]), step
        await spool.aclose()
        if not was_cancelled:
            assert step > 8
            return
    raise AssertionError("it never came to its end")


async def test_a_closing_that_the_ledger_cannot_take_keeps_no_other_waiting(spool, prefix, ledger):
    """A defect is told once; what it is about stays in its file, or in a copy of a dead process's, for people."""
    dead = leave(prefix, 1, 2)
    await spool.append(waiting(3))
    await spool.append(waiting(4))
    defect = AssertionError("was never opened")
    ledger.faults = {"inf-000001": defect, "inf-000003": defect}
    replayed = await replay(spool, ledger)
    assert replayed.refused == [("inf-000001", defect), ("inf-000003", defect)]
    assert ledger.settled == ["inf-000002", "inf-000004"]
    (kept,) = replayed.kept
    assert kept.name.startswith(f"{dead.name}.kept")
    assert b'"inf-000001"' in kept.read_bytes()
    assert (spool.waiting, await spool.find("inf-000003")) == (1, waiting(3))
    again = await replay(spool, ledger)
    assert (again.settled, again.refused, again.kept) == (0, [], [])
    await spool.aclose()
    assert b'"inf-000003"' in left_files(prefix)[0].read_bytes()


async def test_broken_lines_are_counted_and_kept(spool, prefix, ledger):
    """All others of the file are settled."""
    leave(prefix, 1, 2, before=b"zzz\n", behind=b"\nx\n")
    replayed = await replay(spool, ledger)
    assert (replayed.settled, replayed.broken, len(replayed.kept)) == (2, 2, 1)
    assert (await replay(spool, ledger)).broken == 0


async def test_a_file_may_take_longer_to_read_than_anything_may_wait(prefix, ledger, monkeypatch, autojump_clock):
    """However large what a dead process left: all of it is settled, what is broken in any part counted and kept."""
    file = SpoolFile.create(prefix)
    for number in range(1, 21):
        file.append([b"\nx\n", line_of(waiting(number, notes={"long": "x" * 300_000}))])
    file.close()
    spool = await Spool.open(prefix, wait_s=5, disk=partial(SlowDisk, monkeypatch))
    assert file.path.stat().st_size / SlowDisk.RATE > 2 * 5
    replayed = await replay(spool, ledger)
    assert ledger.settled == [f"inf-{number:06d}" for number in range(1, 21)]
    assert (replayed.settled, replayed.broken, len(replayed.kept)) == (20, 20, 1)
    await spool.aclose()


async def test_a_record_of_ones_own_that_has_decayed_is_told_once(spool, ledger):
    """It keeps no other waiting either."""
    await spool.append(waiting(1))
    await spool.append(waiting(2))
    with spool._file.path.open("r+b") as file:
        file.seek(80)
        file.write(b"!")
    assert await spool.find("inf-000001") is None
    replayed = await replay(spool, ledger)
    assert (replayed.settled, replayed.broken, ledger.settled) == (1, 1, ["inf-000002"])
    assert (await replay(spool, ledger)).broken == 0


@pytest.mark.threat(69)
async def test_a_record_of_ones_own_that_cannot_be_read_ends_nothing(spool, ledger, monkeypatch):
    """A disk that does not give it back: the others are settled, and it waits for the next start."""
    read = SpoolFile.read

    def broken(self, place):
        if place.inference_id == "inf-000001":
            raise OSError(errno.EIO, "broken")
        return read(self, place)

    await spool.append(waiting(1))
    await spool.append(waiting(2))
    monkeypatch.setattr(SpoolFile, "read", broken)
    replayed = await replay(spool, ledger)
    assert ([path for path, _ in replayed.unread], ledger.settled) == ([spool._file.path], ["inf-000002"])
    assert (await replay(spool, ledger)).unread == []
    assert spool.waiting == 1


@pytest.mark.threat(69)
async def test_a_sync_that_failed_once_does_not_end_the_spool(spool, ledger, monkeypatch):
    """The file is emptied as soon as nothing waits in it, synced, and trusted again from then on."""
    sync, fail = os.fsync, [True]

    def failing(descriptor):
        if fail:
            raise OSError(errno.EIO, "broken")
        sync(descriptor)

    monkeypatch.setattr("ainf.store.spool_file.os.fsync", failing)
    with pytest.raises(GatewayError):
        await spool.append(waiting(1))
    await spool.replay(ledger.settle)
    fail.clear()
    with pytest.raises(GatewayError):  # it could not be emptied
        await spool.append(waiting(2))
    await spool.replay(ledger.settle)
    await spool.append(waiting(3))
    await spool.replay(ledger.settle)
    assert ledger.settled == ["inf-000003"]


async def test_a_file_that_cannot_be_read_is_told_once(spool, prefix, ledger):
    """The others are replayed."""
    path = prefix.with_name(f"{prefix.name}.1-0")
    path.mkdir()
    leave(prefix, 1)
    replayed = await replay(spool, ledger)
    assert ([told for told, _ in replayed.unread], replayed.settled) == ([path], 1)
    assert (await replay(spool, ledger)).unread == []


@pytest.mark.threat(69)
async def test_two_replays_at_once_settle_everything_once(spool, prefix, ledger):
    """The second waits for the first and finds nothing."""
    leave(prefix, 1)
    await spool.append(waiting(2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spool.replay, ledger.settle)
        nursery.start_soon(spool.replay, ledger.settle)
    assert sorted(ledger.settled) == ["inf-000001", "inf-000002"]


async def test_what_is_appended_during_a_replay_is_not_lost(spool, ledger):
    """The file is not emptied while something waits in it."""
    await spool.append(waiting(1))

    async def settle(record):
        await spool.append(waiting(2))
        await ledger.settle(record)

    await spool.replay(settle)
    assert (spool.waiting, await spool.find("inf-000002")) == (1, waiting(2))
    await spool.replay(ledger.settle)
    assert ledger.settled == ["inf-000001", "inf-000002"]


async def test_a_spool_that_cannot_be_made(tmp_path, disk):
    """Is told when it is opened."""
    with pytest.raises(SpoolError):
        await Spool.open(tmp_path / "none" / "spool", wait_s=5, disk=disk)


async def test_those_that_come_together_are_synced_together(prefix, monkeypatch):
    """While one sync runs others queue; one more makes all of them durable."""
    spool = await Spool.open(prefix, wait_s=5)
    begun, go, syncs = threading.Event(), threading.Event(), []
    sync = os.fsync

    def slow(descriptor):
        syncs.append(descriptor)
        begun.set()
        assert go.wait(10)
        sync(descriptor)

    monkeypatch.setattr("ainf.store.spool_file.os.fsync", slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spool.append, waiting(1))
        await trio.to_thread.run_sync(begun.wait)
        for number in range(2, 50):
            nursery.start_soon(spool.append, waiting(number))
        await trio.testing.wait_all_tasks_blocked()
        go.set()
    assert spool.waiting == 49
    assert len(syncs) == 2
    await spool.aclose()


async def test_one_that_is_too_large_for_the_disk_fails_alone(spool, monkeypatch):
    """What is appended with it is tried again without it."""
    append = SpoolFile.append

    def full(self, lines):
        if len(b"".join(lines)) > 5_000:
            raise OSError(errno.ENOSPC, "full")
        return append(self, lines)

    monkeypatch.setattr(SpoolFile, "append", full)
    failed = []

    async def attempt(record):
        try:
            await spool.append(record)
        except GatewayError as error:
            failed.append((record.closing.inference_id, type(error.__cause__)))

    async with trio.open_nursery() as nursery:
        for number in range(1, 4):
            nursery.start_soon(attempt, waiting(number, notes={"long": "x" * 5_000} if number == 2 else {}))
    assert failed == [("inf-000002", OSError)]
    assert spool.waiting == 2


async def test_a_disk_that_hangs_keeps_nobody(prefix, monkeypatch):
    """Each gives up when its time is over; what was not begun is not written, what was begun may be, and is found."""
    spool = await Spool.open(prefix, wait_s=5)
    begun, go = threading.Event(), threading.Event()
    sync = os.fsync

    def hanging(descriptor):
        begun.set()
        assert go.wait(10)
        sync(descriptor)

    monkeypatch.setattr("ainf.store.spool_file.os.fsync", hanging)
    async with trio.open_nursery() as nursery:

        async def give_up(number, scope):
            with scope:
                await spool.append(waiting(number))

        first, second = trio.CancelScope(), trio.CancelScope()
        nursery.start_soon(give_up, 1, first)
        await trio.to_thread.run_sync(begun.wait)
        nursery.start_soon(give_up, 2, second)
        await trio.testing.wait_all_tasks_blocked()
        second.cancel()
        first.cancel()
    assert (first.cancelled_caught, second.cancelled_caught) == (True, True)
    assert spool.waiting == 0
    spool.hurry(0.01)
    await spool.aclose()  # waits no longer, and does not close what is still being written
    go.set()
    await spool.append(waiting(3))
    assert (spool.holds("inf-000001"), spool.holds("inf-000002"), spool.holds("inf-000003")) == (True, False, True)


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["out of time", "cancelled"])
async def test_a_file_for_which_nobody_waits_any_more_is_let_go_of(is_cancelled, prefix, ledger, monkeypatch):
    """The disk hung while a dead process's file was taken over: it is taken over again once that is past."""
    leave(prefix, 1)
    spool = await Spool.open(prefix, wait_s=60 if is_cancelled else 0.01)
    begun, go, adopt = threading.Event(), threading.Event(), SpoolFile.adopt

    def hanging(path):
        begun.set()
        assert go.wait(60)
        return adopt(path)

    monkeypatch.setattr(SpoolFile, "adopt", hanging)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            if is_cancelled:
                nursery.start_soon(spool.replay, ledger.settle)
                await trio.to_thread.run_sync(begun.wait)
                scope.cancel()
            else:
                with pytest.raises(GatewayError):
                    await spool.replay(ledger.settle)
    go.set()
    monkeypatch.undo()
    spool._wait_s = 60
    assert (await replay(spool, ledger)).settled == 1
    assert left_files(prefix) == [spool._file.path]
    await spool.aclose()
