"""How much a Messages request gives the model to read.

Source: Anthropic's API reference, "create a message", for the content blocks. An image or document is an attachment by
its ``source``: a plain text or further blocks in its place are read like any other. Replayed results of server tools
are read as they stand, encrypted or not: what they hold cannot be told, and is no attachment.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ainf.protocols.input_size import InputSize, PartKinds, measure_all

_KINDS: Final = PartKinds(
    texts=(
        None, "text", "content", "document", "thinking", "redacted_thinking", "search_result",
        "tool_reference", "tool_use", "tool_result", "server_tool_use", "mcp_tool_use", "mcp_tool_result",
        "web_search_result", "web_search_tool_result", "web_fetch_result", "web_fetch_tool_result",
        "code_execution_result", "code_execution_tool_result",
    ),
    attachments={"base64": "file", "url": "file", "file": "file", "container_upload": "file"},
    holders=("content", "source"),
    attached_to={"image": "image"},
)  # fmt: skip


def measure_messages(messages: Sequence[Mapping[str, Any]]) -> InputSize:
    """Return the size of messages whose content was found to be text or a list of blocks."""
    return measure_all(messages, _KINDS)
