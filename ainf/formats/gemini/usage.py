"""Usage on the Gemini wire, both ways.

Source: the types of the ``google-genai`` package, ``GenerateContentResponseUsageMetadata``: ``promptTokenCount``
includes the cached ones (``cachedContentTokenCount``); the results of tools that the provider ran
(``toolUsePromptTokenCount``) are input beside it; ``candidatesTokenCount`` and ``thoughtsTokenCount`` together are
what the model wrote; ``totalTokenCount`` is the sum of all four. Counts of zero are left out. The numbers are
cumulative: every chunk of a stream tells all so far.
"""

from collections.abc import Mapping
from typing import Any

from ainf.formats.observe import believable_usage
from ainf.inference.usage import Usage


def read_usage(document: Mapping[str, Any]) -> Usage | None:
    """Return the usage that an object of the wire states, or None where it states none that can be true.

    Only the numbers that we price are read; ``totalTokenCount`` is not, since a sum cannot correct its parts.
    """
    thoughts = document.get("thoughtsTokenCount")
    prompt = document.get("promptTokenCount")
    return believable_usage(
        input_tokens=_sum("" if prompt is None else prompt, document.get("toolUsePromptTokenCount")),
        cached_input_tokens=document.get("cachedContentTokenCount"),
        output_tokens=_sum(document.get("candidatesTokenCount"), thoughts),
        reasoning_tokens=thoughts,
    )


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Return usage as the wire says it. Writes to a cache have no count of their own: they are input."""
    return {
        "promptTokenCount": usage.input_tokens,
        "cachedContentTokenCount": usage.cached_input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "thoughtsTokenCount": usage.reasoning_tokens,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }


def _sum(first: Any, second: Any) -> Any:  # noqa: ANN401 - a provider's words, judged by believable_usage
    """Return the sum of two counts, or the one of them that is no count, so that the sum is none either."""
    for count in (first, second):
        if count is not None and (type(count) is not int or count < 0):
            return count
    return (first or 0) + (second or 0)
