"""A client on a socket that speaks bytes, and can misbehave; and what can be said of what it got."""

import socket
import struct
from collections.abc import Callable
from functools import cached_property

import trio

from tests.simulator.client import Taken

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Answer(Taken):
    """A ``Taken`` that may be long: its framing is read once, and in one go."""

    @cached_property
    def _framed(self) -> tuple[bytes, bool]:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rest, len(self.rest) == int(self.headers.get("content-length", 0))
        return dechunked(self.rest)


def dechunked(raw: bytes) -> tuple[bytes, bool]:
    """The body in a chunked answer as far as it came, and whether it is complete."""
    parts, at = [], 0
    while (end := raw.find(b"\r\n", at)) >= 0:
        size, at = int(raw[at:end], 16), end + 2
        if size == 0:
            return b"".join(parts), raw[at:] == b"\r\n"
        parts.append(raw[at : at + size])
        at += size + 2
    return b"".join(parts), False


class RawClient:
    """A client that speaks bytes, and can misbehave."""

    def __init__(self, stream: trio.abc.Stream):
        self.stream = stream
        self.raw = bytearray()

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def read_until(self, mark: bytes) -> bytes:
        """Return what has come once it holds ``mark``."""
        while mark not in self.raw:
            data = await self.stream.receive_some(65536)
            assert data, f"the end came before {mark!r}: {bytes(self.raw[-300:])!r}"
            self.raw += data
        return bytes(self.raw)

    async def take(self) -> Answer:
        """Take everything to the end of the connection, and close."""
        end = "eof"
        try:
            while data := await self.stream.receive_some(65536):
                self.raw += data
        except trio.BrokenResourceError:
            end = "reset"
        await trio.aclose_forcefully(self.stream)
        return Answer(bytes(self.raw), end)

    async def take_one(self) -> Answer:
        """Take one answer of a connection that stays open."""
        head = (await self.read_until(b"\r\n\r\n")).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        answer = Answer(bytes(self.raw), "open")
        while not answer.whole:
            data = await self.stream.receive_some(65536)
            assert data, "the end came within an answer"
            self.raw += data
            answer = Answer(bytes(self.raw), "open")
        del self.raw[: len(head) + len(answer.rest)]
        return answer

    async def close(self) -> None:
        """Close, if that was not done."""
        await trio.aclose_forcefully(self.stream)

    def reset(self) -> None:
        """Break the connection as by RST."""
        stream = self.stream
        assert isinstance(stream, trio.SocketStream)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        stream.socket.close()


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds; the caller bounds the wait."""
    while not holds():  # noqa: ASYNC110 - what is waited for is the kernel's, or another task's plain value
        await trio.sleep(0.001)


def finish_reasons(taken: Answer) -> list[str]:
    """The finish reasons of a stream, in order."""
    choices = [chunk["choices"][0] for chunk in taken.chunks if chunk.get("choices")]
    return [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]


def frames_so_far(raw: bytes) -> list[bytes]:
    """The payloads of a chunked stream, as far as it came."""
    body = dechunked(raw.partition(b"\r\n\r\n")[2])[0]
    return [frame[6:] for frame in body.split(b"\n\n") if frame.startswith(b"data: ")]
