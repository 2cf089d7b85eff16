"""From the messages of a conversation to the input items of a Responses request. Source: as ``input_reader``."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from ainf.formats.data_urls import name_of, url_of
from ainf.formats.fields import path_of, unsupported
from ainf.formats.responses.opaque import own_parts
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


def write_input(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Return the items that say these messages.

    Raises:
        DownstreamError: ``unsupported_parameter``: as ``Format.write_request``.
    """
    return [item for message in messages for item in _items(message)]


def _items(message: Message) -> list[dict[str, Any]]:
    """Return the items of a message: what is said together stands together, calls, results and thoughts apart."""
    if message.name is not None:
        raise unsupported(path_of(message.path, "name"))
    items: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case ToolCall() | ToolResult() | Reasoning():
                items += _message(message, said)
                said = []
                items += _item(part, message)
            case _:
                said.append(_content(part, message))
    items += _message(message, said)
    return items if message.parts else _message(message, [{"type": _text_type(message), "text": ""}])


def _message(message: Message, content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "message", "role": message.role.value, "content": content}] if content else []


def _item(part: ToolCall | ToolResult | Reasoning, message: Message) -> list[dict[str, Any]]:
    if isinstance(part, ToolResult) is not (message.role is Role.USER):
        raise unsupported(message.path, "calls and thoughts are an assistant's, results a user's")
    match part:
        case Reasoning():
            return _reasoning(part)
        case ToolCall():
            kind, field = ("custom_tool_call", "input") if part.is_custom else ("function_call", "arguments")
            return [{"type": kind, "call_id": part.call_id, "name": part.name, field: part.arguments}]
        case ToolResult():
            kind = "custom_tool_call_output" if part.is_custom else "function_call_output"
            return [{"type": kind, "call_id": part.call_id, "output": _output(part, message)}]


def _reasoning(part: Reasoning) -> list[dict[str, Any]]:
    """Return what was thought, where this format's provider made it: no provider is handed what another one made."""
    own = own_parts(part.opaque)
    if own is None:
        return []
    item_id, encrypted = own
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    named = {"id": item_id} if item_id else {}
    return [{"type": "reasoning", **named, "summary": summary, "encrypted_content": encrypted}]


def _output(result: ToolResult, message: Message) -> str | list[dict[str, Any]]:
    parts: Sequence[Part] = result.content
    if result.is_error:
        first = parts[0] if parts else Text("")
        parts = [Text(_FAILED + first.text), *parts[1:]] if isinstance(first, Text) else [Text(_FAILED), *parts]
    match parts:
        case () | []:
            return ""
        case [Text(text=text)] | (Text(text=text),):
            return text
        case _:
            return [_content(part, message) for part in parts]


def _content(part: Part, message: Message) -> dict[str, Any]:
    is_assistant = message.role is Role.ASSISTANT
    match part:
        case Text():
            return {"type": _text_type(message), "text": part.text}
        case Refusal() if is_assistant:
            return {"type": "refusal", "refusal": part.text}
        case Image() if not is_assistant:
            return {"type": "input_image", "image_url": url_of(part), "detail": part.detail or "auto"}
        case Document() if not is_assistant:
            return _file(part)
        case _:
            raise unsupported(message.path)


def _text_type(message: Message) -> str:
    return "output_text" if message.role is Role.ASSISTANT else "input_text"


def _file(document: Document) -> dict[str, Any]:
    if document.data is None:
        named = {} if document.name is None else {"filename": document.name}
        return {"type": "input_file", "file_url": document.url, **named}
    return {"type": "input_file", "filename": name_of(document), "file_data": url_of(document)}
