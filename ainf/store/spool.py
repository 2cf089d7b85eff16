"""The spool: where closings wait that the database did not take in time, durable, until they can be replayed.

Each process appends to a file of its own (see ``spool_file``). What is in it is settled by replay, each closing by its
id, so that a replay that is repeated or broken off changes nothing; a file whose writer is dead is replayed by whoever
finds it. Appends that come together are written together, and synced once.
"""

import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

import attrs
import trio

from ainf.inference.errors import GatewayError
from ainf.store.batch import unavailable
from ainf.store.spool_file import Place, SpoolFile, left_files
from ainf.store.spooled import SpooledClosing, line_of

T = TypeVar("T")
Settle: TypeAlias = Callable[[SpooledClosing], Awaitable[Exception | None]]


class Disk(Protocol):
    """How the calls are made that wait for a disk."""

    async def run(self, call: Callable[[], T]) -> T:
        """Make one call at a time.

        Under cancellation: gives up waiting; a call that has begun goes on to its end, and the next one waits for it.
        """
        ...


class ThreadDisk:
    """Makes them in worker threads."""

    def __init__(self) -> None:
        self._one = trio.CapacityLimiter(1)

    async def run(self, call: Callable[[], T]) -> T:
        """See ``Disk``."""
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._one)


class InlineDisk:
    """Makes them on the event loop: deterministic, for tests under a mock clock."""

    async def run(self, call: Callable[[], T]) -> T:
        """See ``Disk``."""
        await trio.lowlevel.checkpoint()
        return call()


@attrs.define
class Replayed:
    """What came of replays, whoever ran them and however they ended. Each thing is told once, by one process."""

    settled: int = 0
    """Closings that are in the ledger now, or were already."""
    broken: int = 0
    """Lines that cannot be read: what they said is lost, and recovery settles it."""
    blind: list[tuple[str, Exception]] = attrs.field(factory=list)
    """Ids that are settled as they ended, at the whole hold, and the defects that kept the ledger from taking more."""
    refused: list[tuple[str, Exception]] = attrs.field(factory=list)
    """Ids that the ledger cannot take, and why: defects."""
    unread: list[tuple[Path, OSError]] = attrs.field(factory=list)
    """Files that cannot be read (for its own: a record of it) or removed; the next start tries again."""
    kept: list[Path] = attrs.field(factory=list)
    """What was left of files that hold lines of these kinds, for people to look at."""


@attrs.define(eq=False)
class _Append:
    inference_id: str
    line: bytes
    is_durable: bool = False
    fault: OSError | None = None


