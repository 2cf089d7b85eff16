"""From the content of a Messages request to the parts of a conversation."""

import base64
from collections.abc import Callable
from typing import Final

import msgspec

from ainf.formats.messages.fields import FieldReader
from ainf.formats.messages.reader import REDACTED, SIGNATURE
from ainf.inference.conversation import (
    CacheMark,
    Document,
    Image,
    Opaque,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
    ToolResultPart,
)

PLAIN: Final = "text/plain"
"""The media type of a document that is text."""

_CACHE_TIMES: Final = {None: CacheMark.SHORT, "5m": CacheMark.SHORT, "1h": CacheMark.LONG}


class PartReader:
    """Reads blocks into parts.

    Attributes:
        unknown: the names of what only says how to cache, and has no place in a conversation.
    """

    __slots__ = ("unknown",)

    def __init__(self) -> None:
        self.unknown: dict[str, None] = {}

    def content(self, fields: FieldReader, name: str, role: Role) -> tuple[Part, ...]:
        """Return the parts of a message: its text, or its blocks.

        Raises:
            DownstreamError: as ``Format.read_request``.
        """
        if isinstance(fields.value(name), list):
            return tuple(self._block(block, role) for block in fields.objects(name))
        return (Text(fields.required_text(name)),)

    def cache(self, fields: FieldReader) -> CacheMark | None:
        """Return the cache mark of a block or tool."""
        control = fields.object("cache_control")
        if control is None:
            return None
        if control.required_text("type") != "ephemeral":
            raise control.invalid("type", '"ephemeral"')
        ttl = control.text("ttl")
        if ttl not in _CACHE_TIMES:
            raise control.invalid("ttl", '"5m" or "1h"')
        self.unknown |= dict.fromkeys(f"cache_control.{name}" for name in control.unread())
        return _CACHE_TIMES[ttl]

    def _block(self, block: FieldReader, role: Role) -> Part:
        kind = block.required_text("type")
        read: dict[str, Callable[[FieldReader], Part]] = {"text": self._text}
        if role is Role.ASSISTANT:
            read |= {"thinking": _thinking, "redacted_thinking": _redacted, "tool_use": self._tool_use}
        elif role is Role.USER:
            read |= {"image": self._image, "document": self._document, "tool_result": self._tool_result}
        if kind not in read:
            raise block.unsupported()
        part = read[kind](block)
        block.refuse_unread()
        return part

    def _text(self, block: FieldReader) -> Text:
        if block.array("citations"):
            raise block.unsupported("citations")
        return Text(block.required_text("text"), self.cache(block))

    def _image(self, block: FieldReader) -> Image:
        source = block.required_object("source")
        kind = source.required_text("type")
        cache = self.cache(block)
        if kind == "url":
            image = Image(url=source.required_text("url"), cache=cache)
        elif kind == "base64":
            image = Image(media_type=source.required_text("media_type"), data=source.required_text("data"), cache=cache)
        else:
            raise source.unsupported()
        source.refuse_unread()
        return image

    def _document(self, block: FieldReader) -> Document:
        source = block.required_object("source")
        kind, name, cache = source.required_text("type"), block.text("title"), self.cache(block)
        if kind == "url":
            document = Document(url=source.required_text("url"), name=name, cache=cache)
        elif kind in {"base64", "text"}:
            media_type, data = source.required_text("media_type"), source.required_text("data")
            encoded = data if kind == "base64" else base64.b64encode(data.encode()).decode()
            document = Document(media_type=media_type, data=encoded, name=name, cache=cache)
        else:
            raise source.unsupported()
        source.refuse_unread()
        citations = block.object("citations")
        if citations is not None and citations.boolean("enabled"):
            raise block.unsupported("citations")
        return document

    def _tool_use(self, block: FieldReader) -> ToolCall:
        block.required_object("input")
        caller = block.object("caller")
        if caller is not None and caller.text("type") != "direct":
            raise block.unsupported("caller")
        return ToolCall(
            call_id=block.required_text("id"),
            name=block.required_text("name"),
            arguments=msgspec.json.encode(block.value("input")).decode(),
            cache=self.cache(block),
        )

    def _tool_result(self, block: FieldReader) -> ToolResult:
        return ToolResult(
            call_id=block.required_text("tool_use_id"),
            content=self._result_content(block),
            is_error=bool(block.boolean("is_error")),
            cache=self.cache(block),
        )

    def _result_content(self, block: FieldReader) -> tuple[ToolResultPart, ...]:
        if isinstance(block.value("content"), list):
            return tuple(self._result_part(each) for each in block.objects("content"))
        text = block.text("content")
        return () if text is None else (Text(text),)

    def _result_part(self, block: FieldReader) -> ToolResultPart:
        read: dict[str, Callable[[FieldReader], ToolResultPart]] = {
            "text": self._text,
            "image": self._image,
            "document": self._document,
        }
        kind = block.required_text("type")
        if kind not in read:
            raise block.unsupported()
        part = read[kind](block)
        block.refuse_unread()
        return part


def _thinking(block: FieldReader) -> Reasoning:
    return Reasoning(block.required_text("thinking"), _opaque(block.text("signature"), SIGNATURE))


def _redacted(block: FieldReader) -> Reasoning:
    return Reasoning("", _opaque(block.required_text("data"), REDACTED))


def _opaque(text: str | None, source: str) -> Opaque | None:
    return (Opaque.unsealed(text) or Opaque(source, text)) if text else None
