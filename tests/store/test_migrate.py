"""Schema versions: applied once, whole or not at all, and never backwards."""

import stat
from pathlib import Path

import apsw
import attrs
import pytest

from ainf.audit import Head
from ainf.inference.usage import Usage
from ainf.store import migrate as module
from ainf.store.migrate import SchemaError, known_migrations, migrate
from ainf.store.receipts import receipt
from ainf.store.sqlite import SQLiteEngine, connect
from ainf.store.store import Store
from ainf.store.transaction import Transaction
from ainf.store.verify import verify
from tests.store.books import START
from tests.store.old import write_schema_1


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


@pytest.fixture
def old(tmp_path):
    """The path of a database with schema 1 and rows."""
    return write_schema_1(tmp_path)


def look(path, sql):
    """Return the rows of a query, and leave no trace."""
    connection = apsw.Connection(f"file:{path}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


SETTLED = "SELECT inference_id, ending, input_tokens, settled_nusd, overrun_nusd, notes FROM settlements"
TOKENS = "SELECT cache_write_tokens, long_cache_write_tokens FROM settlements"


def test_a_database_of_schema_1_is_brought_up_to_date(old):
    """Its rows stay as they were, what they could not say is nought, the ledger is sound, receipts name every token."""
    before = look(old, SETTLED)
    engine = SQLiteEngine.open(old)
    tx = Transaction(engine, Head(0))
    assert verify(tx) == []
    assert tx.execute(SETTLED) == before
    assert tx.execute(TOKENS) == [(0, 0)] * len(before)
    told = receipt(tx, "inf000005")
    usage = Usage(input_tokens=100, cached_input_tokens=40, output_tokens=50, reasoning_tokens=5)
    assert told["usage"] == told["attempts"][0]["usage"] == attrs.asdict(usage)
    assert receipt(tx, "inf000009")["usage"] == attrs.asdict(Usage(input_tokens=12, output_tokens=7))
    engine.close()


async def test_what_an_older_version_left_running_is_recovered(old):
    """Its progress was written without the new tokens; it is settled at that, and the ledger is sound."""
    async with Store.open(f"sqlite:{old}", now=lambda: START + 10**6) as store:
        assert await store.recover(START + 10**6) == ["inf000009"]
        assert (await store.receipt("inf000009"))["settled_nusd"] == 6_000
        assert await store.read(verify) == []


def test_a_copy_is_kept_before_the_schema_changes(old):
    """It is the whole database as it was, with its schema, and no more readable; taken back, it works as before."""
    before = look(old, SETTLED)
    Path(old).chmod(0o600)
    SQLiteEngine.open(old).close()
    copy = Path(f"{old}.before-2.bak")
    assert look(copy, "PRAGMA user_version") == [(1,)]
    assert look(copy, "PRAGMA integrity_check") == [("ok",)]
    assert look(copy, SETTLED) == before
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert look(old, "PRAGMA user_version") == [(2,)]
    copy.replace(old)
    SQLiteEngine.open(old).close()
    assert look(old, SETTLED) == before


def test_a_copy_holds_what_stands_in_the_log(old):
    """What was committed and not yet moved into the database's own file is in the copy too."""
    writer = connect(old)
    writer.execute("UPDATE settlements SET notes = 'in the log'")
    assert look(old, "SELECT DISTINCT notes = 'in the log' FROM settlements") == [(0,)]
    SQLiteEngine.open(old).close()
    writer.close()
    assert look(f"{old}.before-2.bak", "SELECT DISTINCT notes FROM settlements") == [("in the log",)]


def test_nothing_is_copied_without_need(tmp_path):
    """A database that is new, up to date or in memory has nothing to go back to."""
    path = str(tmp_path / "ainf.db")
    for _ in range(2):
        SQLiteEngine.open(path).close()
    SQLiteEngine.open(":memory:").close()
    assert not list(tmp_path.glob("*.bak*"))


def test_one_copy_however_many_steps(old, monkeypatch):
    """What is kept is the state before the first of them, and nothing between."""
    steps = known_migrations() | {3: "CREATE TABLE later (x);"}
    monkeypatch.setattr(module, "known_migrations", lambda: steps)
    SQLiteEngine.open(old).close()
    assert look(old, "PRAGMA user_version") == [(3,)]
    assert [path.name for path in Path(old).parent.glob("*.bak*")] == ["ainf.db.before-2.bak"]


def test_without_a_copy_nothing_changes(old):
    """Where it cannot be made, the database stays as it is, free for others; an unfinished one is no copy."""
    blocked = Path(f"{old}.before-2.bak.unfinished")
    blocked.mkdir()
    with pytest.raises(OSError, match="unfinished"):
        SQLiteEngine.open(old)
    assert look(old, "PRAGMA user_version") == [(1,)]
    blocked.rmdir()
    blocked.write_bytes(b"left by a crash")
    SQLiteEngine.open(old).close()
    assert look(f"{old}.before-2.bak", "PRAGMA user_version") == [(1,)]
    assert not blocked.exists()


class Overtaken:
    """A connection before whose first transaction another process brings the database up to date."""

    def __init__(self, path):
        self._path = path
        self._overtaken = False
        self.inner = connect(path)

    def execute(self, sql):
        if sql == "BEGIN IMMEDIATE" and not self._overtaken:
            self._overtaken = True
            other = connect(self._path)
            migrate(other)
            other.close()
        return self.inner.execute(sql)

    def __getattr__(self, name):
        return getattr(self.inner, name)


def test_two_processes_keep_one_copy(old):
    """Who comes second finds the new schema, and does not write it over the copy of the old one."""
    second = Overtaken(old)
    assert migrate(second) == 2
    second.inner.close()
    assert look(f"{old}.before-2.bak", "PRAGMA user_version") == [(1,)]
