"""Reads beside the writer: one state of the database, nothing written, bounded."""

import threading

import apsw
import pytest
import trio

from ainf.inference.errors import GatewayError
from ainf.store.reader import MAX_READERS, InlineReader, ThreadReader
from ainf.store.sqlite import MEMORY, SQLiteEngine

COUNT = "SELECT count(*) FROM instances"
INSERT = "INSERT INTO instances (kind, started_at) VALUES ('command', 1)"


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / "ainf.db")
    SQLiteEngine.open(path).close()
    return path


@pytest.fixture
def reader(path):
    reader = ThreadReader(lambda: SQLiteEngine.open_reader(path), wait_s=5)
    yield reader
    reader.close()


def commit(path):
    engine = SQLiteEngine.open(path)
    engine.begin()
    engine.execute(INSERT)
    engine.commit()
    engine.close()


async def test_a_read_sees_one_state(reader, path):
    """What is committed during a read is seen by the next one."""

    def twice(tx):
        before = tx.one(COUNT)
        commit(path)
        return before, tx.one(COUNT)

    assert await reader.read(twice) == ((0,), (0,))
    assert await reader.read(lambda tx: tx.one(COUNT)) == (1,)


async def test_a_read_writes_nothing(reader):
    """A writing operation fails, in a file as in memory it leaves nothing."""
    with pytest.raises(GatewayError, match="store_unavailable"):
        await reader.read(lambda tx: tx.execute(INSERT))
    engine = SQLiteEngine.open(MEMORY)
    inline = InlineReader(engine)
    await inline.read(lambda tx: tx.execute(INSERT))
    assert await inline.read(lambda tx: tx.one(COUNT)) == (0,)
    inline.close()
    engine.close()


async def test_readers_are_reused(path):
    """However many reads, no more than ``MAX_READERS`` connections are opened; an error closes none."""
    opened = []

    def connect():
        opened.append(SQLiteEngine.open_reader(path))
        return opened[-1]

    reader = ThreadReader(connect, wait_s=5)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(reader.read, lambda tx: tx.one(COUNT))
    with pytest.raises(ZeroDivisionError):
        await reader.read(lambda _: 1 // 0)
    assert await reader.read(lambda tx: tx.one(COUNT)) == (0,)
    assert len(opened) <= MAX_READERS
    reader.close()


async def test_a_read_that_takes_too_long_is_left_to_itself(path):
    """The caller gets ``store_unavailable``; the thread closes its connection when it comes back to a closed reader."""
    closed, release = threading.Event(), threading.Event()
    engine = SQLiteEngine.open_reader(path)

    class Watched:
        begin, rollback, execute = engine.begin, engine.rollback, engine.execute

        def close(self):
            engine.close()
            closed.set()

    reader = ThreadReader(Watched, wait_s=0.02)
    with pytest.raises(GatewayError, match="store_unavailable"):
        await reader.read(lambda _: release.wait(10))
    reader.close()
    release.set()
    assert await trio.to_thread.run_sync(closed.wait, 10)


async def test_a_database_that_is_away_is_unavailable(tmp_path):
    """A file that cannot be opened is an answer 503, not a defect."""
    reader = ThreadReader(lambda: SQLiteEngine.open_reader(str(tmp_path / "none.db")), wait_s=5)
    with pytest.raises(GatewayError, match="store_unavailable"):
        await reader.read(lambda tx: tx.one(COUNT))
    reader.close()


async def test_a_statement_that_is_wrong_is_a_bug(reader):
    """It is not dressed up as a store that is away."""
    with pytest.raises(apsw.SQLError):
        await reader.read(lambda tx: tx.one("SELECT nothing"))


async def test_a_report_does_not_stand_in_the_way(path):
    """However long reports take, short reads go on; and reports go one at a time, also behind one that was left."""
    running, go_on = [], threading.Event()
    reader = ThreadReader(lambda: SQLiteEngine.open_reader(path), wait_s=0.2)

    def slow(tx):
        running.append(tx)
        go_on.wait(10)
        return tx.one(COUNT)

    async def left():
        with pytest.raises(GatewayError, match="store_unavailable"):
            await reader.report(slow)

    async with trio.open_nursery() as nursery:
        for _ in range(2 * MAX_READERS):
            nursery.start_soon(left)
        assert await reader.read(lambda tx: tx.one(COUNT)) == (0,)
    await left()
    assert len(running) == 1
    go_on.set()
    while reader._reporting.borrowed_tokens:  # noqa: ASYNC110 - a thread's end is no event
        await trio.sleep(0.001)
    assert await reader.report(lambda tx: tx.one(COUNT)) == (0,)
    reader.close()


async def test_a_report_in_memory():
    """It is a read like any other."""
    engine = SQLiteEngine.open(MEMORY)
    reader = InlineReader(engine)
    assert await reader.report(lambda tx: tx.one(COUNT)) == (0,)
    reader.close()
    engine.close()
