import socket

import pytest
import trio

from ainf.simulator import (
    Close,
    End,
    Reset,
    Script,
    Send,
    Simulator,
    Stall,
    Wait,
    chunk,
    head,
    last_chunk,
    memory_connection,
)
from tests.simulator.client import TappedStream, dechunked, post, request_bytes, take


async def _leave(client, how):
    if how == "reset":
        client.reset()
    elif how == "half-close":
        await client.send_eof()
    else:
        await client.aclose()


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@pytest.mark.parametrize(
    ("model", "stream", "leaves_after_s", "produced"),
    [
        ("sim-tokens-100-pace-1s", True, 5.5, 5),
        ("sim-tokens-100-pace-1s", False, 5.5, 5),
        ("sim-stall-after-3", True, 50.0, 3),
        ("sim-stall-before-head", True, 50.0, 0),
        ("sim-delay-100s", False, 50.0, 0),
        ("sim-tokens-100-pace-1s-bills-on", True, 5.5, 100),
        ("sim-tokens-100-pace-1s-bills-on", False, 5.5, 100),
        ("sim-stall-after-3-bills-on", True, 50.0, 3),
    ],
)
async def test_a_client_that_leaves_is_seen_at_once(how, model, stream, leaves_after_s, produced, autojump_clock):
    """While it paces, stalls or waits, the close is noted at its time; producing stops, or is billed to its end."""
    simulator = Simulator()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        client = simulator.connect(nursery)
        await client.send_all(request_bytes(model, stream=stream))
        await trio.sleep(leaves_after_s)
        await _leave(client, how)
    entry = simulator.books.entries[0]

    assert entry.end is End.CANCELLED
    assert entry.client_closed_at - began == pytest.approx(leaves_after_s)
    assert entry.ended_at == entry.client_closed_at
    assert entry.billed_output_tokens == produced
    assert trio.current_time() - began == pytest.approx(leaves_after_s)


async def test_a_client_that_leaves_a_blocked_write_is_seen(autojump_clock):
    """A client that reads nothing blocks the producer; its close ends the request."""
    simulator = Simulator()
    async with trio.open_nursery() as nursery:
        client = simulator.connect(nursery)
        await client.send_all(request_bytes("sim-endless"))
        await trio.sleep(10)
        so_far = simulator.books.entries[0].output_tokens
        await trio.sleep(10)
        await client.aclose()
    entry = simulator.books.entries[0]

    assert 100 < so_far == entry.output_tokens < 2000
    assert entry.end is End.CANCELLED
    assert entry.client_closed_at == trio.current_time()


async def test_keep_alive_answers_several_requests():
    """Three requests on one connection are answered in turn, and the connection is still open."""
    simulator = Simulator()
    async with trio.open_nursery() as nursery:
        client = simulator.connect(nursery)
        for _ in range(3):
            await client.send_all(request_bytes("sim-tokens-2", close=False))
            raw = b""
            while not raw.endswith(b"0\r\n\r\n"):
                raw += await client.receive_some()
        await client.aclose()

    assert [entry.end for entry in simulator.books.entries] == [End.COMPLETED] * 3
    assert [entry.client_closed_at for entry in simulator.books.entries] == [None] * 3


async def test_pipelined_requests_are_answered_in_order():
    """Two requests in one packet get two answers, in order."""
    simulator = Simulator()
    async with trio.open_nursery() as nursery:
        client = simulator.connect(nursery)
        first = request_bytes("sim-tokens-1", stream=False, close=False)
        await client.send_all(first + request_bytes("sim-tokens-2", stream=False))
        taken = await take(client)

    assert taken.raw.count(b"HTTP/1.1 200 OK") == 2
    assert taken.raw.index(b"chatcmpl-sim-00000001") < taken.raw.index(b"chatcmpl-sim-00000002")


async def test_too_many_pipelined_requests_end_the_connection(autojump_clock):
    """A flood behind a stalled answer is cut, not stored."""
    simulator = Simulator()
    async with trio.open_nursery() as nursery:
        client = simulator.connect(nursery)
        await client.send_all(request_bytes("sim-stall-after-head", close=False) * 100)
        taken = await take(client)

    assert taken.end == "eof"
    assert len(simulator.books.entries) <= 17


async def test_bytes_that_are_no_request_get_400():
    """Garbage in gets 400 and a close; it is no entry in the books."""
    simulator = Simulator()
    async with trio.open_nursery() as nursery:
        client = simulator.connect(nursery)
        await client.send_all(b"\x16\x03\x01 hello\r\n\r\n")
        taken = await take(client)

    assert (taken.status, taken.end) == (400, "eof")
    assert not simulator.books.entries


async def test_a_script_is_played_to_the_letter(autojump_clock):
    """The bytes, waits and ends of a script come as written, one list a request, then the model's name decides."""
    simulator = Simulator(
        script=Script(
            [head(), chunk(b"data: {}\n\n", tokens=3), Wait(5.0), Send(b"odd"), Reset()],
            [head(201, {"content-length": "2"}), Close()],
            [Send(b"HTT"), Stall()],
            [head(), chunk(b"x"), last_chunk()],
        )
    )
    ends = []
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            client = simulator.connect(nursery)
            await client.send_all(request_bytes("sim-tokens-1"))
            ends.append(await take(client, patience_s=50))
            await client.aclose()

    entries = simulator.books.entries
    assert [taken.end for taken in ends] == ["reset", "eof", "silence", "eof", "eof"]
    assert entries[0].ended_at - entries[0].received_at == pytest.approx(5.0)
    assert entries[0].billed_output_tokens == 3
    assert ends[1].raw == b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n"
    assert ends[2].raw == b"HTT"
    assert dechunked(ends[3].rest) == (b"x", True)
    assert len(ends[4].text) == 4


