"""From the Messages wire to events: a stream, or a whole answer."""

from typing import Final

import attrs

from ainf.formats.base import Answer
from ainf.formats.loose import clean
from ainf.formats.messages.collected import read_answer
from ainf.formats.messages.observe import MessageNotes, error_in, note_end, stop_reason_of
from ainf.formats.messages.wire import NO_INPUT, BlockView, DeltaView, FullView, read_frame
from ainf.formats.observe import MOST_BLOCKS, too_many_blocks, truncated
from ainf.inference.conversation import Opaque
from ainf.inference.errors import UpstreamError
from ainf.inference.events import (
    BlockDelta,
    BlockEnd,
    BlockKind,
    BlockStart,
    MessageEnd,
    MessageStart,
    StreamEvent,
    UsageUpdate,
)

SIGNATURE: Final = "messages.signature"
"""The source of a thinking block's signature."""
REDACTED: Final = "messages.redacted"
"""The source of a redacted thinking block's data."""

_KINDS: Final = {
    "text": BlockKind.TEXT,
    "thinking": BlockKind.REASONING,
    "redacted_thinking": BlockKind.REASONING,
    "tool_use": BlockKind.TOOL_CALL,
}
_KIND_OF_DELTA: Final = {
    "text_delta": BlockKind.TEXT,
    "thinking_delta": BlockKind.REASONING,
    "signature_delta": BlockKind.REASONING,
}


@attrs.define
class _Block:
    """A block that is open; ``index`` is None for one of a kind that no event has (a provider's own tools)."""

    index: int | None
    kind: BlockKind | None
    opaque: Opaque | None = None
    given: str = "{}"
    """A tool's input as its beginning says it: what stands if nothing follows."""
    has_text: bool = False


# Strategy: the wire has blocks, so they are followed; what a provider gets wrong is mended where that is plain. A piece
# of text or thinking that belongs to no block begins one, a beginning under an index that is open ends the older block.
# Blocks are kept in a map by the wire's own index, which a hostile index cannot make large.
class BlockFollower:
    """Makes events of content blocks."""

    __slots__ = ("_next", "_open")

    def __init__(self) -> None:
        self._next = 0
        self._open: dict[int | None, _Block] = {}

    def start(self, key: int | None, view: BlockView) -> list[StreamEvent]:
        """Return the events of a block's beginning.

        Raises:
            UpstreamError: ``upstream_protocol``: more blocks than any answer has.
        """
        events = self.stop(key)
        kind = _KINDS.get(view.type or "")
        if kind is None:
            self._open[key] = _Block(None, None)
            return events
        is_tool = kind is BlockKind.TOOL_CALL
        call_id = clean(view.id or f"toolu_{self._next}") if is_tool else None
        block = self._begin(key, kind, events, call_id=call_id, name=clean(view.name or "") if is_tool else None)
        if is_tool:
            given = bytes(view.input)
            block.given = "{}" if given in NO_INPUT else given.decode("utf-8", "replace")
        elif view.type == "redacted_thinking":
            block.opaque = Opaque(REDACTED, clean(view.data or ""))
        else:
            self._add(block, view.text if kind is BlockKind.TEXT else view.thinking, events)
            self._sign(block, view.signature)
        return events

    def add(self, key: int | None, delta: DeltaView) -> list[StreamEvent]:
        """Return the events of a piece of a block.

        Raises:
            UpstreamError: ``upstream_protocol``: a piece of a tool's input that belongs to no block.
        """
        events: list[StreamEvent] = []
        block = self._open.get(key)
        if block is None:
            if delta.type == "input_json_delta":
                raise UpstreamError(
                    "upstream_protocol", "The provider sent a piece of a tool call that belongs to none."
                )
            kind = _KIND_OF_DELTA.get(delta.type or "")
            if kind is None:
                return events
            block = self._begin(key, kind, events)
        if block.kind is BlockKind.TEXT:
            self._add(block, delta.text, events)
        elif block.kind is BlockKind.REASONING:
            self._add(block, delta.thinking, events)
            self._sign(block, delta.signature)
        elif block.kind is BlockKind.TOOL_CALL:
            self._add(block, delta.partial_json, events)
        return events

    def stop(self, key: int | None) -> list[StreamEvent]:
        """Return the events of a block's end; none where it is not open."""
        block = self._open.pop(key, None)
        if block is None or block.index is None:
            return []
        events: list[StreamEvent] = []
        if block.kind is BlockKind.TOOL_CALL and not block.has_text:
            self._add(block, block.given, events)
        return [*events, BlockEnd(block.index, block.opaque)]

    def end(self) -> list[StreamEvent]:
        """Return the ends of the blocks that are open."""
        return [event for key in list(self._open) for event in self.stop(key)]

    def _begin(
        self,
        key: int | None,
        kind: BlockKind,
        events: list[StreamEvent],
        *,
        call_id: str | None = None,
        name: str | None = None,
    ) -> _Block:
        if self._next >= MOST_BLOCKS:
            raise too_many_blocks()
        block = self._open[key] = _Block(self._next, kind)
        events.append(BlockStart(self._next, kind, call_id, name))
        self._next += 1
        return block

    @staticmethod
    def _add(block: _Block, text: str | None, events: list[StreamEvent]) -> None:
        if text:
            assert block.index is not None, "a piece of a block that no event has"
            block.has_text = True
            events.append(BlockDelta(block.index, clean(text)))

    @staticmethod
    def _sign(block: _Block, signature: str | None) -> None:
        if signature and block.kind is BlockKind.REASONING:
            block.opaque = Opaque(SIGNATURE, clean(signature))


