"""From the Gemini wire to events: a stream, or a whole answer."""

import re
from typing import Final

from ainf.formats.base import Answer
from ainf.formats.gemini.collected import read_answer
from ainf.formats.gemini.observe import BLOCKED, error_in, note_end, note_head, note_view_usage, read_frame
from ainf.formats.gemini.signature import CALL, TEXT, THOUGHT
from ainf.formats.gemini.wire import AnswerView, FunctionCallView, PartView, args_text, parts_of
from ainf.formats.loose import clean
from ainf.formats.observe import MOST_BLOCKS, too_many_blocks
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

_ONLY_HERE: Final = ("executableCode", "codeExecutionResult", "inlineData", "fileData", "toolCall", "toolResponse")
_NOT_IN_IDS: Final = re.compile(r"[^A-Za-z0-9_-]")
_ID_CHARACTERS: Final = 32
_REASON: Final = re.compile(r"[A-Z_]+")


# Strategy: the wire has no blocks, so they are inferred. Pieces of text and of thoughts follow one another: a piece of
# one kind ends a block of the other, and so does a signature, which belongs to one part alone. A call comes whole.
class BlockTracker:
    """Makes blocks of parts.

    Args:
        answer: what is known of the answer; its id names the calls that have no id of their own.
    """

    __slots__ = ("_answer", "_calls", "_next", "_open", "_open_kind")

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._next = 0
        self._open: int | None = None
        self._open_kind = BlockKind.TEXT
        self._calls = 0

    @property
    def has_called(self) -> bool:
        """Whether there was a call."""
        return self._calls > 0

    def send(self, part: PartView, events: list[StreamEvent]) -> None:
        """Add the events of a part.

        Raises:
            UpstreamError: ``upstream_protocol``: a part that was not asked for and that no other format can say, a
                piece of a call, or too many blocks.
        """
        for name in _ONLY_HERE:
            if getattr(part, name) is not None:
                raise UpstreamError(
                    "upstream_protocol", f"The provider's answer holds what no other format can say (`{name}`)."
                )
        if part.functionCall is not None:
            self._add_signature(part.thoughtSignature, CALL, events)
            self._add_call(part.functionCall, events)
        elif part.thought is True:
            self._add_text(BlockKind.REASONING, part.text, events)
            self._sign_thought(part.thoughtSignature, events)
        else:
            self._add_signature(part.thoughtSignature, TEXT, events)
            self._add_text(BlockKind.TEXT, part.text, events)

    def refuse(self, reason: str, events: list[StreamEvent]) -> None:
        """Add a refusal in our own words: the prompt was blocked, and the wire has no text for that."""
        self.end(events)
        shown = reason if _REASON.fullmatch(reason) else "OTHER"
        index = self._start(BlockKind.REFUSAL, events)
        events.append(BlockDelta(index, f"The provider blocked the prompt ({shown})."))
        events.append(BlockEnd(index))

    def end(self, events: list[StreamEvent], opaque: Opaque | None = None) -> None:
        """End the block that is open, if one is."""
        if self._open is not None:
            events.append(BlockEnd(self._open, opaque))
            self._open = None

    def _start(
        self, kind: BlockKind, events: list[StreamEvent], call_id: str | None = None, name: str | None = None
    ) -> int:
        if self._next >= MOST_BLOCKS:
            raise too_many_blocks()
        index, self._next = self._next, self._next + 1
        events.append(BlockStart(index, kind, call_id, name))
        return index

    def _add_text(self, kind: BlockKind, text: str | None, events: list[StreamEvent]) -> None:
        if not text:
            return
        self._open_text(kind, events)
        assert self._open is not None
        events.append(BlockDelta(self._open, clean(text)))

    def _open_text(self, kind: BlockKind, events: list[StreamEvent]) -> None:
        if self._open_kind is not kind:
            self.end(events)
        if self._open is None:
            self._open, self._open_kind = self._start(kind, events), kind

    def _sign_thought(self, signature: str | None, events: list[StreamEvent]) -> None:
        if signature:
            self._open_text(BlockKind.REASONING, events)
            self.end(events, Opaque(THOUGHT, clean(signature)))

    def _add_signature(self, signature: str | None, source: str, events: list[StreamEvent]) -> None:
        """Add the signature of another part than a thought: reasoning of its own, without text, before the part."""
        if signature:
            self.end(events)
            index = self._start(BlockKind.REASONING, events)
            events.append(BlockEnd(index, Opaque(source, clean(signature))))

    def _add_call(self, call: FunctionCallView, events: list[StreamEvent]) -> None:
        if call.partialArgs or call.willContinue or not call.name:
            raise UpstreamError(
                "upstream_protocol", "The provider sent a piece of a tool call, which nobody asked for."
            )
        self.end(events)
        call_id = clean(call.id) if call.id else self._call_id()
        self._calls += 1
        index = self._start(BlockKind.TOOL_CALL, events, call_id, clean(call.name))
        events.append(BlockDelta(index, args_text(call)))
        events.append(BlockEnd(index))

    def _call_id(self) -> str:
        """Return the id of the next call: the same whenever the same answer is read, another one in every answer."""
        named = _NOT_IN_IDS.sub("", self._answer.response_id or "")[:_ID_CHARACTERS]
        return f"call_{named}_{self._calls}" if named else f"call_{self._calls}"


