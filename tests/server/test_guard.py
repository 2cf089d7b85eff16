"""One connection, contained: what kills hypercorn's server, what a disconnect looks like, and which clock ends what."""

import gc
import socket
import struct

import pytest
import quart_trio
import trio
from quart import request

from ainf.server.guard import GuardedConnection
from ainf.server.protocol import GuardedProtocol

HELLO = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WEBSOCKET = (
    "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
)


def h2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


H2_HEADERS = h2_frame(1, 4, 1, b"\x83\x84\x86\x41\x01a")
KILLERS = {
    "h2 data after our early answer": PREFACE + h2_frame(4, 0, 0, b"") + H2_HEADERS + h2_frame(0, 0, 1, b"x" * 9) * 9,
    "h2 path not ascii": PREFACE + h2_frame(4, 0, 0, b"") + h2_frame(1, 5, 1, b"\x82\x86\x41\x01a\x04\x02/\xff"),
    "h2 method not ascii": PREFACE + h2_frame(4, 0, 0, b"") + h2_frame(1, 5, 1, b"\x02\x02G\xff\x84\x86\x41\x01a"),
    "h2 connect without path": PREFACE + h2_frame(4, 0, 0, b"") + h2_frame(1, 5, 1, b"\x02\x07CONNECT\x41\x01a"),
    "h2 1001 priority frames": PREFACE
    + h2_frame(4, 0, 0, b"")
    + b"".join(h2_frame(2, 0, 2 * n + 1, b"\0\0\0\0\0") for n in range(1001)),
    "h2c upgrade with bad settings": b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: !!!\r\n\r\n",
    "h2c upgrade": b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n" + PREFACE,
    "websocket, then frames": WEBSOCKET.encode()
    + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    + b"\xff" * 64,
    "websocket subprotocol not ascii": WEBSOCKET.encode()
    + b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Protocol: \xff\r\n\r\n",
    "host not ascii": b"GET /hello HTTP/1.1\r\nHost: \xff\r\n\r\n",
    "bad chunk": b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "NUL": b"GET /hello\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "target not ascii": b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "bad absolute form": b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n",
    "connect": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" + b"\0" * 100,
    "noise": bytes(range(256)) * 16,
    "app that fails": b"GET /boom HTTP/1.1\r\nHost: a\r\n\r\n",
    "app that fails late": b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n",
}


def reset(wire) -> None:
    """Close the client's socket with a reset."""
    sock = wire.stream.socket
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# --- containment ---


@pytest.mark.threat(27, "S2")
@pytest.mark.parametrize("attack", KILLERS.values(), ids=KILLERS.keys())
async def test_server_killers_leave_others_alone(serve, attack):
    """Each input that ends a bare hypercorn leaves a running stream on another connection, and the server, unharmed."""
    bench = await serve()
    innocent = await bench.connect()
    await innocent.get("/ticks")
    attacker = await bench.connect()
    await attacker.send(attack)
    with trio.move_on_after(0.1):
        await attacker.until_closed()
    reset(attacker)
    assert (await bench.ask("/hello")).status == 200
    bench.app.go_on.set()
    answer = await innocent.answer()
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert all(type(error) is KeyError for error in bench.errors)


async def test_a_bug_in_the_connection_is_contained_and_reported(serve, monkeypatch):
    """An exception where nobody expects one ends its own connection only, and is told."""
    from ainf.server import edge

    bench = await serve()
    innocent = await bench.connect()
    await innocent.get("/ticks")
    await bench.running()
    with monkeypatch.context() as patch:
        patch.setattr(edge, "check_request", lambda *_: {}["bug"])
        wire = await bench.connect()
        await wire.send(HELLO)
        await wire.until_closed(1)
    with trio.fail_after(1):
        while bench.server.open_connections > 1:  # noqa: ASYNC110 - the server has no event for that, and needs none
            await trio.sleep(0.002)
    assert [type(error) for error in bench.errors] == [KeyError]
    bench.app.go_on.set()
    assert (await innocent.answer()).status == 200


async def test_connections_that_come_and_go(serve):
    """Connections that are reset at once leave nothing behind."""
    bench = await serve()
    for _ in range(20):
        reset(await bench.connect())
    assert (await bench.ask("/hello")).status == 200
    assert not bench.errors


