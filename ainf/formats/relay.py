"""Stream to stream of one format: the provider's bytes as they came, metered, with the terminal group kept back."""

from collections.abc import Callable
from typing import Final, Protocol

import attrs

from ainf.formats.base import Answer, EndingStyle, Piece, PipeLimits, Reading
from ainf.formats.observe import no_answer, truncated
from ainf.inference.outcome import Outcome
from ainf.sse import EventBatch, EventStreamReader

_MOST_LOOKS: Final = 4
"""How often the rest of one read is looked at as a whole."""


class StreamJudge(Protocol):
    """What a format makes of the events of a stream that is relayed as it comes. It keeps the terminal group."""

    answer: Answer
    is_over: bool
    """Nothing of what still comes is relayed as it comes: the end, an error or an end marker was seen."""

    def measure(self, batch: EventBatch) -> tuple[int, int]:
        """Return the visible bytes of the leading plain events of a read, and how many those are.

        An event is plain when its bytes go on as they are and nothing has to be learnt from it but its size. This is
        the hot path: one decode for all payloads. Only called while not ``is_over``.
        """
        ...

    def judge(self, payload: bytes, name: bytes, event: bytes) -> tuple[int, bool]:
        """Take one event that is not plain; return its visible bytes, and whether it is relayed.

        What is not relayed is kept for the terminal group, or dropped.

        Args:
            payload: its data.
            name: its name, ``b"message"`` where it has none.
            event: its bytes as they came.
        """
        ...

    def is_readable(self, payload: bytes) -> bool:
        """Whether a payload is whole, as far as can be seen."""
        ...

    def rewind(self, payloads: list[bytes]) -> None:
        """Take back events that were relayed and not handed over; see ``Pipe.rewind``."""
        ...

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the terminal group; see ``Pipe.close``."""
        ...


# Strategy: one decode for all payloads of a read. Most reads hold deltas only: their visible bytes are added up and
# the raw bytes go on. From the first payload that needs a look of its own (finish, usage, error, end marker, anything
# that could not be decoded with the others) the read is gone through one by one; that happens a few times a stream. An
# event with output among those tells that deltas follow (a read that holds the beginning of an answer goes on so): the
# rest is looked at as a whole again, a bounded number of times, for a read that never fits must not be decoded over and
# over.
class StreamRelay:
    """The pipe between equal streams.

    The bytes of a reading are the provider's, less what the judge keeps or drops. From an error, an end marker, or the
    evidence of an end on nothing is relayed any more.

    Args:
        judge: of the format.
        measure_one: returns the visible bytes of one payload, for cuts; the judge's ``measure`` must agree with it.
        limits: of lines and events.
    """

    __slots__ = ("_any", "_events", "_held_cr", "_judge", "_measure_one", "answer")

    is_wrapped = False

    def __init__(self, judge: StreamJudge, measure_one: Callable[[bytes], int], limits: PipeLimits) -> None:
        self.answer = judge.answer
        self._judge = judge
        self._measure_one = measure_one
        self._events = EventStreamReader(max_line_bytes=limits.line, max_event_bytes=limits.event)
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

    def split(self, reading: Reading, output_bytes: int) -> tuple[Piece, Reading]:
        """Cut a reading between frames. See ``Pipe.split``."""
        return split_stream(reading, output_bytes, self._measure_one)

    def rewind(self, data: bytes) -> None:
        """Take back what was not handed over. See ``Pipe.rewind``."""
        self._judge.rewind(payloads_of(data))

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the terminal group. See ``Pipe.close``."""
        return self._judge.close(outcome, ending)

    def _take_unfinished(self) -> Reading:
        """Take the event that the end of the body left without its blank line.

        One that was cut before its payload or inside its JSON says nothing, and would keep the client's parser from
        the error behind it: SDKs decode the payload of every event, also one that is missing.
        """
        batch = self._events.receive_eof()
        if not batch.payloads:
            return Reading(b"", 0, is_content=False, is_meaningful=False)
        if not all(self._judge.is_readable(payload) for payload in batch.payloads):
            self.answer.opaque_frames += 1
            return Reading(b"", 0, is_content=False, is_meaningful=False)
        return self._take(batch)

    def _take(self, batch: EventBatch) -> Reading:
        payloads = batch.payloads
        if self._judge.is_over:
            return self._each(batch, 0, 0)
        if not payloads:
            return Reading(batch.raw, 0, is_content=False, is_meaningful=False)
        self._any = True
        output_bytes, plain = self._judge.measure(batch)
        if plain < len(payloads):
            return self._each(batch, plain, output_bytes)
        return Reading(batch.raw, output_bytes, output_bytes > 0, output_bytes > 0)

    def _each(self, batch: EventBatch, first: int, output_bytes: int) -> Reading:
        """Go through a read one event at a time from ``first`` on; ``output_bytes`` is the output before it."""
        raw, ends, names, judge = batch.raw, batch.ends, batch.names, self._judge
        seen_before = self.answer.raw_finish_reason
        number, start, looks = first, ends[first - 1] if first else 0, _MOST_LOOKS
        shown = [raw[:start]]
        while number < len(ends):
            remarks, event = part_comments(raw[start : ends[number]])
            if not judge.is_over:
                shown.append(remarks)
            name = b"message" if names is None else names[number]
            visible, is_shown = judge.judge(batch.payloads[number], name, event)
            output_bytes += visible
            if is_shown:
                shown.append(event)
            start = ends[number]
            number += 1
            if visible and looks and number < len(ends) and not judge.is_over:
                looks -= 1
                measured, plain = judge.measure(batch.behind(number))
                number += plain
                output_bytes += measured
                shown.append(raw[start : ends[number - 1]])
                start = ends[number - 1]
        if not judge.is_over:
            shown.append(raw[start:])
        is_content = output_bytes > 0 or self.answer.raw_finish_reason != seen_before
        return Reading(b"".join(shown), output_bytes, is_content, is_content)


def split_stream(reading: Reading, output_bytes: int, measure_one: Callable[[bytes], int]) -> tuple[Piece, Reading]:
    """Cut a reading of whole frames; see ``Pipe.split``. Reads the frames again: it happens once an exchange."""
    batch = reread(reading.data)
    passed, cut = 0, 0
    for payload, end in zip(batch.payloads, batch.ends, strict=True):
        visible = measure_one(payload)
        if passed + visible > output_bytes:
            break
        passed, cut = passed + visible, end
    else:
        cut = len(reading.data)
    rest = attrs.evolve(reading, data=reading.data[cut:], output_bytes=reading.output_bytes - passed)
    return Piece(reading.data[:cut], passed), rest


def payloads_of(data: bytes) -> list[bytes]:
    """Return the payloads of whole frames; see ``Pipe.rewind``."""
    return reread(data).payloads


def reread(data: bytes) -> EventBatch:
    """Return whole frames as the events that they are."""
    size = max(1, len(data))
    return EventStreamReader(max_line_bytes=size, max_event_bytes=size).receive(data)


def part_comments(block: bytes) -> tuple[bytes, bytes]:
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
