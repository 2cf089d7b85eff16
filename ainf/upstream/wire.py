"""Wires: byte streams that can be closed synchronously, and the dialer that makes them of TCP sockets."""

import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeAlias

import trio
from trio.lowlevel import notify_closing, wait_readable, wait_writable

from ainf.sockets import receive
from ainf.upstream.limits import UpstreamLimits


class Wire(Protocol):
    """One byte stream to a peer. One task sends or receives at a time; any task may close.

    Broken by the peer or the network it raises ``trio.BrokenResourceError``; closed by ``take`` or ``close``, also
    while a task waits in it, ``trio.ClosedResourceError``. A cancelled receive has taken nothing.
    """

    async def send_all(self, data: bytes) -> None:
        """Send everything. Need not be a checkpoint. Cancelled, an unknown part was sent."""

    async def receive_some(self, max_bytes: int) -> bytes:
        """Wait for bytes and return at most this many; ``b""`` is the peer's end."""

    def is_quiet(self) -> bool:
        """Whether an unused wire is still good: open, and nothing has come that nobody asked for."""

    def may_have_arrived(self) -> bool:
        """Whether the peer may have got any byte of the last ``send_all``; True where that cannot be known."""

    def take(self, max_bytes: int) -> bytes:
        """Close, and return what had already arrived, at most about this much. Never waits, never raises."""

    def close(self) -> None:
        """Close at once. Idempotent."""


Dialer: TypeAlias = Callable[[str, int], Awaitable[Wire]]
"""Connects to a host and port, or raises ``OSError``; leaves nothing open when it is cancelled."""

_BYTES_ACKED: Final = struct.Struct("=120xQ")  # linux/tcp.h, struct tcp_info: tcpi_bytes_acked (Linux 4.1)


class SocketWire:
    """A wire over a connected, non-blocking TCP socket, which it owns."""

    __slots__ = ("_acked_at_start", "_sent", "_sent_before", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._sent = 0
        self._sent_before = 0
        self._acked_at_start = self._acked()

    async def send_all(self, data: bytes) -> None:
        """See ``Wire``. Waits only when the kernel's buffer is full."""
        self._sent_before = self._sent
        rest = memoryview(data)
        while True:
            try:
                sent = self._socket.send(rest)
            except BlockingIOError:
                await wait_writable(self._socket)
                continue
            except OSError as exc:
                raise self._translate(exc) from exc
            self._sent += sent
            if sent == len(rest):
                return
            rest = rest[sent:]

    async def receive_some(self, max_bytes: int) -> bytes:
        """See ``Wire``."""
        sock = self._socket
        if sock.fileno() == -1:
            raise trio.ClosedResourceError
        while True:
            await wait_readable(sock)
            try:
                return receive(sock, max_bytes)
            except BlockingIOError:
                continue
            except OSError as exc:
                raise self._translate(exc) from exc

    def is_quiet(self) -> bool:
        """See ``Wire``."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def may_have_arrived(self) -> bool:
        """See ``Wire``.

        A peer's close carries the number of the byte that it expects next. When that is still the first byte of our
        request, the peer had closed before the request reached it.
        """
        if self._sent == self._sent_before:
            return False
        acked = self._acked()
        return acked is None or self._acked_at_start is None or acked - self._acked_at_start > self._sent_before

    def take(self, max_bytes: int) -> bytes:
        """See ``Wire``."""
        parts: list[bytes] = []
        left = max_bytes
        try:
            while left > 0 and (data := receive(self._socket, left)):
                parts.append(data)
                left -= len(data)
        except OSError:
            pass  # BlockingIOError: that was all; any other: the peer broke it first
        self.close()
        return b"".join(parts)

    def close(self) -> None:
        """See ``Wire``."""
        if self._socket.fileno() != -1:
            notify_closing(self._socket)
            self._socket.close()

    def _translate(self, error: OSError) -> trio.BrokenResourceError | trio.ClosedResourceError:
        if self._socket.fileno() == -1:
            return trio.ClosedResourceError()
        return trio.BrokenResourceError(f"errno {error.errno}")

    def _acked(self) -> int | None:
        """Return how many bytes the peer's kernel has acknowledged, where ours tells."""
        if not hasattr(socket, "TCP_INFO"):
            return None
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        except OSError:
            return None
        return _BYTES_ACKED.unpack_from(info)[0] if len(info) >= _BYTES_ACKED.size else None


def tcp_dialer(limits: UpstreamLimits) -> Dialer:
    """Return the dialer for real networks: DNS, both address families, socket options."""

    async def dial(host: str, port: int) -> Wire:
        stream = await trio.open_tcp_stream(host, port)
        sock = socket.socket(fileno=stream.socket.detach())
        try:
            sock.settimeout(0.0)
            _set_options(sock, limits)
        except OSError:  # some systems refuse options on a connection that the peer has reset already
            sock.close()
            raise
        return SocketWire(sock)

    return dial


def _set_options(sock: socket.socket, limits: UpstreamLimits) -> None:
    """Send at once, buffer little, and notice a peer that vanished."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.receive_buffer_bytes)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", max(1, limits.dead_peer_s // 2)),
        ("TCP_KEEPINTVL", max(1, limits.dead_peer_s // 6)),
        ("TCP_USER_TIMEOUT", limits.dead_peer_s * 1000),
    ):
        if hasattr(socket, name):  # Linux has all of them
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