@pytest.mark.parametrize("left", [False, True], ids=["answered", "left"])
async def test_a_connection_is_free_when_it_is_gone(serve, left):
    """Nothing of it waits for the garbage collector, which comes late to what has lived for as long as an answer."""
    bench = await serve()

    def held() -> list[object]:
        return [found for found in gc.get_objects() if isinstance(found, GuardedConnection | GuardedProtocol)]

    gc.collect()
    gc.disable()
    try:
        others = held()
        for _ in range(5):
            wire = await bench.connect()
            await wire.get("/waits_for_the_end" if left else "/hello", "Connection: close")
            await (bench.running() if left else wire.answer())
            await wire.close()
            with trio.fail_after(5):
                while bench.server.open_connections:  # noqa: ASYNC110 - the server has no event for that
                    await trio.sleep(0.002)
        bench.app.scopes.clear()  # the application's own, which name the connection
        await trio.sleep(0.01)
        assert [found for found in held() if not any(found is other for other in others)] == []
    finally:
        gc.enable()


# --- disconnects ---


@pytest.mark.threat(62, "S9")
@pytest.mark.parametrize("leave", ["fin", "rst", "half-close"])
@pytest.mark.parametrize("path", ["/silent", "/wait", "/ticks", "/flood"])
async def test_a_disconnect_is_seen_at_once(serve, path, leave):
    """Before the head, in silence, between frames, behind a stuck write: FIN, reset and half-close are seen."""
    bench = await serve()
    wire = await bench.connect()
    await wire.get(path)
    await bench.running()
    await trio.sleep(0.05)
    if leave == "rst":
        reset(wire)
    elif leave == "fin":
        await wire.close()
    else:
        await wire.stream.send_eof()
    await bench.sees_client_go()


@pytest.mark.parametrize("stray", [b"\r\n", HELLO, b"\0", HELLO * 20])
async def test_a_disconnect_is_seen_behind_stray_bytes(serve, stray):
    """Bytes sent ahead of their turn do not hide the disconnect, and what stands in them never runs."""
    bench = await serve()
    wire = await bench.connect()
    await wire.get("/silent")
    await bench.running()
    await wire.send(stray)
    await trio.sleep(0.03)
    assert bench.app.running == 1
    await wire.close()
    await bench.sees_client_go()
    assert bench.app.paths == ["/silent"]


async def test_a_cut_answer_is_a_reset(serve):
    """A client that half-closed, and still reads, sees that its stream was cut and did not end."""
    bench = await serve()
    wire = await bench.connect()
    await wire.get("/silent")
    await bench.running()
    await wire.stream.send_eof()
    await bench.sees_client_go()
    with pytest.raises(trio.BrokenResourceError):
        await drop_all(wire)


async def test_a_disconnect_in_the_upload(serve):
    """A client that leaves before its body is complete is seen by the application that waits for the body."""
    bench = await serve()
    wire = await bench.connect()
    await wire.send(b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    await bench.running()
    await wire.close()
    await bench.sees_client_go()


async def test_a_disconnect_between_pipelined_requests(serve):
    """A client that leaves just as its first answer ends leaves no request behind that nobody would end."""
    bench = await serve()
    for _ in range(30):
        bench.app.go_on = trio.Event()
        wire = await bench.connect()
        await wire.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\nGET /silent HTTP/1.1\r\nHost: a\r\n\r\n")
        await bench.running()
        bench.app.go_on.set()
        wire.stream.socket.shutdown(socket.SHUT_WR)
        await bench.empties()


async def test_read_ahead_is_bounded(serve):
    """A client that floods behind its running request is cut."""
    bench = await serve(read_ahead_bytes=10_000)
    wire = await bench.connect()
    await wire.get("/silent")
    await bench.running()
    await wire.send(HELLO * 100)
    await trio.sleep(0.03)
    assert bench.app.running == 1
    await wire.send(HELLO * 500)
    await bench.sees_client_go()


# --- clocks ---


@pytest.mark.threat(20, "S8")
async def test_a_stalled_reader_is_gone_after_write_s(serve):
    """A client that takes nothing is cut after the write limit, and the application sees it go."""
    bench = await serve(write_s=0.2)
    wire = await bench.connect()
    began = trio.current_time()
    await wire.get("/flood")
    with trio.fail_after(2):
        await bench.app.gone.wait()
    assert 0.2 <= bench.app.gone_at - began < 1
    await bench.sees_client_go()


async def test_a_slow_reader_is_not_killed(serve):
    """A client that reads slowly, but reads, keeps its stream."""
    bench = await serve(write_s=0.2)
    wire = await bench.connect()
    await wire.get("/flood")
    for _ in range(30):
        await trio.sleep(0.03)
        assert await wire.stream.receive_some(100_000)
    assert not bench.app.gone.is_set()


async def drop_all(wire) -> None:
    while await wire.stream.receive_some():
        pass


async def test_a_writer_that_never_blocks_lets_others_run(serve):
    """A client that reads as fast as it is written to does not starve the rest."""
    bench = await serve()
    wire = await bench.connect()
    await wire.get("/flood")
    with trio.fail_after(2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drop_all, wire)
            for _ in range(5):
                assert (await bench.ask("/hello")).status == 200
            nursery.cancel_scope.cancel()


@pytest.mark.threat(21)
async def test_idle_connections_are_closed(serve):
    """A connection without a request, or between requests, is closed after ``idle_s`` without a word."""
    bench = await serve(idle_s=0.15)
    fresh, used = await bench.connect(), await bench.connect()
    await used.get("/hello")
    await used.answer()
    began = trio.current_time()
    assert await used.until_closed(1) == b""
    assert 0.1 < trio.current_time() - began < 0.9
    assert await fresh.until_closed(1) == b""


async def test_a_stream_outlives_all_clocks(serve):
    """No clock of the request runs while it is answered."""
    bench = await serve(idle_s=0.1, header_s=0.1, body_s=0.1, body_grace_s=0.1)
    wire = await bench.connect()
    await wire.get("/ticks")
    await trio.sleep(0.4)
    bench.app.go_on.set()
    assert (await wire.answer()).status == 200
    assert await wire.until_closed(1) == b""


async def drip(wire, head: bytes, piece: bytes) -> bytes:
    """Send ``head``, then ``piece`` again and again, until the server has said enough; give what it said."""
    await wire.send(head)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip_forever, wire, piece)
        said = await wire.until_closed(2)
        nursery.cancel_scope.cancel()
    return said


