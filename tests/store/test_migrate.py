"""Schema versions: applied once, whole or not at all, and never backwards."""

import fcntl
import stat
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import apsw
import attrs
import pytest

from ainf.audit import Head
from ainf.inference.usage import Usage
from ainf.store import migrate as module
from ainf.store import sqlite
from ainf.store.migrate import SchemaError, known_migrations, migrate
from ainf.store.parts import LeaseTerms
from ainf.store.receipts import receipt
from ainf.store.sqlite import LockFile, SQLiteEngine, connect
from ainf.store.store import Store
from ainf.store.transaction import Transaction
from ainf.store.verify import verify
from tests.store.books import START
from tests.store.old import write_schema_1, write_schema_2


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


NEWEST = max(known_migrations())
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


COUNTED = """
    SELECT c.cap_id, c.counts_from, n.settled_nusd, n.held_nusd, (
        SELECT sum(CASE WHEN e.kind IN ('settle', 'overrun', 'adjustment') THEN e.amount_nusd ELSE 0 END)
        FROM entries AS e JOIN inferences AS i ON i.inference_id = e.inference_id
        WHERE instr(i.caps, c.cap_id)
            OR e.seq <= c.counts_from AND (c.subject_id = i.key_id OR instr(i.account_path, c.subject_id))
    ) FROM caps AS c JOIN counters AS n ON n.cap_id = c.cap_id ORDER BY c.cap_id
"""


def test_a_cap_that_was_set_again_counts_from_there(tmp_path):
    """What was spent while it was removed is in its counter, and not by whom the exchanges were admitted under."""
    path = write_schema_2(tmp_path)
    engine = SQLiteEngine.open(path)
    assert engine.execute("PRAGMA foreign_key_check") == []
    assert engine.execute(COUNTED) == [
        ("cap000004", 0, 265_560, 0, 265_560),
        ("cap000006", 8, 265_560, 0, 265_560),
        ("cap000007", 8, 221_300, 0, 221_300),
    ]
    assert engine.execute("SELECT removed_at IS NULL FROM caps ORDER BY cap_id") == [(1,), (1,), (0,)]
    engine.close()


def shared_lock(path, *, lets_in):
    lock = LockFile(path, is_shared=True)
    if lets_in:
        lock.share()
    return lock


@pytest.mark.parametrize(
    "take", [LockFile, partial(shared_lock, lets_in=False), partial(shared_lock, lets_in=True)],
    ids=["alone", "shared, recovering", "shared"],
)  # fmt: skip
def test_what_a_gateway_relies_on_is_not_changed_under_it(old, take):
    """Neither by a command nor by a gateway that shares the database: both are told to stop it first."""
    living = take(old)
    with pytest.raises(SchemaError, match="stop every gateway of it"):
        SQLiteEngine.open(old)
    if not living.is_alone:
        beside = LockFile(old, is_shared=True)
        with pytest.raises(SchemaError, match="stop every gateway of it"):
            SQLiteEngine.open(old, lock=beside)
        beside.release()
    assert look(old, "PRAGMA user_version") == [(1,)]
    assert not Path(f"{old}.before-2.bak").exists()
    living.release()
    SQLiteEngine.open(old).close()
    assert look(old, "PRAGMA user_version") == [(NEWEST,)]


def test_a_gateway_that_is_alone_brings_its_database_up_to_date(old):
    """Whether it is to share it later or not; a command beside it then finds nothing to do."""
    lock = shared_lock(old, lets_in=False)
    engine = SQLiteEngine.open(old, lock=lock)
    SQLiteEngine.open(old).close()
    engine.close()
    lock.release()


@pytest.fixture
def gap(monkeypatch):
    """What happens in the moment in which a lock that is to be shared is nobody's: the list's calls, one for each."""
    calls, flock = [], sqlite.fcntl.flock

    def flock_with_gap(descriptor, kind):
        if kind & fcntl.LOCK_SH and calls:
            flock(descriptor, fcntl.LOCK_UN)
            calls.pop()()
        flock(descriptor, kind)

    monkeypatch.setattr(sqlite.fcntl, "flock", flock_with_gap)
    return calls


@pytest.mark.parametrize("step", [{}, {NEWEST + 1: "CREATE TABLE later (x);"}], ids=["same", "newer"])
async def test_who_comes_while_others_are_let_in(tmp_path, monkeypatch, gap, step):
    """One that changes the schema ends the first one's start, and says what to do; one of the same version is none."""
    path, terms, beside = str(tmp_path / "a.db"), LeaseTerms(is_shared=True), []
    migrations = known_migrations() | step

    def come() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(module, "known_migrations", lambda: migrations)
            beside.append(LockFile(path, is_shared=True))
            assert beside[0].is_alone
            SQLiteEngine.open(path, lock=beside[0]).close()
            beside[0].share()

    changed = pytest.raises(SchemaError, match=rf"schema {NEWEST + 1} .* knows {NEWEST}: use the ainf that did")
    async with Store.open(f"sqlite:{path}", now=lambda: START, terms=terms) as first:
        gap.append(come)
        with changed if step else nullcontext():
            assert await first.recover(START) == []
    (other,) = beside
    other.release()


@pytest.mark.parametrize("set_again", [False, True])
def test_caps_of_schema_1_count_as_they_did(old, set_again):
    """A cap counts from its beginning, or from where it was set again, and refers to nothing that is gone."""
    if set_again:  # as that version did it: under the same id, counting the whole past
        connection = connect(old)
        connection.execute("INSERT INTO cap_limits VALUES ('cap000004', 2, NULL, 1700000000020000)")
        connection.execute("INSERT INTO cap_limits VALUES ('cap000004', 3, 5, 1700000000030000)")
        connection.execute("INSERT INTO cap_limits VALUES ('cap000004', 7, 1000000000, 1700000000040000)")
        connection.close()
    engine = SQLiteEngine.open(old)
    assert engine.execute("PRAGMA foreign_key_check") == []
    assert engine.execute(COUNTED) == [("cap000004", 3 if set_again else 0, 236_030, 110_000, 236_030)]
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
    assert look(old, "PRAGMA user_version") == [(NEWEST,)]
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
    steps = known_migrations() | {NEWEST + 1: "CREATE TABLE later (x);"}
    monkeypatch.setattr(module, "known_migrations", lambda: steps)
    SQLiteEngine.open(old).close()
    assert look(old, "PRAGMA user_version") == [(NEWEST + 1,)]
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
    assert migrate(second) == NEWEST
    second.inner.close()
    assert look(f"{old}.before-2.bak", "PRAGMA user_version") == [(1,)]
