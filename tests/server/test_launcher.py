"""Listening, caps, drain and abort."""

import errno
import socket

import pytest
import trio

from ainf.server.launcher import Server
from tests.server.limits import server_limits


def server_on(*bind: str, app=None) -> Server:
    return Server(
        app,
        bind=bind,
        limits=server_limits(),
        tls=None,
        trusted_proxies=(),
        error_answer=lambda _path, _error: ([], b"{}"),
        on_connection_error=lambda _error: None,
    )


async def read_all(stream) -> None:
    while await stream.receive_some():
        pass


async def refuses(bench) -> bool:
    try:
        await (await bench.connect()).close()
    except OSError:
        return True
    return False


@pytest.mark.parametrize("bind", ["localhost", "127.0.0.1:x", "127.0.0.1:70000", ":"])
def test_binds_that_are_none(bind):
    """A bind without a port, or with a wrong one, is refused at construction."""
    with pytest.raises(ValueError, match="host:port"):
        server_on(bind)


async def test_bound(serve):
    """``bound`` tells the real addresses, also where the system chose the port."""
    bench = await serve()
    host, _, port = bench.server.bound[0].rpartition(":")
    assert host == "127.0.0.1"
    assert int(port) > 0


async def test_an_address_in_use():
    """Where one address cannot be bound, ``run`` raises and none stays bound."""
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        with pytest.raises(OSError, match="in use") as refused:
            await server_on(f"127.0.0.1:{port}", f"127.0.0.1:{taken.getsockname()[1]}").run()
        assert refused.value.errno == errno.EADDRINUSE
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_lifespan():
    """The application starts before the first request and stops after the last connection."""
    told = []

    async def app(scope, receive, send):
        assert scope["type"] == "lifespan"
        for _ in range(2):
            told.append((await receive())["type"])
            await send({"type": told[-1] + ".complete"})

    server = server_on("127.0.0.1:0", app=app)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: server.run(task_status=task_status))
        assert told == ["lifespan.startup"]
        server.stop_accepting()
    assert told == ["lifespan.startup", "lifespan.shutdown"]


@pytest.mark.threat(21, "S5", "S10")
async def test_cap_per_peer(serve):
    """Over its cap an address gets 503 JSON and a close; when one goes, the next is served; proxies are exempt."""
    bench = await serve(connections_per_peer=2)
    first, second = await bench.connect(), await bench.connect()
    for wire in (first, second):
        await wire.get("/hello")
        assert (await wire.answer()).status == 200
    third = await bench.connect()
    answer = await third.answer()
    assert (answer.status, answer.code, answer.headers["connection"]) == (503, "overloaded", "close")
    assert await third.until_closed() == b""
    fourth = await (await bench.connect()).answer()
    assert fourth.headers["x-request-id"] == fourth.json["error"]["request_id"]
    assert fourth.headers["x-request-id"] != answer.headers["x-request-id"], "each refusal has an id of its own"
    assert bench.refusals == ["overloaded", "overloaded"]
    await first.close()
    await trio.sleep(0.05)
    assert (await bench.ask("/hello")).status == 200
    await second.close()
    await trio.sleep(0.05)
    assert not bench.server._per_peer
    exempt = await serve(connections_per_peer=1, trusted=("127.0.0.0/8",))
    keep = await exempt.connect()
    assert (await exempt.ask("/hello")).status == 200
    await keep.close()


@pytest.mark.threat(21, "S10")
async def test_cap_in_all(serve):
    """Over the total, connections are refused whoever they are from; those that are open go on."""
    bench = await serve(connections=2, trusted=("127.0.0.0/8",))
    stream = await bench.connect()
    await stream.get("/ticks")
    await bench.connect()
    await bench.running()
    await trio.sleep(0.05)
    assert bench.server.open_connections == 2
    assert (await (await bench.connect()).answer()).code == "overloaded"
    bench.app.go_on.set()
    assert (await stream.answer()).status == 200


async def test_stop_accepting(serve):
    """Listeners and idle connections close at once; a running stream ends in its own time; then ``run`` returns."""
    bench = await serve()
    idle, waiting, stream = await bench.connect(), await bench.connect(), await bench.connect()
    await idle.get("/hello")
    await idle.answer()
    await waiting.get("/wait")
    await stream.get("/ticks")
    await bench.running(2)
    bench.server.stop_accepting()
    bench.server.stop_accepting()
    assert await idle.until_closed(0.1) == b""
    assert await refuses(bench)
    await trio.sleep(0.2)
    assert not bench.returned.is_set()
    assert bench.server.open_connections == 2
    bench.app.go_on.set()
    assert (await waiting.answer()).headers["connection"] == "close"
    assert (await stream.answer()).body.endswith(b"data: [DONE]\n\n")
    assert await stream.until_closed(0.1) == b""
    with trio.fail_after(0.5):
        await bench.returned.wait()
    assert bench.server.open_connections == 0


