"""From a provider's bytes to events, as far as it is the same for every format: streams, and whole answers."""

from collections.abc import Callable
from typing import Protocol

from ainf.formats.base import Answer, PipeLimits
from ainf.formats.collected import WholeBody
from ainf.formats.observe import MOST_BROKEN_IN_A_ROW, broken_stream, no_answer, truncated
from ainf.inference.errors import UpstreamError
from ainf.inference.events import StreamEvent
from ainf.sse import EventBatch, EventStreamReader


class FrameReader(Protocol):
    """What a format makes of the frames of a stream that is translated."""

    answer: Answer
    is_over: bool
    """Nothing is read of what still comes: an error or an end marker was seen, or reading failed."""

    def read(self, payload: bytes, name: bytes, events: list[StreamEvent]) -> bool:
        """Add the events of one frame, and note what it says; return whether it could be read at all.

        Only called while not ``is_over``.

        Args:
            payload: its data.
            name: its name, ``b"message"`` where it has none.
            events: where to add them; what was added before a failure stands.

        Raises:
            UpstreamError: ``upstream_protocol``: it holds what no other format can say, or more than any answer has.
        """
        ...


# Strategy: a read may hold frames that are good before one that is not. What they said is handed over like everything
# that came in an earlier read, so that it does not matter where the bytes were cut; the failure is noted in the answer,
# as a provider's own error is, and ends the reading.
class StreamReader:
    """Reads a stream into events.

    A frame that cannot be read is skipped and counted; the eighth in a row is an error. Errors behind the evidence of
    the end change nothing of it.

    Args:
        frames: of the format.
        limits: of lines and events.
    """

    __slots__ = ("_any", "_broken", "_events", "_frames", "answer")

    is_whole = False

    def __init__(self, frames: FrameReader, limits: PipeLimits) -> None:
        self.answer = frames.answer
        self._frames = frames
        self._events = EventStreamReader(max_line_bytes=limits.line, max_event_bytes=limits.event)
        self._any = False
        self._broken = 0

    def receive(self, data: bytes) -> list[StreamEvent]:
        """Take one read. See ``EventReader.receive``.

        Raises:
            UpstreamError: ``upstream_protocol``: a line or an event is over its limit.
        """
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
        names = batch.names
        for number, payload in enumerate(batch.payloads):
            self._any = True
            if self._frames.is_over:
                break
            try:
                self._take(payload, b"message" if names is None else names[number], events)
            except UpstreamError as error:
                self._frames.is_over = True
                if self.answer.raw_finish_reason is None:
                    self.answer.error = error
        return events

    def _take(self, payload: bytes, name: bytes, events: list[StreamEvent]) -> None:
        if self._frames.read(payload, name, events):
            self._broken = 0
            return
        self.answer.opaque_frames += 1
        self._broken += 1
        if self._broken >= MOST_BROKEN_IN_A_ROW:
            raise broken_stream()


class WholeReader:
    """Reads a whole answer into events, once all of it is there.

    Args:
        read: of the format: returns the events of a body, and notes in the answer what it says; none where it reports
            an error (``answer.error``). Raises as ``WholeJudge.read`` does.
        limits: ``answer`` bounds the body.
        answer: where to keep what is learnt.
    """

    __slots__ = ("_body", "_read", "answer")

    is_whole = True

    def __init__(self, read: Callable[[bytes, Answer], list[StreamEvent]], limits: PipeLimits, answer: Answer) -> None:
        self.answer = answer
        self._read = read
        self._body = WholeBody(limits.answer)

    def receive(self, data: bytes) -> list[StreamEvent]:
        """Take one read. See ``EventReader.receive``."""
        self._body.receive(data)
        return []

    def receive_eof(self) -> list[StreamEvent]:
        """Take the end of the body, and with it the whole answer. See ``EventReader.receive_eof``."""
        return self._read(self._body.whole(), self.answer)
