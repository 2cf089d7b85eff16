"""The transport under an unmodified httpx client."""

import httpx
import pytest
import trio
import trio.testing

from ainf.upstream.client import UpstreamClient
from ainf.upstream.transport import UpstreamTransport
from tests.upstream.loopback import read_request, serving
from tests.upstream.memory import CHUNKED, END, LIMITS, OK, MemoryNetwork, chunk


def make_httpx(client: UpstreamClient | None = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=UpstreamTransport(client or UpstreamClient(limits=LIMITS)), trust_env=False)


async def test_httpx_posts_streams_and_reuses():
    """JSON out, a stream in, one connection for both calls; httpx's own framing headers are not sent twice."""
    requests, connections = [], 0

    async def provide(stream):
        nonlocal connections
        connections += 1
        while True:
            requests.append(await read_request(stream))
            await stream.send_all(CHUNKED + chunk(b"data: one\n\n"))
            await stream.send_all(chunk(b"data: two\n\n") + END)

    async with serving(provide) as port, make_httpx() as client:
        for _ in range(2):
            async with client.stream("POST", f"http://127.0.0.1:{port}/v1/x?y=1", json={"a": 1}) as response:
                assert response.status_code == 200
                assert response.headers["content-type"] == "text/event-stream"
                assert b"".join([data async for data in response.aiter_raw()]) == b"data: one\n\ndata: two\n\n"
        assert connections == 1
    head = requests[0].lower()
    assert head.startswith(b"post /v1/x?y=1 http/1.1\r\n")
    for name in (b"host", b"content-length", b"accept-encoding"):
        assert head.count(b"\r\n" + name + b":") == 1
    assert b"accept-encoding: identity\r\n" in head
    assert head.endswith(b'{"a":1}')


async def test_leaving_a_stream_closes_its_connection():
    """The end of the block is the end of the wire."""
    ended = trio.Event()

    async def stall(stream):
        await read_request(stream)
        await stream.send_all(CHUNKED + chunk(b"x"))
        await stream.receive_some()
        ended.set()

    async with serving(stall) as port, make_httpx() as client:
        async with client.stream("POST", f"http://127.0.0.1:{port}/") as response:
            assert response.status_code == 200
        with trio.fail_after(5):
            await ended.wait()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"garbage", httpx.RemoteProtocolError),
        (b"", httpx.ReadError),
        (OK[:-1], httpx.RemoteProtocolError),
    ],
)
async def test_failures_are_httpx_errors(answer, error):
    """Code that knows httpx gets httpx's classes, with the request on them."""

    async def provide(stream):
        await read_request(stream)
        await stream.send_all(answer)

    async with serving(provide) as port, make_httpx() as client:
        with pytest.raises(error) as caught:
            await client.post(f"http://127.0.0.1:{port}/")
        assert caught.value.request.method == "POST"


async def test_nobody_at_the_address_is_a_connect_error():
    """So is every other failure on the way."""

    async def refuse(_host, _port):
        await trio.lowlevel.checkpoint()
        raise ConnectionRefusedError

    async with make_httpx(UpstreamClient(limits=LIMITS, dialer=refuse)) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("http://provider.test/")


async def test_head_requests_are_refused():
    """Their answers cannot be framed here."""
    network = MemoryNetwork()
    async with make_httpx(UpstreamClient(limits=LIMITS, dialer=network)) as client:
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.head("http://provider.test/")
    assert network.dialled == []


async def test_a_request_that_is_cancelled_closes_its_connection():
    """Whoever does not wait for the head any more is not given an answer: nothing stays open."""
    network = MemoryNetwork()
    async with make_httpx(UpstreamClient(limits=LIMITS, dialer=network)) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.get, "http://provider.test/")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert network.wires[0].closed
