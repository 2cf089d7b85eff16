"""One client's socket: writes that end, a close that needs no await.

trio's ``SocketStream`` waits for ever on a client that reads nothing. Here a write that the kernel cannot take at once
waits under a limit that counts from the last byte that the client took.
"""

import contextlib
import fcntl
import math
import socket
import struct
import termios
from typing import Final

import trio

from ainf.server.limits import ServerLimits
from ainf.sockets import RECEIVED_AT_MOST, receive

_LOOKS_PER_LIMIT: Final = 4
_RESET: Final = struct.pack("ii", 1, 0)
_NOT_SENT_LOW_WATER_BYTES: Final = 16384
_SENDS_PER_TURN: Final = 8
"""How often a sender whose client keeps up yields: a relay has just waited for what it sends."""


class SocketTransport(trio.abc.Stream):
    """A connected, non-blocking TCP socket as a trio stream.

    Args:
        sock: the socket, which is set up here and owned from now on.
        limits: ``write_s`` bounds a write; the kernel's own timers for silent peers are derived from it.
    """

    def __init__(self, sock: socket.socket, limits: ServerLimits) -> None:
        self._sock = sock
        self._write_s = limits.write_s
        self._taken_at = math.inf
        self._sends = 0
        self._stall: trio.CancelScope | None = None
        sock.setblocking(False)  # noqa: FBT003 - the socket module has it so
        # The client may have gone already: then the first read says so.
        with contextlib.suppress(OSError):
            _set_options(sock, limits)

    @property
    def closed(self) -> bool:
        """Whether the socket has been closed on our side."""
        return self._sock.fileno() == -1

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Hand all of ``data`` to the kernel, or break the connection. Never cancelled half-way; yields now and then.

        Raises:
            trio.BrokenResourceError: the client has gone, or took no byte for ``write_s`` (it is then aborted).
            trio.ClosedResourceError: closed or aborted here.
        """
        sent = self._send(data)
        self._sends += 1
        if sent < len(data):
            await self._send_rest(memoryview(data)[sent:])
        elif self._sends % _SENDS_PER_TURN == 0:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the kernel can take something."""
        await trio.lowlevel.wait_writable(self._sock)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has come, or ``b""`` once the client has closed its side.

        Raises:
            trio.BrokenResourceError: the connection was reset.
            trio.ClosedResourceError: closed or aborted here.
        """
        while not self.closed:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                return receive(self._sock, max_bytes or RECEIVED_AT_MOST)
            except BlockingIOError:
                continue
            except OSError as error:
                if not self.closed:
                    raise trio.BrokenResourceError(f"connection broken: {error}") from error
        raise trio.ClosedResourceError("closed here")

    def local_address(self) -> tuple[str, int]:
        """Our own end.

        Raises:
            OSError: the socket is no longer connected, on some systems.
        """
        host, port = self._sock.getsockname()[:2]
        return host, port

    def set_write_limit(self, seconds: float) -> None:
        """Change ``write_s``. A write that is already stuck gets that long from now, no more."""
        self._write_s = seconds
        if self._stall is not None:
            self._taken_at = trio.current_time()
            self._stall.deadline = -math.inf

    def shutdown_write(self) -> None:
        """Send our FIN after what is written; reading goes on."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def refuse(self, answer: bytes) -> None:
        """Write what the kernel takes of ``answer`` without waiting, and close."""
        with contextlib.suppress(OSError):
            self._sock.send(answer)
        self.close()

    def abort(self) -> None:
        """Reset the connection at once and drop what the client has not taken. Idempotent, needs no await."""
        if not self.closed:
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.close()

    def close(self) -> None:
        """Close at once; the kernel still delivers what was written. Readers and writers wake with an error."""
        if not self.closed:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    async def aclose(self) -> None:
        """``close``, as trio's interface wants it."""
        self.close()
        await trio.lowlevel.checkpoint()

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if self.closed:
                raise trio.ClosedResourceError("closed here") from None
            raise trio.BrokenResourceError(f"connection broken: {error}") from error

    async def _send_rest(self, rest: memoryview) -> None:
        # Strategy: a socket is writable only when a good part of its buffer is free, so a client that reads slowly
        # may show nothing for long. What the kernel still holds tells more: look at it a few times per limit.
        self._taken_at, held = trio.current_time(), _held_bytes(self._sock)
        while rest:
            look_at = trio.current_time() + self._write_s / _LOOKS_PER_LIMIT
            with trio.CancelScope(deadline=look_at, shield=True) as self._stall:
                await trio.lowlevel.wait_writable(self._sock)
            looked, self._stall = self._stall.cancelled_caught, None
            sent = 0 if looked else self._send(rest)
            rest, before, held = rest[sent:], held, _held_bytes(self._sock)
            if sent or held < before:
                self._taken_at = trio.current_time()
            elif trio.current_time() >= self._taken_at + self._write_s:
                self.abort()
                raise trio.BrokenResourceError("the client took no byte in time")


def _set_options(sock: socket.socket, limits: ServerLimits) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        # Keeps what is buffered for a slow client near the window that it offers, so that back-pressure is felt soon.
        ("TCP_NOTSENT_LOWAT", _NOT_SENT_LOW_WATER_BYTES),
        ("TCP_KEEPIDLE", 15),
        ("TCP_KEEPINTVL", 5),
        ("TCP_KEEPCNT", 3),
        # A peer that vanished without a FIN. Above write_s: where both see it, ours decides.
        ("TCP_USER_TIMEOUT", int(limits.write_s * 1500)),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _held_bytes(sock: socket.socket) -> int:
    """Bytes that the client's kernel has not acknowledged; 0 where that cannot be known."""
    try:
        (held,) = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))
    except (OSError, ValueError):  # no such call here, or closed in the meantime
        return 0
    return int(held)
