"""Pipes that no format owns: from any reader of events to any writer, and the one that looks before it chooses."""

from collections.abc import Callable, Iterable
from typing import Protocol

import attrs

from ainf.formats.base import Answer, EndingStyle, Piece, Pipe, Reading
from ainf.formats.relay import payloads_of
from ainf.inference.errors import UpstreamError
from ainf.inference.events import BlockDelta, BlockStart, MessageEnd, MessageStart, StreamEvent
from ainf.inference.outcome import Outcome


class EventReader(Protocol):
    """From the bytes of a provider's answer to events. Notes in ``answer`` what it learns, the end included."""

    answer: Answer
    is_whole: bool
    """Whether it reads a whole answer rather than a stream."""

    def receive(self, data: bytes) -> list[StreamEvent]:
        """Take one read; see ``Pipe.receive``."""
        ...

    def receive_eof(self) -> list[StreamEvent]:
        """Take the clean end of the body; see ``Pipe.receive_eof``."""
        ...


class EventWriter(Protocol):
    """From events to the bytes of a client's answer; keeps the terminal group back."""

    is_whole: bool
    """Whether it writes a whole answer rather than a stream: then everything is the terminal group."""

    def send(self, events: Iterable[StreamEvent]) -> bytes:
        """Return the frames of these events, without those of the end.

        Raises:
            UpstreamError: ``upstream_protocol``: the whole answer is over its limit.
        """
        ...

    def split(self, reading: Reading, output_bytes: int) -> tuple[Piece, Reading]:
        """Cut a reading made of this writer's frames; see ``Pipe.split``."""
        ...

    def rewind(self, payloads: list[bytes]) -> None:
        """Take back frames of this writer that were not handed over; see ``Pipe.rewind``."""
        ...

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the terminal group, closing what is open first; see ``Pipe.close``."""
        ...


# Strategy: a writer must not see what the reader learns from the rest of a read, or its frames would depend on how the
# bytes were cut. So the writer of a stream is told of the answer in an object of its own: with the beginning only what
# the event of the beginning says, and all that there is before the end.
class EventPipe:
    """The pipe of translation: events between any reader and any writer.

    Args:
        reader: of the provider's format.
        writer: of the client's format.
        told: what the writer looks at to know of the answer; None for the reader's own, where nothing is written before
            all of it was read.
    """

    __slots__ = ("_reader", "_told", "_writer", "answer")

    def __init__(self, reader: EventReader, writer: EventWriter, told: Answer | None = None) -> None:
        self._reader = reader
        self._writer = writer
        self.answer = reader.answer
        self._told = reader.answer if told is None else told

    @property
    def is_wrapped(self) -> bool:
        """Whether a stream is made of a whole answer."""
        return self._reader.is_whole and not self._writer.is_whole

    def receive(self, data: bytes) -> Reading:
        """Take one read. See ``Pipe.receive``."""
        return self._read(self._reader.receive(data))

    def receive_eof(self) -> Reading:
        """Take the clean end of the body. See ``Pipe.receive_eof``."""
        return self._read(self._reader.receive_eof())

    def split(self, reading: Reading, output_bytes: int) -> tuple[Piece, Reading]:
        """Cut a reading between frames. See ``Pipe.split``."""
        return self._writer.split(reading, output_bytes)

    def rewind(self, data: bytes) -> None:
        """Take back what was not handed over. See ``Pipe.rewind``."""
        self._writer.rewind(payloads_of(data))

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the terminal group. See ``Pipe.close``."""
        for field in attrs.fields(Answer):
            setattr(self._told, field.name, getattr(self.answer, field.name))
        return self._writer.close(outcome, ending)

    def _read(self, events: list[StreamEvent]) -> Reading:
        output_bytes, is_end = 0, False
        for event in events:
            if isinstance(event, BlockDelta):
                output_bytes += len(event.text.encode())
            elif isinstance(event, BlockStart) and event.name:
                output_bytes += len(event.name.encode())
            elif isinstance(event, MessageStart) and self._told is not self.answer:
                self._told.response_id, self._told.model = event.response_id, event.model
            elif isinstance(event, MessageEnd):
                is_end = True
        data = self._writer.send(events)
        is_meaningful = output_bytes > 0 or is_end
        if self._writer.is_whole:
            return Reading(b"", output_bytes, is_end, is_meaningful)
        return Reading(data, output_bytes, is_meaningful, is_meaningful)


# The field names that can begin an event stream (data, event, id, retry) and the comment.
_STREAM_STARTS = frozenset(b"deir:")
_JSON_STARTS = frozenset(b"{[")
_BOM = b"\xef\xbb\xbf"


class SniffingPipe:
    """The pipe that reads an answer's first byte before it believes its kind.

    A provider may answer JSON where a stream was asked for, and a stream where JSON was; what is neither is refused.

    Args:
        native: the pipe for the kind that was asked for; it also speaks where nothing came.
        other: makes the pipe for the other kind, over the same ``answer``.
        is_stream: whether a stream was asked for.
        blank_limit: the most bytes of blanks before the first other byte.
    """

    __slots__ = ("_blank", "_blank_limit", "_is_chosen", "_is_stream", "_other", "_pipe", "answer")

    def __init__(self, native: Pipe, other: Callable[[], Pipe], *, is_stream: bool, blank_limit: int) -> None:
        self._pipe = native
        self._other = other
        self._is_stream = is_stream
        self._is_chosen = False
        self._blank = bytearray()
        self._blank_limit = blank_limit
        self.answer = native.answer

    @property
    def is_wrapped(self) -> bool:
        """Whether a stream is being made of a whole answer."""
        return self._pipe.is_wrapped

    def receive(self, data: bytes) -> Reading:
        """Take one read. See ``Pipe.receive``.

        Raises:
            UpstreamError: ``upstream_protocol``: neither JSON nor an event stream, or as the chosen pipe's.
        """
        if self._is_chosen:
            return self._pipe.receive(data)
        self._blank += data
        first = None if not data or data.isspace() else _first_byte(bytes(self._blank))
        if first is not None:
            self._choose(first)
            begun, self._blank = bytes(self._blank), bytearray()
            return self._pipe.receive(begun)
        if len(self._blank) > self._blank_limit:
            raise UpstreamError("upstream_protocol", "The provider's answer is blank beyond the gateway's limit.")
        return Reading(b"", 0, is_content=False, is_meaningful=False)

    def receive_eof(self) -> Reading:
        """Take the clean end of the body. See ``Pipe.receive_eof``."""
        return self._pipe.receive_eof()

    def split(self, reading: Reading, output_bytes: int) -> tuple[Piece, Reading]:
        """Cut a reading between frames. See ``Pipe.split``."""
        return self._pipe.split(reading, output_bytes)

    def rewind(self, data: bytes) -> None:
        """Take back what was not handed over. See ``Pipe.rewind``."""
        self._pipe.rewind(data)

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the terminal group. See ``Pipe.close``."""
        return self._pipe.close(outcome, ending)

    def _choose(self, first: int) -> None:
        if first in _JSON_STARTS:
            is_native = not self._is_stream
        elif first in _STREAM_STARTS:
            is_native = self._is_stream
        else:
            raise UpstreamError("upstream_protocol", "The provider's answer is neither JSON nor an event stream.")
        if not is_native:
            self._pipe = self._other()
        self._is_chosen = True


def _first_byte(data: bytes) -> int | None:
    """Return the first byte that is neither blank nor of a byte order mark; None where there is none yet."""
    if _BOM.startswith(data):
        return None
    text = data.removeprefix(_BOM).lstrip()
    return text[0] if text else None
