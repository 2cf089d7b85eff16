"""From the messages of a chat request to those of a conversation.

Source: OpenAI's API reference, "create chat completion"; beside it ``reasoning_content`` (DeepSeek, vLLM),
``reasoning`` and ``reasoning_details`` (OpenRouter), ``thinking`` parts (Mistral), and ``cache_control`` on parts
(OpenRouter, in Anthropic's words).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ainf.formats.chat.reasoning import told_in, unsealed_in
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
    ToolResultPart,
)

_SPEAKERS: Final = {"system": Role.SYSTEM, "developer": Role.DEVELOPER, "user": Role.USER}
_RESULTS: Final = frozenset({"tool", "function"})
_ROLES: Final = '"system", "developer", "user", "assistant", "tool" or "function"'
_COMMON: Final = frozenset({"role", "content", "name"})
# What a provider said about its text is no part of a request: clients send it back because they send back everything.
_ASSISTANT: Final = _COMMON | {
    "refusal", "tool_calls", "function_call", "reasoning_content", "reasoning", "reasoning_details", "annotations",
}  # fmt: skip
_MARKS: Final = frozenset({"type", "cache_control", "prompt_cache_breakpoint"})
_LONG_TIMES: Final = frozenset({"1h", "12h"})
_URLS: Final = "a URL, or a data URL with a media type and base64 data"


class MessagesReader:
    """Reads the messages of one request, in order. Calls of the legacy form get ids, which their results find again."""

    __slots__ = ("_custom_ids", "_legacy_calls", "_legacy_ids", "_messages")

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._legacy_ids: dict[str, str] = {}
        self._legacy_calls = 0
        self._custom_ids: set[str] = set()

    def read(self, messages: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
        """Return the messages; the results of consecutive tool messages are the parts of one.

        Raises:
            DownstreamError: as ``Format.read_request``.
        """
        results: list[ToolResult] = []
        first = ""
        for number, message in enumerate(messages):
            at = path_of("messages", number)
            role = required(message, "role", str, at=at)
            if role in _RESULTS:
                first = first if results else at
                results.append(self._result(message, role, at))
                continue
            self._end_results(results, first)
            self._messages.append(self._spoken(message, role, at))
        self._end_results(results, first)
        return tuple(self._messages)

    def _end_results(self, results: list[ToolResult], path: str) -> None:
        if results:
            self._messages.append(Message(Role.USER, tuple(results), path))
            results.clear()

    def _spoken(self, message: Mapping[str, Any], role: str, at: str) -> Message:
        name = optional(message, "name", str, at=at)
        if role == "assistant":
            refuse_others(message, _ASSISTANT, at)
            return Message(Role.ASSISTANT, tuple(self._assistant_parts(message, at)), at, name)
        if role not in _SPEAKERS:
            raise wrong_value(path_of(at, "role"), _ROLES)
        speaker = _SPEAKERS[role]
        refuse_others(message, _COMMON, at)
        read_part = read_user_part if speaker is Role.USER else _read_text_part
        parts = _content(message, at, read_part)
        if parts is None:
            required(message, "content", str, list, at=at)
        return Message(speaker, tuple(parts or ()), at, name)

    def _assistant_parts(self, message: Mapping[str, Any], at: str) -> list[Part]:
        parts: list[Part] = list(_reasoning_parts(message, at))
        parts.extend(_content(message, at, _read_assistant_part) or ())
        refusal = optional(message, "refusal", str, at=at)
        if refusal:
            parts.append(Refusal(refusal))
        for number, call in enumerate(objects(message, "tool_calls", at)):
            parts.append(self._call(call, path_of(path_of(at, "tool_calls"), number)))
        legacy = optional(message, "function_call", dict, at=at)
        if legacy is not None:
            within = path_of(at, "function_call")
            name = required(legacy, "name", str, at=within)
            call_id = self._legacy_ids[name] = f"call_{self._legacy_calls}"
            self._legacy_calls += 1
            parts.append(ToolCall(call_id, name, optional(legacy, "arguments", str, at=within) or ""))
        return parts

    def _call(self, call: Mapping[str, Any], at: str) -> ToolCall:
        kind = optional(call, "type", str, at=at) or "function"
        if kind not in {"function", "custom"}:
            raise wrong_value(path_of(at, "type"), '"function" or "custom"')
        call_id = required(call, "id", str, at=at)
        body, within = required(call, kind, dict, at=at), path_of(at, kind)
        name = required(body, "name", str, at=within)
        if kind == "function":
            return ToolCall(call_id, name, optional(body, "arguments", str, at=within) or "")
        self._custom_ids.add(call_id)
        return ToolCall(call_id, name, optional(body, "input", str, at=within) or "", is_custom=True)

    def _result(self, message: Mapping[str, Any], role: str, at: str) -> ToolResult:
        refuse_others(message, _COMMON | {"tool_call_id"}, at)
        if role == "function":
            name = required(message, "name", str, at=at)
            if name not in self._legacy_ids:
                raise wrong_value(path_of(at, "name"), "the name of a function that was called before")
            call_id = self._legacy_ids[name]
        else:
            call_id = required(message, "tool_call_id", str, at=at)
        content: list[ToolResultPart] = []
        for part in _content(message, at, read_user_part) or ():
            assert isinstance(part, Text | Image | Document)
            content.append(part)
        return ToolResult(call_id, tuple(content), is_custom=call_id in self._custom_ids)


def _content(
    message: Mapping[str, Any], at: str, read_part: Callable[[Mapping[str, Any], str], Part]
) -> list[Part] | None:
    """Return the parts of a message's content; None where it has none."""
    content = optional(message, "content", str, list, at=at)
    if content is None:
        return None
    if isinstance(content, str):
        return [Text(content)] if content else []
    parts, within = list[Part](), path_of(at, "content")
    for number, part in enumerate(content):
        if isinstance(part, str):  # Mistral's and some servers' short form
            parts.append(Text(part))
        elif isinstance(part, dict):
            parts.append(read_part(part, path_of(within, number)))
        else:
            raise wrong_type(path_of(within, number), dict)
    return parts


