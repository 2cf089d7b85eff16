"""Usage on the Responses wire, both ways.

Source: ``openai.types.responses.ResponseUsage``: ``input_tokens`` includes the cached ones and those written to a
cache, ``output_tokens`` the reasoning ones, which is our convention too. Of those written, ``ttl_12h_tokens`` are the
ones that are kept for longer than usual.
"""

from typing import Any

from ainf.formats.observe import believable_usage, part, required_count
from ainf.inference.usage import Usage


def read_usage(document: Any) -> Usage | None:  # noqa: ANN401 - a provider's word, judged here
    """Return the usage that an object of the wire states, or None where it states none that can be true.

    ``total_tokens`` is not read, since a sum cannot correct its parts.
    """
    if not isinstance(document, dict):
        return None
    details = document.get("input_tokens_details")
    return believable_usage(
        input_tokens=required_count(document, "input_tokens"),
        cached_input_tokens=part(details, "cached_tokens"),
        cache_write_tokens=part(details, "cache_write_tokens"),
        long_cache_write_tokens=part(part(details, "cache_write_tokens_details"), "ttl_12h_tokens"),
        output_tokens=required_count(document, "output_tokens"),
        reasoning_tokens=part(document.get("output_tokens_details"), "reasoning_tokens"),
    )


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Return usage as the wire says it."""
    details: dict[str, Any] = {
        "cached_tokens": usage.cached_input_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
    }
    if usage.cache_write_tokens:
        long = usage.long_cache_write_tokens
        details["cache_write_tokens_details"] = {
            "ttl_30m_tokens": usage.cache_write_tokens - long,
            "ttl_12h_tokens": long,
        }
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": details,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
