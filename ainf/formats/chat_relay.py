"""Chat stream to chat stream: the provider's bytes as they came, metered, with the terminal group kept back."""

from collections.abc import Sequence
from typing import Any

import attrs

from ainf.formats.base import Answer, EndingStyle, Piece, PipeLimits, Reading
from ainf.formats.chat_observe import (
    Frame,
    error_in,
    no_answer,
    note_finish,
    note_head,
    note_view_usage,
    read_frame,
    truncated,
)
from ainf.formats.chat_terminal import ChatTerminalGroup
from ainf.formats.chat_usage import note_usage
from ainf.formats.chat_wire import (
    DONE,
    ChunkView,
    HeadedView,
    decode_loosely,
    decode_view,
    decode_views,
    finish_reason_of,
    is_usage_only,
    visible_bytes,
)
from ainf.inference.outcome import Outcome
from ainf.sse import EventBatch, EventStreamReader


# Strategy: one decode for all payloads of a read. Most reads hold deltas only: their visible bytes are added up and
# the raw bytes go on. From the first payload that needs a look of its own (finish, usage, error, end marker, anything
# that could not be decoded with the others) the rest of the read is gone through one by one; that happens about twice
# a stream.
class ChatRelay:
    """The pipe between equal chat streams.

    The bytes of a reading are the provider's, less usage-only chunks that the client did not ask for. From an error,
    an end marker, or the finish chunk on nothing is relayed any more.

    Args:
        include_usage: whether the client asked for the usage chunk.
        limits: of lines, events and the terminal group.
        answer: where to keep what is learnt.
    """

    __slots__ = ("_any", "_events", "_group", "_held_cr", "_include_usage", "_needs_head", "_over", "answer")

    is_wrapped = False

    def __init__(self, *, include_usage: bool, limits: PipeLimits, answer: Answer | None = None) -> None:
        self.answer = Answer() if answer is None else answer
        self._include_usage = include_usage
        self._events = EventStreamReader(max_line_bytes=limits.line, max_event_bytes=limits.event)
        self._group = ChatTerminalGroup(include_usage=include_usage, limit=limits.answer)
        self._needs_head = True
        self._over = False  # nothing of what still comes is relayed as it comes
        self._any = False
        self._held_cr = False  # a CR that ended a read waits for its LF, so that no event is parted from its line end

    def receive(self, data: bytes) -> Reading:
        """Take one read. See ``Pipe.receive``."""
        if self._held_cr:
            data = b"\r" + data
        self._held_cr = data.endswith(b"\r")
        return self._take(self._events.receive(data[:-1] if self._held_cr else data))

    def receive_eof(self) -> Reading:
        """Take the clean end of the body. See ``Pipe.receive_eof``."""
        if self._held_cr:
            reading = _joined(self._take(self._events.receive(b"\r")), self._take_unfinished())
        else:
            reading = self._take_unfinished()
        if self.answer.raw_finish_reason is None and self.answer.error is None:
            error = truncated() if self._any else no_answer()
            if not reading.data:
                raise error
            self.answer.error = error
        return reading

    def _take_unfinished(self) -> Reading:
        """Take the event that the end of the body left without its blank line.

        One that was cut inside its JSON says nothing, and would keep the client's parser from the error behind it.
        """
        batch = self._events.receive_eof()
        if any(payload != DONE and decode_loosely(payload) is None for payload in batch.payloads):
            self.answer.opaque_frames += 1
            return Reading(b"", 0, is_content=False, is_meaningful=False)
        return self._take(batch)

    def split(self, reading: Reading, output_bytes: int) -> tuple[Piece, Reading]:
        """Cut a reading between frames. See ``Pipe.split``."""
        return split_chat_stream(reading, output_bytes)

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the terminal group. See ``Pipe.close``."""
        return self._group.close(self.answer, outcome, ending)

    def _take(self, batch: EventBatch) -> Reading:
        payloads = batch.payloads
        if self._over:
            return self._each(batch, 0, 0)
        if not payloads:
            return Reading(batch.raw, 0, is_content=False, is_meaningful=False)
        self._any = True
        if batch.names is not None:
            return self._each(batch, 0, 0)
        views = decode_views(payloads if payloads[-1] != DONE else payloads[:-1])
        if views is None:
            return self._each(batch, 0, 0)
        if self._needs_head:
            self._read_head(payloads)
        output_bytes, plain, usage = _measure(views)
        if usage is not None:
            note_usage(self.answer, usage)
        if plain < len(payloads):
            return self._each(batch, plain, output_bytes)
        return Reading(batch.raw, output_bytes, output_bytes > 0, output_bytes > 0)

    def _read_head(self, payloads: list[bytes]) -> None:
        """Look for what names the answer; with all providers but a few the first payload says it."""
        for payload in payloads:
            view = decode_view(payload)
            if view is not None:
                note_head(self.answer, view)
            self._needs_head = self.answer.response_id is None or self.answer.model is None
            if not self._needs_head:
                break

    def _each(self, batch: EventBatch, first: int, output_bytes: int) -> Reading:
        """Go through a read one event at a time from ``first`` on; ``output_bytes`` is the output before it."""
        raw, ends, names = batch.raw, batch.ends, batch.names
        seen_before = self.answer.raw_finish_reason
        start = ends[first - 1] if first else 0
        shown = [raw[:start]]
        for number in range(first, len(ends)):
            block = raw[start : ends[number]]
            start = ends[number]
            remarks, event = _part_comments(block)
            if not self._over:
                shown.append(remarks)
            is_error = names is not None and names[number] == b"error"
            visible, is_shown = self._one(batch.payloads[number], event, is_error=is_error)
            output_bytes += visible
            if is_shown:
                shown.append(event)
        if not self._over:
            shown.append(raw[start:])
        is_content = output_bytes > 0 or self.answer.raw_finish_reason != seen_before
        return Reading(b"".join(shown), output_bytes, is_content, is_content)

    def _one(self, payload: bytes, event: bytes, *, is_error: bool) -> tuple[int, bool]:
        """Take one event; return its visible bytes, and whether it is relayed (rather than kept or dropped)."""
        if payload == DONE:
            self._take_done(event)
            return 0, False
        frame = read_frame(payload)
        if self._over:
            self._take_behind(frame, event)
            return 0, False
        self.answer.opaque_frames += frame.is_opaque
        size = frame.output_bytes
        if frame.view is None and not is_error:
            return size, True
        view = frame.view or HeadedView()
        note_head(self.answer, view)
        note_view_usage(self.answer, view)
        self.answer.error = error_in(view, is_named=is_error)
        if self.answer.error is not None:
            self._over = True
            return 0, False
        reason = finish_reason_of(view)
        if reason is not None:
            self._over = True
            note_finish(self.answer, reason)
            self._group.keep_finish(event, payload, has_usage=isinstance(view.usage, dict))
            return size, False
        if is_usage_only(view):
            self._group.has_usage = self._include_usage
            return size, self._include_usage
        return size, True

    def _take_done(self, event: bytes) -> None:
        """Take the end marker: the end of the group, or, without a finish chunk before it, no evidence at all."""
        if self._group.is_open:
            self._group.keep_done(event)
        elif not self._over:
            self._over = True
            self.answer.error = truncated()

    def _take_behind(self, frame: Frame, event: bytes) -> None:
        """Take an event behind the finish chunk: usage and remarks join the group, more output does not."""
        view = frame.view
        if not self._group.is_open or view is None or frame.output_bytes or error_in(view) or finish_reason_of(view):
            return
        note_view_usage(self.answer, view)
        is_usage = is_usage_only(view)
        if not is_usage or self._include_usage:
            self._group.keep(event, is_usage=is_usage)


def split_chat_stream(reading: Reading, output_bytes: int) -> tuple[Piece, Reading]:
    """Cut a reading of whole chat frames; see ``Pipe.split``. Reads the frames again: it happens once an exchange."""
    size = max(1, len(reading.data))
    batch = EventStreamReader(max_line_bytes=size, max_event_bytes=size).receive(reading.data)
    passed, cut = 0, 0
    for payload, end in zip(batch.payloads, batch.ends, strict=True):
        visible = read_frame(payload).output_bytes
        if passed + visible > output_bytes:
            break
        passed, cut = passed + visible, end
    else:
        cut = len(reading.data)
    rest = attrs.evolve(reading, data=reading.data[cut:], output_bytes=reading.output_bytes - passed)
    return Piece(reading.data[:cut], passed), rest


def _part_comments(block: bytes) -> tuple[bytes, bytes]:
    """Part the comments and blank lines before an event, each ended by a blank line of its own, from the event."""
    lines = block.splitlines(keepends=True)
    at = len(block) - len(lines[-1])
    for line in reversed(lines[:-1]):
        if not line.strip(b"\r\n"):
            break
        at -= len(line)
    return block[:at], block[at:]


def _joined(first: Reading, second: Reading) -> Reading:
    return Reading(
        first.data + second.data,
        first.output_bytes + second.output_bytes,
        first.is_content or second.is_content,
        first.is_meaningful or second.is_meaningful,
    )


def _measure(views: Sequence[ChunkView]) -> tuple[int, int, Any]:
    """Return the visible bytes of the leading plain deltas, how many those are, and the last usage beside them."""
    total, usage = 0, None
    for number, view in enumerate(views):
        choices = view.choices
        if not choices or len(choices) > 1 or view.error or view.x_groq is not None:
            return total, number, usage
        choice = choices[0]
        if choice.finish_reason or choice.usage is not None:
            return total, number, usage
        if view.usage is not None:
            usage = view.usage
        if choice.delta is not None:
            total += visible_bytes(choice.delta)
    return total, len(views), usage
