"""From the messages of a conversation to the contents of a Gemini request.

Source: the Gemini API reference, "Content" and "Part", and its guides "thought signatures" and "file input methods".
"""

from collections.abc import Sequence
from typing import Any, Final

from ainf.formats.fields import path_of, unsupported
from ainf.formats.gemini.signature import CALL, PLACEHOLDER, SOURCES, TEXT, THOUGHT
from ainf.formats.json import load_json
from ainf.inference.conversation import (
    Document,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from ainf.inference.errors import DownstreamError

_INSTRUCTIONS: Final = frozenset({Role.SYSTEM, Role.DEVELOPER})
_AUTOMATIC: Final = frozenset({None, "auto"})
_MEDIA_TYPES: Final = {
    "bmp": "image/bmp",
    "csv": "text/csv",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "htm": "text/html",
    "html": "text/html",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "md": "text/markdown",
    "pdf": "application/pdf",
    "png": "image/png",
    "txt": "text/plain",
    "webp": "image/webp",
    "xml": "text/xml",
}
"""By the suffix of a URL: the API wants to be told the media type of what it fetches."""


def write_messages(messages: Sequence[Message]) -> dict[str, Any]:
    """Return ``contents`` and, of the messages that come first, ``systemInstruction``.

    Neighbours of one role become one content, since the API wants roles to take turns.

    Raises:
        DownstreamError: as ``Format.write_request``.
    """
    count = next((n for n, message in enumerate(messages) if message.role not in _INSTRUCTIONS), len(messages))
    fields: dict[str, Any] = {}
    instructions = [part for message in messages[:count] for part in _instruction(message)]
    if instructions:
        fields["systemInstruction"] = {"parts": instructions}
    return fields | {"contents": _ContentsWriter().write(messages[count:])}


class _ContentsWriter:
    """Writes the messages of one request, in order: the result of a call has to name the function again."""

    def __init__(self) -> None:
        self._called: dict[str, str] = {}

    def write(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        contents: list[dict[str, Any]] = []
        for message in messages:
            if message.role in _INSTRUCTIONS:
                raise unsupported(message.path, "instructions must come before everything else for this provider")
            if message.name is not None:
                raise unsupported(path_of(message.path, "name"))
            role = "model" if message.role is Role.ASSISTANT else "user"
            parts = self._parts(message)
            if contents and contents[-1]["role"] == role:
                contents[-1]["parts"] += parts
            elif parts:
                contents.append({"role": role, "parts": parts})
        _hold_places(contents)
        return contents

    def _parts(self, message: Message) -> list[dict[str, Any]]:
        signatures = _Signatures()
        parts: list[dict[str, Any]] = []
        for part in message.parts:
            match part:
                case Reasoning():
                    parts.extend(signatures.take(part))
                case Text() | Refusal():
                    if part.text:
                        parts.append({"text": part.text} | signatures.give(TEXT))
                case ToolCall():
                    parts.append(self._call(part, message) | signatures.give(CALL))
                case ToolResult():
                    parts.append(self._result(part, message))
                case Image() | Document():
                    parts.append(_medium(part, message))
        return [*parts, *signatures.rest()]

    def _call(self, call: ToolCall, message: Message) -> dict[str, Any]:
        if call.is_custom:
            raise unsupported(message.path, "this model's provider has no tools of free-form input")
        self._called[call.call_id] = call.name
        try:
            arguments = load_json(call.arguments.encode()) if call.arguments.strip() else {}
        except DownstreamError as error:
            why = f"the arguments of a tool call must be one JSON object ({error.message})"
            raise unsupported(message.path, why) from None
        return {"functionCall": {"id": call.call_id, "name": call.name, "args": arguments}}

    def _result(self, result: ToolResult, message: Message) -> dict[str, Any]:
        name = self._called.get(result.call_id)
        if result.is_custom:
            raise unsupported(message.path, "this model's provider has no tools of free-form input")
        if name is None:
            raise unsupported(message.path, "a tool's result must follow its call, whose function it has to name")
        texts = [part.text for part in result.content if isinstance(part, Text)]
        response = {"error" if result.is_error else "output": "\n".join(texts)}
        written: dict[str, Any] = {"id": result.call_id, "name": name, "response": response}
        media = [part for part in result.content if not isinstance(part, Text)]
        if any(part.data is None for part in media):
            raise unsupported(message.path, "what a tool's result shows must be in the request, as base64")
        if media:
            written["parts"] = [_medium(part, message) for part in media]
        return {"functionResponse": written}


class _Signatures:
    """The signatures of one message that wait for the parts that they belong to.

    Reasoning of other providers is dropped: no provider is handed what another one made.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[str, str]] = []  # source and signature

    def take(self, part: Reasoning) -> list[dict[str, Any]]:
        """Return the thought that a part of reasoning is, if it is one, and keep a signature for another part."""
        opaque = part.opaque
        if opaque is not None and opaque.source not in SOURCES:
            return []
        thought: list[dict[str, Any]] = [{"text": part.text, "thought": True}] if part.text else []
        if opaque is None:
            return thought
        if thought and opaque.source == THOUGHT:
            return [thought[0] | {"thoughtSignature": opaque.data}]
        self._waiting.append((opaque.source, opaque.data))
        return thought

    def give(self, kind: str) -> dict[str, Any]:
        """Return the signature of the next part of a kind, if one waits for it."""
        for number, (source, signature) in enumerate(self._waiting):
            if source in {kind, THOUGHT}:
                del self._waiting[number]
                return {"thoughtSignature": signature}
        return {}

    def rest(self) -> list[dict[str, Any]]:
        """Return those that found no part, as empty parts: so Gemini itself sends the signature of a whole answer."""
        return [{"text": "", "thoughtSignature": signature} for _, signature in self._waiting]


def _hold_places(contents: Sequence[dict[str, Any]]) -> None:
    """Give the calls of the current turn that Gemini did not make what stands for a signature.

    Of the calls of one content only the first is signed. The current turn begins with the last content of the user
    that is no result of a tool; what is older is not held against a history.
    """
    for content in reversed(contents):
        if content["role"] == "user":
            if not any("functionResponse" in part for part in content["parts"]):
                return
            continue
        first = next((part for part in content["parts"] if "functionCall" in part), None)
        if first is not None:
            first.setdefault("thoughtSignature", PLACEHOLDER)


def _instruction(message: Message) -> list[dict[str, Any]]:
    if message.name is not None:
        raise unsupported(path_of(message.path, "name"))
    texts: list[dict[str, Any]] = []
    for part in message.parts:
        if not isinstance(part, Text):
            raise unsupported(message.path, "only text can stand in an instruction")
        texts.append({"text": part.text})
    return texts


def _medium(part: Image | Document, message: Message) -> dict[str, Any]:
    """Return an image or document. How closely to look is not said: only some models can be told."""
    if isinstance(part, Image) and part.detail not in _AUTOMATIC:
        raise unsupported(message.path, "this model's provider cannot be told how closely to look (`detail`)")
    if part.data is not None:
        if part.media_type is None:
            raise unsupported(message.path, "an image or document needs a media type")
        return {"inlineData": {"mimeType": part.media_type, "data": part.data}}
    url = part.url or ""
    if not url.startswith("https://"):
        raise unsupported(message.path, "this model's provider fetches only https URLs; send the data as base64")
    media_type = part.media_type or _media_type_of(url)
    if media_type is None:
        why = "this model's provider must know the media type of a URL, which its suffix does not tell; send base64"
        raise unsupported(message.path, why)
    return {"fileData": {"mimeType": media_type, "fileUri": url}}


def _media_type_of(url: str) -> str | None:
    name = url.partition("#")[0].partition("?")[0].rpartition("/")[2]
    _, dot, suffix = name.rpartition(".")
    return _MEDIA_TYPES.get(suffix.lower()) if dot else None
