"""The chat request fields that change price, model or host at one vendor or another, each with its reason.

Sources: OpenAI's API reference, "create chat completion", and its pricing page (service tiers, audio, web search,
predicted outputs, cache writes); OpenRouter's API reference (``models``, ``route``, ``provider``, ``plugins``,
``transforms``, ``preset``, ``cache_control``); xAI's (``search_parameters``, ``deferred``). Each is refused at every
vendor: "openai-compatible" may be any of them. What a vendor has beside these stands in its own file.

What is not listed rides along.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from ainf.inference.errors import DownstreamError
from ainf.providers.cache_options import check_breakpoint, check_cache_options
from ainf.providers.fields import (
    HOST_FIELDS,
    HOSTED_TOOL,
    LATER,
    MODEL,
    MODERATION,
    PRICE,
    SHARED,
    Coverage,
    check_cache_control,
    check_refused,
    check_word,
    objects_in,
    refusal,
)

REFUSED_FIELDS: Final[Mapping[str, str]] = MappingProxyType({
    **HOST_FIELDS,
    # OpenAI
    "audio": PRICE,
    "background": LATER,
    "container": PRICE,
    "mcp_servers": PRICE,
    "moderation": MODERATION,
    "prediction": PRICE,
    "previous_response_id": "it belongs to responses that were stored",
    "web_search_options": PRICE,
    # OpenRouter, xAI and other aggregators
    "deferred": LATER,
    "fallbacks": MODEL,
    "models": MODEL,
    "plugins": PRICE,
    "preset": MODEL,
    "provider": MODEL,
    "route": MODEL,
    "search_parameters": PRICE,
    "transforms": "it changes what the model reads",
})

_HIDDEN = "reasoning is billed, and this model is held for what it shows"
_TOOL_TYPES = ("function", "custom")


def check_chat_fields(fields: Mapping[str, Any], coverage: Coverage) -> None:
    """Refuse by name what would change price, model or host.

    Raises:
        DownstreamError: ``unsupported_parameter``; ``missing_field``: a tool does not say what it is.
    """
    check_refused(fields, REFUSED_FIELDS)
    # "auto" is what leaving it out means: the tier of the operator's own project.
    check_word(fields, "service_tier", "auto", "default")
    if fields.get("modalities") not in (None, ["text"]):
        raise refusal("modalities", f"with this value {PRICE}")
    check_cache_options(fields, coverage)
    check_cache_control(fields, "", coverage)
    for path, tool in objects_in(fields.get("tools"), "tools"):
        check_cache_control(tool, path, coverage)
        kind, param = tool.get("type"), f"{path}.type"
        if kind is None:
            raise DownstreamError("missing_field", f'`{param}` is required: "function" or "custom".', param=param)
        if kind not in _TOOL_TYPES:
            raise refusal(param, HOSTED_TOOL)
    for path, message in objects_in(fields.get("messages"), "messages"):
        check_cache_control(message, path, coverage)
        for part_path, part in objects_in(message.get("content"), f"{path}.content"):
            _check_part(part, part_path, coverage)


def check_reasoning_is_shown(fields: Mapping[str, Any]) -> None:
    """Refuse the wish to hide reasoning, at a vendor that shows it: it would be billed beyond what is held for.

    Sources: Groq's ``include_reasoning`` and ``reasoning_format``, vLLM's ``include_reasoning``, OpenRouter's
    ``reasoning.exclude``.

    Raises:
        DownstreamError: ``unsupported_parameter``.
    """
    if fields.get("include_reasoning") is False:
        raise refusal("include_reasoning", _HIDDEN)
    if fields.get("reasoning_format") == "hidden":
        raise refusal("reasoning_format", _HIDDEN)
    reasoning = fields.get("reasoning")
    if isinstance(reasoning, dict) and reasoning.get("exclude"):
        raise refusal("reasoning.exclude", _HIDDEN)


def _check_part(part: Mapping[str, Any], path: str, coverage: Coverage) -> None:
    check_breakpoint(part, path, coverage)
    check_cache_control(part, path, coverage)
    match part:
        case {"type": "input_audio"}:
            coverage.ask_audio(f"{path}.type")
        case {"type": "file", "file": {"file_id": str()}}:
            raise refusal(f"{path}.file.file_id", SHARED)
        case _:
            pass
