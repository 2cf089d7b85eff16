"""Usage on the chat wire, both ways.

Source: OpenAI's API reference, "completion usage": ``prompt_tokens`` includes the cached ones, ``completion_tokens``
the reasoning ones, which is our convention too. DeepSeek names the cached ones ``prompt_cache_hit_tokens``.
"""

from typing import Any, Final

import msgspec

from ainf.formats.base import Answer
from ainf.inference.usage import Usage

# No answer has a billion tokens; what says so is broken, and must not reach arithmetic on 64-bit integers.
_MOST_TOKENS: Final = 1_000_000_000
_RAW_CHARACTERS: Final = 2_000


def read_usage(document: Any) -> Usage | None:  # noqa: ANN401 - a provider's word, judged here
    """Return the usage that an object of the wire states, or None where it states none that can be true.

    Only the numbers that we price are read; ``total_tokens`` is not, since a sum cannot correct its parts.
    """
    if not isinstance(document, dict):
        return None
    counts: tuple[Any, ...] = (
        document.get("prompt_tokens"),
        _part(document.get("prompt_tokens_details"), "cached_tokens", document.get("prompt_cache_hit_tokens")),
        document.get("completion_tokens"),
        _part(document.get("completion_tokens_details"), "reasoning_tokens", None),
    )
    if not all(type(count) is int and 0 <= count <= _MOST_TOKENS for count in counts):
        return None
    usage = Usage(*counts)
    return usage if usage.is_consistent() else None


def note_usage(answer: Answer, document: Any) -> None:  # noqa: ANN401 - as read_usage
    """Keep what a usage object says; a later one replaces an earlier one, never adds to it."""
    usage = read_usage(document)
    try:
        answer.raw_usage = msgspec.json.encode(document).decode()[:_RAW_CHARACTERS]
    except (ValueError, TypeError, RecursionError):  # a lone surrogate, a number that JSON cannot say
        answer.raw_usage = repr(document)[:_RAW_CHARACTERS]
    answer.is_usage_rejected = usage is None
    if usage is not None:
        answer.usage = usage


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Return usage as the wire says it."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _part(details: Any, name: str, otherwise: Any) -> Any:  # noqa: ANN401 - judged by read_usage
    """Return one number of the details; absent and null are zero."""
    value = details.get(name) if isinstance(details, dict) else None
    if value is None:
        value = otherwise
    return 0 if value is None else value
