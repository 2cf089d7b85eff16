"""The little HTTP/1.1 that a provider needs: requests in (parsed by llhttp), heads and chunks out.

Answers are written by hand because a good HTTP library refuses to write the broken ones.
"""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final

import attrs
import httptools

LAST_CHUNK: Final = b"0\r\n\r\n"
MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024


class BadHttpError(Exception):
    """What the client sent is not HTTP/1.1, or over the limit; the connection cannot go on."""


@attrs.frozen
class Request:
    """One whole request; header names are lower case, of repeated ones the last counts."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool
    query: str = ""


class RequestReader:
    """Bytes in, whole requests out; holds at most ``MAX_REQUEST_BYTES`` of a request."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._whole: list[Request] = []
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._held = 0
        self._is_last = False

    def feed(self, data: bytes) -> list[Request]:
        """Take what arrived; return the requests that it completes, in order.

        What follows a request that asked for the connection to be closed is ignored.

        Raises:
            BadHttpError: the bytes are not HTTP, or the request is too large.
        """
        self._held += len(data)
        if self._held > MAX_REQUEST_BYTES:
            raise BadHttpError("the request is too large")
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            if not self._is_last:
                raise BadHttpError("the request is not HTTP/1.1") from exc
        whole, self._whole = self._whole, []
        return whole

    # The names of the callbacks are httptools'.

    def on_message_begin(self) -> None:
        """Forget the request before."""
        self._target = b""
        self._headers = {}
        self._body = bytearray()

    def on_url(self, target: bytes) -> None:
        """Take (a piece of) the request target."""
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._body += data

    def on_message_complete(self) -> None:
        """Put the request together."""
        self._held = 0
        self._is_last = not self._parser.should_keep_alive()
        path, _, query = self._target.decode("latin-1").partition("?")
        self._whole.append(
            Request(
                method=self._parser.get_method().decode("latin-1"),
                path=path,
                headers=self._headers,
                body=bytes(self._body),
                keep_alive=not self._is_last,
                query=query,
            )
        )


def response_head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return a status line and header block with its blank line; any status from 100 to 999."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} {phrase}\r\n{lines}\r\n".encode("latin-1")


def as_chunk(data: bytes) -> bytes:
    """Return ``data`` as one chunk of a chunked body; ``data`` must not be empty, for that would end the body."""
    assert data
    return b"%x\r\n%b\r\n" % (len(data), data)