class Spool:
    """The spool of one process, and its way to those that dead processes left."""

    def __init__(self, prefix: Path, file: SpoolFile, *, wait_s: float, disk: Callable[[], Disk] = ThreadDisk) -> None:
        """Join the parts; ``open`` makes them.

        Args:
            prefix: what the paths of all spool files of the database begin with.
            file: this process's own.
            wait_s: the longest that anything but an append waits for the disk.
            disk: makes what calls are made by: one for writing, one for reading.
        """
        self._prefix = prefix
        self._file = file
        self._wait_s = wait_s
        self._writing, self._reading = disk(), disk()
        self._queue: deque[_Append] = deque()
        self._places: dict[str, Place] = {}
        """Of what waits; changed by calls for writing and by the replay, never at once."""
        self._changing = threading.Lock()
        self._refused: set[str] = set()
        self._passed = {file.path}
        """Files that this process does not look at: its own, and those that it cannot read."""
        self._dealt_with: dict[tuple[Path, Place], bool] = {}
        """Of files of dead writers that are not done with: whether a closing is done. A replay that comes after one
        that was broken off neither does that again nor tells it again."""
        self._replayed = Replayed()
        """What nobody has taken yet; changed and taken by calls for reading and on the event loop, never at once."""
        self._replaying = trio.Lock()

    @classmethod
    async def open(cls, prefix: Path, *, wait_s: float, disk: Callable[[], Disk] = ThreadDisk) -> "Spool":
        """Make this process's spool file.

        Raises:
            SpoolError: it cannot be made.
        """
        file = await disk().run(partial(SpoolFile.create, prefix))
        return cls(prefix, file, wait_s=wait_s, disk=disk)

    @property
    def waiting(self) -> int:
        """How many closings of this process wait."""
        return len(self._places)

    def holds(self, inference_id: str) -> bool:
        """Whether the closing of an exchange waits here."""
        return inference_id in self._places

    async def append(self, record: SpooledClosing) -> None:
        """Append a closing; it is durable when this returns.

        Under cancellation: gives up; it may still be appended where that has begun.

        Raises:
            GatewayError: ``store_unavailable``: the file cannot be written.
        """
        job = _Append(record.closing.inference_id, line_of(record))
        self._queue.append(job)
        try:
            await self._writing.run(self._append_queued)
        finally:
            with suppress(ValueError):
                self._queue.remove(job)
        if not job.is_durable:
            raise unavailable() from job.fault

    async def find(self, inference_id: str) -> SpooledClosing | None:
        """Return the closing of an exchange that waits here; None where none does, or it cannot be read.

        Raises:
            GatewayError: ``store_unavailable``: not in time.
        """
        place = self._places.get(inference_id)
        if place is None:
            return None
        with suppress(OSError):
            return await self._soon(partial(self._file.read, place))
        return None

    async def replay(self, settle: Settle) -> None:
        """Settle what waits here, and what dead processes left; do little where there is nothing.

        What came of it, ``take_replayed`` returns, also where it ends with an exception.
        Under cancellation: stops between two closings; what is left is replayed the next time.

        Args:
            settle: puts a closing into the ledger, durably; returns the defect for which it did so blindly, if one was.

        Raises:
            GatewayError: ``store_unavailable``, of ``settle`` or the disk; the rest waits on.
        """
        async with self._replaying:
            await self._replay_left(settle)
            await self._replay_own(settle)

    def take_replayed(self) -> Replayed:
        """Return what came of all replays since this was called last."""
        with self._changing:
            taken, self._replayed = self._replayed, Replayed()
        return taken

    def hurry(self, wait_s: float) -> None:
        """Let nothing wait longer than this for the disk any more: the process is to end."""
        self._wait_s = min(self._wait_s, wait_s)

    async def aclose(self) -> None:
        """Let go of this process's file: it is removed, unless something waits in it. Waits ``wait_s`` at most."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + self._wait_s):
            await self._writing.run(self._release)

    # --- replay ---

    async def _replay_left(self, settle: Settle) -> None:
        """Replay the files of dead writers, and remove them."""
        paths = await self._soon(partial(left_files, self._prefix))
        for path in paths:
            if path not in self._passed:
                try:
                    await self._replay_file(path, settle)
                except OSError as error:
                    self._passed.add(path)
                    self._replayed.unread.append((path, error))
        self._dealt_with.clear()

    async def _replay_file(self, path: Path, settle: Settle) -> None:
        file = await self._soon(partial(SpoolFile.adopt, path))
        if file is None:
            return
        start = broken = 0
        is_done = True
        try:
            while (found := await self._soon(partial(file.find, start))).end > start:
                for place in found.places:
                    is_done &= await self._settle_left(file, place, settle)
                broken += found.broken
                start = found.end
            self._replayed.broken += broken
            if is_done and not broken:
                await self._soon(file.remove)
            else:
                await self._soon(partial(self._keep, file))
        finally:
            file.close()

    async def _settle_left(self, file: SpoolFile, place: Place, settle: Settle) -> bool:
        """Settle one closing of a dead writer, once by this process; return whether it is done."""
        is_done = self._dealt_with.get((file.path, place))
        if is_done is None:
            is_done = self._dealt_with[file.path, place] = await self._settle(file, place, settle)
        return is_done

    async def _replay_own(self, settle: Settle) -> None:
        """Replay this process's file, and clear it.

        What cannot be read, and what the ledger cannot take, stays in it for the next start.
        """
        with self._changing:
            places = list(self._places.items())
        for inference_id, place in places:
            if inference_id in self._refused:
                continue
            try:
                is_done = await self._settle(self._file, place, settle)
            except OSError as error:
                self._replayed.unread.append((self._file.path, error))
                is_done = False
            if is_done:
                with self._changing:
                    del self._places[inference_id]
            else:
                self._refused.add(inference_id)
        if not self._places and not self._file.is_clear:
            with trio.move_on_after(self._wait_s):
                await self._writing.run(self._clear)

    async def _settle(self, file: SpoolFile, place: Place, settle: Settle) -> bool:
        """Settle one closing; return whether it is done."""
        record = await self._soon(partial(file.read, place))
        if record is None:
            self._replayed.broken += 1
            return False
        try:
            lacking = await settle(record)
        except GatewayError:
            raise
        except Exception as defect:  # noqa: BLE001 - whatever it is, the others must be settled
            self._replayed.refused.append((place.inference_id, defect))
            return False
        if lacking is not None:
            self._replayed.blind.append((place.inference_id, lacking))
            return False
        self._replayed.settled += 1
        return True

    async def _soon(self, call: Callable[[], T]) -> T:
        """Make a call for reading, within ``wait_s``."""
        with trio.move_on_after(self._wait_s):
            return await self._reading.run(call)
        raise unavailable()

    def _keep(self, file: SpoolFile) -> None:
        """Keep a file; told by this call itself, for it may come back when nobody waits for it any more."""
        kept = file.keep()
        with self._changing:
            self._replayed.kept.append(kept)

    # --- calls for writing: one at a time ---

    def _append_queued(self) -> None:
        jobs: list[_Append] = []
        with suppress(IndexError):
            while True:
                jobs.append(self._queue.popleft())
        if jobs and not self._append(jobs) and len(jobs) > 1:
            for job in jobs:
                self._append([job])

    def _append(self, jobs: Sequence[_Append]) -> bool:
        """Append together; False: nothing of it is there, and each job says why."""
        try:
            offsets = self._file.append([job.line for job in jobs])
        except OSError as error:
            for job in jobs:
                job.fault = error
            return False
        with self._changing:
            for job, offset in zip(jobs, offsets, strict=True):
                self._places[job.inference_id] = Place(job.inference_id, offset, len(job.line))
                job.is_durable = True
        return True

    def _clear(self) -> None:
        if not self._places:
            with suppress(OSError):  # what was replayed is replayed again, and changes nothing
                self._file.clear()

    def _release(self) -> None:
        if not self._places:
            with suppress(OSError):
                self._file.remove()
        self._file.close()
