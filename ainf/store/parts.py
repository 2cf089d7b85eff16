"""What a store is made of: a writer and a reader over a database, this process's lease, and the lock on the file."""

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

import apsw
import attrs
import trio

from ainf.store.ballast import Ballast
from ainf.store.epochs import begin_epoch
from ainf.store.leases import LEASE_S, Lease, MachineUptime, OwnUptime, Renewal, Uptime
from ainf.store.migrate import check_schema
from ainf.store.reader import InlineReader, Reader, ThreadReader
from ainf.store.sqlite import MEMORY, LockedError, LockFile, SQLiteEngine, is_full
from ainf.store.transaction import Transaction
from ainf.store.writer import InlineWriter, ThreadWriter, Writer

T = TypeVar("T")

LOCK_WAIT_S: Final = 10.0
"""How long one waits for another that recovers alone what it will share then."""
READER_CACHE_KIB: Final = 256
"""A gateway looks rows up, and hardly the same twice; each of its readers would else keep 2 MiB of what it has read."""
_LOCK_RETRY_S: Final = 0.05


@attrs.frozen
class LeaseTerms:
    """How a process shows that it lives."""

    length_s: float = LEASE_S
    is_shared: bool = False
    """Whether other processes may use the database."""
    uptime: Uptime | None = None
    """Its clock; None: the machine's."""

    def lease(self, kind: str, now: Callable[[], int]) -> Lease:
        """Return a lease on these terms, not begun.

        Raises:
            OSError: others share the database, and the system has no clock that they share as well.
        """
        uptime = self.uptime or (MachineUptime() if self.is_shared else OwnUptime())
        return Lease(uptime, self.length_s, is_shared=self.is_shared, kind=kind, now=now)


@attrs.frozen
class Parts:
    """The parts of one store."""

    writer: Writer
    reader: Reader
    lease: Lease | None = None
    """None: it shows nobody that it lives, and admits as long as the database takes it."""

    async def aclose(self) -> None:
        """Close what was opened, where nothing is made of it."""
        await self.writer.aclose()
        self.reader.close()


@attrs.frozen
class Opener:
    """What the opening of a store needs to know."""

    kind: str
    """"gateway" or "command"."""
    now: Callable[[], int]
    wait_s: float
    on_fatal: Callable[[BaseException], None]
    terms: LeaseTerms | None = None

    def open_memory(self) -> Parts:
        """Open a database in memory, for this process alone."""
        engine = SQLiteEngine.open(MEMORY)
        lease = self._lease()
        tx = self._begin(engine, lease)
        begin = None if lease is None else lease.look
        writer = InlineWriter(engine, tx, wait_s=self.wait_s, on_fatal=self.on_fatal, begin=begin)
        return Parts(writer, InlineReader(engine), lease)

    async def open_sqlite(self, path: str, ballast: Ballast | None = None, lock: LockFile | None = None) -> Parts:
        """Open a database file; where its disk is full, the ballast makes room.

        Raises:
            Exception: see ``Store.open``.
        """
        lease = self._lease()
        make_room = None if ballast is None else ballast.drop
        open_engine = partial(self._open_engine, lease, partial(SQLiteEngine.open, path, make_room, lock))
        try:
            engine, tx = await trio.to_thread.run_sync(open_engine)
        except apsw.Error as error:
            if make_room is None or not is_full(error) or not make_room():
                raise
            engine, tx = await trio.to_thread.run_sync(open_engine)
        # From here on the connection is the writer's.
        begin = None if lease is None else lease.look
        writer = ThreadWriter(engine, tx, wait_s=self.wait_s, on_fatal=self.on_fatal, begin=begin)
        open_reader = partial(SQLiteEngine.open_reader, path, READER_CACHE_KIB)
        return Parts(writer, ThreadReader(open_reader, wait_s=self.wait_s), lease)

    async def take_lock(self, path: str) -> LockFile:
        """Take the lock on a database file.

        Raises:
            LockedError: another gateway has it.
            OSError: its file cannot be made.
        """
        is_shared = self.terms is not None and self.terms.is_shared
        return await soon(partial(LockFile, path, is_shared=is_shared), LOCK_WAIT_S if is_shared else 0)

    def _open_engine(self, lease: Lease | None, open_: Callable[[], SQLiteEngine]) -> tuple[SQLiteEngine, Transaction]:
        engine = open_()
        try:
            return engine, self._begin(engine, lease)
        except BaseException:
            engine.close()
            raise

    def _lease(self) -> Lease | None:
        return None if self.terms is None else self.terms.lease(self.kind, self.now)

    def _begin(self, engine: SQLiteEngine, lease: Lease | None) -> Transaction:
        if lease is None:
            return begin_epoch(engine, self.kind, self.now())
        lessee = lease.lessee()
        tx = begin_epoch(engine, self.kind, self.now(), lessee)
        lease.note(Renewal(tx.epoch, lessee.at, lessee.until))
        return tx


async def let_others_in(lock: LockFile, reader: Reader) -> None:
    """Share a database that is to be shared, and was had alone until now.

    Raises:
        LockedError: another came in between, and has it for itself.
        SchemaError: another came in between, and changed its schema.
        GatewayError: ``store_unavailable``.
    """
    await soon(lock.share, LOCK_WAIT_S)
    # A lock that changes its kind is nobody's for a moment; from here on nobody can be alone any more.
    await reader.read(check_schema)


async def soon(take: Callable[[], T], wait_s: float) -> T:
    """Take a lock, within a time.

    Raises:
        LockedError: another had it all the time.
    """
    latest = trio.current_time() + wait_s
    while True:
        try:
            return take()
        except LockedError:
            if trio.current_time() >= latest:
                raise
        await trio.sleep(_LOCK_RETRY_S)
