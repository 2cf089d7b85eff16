"""From the Responses wire to events: a stream, or a whole answer."""

from typing import Any

from ainf.formats.base import Answer, PipeLimits
from ainf.formats.collected import WholeBody
from ainf.formats.observe import MOST_BROKEN_IN_A_ROW, broken_stream, no_answer, truncated
from ainf.formats.responses.blocks import BlockTracker
from ainf.formats.responses.collected import read_answer
from ainf.formats.responses.observe import error_in, note_end, note_response
from ainf.formats.responses.wire import DONE, ENDS, EventView, decode_event, output_of
from ainf.inference.events import MessageEnd, MessageStart, StreamEvent, UsageUpdate
from ainf.sse import EventBatch, EventStreamReader


class ResponsesStreamReader:
    """Reads a Responses stream into events.

    A frame that is no JSON object is skipped and counted; the eighth in a row ends the stream. Invalid UTF-8 and lone
    surrogates become U+FFFD. Behind the end nothing is read.
    """

    __slots__ = ("_any", "_blocks", "_broken", "_events", "_is_over", "_is_started", "answer")

    is_whole = False

    def __init__(self, *, limits: PipeLimits, answer: Answer) -> None:
        self.answer = answer
        self._events = EventStreamReader(max_line_bytes=limits.line, max_event_bytes=limits.event)
        self._blocks = BlockTracker()
        self._is_started = False
        self._is_over = False
        self._any = False
        self._broken = 0

    def receive(self, data: bytes) -> list[StreamEvent]:
        """Take one read. See ``EventReader.receive``."""
        return self._read(self._events.receive(data))

    def receive_eof(self) -> list[StreamEvent]:
        """Take the clean end of the body. See ``EventReader.receive_eof``."""
        events = self._read(self._events.receive_eof())
        if self.answer.raw_finish_reason is None and self.answer.error is None:
            error = truncated() if self._any else no_answer()
            if not events:
                raise error
            self.answer.error = error
        return events

    def _read(self, batch: EventBatch) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        for number, payload in enumerate(batch.payloads):
            self._any = True
            if self._is_over or payload == DONE:
                continue
            view, _ = decode_event(payload)
            is_error = batch.names is not None and batch.names[number] == b"error"
            if view is None and not is_error:
                self._skip_broken()
            else:
                self._take(view or EventView(), events, is_error=is_error)
        return events

    def _take(self, view: EventView, events: list[StreamEvent], *, is_error: bool) -> None:
        self._broken = 0
        self.answer.error = error_in(view, is_named=is_error)
        note_response(self.answer, view.response)
        if self.answer.error is not None:
            self._is_over = True
            return
        if not self._is_started:
            self._is_started = True
            events.append(MessageStart(self.answer.response_id, self.answer.model))
        if view.type not in ENDS:
            events.extend(self._blocks.take(view))
            return
        self._is_over = True
        events.extend(self._blocks.finish(output_of(view.response)))
        note_end(self.answer, view.type, view.response, has_calls=self._blocks.has_calls)
        events.extend(_end_events(self.answer))

    def _skip_broken(self) -> None:
        self.answer.opaque_frames += 1
        self._broken += 1
        if self._broken >= MOST_BROKEN_IN_A_ROW:
            raise broken_stream()


class ResponsesAnswerReader:
    """Reads a whole answer of the Responses format into events."""

    __slots__ = ("_body", "answer")

    is_whole = True

    def __init__(self, *, limits: PipeLimits, answer: Answer) -> None:
        self.answer = answer
        self._body = WholeBody(limits.answer)

    def receive(self, data: bytes) -> list[StreamEvent]:
        """Take one read. See ``EventReader.receive``."""
        self._body.receive(data)
        return []

    def receive_eof(self) -> list[StreamEvent]:
        """Take the end of the body. See ``EventReader.receive_eof``."""
        response: dict[str, Any] | None = read_answer(self._body.whole(), self.answer)
        if response is None:
            return []
        start = MessageStart(self.answer.response_id, self.answer.model)
        return [start, *BlockTracker().finish(output_of(response)), *_end_events(self.answer)]


def _end_events(answer: Answer) -> list[StreamEvent]:
    """Return the events of an end that was noted."""
    assert answer.finish is not None, "an end without its evidence"
    assert answer.raw_finish_reason is not None
    usage = [] if answer.usage is None else [UsageUpdate(answer.usage)]
    return [*usage, MessageEnd(answer.finish, answer.raw_finish_reason)]
