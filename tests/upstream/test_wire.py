"""Wires over real sockets."""

import socket

import pytest
import trio

from ainf.upstream.limits import UpstreamLimits
from ainf.upstream.wire import SocketWire, tcp_dialer


@pytest.fixture
async def pair():
    """A dialled wire and the provider's socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = await tcp_dialer(UpstreamLimits(receive_buffer_bytes=20000))("127.0.0.1", listener.getsockname()[1])
        peer, _ = listener.accept()
        with peer:
            yield wire, peer
        wire.close()


async def until_quiet_ends(wire) -> None:
    """Wait until the kernel has delivered what the peer did last."""
    with trio.fail_after(5):
        while wire.is_quiet():  # noqa: ASYNC110 - it is the kernel that is waited for
            await trio.sleep(0.001)


async def test_bytes_go_both_ways_and_end(pair):
    """What is sent arrives, what arrives is received, and the peer's end is an empty read."""
    wire, peer = pair
    await wire.send_all(b"ask")
    assert peer.recv(10) == b"ask"
    peer.sendall(b"answer")
    assert await wire.receive_some(4) == b"answ"
    assert await wire.receive_some(4) == b"er"
    peer.shutdown(socket.SHUT_WR)
    assert await wire.receive_some(4) == b""


async def test_the_socket_is_set_up_for_streams(pair):
    """No delay, little buffered, and a vanished peer is noticed."""
    sock = pair[0]._socket
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 40000
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30000
    assert not sock.getblocking()


async def test_large_sends_wait_for_the_peer(pair):
    """More than the kernel takes at once is sent in parts."""
    wire, peer = pair
    data = bytes(range(256)) * 40000
    got = bytearray()

    def drain():
        while len(got) < len(data):
            got.extend(peer.recv(1 << 20))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, drain)
        await wire.send_all(data)
    assert bytes(got) == data


@pytest.mark.parametrize("end", ["say", "close", "reset"])
async def test_an_unused_wire_that_says_anything_is_not_quiet(pair, end):
    """Bytes, an end or a reset while nobody asked: such a wire is not used again."""
    wire, peer = pair
    assert wire.is_quiet()
    if end == "say":
        peer.sendall(b"?")
    elif end == "reset":
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    if end != "say":
        peer.close()
    await until_quiet_ends(wire)


async def test_take_returns_what_had_arrived_and_closes(pair):
    """Nothing is waited for; the peer sees the end at once."""
    wire, peer = pair
    peer.sendall(b"x" * 5000)
    await until_quiet_ends(wire)
    assert wire.take(100000) == b"x" * 5000
    peer.settimeout(5)
    assert peer.recv(10) == b""
    assert wire.take(10) == b""
    wire.close()


async def test_take_is_bounded(pair):
    """A peer that never stops sending does not keep us."""
    wire, peer = pair
    peer.sendall(b"x" * 5000)
    await until_quiet_ends(wire)
    assert len(wire.take(1000)) == 1000


@pytest.mark.parametrize("closing", ["close", "take"])
async def test_closing_wakes_a_task_that_receives(pair, closing):
    """Another task may close at any moment; the waiting one learns it as ClosedResourceError."""
    wire, _ = pair
    async with trio.open_nursery() as nursery:

        async def wait():
            with pytest.raises(trio.ClosedResourceError):
                await wire.receive_some(10)

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        wire.take(10) if closing == "take" else wire.close()
    with pytest.raises(trio.ClosedResourceError):
        await wire.receive_some(10)
    with pytest.raises(trio.ClosedResourceError):
        await wire.send_all(b"x")


async def test_closing_between_readiness_and_reading_loses_nothing(pair):
    """When bytes and the close come in the same moment, the bytes are the taker's and the reader is told."""
    wire, peer = pair
    raised = []

    async def read():
        try:
            await wire.receive_some(10)
        except trio.ClosedResourceError:
            raised.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        peer.sendall(b"late")
        # No checkpoint here: the reader was not run since the bytes arrived.
        assert wire.take(10) == b"late"
    assert raised


async def test_closing_wakes_a_task_that_sends(pair):
    """A stuck write ends with the close."""
    wire, _ = pair
    async with trio.open_nursery() as nursery:

        async def write():
            with pytest.raises(trio.ClosedResourceError):
                await wire.send_all(b"x" * 50_000_000)

        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        wire.close()


async def test_a_reset_is_a_broken_wire(pair):
    """Both directions say so, and take has nothing."""
    wire, peer = pair
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    await until_quiet_ends(wire)  # the peek takes the error of the reset off the socket
    with pytest.raises(trio.BrokenResourceError):
        await wire.send_all(b"x")
    assert not wire.may_have_arrived()
    assert wire.take(10) == b""


async def test_a_request_to_a_peer_that_had_closed_did_not_arrive(pair):
    """The peer's close acknowledges nothing of what was sent after it: it may be sent again elsewhere."""
    wire, peer = pair
    await wire.send_all(b"first")
    assert peer.recv(10) == b"first"
    peer.close()
    await wire.send_all(b"second")
    assert await wire.receive_some(10) == b""
    assert not wire.may_have_arrived()


async def test_a_request_that_the_peer_got_may_have_arrived(pair):
    """A peer that reads and then closes without an answer may have acted."""
    wire, peer = pair
    await wire.send_all(b"first")
    assert peer.recv(10) == b"first"
    await wire.send_all(b"second")
    assert peer.recv(10) == b"second"
    peer.close()
    assert await wire.receive_some(10) == b""
    assert wire.may_have_arrived()


async def test_a_request_that_the_peers_kernel_got_may_have_arrived(pair):
    """Without having seen the peer read it we cannot know, so it counts as arrived."""
    wire, peer = pair
    await wire.send_all(b"first")
    await wire.send_all(b"second")
    with trio.fail_after(5):
        while not wire.may_have_arrived():  # noqa: ASYNC110 - it is the kernel that is waited for
            await trio.sleep(0.001)
    peer.close()
    with pytest.raises(trio.BrokenResourceError):
        await wire.receive_some(10)
    assert wire.may_have_arrived()


async def test_where_the_kernel_does_not_tell_only_a_refused_send_did_not_arrive(pair, monkeypatch):
    """Without TCP_INFO everything that the kernel took may have arrived."""
    wire, peer = pair
    monkeypatch.setattr(SocketWire, "_acked", lambda _: None)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await wire.send_all(b"first")
    assert wire.may_have_arrived()
    peer.close()
    await until_quiet_ends(wire)
    with pytest.raises(trio.BrokenResourceError):
        await wire.send_all(b"second")
    assert not wire.may_have_arrived()


async def test_a_socket_that_takes_no_options_is_closed(monkeypatch):
    """The failure is the dialer's, and nothing stays open behind it."""
    made = []

    def refuse(sock, _limits):
        made.append(sock)
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr("ainf.upstream.wire._set_options", refuse)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(OSError, match="Invalid argument"):
        await tcp_dialer(UpstreamLimits())("127.0.0.1", listener.getsockname()[1])
    assert made[0].fileno() == -1


async def test_dialling_nobody_is_an_os_error():
    """The dialer raises what the connector expects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(OSError, match="connect"):
        await tcp_dialer(UpstreamLimits())("127.0.0.1", port)
