"""The group-commit writer: whatever waits is committed as one transaction, and its callers wake when it is durable.

``ThreadWriter`` has a thread of its own, which owns the connection. ``InlineWriter`` runs the same batches on the event
loop after one checkpoint: deterministic, for tests under a mock clock and for databases in memory.

A writer that dies, or an error that leaves it unknown what is durable, ends everything: whoever waits, and whoever
comes later, gets ``store_unavailable``, and ``on_fatal`` is called to end the process.
"""

import queue
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import trio

from ainf.inference.errors import GatewayError
from ainf.store.batch import BatchRunner, Job, unavailable
from ainf.store.loop import LoopYield, YieldedEngine
from ainf.store.transaction import Engine, Transaction

T = TypeVar("T")

# Bounds how long the first caller of a batch waits for the last; far beyond where grouping stops paying.
MAX_BATCH: Final = 256


class Writer(ABC):
    """Takes operations from the event loop and gives back what they returned once that is durable."""

    def __init__(self, *, wait_s: float, on_fatal: Callable[[BaseException], None]) -> None:
        self._wait_s = wait_s
        self._on_fatal = on_fatal
        self._owed: list[Job[Any]] = []
        self._waits: set[trio.CancelScope] = set()
        self.fatal: BaseException | None = None
        """What ended the writer, once something has."""

    async def submit(
        self,
        operation: Callable[[Transaction], T],
        *,
        undo: Callable[[Transaction, T], object] | None = None,
        unattended: bool = False,
    ) -> T:
        """Run an operation and return its result when it is durable.

        Under cancellation: cancelled before it is queued, or not at all; then it is awaited, for ``wait_s`` at most.

        Args:
            operation: what to run.
            undo: takes a committed result back (in a later batch) when the wait ran out after the operation began.
            unattended: whether to run it even though the wait ran out before it began; without, it is skipped then.

        Raises:
            AinfError: the operation refused; nothing was written.
            GatewayError: ``store_unavailable``: the wait ran out, or the store cannot be written.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        job = Job(operation, undo, unattended)
        self._enqueue(job)
        return await self._outcome(job)

    async def submit_all(self, operations: Iterable[Callable[[Transaction], T]]) -> list[T]:
        """Run operations, each on its own account, and return their results in the same order.

        Under cancellation: cancelled before they are queued, or not at all. All of them are run, even when one raises.

        Raises:
            Exception: see ``submit``; the first that any of them raised.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        jobs = [Job(operation, unattended=True) for operation in operations]
        for job in jobs:
            self._enqueue(job)
        return [await self._outcome(job) for job in jobs]

    def submit_nowait(
        self, operation: Callable[[Transaction], T], on_done: Callable[[Job[T]], None] | None = None
    ) -> None:
        """Queue an operation that nobody waits for; ``on_done`` is called on the event loop with its outcome.

        Raises:
            GatewayError: ``store_unavailable``: the writer has ended.
        """
        self._enqueue(Job(operation, unattended=True, on_done=on_done))

    def hurry(self, wait_s: float) -> None:
        """Let nobody wait longer than this any more, also not those who wait already: the process is to end."""
        self._wait_s = min(self._wait_s, wait_s)
        latest = trio.current_time() + wait_s
        for scope in self._waits:
            scope.deadline = min(scope.deadline, latest)

    @abstractmethod
    async def aclose(self) -> None:
        """Commit what is queued, within ``wait_s``, and close the connection. Nothing may be submitted any more."""

    @abstractmethod
    def _put(self, job: Job[Any]) -> None:
        """Queue a job."""

    async def _wait(self, job: Job[Any]) -> None:
        """Wait until a job is done; cancelled when the wait ran out."""

        def abort(_: object) -> trio.lowlevel.Abort:
            job.waiter = None
            return trio.lowlevel.Abort.SUCCEEDED

        job.waiter = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)

    async def _outcome(self, job: Job[T]) -> T:
        if not job.done:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + self._wait_s) as scope:
                self._waits.add(scope)
                try:
                    await self._wait(job)
                finally:
                    self._waits.discard(scope)
        if not job.done:
            job.given_up = True
            raise unavailable()
        return job.outcome()

    def _enqueue(self, job: Job[Any]) -> None:
        if self.fatal is not None:
            raise unavailable()
        owed, self._owed = self._owed, []
        for debt in owed:
            self._put(debt)
        self._put(job)

    def _deliver(self, jobs: Sequence[Job[Any]]) -> None:
        """Hand out the outcomes of a batch (on the event loop)."""
        for job in jobs:
            job.done = True
            if job.waiter is not None:
                waiter, job.waiter = job.waiter, None
                trio.lowlevel.reschedule(waiter)
            elif job.given_up and job.undo is not None and job.ran and job.error is None:
                self.owe(partial(_undo, job.undo, job.result))
            if job.on_done is not None:
                job.on_done(job)

    def owe(self, operation: Callable[[Transaction], object]) -> None:
        """Queue what must be done some time, again and again until the store takes it (or this process ends)."""

        def done(job: Job[object]) -> None:
            if isinstance(job.error, GatewayError) and not job.ran:
                self._owed.append(Job(operation, unattended=True, on_done=done))

        job = Job(operation, unattended=True, on_done=done)
        if self.fatal is None:
            self._put(job)

    def _die(self, error: BaseException, jobs: Sequence[Job[Any]]) -> None:
        self.fatal = error
        for job in jobs:
            job.result, job.ran, job.error = None, False, unavailable()
        self._deliver(jobs)
        self._on_fatal(error)


