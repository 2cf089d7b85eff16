"""From the chat wire to events: a stream, or a whole answer."""

import attrs

from ainf.formats.base import Answer
from ainf.formats.chat.collected import read_answer
from ainf.formats.chat.content import pieces_of
from ainf.formats.chat.observe import error_in, note_end, note_head, note_view_usage, read_frame
from ainf.formats.chat.reasoning import opaque_in, told_in
from ainf.formats.chat.wire import (
    DONE,
    ChunkView,
    FunctionView,
    HeadedView,
    MessageView,
    ToolCallView,
    finish_reason_of,
    view_bytes,
)
from ainf.formats.loose import clean
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

_MOST_TOOL_CALLS = 1024
_LEGACY_CALL = "function_call"


# Strategy: the wire has no blocks, so they are inferred. Text, reasoning and refusal follow one another: a piece of one
# kind ends a block of another. Tool calls may be interleaved: each stays open until the end, in a map by its own index
# (or id), which a hostile index cannot make large.
class BlockTracker:
    """Makes blocks of deltas."""

    __slots__ = ("_calls", "_ids", "_last_call", "_next", "_text", "_text_kind")

    def __init__(self) -> None:
        self._next = 0
        self._text: int | None = None
        self._text_kind = BlockKind.TEXT
        self._calls: dict[int | str, int] = {}
        self._ids: dict[int, str | None] = {}
        self._last_call: int | None = None

    def send(self, message: MessageView, *, is_whole: bool) -> list[StreamEvent]:
        """Return the events of a delta, or of a whole message.

        Raises:
            UpstreamError: ``upstream_protocol``: a piece of a tool call that belongs to none, or too many blocks.
        """
        events: list[StreamEvent] = []
        self._add_reasoning(message, events)
        for kind, text in pieces_of(message.content or ""):
            self._add_text(kind, text, events)
        self._add_text(BlockKind.REFUSAL, message.refusal, events)
        for number, call in enumerate(message.tool_calls or ()):
            self._add_call(call, number if is_whole else None, events)
        if message.function_call is not None:
            self._add_legacy_call(message.function_call, events)
        return events

    def end(self) -> list[StreamEvent]:
        """Return the ends of the blocks that are open."""
        events: list[StreamEvent] = []
        self._end_text(events)
        events.extend(BlockEnd(index) for index in self._ids)
        self._ids.clear()
        return events

    def _add_reasoning(self, message: MessageView, events: list[StreamEvent]) -> None:
        details = message.reasoning_details
        text = message.reasoning_content or message.reasoning or (told_in(details) if details else None)
        self._add_text(BlockKind.REASONING, text, events)
        for opaque in opaque_in(details) if details else ():
            if self._text is None or self._text_kind is not BlockKind.REASONING:
                self._start_text(BlockKind.REASONING, events)
            self._end_text(events, opaque)

    def _add_text(self, kind: BlockKind, text: str | None, events: list[StreamEvent]) -> None:
        if not text:
            return
        if self._text is None or self._text_kind is not kind:
            self._start_text(kind, events)
        assert self._text is not None
        events.append(BlockDelta(self._text, clean(text)))

    def _start_text(self, kind: BlockKind, events: list[StreamEvent]) -> None:
        if self._next >= MOST_BLOCKS:
            raise too_many_blocks()
        self._end_text(events)
        self._text, self._text_kind = self._next, kind
        self._next += 1
        events.append(BlockStart(self._text, kind))

    def _end_text(self, events: list[StreamEvent], opaque: Opaque | None = None) -> None:
        if self._text is not None:
            events.append(BlockEnd(self._text, opaque))
            self._text = None

    def _add_legacy_call(self, function: FunctionView, events: list[StreamEvent]) -> None:
        if _LEGACY_CALL not in self._calls:
            self._start_call(_LEGACY_CALL, BlockStart(self._next, BlockKind.TOOL_CALL, None, function.name), events)
        if function.arguments:
            events.append(BlockDelta(self._calls[_LEGACY_CALL], clean(function.arguments)))

    def _add_call(self, call: ToolCallView, number: int | None, events: list[StreamEvent]) -> None:
        kind, name, text = _content_of(call)
        block = self._find(call, number)
        if block is None:
            key = self._key(call, number)
            if key is None or not (call.id or name):
                raise UpstreamError(
                    "upstream_protocol", "The provider sent a piece of a tool call that belongs to none."
                )
            block = self._start_call(key, BlockStart(self._next, kind, call.id or f"call_{self._next}", name), events)
        self._last_call = block
        if text:
            events.append(BlockDelta(block, clean(text)))

    def _find(self, call: ToolCallView, number: int | None) -> int | None:
        """Return the block that a piece belongs to; None where it begins one."""
        key = self._key(call, number)
        block = self._last_call if key is None else self._calls.get(key)
        if block is None or not call.id or self._ids[block] == call.id:
            return block
        return None  # another id under the same index is another call: some providers number every call 0

    @staticmethod
    def _key(call: ToolCallView, number: int | None) -> int | str | None:
        if type(call.index) is int:
            return call.index
        return call.id if number is None else number

    def _start_call(self, key: int | str, start: BlockStart, events: list[StreamEvent]) -> int:
        if len(self._ids) >= _MOST_TOOL_CALLS:
            raise UpstreamError(
                "upstream_protocol", "The provider's answer has more tool calls than the gateway's limit."
            )
        self._end_text(events)
        block = start.index
        self._next += 1
        self._calls[key] = block
        self._ids[block] = start.call_id
        call_id = start.call_id and clean(start.call_id)
        events.append(attrs.evolve(start, call_id=call_id, name=clean(start.name or "")))
        return block


