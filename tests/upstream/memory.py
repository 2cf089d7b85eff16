"""A provider in memory: wires whose other end a test holds. They behave like sockets: they wait, break and end."""

from collections.abc import Awaitable, Callable

import trio

from ainf.upstream.limits import UpstreamLimits
from ainf.upstream.request import UpstreamRequest

LIMITS = UpstreamLimits(connect_s=10, idle_s=60, error_body_s=2)
URL = "http://provider.test/v1/chat/completions"
REQUEST = UpstreamRequest(URL, ((b"authorization", b"Bearer secret"),), b'{"stream":true}')
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


END = chunk(b"")


class MemoryWire:
    """The gateway's end; the methods from ``say`` on are the provider's."""

    def __init__(self, *, stall_writes: bool = False):
        self.sent = b""
        self.closed = False
        self.stall_writes = stall_writes
        self._arrived = bytearray()
        self._ended = False
        self._broken = False
        self._changed = trio.lowlevel.ParkingLot()
        self._accepted = False

    # the gateway's end

    async def send_all(self, data: bytes) -> None:
        self._accepted = False
        await trio.lowlevel.checkpoint()
        while self.stall_writes and not (self.closed or self._broken):
            await self._changed.park()
        self._check()
        self._accepted = not self._ended
        self.sent += data
        self._changed.unpark_all()

    async def receive_some(self, max_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        while not (self._arrived or self._ended or self._broken or self.closed):
            await self._changed.park()
        if self.closed:
            raise trio.ClosedResourceError
        if not self._arrived and self._broken:
            raise trio.BrokenResourceError
        data = bytes(self._arrived[:max_bytes])
        del self._arrived[:max_bytes]
        return data

    def is_quiet(self) -> bool:
        return not (self._arrived or self._ended or self._broken or self.closed)

    def may_have_arrived(self) -> bool:
        return self._accepted

    def take(self, max_bytes: int) -> bytes:
        data = b"" if self.closed else bytes(self._arrived[:max_bytes])
        self.close()
        return data

    def close(self) -> None:
        self.closed = True
        self._changed.unpark_all()

    def _check(self) -> None:
        if self.closed:
            raise trio.ClosedResourceError
        if self._broken:
            raise trio.BrokenResourceError

    # the provider's end

    def say(self, data: bytes) -> None:
        self._arrived += data
        self._changed.unpark_all()

    def end(self) -> None:
        self._ended = True
        self._changed.unpark_all()

    def reset(self) -> None:
        self._broken = True
        self._changed.unpark_all()

    async def heard(self, *, requests: int = 1) -> bytes:
        """Wait until this many requests came in, each with the body of ``REQUEST``."""
        while self.sent.count(REQUEST.body) < requests and not self.closed:
            await self._changed.park()
        return self.sent


Behaviour = Callable[[MemoryWire], Awaitable[None]]


class MemoryNetwork:
    """A dialer that makes memory wires and remembers them.

    Each wire runs the behaviour in a nursery; without one, the test itself speaks for the provider.
    """

    def __init__(
        self, nursery: trio.Nursery | None = None, behaviour: Behaviour | None = None, *, stall_writes: bool = False
    ):
        self.wires: list[MemoryWire] = []
        self.dialled: list[tuple[str, int]] = []
        self._nursery = nursery
        self._behaviour = behaviour
        self._stall_writes = stall_writes

    async def __call__(self, host: str, port: int) -> MemoryWire:
        self.dialled.append((host, port))
        await trio.lowlevel.checkpoint()
        wire = MemoryWire(stall_writes=self._stall_writes)
        self.wires.append(wire)
        if self._nursery is not None and self._behaviour is not None:
            self._nursery.start_soon(self._behaviour, wire)
        return wire


def answering(*pieces: bytes) -> Behaviour:
    """A provider that gives this answer to every request, each piece as a read of its own."""

    async def behave(wire: MemoryWire) -> None:
        answered = 0
        while not wire.closed:
            answered += 1
            await wire.heard(requests=answered)
            for piece in pieces:
                wire.say(piece)
                await trio.testing.wait_all_tasks_blocked()

    return behave
