"""A connection in memory that behaves as a TCP connection does: bounded, half-closable, and it can be reset.

``trio.testing`` has streams in memory too, but theirs never push back and cannot be reset, and those two are what a
gateway's tests are about.
"""

import trio

DEFAULT_BUFFER_BYTES = 128 * 1024


class _Pipe:
    """One direction: a bounded buffer."""

    def __init__(self, max_bytes: int) -> None:
        self.buffer = bytearray()
        self.eof = False
        self.broken = False
        self.max_bytes = max_bytes
        self._changed = trio.lowlevel.ParkingLot()

    async def wait(self) -> None:
        await self._changed.park()

    def notify(self) -> None:
        self._changed.unpark_all()


class MemoryStream(trio.abc.HalfCloseableStream):
    """One end of a connection in memory; made by ``memory_connection``.

    One task may send while another receives, as with a socket.
    """

    def __init__(self, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send; waits while the peer's buffer is full. Cancelled, it may have sent a part, as a socket would.

        Raises:
            trio.BrokenResourceError: the peer closed or reset.
            trio.ClosedResourceError: this end is closed.
        """
        await trio.lowlevel.checkpoint()
        rest = memoryview(data)
        while True:
            self._require_open()
            if self._outgoing.broken or self._outgoing.eof:
                raise trio.BrokenResourceError
            room = self._outgoing.max_bytes - len(self._outgoing.buffer)
            if room > 0 and rest:
                self._outgoing.buffer += rest[:room]
                rest = rest[room:]
                self._outgoing.notify()
            if not rest:
                return
            await self._outgoing.wait()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room."""
        await trio.lowlevel.checkpoint()
        while not self._closed and not self._outgoing.broken and len(self._outgoing.buffer) >= self._outgoing.max_bytes:
            await self._outgoing.wait()
        self._require_open()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what there is, at least one byte; empty at the peer's end of sending.

        Raises:
            trio.BrokenResourceError: the peer reset.
            trio.ClosedResourceError: this end is closed.
        """
        await trio.lowlevel.checkpoint()
        pipe = self._incoming
        while not pipe.buffer and not pipe.eof and not pipe.broken and not self._closed:
            await pipe.wait()
        self._require_open()
        if pipe.broken:
            raise trio.BrokenResourceError
        data = bytes(pipe.buffer[:max_bytes])
        del pipe.buffer[: len(data)]
        pipe.notify()
        return data

    async def send_eof(self) -> None:
        """End sending; receiving goes on."""
        await trio.lowlevel.checkpoint()
        self._require_open()
        self._outgoing.eof = True
        self._outgoing.notify()

    def close(self) -> None:
        """Close both directions at once: the peer reads what was sent, then the end, and cannot send any more."""
        self._closed = True
        self._outgoing.eof = True
        self._incoming.broken = True
        self._outgoing.notify()
        self._incoming.notify()

    def reset(self) -> None:
        """Close as by RST: the peer loses what it has not read and finds the connection broken."""
        self._outgoing.broken = True
        self.close()

    async def aclose(self) -> None:
        """Close; idempotent, and done even when cancelled."""
        self.close()
        await trio.lowlevel.checkpoint()

    def _require_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError


def memory_connection(max_bytes: int = DEFAULT_BUFFER_BYTES) -> tuple[MemoryStream, MemoryStream]:
    """Return the two ends of a connection that holds at most ``max_bytes`` unread in each direction."""
    one_way, other_way = _Pipe(max_bytes), _Pipe(max_bytes)
    return MemoryStream(one_way, other_way), MemoryStream(other_way, one_way)
