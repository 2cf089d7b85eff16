"""A client that takes whatever comes: raw bytes in, and what can be said of them."""

import json

import attrs
import trio


@attrs.frozen
class Taken:
    """What came over the wire until the end."""

    raw: bytes
    end: str
    """eof, reset, or silence (nothing more came for as long as the client was patient)."""

    @property
    def head(self):
        return self.raw.partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def status(self):
        return int(self.head.split(" ")[1])

    @property
    def headers(self):
        return dict(line.lower().split(": ", 1) for line in self.head.split("\r\n")[1:])

    @property
    def rest(self):
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def body(self):
        """The body's bytes as far as they came, without the framing."""
        return self._framed[0]

    @property
    def whole(self):
        """Whether the framing says that the body is complete."""
        return self._framed[1]

    @property
    def _framed(self):
        if self.headers.get("transfer-encoding") == "chunked":
            return dechunked(self.rest)
        return self.rest, len(self.rest) == int(self.headers.get("content-length", 0))

    @property
    def payloads(self):
        """The data of each event with LF line ends."""
        events = [event for event in self.body.split(b"\n\n") if b"data: " in event]
        return [b"\n".join(line[6:] for line in event.split(b"\n") if line.startswith(b"data: ")) for event in events]

    @property
    def chunks(self):
        return [json.loads(payload) for payload in self.payloads if payload != b"[DONE]"]

    @property
    def text(self):
        deltas = [choice["delta"] for chunk in self.chunks for choice in chunk.get("choices", ())]
        return "".join(delta.get("content") or "" for delta in deltas)


def dechunked(rest):
    data = b""
    while rest:
        size_line, found, rest = rest.partition(b"\r\n")
        if not found:
            return data, False
        size = int(size_line, 16)
        if size == 0:
            return data, rest == b"\r\n"
        data += rest[:size]
        if len(rest) < size + 2:
            return data, False
        rest = rest[size + 2 :]
    return data, False


def request_bytes(model="sim", *, stream=True, close=True, path="/v1/chat/completions", headers=(), **fields):
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello simulator"}], **fields}
    return post(json.dumps(body).encode(), close=close, path=path, headers=headers)


def post(body, *, close=True, path="/v1/chat/completions", headers=(), method="POST"):
    lines = [f"{method} {path} HTTP/1.1", "host: simulator", "content-type: application/json", *headers]
    lines += [f"content-length: {len(body)}", f"connection: {'close' if close else 'keep-alive'}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def take(stream, patience_s=1000.0, max_bytes=10_000_000):
    raw = bytearray()
    while len(raw) < max_bytes:
        with trio.move_on_after(patience_s) as waiting:
            try:
                data = await stream.receive_some(65536)
            except trio.BrokenResourceError:
                return Taken(bytes(raw), "reset")
            if not data:
                return Taken(bytes(raw), "eof")
            raw += data
        if waiting.cancelled_caught:
            return Taken(bytes(raw), "silence")
    return Taken(bytes(raw), "too much")


async def exchange(simulator, model="sim", *, max_bytes=10_000_000, **fields):
    """One request on a connection in memory, to its end."""
    return await send(simulator, request_bytes(model, **fields), max_bytes=max_bytes)


async def send(simulator, raw_request, *, max_bytes=10_000_000):
    async with trio.open_nursery() as nursery:
        client = simulator.connect(nursery)
        await client.send_all(raw_request)
        taken = await take(client, max_bytes=max_bytes)
        await client.aclose()
    return taken


class TappedStream(trio.abc.Stream):
    """A stream that tells of each write before it is done."""

    def __init__(self, stream, on_send):
        self._stream = stream
        self._on_send = on_send

    async def send_all(self, data):
        await self._on_send(bytes(data))
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self):
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes=None):
        return await self._stream.receive_some(max_bytes)

    async def aclose(self):
        await self._stream.aclose()
