"""Schema versions: applied once, whole or not at all, and never backwards."""

import apsw
import pytest

from ainf.store import migrate as module
from ainf.store.migrate import SchemaError, known_migrations, migrate


@pytest.fixture
def connection():
    connection = apsw.Connection(":memory:")
    yield connection
    connection.close()


def tables(connection):
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def test_migrations_are_numbered_without_a_gap():
    """The files are 0001, 0002, ... so that a version names one schema."""
    assert list(known_migrations()) == list(range(1, len(known_migrations()) + 1))


def test_a_fresh_database_gets_the_newest_schema(connection):
    """All migrations run, and running them again changes nothing."""
    newest = max(known_migrations())
    assert migrate(connection) == newest
    assert connection.pragma("user_version") == newest
    assert {"inferences", "holds", "entries", "settlements", "audit_events"} <= tables(connection)
    assert migrate(connection) == newest


def test_an_old_database_gets_what_it_lacks(connection, monkeypatch):
    """Only migrations beyond the database's version run, in order."""
    monkeypatch.setattr(module, "known_migrations", lambda: {1: "CREATE TABLE a (x);"})
    migrate(connection)
    monkeypatch.setattr(
        module,
        "known_migrations",
        lambda: {1: "CREATE TABLE a (x);", 2: "CREATE TABLE b (x);", 3: "ALTER TABLE b RENAME TO c;"},
    )
    assert migrate(connection) == 3
    assert tables(connection) == {"a", "c"}


def test_a_migration_is_whole_or_nothing(connection, monkeypatch):
    """One that fails half-way leaves schema and version as they were before it."""
    monkeypatch.setattr(
        module, "known_migrations", lambda: {1: "CREATE TABLE a (x);", 2: "CREATE TABLE b (x); CREATE TABLE a (x);"}
    )
    with pytest.raises(apsw.SQLError):
        migrate(connection)
    assert tables(connection) == {"a"}
    assert connection.pragma("user_version") == 1
    assert not connection.in_transaction


def test_a_newer_schema_is_refused(connection):
    """The text says which is found, which is known, and what to do; nothing is changed."""
    connection.pragma("user_version", 99)
    with pytest.raises(SchemaError, match=r"schema 99.*knows up to \d+.*newer"):
        migrate(connection)
    assert tables(connection) == set()