class MessagesFrameReader:
    """Reads the frames of a Messages stream into events.

    Invalid UTF-8 and lone surrogates become U+FFFD. After the stop reason only usage is read.
    """

    __slots__ = ("_blocks", "_is_started", "_notes", "answer", "is_over")

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.is_over = False
        self._notes = MessageNotes(answer)
        self._blocks = BlockFollower()
        self._is_started = False

    def read(self, payload: bytes, name: bytes, events: list[StreamEvent]) -> bool:
        """Add the events of one frame. See ``FrameReader.read``."""
        view = read_frame(payload).view
        if self.answer.raw_finish_reason is None:
            self.answer.error = error_in(view, name)
            if self.answer.error is not None:
                self.is_over = True
                return True
        if view is None:
            return False
        if self.answer.raw_finish_reason is None:
            self._take(view, events)
        else:
            self._take_behind(view, events)
        return True

    def _take(self, view: FullView, events: list[StreamEvent]) -> None:
        is_usage = self._notes.take(view)
        if not self._is_started and view.type != "ping":
            self._is_started = True
            events.append(MessageStart(self.answer.response_id, self.answer.model))
        if is_usage and self.answer.usage is not None:
            events.append(UsageUpdate(self.answer.usage))
        self._take_content(view, events)

    def _take_content(self, view: FullView, events: list[StreamEvent]) -> None:
        key = view.index if type(view.index) is int else None
        if view.type == "content_block_delta" and view.delta is not None:
            events.extend(self._blocks.add(key, view.delta))
        elif view.type == "content_block_start" and view.content_block is not None:
            events.extend(self._blocks.start(key, view.content_block))
        elif view.type == "content_block_stop":
            events.extend(self._blocks.stop(key))
        elif view.type == "message_stop":
            self.is_over = True
            self.answer.error = truncated()
        else:
            reason = stop_reason_of(view)
            if reason is not None:
                assert view.delta is not None, "a stop reason without its delta"
                note_end(self.answer, reason)
                events.extend(end_events(self._blocks, self.answer, view.delta.stop_sequence))

    def _take_behind(self, view: FullView, events: list[StreamEvent]) -> None:
        """Take an event behind the stop reason: usage, without a second reason, and the end."""
        if view.type == "message_stop":
            self.is_over = True
        elif stop_reason_of(view) is None and self._notes.take(view) and self.answer.usage is not None:
            events.append(UsageUpdate(self.answer.usage))


def read_events(body: bytes, answer: Answer) -> list[StreamEvent]:
    """Return the events of a whole answer. See ``WholeReader``."""
    view, _ = read_answer(body, answer)
    if view is None:
        return []
    blocks = BlockFollower()
    events: list[StreamEvent] = [MessageStart(answer.response_id, answer.model)]
    for number, block in enumerate(view.content or ()):
        events.extend(blocks.start(number, block))
        events.extend(blocks.stop(number))
    if answer.usage is not None:
        events.append(UsageUpdate(answer.usage))
    events.extend(end_events(blocks, answer, view.stop_sequence))
    return events


def end_events(blocks: BlockFollower, answer: Answer, stop_sequence: str | None) -> list[StreamEvent]:
    """Return the events of an end whose reason was noted."""
    assert answer.finish is not None, "an end without its evidence"
    assert answer.raw_finish_reason is not None
    sequence = None if stop_sequence is None else clean(stop_sequence)
    return [*blocks.end(), MessageEnd(answer.finish, answer.raw_finish_reason, sequence)]
