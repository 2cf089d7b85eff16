"""From the messages of a conversation to those of a chat request. Source: as ``message_reader``."""

from collections.abc import Sequence
from typing import Any, Final

from ainf.formats.chat.reasoning import SOURCE, entry_of
from ainf.formats.data_urls import name_of, url_of
from ainf.formats.fields import unsupported
from ainf.inference.conversation import (
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

_FAILED: Final = "Error: "
"""What stands before the result of a call that failed: the wire has no field for it."""


def write_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the messages; each result of a tool is one of its own.

    Raises:
        DownstreamError: ``unsupported_parameter``: as ``Format.write_request``.
    """
    written: list[dict[str, Any]] = []
    for message in messages:
        if message.role is Role.ASSISTANT:
            written.extend(_assistant(message))
        else:
            written.extend(_spoken(message))
    return written


def _spoken(message: Message) -> list[dict[str, Any]]:
    """Return a message of anybody but the assistant.

    The results stand before what the user says beside them: the wire wants them right behind their calls.
    """
    results = [_result(part, message) for part in message.parts if isinstance(part, ToolResult)]
    said = [part for part in message.parts if not isinstance(part, ToolResult)]
    if results and not said:
        return results
    if message.role is not Role.USER and not all(isinstance(part, Text) for part in said):
        raise unsupported(message.path, "only text can stand in an instruction")
    return [*results, _named(message) | {"content": _content(said, message)}]


def _assistant(message: Message) -> list[dict[str, Any]]:
    """Return an assistant's message; none where nothing is left of it."""
    texts: list[Part] = []
    fields: dict[str, Any] = {}
    calls: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case Text():
                texts.append(part)
            case Refusal():
                fields["refusal"] = fields.get("refusal", "") + part.text
            case Reasoning():
                _add_reasoning(part, fields)
            case ToolCall():
                calls.append(_call(part))
            case Image() | Document() | ToolResult():
                raise unsupported(message.path, "an assistant's message takes only text and calls")
    if calls:
        fields["tool_calls"] = calls
    if message.parts and not texts and not fields:
        return []
    has_content = texts or not fields.keys() & {"tool_calls", "refusal"}
    return [_named(message) | {"content": _content(texts, message) if has_content else None} | fields]


def _named(message: Message) -> dict[str, Any]:
    return {"role": message.role.value} | ({} if message.name is None else {"name": message.name})


def _add_reasoning(part: Reasoning, fields: dict[str, Any]) -> None:
    """Add what was thought, unless another format's provider made it: no provider is handed what another one made."""
    if part.opaque is not None and part.opaque.source != SOURCE:
        return
    if part.text:
        fields["reasoning_content"] = fields.get("reasoning_content", "") + part.text
    if part.opaque is not None:
        details = fields.setdefault("reasoning_details", [])
        details.append(entry_of(part.opaque, part.text, len(details)))


def _call(call: ToolCall) -> dict[str, Any]:
    if call.is_custom:
        return {"id": call.call_id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _result(result: ToolResult, message: Message) -> dict[str, Any]:
    if not all(isinstance(part, Text) for part in result.content):
        raise unsupported(message.path, "the result of a tool can only be text")
    parts: list[Part] = list(result.content)
    if result.is_error:
        first = parts[0] if parts else None
        told = [Text(_FAILED + first.text), *parts[1:]] if isinstance(first, Text) else [Text(_FAILED.rstrip(": "))]
        parts = list(told)
    return {"role": "tool", "tool_call_id": result.call_id, "content": _content(parts, message)}


def _content(parts: Sequence[Part], message: Message) -> str | list[dict[str, Any]]:
    """Return content: as a string where it is one text, which every server of this format takes."""
    match parts:
        case []:
            return ""
        case [Text(text=text)]:
            return text
        case _:
            return [_part(part, message) for part in parts]


def _part(part: Part, message: Message) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image():
            return {"type": "image_url", "image_url": _image(part)}
        case Document():
            return {"type": "file", "file": _file(part, message)}
        case _:
            raise unsupported(message.path)


def _image(image: Image) -> dict[str, Any]:
    return {"url": url_of(image)} | ({} if image.detail is None else {"detail": image.detail})


def _file(document: Document, message: Message) -> dict[str, Any]:
    if document.data is None:
        raise unsupported(message.path, "a document must be in the request, as base64")
    return {"filename": name_of(document), "file_data": url_of(document)}
