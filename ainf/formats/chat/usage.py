"""Usage on the chat wire, both ways.

Source: OpenAI's API reference, "completion usage": ``prompt_tokens`` includes the cached ones and those written to a
cache, ``completion_tokens`` the reasoning ones, which is our convention too; ``audio_tokens`` are a part of either.
DeepSeek names the cached ones ``prompt_cache_hit_tokens``, Together ``cached_tokens``, outside the details. xAI's
``completion_tokens`` is without the reasoning tokens, which only ``total_tokens`` includes (docs.x.ai, "consumption and
rate limits").
"""

from typing import Any

from ainf.formats.observe import believable_usage, clamped, part, required_count
from ainf.inference.usage import Usage


def read_usage(document: Any) -> Usage | None:  # noqa: ANN401 - a provider's word, judged here
    """Return the usage that an object of the wire states, or None where it states none that can be true.

    Only the numbers that we price are read. ``total_tokens`` corrects none of them; it only tells whether the reasoning
    tokens are in ``completion_tokens`` or beside it.
    """
    if not isinstance(document, dict):
        return None
    read, written = document.get("prompt_tokens_details"), document.get("completion_tokens_details")
    prompt, cached, stored = (
        required_count(document, "prompt_tokens"),
        _cached(document),
        _count(read, "cache_write_tokens"),
    )
    reasoning = _count(written, "reasoning_tokens")
    output = _output_tokens(document, reasoning)
    return believable_usage(
        input_tokens=prompt,
        cached_input_tokens=cached,
        cache_write_tokens=stored,
        output_tokens=output,
        reasoning_tokens=reasoning,
        audio_input_tokens=clamped(_count(read, "audio_tokens"), prompt, cached, stored),
        audio_output_tokens=clamped(_count(written, "audio_tokens"), output, reasoning),
    )


def _cached(document: dict[str, Any]) -> Any:  # noqa: ANN401 - judged by believable_usage
    """Return the count of cached tokens, by whichever name it has."""
    told = (
        part(document.get("prompt_tokens_details"), "cached_tokens"),
        document.get("prompt_cache_hit_tokens"),
        document.get("cached_tokens"),
    )
    return next((count for count in told if count is not None), 0)


def _count(details: Any, name: str) -> Any:  # noqa: ANN401 - judged by believable_usage
    """Return a count of a details object, null as zero."""
    count = part(details, name)
    return 0 if count is None else count


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Return usage as the wire says it; sound is told where there is any."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            **_sound(usage.audio_input_tokens),
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            **_sound(usage.audio_output_tokens),
        },
    }


def _sound(tokens: int) -> dict[str, int]:
    return {"audio_tokens": tokens} if tokens else {}


def _output_tokens(document: dict[str, Any], reasoning: Any) -> Any:  # noqa: ANN401 - judged by believable_usage
    """Return the count of all output.

    The reasoning tokens are added exactly where the total is the sum of all three. Where they are in the completion's
    already, that total would be too large by them, so they are never counted twice.
    """
    prompt, completion = required_count(document, "prompt_tokens"), required_count(document, "completion_tokens")
    counts = (prompt, completion, reasoning)
    if all(type(count) is int for count in counts) and sum(counts) == document.get("total_tokens"):
        return completion + reasoning
    return completion
