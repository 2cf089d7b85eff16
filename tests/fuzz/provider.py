"""What must hold of any bytes that a provider sends for an HTTP answer, however they are cut."""

from collections.abc import Sequence
from typing import Any, Final

import attrs
import h11
import trio
import trio.testing

from ainf.inference.errors import UpstreamError
from ainf.upstream.client import UpstreamClient
from ainf.upstream.limits import UpstreamLimits
from ainf.upstream.request import UpstreamRequest
from ainf.upstream.response import ResponseReader
from tests.fuzz.choices import Choices
from tests.fuzz.http1 import answers_in, values_of

LIMITS: Final = UpstreamLimits(header_bytes=2_048, error_body_bytes=500)
_REQUEST: Final = UpstreamRequest("http://provider.test/v1", ((b"authorization", b"Bearer x"),), b"{}")
_LIMIT: Final = "over the gateway's limit"
_CODES: Final = {"upstream_protocol", "upstream_truncated", "upstream_error"}


@attrs.frozen
class Heard:
    """What was made of an answer."""

    status: int | None
    headers: tuple[tuple[bytes, bytes], ...] | None
    body: bytes
    complete: bool
    failure: str | None


def answer(data: bytes) -> None:
    """An answer is read the same at any cut, or fails as a provider's does; a second parser reads the same body."""
    choices = Choices(data)
    pieces = choices.cuts(choices.body)
    whole, cut = _read([choices.body]), _read(pieces)
    if _LIMIT not in f"{whole.failure} {cut.failure}":  # framing without a body is bounded by what a read brings
        assert cut == whole, "what is read depends on how the bytes were cut"
    judged = _judged(choices.body)
    if whole.complete:
        _check_framing(choices.body, whole)
    if whole.complete and judged is not None:
        assert whole.body == judged, "another parser reads another body"
    trio.run(_call, pieces, whole, clock=trio.testing.MockClock(autojump_threshold=0))


def _read(pieces: Sequence[bytes]) -> Heard:
    reader, body = ResponseReader(header_bytes=LIMITS.header_bytes), b""
    for piece in pieces:
        if reader.complete or reader.failure is not None:
            break  # as whoever reads: nothing behind an end is read
        reader.receive(piece)
        body += reader.take_body()
    reader.receive_eof()
    body += reader.take_body()
    head, failure = reader.head, reader.failure
    if head is not None:
        assert isinstance(head.content_type, bytes)
        assert 200 <= head.status < 600 or head.status == 101
        assert reader.status == head.status
    assert (failure is None) or failure.code in _CODES
    assert (failure is None) == reader.complete
    # A head that is wrong may be found so before the status that stands in it is told.
    status = None if head is None else reader.status
    return Heard(status, None if head is None else head.headers, body, reader.complete, failure and str(failure))


def _check_framing(data: bytes, heard: Heard) -> None:
    """What is complete came whole, and in a coding that is understood."""
    assert heard.headers is not None
    headers = list(heard.headers)
    codings = values_of(headers, b"transfer-encoding")
    assert {coding.lower() for coding in codings} <= {b"chunked"}
    assert heard.status is not None
    if heard.status < 300:
        assert all(value.strip().lower() in (b"", b"identity") for value in values_of(headers, b"content-encoding"))
    if heard.status not in (204, 304) and (codings or values_of(headers, b"content-length")):
        strict, _ = answers_in(data, [])
        assert strict, "a strict reader finds no whole answer"
        assert strict[0].body == heard.body, "a strict reader finds another body"


def _judged(data: bytes) -> bytes | None:
    """Return the body that h11 reads; None where it refuses the answer."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="POST", target="/", headers=[("host", "a"), ("content-length", "0")]))
    parser.send(h11.EndOfMessage())
    body = b""
    try:
        parser.receive_data(data)
        parser.receive_data(b"")
        while not isinstance(event := parser.next_event(), h11.EndOfMessage | h11.ConnectionClosed):
            if isinstance(event, h11.Data):
                body += event.data
            if event in (h11.NEED_DATA, h11.PAUSED):
                return None
    except (h11.RemoteProtocolError, RuntimeError):
        return None
    return body


class _Wire:
    """A provider that says its pieces and closes."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = list(pieces)
        self.closed = False

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._pieces.pop(0) if self._pieces else b""

    def is_quiet(self) -> bool:
        return not (self._pieces or self.closed)

    def may_have_arrived(self) -> bool:
        return True

    def take(self, max_bytes: int) -> bytes:
        self.closed = True
        return b"".join(self._pieces)[:max_bytes]

    def close(self) -> None:
        self.closed = True


async def _call(pieces: Sequence[bytes], expected: Heard) -> None:
    wire = _Wire(pieces)

    async def dial(host: str, port: int) -> Any:
        await trio.lowlevel.checkpoint()
        return wire

    client = UpstreamClient(limits=LIMITS, dialer=dial)
    call, body, failure = client.call(_REQUEST), b"", None
    with trio.fail_after(100):
        try:
            head = await call.start()
            if head.status != 200:
                assert len(await call.read_error_body()) <= LIMITS.error_body_bytes
            while part := await call.receive():
                body += part
        except UpstreamError as error:
            failure = error
    await call.aclose()
    if failure is None and head.status == 200:
        assert (body, expected.complete) == (expected.body, True)
    assert (failure is None) == expected.complete or isinstance(failure, UpstreamError)
    client.close()
    assert wire.closed, "a connection is left open"
