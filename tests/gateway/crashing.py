"""The gateway's own command with a fault armed: ``python -m tests.gateway.crashing FAULT serve --config ...``.

A fault is a point at which the process ends itself by SIGKILL, the n-th time that it is passed (``settled@3``), or
something of the machine that goes wrong (``clock=FILE``); several are parted by commas. The production code knows
nothing of it: functions of ainf are wrapped before its command runs.
"""

import errno
import inspect
import itertools
import mmap
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from enum import Enum, auto
from functools import wraps
from importlib import import_module
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, Final

import apsw
import attrs

from ainf.store import sqlite


class Strike(Enum):
    """When the process dies, of a function that is passed."""

    CALLED = auto()
    RETURNED = auto()
    UNCOMMITTED = auto()
    """It is an operation of the store: everything is written, and COMMIT comes next."""
    COMMITTED = auto()
    """The COMMIT has returned, and nobody was told yet."""


@attrs.frozen
class Point:
    """A place in the life of an exchange."""

    where: str
    """"module:function" or "module:Class.method", where whoever calls it looks it up."""
    strike: Strike
    behind: str = ""
    """Counted only once this function has returned, which is named in the same way."""
    settings: Mapping[str, Any] = MappingProxyType({})
    """What is set first: "module:name" to its value."""


_LISTENS: Final = "ainf.app:_name_by_bound_port"
_SHUTS_DOWN: Final = "ainf.exchange.inflight:Inflight.shut_down"
_IS_SHUT: Final = "ainf.server.launcher:Server.abort_connections"
_SMALL_BATCHES: Final = MappingProxyType({"ainf.store.store:RECOVERY_BATCH": 3})

POINTS: Final[Mapping[str, Point]] = MappingProxyType({
    # K0: before the opening's COMMIT, or that of what is opened later
    "opening": Point("ainf.store.exchanges:open_inference", Strike.UNCOMMITTED),
    "later-attempt": Point("ainf.store.exchanges:open_attempt", Strike.UNCOMMITTED),
    "extension": Point("ainf.store.exchanges:extend_hold", Strike.UNCOMMITTED),
    # K1: opened, not dialled
    "opened": Point("ainf.store.exchanges:open_inference", Strike.COMMITTED),
    "attempt-opened": Point("ainf.store.exchanges:open_attempt", Strike.COMMITTED),
    "extended": Point("ainf.store.exchanges:extend_hold", Strike.COMMITTED),
    "dialling": Point("ainf.exchange.attempt:Attempt.dial", Strike.CALLED),
    # K2: dialled, no byte of an answer
    "asked": Point("ainf.upstream.connection:Connection.receive_head", Strike.CALLED),
    # K3: the head received
    "head": Point("ainf.exchange.attempt:Attempt._notice_head", Strike.RETURNED),
    # K4: in the middle of the stream
    "first-byte": Point("ainf.exchange.relay:_commit", Strike.RETURNED),
    "handing-over": Point("ainf.exchange.relay:hand_over", Strike.CALLED),
    "handed-over": Point("ainf.exchange.relay:hand_over", Strike.RETURNED),
    "progress": Point("ainf.store.exchanges:record_progress", Strike.UNCOMMITTED),
    "progressed": Point("ainf.store.exchanges:record_progress", Strike.COMMITTED),
    # K5: its evidence seen, and its usage; not settled
    "evidence": Point("ainf.exchange.relay:_read_tail", Strike.CALLED),
    "settling": Point("ainf.exchange.ending:_settle", Strike.CALLED),
    # K6: inside the settling transaction
    "settlement": Point("ainf.store.store:close_inference", Strike.UNCOMMITTED),
    # K7: committed, and whoever waits was not told
    "settled": Point("ainf.store.store:close_inference", Strike.COMMITTED),
    # K8: settled, nothing said
    "speaking": Point("ainf.exchange.ending:_speak", Strike.CALLED),
    # K9: all said, the socket still open
    "spoken": Point("ainf.exchange.ending:_speak", Strike.RETURNED),
    # K10: what a dead process left is being closed
    "recovery": Point("ainf.store.recovery:abandon", Strike.UNCOMMITTED, settings=_SMALL_BATCHES),
    "recovered": Point("ainf.store.recovery:abandon", Strike.COMMITTED, settings=_SMALL_BATCHES),
    # K11: the schema is being changed
    "copying": Point("ainf.store.migrate:_keep_copy", Strike.CALLED),
    "copied": Point("ainf.store.migrate:_keep_copy", Strike.RETURNED),
    # K12: ends wait in the spool, and are replayed by the points of a settlement; their file is removed
    "spooling": Point("ainf.store.spool_file:SpoolFile.append", Strike.CALLED),
    "spooled": Point("ainf.store.spool_file:SpoolFile.append", Strike.RETURNED),
    "spool-removal": Point("ainf.store.spool_file:SpoolFile.remove", Strike.CALLED),
    # K13: while it drains
    "draining": Point("ainf.server.launcher:Server.stop_accepting", Strike.RETURNED),
    "shutting-down": Point(_SHUTS_DOWN, Strike.CALLED),
    "last-settlement": Point("ainf.store.store:close_inference", Strike.UNCOMMITTED, behind=_SHUTS_DOWN),
    "last-settled": Point("ainf.store.store:close_inference", Strike.COMMITTED, behind=_SHUTS_DOWN),
    "last-words": Point("ainf.exchange.ending:_speak", Strike.CALLED, behind=_SHUTS_DOWN),
    "shut-down": Point(_IS_SHUT, Strike.CALLED),
})


