"""SQLite behind the store's engine interface: WAL, every commit synced, one gateway process by a lock file.

A commit that has returned is on the disk (``synchronous=FULL``). Commands open the same database beside a running
gateway, without the lock; their transactions are short, and whoever comes second waits ``BUSY_MS``.
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import apsw

from ainf.store.migrate import SchemaError, migrate
from ainf.store.transaction import Parameters, Row

# 3.7.0 to 3.51.2 may corrupt a database when a WAL file is reset while another connection reads it.
OLDEST_SQLITE: Final = (3, 51, 3)
BUSY_MS: Final = 2000
MEMORY: Final = ":memory:"

_FATAL = (apsw.IOError, apsw.CorruptError, apsw.NotADBError)
# A ``ProtocolError`` is contention, too: many began at once, for some seconds (sqlite.org/rescode.html#protocol).
_UNAVAILABLE = (
    apsw.BusyError, apsw.LockedError, apsw.FullError, apsw.ReadOnlyError, apsw.CantOpenError, apsw.ProtocolError,
)  # fmt: skip


class LockedError(Exception):
    """Another gateway process uses this database; the text names its lock file."""


class LinkedError(Exception):
    """A database's file has several names (hard links); the text says what to do."""


def real_path(path: str) -> str:
    """Return the one path of a database's file, whichever symbolic links lead to it; it need not be there yet.

    What belongs to a database stands beside it, named after it, and SQLite names its own files after this path: it is
    by these names that processes find each other. Under two hard links SQLite itself would keep two logs of one file,
    which ruins it, commands beside a gateway included; no lock helps against that, so it is refused.

    Raises:
        LinkedError: the file has several names.
        OSError: it cannot be looked at.
    """
    found = os.path.realpath(path)
    try:
        status = Path(found).stat()
    except FileNotFoundError:
        return found
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        raise LinkedError(
            f"the database {found} has {status.st_nlink} names (hard links), and what SQLite keeps beside one of them"
            " is missing beside the others, which ruins it: stop whatever uses it, and remove all but one of them"
            f" (`find <folder> -samefile {found}` lists them)"
        )
    return found


def is_full(error: BaseException) -> bool:
    """Whether an error says that there is no room on the disk; SQLite has a word of its own for that of its index."""
    return isinstance(error, apsw.FullError) or getattr(error, "extendedresult", None) == apsw.SQLITE_IOERR_SHMSIZE


def check_version(found: str) -> None:
    """Check that SQLite is new enough.

    Raises:
        RuntimeError: it is not; the text says which version is needed.
    """
    if tuple(int(part) for part in found.split(".")) < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise RuntimeError(f"SQLite {found} can corrupt a database in WAL mode; apsw with SQLite {oldest} is needed")


def connect(path: str, *, read_only: bool = False) -> apsw.Connection:
    """Open a connection with the settings that the store relies on.

    Raises:
        apsw.Error: the file cannot be opened, or is not a database.
    """
    check_version(apsw.sqlite_lib_version())
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    if not read_only and path != MEMORY:
        _make_private(path)
    connection = apsw.Connection(path, flags=flags)
    try:
        configure(connection, read_only=read_only)
    except BaseException:
        connection.close()
        raise
    return connection


def configure(connection: apsw.Connection, *, read_only: bool = False) -> None:
    """Give a connection, to whatever file, the settings that the store relies on.

    Raises:
        apsw.Error: the file is not a database, or cannot be written.
    """
    connection.set_busy_timeout(BUSY_MS)
    # Plans that do not depend on bound values: without this a join is prepared anew for every call (40 us, not 5).
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    if not read_only:
        connection.pragma("journal_mode", "WAL")
        connection.pragma("synchronous", "FULL")
        # A kept answer that is forgotten is overwritten; SQLite would leave it in the file's free pages.
        connection.pragma("secure_delete", "ON")
    connection.pragma("foreign_keys", "ON")


def _make_private(path: str) -> None:
    """Make a database's file, where there is none, readable for its owner alone: it will hold answers, for a while."""
    with contextlib.suppress(OSError):  # it is there, or cannot be made: SQLite says it better
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


