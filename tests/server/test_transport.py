"""The socket: writes that end, and a close without an await."""

import contextlib
import socket

import pytest
import trio

from ainf.server.transport import _SENDS_PER_TURN, SocketTransport
from tests.server.limits import server_limits

CHUNK = b"x" * 65536


@pytest.fixture
def pair():
    """A transport with ``write_s`` of 0.2 s, and the client's socket, with a small window."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.connect(listener.getsockname())
        client.setblocking(False)
        accepted, _ = listener.accept()
        transport = SocketTransport(accepted, server_limits(write_s=0.2))
        yield transport, client
        accepted.close()


def read_all(client: socket.socket) -> None:
    """Read what the client's kernel has, until it says end or error."""
    while client.recv(65536):
        pass


async def fill(transport: SocketTransport) -> None:
    """Write until it breaks."""
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while True:
            await transport.send_all(CHUNK)


@pytest.mark.threat(20, "S8")
async def test_a_reader_that_takes_nothing_is_aborted(pair):
    """A stuck write ends between one and one and a quarter limits after the last byte was taken."""
    transport, _client = pair
    began = trio.current_time()
    with trio.fail_after(2):
        await fill(transport)
    assert 0.2 <= trio.current_time() - began < 0.4
    assert transport.closed


async def test_a_slow_reader_is_kept(pair):
    """A client that takes a little within each limit may take several limits for one write."""
    transport, client = pair

    async def read() -> None:
        while True:
            await trio.sleep(0.02)
            with contextlib.suppress(BlockingIOError):
                client.recv(8192)

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await transport.send_all(b"x" * 300_000)
        nursery.cancel_scope.cancel()
    assert trio.current_time() - began > 3 * 0.2


async def test_what_the_kernel_could_send_counts_as_taken(pair, monkeypatch):
    """While the kernel's backlog shrinks, the client is reading, even if the socket takes nothing new yet."""
    transport, _client = pair
    backlog = iter(range(9_000, 1_000, -1_000))
    monkeypatch.setattr("ainf.server.transport._held_bytes", lambda _sock: next(backlog, 1_000))
    began = trio.current_time()
    await fill(transport)
    assert 0.5 < trio.current_time() - began < 1.5


async def test_writes_let_others_run(pair):
    """A sender whose client keeps up still gives every other task a turn after every few writes."""
    transport, _client = pair
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_turns)
        for _ in range(10 * _SENDS_PER_TURN):
            await transport.send_all(b"x")
        nursery.cancel_scope.cancel()
    assert turns >= 9


async def test_a_lower_limit_reaches_a_stuck_write(pair):
    """Lowering the limit ends a write that is stuck under the old one, after the new one."""
    transport, _client = pair
    transport.set_write_limit(60)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fill, transport)
        await trio.sleep(0.1)
        assert not transport.closed
        began = trio.current_time()
        transport.set_write_limit(0.1)
        nursery.cancel_scope.deadline = began + 1
    assert transport.closed
    assert 0.1 <= trio.current_time() - began < 0.3


@pytest.mark.threat("S8")
async def test_abort_wakes_a_stuck_write_and_resets(pair):
    """``abort`` needs no await, wakes the writer at once, and the client sees a reset."""
    transport, client = pair
    transport.set_write_limit(60)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fill, transport)
        await trio.sleep(0.05)
        transport.abort()
        transport.abort()
        nursery.cancel_scope.deadline = trio.current_time() + 1
    assert not nursery.cancel_scope.cancelled_caught
    with pytest.raises(ConnectionResetError):
        read_all(client)


async def test_abort_wakes_a_reader(pair):
    """A reader learns of the abort as a closed resource, also when it asks later."""
    transport, _client = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.lowlevel.checkpoint)
        with trio.CancelScope() as scope:
            scope.deadline = trio.current_time() + 0.05
            await transport.receive_some()
    assert scope.cancelled_caught
    transport.abort()
    with pytest.raises(trio.ClosedResourceError):
        await transport.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await transport.send_all(b"x")


async def test_a_write_is_whole_though_cancelled(pair):
    """Cancelling a stuck write does not tear it: all of it arrives."""
    transport, client = pair
    size = 3_000_000
    received = 0
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.send_all, b"x" * size)
            await trio.sleep(0.05)
            scope.cancel()
            with trio.CancelScope(shield=True), trio.fail_after(5):
                while received < size:
                    await trio.lowlevel.wait_readable(client)
                    received += len(client.recv(1 << 20))
    assert received == size


async def test_eof_reset_and_refuse(pair):
    """A FIN reads as ``b""``; a refusal is written and closed without an await."""
    transport, client = pair
    client.shutdown(socket.SHUT_WR)
    assert await transport.receive_some() == b""
    transport.refuse(b"no")
    assert transport.closed
    await trio.lowlevel.wait_readable(client)
    assert client.recv(10) == b"no"
    assert client.recv(10) == b""


async def test_options(pair):
    """No delay, keep-alive probes, and the kernel's own limit for a silent peer, above ours."""
    transport, _client = pair
    option = transport._sock.getsockopt
    assert option(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert option(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 300
    await trio.lowlevel.checkpoint()
