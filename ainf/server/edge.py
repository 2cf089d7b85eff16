"""What is refused before the application sees it: pure checks of a request's head, and the answer to a refusal.

The raw head is checked as well as the parsed one, because h11 is lenient where two parsers in a row must not differ: it
takes bare LF and folded lines, lets Transfer-Encoding win over Content-Length, and merges equal Content-Lengths
(RFC 9112, sections 2.2, 5.2 and 6.3).
"""

import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final, TypeAlias

import h11

from ainf.inference.errors import AinfError, DownstreamError
from ainf.server.limits import ServerLimits

Headers: TypeAlias = list[tuple[bytes, bytes]]
ErrorAnswer: TypeAlias = Callable[[str, AinfError], tuple[Headers, bytes]]
"""Takes the path of a request, or what can be known of it, and the error; gives the answer's own headers and JSON body.

The headers say all that a client must know: type and length of the body, an id, whether and when to ask again.
"""

HEAD_END: Final = b"\r\n\r\n"

_CONTENT_LENGTH: Final = re.compile(rb"\ncontent-length:[ \t]*[0-9]{1,19}[ \t]*\r")
_HOST: Final = re.compile(rb"(?:[a-z0-9_](?:[a-z0-9._-]*)|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.IGNORECASE)
# Canonical paths only: no escapes, no empty or dot segments, no parameters. A trailing slash is the router's matter.
# But for a slash in the name of a model, which the SDKs escape: it is a part of the name however it is written.
_SEGMENT: Final = rb"[A-Za-z0-9_~@!$&'()*+,=:-][A-Za-z0-9._~@!$&'()*+,=:-]*"
_PATH: Final = re.compile(rb"/(?:%b(?:/|\Z))*|/v1/models/%b(?:(?:/|%%2[Ff])%b)*" % ((_SEGMENT,) * 3))
_SHOWN_PATH_BYTES: Final = 256


def check_raw_head(head: bytes, limits: ServerLimits) -> None:
    """Check the bytes of a head, from the request line to the blank line, or as much of them as has come.

    Raises:
        DownstreamError: ``uri_too_long``, ``headers_too_large``, or ``bad_request`` where framing is ambiguous.
    """
    if len(head) > limits.header_bytes:
        if not 0 <= head.find(b"\r\n") <= limits.target_bytes:
            raise DownstreamError("uri_too_long", f"The request target is over {limits.target_bytes} bytes.")
        raise DownstreamError("headers_too_large", f"The header block is over {limits.header_bytes} bytes.")
    lines = head.count(b"\r\n")
    if lines > limits.header_lines + 2:  # the request line and the blank line
        raise DownstreamError("headers_too_large", f"The header block has more than {limits.header_lines} lines.")
    if head.count(b"\n") != lines or head[:1] < b"!":
        raise DownstreamError("bad_request", "The request is not HTTP/1.1: lines must end in CRLF.")
    if b"\n " in head or b"\n\t" in head:
        raise DownstreamError("bad_request", "Folded header lines are not accepted.")
    lowered = head.lower()
    lengths = lowered.count(b"\ncontent-length:")
    if lengths:
        if b"\ntransfer-encoding:" in lowered:
            raise DownstreamError("bad_request", "Content-Length and Transfer-Encoding exclude each other.")
        if lowered.endswith(HEAD_END) and (lengths > 1 or _CONTENT_LENGTH.search(lowered) is None):
            raise DownstreamError("bad_request", "There must be one Content-Length, a plain decimal number.")


def check_request(request: h11.Request, limits: ServerLimits) -> None:
    """Check a parsed head.

    Raises:
        DownstreamError: ``uri_too_long``, ``not_found``, ``bad_request``, ``unsupported_media_type`` or
            ``request_too_large``.
    """
    if len(request.target) > limits.target_bytes:
        raise DownstreamError("uri_too_long", f"The request target is over {limits.target_bytes} bytes.")
    if request.http_version not in {b"1.1", b"1.0"}:
        raise DownstreamError("bad_request", "Only HTTP/1.1 is spoken here.")
    if request.method == b"CONNECT":
        raise DownstreamError("bad_request", "CONNECT is for proxies; this is none.")
    if _PATH.fullmatch(request.target.partition(b"?")[0]) is None:
        raise DownstreamError("not_found", "Paths must be written in their plain form.")
    for name, value in request.headers:
        if name == b"host" and _HOST.fullmatch(value) is None:
            raise DownstreamError("bad_request", "The Host header is malformed.")
        if name == b"content-encoding" and value.lower() != b"identity":
            raise DownstreamError("unsupported_media_type", "Send the body without content-encoding.")
        if name == b"transfer-encoding" and request.http_version == b"1.0":
            raise DownstreamError("bad_request", "HTTP/1.0 has no Transfer-Encoding.")
        if name == b"content-length" and int(value) > limits.body_bytes:
            raise too_large(limits)


def too_large(limits: ServerLimits) -> DownstreamError:
    """The error for a body that is, or has become, too large."""
    return DownstreamError("request_too_large", f"The body is over {limits.body_bytes} bytes.")


def malformed() -> DownstreamError:
    """The error for what h11 found wrong. Its own words are not shown: they repeat the input."""
    return DownstreamError("bad_request", "The request is not well-formed HTTP/1.1.")


def path_of(head: bytes) -> str:
    """The path in a head that may be anything: cut short, and empty when there is none."""
    parts = head[: _SHOWN_PATH_BYTES * 2].split(b"\r\n", 1)[0].split(b" ")
    if len(parts) < 2:
        return ""
    return parts[1].partition(b"?")[0][:_SHOWN_PATH_BYTES].decode("latin-1")


def refusal(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """A whole response that says no and closes."""
    lines = [b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode())]
    lines += [b"%b: %b" % header for header in headers]
    return b"\r\n".join([*lines, b"connection: close", b"", body])
