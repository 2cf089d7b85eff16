"""Usage on the Messages wire, both ways.

Source: Anthropic's API reference, "Messages" (``usage``): ``input_tokens`` holds neither the tokens that were read from
a cache nor those that were written to one; ``output_tokens`` includes the thinking. Ours includes all of them. A stream
states usage in ``message_start`` and, as running totals, in ``message_delta``.
"""

from typing import Any, Final

import msgspec

from ainf.formats.observe import believable_usage, part, required_count
from ainf.inference.usage import Usage

_TOTALS: Final = (
    "input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "output_tokens",
    "output_tokens_details", "server_tool_use", "service_tier",
)  # fmt: skip
"""What is kept of a usage object: what is priced, and what a receipt should show."""
_MOST_BYTES: Final = 1_000
"""Of one of them, as JSON."""


class UsageTotals:
    """The usage of a stream, put together from its parts.

    A later number takes the place of an earlier one and is never added to it. Zero and null take no one's place: totals
    do not shrink, and some providers repeat only the output.
    """

    __slots__ = ("_totals",)

    def __init__(self) -> None:
        self._totals: dict[str, Any] = {}

    def add(self, document: Any) -> Any:  # noqa: ANN401 - a provider's word, judged by read_usage
        """Take one usage object; return all that is known with it, or what came where that is no object."""
        if not isinstance(document, dict):
            return document
        for name in _TOTALS:
            if document.get(name) or (name in document and name not in self._totals):
                self._totals[name] = _bounded(document[name])
        return dict(self._totals)


def read_usage(document: Any) -> Usage | None:  # noqa: ANN401 - a provider's word, judged here
    """Return the usage that an object of the wire states, or None where it states none that can be true."""
    if not isinstance(document, dict):
        return None
    written = document.get("cache_creation")
    long_write = part(written, "ephemeral_1h_input_tokens")
    write = document.get("cache_creation_input_tokens")
    if write is None:
        write = _sum_or_nonsense(long_write, part(written, "ephemeral_5m_input_tokens"))
    cached = document.get("cache_read_input_tokens")
    return believable_usage(
        input_tokens=_sum_or_nonsense(required_count(document, "input_tokens"), cached, write),
        cached_input_tokens=cached,
        cache_write_tokens=write,
        long_cache_write_tokens=long_write,
        output_tokens=required_count(document, "output_tokens"),
        reasoning_tokens=part(document.get("output_tokens_details"), "thinking_tokens"),
    )


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Return usage as the wire says it."""
    return {
        "input_tokens": usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_input_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens - usage.long_cache_write_tokens,
            "ephemeral_1h_input_tokens": usage.long_cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }


_NONSENSE: Final = ""
"""No count of tokens: ``believable_usage`` rejects it."""


def _sum_or_nonsense(*counts: Any) -> Any:  # noqa: ANN401 - judged by believable_usage
    """Return the sum of counts, null as zero; no count where one of them is none, lest two wrongs make a right."""
    told = [0 if count is None else count for count in counts]
    return sum(told) if all(type(count) is int for count in told) else _NONSENSE


def _bounded(value: Any) -> Any:  # noqa: ANN401 - a provider's word
    """Return a part of a usage object; no count in place of one that is longer than any: it is read again and again."""
    if type(value) is int:
        return value
    try:
        return value if len(msgspec.json.encode(value)) <= _MOST_BYTES else _NONSENSE
    except (ValueError, RecursionError):
        return _NONSENSE