async def drip_forever(wire, piece: bytes) -> None:
    while True:
        try:
            await wire.send(piece)
        except trio.BrokenResourceError:
            return
        await trio.sleep(0.02)


UPLOAD = b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"


@pytest.mark.threat(18, 19, "S5")
@pytest.mark.parametrize(
    ("head", "piece", "limits"),
    [
        (b"GET /hello HTTP/1.1\r\nHost: a\r\n", b"x: y\r\n", {"header_s": 0.2}),
        (b"G", b"E", {"header_s": 0.2}),
        (UPLOAD, b"x", {"body_s": 0.2}),
        (UPLOAD, b"", {"body_s": 0.2}),
        (UPLOAD, b"x", {"body_grace_s": 0.2, "body_min_bytes_per_s": 1000}),
    ],
    ids=["slow head", "slow request line", "slow body", "no body", "body below the rate"],
)
async def test_slow_requests(serve, head, piece, limits):
    """A head or body that takes too long, however steadily it comes, is answered 408 and closed."""
    bench = await serve(**limits)
    began = trio.current_time()
    said = await drip(await bench.connect(), head, piece)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"x-should-retry: true" in said
    assert b"request_timeout" in said
    assert 0.2 <= trio.current_time() - began < 1.5
    await bench.empties()


async def test_a_body_above_the_rate(serve):
    """A body that keeps its rate may take longer than the grace."""
    bench = await serve(body_grace_s=0.3, body_min_bytes_per_s=1000)
    wire = await bench.connect()
    await wire.send(UPLOAD.replace(b"100000", b"3000"))
    for _ in range(20):
        await trio.sleep(0.02)
        await wire.send(b"x" * 150)
    assert (await wire.answer()).status == 200


# --- Quart-Trio ---


def quart_app() -> quart_trio.QuartTrio:
    app = quart_trio.QuartTrio("pinned")

    @app.post("/json")
    async def json():
        return {"got": len(await request.get_data())}

    @app.get("/stream")
    async def stream():
        async def body():
            for _ in range(3):
                yield b"data: x\n\n"

        return body(), {"content-type": "text/event-stream"}

    return app


async def test_quart_trio_keeps_connections_in_order(serve):
    """Though Quart-Trio cancels the last send's task, keep-alive goes on, its clock is armed, and close closes."""
    bench = await serve(quart_app(), idle_s=0.2)
    wire = await bench.connect()
    for _ in range(3):
        await wire.send(b"POST /json HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        assert (await wire.answer()).json == {"got": 3}
        await wire.get("/stream")
        assert (await wire.answer()).body == b"data: x\n\n" * 3
    began = trio.current_time()
    assert await wire.until_closed(1) == b""
    assert trio.current_time() - began > 0.1
    closing = await bench.connect()
    await closing.get("/stream", "Connection: close")
    assert (await closing.answer()).headers["connection"] == "close"
    assert await closing.until_closed(0.1) == b""
    assert not bench.errors


async def test_quart_trio_pipelined(serve):
    """The next request starts although the task of the one before it has been cancelled."""
    bench = await serve(quart_app())
    wire = await bench.connect()
    await wire.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n" * 5)
    for _ in range(5):
        assert (await wire.answer()).body == b"data: x\n\n" * 3
