"""The strict JSON loader for requests: whatever passes can be written again, stored and reckoned with.

Of duplicate keys the last stands, and only it reaches a provider, since requests are encoded anew. Errors give a
position and never an excerpt of the body.
"""

import json
import re
from typing import Any, Final, NoReturn

import msgspec

from ainf.inference.errors import DownstreamError

DEEPEST: Final = 100
"""Levels of nesting that a body may have."""

_decode = msgspec.json.Decoder().decode
# A run of 19 digits is the shortest that can pass 64 bits; every digit is made a nought so that one search finds it.
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG_RUN = b"0" * 19
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_SURROGATE = re.compile(rb"\\u[dD][89abAB]|\\u[dD][c-fC-F]")


def load_json(body: bytes) -> dict[str, Any]:
    """Return the object that a request body holds.

    Raises:
        DownstreamError: ``invalid_encoding`` (not UTF-8, or with a byte order mark), ``invalid_json`` (also NaN and
            Infinity, and anything but an object), ``invalid_unicode`` (a lone surrogate escape),
            ``number_out_of_range`` (over 64 bits, or no finite double), ``too_deep``.
    """
    if body.startswith(_BOMS) or b"\0" in body[:4]:
        raise DownstreamError("invalid_encoding", "The body must be UTF-8 without a byte order mark.")
    try:
        document = _decode(body)
    except UnicodeDecodeError:
        raise _invalid_encoding(body) from None
    except RecursionError:
        raise _too_deep() from None
    except msgspec.DecodeError as error:
        _refuse(body, error)
    if not isinstance(document, dict):
        raise DownstreamError("invalid_json", "The body must be one JSON object.")
    if body.count(b"{") + body.count(b"[") > DEEPEST and _is_too_deep(document):
        raise _too_deep()
    if _LONG_RUN in body.translate(_DIGITS):
        _check_numbers(document)
    return document


def _refuse(body: bytes, error: msgspec.DecodeError) -> NoReturn:
    """Say why a body was not decoded. The fast decoder does not always know, so a second one is asked."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise _invalid_encoding(body) from None
    if "out of range" in str(error):
        raise _out_of_range() from None
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as found:
        at = len(text[: found.pos].encode())
        raise DownstreamError("invalid_json", f"The body is not valid JSON (at byte {at}).") from None
    except ValueError:
        raise _out_of_range() from None
    if _SURROGATE.search(body):
        raise DownstreamError("invalid_unicode", "A string in the body holds a lone surrogate.") from None
    raise DownstreamError("invalid_json", "The body is not valid JSON.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise DownstreamError("invalid_json", f"The body is not valid JSON: {name} is not a JSON number.")


def _invalid_encoding(body: bytes) -> DownstreamError:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return DownstreamError("invalid_encoding", f"The body must be UTF-8 (byte {error.start} is not).")
    return DownstreamError("invalid_encoding", "The body must be UTF-8.")


def _too_deep() -> DownstreamError:
    return DownstreamError("too_deep", f"The body is nested deeper than {DEEPEST} levels.")


def _out_of_range() -> DownstreamError:
    return DownstreamError("number_out_of_range", "A number in the body is outside 64-bit integers and finite doubles.")


def _is_too_deep(document: dict[str, Any]) -> bool:
    """Whether containers are nested deeper than allowed, found level by level."""
    level: list[Any] = [document]
    for _ in range(DEEPEST):
        level = [
            child
            for container in level
            for child in (container.values() if isinstance(container, dict) else container)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _check_numbers(document: dict[str, Any]) -> None:
    """Refuse integers outside 64 bits, wherever they stand."""
    waiting: list[Any] = [document]
    while waiting:
        container = waiting.pop()
        for value in container.values() if isinstance(container, dict) else container:
            if isinstance(value, dict | list):
                waiting.append(value)
            elif isinstance(value, int) and not _LEAST <= value <= _MOST:
                raise _out_of_range()