class SQLiteEngine:
    """An ``Engine`` over one SQLite connection."""

    __slots__ = ("_begin", "_connection", "_cursor", "_make_room")

    def __init__(
        self, connection: apsw.Connection, *, read_only: bool = False, make_room: Callable[[], bool] | None = None
    ) -> None:
        """Take over a connection; ``make_room`` is called when its disk is full, and tells whether it made any."""
        self._connection = connection
        self._make_room = make_room
        self._cursor = connection.cursor()
        self._begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"

    @classmethod
    def open(
        cls, path: str, make_room: Callable[[], bool] | None = None, lock: "LockFile | None" = None
    ) -> "SQLiteEngine":
        """Open a database for writing (creating it where it is not there) and bring its schema up to date.

        Args:
            path: of the database: its ``real_path``.
            make_room: as for ``SQLiteEngine``.
            lock: on it, where this process has one.

        Raises:
            SchemaError: it was written by a newer version, or another gateway uses it with its old schema.
            apsw.Error, OSError: see ``migrate``.
        """
        connection = connect(path)
        try:
            migrate(connection, partial(_alone, path, lock))
        except BaseException:
            connection.close()
            raise
        return cls(connection, make_room=make_room)

    @classmethod
    def open_reader(cls, path: str, cache_kib: int = 2048) -> "SQLiteEngine":
        """Open a database for reading only, with at most so much of it in memory."""
        connection = connect(path, read_only=True)
        connection.pragma("cache_size", -cache_kib)
        return cls(connection, read_only=True)

    def begin(self) -> None:
        """See ``Engine``: waits up to ``BUSY_MS`` for another process's transaction."""
        self._cursor.execute(self._begin)

    def commit(self) -> None:
        """See ``Engine``."""
        self._cursor.execute("COMMIT")

    def rollback(self) -> None:
        """See ``Engine``."""
        if self._connection.in_transaction:
            self._cursor.execute("ROLLBACK")

    def execute(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """See ``Engine``."""
        return self._cursor.execute(sql, parameters).fetchall()

    def executemany(self, sql: str, rows: Sequence[Parameters]) -> None:
        """See ``Engine``."""
        self._cursor.executemany(sql, rows)

    def changes(self) -> int:
        """See ``Engine``."""
        return self._connection.total_changes()

    def is_unavailable(self, error: BaseException) -> bool:
        """See ``Engine``."""
        return isinstance(error, _UNAVAILABLE) or is_full(error)

    def is_fatal(self, error: BaseException) -> bool:
        """See ``Engine``."""
        return isinstance(error, _FATAL) and not is_full(error)

    def relieve(self, error: BaseException) -> bool:
        """See ``Engine``."""
        return is_full(error) and self._make_room is not None and self._make_room()

    def close(self) -> None:
        """See ``Engine``."""
        self._connection.close()


class LockFile:
    """The mark of the gateway processes of a database: a lock on ``<database>.lock``, gone when the process ends.

    One process has the database for itself, or several share it. Of those that share it, the first one on the spot is
    alone until it calls ``share``: nobody else has the database then, so that every other process is dead.
    """

    def __init__(self, database: str, *, is_shared: bool = False) -> None:
        """Take the lock.

        Args:
            database: the path of the database: its ``real_path``.
            is_shared: whether other processes may have the lock, too, if they share it.

        Raises:
            LockedError: another process has it.
            OSError: the file cannot be made.
        """
        self._database = database
        self._path = Path(database + ".lock")
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.is_alone = self._take(fcntl.LOCK_EX)
        """Whether no other process has the lock."""
        if not self.is_alone and not (is_shared and self._take(fcntl.LOCK_SH)):
            os.close(self._descriptor)
            raise self._held()
        self._is_shared = is_shared

    def share(self) -> None:
        """Let others in, where the database is shared: what is to be done alone is done. Call again where it raises.

        Raises:
            LockedError: another process came in between, and is alone now.
        """
        if not (self._is_shared and self.is_alone):
            return
        if not self._take(fcntl.LOCK_SH):
            raise self._held()
        self.is_alone = False

    def release(self) -> None:
        """Give the lock back; the file stays, since removing it would let two processes lock two files."""
        os.close(self._descriptor)

    def _take(self, kind: int) -> bool:
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _held(self) -> LockedError:
        return LockedError(
            f"another ainf gateway uses {self._database} (it holds {self._path}): stop it, give this one its own"
            " store.url, or set store.shared for both"
        )


@contextlib.contextmanager
def _alone(path: str, lock: LockFile | None) -> Iterator[None]:
    """Have a database alone for as long as a block runs.

    Raises:
        SchemaError: a gateway uses it.
        OSError: its lock file cannot be made.
    """
    with contextlib.ExitStack() as stack:
        if lock is None:
            with contextlib.suppress(LockedError):
                lock = LockFile(path)
                stack.callback(lock.release)
        if lock is None or not lock.is_alone:
            raise SchemaError(
                f"the database {path} has an older schema, and a gateway uses it: stop every gateway of it, so that"
                " this ainf can bring it up to date"
            )
        yield
