"""Schema versions: numbered SQL files, applied in order, each in one transaction.

The version is SQLite's ``PRAGMA user_version``, changed in the same transaction as the schema.
"""

from importlib import resources

import apsw

MIGRATIONS = "migrations"


class SchemaError(Exception):
    """The database's schema is not one that this version of ainf can use; the text says what to do."""


def known_migrations() -> dict[int, str]:
    """Return the SQL of every migration by its number (from 1): the files ``NNNN_name.sql``."""
    folder = resources.files("ainf.store") / MIGRATIONS
    files = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return {int(entry.name.split("_")[0]): entry.read_text("utf-8") for entry in sorted(files, key=lambda e: e.name)}


def migrate(connection: apsw.Connection) -> int:
    """Bring the database to the newest schema; return its version.

    Another process that does the same at the same moment is waited for (the connection's busy timeout) and then seen.

    Raises:
        SchemaError: the database was written by a newer version of ainf.
        apsw.Error: the database cannot be written; whatever was begun is undone.
    """
    migrations = known_migrations()
    newest = max(migrations)
    for number in range(_version(connection, newest) + 1, newest + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _version(connection, newest) < number:
                connection.execute(migrations[number])
                connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    return newest


def _version(connection: apsw.Connection, newest: int) -> int:
    version = int(connection.pragma("user_version"))
    if version > newest:
        raise SchemaError(
            f"the database has schema {version}, this ainf knows up to {newest}: use the ainf that wrote it, or newer"
        )
    return version