def _reasoning_parts(message: Mapping[str, Any], at: str) -> list[Reasoning]:
    """Return what the assistant thought; under whichever of the names, it is said once."""
    text = optional(message, "reasoning_content", str, at=at) or optional(message, "reasoning", str, at=at) or ""
    details = optional(message, "reasoning_details", list, at=at)
    opaques = unsealed_in(details)
    text = text or told_in(details)
    if text:
        first, rest = (opaques[0], opaques[1:]) if opaques else (None, [])
        return [Reasoning(text, first), *(Reasoning("", opaque) for opaque in rest)]
    return [Reasoning("", opaque) for opaque in opaques]


def _read_assistant_part(part: Mapping[str, Any], at: str) -> Part:
    match part.get("type"):
        case "refusal":
            refuse_others(part, frozenset({"type", "refusal"}), at)
            return Refusal(required(part, "refusal", str, at=at))
        case "thinking":
            return _read_thinking(part, at)
        case _:
            return _read_text_part(part, at)


def _read_thinking(part: Mapping[str, Any], at: str) -> Reasoning:
    """Return a thought as Mistral's answers hold it. What a thought refers to is no part of it."""
    refuse_others(part, frozenset({"type", "thinking", "closed"}), at)
    required(part, "thinking", list, at=at)
    return Reasoning(
        "".join(
            required(piece, "text", str, at=path_of(path_of(at, "thinking"), number))
            for number, piece in enumerate(objects(part, "thinking", at))
            if piece.get("type") != "reference"
        )
    )


def _read_text_part(part: Mapping[str, Any], at: str) -> Text:
    kind = optional(part, "type", str, at=at) or "text"
    if kind != "text":
        raise unsupported(path_of(at, "type"), "only text can stand here")
    refuse_others(part, _MARKS | {"text"}, at)
    return Text(required(part, "text", str, at=at), read_cache_mark(part, at))


def read_user_part(part: Mapping[str, Any], at: str) -> Part:
    """Return a part of a user's message, or of a tool's result.

    Raises:
        DownstreamError: as ``Format.read_request``.
    """
    match part.get("type"):
        case "image_url":
            return _read_image(part, at)
        case "file":
            return _read_file(part, at)
        case "text" | None:
            return _read_text_part(part, at)
        case _:
            raise unsupported(path_of(at, "type"))


def _read_image(part: Mapping[str, Any], at: str) -> Image:
    refuse_others(part, _MARKS | {"image_url"}, at)
    cache, within = read_cache_mark(part, at), path_of(at, "image_url")
    image = required(part, "image_url", dict, str, at=at)
    if isinstance(image, str):  # the short form of Mistral's reference
        image = {"url": image}
    refuse_others(image, frozenset({"url", "detail"}), within)
    url, detail = required(image, "url", str, at=within), optional(image, "detail", str, at=within)
    if not url.startswith("data:"):
        return Image(url=url, detail=detail, cache=cache)
    media_type, data = read_data_url(url, path_of(within, "url"), _URLS)
    return Image(media_type=media_type, data=data, detail=detail, cache=cache)


def _read_file(part: Mapping[str, Any], at: str) -> Document:
    refuse_others(part, _MARKS | {"file"}, at)
    within = path_of(at, "file")
    file = required(part, "file", dict, at=at)
    if file.get("file_id") is not None:
        raise unsupported(path_of(within, "file_id"), "files that a provider keeps belong to that provider")
    refuse_others(file, frozenset({"file_data", "filename"}), within)
    data, name = required(file, "file_data", str, at=within), optional(file, "filename", str, at=within)
    cache = read_cache_mark(part, at)
    if data.startswith(("https://", "http://")):  # OpenRouter takes an address in the same field
        return Document(url=data, name=name, cache=cache)
    media_type, data = read_data_url(data, path_of(within, "file_data"), _URLS)
    return Document(media_type=media_type, data=data, name=name, cache=cache)


def read_cache_mark(part: Mapping[str, Any], at: str) -> CacheMark | None:
    """Return the cache mark of a part or tool.

    Raises:
        DownstreamError: ``invalid_type``, ``invalid_value``.
    """
    for name in ("cache_control", "prompt_cache_breakpoint"):
        mark = optional(part, name, dict, at=at)
        if mark is None:
            continue
        ttl = optional(mark, "ttl", str, at=path_of(at, name))
        if ttl not in {None, "5m", "30m"} | _LONG_TIMES:
            raise wrong_value(path_of(path_of(at, name), "ttl"), "one of its format's times")
        return CacheMark.LONG if ttl in _LONG_TIMES else CacheMark.SHORT
    return None
