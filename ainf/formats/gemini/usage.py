"""Usage on the Gemini wire, both ways.

Source: the types of the ``google-genai`` package, ``GenerateContentResponseUsageMetadata``: ``promptTokenCount``
includes the cached ones (``cachedContentTokenCount``); the results of tools that the provider ran
(``toolUsePromptTokenCount``) are input beside it; ``candidatesTokenCount`` and ``thoughtsTokenCount`` together are
what the model wrote; ``totalTokenCount`` is the sum of all four. Counts of zero are left out. The numbers are
cumulative: every chunk of a stream tells all so far. How much of the prompt, of its cached part and of the answer was
sound is told by lists of modalities (``promptTokensDetails``, ``cacheTokensDetails``, ...).
"""

import functools
from collections.abc import Mapping
from typing import Any

from ainf.formats.observe import believable_usage, clamped
from ainf.inference.usage import Usage


def read_usage(document: Mapping[str, Any]) -> Usage | None:
    """Return the usage that an object of the wire states, or None where it states none that can be true.

    Only the numbers that we price are read; ``totalTokenCount`` is not, since a sum cannot correct its parts.
    """
    thoughts = document.get("thoughtsTokenCount")
    prompt = document.get("promptTokenCount")
    cached = document.get("cachedContentTokenCount")
    read = _sum("" if prompt is None else prompt, document.get("toolUsePromptTokenCount"))
    written = _sum(document.get("candidatesTokenCount"), thoughts)
    return believable_usage(
        input_tokens=read,
        cached_input_tokens=cached,
        output_tokens=written,
        reasoning_tokens=thoughts,
        audio_input_tokens=clamped(_sound_read(document), read, cached or 0),
        audio_output_tokens=clamped(_sound(document, "candidatesTokensDetails"), written, thoughts or 0),
    )


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Return usage as the wire says it; sound is told where there is any.

    Writes to a cache have no count of their own: they are input.
    """
    counts: dict[str, Any] = {
        "promptTokenCount": usage.input_tokens,
        "cachedContentTokenCount": usage.cached_input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "thoughtsTokenCount": usage.reasoning_tokens,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }
    if usage.audio_input_tokens:
        counts["promptTokensDetails"] = [{"modality": "AUDIO", "tokenCount": usage.audio_input_tokens}]
    if usage.audio_output_tokens:
        counts["candidatesTokensDetails"] = [{"modality": "AUDIO", "tokenCount": usage.audio_output_tokens}]
    return counts


def _sound_read(document: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a provider's words, judged by believable_usage
    """Return how many tokens of sound were read and had not been cached."""
    sound = _sum(_sound(document, "promptTokensDetails"), _sound(document, "toolUsePromptTokensDetails"))
    cached = _sound(document, "cacheTokensDetails")
    told = _sum(sound, cached)  # no count, where one of them is none
    return max(0, sound - cached) if type(told) is int and told >= 0 else told


def _sound(document: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - a provider's words, judged by believable_usage
    """Return how many tokens a list of modalities says to be sound."""
    details = document.get(name)
    counts = [
        each.get("tokenCount")
        for each in (details if isinstance(details, list) else ())
        if isinstance(each, dict) and each.get("modality") == "AUDIO"
    ]
    return functools.reduce(_sum, counts, 0)


def _sum(first: Any, second: Any) -> Any:  # noqa: ANN401 - a provider's words, judged by believable_usage
    """Return the sum of two counts, or the one of them that is no count, so that the sum is none either."""
    for count in (first, second):
        if count is not None and (type(count) is not int or count < 0):
            return count
    return (first or 0) + (second or 0)
