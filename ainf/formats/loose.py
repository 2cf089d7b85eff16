"""Reading what providers send, however broken, and writing it again. For answers only: requests are read strictly."""

import json
import math
from collections.abc import Iterable
from typing import Any

import msgspec


def load_loosely(payload: bytes) -> dict[str, Any] | None:
    """Return a payload's JSON object, however broken its text is; None where it is no JSON object.

    Invalid UTF-8 becomes U+FFFD, lone surrogates stay in the strings; NaN and infinities (also 1e400) are read as what
    they are, so that nobody takes them for a count or for nothing.
    """
    try:
        document = json.loads(payload.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def dump_loosely(document: dict[str, Any]) -> bytes:
    """Return a document that was loaded loosely as JSON.

    Lone surrogates are written as the escapes that they were; NaN and infinities, which JSON does not have, as null,
    and they may be null in the document afterwards.
    """
    try:
        return msgspec.json.encode(document)
    except ValueError:
        _nullify(document)
        return json.dumps(document, separators=(",", ":")).encode()


def text_bytes(text: str | None) -> int:
    """Return how many bytes of UTF-8 a provider's text has, lone surrogates included; 0 for none."""
    if not text:
        return 0
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def text_or_none(value: Any) -> str | None:  # noqa: ANN401 - a provider's word, judged here
    """Return a value that should be text, None where it is not."""
    return value if isinstance(value, str) else None


def clean(text: str) -> str:
    """Return text that can be encoded: surrogate pairs joined, lone ones as U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_cut(body: bytes) -> bool:
    """Whether a body is the beginning of a JSON object."""
    try:
        msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        return body.lstrip().startswith(b"{") and "truncated" in str(error)
    except (ValueError, RecursionError):
        return False
    return False


def _nullify(document: dict[str, Any]) -> None:
    """Put null in the place of each number that JSON does not have, however deep it stands."""
    waiting: list[dict[str, Any] | list[Any]] = [document]
    while waiting:
        container = waiting.pop()
        places: Iterable[tuple[Any, Any]] = container.items() if isinstance(container, dict) else enumerate(container)
        for place, value in places:
            if isinstance(value, dict | list):
                waiting.append(value)
            elif isinstance(value, float) and not math.isfinite(value):
                container[place] = None
