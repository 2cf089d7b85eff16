"""HTTP/1.1 on one wire."""

import pytest
import trio

from ainf.inference.errors import UpstreamError
from ainf.upstream.connection import Connection
from tests.upstream.memory import CHUNKED, END, LIMITS, OK, MemoryWire, chunk


@pytest.fixture
def wire():
    return MemoryWire()


@pytest.fixture
def connection(wire):
    return Connection(wire, LIMITS)


async def test_a_transcript_of_two_requests(wire, connection):
    """Request, head, body by the read, end; then the next one on the same wire."""
    await connection.send(b"first")
    wire.say(CHUNKED + chunk(b"a") + chunk(b"b"))
    assert (await connection.receive_head()).status == 200
    assert await connection.receive_body() == b"ab"
    assert not connection.is_reusable
    wire.say(chunk(b"c") + END)
    assert await connection.receive_body() == b"c"
    assert await connection.receive_body() == b""
    assert connection.is_reusable
    await connection.send(b"second")
    assert not connection.is_reusable
    wire.say(OK)
    await connection.receive_head()
    assert await connection.receive_body() == b"ok"
    assert await connection.receive_body() == b""
    assert wire.sent == b"firstsecond"


async def test_an_early_refusal_is_read_although_the_request_broke(wire, connection):
    """A provider that closes before it has read everything still has its say; the connection is spent."""
    wire.say(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
    wire.reset()
    await connection.send(b"large")
    assert (await connection.receive_head()).status == 413
    assert await connection.receive_body() == b""
    assert not connection.is_reusable


@pytest.mark.parametrize(
    ("said", "end", "code"),
    [
        (b"", "end", "upstream_error"),
        (b"", "reset", "upstream_error"),
        (CHUNKED + chunk(b"ok"), "reset", "upstream_truncated"),
        (CHUNKED + chunk(b"ok"), "end", "upstream_truncated"),
        (CHUNKED + chunk(b"ok") + b"zz\r\n", "end", "upstream_protocol"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", "end", "upstream_truncated"),
    ],
)
async def test_what_came_before_a_failure_is_handed_out_first(wire, connection, said, end, code):
    """The body read so far, then the failure with its code, again and again."""
    await connection.send(b"ask")
    wire.say(said)
    getattr(wire, end)()
    if said:
        await connection.receive_head()
        assert await connection.receive_body() == b"ok"
    for _ in range(2):
        with pytest.raises(UpstreamError) as caught:
            await (connection.receive_body() if said else connection.receive_head())
        assert caught.value.code == code
    assert not connection.is_reusable


async def test_a_body_up_to_the_end_of_the_connection(wire, connection):
    """Without a length the end of the bytes is the end of the body, and the connection is spent."""
    await connection.send(b"ask")
    wire.say(b"HTTP/1.1 200 OK\r\n\r\nall")
    wire.end()
    await connection.receive_head()
    assert await connection.receive_body() == b"all"
    assert await connection.receive_body() == b""
    assert not connection.is_reusable


async def test_residue_after_an_abort(wire, connection):
    """What was read and not handed out, then what the wire held, without the framing; once."""
    await connection.send(b"ask")
    wire.say(CHUNKED + chunk(b"read "))
    await connection.receive_head()
    wire.say(chunk(b"held ") + chunk(b"back") + b"5\r\nhal")
    connection.abort()
    connection.abort()
    assert wire.closed
    assert connection.residue() == b"read held backhal"
    assert connection.residue() == b""


async def test_residue_may_begin_with_the_head(wire, connection):
    """An abort before the head was read still finds head and body."""
    await connection.send(b"ask")
    wire.say(CHUNKED + chunk(b"early"))
    connection.abort()
    assert connection.head is not None
    assert connection.head.status == 200
    assert connection.residue() == b"early"


@pytest.mark.parametrize(
    "held", [b"", b"garbage", b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\nzz", CHUNKED[:20]]
)
async def test_there_is_no_residue_without_a_good_head(wire, connection, held):
    """What is no answer has no body, and nothing is raised."""
    await connection.send(b"ask")
    wire.say(held)
    connection.abort()
    assert connection.residue() == b""


async def test_a_stale_connection_is_one_that_nothing_reached(wire, connection):
    """Closed before the request was written, and not a byte of an answer."""
    await connection.send(b"first")
    wire.say(OK)
    await connection.receive_head()
    wire.end()
    await connection.send(b"second")
    with pytest.raises(UpstreamError):
        await connection.receive_head()
    assert connection.was_stale


@pytest.mark.parametrize("case", ["read and closed", "half a head"])
async def test_a_connection_that_the_request_reached_is_not_stale(wire, connection, case):
    """The provider may have acted on it."""
    await connection.send(b"first")
    if case == "half a head":
        wire.say(b"HTTP/1.1 2")
    wire.end()
    with pytest.raises(UpstreamError):
        await connection.receive_head()
    assert not connection.was_stale


async def test_closing_wakes_who_waits(wire, connection):
    """The owner learns that its connection is gone."""
    await connection.send(b"ask")
    async with trio.open_nursery() as nursery:

        async def wait():
            with pytest.raises(trio.ClosedResourceError):
                await connection.receive_head()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        connection.close()
