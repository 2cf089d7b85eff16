"""What a command does to a database beside a gateway, or without one: short, and with errors in words.

Reading opens no epoch and writes nothing. Writing is ``Store.open(..., kind="command")``, told of here only in words.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import apsw
import attrs

from ainf.inference.errors import GatewayError
from ainf.store.leases import UptimeError
from ainf.store.migrate import SchemaError, known_migrations
from ainf.store.reader import run_read
from ainf.store.spool_file import SpoolError
from ainf.store.sqlite import LinkedError, LockedError, SQLiteEngine, real_path
from ainf.store.store import Store
from ainf.store.transaction import Transaction

T = TypeVar("T")


OPENING_ERRORS: Final = (SchemaError, LockedError, LinkedError, SpoolError, UptimeError, apsw.Error, OSError)
"""What opening a store may raise where its file, and not this program, is at fault."""


class BooksError(Exception):
    """The database cannot be used; the text says why and what to do."""


@attrs.frozen
class StoreState:
    """What can be told of a database from outside."""

    path: str
    schema: int | None
    """None where there is no database yet."""
    newest_schema: int
    gateway_runs: bool


@contextmanager
def in_words(url: str) -> Iterator[None]:
    """Turn what opening or using a database may raise into a ``BooksError``."""
    try:
        yield
    except OPENING_ERRORS as error:
        raise BooksError(f"The database {path_of(url)} cannot be used: {error}.") from error
    except GatewayError as error:
        cause = error.__cause__ or "it does not answer"
        raise BooksError(f"The database {path_of(url)} cannot be used: {cause}.") from error


def path_of(url: str) -> str:
    """Return the path in a store's URL, as it was written."""
    return url.partition(":")[2]


def file_of(url: str) -> str:
    """Return the path of the file that a store's URL leads to, beside which all that belongs to it stands.

    Raises:
        BooksError: see ``real_path``.
    """
    with in_words(url):
        return real_path(path_of(url))


def read_books(url: str, operation: Callable[[Transaction], T]) -> T:
    """Run a reading operation on one state of the database, for as long as it takes; blocks.

    Raises:
        BooksError: there is no database, it cannot be read, or its schema is not the newest that is known here.
        AinfError: the operation's refusal.
    """

    def checked(tx: Transaction) -> T:
        schema, newest = _known_schema(tx, url)
        if schema < newest:
            raise BooksError(
                f"The database {path_of(url)} has schema {schema}, this ainf reads {newest}: start `ainf serve` with it"
                " once; it brings the database up to date and keeps a copy of what it was."
            )
        return operation(tx)

    return _read(url, checked)


def _read(url: str, operation: Callable[[Transaction], T]) -> T:
    file = file_of(url)
    if not Path(file).exists():
        raise BooksError(f"There is no database {path_of(url)} yet; `ainf accounts create` or `ainf serve` makes it.")
    with in_words(url):
        engine = SQLiteEngine.open_reader(file)
        try:
            return run_read(engine, operation)
        finally:
            engine.close()


async def write_books(url: str, operation: Callable[[Transaction], T], *, now: Callable[[], int]) -> T:
    """Run a writing operation in an epoch of its own, durably, beside a gateway or without one.

    Under cancellation: as ``Store.write``.

    Raises:
        BooksError: the database cannot be written, or not in time.
        AinfError: the operation's refusal.
    """
    with in_words(url):
        async with Store.open(url, now=now, kind="command") as store:
            return await store.write(operation)


def state_of(url: str) -> StoreState:
    """Tell what is known of a database, without changing it; blocks.

    Raises:
        BooksError: the database cannot be read.
    """
    path, file, newest = path_of(url), file_of(url), max(known_migrations())
    if not Path(file).exists():
        return StoreState(path, None, newest, _is_locked(file))
    schema, newest = _read(url, lambda tx: _known_schema(tx, url))
    return StoreState(path, schema, newest, _is_locked(file))


def _known_schema(tx: Transaction, url: str) -> tuple[int, int]:
    """Return the schema of a database and the newest that is known here."""
    schema, newest = int(tx.execute("PRAGMA user_version")[0][0]), max(known_migrations())
    if schema > newest:
        raise BooksError(
            f"The database {path_of(url)} has schema {schema}, this ainf knows up to {newest}: use a newer ainf."
        )
    return schema, newest


def _is_locked(path: str) -> bool:
    try:
        descriptor = os.open(path + ".lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the lock may be shared by several
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
