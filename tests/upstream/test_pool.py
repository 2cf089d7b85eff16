"""Connections that wait for the next call."""

import pytest

from ainf.upstream.connection import Connection
from ainf.upstream.limits import UpstreamLimits
from ainf.upstream.origin import Origin
from ainf.upstream.pool import Lane, Pool
from tests.upstream.memory import MemoryWire

LIMITS = UpstreamLimits(idle_s=60, connections_per_origin=3)
ORIGIN = Origin("http", "a.test", 80)


@pytest.fixture
def lane():
    return Lane(ORIGIN, LIMITS)


def push(lane: Lane, now: float) -> tuple[Connection, MemoryWire]:
    wire = MemoryWire()
    connection = Connection(wire, LIMITS)
    lane.push(connection, now)
    return connection, wire


async def test_the_one_used_last_is_taken_first(lane):
    """A stack: what is used seldom grows old and goes."""
    first, _ = push(lane, 0)
    second, _ = push(lane, 1)
    assert lane.pop(2) is second
    assert lane.pop(2) is first
    assert lane.pop(2) is None


async def test_old_ones_are_closed_by_the_next_call(lane):
    """Both taking and giving close what was not used for ``idle_s``, and only that."""
    _, old = push(lane, 0)
    push(lane, 30)
    push(lane, 60)
    assert old.closed
    assert lane.idle == 2
    young, _ = push(lane, 61)
    assert lane.pop(120.9) is young
    assert lane.pop(120.9) is None
    assert lane.idle == 0


async def test_old_ones_are_closed_where_no_call_comes():
    """Who looks after a pool closes what was not used for ``idle_s``, of every origin, and only that."""
    pool = Pool(LIMITS)
    lanes = [pool.lane(origin) for origin in (ORIGIN, Origin("http", "b.test", 80))]
    wires = [push(lane, now)[1] for lane in lanes for now in (0, 30)]
    pool.close_old(59.9)
    assert [wire.closed for wire in wires] == [False] * 4
    pool.close_old(60)
    assert [wire.closed for wire in wires] == [True, False] * 2
    assert [lane.idle for lane in lanes] == [1, 1]


@pytest.mark.parametrize("event", ["say", "end", "reset"])
async def test_one_that_is_not_quiet_is_closed_and_the_next_is_taken(lane, event):
    """An end, a reset or junk while nobody asked: that connection serves nobody any more."""
    good, _ = push(lane, 0)
    _, bad = push(lane, 0)
    bad.say(b"HTTP/1.1 200 OK\r\n\r\n") if event == "say" else getattr(bad, event)()
    assert lane.pop(1) is good
    assert bad.closed


async def test_a_closed_pool_keeps_nothing():
    """What waits is closed, what comes back later is closed, in lanes old and new."""
    pool = Pool(LIMITS)
    lane = pool.lane(ORIGIN)
    assert pool.lane(Origin("http", "a.test", 80)) is lane
    _, waiting = push(lane, 0)
    pool.close()
    _, late = push(lane, 1)
    _, elsewhere = push(pool.lane(Origin("https", "a.test", 443)), 1)
    assert waiting.closed
    assert late.closed
    assert elsewhere.closed