def die() -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


class Trap:
    """Counts how often something is passed, behind the first return of some function; says when it is the n-th time."""

    def __init__(self, nth: int, behind: str = "") -> None:
        self._count = itertools.count(1)
        self._nth = nth
        self._counts = not behind
        if behind:
            owner, name = _found(behind)
            setattr(owner, name, _watched(getattr(owner, name), returned=self._begin))

    def _begin(self) -> None:
        self._counts = True

    def springs(self) -> bool:
        """Count, and return whether this is it."""
        return self._counts and next(self._count) == self._nth


def _found(where: str) -> tuple[Any, str]:
    """Return what has an attribute, and its name."""
    module, _, path = where.partition(":")
    *owners, name = path.split(".")
    owner: Any = import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    return owner, name


def arm(point: Point, nth: int) -> None:
    """Wrap the function of a point."""
    trap = Trap(nth, point.behind)
    for where, value in point.settings.items():
        owner, name = _found(where)
        assert hasattr(owner, name), where
        setattr(owner, name, value)
    owner, name = _found(point.where)
    original = getattr(owner, name)
    match point.strike:
        case Strike.CALLED:
            wrapped = _watched(original, called=lambda: trap.springs() and die())
        case Strike.RETURNED:
            wrapped = _watched(original, returned=lambda: trap.springs() and die())
        case Strike.UNCOMMITTED | Strike.COMMITTED as strike:
            commit = _DeadlyCommit(is_late=strike is Strike.COMMITTED)
            wrapped = _watched(original, returned=lambda: commit.arm(trap.springs()))
    setattr(owner, name, wrapped)


def _nothing() -> None:
    """Be no fault."""


def _watched(
    original: Callable[..., Any], called: Callable[[], object] = _nothing, returned: Callable[[], object] = _nothing
) -> Callable[..., Any]:
    """Return a function with something done before each call, and behind each that raised nothing."""
    if inspect.iscoroutinefunction(original):

        @wraps(original)
        async def waits(*args: Any, **kwargs: Any) -> Any:
            called()
            result = await original(*args, **kwargs)
            returned()
            return result

        return waits

    @wraps(original)
    def runs(*args: Any, **kwargs: Any) -> Any:
        called()
        result = original(*args, **kwargs)
        returned()
        return result

    return runs


class _DeadlyCommit:
    """A COMMIT that the process does not survive, once it is armed: it never begins, or nobody hears of it."""

    def __init__(self, *, is_late: bool) -> None:
        self._is_armed = False
        commit = sqlite.SQLiteEngine.commit

        def deadly(engine: sqlite.SQLiteEngine) -> None:
            if self._is_armed and not is_late:
                die()
            commit(engine)
            if self._is_armed:
                die()

        sqlite.SQLiteEngine.commit = deadly

    def arm(self, sprung: bool) -> None:
        """Let the next COMMIT be it, if the trap was sprung."""
        self._is_armed |= sprung


