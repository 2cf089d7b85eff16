"""The Messages wire: typed views of a stream's events and of a whole answer, with only what we read from them.

Source: Anthropic's API reference, "Streaming messages" and "Messages". Decoding is tolerant in two steps, as for every
format: a view is decoded by type (one decode for all payloads of a read); what does not fit is *opaque*: it is read
loosely, for the output that can be made out and for evidence (stop reason, usage, error).
"""

from typing import Any, Final

import msgspec

from ainf.formats.loose import dump_loosely, load_loosely, text_bytes, text_or_none
from ainf.formats.views import Frame, frame_of, view_decoder, views_decoder

NO_INPUT: Final = frozenset({b"", b"{}", b"null"})
"""The JSON texts of a tool's input that say nothing."""

_NOTHING: Final = msgspec.Raw(b"")


class DeltaView(msgspec.Struct, gc=False):
    """More of a block, or, in ``message_delta``, why the message ends."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class BlockView(msgspec.Struct, gc=False):
    """A content block, or the beginning of one."""

    type: str | None = None
    id: str | None = None
    name: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    input: msgspec.Raw = _NOTHING
    """As it came: a number in it must not change its digits."""


class EventView(msgspec.Struct, gc=False):
    """An event that carries content."""

    type: str | None = None
    index: Any = None
    delta: DeltaView | None = None
    content_block: BlockView | None = None


class HeadView(msgspec.Struct, gc=False):
    """The message in ``message_start``."""

    id: Any = None
    model: Any = None
    usage: Any = None


class FullView(EventView, gc=False):
    """Any event."""

    message: HeadView | None = None
    usage: Any = None
    error: Any = None


class AnswerView(msgspec.Struct, gc=False):
    """A whole answer."""

    type: str | None = None
    id: Any = None
    model: Any = None
    content: list[BlockView] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: Any = None
    error: Any = None


decode_events: Final = views_decoder(EventView)
"""Returns the views of all payloads, or None when any of them does not fit; see ``views_decoder``."""

_decode_full = view_decoder(FullView)
_decode_answer = view_decoder(AnswerView)


def read_frame(payload: bytes) -> Frame[FullView]:
    """Return what one payload says."""
    view = _decode_full(payload)
    if view is not None:
        return frame_of(payload, view, view_bytes, is_opaque=False)
    return frame_of(payload, _loose_event(payload), view_bytes, is_opaque=True)


def read_whole(body: bytes) -> tuple[AnswerView | None, bool]:
    """Return the view of a whole answer, and whether it is opaque; there is none where the body is no JSON object."""
    view = _decode_answer(body)
    return (view, False) if view is not None else (_loose_answer(body), True)


def visible_in(payload: bytes) -> int:
    """Return the visible bytes of one payload, as a stream's judge counts them."""
    return read_frame(payload).output_bytes


def delta_bytes(delta: DeltaView) -> int:
    """Return the visible output in a piece of a block: text, thinking, a tool's input. A signature is none."""
    size = 0
    if delta.text:
        size = text_bytes(delta.text)
    if delta.thinking:
        size += text_bytes(delta.thinking)
    if delta.partial_json:
        size += text_bytes(delta.partial_json)
    return size


def block_bytes(block: BlockView) -> int:
    """Return the visible output in a block, or in its beginning: as ``delta_bytes``, and the name of a tool."""
    size = text_bytes(block.text) + text_bytes(block.thinking) + text_bytes(block.name)
    given = bytes(block.input)
    return size if given in NO_INPUT else size + len(given)


def view_bytes(view: EventView) -> int:
    """Return the visible output of an event."""
    size = 0 if view.delta is None else delta_bytes(view.delta)
    return size if view.content_block is None else size + block_bytes(view.content_block)


def _loose_event(payload: bytes) -> FullView | None:
    document = load_loosely(payload)
    if document is None:
        return None
    return FullView(
        type=text_or_none(document.get("type")),
        index=document.get("index"),
        delta=_loose_delta(document.get("delta")),
        content_block=_loose_block(document.get("content_block")),
        message=_loose_head(document.get("message")),
        usage=document.get("usage"),
        error=document.get("error"),
    )


def _loose_answer(body: bytes) -> AnswerView | None:
    document = load_loosely(body)
    if document is None:
        return None
    content = document.get("content")
    blocks = [_loose_block(block) for block in content] if isinstance(content, list) else None
    return AnswerView(
        type=text_or_none(document.get("type")),
        id=document.get("id"),
        model=document.get("model"),
        content=None if blocks is None else [block for block in blocks if block is not None],
        stop_reason=text_or_none(document.get("stop_reason")),
        stop_sequence=text_or_none(document.get("stop_sequence")),
        usage=document.get("usage"),
        error=document.get("error"),
    )


def _loose_delta(delta: Any) -> DeltaView | None:  # noqa: ANN401 - judged here
    if not isinstance(delta, dict):
        return None
    return DeltaView(**{name: text_or_none(delta.get(name)) for name in DeltaView.__struct_fields__})


def _loose_block(block: Any) -> BlockView | None:  # noqa: ANN401 - judged here
    if not isinstance(block, dict):
        return None
    texts = {name: text_or_none(block.get(name)) for name in BlockView.__struct_fields__ if name != "input"}
    given = block.get("input")
    return BlockView(**texts, input=msgspec.Raw(dump_loosely(given)) if isinstance(given, dict) else _NOTHING)


def _loose_head(message: Any) -> HeadView | None:  # noqa: ANN401 - judged here
    if not isinstance(message, dict):
        return None
    return HeadView(id=message.get("id"), model=message.get("model"), usage=message.get("usage"))