class _ViewReader:
    """Makes events of views, whether they are chunks or whole answers."""

    __slots__ = ("_answer", "_blocks", "_is_started")

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._blocks = BlockTracker(answer)
        self._is_started = False

    def start(self, events: list[StreamEvent]) -> None:
        """Begin, once; what names the answer was noted before."""
        if not self._is_started:
            self._is_started = True
            events.append(MessageStart(self._answer.response_id, self._answer.model))

    def read(self, view: AnswerView, events: list[StreamEvent]) -> None:
        """Add the events of a view's content and of the end, if the view holds its evidence."""
        answer, blocks = self._answer, self._blocks
        for part in parts_of(view):
            blocks.send(part, events)
        if not note_end(answer, view, has_called=blocks.has_called):
            return
        assert answer.finish is not None
        assert answer.raw_finish_reason is not None
        if answer.raw_finish_reason.startswith(BLOCKED):
            blocks.refuse(answer.raw_finish_reason.removeprefix(BLOCKED), events)
        blocks.end(events)
        events.append(MessageEnd(answer.finish, answer.raw_finish_reason))


class GeminiFrameReader:
    """Reads the frames of a Gemini stream into events.

    Invalid UTF-8 and lone surrogates become U+FFFD. After the evidence of an end only usage is read. An error that
    Google's front end writes between the events, as bare JSON without a field name, is no event: such a stream breaks
    off before its end.
    """

    __slots__ = ("_views", "answer", "is_over")

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.is_over = False
        self._views = _ViewReader(answer)

    def read(self, payload: bytes, name: bytes, events: list[StreamEvent]) -> bool:
        """Add the events of one frame. See ``FrameReader.read``."""
        view, is_error = read_frame(payload).view, name == b"error"
        if view is None and not is_error:
            return False
        self._take(view or AnswerView(), events, is_error=is_error)
        return True

    def _take(self, view: AnswerView, events: list[StreamEvent], *, is_error: bool) -> None:
        note_head(self.answer, view)
        is_ended = self.answer.raw_finish_reason is not None
        error = None if is_ended else error_in(view, is_named=is_error)
        if error is not None:
            self.answer.error = error
            self.is_over = True
            return
        self._views.start(events)
        if note_view_usage(self.answer, view) and self.answer.usage is not None:
            events.append(UsageUpdate(self.answer.usage))
        if not is_ended:
            self._views.read(view, events)


def read_events(body: bytes, answer: Answer) -> list[StreamEvent]:
    """Return the events of a whole answer: one object, or the array of chunks that a stream without SSE is.

    See ``WholeReader``.
    """
    views, _ = read_answer(body, answer)
    events: list[StreamEvent] = []
    if not views:
        return events
    reader = _ViewReader(answer)
    reader.start(events)
    if answer.usage is not None:
        events.append(UsageUpdate(answer.usage))
    for view in views:
        reader.read(view, events)
    return events
