"""What a provider's bytes say, read a second time: plainly, loosely, and with nothing of the gateway's own code.

Where the gateway finds an end, or a usage, this must find it too. It looks everywhere and judges nothing, so that it
may find more than the gateway takes.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from tests.event_streams import read_plainly

_DEEP: Final = 10_000


def payloads_in(body: bytes) -> list[bytes]:
    """Return everything in a body that may be a document: the payloads of its events, and the body itself."""
    return [*read_plainly(body)[0], body]


def documents_in(body: bytes) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a body, those in lists too."""
    for payload in payloads_in(body):
        found = _load(payload)
        yield from (each for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict))


def has_end(format_name: str, body: bytes) -> bool:
    """Whether a body holds a format's evidence of an end (L8), wherever it stands."""
    return any(map(_ENDS[format_name], documents_in(body)))


def largest_count(body: bytes) -> int:
    """Return the sum of all whole numbers in the documents of a body: no usage that it tells is above it."""
    return sum(abs(number) for document in documents_in(body) for number in _numbers(document))


def _load(payload: bytes) -> Any:
    """Return a JSON value, however broken its text is and however long its numbers are; None where it is none."""
    limit, depth = sys.get_int_max_str_digits(), sys.getrecursionlimit()
    sys.set_int_max_str_digits(0)
    sys.setrecursionlimit(_DEEP)
    try:
        return json.loads(payload.decode("utf-8", "replace").removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return None
    finally:
        sys.set_int_max_str_digits(limit)
        sys.setrecursionlimit(depth)


def _numbers(value: Any) -> Iterator[int]:
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
        elif type(found) is int:
            yield found


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _chat_ends(document: Mapping[str, Any]) -> bool:
    reasons = (choice.get("finish_reason") for choice in _dicts(document.get("choices")))
    return any(_is_word(reason) and reason != "error" for reason in reasons)


def _messages_end(document: Mapping[str, Any]) -> bool:
    if document.get("type") == "message_delta":
        delta = document.get("delta")
        return isinstance(delta, dict) and _is_word(delta.get("stop_reason"))
    return document.get("type") != "error" and _is_word(document.get("stop_reason"))


def _responses_end(document: Mapping[str, Any]) -> bool:
    ends = ("response.completed", "response.incomplete", "completed", "incomplete")
    return document.get("type") in ends or document.get("status") in ends


def _gemini_ends(document: Mapping[str, Any]) -> bool:
    feedback = document.get("promptFeedback")
    reasons = [candidate.get("finishReason") for candidate in _dicts(document.get("candidates"))]
    return any(map(_is_word, reasons)) or (isinstance(feedback, dict) and _is_word(feedback.get("blockReason")))


_ENDS: Final[Mapping[str, Callable[[Mapping[str, Any]], bool]]] = {
    "chat": _chat_ends,
    "messages": _messages_end,
    "responses": _responses_end,
    "gemini": _gemini_ends,
}
