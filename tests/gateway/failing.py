"""A database whose calls fail at will, and the processes over it, one after the other, of which any may die.

The store is the real one, over a real database in memory; what fails is the engine beneath it, at its Nth call. The
writer has a task for a thread (``TaskWriter``): it takes its time where it is told to, and whoever waits for it may be
told before, or after.
"""

import errno
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw
import attrs
import trio

from ainf.app import wall_clock
from ainf.store.batch import Job
from ainf.store.epochs import begin_epoch
from ainf.store.reader import InlineReader, run_read
from ainf.store.reserves import Reserves
from ainf.store.spool import InlineDisk, Spool
from ainf.store.spool_file import SpoolFile, left_files
from ainf.store.sqlite import MEMORY, SQLiteEngine
from ainf.store.store import Store
from ainf.store.transaction import Engine, Parameters, Row, Transaction
from tests.store.task_writer import TaskWriter

T = TypeVar("T")

WAIT_S: Final = 1.0
"""The longest that anybody waits for the store."""
CLOSE_S: Final = 2.5
"""How long a settlement is tried: longer than twice."""
WRITES: Final = frozenset({"begin", "statement", "commit"})
"""Where the writer's calls fail."""
READS: Final = frozenset({"read begin", "read"})
"""Where those of readers do."""


class ThreadEndedError(BaseException):
    """What ends a thread whatever it catches."""


@attrs.frozen
class Failure:
    """How a call fails, and which calls do."""

    name: str
    points: frozenset[str]
    """``WRITES``, ``READS``; "before" and "after" are a batch's, as the writer begins it and when it is durable."""
    error: Callable[[], BaseException] = RuntimeError
    lasts: bool = False
    """Whether all further ones fail as well."""
    is_done: bool = False
    """Whether the call does its work first: only the answer is lost."""
    undoes: bool = False
    """Whether the database undoes the transaction by itself."""
    pause_s: float = 0
    """How long a batch is held up."""
    ends_process: bool = False
    """Whether it leaves it unknown what is durable, where it befalls the writer."""
    breaks_spool: bool = False
    """Whether nothing can be written beside the database either, while it is."""
    is_defect: bool = False
    """Whether it is none of the database's, but a bug."""

    @property
    def passes(self) -> bool:
        """Whether the process gets over it: everybody is told an end."""
        return not (self.ends_process or self.is_defect or self.breaks_spool)


def _both(name: str, points: frozenset[str], error: Callable[[], BaseException], **how: Any) -> list[Failure]:
    """A failure that happens once, and one that lasts."""
    return [Failure(name, points, error, **how), Failure(f"{name} for ever", points, error, lasts=True, **how)]


_BEGINS: Final = frozenset({"begin", "read begin"})
_STATEMENTS: Final = frozenset({"statement", "commit"})

FAILURES: Final = (
    *_both("busy", _BEGINS, partial(apsw.BusyError, "database is locked")),
    Failure("locked", _BEGINS | {"read", "commit"}, partial(apsw.LockedError, "database table is locked")),
    Failure("cannot open", _BEGINS | {"commit"}, partial(apsw.CantOpenError, "unable to open database file")),
    *_both("read-only", frozenset({"begin", "commit"}), partial(apsw.ReadOnlyError, "readonly database")),
    *_both("full", _STATEMENTS, partial(apsw.FullError, "database or disk is full")),
    Failure(
        "all disks full",
        _STATEMENTS,
        partial(apsw.FullError, "database or disk is full"),
        lasts=True,
        breaks_spool=True,
    ),
    Failure("full, undone", _STATEMENTS, partial(apsw.FullError, "database or disk is full"), undoes=True),
    Failure("input/output", WRITES | READS, partial(apsw.IOError, "disk I/O error"), ends_process=True),
    Failure("corrupt", READS | {"commit"}, partial(apsw.CorruptError, "malformed"), ends_process=True, undoes=True),
    Failure("answer lost", frozenset({"commit"}), partial(apsw.IOError, "lost"), is_done=True, ends_process=True),
    Failure("late", frozenset({"before"}), pause_s=1.2 * WAIT_S),
    Failure("answered late", frozenset({"after"}), pause_s=1.2 * WAIT_S),
    Failure("stuck", frozenset({"before"}), pause_s=inf),
    Failure("never answered", frozenset({"after"}), pause_s=inf),
    Failure("never answered, no spool", frozenset({"after"}), pause_s=inf, breaks_spool=True),
    Failure("thread dies", WRITES, ThreadEndedError, ends_process=True),
    Failure("no error of the database", frozenset({"begin"}), ends_process=True),
    Failure("defect", _STATEMENTS, is_defect=True),
)


