"""HTTP/1.1 on real sockets: framing, pipelining, keep-alive, refusals."""

import gc
import time

import h11
import pytest
import trio
import trio.lowlevel

from ainf.server.protocol import GuardedProtocol

HELLO = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"


async def refused(bench, raw: bytes, code: str):
    """Send ``raw``; the answer must be JSON with ``code``, and the connection must close."""
    wire = await bench.connect()
    await wire.send(raw)
    answer = await wire.answer()
    assert answer.code == code
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-should-retry"] in {"true", "false"}
    assert answer.headers["x-request-id"] == answer.json["error"]["request_id"]
    assert "date" in answer.headers
    assert await wire.until_closed() == b""
    return answer


async def test_keep_alive(serve):
    """Requests follow each other on one connection, after a JSON answer and after a stream."""
    bench = await serve()
    bench.app.go_on.set()
    wire = await bench.connect()
    for path in ("/hello", "/ticks", "/hello"):
        await wire.get(path)
        answer = await wire.answer()
        assert answer.status == 200
        assert "connection" not in answer.headers
        assert "date" in answer.headers
    assert bench.app.paths == ["/hello", "/ticks", "/hello"]
    assert not bench.errors


@pytest.mark.threat(28)
async def test_pipelining_in_order(serve):
    """Requests that come in one segment, with bodies and an empty line between, are answered in order."""
    bench = await serve()
    post = b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    chunked = (
        b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\nAuthorization: x\r\n\r\n"
    )
    wire = await bench.connect()
    await wire.send(post + b"\r\n" + chunked + HELLO)
    for _ in range(3):
        assert (await wire.answer()).status == 200
    assert bench.app.bodies == [b"abc", b"de", b""]


@pytest.mark.threat(23, "S1")
async def test_a_pipelined_request_is_checked_like_any_other(serve):
    """What stands behind a request is refused by the same rules once its turn comes."""
    bench = await serve()
    wire = await bench.connect()
    await wire.send(HELLO + b"GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx")
    assert (await wire.answer()).status == 200
    assert (await wire.answer()).code == "bad_request"
    assert await wire.until_closed() == b""


async def test_a_head_in_pieces(serve):
    """A head may come byte by byte."""
    bench = await serve()
    wire = await bench.connect()
    for byte in HELLO:
        await wire.send(bytes([byte]))
    assert (await wire.answer()).status == 200


async def test_connection_close_is_obeyed(serve):
    """After ``Connection: close`` the answer says so too, and the connection closes; what came behind is dropped."""
    bench = await serve()
    wire = await bench.connect()
    await wire.send(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + HELLO)
    answer = await wire.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await wire.until_closed() == b""
    assert bench.app.paths == ["/hello"]


async def test_http_1_0(serve):
    """An HTTP/1.0 client gets no chunks, and the end of the stream is the end of the connection."""
    bench = await serve()
    bench.app.go_on.set()
    wire = await bench.connect()
    await wire.send(b"GET /ticks HTTP/1.0\r\n\r\n")
    assert (await wire.until_closed()).endswith(b"\r\n\r\ndata: [DONE]\n\n")


async def test_head_gets_no_body(serve):
    """The answer to HEAD is a head, for a stream as well, and the connection goes on."""
    bench = await serve()
    bench.app.go_on.set()
    wire = await bench.connect()
    await wire.send(b"HEAD /ticks HTTP/1.1\r\nHost: a\r\n\r\n")
    with trio.fail_after(2):
        head = await wire.stream.receive_some()
        assert head.endswith(b"\r\n\r\n")
        await wire.send(HELLO)
        assert b"world" in await wire.stream.receive_some()


