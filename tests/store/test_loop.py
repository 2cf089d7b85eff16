"""The event loop's stops for the writer: only while operations are in flight, and only when the loop is busy."""

import pytest

from ainf.store import loop
from ainf.store.loop import NAP_S, TURN_S, LoopYield, YieldedEngine
from ainf.store.sqlite import MEMORY, SQLiteEngine


@pytest.fixture
def stops(monkeypatch):
    """What the loop did before it polled: the seconds of its naps, and of its waits for statements."""
    stops = []
    monkeypatch.setattr(loop.time, "sleep", lambda seconds: stops.append(("nap", seconds)))
    monkeypatch.setattr(loop.threading.Event, "wait", lambda _, timeout: stops.append(("turn", timeout)))
    return stops


def test_an_idle_store_stops_nothing(stops):
    """Without operations in flight the loop runs on."""
    LoopYield().before_io_wait(0)
    assert stops == []


def test_an_idle_loop_needs_no_stop(stops):
    """A loop that is about to sleep gives the interpreter away anyway."""
    waiting = LoopYield()
    waiting.expect(1)
    waiting.before_io_wait(0.5)
    assert stops == []


def test_a_busy_loop_naps_while_the_disk_works(stops):
    """It stops for a moment at each poll until the operations are delivered."""
    waiting = LoopYield()
    waiting.expect(2)
    waiting.before_io_wait(0)
    waiting.expect(-1)
    waiting.before_io_wait(0)
    waiting.expect(-1)
    waiting.before_io_wait(0)
    assert stops == [("nap", NAP_S)] * 2


def test_a_busy_loop_waits_for_statements(stops):
    """From begin to commit or rollback the writer needs the interpreter; waiting for a lock or the disk it does not."""
    waiting = LoopYield()
    engine = YieldedEngine(SQLiteEngine.open(MEMORY), waiting)
    waiting.expect(1)
    engine.begin()
    waiting.before_io_wait(0)
    engine.commit()
    waiting.before_io_wait(0)
    engine.begin()
    engine.rollback()
    waiting.before_io_wait(0)
    engine.close()
    assert stops == [("turn", TURN_S), ("nap", NAP_S), ("nap", NAP_S)]


def test_a_yielded_engine_is_the_engine(stops):
    """It passes everything on."""
    engine = YieldedEngine(SQLiteEngine.open(MEMORY), LoopYield())
    engine.begin()
    before = engine.changes()
    engine.executemany("INSERT INTO instances (kind, started_at) VALUES (?, ?)", [("command", 1), ("command", 2)])
    assert engine.changes() - before == 2
    engine.commit()
    assert engine.execute("SELECT count(*) FROM instances") == [(2,)]
    engine.close()
