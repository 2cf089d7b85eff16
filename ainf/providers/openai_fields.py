"""The request fields that change price, model or host at an OpenAI-format provider, each with the reason it is refused.

Sources: OpenAI's API reference, "create chat completion", and its pricing page (service tiers, audio, web search,
predicted outputs, cache writes); OpenRouter's API reference (``models``, ``route``, ``provider``, ``plugins``,
``transforms``, ``preset``); xAI's (``search_parameters``); the client libraries' own arguments, which gateways before
this one took from the body (``api_base``, ``api_key``, ...: LiteLLM CVE-2024-6587).

A field that is null is absent. What is not listed rides along.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from ainf.inference.errors import DownstreamError

_PRICE = "it changes the price beyond what this model is configured with"
_MODEL = "the gateway's configuration decides which model answers"
_HOST = "no request can name a host, a credential or a transport"

REFUSED_FIELDS: Final[Mapping[str, str]] = MappingProxyType({
    # OpenAI
    "audio": _PRICE,
    "background": "an answer that outlives its request cannot be settled with it",
    "container": _PRICE,
    "mcp_servers": _PRICE,
    "moderation": "it runs another model beside this one",
    "prediction": _PRICE,
    "previous_response_id": "it belongs to responses that were stored",
    "prompt_cache_options": _PRICE,
    "web_search_options": _PRICE,
    # OpenRouter, xAI and other aggregators
    "fallbacks": _MODEL,
    "models": _MODEL,
    "plugins": _PRICE,
    "preset": _MODEL,
    "provider": _MODEL,
    "route": _MODEL,
    "search_parameters": _PRICE,
    "transforms": "it changes what the model reads",
    # client libraries and gateways
    "api_base": _HOST,
    "api_key": _HOST,
    "api_version": _HOST,
    "base_url": _HOST,
    "custom_host": _HOST,
    "custom_llm_provider": _MODEL,
    "deployment_id": _MODEL,
    "extra_body": _HOST,
    "extra_headers": _HOST,
    "extra_query": _HOST,
    "headers": _HOST,
    "organization": _HOST,
    "proxies": _HOST,
    "proxy": _HOST,
})

ALLOWED_VALUES: Final[Mapping[str, Callable[[Any], bool]]] = MappingProxyType({
    # "auto" is what leaving it out means: the tier of the operator's own project.
    "service_tier": lambda value: value in {"auto", "default"} if isinstance(value, str) else False,
    "modalities": lambda value: value == ["text"],
})
"""Fields of which only some values keep the price."""

_TOOL_TYPES = ("function", "custom")


def check_fields(fields: Mapping[str, Any]) -> None:
    """Refuse by name what would change price, model or host.

    Raises:
        DownstreamError: ``unsupported_parameter``; ``missing_field``: a tool does not say what it is.
    """
    for name in sorted(fields.keys() & REFUSED_FIELDS.keys()):
        if fields[name] is not None and fields[name] is not False:
            raise _refusal(name, REFUSED_FIELDS[name])
    for name in sorted(fields.keys() & ALLOWED_VALUES.keys()):
        if fields[name] is not None and not ALLOWED_VALUES[name](fields[name]):
            raise _refusal(name, f"with this value {_PRICE}")
    for number, tool in enumerate(fields.get("tools") or ()):
        kind, param = tool.get("type"), f"tools[{number}].type"
        if kind is None:
            raise DownstreamError("missing_field", f'`{param}` is required: "function" or "custom".', param=param)
        if kind not in _TOOL_TYPES:
            raise _refusal(param, f"a tool that the provider runs itself is refused: {_PRICE}")
    for number, message in enumerate(fields["messages"]):
        content = message.get("content")
        if isinstance(content, list):
            _check_parts(content, f"messages[{number}].content")


def _check_parts(parts: list[Any], path: str) -> None:
    for number, part in enumerate(parts):
        match part:
            case {"type": "input_audio"}:
                raise _refusal(f"{path}[{number}].type", _PRICE)
            case {"type": "file", "file": {"file_id": str()}}:
                raise _refusal(f"{path}[{number}].file.file_id", "files belong to the operator's whole account")
            case {"prompt_cache_breakpoint": dict()}:
                raise _refusal(f"{path}[{number}].prompt_cache_breakpoint", _PRICE)
            case _:
                pass


def _refusal(param: str, reason: str) -> DownstreamError:
    return DownstreamError("unsupported_parameter", f"`{param}` is not supported: {reason}.", param=param)
