"""The fields of OpenAI's responses that change price, model or host, or stand for input that we do not see.

Source: OpenAI's API reference, "create a response", as its SDK has it (``openai.types.responses``), and its pages on
pricing and tools. Tools that the client runs: functions, custom tools, the shell in a local environment,
``local_shell``, ``apply_patch``, the computer, and tool search with ``execution`` "client". ``previous_response_id``
goes on: whose response it is was asked before.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from ainf.providers.cache_options import check_breakpoint, check_cache_options
from ainf.providers.fields import (
    HOST_FIELDS,
    HOSTED_TOOL,
    LATER,
    MODERATION,
    PRICE,
    SHARED,
    Coverage,
    check_refused,
    check_word,
    objects_in,
    refusal,
)

_AGAIN: Final = "it runs the model again, for output that nobody sees"
REFUSED_FIELDS: Final[Mapping[str, str]] = MappingProxyType({
    **HOST_FIELDS,
    "background": LATER,
    "background_options": LATER,
    "container": PRICE,
    "context_management": _AGAIN,
    "conversation": SHARED,
    "mcp_servers": PRICE,
    "moderation": MODERATION,
    "prompt": SHARED,
})

_CLIENT_TOOLS: Final = frozenset({
    "apply_patch", "computer", "computer_use_preview", "custom", "function", "local_shell",
})  # fmt: skip
_TOOL_ITEMS: Final = frozenset({"additional_tools", "tool_search_output"})
_HOSTED: Final = ("code_interpreter_call.", "file_search_call.", "web_search_call.")


def check_responses_fields(fields: Mapping[str, Any], coverage: Coverage) -> None:
    """Refuse by name what would change price, model or host.

    Raises:
        DownstreamError: ``unsupported_parameter``.
    """
    check_refused(fields, REFUSED_FIELDS)
    check_word(fields, "service_tier", "auto", "default")
    reasoning = fields.get("reasoning")
    if isinstance(reasoning, dict) and reasoning.get("mode") not in (None, "standard"):
        raise refusal("reasoning.mode", f"with this value {PRICE}")
    check_cache_options(fields, coverage)
    include = fields.get("include")
    for number, name in enumerate(include if isinstance(include, list) else ()):
        if isinstance(name, str) and name.startswith(_HOSTED):
            raise refusal(f"include[{number}]", HOSTED_TOOL)
    _check_tools(fields.get("tools"), "tools")
    for path, item in objects_in(fields.get("input"), "input"):
        _check_item(item, path, coverage)


def _check_tools(tools: Any, at: str) -> None:  # noqa: ANN401 - whatever a client sends
    for path, tool in objects_in(tools, at):
        match tool:
            case {"type": str() as kind} if kind in _CLIENT_TOOLS:
                pass
            case {"type": "shell", **rest} if rest.get("environment") is None:
                pass
            case {"type": "shell", "environment": {"type": "local"}} | {"type": "tool_search", "execution": "client"}:
                pass
            case {"type": "namespace"}:
                _check_tools(tool.get("tools"), f"{path}.tools")
            case _:
                raise refusal(f"{path}.type", HOSTED_TOOL)


def _check_item(item: Mapping[str, Any], path: str, coverage: Coverage) -> None:
    kind = item.get("type")
    if kind == "compaction_trigger":
        raise refusal(f"{path}.type", _AGAIN)
    if kind == "item_reference" or (kind is None and "role" not in item):
        raise refusal(f"{path}.id", SHARED)
    if isinstance(kind, str) and kind in _TOOL_ITEMS:
        _check_tools(item.get("tools"), f"{path}.tools")
    _check_file(item.get("output"), f"{path}.output")
    for name in ("content", "output"):
        for part_path, part in objects_in(item.get(name), f"{path}.{name}"):
            if part.get("type") == "input_audio":
                raise refusal(f"{part_path}.type", PRICE)
            _check_file(part, part_path)
            check_breakpoint(part, part_path, coverage)


def _check_file(part: Any, path: str) -> None:  # noqa: ANN401 - whatever a client sends
    if isinstance(part, dict) and part.get("file_id") is not None:
        raise refusal(f"{path}.file_id", SHARED)
