"""The fields of Anthropic's messages that change price, model or host, or stand for input that we do not see.

Source: Anthropic's API reference, "create a message", as its SDK has it (``anthropic.types.MessageCreateParams``, and
``anthropic.types.beta`` for what a beta adds); its pages on pricing (service tiers, ``inference_geo``, fast mode,
server tools) and prompt caching (5 minutes, 1 hour). Tools that the client runs have a ``type`` too: bash, text editor,
memory, computer, browser.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from ainf.providers.fields import (
    HOST_FIELDS,
    HOSTED_TOOL,
    MODEL,
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
    "billing_policy": "the operator's account pays for every request",
    "compaction": PRICE,
    "container": PRICE,
    "fallback_credit_token": PRICE,
    "fallbacks": MODEL,
    "inference_geo": PRICE,
    "mcp_servers": PRICE,
    "thread": f"{SHARED} (the SDK's tool runner leaves it out with `thread=False`)",
})

_CLIENT_TOOL: Final = re.compile(
    r"(?:custom|(?:bash|text_editor|memory|computer|computer_toolset|browser_toolset)_[0-9]{8})", re.ASCII
)
_FREE_EDITS: Final = "clear_"
"""Edits of the context that take something out of it; others run the model again."""


def check_messages_fields(fields: Mapping[str, Any], coverage: Coverage) -> None:
    """Refuse by name what would change price, model or host.

    Raises:
        DownstreamError: ``unsupported_parameter``.
    """
    check_refused(fields, REFUSED_FIELDS)
    check_word(fields, "service_tier", "auto", "standard_only")
    check_word(fields, "speed", "standard")
    diagnostics = fields.get("diagnostics")
    if isinstance(diagnostics, dict) and diagnostics.get("previous_message_id") is not None:
        raise refusal("diagnostics.previous_message_id", SHARED)
    _check_context_management(fields.get("context_management"))
    check_cache_control(fields, "", coverage)
    for path, tool in objects_in(fields.get("tools"), "tools"):
        kind = tool.get("type")
        if kind is not None and not (isinstance(kind, str) and _CLIENT_TOOL.fullmatch(kind)):
            raise refusal(f"{path}.type", HOSTED_TOOL)
        check_cache_control(tool, path, coverage)
    for path, block in _blocks(fields):
        check_cache_control(block, path, coverage)
        _check_files(block, path)


def _check_context_management(management: Any) -> None:  # noqa: ANN401 - whatever a client sends
    edits = management.get("edits") if isinstance(management, dict) else None
    for path, edit in objects_in(edits, "context_management.edits"):
        kind = edit.get("type")
        if not (isinstance(kind, str) and kind.startswith(_FREE_EDITS)):
            raise refusal(f"{path}.type", PRICE)


def _blocks(fields: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every content block with its path, those inside tool results and documents too."""
    waiting = deque(objects_in(fields.get("system"), "system"))
    for path, message in objects_in(fields.get("messages"), "messages"):
        waiting += objects_in(message.get("content"), f"{path}.content")
    while waiting:
        path, block = waiting.popleft()
        yield path, block
        source = block.get("source")
        waiting += objects_in(block.get("content"), f"{path}.content")
        waiting += objects_in(source.get("content") if isinstance(source, dict) else None, f"{path}.source.content")


def _check_files(block: Mapping[str, Any], path: str) -> None:
    source = block.get("source")
    if isinstance(source, dict) and source.get("file_id") is not None:
        raise refusal(f"{path}.source.file_id", SHARED)
    if block.get("file_id") is not None:
        raise refusal(f"{path}.file_id", SHARED)
