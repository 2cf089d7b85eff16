"""An engine that fails, or waits, at the Nth statement or commit: around a real one, which does all the rest."""

import threading
from collections.abc import Sequence
from contextlib import asynccontextmanager

import apsw
import trio

from ainf.store.epochs import begin_epoch
from ainf.store.reader import InlineReader
from ainf.store.sqlite import MEMORY, SQLiteEngine
from ainf.store.store import Store
from ainf.store.transaction import Engine, Parameters, Row, Transaction
from ainf.store.writer import InlineWriter


class FaultyEngine:
    """Counts commits and what begins them (from 1) and raises what is named for them, or for a part of a statement.

    ``gate`` holds up every commit while it is clear.
    """

    def __init__(self, engine: Engine) -> None:
        self.inner = engine
        self.commit_faults: dict[int, Exception] = {}
        self.begin_faults: dict[int, Exception] = {}
        self.statement_faults: dict[str, Exception] = {}
        self.begins = 0
        self.commits = 0
        self.commits_begun = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.changes = engine.changes
        self.is_unavailable = engine.is_unavailable
        self.is_fatal = engine.is_fatal
        self.relieve = engine.relieve
        self.rollback = engine.rollback
        self.close = engine.close

    def begin(self) -> None:
        self.begins += 1
        if error := self.begin_faults.pop(self.begins, None):
            raise error
        self.inner.begin()

    def commit(self) -> None:
        self.commits += 1
        self.commits_begun.release()
        assert self.gate.wait(10)
        if error := self.commit_faults.pop(self.commits, None):
            raise error
        self.inner.commit()

    def execute(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        self._fail(sql)
        return self.inner.execute(sql, parameters)

    def executemany(self, sql: str, rows: Sequence[Parameters]) -> None:
        self._fail(sql)
        self.inner.executemany(sql, rows)

    def _fail(self, sql: str) -> None:
        for part, error in self.statement_faults.items():
            if part in sql:
                raise error


def full() -> apsw.Error:
    return apsw.FullError("database or disk is full")


def broken() -> apsw.Error:
    return apsw.IOError("disk I/O error")


@asynccontextmanager
async def faulty_store(turn=trio.lowlevel.cancel_shielded_checkpoint, wait_s=5.0):
    """A store in memory, deterministic under the mock clock, and its engine.

    ``turn`` is awaited before each batch: a slower one makes a slow store.
    """
    engine = FaultyEngine(SQLiteEngine.open(MEMORY))
    fatal = []
    tx = Transaction(engine, begin_epoch(engine.inner, "gateway", 1).head)
    writer = InlineWriter(engine, tx, wait_s=wait_s, on_fatal=fatal.append, turn=turn)
    store = Store(writer, InlineReader(engine.inner), now=lambda: 1)
    try:
        yield store, engine
    finally:
        await store.aclose()
