"""From the Responses wire to events: a stream, or a whole answer."""

from ainf.formats.base import Answer
from ainf.formats.responses.blocks import BlockTracker
from ainf.formats.responses.collected import read_answer
from ainf.formats.responses.observe import error_in, note_end, note_response
from ainf.formats.responses.wire import DONE, ENDS, EventView, decode_event, output_of
from ainf.inference.events import MessageEnd, MessageStart, StreamEvent, UsageUpdate


class ResponsesFrameReader:
    """Reads the frames of a Responses stream into events.

    Invalid UTF-8 and lone surrogates become U+FFFD. Behind the end nothing is read.
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
            return True
        view, _ = decode_event(payload)
        is_error = name == b"error"
        if view is None and not is_error:
            return False
        self._take(view or EventView(), events, is_error=is_error)
        return True

    def _take(self, view: EventView, events: list[StreamEvent], *, is_error: bool) -> None:
        self.answer.error = error_in(view, is_named=is_error)
        note_response(self.answer, view.response)
        if self.answer.error is not None:
            self.is_over = True
            return
        if not self._is_started:
            self._is_started = True
            events.append(MessageStart(self.answer.response_id, self.answer.model))
        if view.type not in ENDS:
            events.extend(self._blocks.take(view))
            return
        self.is_over = True
        events.extend(self._blocks.finish(output_of(view.response)))
        note_end(self.answer, view.type, view.response, has_calls=self._blocks.has_calls)
        events.extend(_end_events(self.answer))


def read_events(body: bytes, answer: Answer) -> list[StreamEvent]:
    """Return the events of a whole answer. See ``WholeReader``."""
    response = read_answer(body, answer)
    if response is None:
        return []
    start = MessageStart(answer.response_id, answer.model)
    return [start, *BlockTracker().finish(output_of(response)), *_end_events(answer)]


def _end_events(answer: Answer) -> list[StreamEvent]:
    """Return the events of an end that was noted."""
    assert answer.finish is not None, "an end without its evidence"
    assert answer.raw_finish_reason is not None
    usage = [] if answer.usage is None else [UsageUpdate(answer.usage)]
    return [*usage, MessageEnd(answer.finish, answer.raw_finish_reason)]
