"""From the messages of a conversation to the turns of a Messages request."""

import base64
import binascii
import re
from collections.abc import Iterable
from itertools import dropwhile, takewhile
from typing import Any, Final

from ainf.formats.fields import unsupported
from ainf.formats.json import load_json
from ainf.formats.messages.reader import REDACTED, SIGNATURE
from ainf.formats.messages.request_parts import PLAIN
from ainf.inference.conversation import (
    CacheMark,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from ainf.inference.errors import DownstreamError

_ROLES: Final = {
    Role.SYSTEM: "system",
    Role.DEVELOPER: "system",
    Role.USER: "user",
    Role.ASSISTANT: "assistant",
}
_PARTS: Final = {
    "system": (Text,),
    "user": (Text, Image, Document, ToolResult),
    "assistant": (Text, Reasoning, Refusal, ToolCall),
}
_IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_DETAILS: Final = frozenset({None, "auto", "high"})
"""How closely to look at an image, as far as this format always does."""
_PDF: Final = "application/pdf"
_NOT_IN_IDS: Final = re.compile(r"[^a-zA-Z0-9_-]")


def written_turns(messages: Iterable[Message]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the blocks of ``system``, and the turns.

    Messages of one speaker that follow one another are one turn; in a user's turn results of tools stand first. Text
    that is blank, which Anthropic refuses, is left out, and with it a message that holds nothing else; so is reasoning
    of other vendors.

    Raises:
        DownstreamError: ``unsupported_parameter``: a part that cannot be said, or a system message that does not stand
            at the beginning or right behind a user's turn; ``param`` is the path of its message.
    """
    messages = list(messages)
    system = [block for message in takewhile(_is_system, messages) for block in _blocks(message)]
    turns: list[dict[str, Any]] = []
    for message in dropwhile(_is_system, messages):
        role, blocks = _ROLES[message.role], _blocks(message)
        before = turns[-1]["role"] if turns else None
        if not blocks:
            continue
        if role == before:
            turns[-1]["content"] += blocks
            continue
        if role == "system" and before != "user":
            raise unsupported(message.path, "a system message stands at the beginning or right behind a user's")
        turns.append({"role": role, "content": blocks})
    for turn in turns:
        turn["content"] = _plain(sorted(turn["content"], key=lambda block: block["type"] != "tool_result"))
    return system, turns


def cache_fields(mark: CacheMark | None) -> dict[str, Any]:
    """Return a cache mark as a field of a block or tool."""
    if mark is None:
        return {}
    return {"cache_control": {"type": "ephemeral"} | ({"ttl": "1h"} if mark is CacheMark.LONG else {})}


def _is_system(message: Message) -> bool:
    return _ROLES[message.role] == "system"


def _blocks(message: Message) -> list[dict[str, Any]]:
    if message.name is not None:
        raise unsupported(f"{message.path}.name")
    blocks = [_block(part, message) for part in message.parts]
    return [block for block in blocks if block is not None]


def _block(part: Part, message: Message) -> dict[str, Any] | None:
    """Return the block of a part; None where it says nothing that may be said."""
    path = message.path
    if not isinstance(part, _PARTS[_ROLES[message.role]]):
        raise unsupported(path, f"its role has no part of the kind {type(part).__name__}")
    match part:
        case Text():
            return _text(part)
        case Refusal():
            return _text(Text(part.text))
        case Image():
            return _image(part, path) | cache_fields(part.cache)
        case Document():
            return _document(part, path) | cache_fields(part.cache)
        case Reasoning():
            return _reasoning(part)
        case ToolCall():
            return _tool_use(part, path) | cache_fields(part.cache)
        case ToolResult():
            return _tool_result(part, path) | cache_fields(part.cache)


def _text(part: Text) -> dict[str, Any] | None:
    return {"type": "text", "text": part.text} | cache_fields(part.cache) if part.text.strip() else None


def _image(part: Image, path: str) -> dict[str, Any]:
    if part.detail not in _DETAILS:
        raise unsupported(path, f'an image cannot have the detail "{part.detail}"')
    if part.url is not None:
        return {"type": "image", "source": {"type": "url", "url": part.url}}
    if part.media_type not in _IMAGES:
        raise unsupported(path, "an image must be JPEG, PNG, GIF or WebP")
    return {"type": "image", "source": {"type": "base64", "media_type": part.media_type, "data": part.data}}


def _document(part: Document, path: str) -> dict[str, Any]:
    if part.url is not None:
        source = {"type": "url", "url": part.url}
    elif part.media_type == _PDF:
        source = {"type": "base64", "media_type": _PDF, "data": part.data or ""}
    elif part.media_type == PLAIN:
        source = {"type": "text", "media_type": PLAIN, "data": _decoded(part.data or "", path)}
    else:
        raise unsupported(path, "a document must be PDF or plain text")
    return {"type": "document", "source": source} | ({} if part.name is None else {"title": part.name})


def _decoded(data: str, path: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise unsupported(path, "a plain text document must be UTF-8 in base64") from None


def _reasoning(part: Reasoning) -> dict[str, Any] | None:
    opaque = part.opaque
    if opaque is not None and opaque.source == SIGNATURE:
        return {"type": "thinking", "thinking": part.text, "signature": opaque.data}
    if opaque is not None and opaque.source == REDACTED:
        return {"type": "redacted_thinking", "data": opaque.data}
    return None


def _tool_use(part: ToolCall, path: str) -> dict[str, Any]:
    if part.is_custom:
        raise unsupported(path, "custom tools cannot be said")
    try:
        given = load_json(part.arguments.encode()) if part.arguments.strip() else {}
    except DownstreamError:
        raise unsupported(path, "the arguments of a tool call must be a JSON object") from None
    return {"type": "tool_use", "id": _call_id(part.call_id), "name": part.name, "input": given}


def _tool_result(part: ToolResult, path: str) -> dict[str, Any]:
    if part.is_custom:
        raise unsupported(path, "custom tools cannot be said")
    blocks = []
    for each in part.content:
        block = _text(each) if isinstance(each, Text) else _media(each, path)
        if block is not None:
            blocks.append(block)
    fields: dict[str, Any] = {"type": "tool_result", "tool_use_id": _call_id(part.call_id)}
    if blocks:
        fields["content"] = _plain(blocks)
    return fields | ({"is_error": True} if part.is_error else {})


def _media(part: Image | Document, path: str) -> dict[str, Any]:
    block = _image(part, path) if isinstance(part, Image) else _document(part, path)
    return block | cache_fields(part.cache)


def _plain(blocks: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return blocks as the one text that they are, where that is all: compatible providers know it best."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        text: str = blocks[0]["text"]
        return text
    return blocks


def _call_id(call_id: str) -> str:
    """Return an id with only the characters that this wire allows; different ids stay different in all but malice."""
    return _NOT_IN_IDS.sub(lambda found: f"_{ord(found[0]):x}_", call_id)
