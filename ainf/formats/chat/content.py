"""Content of an answer on the chat wire: a text, or Mistral's list of parts, in which thoughts stand beside the text.

Source: docs.mistral.ai/capabilities/reasoning and the same as types in github.com/mistralai/client-python,
``thinkchunk.py``, ``referencechunk.py``: parts of the types ``text``, ``thinking`` (a list of texts and references) and
``reference`` (numbers of sources). Streams send them in ``delta.content``, a piece of one each time.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec

from ainf.formats.loose import text_bytes
from ainf.inference.events import BlockKind


class TextPart(msgspec.Struct, tag_field="type", tag="text", gc=False):
    """Text, or a piece of it."""

    text: str


class ReferencePart(msgspec.Struct, tag_field="type", tag="reference", gc=False):
    """Which sources the text before it rests on: nothing that a reader of the answer sees."""


class ThinkingPart(msgspec.Struct, tag_field="type", tag="thinking", gc=False):
    """What the model thought, or a piece of it."""

    thinking: list[TextPart | ReferencePart]


Parts: TypeAlias = list[TextPart | ThinkingPart | ReferencePart]
"""A part of any other type makes its frame opaque: there may be output in it."""

Content: TypeAlias = str | Parts


def pieces_of(content: Content) -> Iterator[tuple[BlockKind, str]]:
    """Go through the texts of content, each with what it is."""
    if isinstance(content, str):
        yield BlockKind.TEXT, content
        return
    for part in content:
        if isinstance(part, TextPart):
            yield BlockKind.TEXT, part.text
        elif isinstance(part, ThinkingPart):
            yield BlockKind.REASONING, _thought(part)


def parts_bytes(parts: Parts) -> int:
    """Return the visible bytes of content in parts."""
    return sum(text_bytes(text) for _, text in pieces_of(parts))


def loose_content(value: Any) -> Content | None:  # noqa: ANN401 - a provider's word, judged here
    """Return the content that can be made out of any value: of a list what has text, as far as it is known."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    parts: Parts = []
    for part in value:
        thoughts = part.get("thinking") if isinstance(part, dict) else None
        if isinstance(thoughts, list | str):
            parts.append(ThinkingPart(list(_loose_texts(thoughts if isinstance(thoughts, list) else [thoughts]))))
        else:
            parts.extend(_loose_texts([part]))
    return parts


def _thought(part: ThinkingPart) -> str:
    return "".join(piece.text for piece in part.thinking if isinstance(piece, TextPart))


def _loose_texts(parts: list[Any]) -> Iterator[TextPart]:
    for part in parts:
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            yield TextPart(text)
