"""Schema versions: numbered SQL files, applied in order, each in one transaction.

The version is SQLite's ``PRAGMA user_version``, changed in the same transaction as the schema. Before the schema of a
file that is in use is changed, a copy of it is kept beside it: the way back to the version of ainf that wrote it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from importlib import resources
from pathlib import Path

import apsw

from ainf.store.transaction import Transaction

MIGRATIONS = "migrations"


class SchemaError(Exception):
    """The database's schema is not one that this version of ainf can use; the text says what to do."""


def known_migrations() -> dict[int, str]:
    """Return the SQL of every migration by its number (from 1): the files ``NNNN_name.sql``."""
    folder = resources.files("ainf.store") / MIGRATIONS
    files = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return {int(entry.name.split("_")[0]): entry.read_text("utf-8") for entry in sorted(files, key=lambda e: e.name)}


def migrate(connection: apsw.Connection, alone: Callable[[], AbstractContextManager[object]] = nullcontext) -> int:
    """Bring the database to the newest schema; return its version.

    Another process that does the same at the same moment is waited for (the connection's busy timeout) and then seen.
    A database that has a schema already is first copied to ``<database>.before-<number>.bak``.

    Args:
        connection: to the database.
        alone: entered while a schema that is in use is changed; raises where another process relies on it.

    Raises:
        SchemaError: the database was written by a newer version of ainf.
        apsw.Error: the database or its copy cannot be written; whatever was begun is undone.
        OSError: the copy cannot be made; nothing was changed.
    """
    migrations = known_migrations()
    newest = max(migrations)
    found = _version(connection, newest)
    with ExitStack() as stack, _unchecked_references(connection):
        for number in range(found + 1, newest + 1):
            connection.execute("BEGIN IMMEDIATE")
            try:
                if _version(connection, newest) < number:
                    if number == found + 1 and found and connection.filename:
                        stack.enter_context(alone())
                        _keep_copy(Path(connection.filename), number)
                    connection.execute(migrations[number])
                    assert not connection.execute("PRAGMA foreign_key_check").fetchall(), number
                    connection.execute(f"PRAGMA user_version = {number}")
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
    return newest


def check_schema(tx: Transaction) -> None:
    """Check that the schema still is what ``migrate`` made it (an operation).

    Raises:
        SchemaError: it is another one.
    """
    found, known = tx.execute("PRAGMA user_version")[0][0], max(known_migrations())
    if found != known:
        raise SchemaError(
            f"another ainf gave the database schema {found} while this one began, and this one knows {known}: use the"
            " ainf that did"
        )


@contextmanager
def _unchecked_references(connection: apsw.Connection) -> Iterator[None]:
    """Let a table be made anew under its old name: SQLite would count its dropping as a deletion of all its rows."""
    was_on = connection.pragma("foreign_keys")
    connection.pragma("foreign_keys", "OFF")
    try:
        yield
    finally:
        connection.pragma("foreign_keys", was_on)


def _version(connection: apsw.Connection, newest: int) -> int:
    version = int(connection.pragma("user_version"))
    if version > newest:
        raise SchemaError(
            f"the database has schema {version}, this ainf knows up to {newest}: use the ainf that wrote it, or newer"
        )
    return version


def _keep_copy(path: Path, number: int) -> None:
    """Copy a database to ``<database>.before-<number>.bak``, whole and durable or not at all.

    The caller holds its writing lock, so the copy is what the migration begins with. It is read through a connection of
    its own, since SQLite refuses one that is in a writing transaction, and is as readable as the database, not more.
    """
    copy = path.with_name(f"{path.name}.before-{number}.bak")
    unfinished = copy.with_name(f"{copy.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=path.stat().st_mode & 0o777)
    source = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    target = apsw.Connection(str(unfinished))
    try:
        with target.backup("main", source, "main") as backup:
            backup.step()
    finally:
        target.close()
        source.close()
    unfinished.replace(copy)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
