"""A writer as the one in a thread, with a task for its thread: deterministic, and it may take its time at each step."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import trio

from ainf.store.batch import BatchRunner, Job
from ainf.store.transaction import Engine, Transaction
from ainf.store.writer import Writer

Turn: TypeAlias = Callable[[str, Sequence[Job[Any]]], Awaitable[object]]


class TaskWriter(Writer):
    """``ThreadWriter`` without a thread; ``run`` must run as long as anything is submitted.

    Args:
        engine: as for ``ThreadWriter``, like all that is not named here.
        tx: as well.
        turn: awaited with what is queued "before" each batch, and with the batch "after" it, when it is durable and
            nobody was told yet.
        begin: see ``BatchRunner``.
        how: the rest.
    """

    def __init__(
        self,
        engine: Engine,
        tx: Transaction,
        *,
        turn: Turn,
        begin: Callable[[Transaction], None] | None = None,
        **how: Any,
    ) -> None:
        super().__init__(**how)
        self._runner = BatchRunner(engine, tx, begin)
        self._turn = turn
        self._queue: deque[Job[Any]] = deque()
        self._arrived = trio.Event()
        self._is_closing = False
        self._ended = trio.Event()

    async def run(self) -> None:
        """Be the thread; cancelled, it ends at once."""
        try:
            while not (self._is_closing and not self._queue):
                await self._arrived.wait()
                self._arrived = trio.Event()
                while self._queue and await self._run_batch():
                    pass
                if self.fatal is not None:
                    return
            self._runner.close()
        finally:
            self._ended.set()

    async def _run_batch(self) -> bool:
        """Run what is queued; return whether the thread lives on."""
        await self._turn("before", self._queue)
        batch = list(self._queue)
        self._queue.clear()
        try:
            self._runner.run(batch)
        except BaseException as error:  # noqa: BLE001 - as in the thread
            self._runner.close()
            self._die(error, [*batch, *self._queue])
            return False
        await self._turn("after", batch)
        self._deliver(batch)
        return True

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + self._wait_s):
            owed, self._owed = self._owed, []
            for debt in owed:
                self._put(debt)
            self._is_closing = True
            self._arrived.set()
            await self._ended.wait()

    def die(self, error: BaseException) -> None:
        """End at once, whatever is queued."""
        self._die(error, list(self._queue))

    def _put(self, job: Job[Any]) -> None:
        self._queue.append(job)
        self._arrived.set()
