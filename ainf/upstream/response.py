"""Reads one HTTP/1.1 answer after the other: bytes in, head and body out. No I/O.

llhttp (through httptools) does the reading and refuses what is ambiguous: two lengths, length with chunks, bare CR or
LF, NUL, folded headers. What it leaves open is decided here: which versions, statuses and encodings we take, how
large a head may be, and what the end of the bytes means. Source: RFC 9112.
"""

from typing import Final

import attrs
import httptools

from ainf.inference.errors import UpstreamError

Headers = tuple[tuple[bytes, bytes], ...]
_TAKEN_VERSIONS: Final = frozenset({"1.0", "1.1"})


@attrs.frozen(eq=False)
class UpstreamHead:
    """An answer's status and headers; names are in lower case, in order, repeated where they were."""

    status: int
    headers: Headers

    def get(self, name: bytes, default: bytes = b"") -> bytes:
        """Return the first value under this lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return default

    @property
    def content_type(self) -> bytes:
        """The media type in lower case without its parameters; empty when there is none."""
        return self.get(b"content-type").partition(b";")[0].strip().lower()

    @property
    def is_encoded(self) -> bool:
        """Whether the body has a content coding, although identity was asked."""
        return any(
            key == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}
            for key, value in self.headers
        )


class _RefusedError(Exception):
    """Stops llhttp inside a callback."""


# Strategy: llhttp calls back; the callbacks only collect. A failure waits behind the body bytes that came before it.
# The object is used again for every answer of its connection, because it and llhttp refer to each other.
class ResponseReader:
    """Reads the answers of one connection, one at a time.

    Attributes:
        head: the answer's head, once it is read and good.
        complete: the answer is read to its end.
        reusable: complete, and the connection may carry another request.
        failure: what is wrong with the answer; set once, behind the body bytes that were still good.
        status: the status line's, also of a head that was refused; informational ones are not kept.
        touched: whether any byte of an answer has come.
    """

    __slots__ = (
        "_delimited", "_header_bytes", "_headers", "_idle_bytes", "_limit", "_parser", "_pieces", "complete", "failure",
        "head", "on_body", "reusable", "status", "touched",
    )  # fmt: skip

    def __init__(self, *, header_bytes: int) -> None:
        self._limit = header_bytes
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        self._parser = httptools.HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """Make ready for the next answer."""
        self.head: UpstreamHead | None = None
        self.status: int | None = None
        self.complete = False
        self.reusable = False
        self.failure: UpstreamError | None = None
        self.touched = False
        self._pieces.clear()
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_bytes = 0
        self._idle_bytes = 0
        self._delimited = False

    def receive(self, data: bytes) -> None:
        """Take the bytes of one read. Never raises: see ``failure``."""
        self.touched = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self.complete:  # bytes that nobody asked for: the answer stands, the connection does not
                self.reusable = False
            elif self.failure is None:
                self.failure = _protocol_error("The provider's answer is not valid HTTP/1.1.")
            return
        if self._pieces or self.complete:
            self._idle_bytes = 0
            return
        self._idle_bytes += len(data)
        if self._idle_bytes > self._limit:
            self.failure = _too_large()

    def receive_eof(self) -> None:
        """Take the end of the bytes. Never raises: see ``failure``."""
        if self.complete or self.failure is not None:
            return
        if self.head is None:
            self.failure = UpstreamError("upstream_error", "The provider closed the connection without an answer.")
        elif self._delimited:
            self.failure = UpstreamError("upstream_truncated", "The provider's answer broke off before its end.")
        else:
            self.complete = True

    def take_body(self) -> bytes:
        """Return the body bytes that were read since the last time, joined."""
        pieces = self._pieces
        if not pieces:
            return b""
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return body

    # llhttp's callbacks

    def on_message_begin(self) -> None:
        """Refuse a second answer to one request."""
        if self.complete:
            raise _RefusedError

    def on_status(self, reason: bytes) -> None:
        """Keep the status before anything behind it can be refused: a 200 tells that the request was taken on."""
        del reason
        self._note_status(self._parser.get_status_code())

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header; nobody looks at those behind the body (trailers)."""
        if self.status is None:  # a status line that ends with the number has no reason that llhttp would tell
            self._note_status(self._parser.get_status_code())
        self._header_bytes += len(name) + len(value) + 4
        self._headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        """Judge a head; an informational one is read over."""
        status = self._parser.get_status_code()
        self._note_status(status)
        if self._header_bytes > self._limit:
            self._refuse(_too_large())
        if self._parser.get_http_version() not in _TAKEN_VERSIONS:
            self._refuse(_protocol_error("The provider does not answer in HTTP/1.1."))
        if 100 <= status < 200 and status != 101:
            self._headers = []
            return
        if not 200 <= status < 600:
            self._refuse(_protocol_error("The provider answered with a status that has no meaning here."))
        head = UpstreamHead(status, tuple(self._headers))
        for name, value in self._headers:
            if name == b"content-length":
                self._delimited = True
            elif name == b"transfer-encoding":
                if value.lower() != b"chunked":
                    self._refuse(_protocol_error("The provider's transfer encoding is not understood."))
                self._delimited = True
        if head.is_encoded and status < 300:
            self._refuse(_protocol_error("The provider compressed its answer although that was not asked for."))
        self.head = head

    def on_message_complete(self) -> None:
        """Note the end of the answer."""
        if self.head is not None:
            self.complete = True
            self.reusable = self._parser.should_keep_alive()

    def _note_status(self, status: int) -> None:
        if status >= 200:
            self.status = status

    def _refuse(self, failure: UpstreamError) -> None:
        self.failure = failure
        raise _RefusedError


def _protocol_error(message: str) -> UpstreamError:
    return UpstreamError("upstream_protocol", message)


def _too_large() -> UpstreamError:
    return _protocol_error("The head of the provider's answer is over the gateway's limit.")