def _undo(undo: Callable[[Transaction, T], object], result: T, tx: Transaction) -> None:
    undo(tx, result)


class InlineWriter(Writer):
    """Runs each batch on the event loop: whoever wakes first runs what all have queued.

    ``turn`` is awaited between queueing and running; a slower one than the default's single checkpoint makes a slow
    store. It runs shielded, within ``wait_s``. ``begin``: see ``BatchRunner``.
    """

    def __init__(
        self,
        engine: Engine,
        tx: Transaction,
        *,
        wait_s: float,
        on_fatal: Callable[[BaseException], None],
        turn: Callable[[], Awaitable[None]] = trio.lowlevel.cancel_shielded_checkpoint,
        begin: Callable[[Transaction], None] | None = None,
    ) -> None:
        super().__init__(wait_s=wait_s, on_fatal=on_fatal)
        self._runner = BatchRunner(engine, tx, begin)
        self._turn = turn
        self._queue: deque[Job[Any]] = deque()

    async def aclose(self) -> None:
        """See ``Writer``."""
        self._run_queued()
        self._runner.close()

    def _put(self, job: Job[Any]) -> None:
        self._queue.append(job)

    async def _wait(self, job: Job[Any]) -> None:
        await self._turn()
        if not job.done:
            self._run_queued()

    def _run_queued(self) -> None:
        batch = list(self._queue)
        self._queue.clear()
        try:
            self._runner.run(batch)
        except Exception as error:  # noqa: BLE001 - the runner raises only what ends the writer
            self._die(error, batch)
        else:
            self._deliver(batch)


class ThreadWriter(Writer):
    """Runs batches in one thread of its own, and keeps the event loop from starving it (see ``LoopYield``)."""

    def __init__(
        self,
        engine: Engine,
        tx: Transaction,
        *,
        wait_s: float,
        on_fatal: Callable[[BaseException], None],
        begin: Callable[[Transaction], None] | None = None,
    ) -> None:
        """Start the thread; must be called on the event loop that will submit. ``begin``: see ``BatchRunner``."""
        super().__init__(wait_s=wait_s, on_fatal=on_fatal)
        self._queue: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._token = trio.lowlevel.current_trio_token()
        self._yield = LoopYield()
        self._runner = BatchRunner(YieldedEngine(engine, self._yield), tx, begin)
        trio.lowlevel.add_instrument(self._yield)
        self._thread = threading.Thread(target=self._run, name="ainf-writer", daemon=True)
        self._thread.start()

    async def aclose(self) -> None:
        """See ``Writer``."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + self._wait_s):
            owed, self._owed = self._owed, []
            for debt in owed:
                self._put(debt)
            self._queue.put(None)
            await trio.to_thread.run_sync(self._thread.join, abandon_on_cancel=True)
        trio.lowlevel.remove_instrument(self._yield)

    def _put(self, job: Job[Any]) -> None:
        self._yield.expect(1)
        self._queue.put(job)

    def _deliver(self, jobs: Sequence[Job[Any]]) -> None:
        self._yield.expect(-len(jobs))
        super()._deliver(jobs)

    # --- the writer's thread ---

    def _run(self) -> None:
        batch: list[Job[Any]] = []
        try:
            while self._take(batch):
                self._runner.run(batch)
                self._token.run_sync_soon(self._deliver, batch)
                batch = []
        except trio.RunFinishedError:
            return
        except BaseException as error:  # noqa: ASYNC103, BLE001 - nothing may end this thread unseen
            self._end(error, batch)
        finally:
            self._runner.close()

    def _take(self, batch: list[Job[Any]]) -> bool:
        """Wait for work, put all there is (up to ``MAX_BATCH``) into the batch; False: the end was asked for."""
        job = self._queue.get()
        while job is not None:
            batch.append(job)
            if len(batch) >= MAX_BATCH or self._queue.empty():
                return True
            job = self._queue.get()
        if batch:
            self._queue.put(None)
        return bool(batch)

    def _end(self, error: BaseException, batch: Sequence[Job[Any]]) -> None:
        try:
            self._token.run_sync_soon(self._die_on_loop, error, batch)
        except trio.RunFinishedError:
            self._on_fatal(error)

    def _die_on_loop(self, error: BaseException, batch: Sequence[Job[Any]]) -> None:
        left = list(batch)
        while not self._queue.empty():
            job = self._queue.get()
            if job is not None:
                left.append(job)
        self._die(error, left)