# --- inside SQLite: at its own calls of the file system ---


@attrs.frozen
class FilePoint:
    """A call of the file system."""

    call: str
    kind: int
    """SQLite's flag of the file's kind."""
    behind: str = _LISTENS
    """As of a ``Point``."""


FILES: Final[Mapping[str, FilePoint]] = MappingProxyType({
    # K11: in WAL mode the database itself is written by checkpoints alone
    "checkpoint": FilePoint("xWrite", apsw.SQLITE_OPEN_MAIN_DB),
    "checkpoint-sync": FilePoint("xSync", apsw.SQLITE_OPEN_MAIN_DB),
    "wal": FilePoint("xWrite", apsw.SQLITE_OPEN_WAL),
    "wal-sync": FilePoint("xSync", apsw.SQLITE_OPEN_WAL),
    # ... by the last one when it is closed
    "last-checkpoint": FilePoint("xWrite", apsw.SQLITE_OPEN_MAIN_DB, _IS_SHUT),
    "wal-removal": FilePoint("xDelete", apsw.SQLITE_OPEN_WAL, _IS_SHUT),
    # ... and before anybody is listened to, where the schema is changed or a VACUUM runs
    "first-wal": FilePoint("xWrite", apsw.SQLITE_OPEN_WAL, ""),
    "first-wal-sync": FilePoint("xSync", apsw.SQLITE_OPEN_WAL, ""),
    "first-write": FilePoint("xWrite", apsw.SQLITE_OPEN_MAIN_DB, ""),
})
_CHECKPOINT_PAGES: Final = 40
_FILE_SYSTEM: Final = apsw.vfs_names()[0]


