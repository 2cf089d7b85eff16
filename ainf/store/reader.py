"""Reading beside the writer: each read is one transaction that sees one state of the database and writes nothing."""

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import trio

from ainf import audit
from ainf.store.batch import unavailable
from ainf.store.transaction import Engine, Transaction

T = TypeVar("T")

MAX_READERS: Final = 4


class Reader(Protocol):
    """Runs reading operations."""

    async def read(self, operation: Callable[[Transaction], T]) -> T:
        """Run a synchronous operation that only reads, and return its result.

        Under cancellation: nothing is kept; the read may still run to its end, unseen.

        Raises:
            GatewayError: ``store_unavailable``: the database cannot be read, or not in time.
        """
        ...

    async def report(self, operation: Callable[[Transaction], T]) -> T:
        """Run an operation that may read very much, as ``read``; one at a time, so that others do not wait for it."""
        ...

    def close(self) -> None:
        """Close the connections; nothing may be reading."""
        ...


def run_read(engine: Engine, operation: Callable[[Transaction], T]) -> T:
    """Run an operation in a transaction that is undone at its end.

    Raises:
        GatewayError: ``store_unavailable``.
    """
    try:
        engine.begin()
        return operation(Transaction(engine, audit.Head(0)))
    except Exception as error:
        if engine.is_unavailable(error) or engine.is_fatal(error):
            raise unavailable() from error
        raise
    finally:
        engine.rollback()


class InlineReader:
    """Reads on the event loop, through the writer's own connection."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def read(self, operation: Callable[[Transaction], T]) -> T:
        """See ``Reader``."""
        await trio.lowlevel.checkpoint()
        return run_read(self._engine, operation)

    async def report(self, operation: Callable[[Transaction], T]) -> T:
        """See ``Reader``."""
        return await self.read(operation)

    def close(self) -> None:
        """See ``Reader``: the connection is the writer's."""


class ThreadReader:
    """Reads in worker threads, each with a connection of its own while it reads."""

    def __init__(self, connect: Callable[[], Engine], *, wait_s: float) -> None:
        self._connect = connect
        self._wait_s = wait_s
        self._idle: list[Engine] = []
        self._limiter = trio.CapacityLimiter(MAX_READERS)
        self._reporting = trio.CapacityLimiter(1)
        self._closed = False

    async def read(self, operation: Callable[[Transaction], T]) -> T:
        """See ``Reader``; bounded by ``wait_s``."""
        return await self._run(operation, self._limiter)

    async def report(self, operation: Callable[[Transaction], T]) -> T:
        """See ``Reader``; bounded by ``wait_s``. One that was left to itself still counts as running."""
        return await self._run(operation, self._reporting)

    async def _run(self, operation: Callable[[Transaction], T], limiter: trio.CapacityLimiter) -> T:
        with trio.move_on_after(self._wait_s):
            return await trio.to_thread.run_sync(self._read, operation, abandon_on_cancel=True, limiter=limiter)
        raise unavailable()

    def close(self) -> None:
        """See ``Reader``; a read that was left to itself closes its own connection."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _read(self, operation: Callable[[Transaction], T]) -> T:
        engine = self._take()
        try:
            return run_read(engine, operation)
        finally:
            if self._closed:
                engine.close()
            else:
                self._idle.append(engine)

    def _take(self) -> Engine:
        try:
            return self._idle.pop()
        except IndexError:
            pass
        try:
            return self._connect()
        except Exception as error:
            raise unavailable() from error
