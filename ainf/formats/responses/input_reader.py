"""From the input items of a Responses request to the messages of a conversation.

Source: ``openai.types.responses.ResponseInputItemParam``. An assistant's text, thoughts and calls are items of their
own there, and so are the results of tools; consecutive ones of a side are one message here, since other formats want
a call right behind the text before it, and its result in what the user says next.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ainf.formats.data_urls import read_data_url
from ainf.formats.fields import (
    objects,
    optional,
    path_of,
    refuse_others,
    required,
    unsupported,
    wrong_type,
    wrong_value,
)
from ainf.formats.responses.opaque import read_opaque
from ainf.inference.conversation import (
    CacheMark,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    ToolResultPart,
)

_ROLES: Final = {role.value: role for role in Role}
_ROLE_WORDS: Final = '"user", "assistant", "system" or "developer"'
_MARK: Final = "prompt_cache_breakpoint"
# Where an item stood in an earlier answer is no part of what it says: clients send items back as they came.
_ITEM: Final = frozenset({"type", "id", "status"})
_MARKS: Final = frozenset({"type", _MARK})
_SAID_OF_TEXT: Final = frozenset({"annotations", "logprobs"})
_BETWEEN_PARTS: Final = "\n\n"
_JOINED: Final = frozenset({Role.USER, Role.ASSISTANT})


def read_input(items: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Return the messages that the items of an input make.

    Raises:
        DownstreamError: as ``Format.read_request``.
    """
    drafts: list[tuple[Role, list[Part], str]] = []
    for number, item in enumerate(items):
        at = path_of("input", number)
        role, parts = _read_item(item, at)
        if drafts and drafts[-1][0] is role and role in _JOINED:
            drafts[-1][1].extend(parts)
        elif parts or role not in _JOINED or item.get("type", "message") == "message":
            drafts.append((role, list(parts), at))
    return [Message(role, tuple(parts), at) for role, parts, at in drafts]


def read_cache_mark(part: Mapping[str, Any], at: str) -> CacheMark | None:
    """Return the cache mark of a part or tool.

    Raises:
        DownstreamError: ``invalid_type``, ``invalid_value``.
    """
    mark = optional(part, _MARK, dict, at=at)
    if mark is None:
        return None
    ttl = optional(mark, "ttl", str, at=path_of(at, _MARK))
    if ttl not in {None, "30m", "12h"}:
        raise wrong_value(path_of(path_of(at, _MARK), "ttl"), '"30m" or "12h"')
    return CacheMark.LONG if ttl == "12h" else CacheMark.SHORT


def _read_item(item: Mapping[str, Any], at: str) -> tuple[Role, tuple[Part, ...]]:
    kind = optional(item, "type", str, at=at) or "message"
    read = _READERS.get(kind)
    if read is None:
        raise unsupported(
            path_of(at, "type"), "items of tools and stores that a provider keeps belong to that provider"
        )
    return read(item, at)


def _read_message(item: Mapping[str, Any], at: str) -> tuple[Role, tuple[Part, ...]]:
    refuse_others(item, _ITEM | {"role", "content", "phase"}, at)
    role = required(item, "role", str, at=at)
    if role not in _ROLES:
        raise wrong_value(path_of(at, "role"), _ROLE_WORDS)
    content = required(item, "content", str, list, at=at)
    if isinstance(content, str):
        return _ROLES[role], (Text(content),) if content else ()
    return _ROLES[role], tuple(_read_parts(item, "content", at))


def _read_call(item: Mapping[str, Any], at: str) -> tuple[Role, tuple[Part, ...]]:
    is_custom = item["type"] == "custom_tool_call"
    field = "input" if is_custom else "arguments"
    refuse_others(_without_defaults(item), _ITEM | {"call_id", "name", field}, at)
    call_id, name = required(item, "call_id", str, at=at), required(item, "name", str, at=at)
    return Role.ASSISTANT, (ToolCall(call_id, name, required(item, field, str, at=at), is_custom=is_custom),)


