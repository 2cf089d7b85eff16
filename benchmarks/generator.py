"""A load generator that costs less than what it loads: raw sockets, one epoll, no work per frame."""

import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import attrs

from benchmarks.answers import AnswerReader
from benchmarks.dialects import NUMBER

_READ_BYTES: Final = 65_536
_STALLED_S: Final = 30.0
_SHOWN_BYTES: Final = 400


class LoadError(Exception):
    """The load could not be generated: nothing arrives any more, or there is nobody to connect to."""


@attrs.define
class Tally:
    """What was seen of a run. Times are seconds; an answer's are counted from when it was due, so a queue shows."""

    answers: int = 0
    failures: int = 0
    first_failure: str = ""
    frames: int = 0
    size: int = 0
    first_byte_s: list[float] = attrs.field(factory=list)
    whole_s: list[float] = attrs.field(factory=list)
    wall_s: float = 0.0
    cpu_s: float = 0.0
    """Of the generator itself."""


class _Connection:
    __slots__ = ("due", "first_byte", "is_asked", "reader", "socket")

    def __init__(self, address: tuple[str, int], end: bytes) -> None:
        self.socket = socket.create_connection(address, timeout=_STALLED_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.reader = AnswerReader(end)
        self.due = self.first_byte = 0.0
        self.is_asked = False

    def send(self, request: bytes, due: float) -> None:
        """Ask.

        Raises:
            ConnectionError: the server has closed the connection.
        """
        self.reader.clear()
        self.due, self.first_byte = due, 0.0
        sent = self.socket.send(request)
        if sent < len(request):
            self.socket.settimeout(_STALLED_S)
            self.socket.sendall(request[sent:])
            self.socket.setblocking(False)
        self.is_asked = True

    def receive(self) -> tuple[bytes, bool]:
        """Return a read, and whether the answer is over with it; a connection that breaks ends its answer."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except ConnectionError:
            data = b""
        if not self.first_byte:
            self.first_byte = time.perf_counter()
        return data, not data or self.reader.receive(data)


class Load:
    """One request, over and over, on ``connections`` keep-alive connections with one request outstanding each.

    No two are alike: each has a number of its own in its prompt, if it has a prompt. A body that comes again is a
    client's silent retry, which the gateway looks into and marks, at a cost of its own.

    Args:
        address: whom to ask.
        request: the bytes of a whole HTTP/1.1 request; may be replaced between runs.
        connections: how many connections, at most; they are opened as they are needed.
        end: what the last event of a good stream begins with.
        are_alike: whether all are the same, byte by byte.
    """

    def __init__(
        self, address: tuple[str, int], request: bytes, connections: int, end: bytes, *, are_alike: bool = False
    ) -> None:
        self._address = address
        self.request = request
        self._limit = connections
        self._end = end
        self._are_alike = are_alike
        self._asked = 0
        self._epoll = select.epoll()
        self._all: dict[int, _Connection] = {}
        self._idle: list[_Connection] = []

    def close(self) -> None:
        """Close every connection, whatever is outstanding."""
        for connection in self._all.values():
            connection.socket.close()
        self._all.clear()
        self._idle.clear()
        self._epoll.close()

    def run(self, count: int, arrivals: Sequence[float] | None = None) -> Tally:
        """Ask ``count`` times, and return what was seen once all is answered.

        Args:
            count: how many requests.
            arrivals: when each is due, in seconds from now, ascending; one that finds no idle connection waits for it
                and its time runs. None: as soon as there is an idle connection.

        Raises:
            LoadError: nothing came for 30 s, or there is nobody to connect to.
        """
        tally = Tally()
        cpu, began = time.process_time(), time.perf_counter()
        started = ended = 0
        while ended < count:
            now = time.perf_counter()
            while started < count and (arrivals is None or began + arrivals[started] <= now):
                due = now if arrivals is None else began + arrivals[started]
                if not self._start(due):
                    break
                started += 1
            wait = _STALLED_S
            if arrivals is not None and started < count and self._has_room:
                wait = max(0.0, began + arrivals[started] - time.perf_counter())
            ended += self._collect(wait, tally)
        tally.wall_s, tally.cpu_s = time.perf_counter() - began, time.process_time() - cpu
        return tally

    @contextmanager
    def held_open(self, count: int) -> Iterator[None]:
        """Open ``count`` streams, enter once each has begun its body, and leave them where they are.

        Raises:
            LoadError: one ended, or did not begin within 30 s.
        """
        for _ in range(count):
            self._start(time.perf_counter())
        waiting = set(self._all)
        while waiting:
            for fileno, _ in self._wait(_STALLED_S):
                connection = self._all[fileno]
                data, is_over = connection.receive()
                if is_over:
                    raise LoadError(f"a stream that should stay open ended: {data[:_SHOWN_BYTES]!r}")
                if connection.reader.frames:
                    waiting.discard(fileno)
        yield

    @property
    def _has_room(self) -> bool:
        return bool(self._idle) or len(self._all) < self._limit

    def _start(self, due: float) -> bool:
        """Send a request; return whether there was a connection to send it on."""
        while self._has_room:
            connection = self._idle.pop() if self._idle else self._connect()
            try:
                connection.send(self._next_request(), due)
            except ConnectionError:  # an idle one that the server has closed: nothing was asked, the next one may do
                self._forget(connection)
            else:
                return True
        return False

    def _next_request(self) -> bytes:
        self._asked += 1
        return self.request if self._are_alike else self.request.replace(NUMBER, b"%08d" % self._asked, 1)

    def _connect(self) -> _Connection:
        try:
            connection = _Connection(self._address, self._end)
        except OSError as exc:
            raise LoadError(f"cannot connect to {self._address}: {exc}") from exc
        self._all[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket.fileno(), select.EPOLLIN)
        return connection

    def _forget(self, connection: _Connection) -> None:
        del self._all[connection.socket.fileno()]
        self._epoll.unregister(connection.socket.fileno())
        connection.socket.close()

    def _wait(self, seconds: float) -> list[tuple[int, int]]:
        """Return the connections that can be read within ``seconds``."""
        if seconds < _STALLED_S:
            # epoll would round up to milliseconds, which are what is measured; select does not.
            select.select([self._epoll], [], [], seconds)
            return self._epoll.poll(0)
        events = self._epoll.poll(seconds)
        if not events:
            raise LoadError(f"nothing came for {seconds:.0f} s")
        return events

    def _collect(self, wait: float, tally: Tally) -> int:
        """Read what there is to read within ``wait`` seconds; return how many answers ended."""
        ended = 0
        for fileno, _ in self._wait(wait):
            connection = self._all[fileno]
            data, is_over = connection.receive()
            if not is_over:
                continue
            if connection.is_asked:
                ended += 1
                connection.is_asked = False
                _count(connection, data, tally)
            elif not data:
                self._idle.remove(connection)
            if data:
                self._idle.append(connection)
            else:
                self._forget(connection)
        return ended


def _count(connection: _Connection, last: bytes, tally: Tally) -> None:
    """Count an answer that is over; ``last`` is its last read, empty where it was cut off."""
    reader = connection.reader
    tally.answers += 1
    tally.frames += reader.frames
    tally.size += reader.size
    tally.first_byte_s.append(connection.first_byte - connection.due)
    tally.whole_s.append(time.perf_counter() - connection.due)
    if not last or not reader.ended_well:
        tally.failures += 1
        tally.first_failure = tally.first_failure or f"status {reader.status}, last read {last[:_SHOWN_BYTES]!r}"