async def test_a_pace_does_not_drift(autojump_clock):
    """Time lost in a write is made up for: ten waits of a second with writes of half a second take ten seconds."""
    script = [head(), *[step for _ in range(10) for step in (Wait(1.0), chunk(b"x"))], last_chunk()]
    simulator = Simulator(script=Script(script))
    client, server = memory_connection()

    async def lose_time(_data):
        await trio.sleep(0.5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(simulator.serve_connection, TappedStream(server, lose_time))
        await client.send_all(request_bytes())
        await take(client)
    entry = simulator.books.entries[0]

    assert entry.end is End.COMPLETED
    assert entry.ended_at - entry.received_at == pytest.approx(11.0)


async def test_the_books_take_the_first_final_status(autojump_clock):
    """An interim head is no answer, and a second head changes nothing."""
    simulator = Simulator(script=Script([head(103), Wait(1.0), head(200), Wait(1.0), head(500), Close()]))
    async with trio.open_nursery() as nursery:
        client = simulator.connect(nursery)
        await client.send_all(request_bytes())
        await take(client)
    entry = simulator.books.entries[0]

    assert entry.status == 200
    assert entry.head_sent_at - entry.received_at == pytest.approx(1.0)


async def test_a_stopped_simulator_enters_aborted():
    """What runs when the simulator is stopped is entered as aborted."""
    simulator = Simulator()
    async with trio.open_nursery() as nursery:
        client = simulator.connect(nursery)
        await client.send_all(request_bytes("sim-stall-after-head"))
        await client.receive_some()
        nursery.cancel_scope.cancel()

    assert simulator.books.entries[0].end is End.ABORTED


async def test_a_reset_on_a_socket_is_a_reset():
    """On loopback the client of a reset gets RST, not the end of a stream."""
    async with trio.open_nursery() as nursery:
        simulator = Simulator()
        await nursery.start(simulator.serve)
        port = int(simulator.base_url.split(":")[2].partition("/")[0])
        for model, end in [("sim-reset-after-3", "reset"), ("sim-reset-before-head", "reset"), ("sim", "eof")]:
            client = await trio.open_tcp_stream("127.0.0.1", port)
            await client.send_all(request_bytes(model))
            assert (await take(client)).end == end
            await client.aclose()
        nursery.cancel_scope.cancel()


async def test_a_client_that_leaves_a_socket_is_seen_at_once():
    """On loopback a close and a reset are noted within 50 ms, while pacing and while stalled."""
    async with trio.open_nursery() as nursery:
        simulator = Simulator()
        await nursery.start(simulator.serve)
        port = int(simulator.base_url.split(":")[2].partition("/")[0])
        for model in ("sim-tokens-500-pace-20ms", "sim-stall-after-3"):
            for linger in (None, b"\1\0\0\0\0\0\0\0"):
                client = await trio.open_tcp_stream("127.0.0.1", port)
                if linger:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                await client.send_all(request_bytes(model))
                await client.receive_some()
                await client.aclose()
                closed_at = trio.current_time()
                entry = simulator.books.entries[-1]
                with trio.fail_after(5):
                    while entry.end is None:  # noqa: ASYNC110 - the books are no event, and this is the real clock
                        await trio.sleep(0.001)
                assert entry.end is End.CANCELLED
                assert entry.client_closed_at - closed_at < 0.05
        nursery.cancel_scope.cancel()


async def test_a_slow_reader_on_a_socket_gets_every_byte():
    """What a full socket cannot take at once is sent later, and counted exactly."""
    async with trio.open_nursery() as nursery:
        simulator = Simulator(keep_bytes=True)
        await nursery.start(simulator.serve)
        port = int(simulator.base_url.split(":")[2].partition("/")[0])
        client = await trio.open_tcp_stream("127.0.0.1", port)
        await client.send_all(request_bytes("sim-tokens-60000-per-frame-20-burst"))
        await trio.sleep(0.05)
        taken = await take(client)
        await client.aclose()
        nursery.cancel_scope.cancel()

    assert taken.whole
    assert taken.raw == bytes(simulator.books.entries[0].written)


async def test_http_1_0_closes():
    """A request of HTTP/1.0 is answered and the connection closed."""
    simulator = Simulator()
    async with trio.open_nursery() as nursery:
        client = simulator.connect(nursery)
        await client.send_all(b"GET /v1/models HTTP/1.0\r\n\r\n")
        taken = await take(client)

    assert (taken.status, taken.end, taken.whole) == (200, "eof", True)


async def test_a_request_in_single_bytes():
    """A request that trickles in is a request."""
    simulator = Simulator()
    async with trio.open_nursery() as nursery:
        client = simulator.connect(nursery)
        for byte in post(b'{"model": "sim", "messages": [{"role": "user", "content": "x"}]}'):
            await client.send_all(bytes([byte]))
        taken = await take(client)

    assert taken.status == 200