def _read_result(item: Mapping[str, Any], at: str) -> tuple[Role, tuple[Part, ...]]:
    refuse_others(_without_defaults(item), _ITEM | {"call_id", "output", "name"}, at)
    call_id, output = required(item, "call_id", str, at=at), required(item, "output", str, list, at=at)
    content: list[ToolResultPart] = []
    for part in _read_parts(item, "output", at) if isinstance(output, list) else [Text(output)] if output else []:
        if not isinstance(part, Text | Image | Document):
            raise unsupported(path_of(at, "output"), "the result of a tool is text, images and files")
        content.append(part)
    return Role.USER, (ToolResult(call_id, tuple(content), is_custom=item["type"] == "custom_tool_call_output"),)


def _read_reasoning(item: Mapping[str, Any], at: str) -> tuple[Role, tuple[Part, ...]]:
    """Read what was thought. What only names a thought that its provider keeps says nothing to another one."""
    refuse_others(item, _ITEM | {"summary", "content", "encrypted_content"}, at)
    texts = [
        required(part, "text", str, at=path_of(path_of(at, field), number))
        for field in ("summary", "content")
        for number, part in enumerate(objects(item, field, at))
    ]
    encrypted = optional(item, "encrypted_content", str, at=at)
    opaque = Opaque.unsealed(encrypted or "") or read_opaque(optional(item, "id", str, at=at), encrypted)
    text = _BETWEEN_PARTS.join(text for text in texts if text)
    return Role.ASSISTANT, (Reasoning(text, opaque),) if text or opaque is not None else ()


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any], str], tuple[Role, tuple[Part, ...]]]]] = {
    "message": _read_message,
    "function_call": _read_call,
    "custom_tool_call": _read_call,
    "function_call_output": _read_result,
    "custom_tool_call_output": _read_result,
    "reasoning": _read_reasoning,
}


def _without_defaults(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item without what means nothing: that the model called the tool itself, and waits for it."""
    defaults = {"async": False, "caller": {"type": "direct"}}
    return {name: value for name, value in item.items() if name not in defaults or value != defaults[name]}


def _read_parts(item: Mapping[str, Any], field: str, at: str) -> list[Part]:
    within = path_of(at, field)
    return [_read_part(part, path_of(within, number)) for number, part in enumerate(objects(item, field, at))]


def _read_part(part: Mapping[str, Any], at: str) -> Part:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            refuse_others(part, _MARKS | _SAID_OF_TEXT | {"text"}, at)
            return Text(required(part, "text", str, at=at), read_cache_mark(part, at))
        case "refusal":
            refuse_others(part, frozenset({"type", "refusal"}), at)
            return Refusal(required(part, "refusal", str, at=at))
        case "input_image":
            return _read_image(part, at)
        case "input_file":
            return _read_file(part, at)
        case str():
            raise unsupported(path_of(at, "type"))
        case _:
            raise wrong_type(path_of(at, "type"), str)


def _read_image(part: Mapping[str, Any], at: str) -> Image:
    _refuse_file_id(part, at)
    refuse_others(part, _MARKS | {"image_url", "detail"}, at)
    url, detail = required(part, "image_url", str, at=at), optional(part, "detail", str, at=at)
    cache = read_cache_mark(part, at)
    if not url.startswith("data:"):
        return Image(url=url, detail=detail, cache=cache)
    media_type, data = read_data_url(url, path_of(at, "image_url"))
    return Image(media_type=media_type, data=data, detail=detail, cache=cache)


def _read_file(part: Mapping[str, Any], at: str) -> Document:
    _refuse_file_id(part, at)
    refuse_others(part, _MARKS | {"file_data", "file_url", "filename"}, at)
    name, cache = optional(part, "filename", str, at=at), read_cache_mark(part, at)
    url = optional(part, "file_url", str, at=at)
    if url is not None:
        return Document(url=url, name=name, cache=cache)
    media_type, data = read_data_url(required(part, "file_data", str, at=at), path_of(at, "file_data"))
    return Document(media_type=media_type, data=data, name=name, cache=cache)


def _refuse_file_id(part: Mapping[str, Any], at: str) -> None:
    if part.get("file_id") is not None:
        raise unsupported(path_of(at, "file_id"), "files that a provider keeps belong to that provider")