class Fault:
    """What fails, at which call; counts the calls."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        """By point, since it was armed or healed."""
        self.acted_at: list[str] = []
        """The points of the calls that failed."""
        self.running: Sequence[str] = ()
        """The operations that make the calls."""
        self.failed: Counter[str] = Counter()
        """How often one of them failed."""
        self._failure: Failure | None = None
        self._at = 0

    def arm(self, failure: Failure, at: int) -> None:
        """Let the ``at``-th call from now on (counted from 1) fail that a failure is of."""
        self.heal()
        self._failure, self._at = failure, at

    def heal(self) -> None:
        """Let nothing fail any more."""
        self._failure = None
        self.calls, self.acted_at = Counter(), []

    def is_hit(self, point: str) -> Failure | None:
        """Count a call; return how it fails, if it does."""
        self.calls[point] += 1
        failure = self._failure
        if failure is None or point not in failure.points:
            return None
        count = sum(self.calls[each] for each in failure.points)
        if count < self._at or (count > self._at and not failure.lasts):
            return None
        self.acted_at.append(point)
        self.failed.update(self.running)
        return failure

    def through(self, point: str, engine: Engine, call: Callable[[], T]) -> T:
        """Make a call, or fail."""
        failure = self.is_hit(point)
        if failure is None:
            return call()
        if failure.is_done:
            call()
        elif failure.undoes:
            engine.rollback()
        raise failure.error()

    @property
    def breaks_spool(self) -> bool:
        """Whether the spool cannot be written now."""
        return self._failure is not None and self._failure.breaks_spool and bool(self.acted_at)

    @property
    def has_ended_process(self) -> bool:
        """Whether what failed left it unknown what is durable."""
        return self._failure is not None and self._failure.ends_process and not READS.issuperset(self.acted_at)


class FailingEngine:
    """An ``Engine`` over a connection that others go on with when it is closed."""

    def __init__(self, engine: SQLiteEngine, fault: Fault, *, reads: bool = False) -> None:
        self._inner = engine
        self._fault = fault
        self._begin, self._statement = ("read begin", "read") if reads else ("begin", "statement")
        self.close = engine.rollback

    def __getattr__(self, name: str) -> Any:
        """Be the engine beneath, where nothing fails."""
        return getattr(self._inner, name)

    def begin(self) -> None:
        self._fault.through(self._begin, self._inner, self._inner.begin)

    def commit(self) -> None:
        self._fault.through("commit", self._inner, self._inner.commit)

    def execute(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        return self._fault.through(self._statement, self._inner, partial(self._inner.execute, sql, parameters))

    def executemany(self, sql: str, rows: Sequence[Parameters]) -> None:
        self._fault.through(self._statement, self._inner, partial(self._inner.executemany, sql, rows))


def name_of(operation: Any) -> str:
    """The name of an operation; of one that another one is given, its own."""
    while isinstance(operation, partial):
        operation = operation.keywords.get("operation", operation.func)
    return str(operation.__name__)


class NamedReader(InlineReader):
    """Says what it reads."""

    def __init__(self, engine: Engine, fault: Fault):
        super().__init__(engine)
        self._fault = fault

    async def read(self, operation: Callable[[Transaction], T]) -> T:
        await trio.lowlevel.checkpoint()
        self._fault.running = [name_of(operation)]
        return run_read(self._engine, operation)


class FailingSpoolFile(SpoolFile):
    """A spool file that cannot be written while ``fault`` says so."""

    fault: Fault

    def append(self, lines: Sequence[bytes]) -> list[int]:
        if self.fault.breaks_spool:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().append(lines)


class OwnDisk(InlineDisk):
    """The disk as one process sees it: when that has died, it does nothing any more."""

    is_gone = False

    async def run(self, call: Callable[[], T]) -> T:
        if self.is_gone:
            await trio.sleep_forever()
        return await super().run(call)


def _nothing(*_: object) -> None:
    """Do nothing."""


class Machine:
    """A database, and the process over it: its store is that of the process that lives now.

    Attributes:
        store: of the process that lives now.
        fault: what fails.
        death: why this process has ended itself; None while it lives.
        turn_s: how long the disk takes before and after each batch.
        on_death: called when the process ends itself, or is killed.
        on_turn: told "before open_inference" and the like: what is about to be committed, or was.
    """

    store: Store

    def __init__(self, nursery: trio.Nursery, spool: Path):
        self.fault = Fault()
        self.death: BaseException | None = None
        self.turn_s = 0.0
        self.on_death: Callable[[], None] = _nothing
        self.on_turn: Callable[[str], None] = _nothing
        self._nursery = nursery
        self._engine = SQLiteEngine.open(MEMORY)
        self._spools = spool

    def __getattr__(self, name: str) -> Any:
        """Be the store of the process that lives now."""
        return getattr(self.store, name)

    async def start(self) -> None:
        """Begin a process."""
        head = begin_epoch(self._engine, "gateway", wall_clock()).head
        tx = Transaction(FailingEngine(self._engine, self.fault), head)
        self._writer = TaskWriter(tx._engine, tx, turn=self._turn, wait_s=WAIT_S, on_fatal=self._on_fatal)
        reader = NamedReader(FailingEngine(self._engine, self.fault, reads=True), self.fault)
        self._disk = OwnDisk()
        self._file = FailingSpoolFile.create(self._spools)
        self._file.fault = self.fault
        self._spool = Spool(self._spools, self._file, wait_s=WAIT_S, disk=lambda: self._disk)
        self.store = Store(self._writer, reader, now=wall_clock, reserves=Reserves(self._spool, wait_s=WAIT_S))
        self.death = None
        self._life = trio.CancelScope()
        self._nursery.start_soon(self._live, self._writer, self._life)

    async def _live(self, writer: TaskWriter, life: trio.CancelScope) -> None:
        with life:
            await writer.run()

    async def restart(self, *, recovers: bool = True) -> None:
        """End the process, if it is not dead, while what fails still does; then all is well, and the next begins."""
        if self.death is None:
            await self.store.aclose()
        self._life.cancel()
        self.fault.heal()
        self._engine.rollback()
        await self.start()
        if recovers:
            await self.store.recover(wall_clock())
            await self.store.replay_spool()
            assert left_files(self._spools) == [self._file.path], "something waits that nobody will replay"

    def kill(self) -> None:
        """Let the process end at once, as by a signal that it does not see."""
        if self.death is None:
            self._life.cancel()
            self._writer.die(ThreadEndedError())

    def soon(self, operation: Callable[[Transaction], object]) -> None:
        """Let another process write something, as soon as the database is free; never, where it is lost."""
        if self.death is None:
            self._writer.submit_nowait(operation)

    def is_durable(self, inference_id: str) -> bool:
        """Whether the settlement of an exchange is committed, or waits in the spool."""
        return self._spool.holds(inference_id) or bool(
            self._engine.execute("SELECT 1 FROM settlements WHERE inference_id = ?", (inference_id,))
        )

    def held_nusd(self, inference_id: str) -> int | None:
        """What is held for an exchange; None where it is not open."""
        held = self._engine.execute("SELECT held_nusd FROM holds WHERE inference_id = ?", (inference_id,))
        return int(held[0][0]) if held else None

    def billed_nusd(self) -> int:
        """What all exchanges cost that are settled."""
        ((billed,),) = self._engine.execute("SELECT coalesce(sum(settled_nusd + overrun_nusd), 0) FROM settlements")
        return int(billed)

    async def _turn(self, phase: str, jobs: Sequence[Job[Any]]) -> None:
        self.fault.running = [name_of(job.operation) for job in jobs]
        failure = self.fault.is_hit(phase)
        await trio.sleep(self.turn_s if failure is None else failure.pause_s)
        self.fault.running = [name_of(job.operation) for job in jobs]
        for name in self.fault.running:
            self.on_turn(f"{phase} {name}")

    def _on_fatal(self, error: BaseException) -> None:
        self.death = error
        self._disk.is_gone = True
        self._file.close()
        self.on_death()


@asynccontextmanager
async def machine(folder: Path) -> AsyncIterator[Machine]:
    """A machine for as long as a block runs; its spools are in a folder."""
    async with trio.open_nursery() as nursery:
        below = Machine(nursery, folder / "spool")
        await below.start()
        yield below
        below.kill()
        nursery.cancel_scope.cancel()