class _DeadlyFile(apsw.VFSFile):
    """A file with a call that the process does not survive."""

    def __init__(self, name: Any, flags: list[int], strike: Callable[[str, int], None]) -> None:
        self._kind, self._strike = flags[0], strike
        super().__init__(_FILE_SYSTEM, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._strike("xWrite", self._kind)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._strike("xSync", self._kind)
        super().xSync(flags)


class _DeadlyFiles(apsw.VFS):
    """The file system as it is, but for one call."""

    def __init__(self, strike: Callable[[str, int], None]) -> None:
        self._strike = strike
        super().__init__("deadly", _FILE_SYSTEM, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> _DeadlyFile:  # noqa: N802 - SQLite's name
        return _DeadlyFile(name, flags, self._strike)

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802 - SQLite's name
        if name.endswith("-wal"):
            self._strike("xDelete", apsw.SQLITE_OPEN_WAL)
        super().xDelete(name, sync)


def arm_file(point: FilePoint, nth: int) -> apsw.VFS:
    """Let a call for a kind of file be deadly, and checkpoints be frequent; return what must be kept meanwhile."""
    trap, connect = Trap(nth, point.behind), sqlite.connect

    def strike(call: str, kind: int) -> None:
        if call == point.call and kind & point.kind and trap.springs():
            die()

    def connected(path: str, *, read_only: bool = False) -> apsw.Connection:
        connection = connect(path, read_only=read_only)
        connection.wal_autocheckpoint(_CHECKPOINT_PAGES)
        return connection

    sqlite.connect = connected
    return _DeadlyFiles(strike)


# --- the machine ---


class SteppedClock:
    """A wall clock that another process steps: microseconds beside the true one, in a file."""

    SIZE: Final = 8

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._offset_us = mmap.mmap(file.fileno(), self.SIZE, access=mmap.ACCESS_READ)

    @classmethod
    def step(cls, path: Path, offset_us: int) -> None:
        """Set the clock of the process that has it from this file."""
        with path.open("r+b" if path.exists() else "wb") as file:
            file.write(offset_us.to_bytes(cls.SIZE, "little", signed=True))

    def install(self) -> None:
        """Be the clock of the gateway."""
        import ainf.app

        now = ainf.app.time.time_ns
        ainf.app.time = SimpleNamespace(
            time_ns=lambda: now() + 1000 * int.from_bytes(self._offset_us[:], "little", signed=True)
        )


class _FailingFile(apsw.VFSFile):
    """A file on a disk that may take no write any more."""

    def __init__(self, name: Any, flags: list[int], take: Callable[[int], None]) -> None:
        self._take = take
        super().__init__(_FILE_SYSTEM, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._take(len(data))
        super().xWrite(data, offset)


class FailingDisk(apsw.VFS):
    """A folder that takes no write while ``<folder>.fails`` is there, but for the room that this file says is left.

    Args:
        folder: see there; removing a file in it gives its room back.
        error: what SQLite makes of the system's answer, which is ``number``.
        number: see there.
    """

    def __init__(self, folder: Path, error: type[apsw.Error], number: int) -> None:
        self._folder, self._error, self._number = folder, error, number
        self._sign = self.sign_of(folder)
        super().__init__("failing", _FILE_SYSTEM, makedefault=True)
        self._replace("pwrite", lambda descriptor, data, _: self._needs(descriptor, len(data)))
        self._replace("posix_fallocate", lambda descriptor, _, size: self._needs(descriptor, size))
        self._replace("unlink", self._gives_back)

    @staticmethod
    def sign_of(folder: Path) -> Path:
        """Return the file that lets writes fail."""
        return folder.with_name(f"{folder.name}.fails")

    def xOpen(self, name: Any, flags: list[int]) -> _FailingFile:  # noqa: N802 - SQLite's name
        return _FailingFile(name, flags, self._take)

    def _replace(self, name: str, before: Callable[..., None]) -> None:
        call = getattr(os, name)

        def replaced(*args: Any) -> Any:
            before(*args)
            return call(*args)

        setattr(os, name, replaced)

    def _take(self, size: int) -> None:
        if self._sign.exists():
            room = int(self._sign.read_text() or 0) - size
            if room < 0:
                raise self._error(os.strerror(self._number))
            self._sign.write_text(str(room))

    def _needs(self, descriptor: int, size: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(self._folder):
            try:
                self._take(size)
            except apsw.Error as error:
                raise OSError(self._number, os.strerror(self._number)) from error

    def _gives_back(self, path: Any) -> None:
        if self._sign.exists() and Path(path).exists():
            self._take(-512 * Path(path).stat().st_blocks)


def limit_files(count: int) -> None:
    """Let this process have so many descriptors."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def divert_log(path: str) -> None:
    """Have everything that is said from SIGUSR1 on go elsewhere."""

    def divert(*_: object) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        os.dup2(descriptor, sys.stderr.fileno())
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)

    signal.signal(signal.SIGUSR1, divert)


_MACHINE: Final[Mapping[str, Callable[[str], object]]] = MappingProxyType({
    "clock": lambda value: SteppedClock(Path(value)).install(),
    "full": lambda value: FailingDisk(Path(value), apsw.FullError, errno.ENOSPC),
    "read-only": lambda value: FailingDisk(Path(value), apsw.IOError, errno.EROFS),
    "files": lambda value: limit_files(int(value)),
    "log": divert_log,
})


def prepare(faults: str) -> list[object]:
    """Arm faults; return what must be kept as long as they are to last."""
    kept: list[object] = []
    for fault in faults.split(","):
        name, _, nth = fault.partition("@")
        kind, is_of_machine, value = fault.partition("=")
        if is_of_machine:
            kept.append(_MACHINE[kind](value))
        elif name in FILES:
            kept.append(arm_file(FILES[name], int(nth)))
        else:
            arm(POINTS[name], int(nth))
    return kept


def vacuum(path: str) -> None:
    """Write a database anew, as an operator may do it beside a gateway."""
    connection = sqlite.connect(path)
    connection.set_busy_timeout(20_000)
    connection.execute("VACUUM")
    connection.close()


def main() -> None:
    """Arm the faults that the first argument names, then be ``ainf`` with the rest; or ``vacuum`` a database."""
    kept = prepare(sys.argv.pop(1))
    try:
        if sys.argv[1] == "vacuum":
            vacuum(sys.argv[2])
        else:
            from ainf.__main__ import main as ainf

            ainf()
    finally:
        del kept


if __name__ == "__main__":
    main()
