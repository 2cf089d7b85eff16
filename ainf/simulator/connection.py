"""One connection: requests in, steps played out, and an eye on the client all the time.

Strategy: two tasks for the life of a connection. One always reads, so that a client that leaves is seen at once,
also while the other plays an answer, waits or stalls; it then cancels the answer. Requests go from one to the other
through a small channel, so that pipelined ones queue up.
"""

import contextlib
import itertools
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol, runtime_checkable

import attrs
import trio

from ainf.simulator.books import End, Entry
from ainf.simulator.http import BadHttpError, Request, RequestReader
from ainf.simulator.steps import Close, Reset, Send, Stall, Step, Wait, whole

_MAX_PIPELINED: Final = 16
_RECEIVE_BYTES: Final = 65536
# Of an answer without an end, this much is billed to a client that has left.
_MOST_STEPS: Final = 100_000
# After so many writes that did not wait, the other tasks get a turn.
_WRITES_A_TURN: Final = 16
# Linger for zero seconds: closing the socket then sends RST and drops what is unsent.
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


@runtime_checkable
class Resettable(Protocol):
    """A stream that can be reset without a socket below it."""

    def reset(self) -> None:
        """Break the connection at once."""


@attrs.frozen
class Reply:
    """What to play for one request; ``entry`` is None for requests that the books do not count."""

    steps: Iterable[Step]
    entry: Entry | None = None


class Connection:
    """Serves one client on any stream until it leaves, keeps no more alive, or a step closes the connection."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        answer: Callable[[Request], Reply],
        sleep_until: Callable[[float], Awaitable[None]] = trio.sleep_until,
    ) -> None:
        self._stream = stream
        self._answer = answer
        self._sleep_until = sleep_until
        self._writes_in_a_row = 0
        self._playing: trio.CancelScope | None = None
        self._client_closed_at: float | None = None

    async def serve(self) -> None:
        """Serve; the stream is closed afterwards. Cancelled, the answer being played is entered as aborted."""
        arrived, requests = trio.open_memory_channel[Request](_MAX_PIPELINED)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, arrived)
                await self._play_all(requests)
                nursery.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _read(self, arrived: trio.MemorySendChannel[Request]) -> None:
        reader = RequestReader()
        with arrived, contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await self._stream.receive_some(_RECEIVE_BYTES):
                try:
                    for request in reader.feed(bytes(data)):
                        arrived.send_nowait(request)
                except (BadHttpError, trio.WouldBlock):
                    await self._refuse_bytes()
                    break
        self._client_closed_at = trio.current_time()
        if self._playing:
            self._playing.cancel()

    async def _refuse_bytes(self) -> None:
        if self._playing is None:
            refusal = whole(400, "text/plain", b"Bad Request", {"connection": "close"})
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.send_all(refusal.data)

    async def _play_all(self, requests: trio.MemoryReceiveChannel[Request]) -> None:
        async for request in requests:
            reply = self._answer(request)
            steps = iter(reply.steps)
            end: End | None = None
            try:
                with trio.CancelScope() as self._playing:
                    if self._client_closed_at is not None:
                        self._playing.cancel()
                    end = await self._play(steps, reply.entry)
                if self._playing.cancelled_caught:
                    end = End.CANCELLED
                if end is End.CANCELLED and reply.entry and reply.entry.bills_on:
                    _enter_the_rest(steps, reply.entry)
            finally:
                self._playing = None
                if reply.entry:
                    self._finish(reply.entry, end or End.ABORTED)
            if end is not End.COMPLETED or not request.keep_alive:
                return

    async def _play(self, steps: Iterable[Step], entry: Entry | None) -> End:
        """Play the steps; return how they ended.

        A wait is due after the one before it, so that a pace does not drift while writing takes its time.
        """
        due = trio.current_time()
        for step in steps:
            match step:
                case Send():
                    if entry:
                        _enter_produced(entry, step)
                    if step.data and not await self._write(step.data, entry):
                        return End.CANCELLED
                case Wait(seconds):
                    due = max(due + seconds, trio.current_time())
                    await self._sleep_until(due)
                case Stall():
                    await trio.sleep_forever()
                case Reset():
                    _reset(self._stream)
                    return End.RESET
                case Close():
                    return End.CLOSED
        return End.COMPLETED

    async def _write(self, data: bytes, entry: Entry | None) -> bool:
        """Write; return False if the client is gone. Of a write that is cut short the books count what is sure."""
        try:
            sent = await self._write_now(data)
            _enter_written(entry, data[:sent])
            if sent < len(data):
                await self._stream.send_all(data[sent:])
                _enter_written(entry, data[sent:])
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    async def _write_now(self, data: bytes) -> int:
        """Write what a bare socket takes without waiting; return how much that was (a quarter of a send's cost)."""
        if not isinstance(self._stream, trio.SocketStream):
            return 0
        self._writes_in_a_row = (self._writes_in_a_row + 1) % _WRITES_A_TURN
        if not self._writes_in_a_row:
            await trio.lowlevel.checkpoint()
        try:
            return os.write(self._stream.socket.fileno(), data)
        except BlockingIOError:
            return 0

    def _finish(self, entry: Entry, end: End) -> None:
        entry.end = end
        entry.ended_at = trio.current_time()
        if end is End.CANCELLED:
            entry.client_closed_at = self._client_closed_at or entry.ended_at


def _enter_produced(entry: Entry, step: Send) -> None:
    entry.output_tokens += step.tokens
    entry.text_bytes += step.text_bytes
    if step.status is not None and step.status >= 200 and entry.head_sent_at is None:
        entry.status = step.status
        entry.head_sent_at = trio.current_time()
    if step.finish:
        entry.finish_sent = True
    if step.usage:
        entry.usage_sent = True


def _enter_the_rest(steps: Iterable[Step], entry: Entry) -> None:
    """Enter what a model goes on to produce, as far as anybody would let it."""
    for step in itertools.islice(steps, _MOST_STEPS):
        if isinstance(step, Send):
            entry.output_tokens += step.tokens
        elif not isinstance(step, Wait):
            return


def _enter_written(entry: Entry | None, data: bytes) -> None:
    if entry:
        entry.wire_bytes += len(data)
        if entry.written is not None:
            entry.written += data


def _reset(stream: trio.abc.Stream) -> None:
    """Break the connection as by RST, through TLS if there is TLS."""
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    if isinstance(stream, trio.SocketStream):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        stream.socket.close()
    elif isinstance(stream, Resettable):
        stream.reset()