def _content_of(call: ToolCallView) -> tuple[BlockKind, str | None, str | None]:
    """Return the kind of a call, and its name and the piece of its arguments or input where it says them."""
    if call.function is None and call.custom is not None:
        return BlockKind.CUSTOM_TOOL_CALL, call.custom.name, call.custom.input
    if call.function is None:
        return BlockKind.TOOL_CALL, None, None
    return BlockKind.TOOL_CALL, call.function.name, call.function.arguments


class ChatFrameReader:
    """Reads the frames of a chat stream into events.

    Invalid UTF-8 and lone surrogates become U+FFFD. After the finish chunk only usage is read.
    """

    __slots__ = ("_blocks", "_is_started", "answer", "is_over")

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.is_over = False
        self._blocks = BlockTracker()
        self._is_started = False

    def read(self, payload: bytes, name: bytes, events: list[StreamEvent]) -> bool:
        """Add the events of one frame. See ``FrameReader.read``."""
        if payload == DONE:
            self._take_done()
            return True
        view, is_error = read_frame(payload).view, name == b"error"
        if view is None and not is_error:
            return False
        self._take(view or HeadedView(), events, is_error=is_error)
        return True

    def _take_done(self) -> None:
        if self.answer.raw_finish_reason is None:
            self.answer.error = truncated()
        self.is_over = True

    def _take(self, view: HeadedView, events: list[StreamEvent], *, is_error: bool) -> None:
        note_head(self.answer, view)
        has_usage = note_view_usage(self.answer, view)
        if self.answer.raw_finish_reason is None:
            self.answer.error = error_in(view, is_named=is_error)
        if self.answer.error is not None:
            self.is_over = True
            return
        self._start(view, events, is_told=has_usage)
        if has_usage and self.answer.usage is not None:
            events.append(UsageUpdate(self.answer.usage))
        if self.answer.raw_finish_reason is not None:
            return
        events.extend(_message_events(self._blocks, view, is_whole=False))
        reason = finish_reason_of(view)
        if reason is not None:
            note_end(self.answer, reason)
            events.extend(end_events(self._blocks, self.answer))

    def _start(self, view: HeadedView, events: list[StreamEvent], *, is_told: bool) -> None:
        """Begin, once, with the first chunk that names the answer or says anything (Azure's first one does neither)."""
        if not self._is_started and (self.answer.response_id or is_told or view_bytes(view) or finish_reason_of(view)):
            self._is_started = True
            events.append(MessageStart(self.answer.response_id, self.answer.model))


def read_events(body: bytes, answer: Answer) -> list[StreamEvent]:
    """Return the events of a whole answer. See ``WholeReader``."""
    view, _ = read_answer(body, answer)
    if view is None:
        return []
    blocks = BlockTracker()
    events: list[StreamEvent] = [MessageStart(answer.response_id, answer.model)]
    events.extend(_message_events(blocks, view, is_whole=True))
    if answer.usage is not None:
        events.append(UsageUpdate(answer.usage))
    events.extend(end_events(blocks, answer))
    return events


def end_events(blocks: BlockTracker, answer: Answer) -> list[StreamEvent]:
    """Return the events of an end whose reason was noted."""
    assert answer.finish is not None, "an end without its evidence"
    assert answer.raw_finish_reason is not None
    return [*blocks.end(), MessageEnd(answer.finish, answer.raw_finish_reason)]


def _message_events(blocks: BlockTracker, view: ChunkView, *, is_whole: bool) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    for choice in view.choices or ():
        message = choice.delta or choice.message
        if message is not None:
            events.extend(blocks.send(message, is_whole=is_whole))
    return events