async def test_those_who_have_just_connected_are_heard(serve):
    """A connection that waits in the kernel, or has not asked yet, may ask once more after ``stop_accepting``."""
    bench = await serve(linger_s=0.3)
    fresh = await bench.connect()
    with socket.create_connection(("127.0.0.1", bench.port)) as waiting:
        waiting.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        bench.server.stop_accepting()
        await fresh.get("/hello")
        answer = await fresh.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        with trio.fail_after(1):
            await trio.lowlevel.wait_readable(waiting)
        assert waiting.recv(100).startswith(b"HTTP/1.1 200")


async def test_a_silent_new_connection_does_not_hold_the_drain(serve):
    """A connection that never asks is closed after ``linger_s``, not after its idle time."""
    bench = await serve(linger_s=0.1)
    await bench.connect()
    await trio.sleep(0.02)
    bench.server.stop_accepting()
    with trio.fail_after(0.4):
        await bench.returned.wait()


async def test_set_write_limit(serve):
    """A lower write limit reaches the write that is stuck already."""
    bench = await serve(write_s=60)
    wire = await bench.connect()
    await wire.get("/flood")
    await trio.sleep(0.1)
    assert not bench.app.gone.is_set()
    bench.server.stop_accepting()
    bench.server.set_write_limit(0.1)
    with trio.fail_after(0.5):
        await bench.returned.wait()


async def test_set_write_limit_for_those_to_come(serve):
    """A lowered write limit holds for connections that are accepted later."""
    bench = await serve(write_s=60)
    bench.server.set_write_limit(0.1)
    wire = await bench.connect()
    await wire.get("/flood")
    with trio.fail_after(1):
        await bench.app.gone.wait()


async def test_abort_connections(serve):
    """Every connection is reset at once: stuck, silent, idle or fresh; the applications see a disconnect."""
    bench = await serve(write_s=60)
    wires = [await bench.connect() for _ in range(4)]
    for wire, path in zip(wires, ["/flood", "/silent", "/hello"], strict=False):
        await wire.get(path)
    await trio.sleep(0.05)
    bench.server.abort_connections()
    bench.server.stop_accepting()
    with trio.fail_after(0.2):
        await bench.returned.wait()
    assert bench.app.running == 0


@pytest.mark.parametrize("headers", [("Connection: close",), ()], ids=["close", "keep-alive"])
async def test_abort_connections_takes_nothing_back(headers, serve):
    """An answer that was said to its end reaches a client that has not read all of it, though the server is gone."""
    bench = await serve()
    wire = await bench.connect()
    await wire.get("/flood", *headers)
    await trio.sleep(0.05)
    bench.server.stop_accepting()
    bench.app.go_on.set()
    read = 0
    with trio.fail_after(5):
        while bench.app.running:
            data = await wire.stream.receive_some(4096)
            wire.parser.receive_data(data)
            read += len(data)
    bench.server.abort_connections()
    with trio.fail_after(0.2):
        await bench.returned.wait()
    body = (await wire.answer()).body
    assert len(body) == bench.app.sent_bytes > read


async def test_cancelling_run_aborts(nursery, serve):
    """Cancelling ``run`` leaves no connection and no listener, and does not wait for a client that is stuck."""
    bench = await serve()

    async def run(task_status):
        with trio.CancelScope() as scope:
            task_status.started(scope)
            await other.run(task_status=trio.TASK_STATUS_IGNORED)
        stopped.set()

    stopped = trio.Event()
    other = server_on("127.0.0.1:0", app=bench.app)
    scope = await nursery.start(run)
    while not other.bound:
        await trio.lowlevel.checkpoint()
    host, _, port = other.bound[0].rpartition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    await stream.send_all(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
    await trio.sleep(0.1)
    scope.cancel()
    with trio.fail_after(1):
        await stopped.wait()
        with pytest.raises(trio.BrokenResourceError):
            await read_all(stream)
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream(host, int(port))
    await stream.aclose()


async def test_no_descriptors_left(serve, monkeypatch):
    """When accept fails for want of descriptors it is told, and tried again until it works."""
    bench = await serve()
    listener = bench.server._listeners[0]

    class Exhausted:
        """A listener whose accept fails twice."""

        failures = 2

        def accept(self):
            if self.failures:
                self.failures -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return listener.accept()

    exhausted, original = Exhausted(), bench.server._accept_waiting
    monkeypatch.setattr(bench.server, "_accept_waiting", lambda _listener: original(exhausted))
    assert (await bench.ask("/hello")).status == 200
    assert [error.errno for error in bench.errors] == [errno.EMFILE] * 2
    monkeypatch.undo()
