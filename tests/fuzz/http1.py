"""HTTP/1.1 read strictly by a second reader, which takes nothing that two parsers in a row might read otherwise.

Source: RFC 9112 and RFC 9110. It is slow and says of bytes only what is beyond doubt: the requests that begin them.
"""

import re
from typing import Final

import attrs

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE: Final = re.compile(rb"(%b) ([!-~]+) HTTP/(1\.[01])" % _TOKEN)
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?")
# Other control characters than these are no text, and cannot part one field from another.
_HEADER: Final = re.compile(rb"(%b):[ \t]*([^\0\r\n]*?)[ \t]*" % _TOKEN)
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?")  # h11 takes a bare CR in an extension, too
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")

Headers = list[tuple[bytes, bytes]]


@attrs.frozen
class Request:
    """A request; ``body`` is None where it is not whole."""

    method: bytes
    target: bytes
    body: bytes | None


@attrs.frozen
class Answer:
    """An answer, whole."""

    status: int
    headers: Headers
    body: bytes


def requests_in(data: bytes) -> list[Request]:
    """Return the requests that bytes begin with, up to the first that is not whole or not beyond doubt."""
    found: list[Request] = []
    while data := data.lstrip(b"\r\n"):
        parsed = _head(data, _REQUEST_LINE)
        if parsed is None:
            break
        line, headers, rest = parsed
        if not _is_sound(line[3], headers):
            break
        body, data = _body(headers, rest)
        found.append(Request(line[1], line[2], body))
        if body is None:
            break
    return found


def answers_in(data: bytes, methods: list[bytes]) -> tuple[list[Answer], bytes]:
    """Return the final answers in bytes, and what is left behind them; the methods say which have no body."""
    found: list[Answer] = []
    while data := data.lstrip(b"\r\n"):
        parsed = _head(data, _STATUS_LINE)
        if parsed is None:
            break
        line, headers, rest = parsed
        status = int(line[1])
        if status < 200:
            data = rest
            continue
        is_bare = len(found) < len(methods) and methods[len(found)] == b"HEAD"
        body, rest = (b"", rest) if is_bare else _body(headers, rest)
        if body is None:
            break
        found.append(Answer(status, headers, body))
        data = rest
    return found, data


def values_of(headers: Headers, name: bytes) -> list[bytes]:
    """Return the values of a header, by its lower-case name."""
    return [value for each, value in headers if each.lower() == name]


def _head(data: bytes, first: re.Pattern[bytes]) -> tuple[re.Match[bytes], Headers, bytes] | None:
    head, end, rest = data.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    match, headers = first.fullmatch(line), [_HEADER.fullmatch(each) for each in lines]
    if not end or match is None or not all(headers):
        return None
    return match, [(found[1], found[2]) for found in headers if found is not None], rest


def _is_sound(version: bytes, headers: Headers) -> bool:
    lengths, codings = values_of(headers, b"content-length"), values_of(headers, b"transfer-encoding")
    hosts = values_of(headers, b"host")
    if len(hosts) > 1 or (version == b"1.1" and not hosts) or len(lengths) + len(codings) > 1:
        return False
    if codings:
        return version == b"1.1" and codings[0].lower() == b"chunked"
    return all(map(_LENGTH.fullmatch, lengths))


def _body(headers: Headers, rest: bytes) -> tuple[bytes | None, bytes]:
    if values_of(headers, b"transfer-encoding"):
        return _chunks(rest)
    size = int(next(iter(values_of(headers, b"content-length")), b"0"))
    return (rest[:size], rest[size:]) if len(rest) >= size else (None, b"")


def _chunks(rest: bytes) -> tuple[bytes | None, bytes]:
    body = b""
    while True:
        line, end, rest = rest.partition(b"\r\n")
        size = _CHUNK.fullmatch(line)
        if not end or size is None:
            return None, b""
        count = int(size[1], 16)
        if not count:
            break
        if rest[count : count + 2] != b"\r\n":
            return None, b""
        body, rest = body + rest[:count], rest[count + 2 :]
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            return None, b""
        if not line:
            return body, rest
        if _HEADER.fullmatch(line) is None and line[:1] not in (b" ", b"\t"):  # a folded trailer ends where it ends
            return None, b""