async def test_expect_continue(serve):
    """A client that waits for 100 gets it, unless it is refused."""
    bench = await serve()
    wire = await bench.connect()
    await wire.send(b"POST /hello HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    with trio.fail_after(2):
        assert await wire.stream.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
    await wire.send(b"ab")
    assert (await wire.answer()).status == 200
    huge = b"POST /hello HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
    await refused(bench, huge, "request_too_large")


async def test_the_head_and_first_bytes_leave_together(serve):
    """The response's head is held for the first body message, and leaves with it, in one write."""
    bench = await serve()
    wire = await bench.connect()
    await wire.get("/silent")
    with trio.fail_after(2):
        first = await wire.stream.receive_some()
    assert first.startswith(b"HTTP/1.1 200 \r\n")
    assert first.endswith(b"\r\n\r\n12\r\ndata: 0123456789\n\n\r\n")


@pytest.mark.threat(25, "S7")
@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "bad_request"),
        (b"GET /%68ello HTTP/1.1\r\nHost: a\r\n\r\n", "not_found"),
        (b"GET http://a/hello HTTP/1.1\r\nHost: a\r\n\r\n", "not_found"),
        (b"GET /hello HTTP/1.1\r\n\r\n", "bad_request"),
        (b"GET /hello\r\n\r\n", "bad_request"),
        (b"\x16\x03\x01\x02\x00\x01", "bad_request"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", "uri_too_long"),
        (b"GET /hello HTTP/1.1\r\nHost: a\r\nx: " + b"y" * 70000, "headers_too_large"),
        (
            b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
            "unsupported_media_type",
        ),
        (b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n", "bad_request"),
        (b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", "bad_request"),
        (b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 21 + b"\r\n", "bad_request"),
        (
            b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 200000,
            "bad_request",
        ),
        (b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n", "bad_request"),
        (b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: y\n\n", "bad_request"),
        (b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: y\n\r\n", "bad_request"),
    ],
)
async def test_refusals_are_json(serve, raw, code):
    """Whoever finds it (we, h11 at the head, h11 in the body), a malformed request gets JSON and a close."""
    bench = await serve()
    await refused(bench, raw + HELLO, code)
    assert bench.app.bodies in ([], [b""], [b"abc"], [b"abcd"])
    assert not bench.errors


async def test_trailers_in_pieces(serve):
    """Chunks may end with trailers, and come in any reads."""
    bench = await serve()
    wire = await bench.connect()
    request = (
        b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\nz: \r\n\r\n"
    )
    for at in range(len(request)):
        await wire.send(request[at : at + 1])
        await trio.lowlevel.checkpoint()
    assert (await wire.answer()).status == 200
    await wire.send(request + HELLO)
    assert [(await wire.answer()).status for _ in range(2)] == [200, 200]
    assert bench.app.bodies == [b"abc", b"abc", b""]


@pytest.mark.parametrize(
    "raw", [b"HEAD /%68ello HTTP/1.1\r\nHost: a\r\n\r\n", b"HEAD /hello HTTP/1.1\nHost: a\r\n\r\n"]
)
async def test_who_asks_for_a_head_is_refused_without_a_body(serve, raw):
    """A refusal has a body only where the method allows one."""
    bench = await serve()
    wire = await bench.connect()
    await wire.send(raw)
    answer = await wire.until_closed()
    assert answer.startswith(b"HTTP/1.1 4")
    assert answer.endswith(b"connection: close\r\n\r\n")


@pytest.mark.threat(22, "S1")
async def test_nothing_behind_a_refusal_is_read_as_a_request(serve):
    """TE and CL together is refused, and the request hidden behind it never runs."""
    bench = await serve()
    smuggled = (
        b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HELLO
    )
    answer = await refused(bench, smuggled, "bad_request")
    assert answer.json["path"] == "/hello"
    wire = await bench.connect()
    await wire.send(smuggled)
    await trio.sleep(0.02)
    await wire.send(HELLO)
    assert (await wire.answer()).code == "bad_request"
    assert await wire.until_closed() == b""
    assert bench.app.paths == []


@pytest.mark.threat(14)
async def test_body_limit_by_content_length(serve):
    """A body that is announced as too large is refused before it comes; the client can read why while it uploads."""
    bench = await serve(body_bytes=1000)
    wire = await bench.connect()
    await wire.send(b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 200_000)
    assert (await wire.answer()).code == "request_too_large"
    assert bench.app.paths == []


@pytest.mark.threat(14, "S7")
async def test_a_refused_client_may_go_on_sending_for_a_while(serve):
    """After a refusal the rest of an upload is dropped, not reset, so that the client gets to read the answer."""
    bench = await serve(body_bytes=1000, linger_s=0.3)
    wire = await bench.connect()
    await wire.send(b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(5):
        await trio.sleep(0.02)
        await wire.send(HELLO)
    assert (await wire.answer()).code == "request_too_large"
    assert bench.app.paths == []
    await trio.sleep(0.4)
    with pytest.raises(trio.BrokenResourceError):
        await send_forever(wire)


async def send_forever(wire) -> None:
    while True:
        await wire.send(b"x" * 1000)


@pytest.mark.threat(15)
async def test_body_limit_chunked(serve):
    """A chunked body is refused when it crosses the limit; the application sees its client go."""
    bench = await serve(body_bytes=1000)
    chunk = b"1f4\r\n" + b"x" * 500 + b"\r\n"
    raw = b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    await refused(bench, raw + chunk * 3, "request_too_large")
    with trio.fail_after(1):
        await bench.app.gone.wait()
    wire = await bench.connect()
    await wire.send(raw + chunk * 2 + b"0\r\n\r\n")
    assert (await wire.answer()).status == 200


async def longest_turn(turns: list[float]) -> None:
    """Note the processor time that passes between two turns of this task."""
    while True:
        began = time.process_time()
        await trio.lowlevel.checkpoint()
        turns.append(time.process_time() - began)


async def test_tiny_chunks_do_not_hold_up_others(serve):
    """A body of chunks of one byte is parsed in turns with everything else."""
    bench = await serve()
    wire = await bench.connect()
    turns: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(longest_turn, turns)
        head = b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        await wire.send(head + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n")
        assert (await wire.answer()).status == 200
        nursery.cancel_scope.cancel()
    assert bench.app.bodies == [b"x" * 20_000]
    assert max(turns) < 0.04


async def test_an_answer_before_the_body_closes(serve):
    """An application that answers without waiting for the body gets its answer out, and the connection closes."""
    bench = await serve()
    wire = await bench.connect()
    await wire.send(b"POST /deaf HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
    answer = await wire.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await wire.until_closed() == b""


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_open_stream_keeps_nothing_of_what_asked_for_it(serve, chunked):
    """Thousands may be open: a connection lets go of a request's bytes when it has come whole."""
    bench = await serve()
    body, framing = b"a" * 50_000, b"content-length: 50000"
    if chunked:
        body, framing = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body), b"transfer-encoding: chunked"
    known = {id(each) for each in gc.get_objects() if isinstance(each, GuardedProtocol)}
    wire = await bench.connect()
    await wire.send(b"POST /silent HTTP/1.1\r\nhost: a\r\n%s\r\n\r\n%s" % (framing, body))
    while not isinstance(await wire.event(), h11.Data):
        pass
    found = [each for each in gc.get_objects() if isinstance(each, GuardedProtocol) and id(each) not in known]
    assert found
    for protocol in found:
        assert sum(len(each) for each in vars(protocol).values() if isinstance(each, bytes | bytearray)) < 1_000


@pytest.mark.threat(27, "S2")
async def test_upgrades_are_ignored(serve):
    """h2c, websocket and other upgrades are served as plain HTTP: there is no 101."""
    bench = await serve()
    wire = await bench.connect()
    for upgrade in (
        "h2c\r\nHTTP2-Settings: !",
        "websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x",
        "foo",
    ):
        await wire.get("/hello", "Connection: upgrade", f"Upgrade: {upgrade}")
        assert (await wire.answer()).status == 200


@pytest.mark.threat(32)
async def test_client_and_forwarded(serve):
    """X-Forwarded-For counts only when the peer is a trusted proxy."""
    for trusted, expected in (((), "127.0.0.1"), (("127.0.0.0/8",), "203.0.113.7")):
        bench = await serve(trusted=trusted)
        wire = await bench.connect()
        strangers = ("X_Forwarded_For: 6.6.6.6", "Forwarded: for=6.6.6.6")
        await wire.get("/client", "X-Forwarded-For: 6.6.6.6, 203.0.113.7", *strangers)
        assert (await wire.answer()).json == expected
        assert bench.app.scopes[-1]["ainf.connection"].peer == "127.0.0.1"
