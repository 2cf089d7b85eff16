"""From the contents of a Gemini request to the messages of a conversation.

Source: the Gemini API reference, "Content" and "Part". Like all JSON of Google's APIs it may name its fields in
camelCase or in snake_case.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ainf.formats.fields import (
    objects,
    optional,
    path_of,
    refuse_others,
    required,
    unsupported,
    wrong_value,
)
from ainf.formats.gemini.signature import CALL, TEXT, THOUGHT, read_signature
from ainf.inference.conversation import (
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
    ToolResultPart,
)

_ROLES: Final = {None: Role.USER, "user": Role.USER, "function": Role.USER, "model": Role.ASSISTANT}
_SPOKEN: Final = frozenset({"text", "thought", "thoughtSignature"})
_KINDS: Final = ("functionCall", "functionResponse", "inlineData", "fileData", "text")
_OUTPUT: Final = "output"
_ERROR: Final = "error"


def in_camel_case(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object of the API with its names in camelCase; only its own, since what is inside may be a client's."""
    return {_camel(name): value for name, value in fields.items()}


class ContentsReader:
    """Reads the contents of one request, in order. Calls without an id get one, which their results find again."""

    __slots__ = ("_made", "_waiting")

    def __init__(self) -> None:
        self._made = 0
        self._waiting: list[tuple[str, str]] = []  # name and id of the calls that have no result yet

    def read(self, contents: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
        """Return the messages.

        Raises:
            DownstreamError: as ``Format.read_request``.
        """
        return tuple(self._message(content, path_of("contents", n)) for n, content in enumerate(contents))

    def _message(self, content: Mapping[str, Any], at: str) -> Message:
        refuse_others(content, frozenset({"role", "parts"}), at)
        role = optional(content, "role", str, at=at)
        if role not in _ROLES:
            raise wrong_value(path_of(at, "role"), '"user" or "model"')
        parts: list[Part] = []
        for number, part in enumerate(objects(content, "parts", at)):
            parts.extend(self._part(in_camel_case(part), path_of(path_of(at, "parts"), number)))
        return Message(_ROLES[role], tuple(parts), at)

    def _part(self, part: Mapping[str, Any], at: str) -> list[Part]:
        kind = next((each for each in _KINDS if part.get(each) is not None), "text")
        refuse_others(part, _SPOKEN | {kind}, at)
        signature = optional(part, "thoughtSignature", str, at=at) or ""
        if kind == "text":
            return _text(part, signature, at)
        signed: list[Part] = [Reasoning("", read_signature(signature, CALL))] if signature else []
        body, within = in_camel_case(required(part, kind, dict, at=at)), path_of(at, kind)
        match kind:
            case "functionCall":
                return [*signed, self._call(body, within)]
            case "functionResponse":
                return [*signed, self._result(body, within)]
            case "inlineData":
                return [*signed, _inline(body, within)]
            case _:
                return [*signed, _linked(body, within)]

    def _call(self, call: Mapping[str, Any], at: str) -> ToolCall:
        refuse_others(call, frozenset({"id", "name", "args"}), at)
        name = required(call, "name", str, at=at)
        call_id = optional(call, "id", str, at=at)
        if not call_id:
            call_id, self._made = f"call_{self._made}", self._made + 1
        self._waiting.append((name, call_id))
        arguments = optional(call, "args", dict, at=at) or {}
        return ToolCall(call_id, name, msgspec.json.encode(arguments).decode())

    def _result(self, result: Mapping[str, Any], at: str) -> ToolResult:
        refuse_others(result, frozenset({"id", "name", "response", "parts"}), at)
        name = required(result, "name", str, at=at)
        call_id = optional(result, "id", str, at=at) or self._called(name, at)
        self._waiting = [call for call in self._waiting if call[1] != call_id]
        response = optional(result, "response", dict, at=at) or {}
        content: list[ToolResultPart] = []
        text = _result_text(response)
        if text:
            content.append(Text(text))
        for number, part in enumerate(objects(result, "parts", at)):
            within = path_of(path_of(at, "parts"), number)
            refuse_others(in_camel_case(part), frozenset({"inlineData"}), within)
            blob = required(in_camel_case(part), "inlineData", dict, at=within)
            content.append(_inline(in_camel_case(blob), path_of(within, "inlineData")))
        return ToolResult(call_id, tuple(content), is_error=response.keys() == {_ERROR})

    def _called(self, name: str, at: str) -> str:
        """Return the id of the oldest call of this name that has no result yet."""
        for called, call_id in self._waiting:
            if called == name:
                return call_id
        raise wrong_value(path_of(at, "name"), "the name of a function that was called before")


def read_instruction(instruction: Mapping[str, Any], at: str) -> Message:
    """Return the system instruction, which is content of any role.

    Raises:
        DownstreamError: as ``Format.read_request``.
    """
    refuse_others(instruction, frozenset({"role", "parts"}), at)
    texts: list[Part] = []
    for number, part in enumerate(objects(instruction, "parts", at)):
        within = path_of(path_of(at, "parts"), number)
        refuse_others(part, frozenset({"text"}), within)
        texts.append(Text(required(part, "text", str, at=within)))
    return Message(Role.SYSTEM, tuple(texts), at)


def _text(part: Mapping[str, Any], signature: str, at: str) -> list[Part]:
    text = optional(part, "text", str, at=at) or ""
    if optional(part, "thought", bool, at=at):
        opaque = read_signature(signature, THOUGHT) if signature else None
        return [Reasoning(text, opaque)] if text or opaque else []
    signed: list[Part] = [Reasoning("", read_signature(signature, TEXT))] if signature else []
    return [*signed, Text(text)] if text else signed


def _result_text(response: Mapping[str, Any]) -> str:
    """Return what a result says: its output or error where that is all of it and text, else the object as JSON."""
    for name in (_OUTPUT, _ERROR):
        if response.keys() == {name}:
            told = response[name]
            return told if isinstance(told, str) else msgspec.json.encode(told).decode()
    return msgspec.json.encode(response).decode() if response else ""


def _inline(blob: Mapping[str, Any], at: str) -> Image | Document:
    refuse_others(blob, frozenset({"mimeType", "data", "displayName"}), at)
    media_type, data = required(blob, "mimeType", str, at=at), required(blob, "data", str, at=at)
    if _is_image(media_type, at):
        return Image(media_type=media_type, data=data)
    return Document(media_type=media_type, data=data, name=optional(blob, "displayName", str, at=at))


def _linked(file: Mapping[str, Any], at: str) -> Image | Document:
    refuse_others(file, frozenset({"mimeType", "fileUri", "displayName"}), at)
    url = required(file, "fileUri", str, at=at)
    if not url.startswith(("https://", "http://")):
        raise unsupported(path_of(at, "fileUri"), "files that a provider keeps belong to that provider")
    media_type = optional(file, "mimeType", str, at=at)
    if media_type is not None and _is_image(media_type, at):
        return Image(url=url, media_type=media_type)
    return Document(url=url, media_type=media_type, name=optional(file, "displayName", str, at=at))


def _is_image(media_type: str, at: str) -> bool:
    """Whether a media type is an image's; if not, it must be a document's."""
    if media_type.startswith(("audio/", "video/")):
        raise unsupported(path_of(at, "mimeType"), "only images and documents can be said in another format")
    return media_type.startswith("image/")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest) if first else name
