"""The fields of Gemini's requests that change price, model or host, or stand for input that we do not see.

Source: Google's API reference, "generateContent" (ai.google.dev/api/generate-content), as its SDK writes it
(``google.genai.models``, Gemini Developer API), and its page on pricing: audio, images, grounding, maps and cached
content have prices of their own. Clients do not speak this format, so what stands here was written by the gateway; it
is checked all the same, as what any other vendor is told is.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from ainf.providers.fields import (
    HOSTED_TOOL,
    PRICE,
    SHARED,
    Coverage,
    asks,
    check_refused,
    check_word,
    objects_in,
    refusal,
)

REFUSED_FIELDS: Final[Mapping[str, str]] = MappingProxyType({
    "cachedContent": SHARED,
    "continuationToken": SHARED,
})
REFUSED_SETTINGS: Final[Mapping[str, str]] = MappingProxyType({
    "audioTranscriptionConfig": PRICE,
    "imageConfig": PRICE,
    "speechConfig": PRICE,
})
_STORED: Final = ("files/", "gs://", "https://generativelanguage.googleapis.com/")


def check_gemini_fields(fields: Mapping[str, Any], coverage: Coverage) -> None:
    """Refuse by name what would change price, model or host.

    Raises:
        DownstreamError: ``unsupported_parameter``.
    """
    check_refused(fields, REFUSED_FIELDS)
    check_word(fields, "serviceTier", "standard", "unspecified")
    for path, tool in objects_in(fields.get("tools"), "tools"):
        for name in sorted(tool.keys() - {"functionDeclarations"}):
            if tool[name] is not None:
                raise refusal(f"{path}.{name}", HOSTED_TOOL)
    _check_settings(fields.get("generationConfig"))
    for path, content in objects_in(fields.get("contents"), "contents"):
        for part_path, part in objects_in(content.get("parts"), f"{path}.parts"):
            _check_part(part, part_path, coverage)


def _check_settings(settings: Any) -> None:  # noqa: ANN401 - judged here
    if not isinstance(settings, dict):
        return
    for name in sorted(settings.keys() & REFUSED_SETTINGS.keys()):
        if asks(settings[name]):
            raise refusal(f"generationConfig.{name}", REFUSED_SETTINGS[name])
    if settings.get("responseModalities") not in (None, [], ["TEXT"]):
        raise refusal("generationConfig.responseModalities", f"with this value {PRICE}")
    if settings.get("candidateCount") not in (None, 1):
        raise refusal("generationConfig.candidateCount", "one answer a request")


def _check_part(part: Mapping[str, Any], path: str, coverage: Coverage) -> None:
    match part:
        case {"inlineData": {"mimeType": str() as kind}} | {"fileData": {"mimeType": str() as kind}} if _is_audio(kind):
            coverage.ask_audio(path)
        case {"fileData": {"fileUri": str() as uri}} if uri.startswith(_STORED):
            raise refusal(f"{path}.fileData.fileUri", SHARED)


def _is_audio(media_type: str) -> bool:
    return media_type.lower().startswith("audio/")
