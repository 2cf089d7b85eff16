"""Server-sent events: the stream reader and the frame writer. Pure: bytes in, results out.

Source of the wire format: WHATWG HTML, section 9.2 (server-sent events). Two deliberate differences: an event that a
clean end of the stream leaves without its blank line counts, since it may hold the evidence of an end, and every byte
is kept, since a relay hands on comments, ``id:``, ``retry:`` and line ends as they came.

Words: a *line* ends with LF, CRLF or CR, and nothing else (U+2028 and U+0085 are text); an *event* is everything up to
and with the next blank line; its *payload* is its ``data`` lines joined by LF, if it has any.
"""

import re
from itertools import accumulate
from typing import Any, Final

from ainf.inference.errors import UpstreamError

HEARTBEAT: Final = b": keep-alive\n\n"
"""A comment: every client ignores it, every middlebox sees life. Stands between events, never inside one."""

_BOM = b"\xef\xbb\xbf"
_DATA = b"data: "
_BETWEEN = b"\n\ndata: "
_BEGINNINGS = (_DATA, b"event: ")
_LF = b"\n"[0]
_MESSAGE = b"message"
_BLANK = b"\n\n"
_CRLF_BLANK = b"\r\n\r\n"
# To split by: what is left over are a gap, a name (None for none) and a payload, over and over, and a last gap. The
# anchor bounds the search where nothing fits: each line is tried once, not each place in it. Names that say nothing
# (empty, or the default) do not fit.
_EVENT = re.compile(rb"(?m)^(?:event: (?!message\n)(.++)\n)?data: (.*+)\n\n")
_CRLF_EVENT = re.compile(rb"(?m)^(?:event: (?!message\r)(.+)\r\n)?data: (.*)\r\n\r\n")


def frame(data: bytes, *, event: bytes | None = None) -> bytes:
    """Return one event with this payload, which holds no CR (JSON never does); each LF in it begins a new data line."""
    assert b"\r" not in data, "a payload cannot carry a carriage return"
    body = _DATA + data.replace(b"\n", b"\n" + _DATA) + b"\n\n"
    return body if event is None else b"event: " + event + b"\n" + body


class EventBatch:
    """What one read completed. Truthy when there is a byte of it.

    Attributes:
        raw: the exact bytes of all events that became whole, in order.
        payloads: the payload of each of them that has one, in order.
        names: the name of each payload's event (``b"message"`` where it has none), or None when no event was named.
    """

    __slots__ = ("_ends", "names", "payloads", "raw")

    def __init__(
        self, raw: bytes, payloads: list[bytes], ends: list[int] | None = None, names: list[bytes] | None = None
    ) -> None:
        self.raw = raw
        self.payloads = payloads
        self.names = names
        self._ends = ends

    def __bool__(self) -> bool:
        return bool(self.raw)

    def add(self, payload: bytes, end: int, name: bytes) -> None:
        """Add one event that ends at ``end`` (a batch that was made with ``ends``)."""
        if name != _MESSAGE and self.names is None:
            self.names = [_MESSAGE] * len(self.payloads)
        if self.names is not None:
            self.names.append(name)
        self.payloads.append(payload)
        self.ends.append(end)

    def behind(self, number: int) -> "EventBatch":
        """Return the events behind the first ``number`` of those that have a payload; ``number`` is at least 1."""
        start = self.ends[number - 1]
        names = None if self.names is None else self.names[number:]
        return EventBatch(self.raw[start:], self.payloads[number:], [end - start for end in self.ends[number:]], names)

    @property
    def ends(self) -> list[int]:
        """For each payload, the offset in ``raw`` just behind its event: where ``raw`` may be cut."""
        if self._ends is None:
            self._ends = self._regular_ends()
        return self._ends

    def _regular_ends(self) -> list[int]:
        """Return the ends in a read that was recognised: each event of it has a payload and ends with a blank line."""
        if self.names is None:  # then the same bytes stand around each payload
            sizes = list(map(len, self.payloads))
            framing = (len(self.raw) - sum(sizes)) // max(1, len(sizes))
            return list(accumulate(size + framing for size in sizes))
        blank = _CRLF_BLANK if self.raw.endswith(_CRLF_BLANK) else _BLANK
        return list(accumulate(len(event) + len(blank) for event in self.raw.split(blank)[:-1]))


# Strategy: two readers over one buffer. Providers send events of a "data: " line, some with an "event: " line before
# it, all with the same line ends (LF or CRLF), many to a read; such a read is recognised as a whole and split in C,
# without a step per event. Everything else (CR alone, other fields, comments, extra blank lines) goes line by line. The
# buffer holds the bytes behind the last whole event; `_scanned` of them were already read as lines, so that a dripping
# provider costs linear time. What is behind an event that this read ended counts as not read: then the next read can be
# recognised, and no line is read more than twice.
class EventStreamReader:
    """Cuts a byte stream into whole events.

    Any cut of the same bytes gives the same concatenated ``raw`` and ``payloads``. A limit that is passed raises and
    leaves the reader unusable.

    Args:
        max_line_bytes: the longest line, without its end.
        max_event_bytes: the longest event, with everything in it; at least ``max_line_bytes``.
    """

    __slots__ = (
        "_after_cr", "_at_start", "_buffer", "_data", "_max_event_bytes", "_max_line_bytes", "_name", "_scanned",
    )  # fmt: skip

    def __init__(self, *, max_line_bytes: int, max_event_bytes: int) -> None:
        assert 0 < max_line_bytes <= max_event_bytes
        self._max_line_bytes = max_line_bytes
        self._max_event_bytes = max_event_bytes
        self._buffer = bytearray()
        self._scanned = 0
        self._at_start = True
        self._after_cr = False  # the last byte was a CR that ended a line: an LF behind it belongs to the same line end
        self._data: list[bytes] = []
        self._name = b""

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished event are held back."""
        return len(self._buffer)

    def receive(self, data: bytes) -> EventBatch:
        """Take the bytes of one read and return the events that they complete.

        Raises:
            UpstreamError: ``upstream_protocol``: a line or an event is over its limit.
        """
        if self._scanned or self._after_cr:
            is_more_of_a_line = self._scanned and data and b"\n" not in data and b"\r" not in data
            return self._lengthen(data) if is_more_of_a_line else self._read_lines(data)
        buffer = self._buffer
        if buffer:
            if len(buffer) + len(data) <= self._max_line_bytes and b"\n" not in data and b"\r" not in data:
                buffer += data
                return EventBatch(b"", [])
            chunk = bytes(buffer) + data
        else:
            chunk = data
        size = len(chunk)
        if size <= self._max_line_bytes and chunk.startswith(_BEGINNINGS):
            batch = _recognise(chunk)
            if batch is not None:
                if buffer or len(batch.raw) != size:
                    buffer[:] = chunk[len(batch.raw) :]
                self._at_start = False
                return batch
        return self._read_lines(data)

    def receive_eof(self) -> EventBatch:
        """Take the clean end of the stream: an unfinished last event counts, and ``raw`` gets what it lacks.

        Raises:
            UpstreamError: as ``receive``.
        """
        if not self._buffer:
            return EventBatch(b"", [])
        return self._read_lines(b"\n" if self._buffer.endswith(b"\n") else b"\n\n")

    def _lengthen(self, data: bytes) -> EventBatch:
        """Take more of the last line, without a look at what there is of it."""
        self._buffer += data
        self._after_cr = False
        self._check_tail(len(self._buffer) - self._scanned)
        return EventBatch(b"", [])

    def _read_lines(self, data: bytes) -> EventBatch:
        """Read line by line whatever is not yet read."""
        batch = EventBatch(b"", [], [])
        if not data:
            return batch
        buffer = self._buffer
        if self._after_cr and data[0] == _LF:
            data = data[1:]
            if buffer:
                buffer.append(_LF)
                self._scanned += 1
            else:
                batch.raw = b"\n"  # the CR left with its event; this must not wait for the next one
        buffer += data
        self._after_cr = buffer[-1:] == b"\r"
        ahead = len(batch.raw)
        start, at, tail = 0, self._scanned, 0
        for line in bytes(buffer[at:]).splitlines(keepends=True):
            text = line.rstrip(b"\r\n")
            if len(text) == len(line):
                tail = len(line)
                break
            at += len(line)
            if len(text) > self._max_line_bytes or at - start > self._max_event_bytes:
                raise _over_limit()
            if self._at_start:
                self._at_start = False
                text = text.removeprefix(_BOM)
            if text:
                self._read_field(text)
            else:
                start = at
                self._dispatch(batch, ahead + at)
        batch.raw += bytes(buffer[:start])
        del buffer[:start]
        self._scanned = at - start
        self._check_tail(tail)
        if start and self._scanned:
            self._forget_lines()
        return batch

    def _forget_lines(self) -> None:
        """Count the lines behind the last whole event as not read."""
        self._scanned = 0
        self._after_cr = False
        self._data = []
        self._name = b""

    def _dispatch(self, batch: EventBatch, end: int) -> None:
        """End the event at a blank line."""
        if self._data:
            batch.add(b"\n".join(self._data), end, self._name or _MESSAGE)
            self._data = []
        self._name = b""

    def _read_field(self, line: bytes) -> None:
        """Read one line that is not blank; a comment is a field without a name."""
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        elif name == b"event":
            self._name = value.removeprefix(b" ")

    def _check_tail(self, line_bytes: int) -> None:
        """Hold the limits for what may never be finished."""
        if line_bytes > self._max_line_bytes or len(self._buffer) > self._max_event_bytes:
            raise _over_limit()


def _recognise(chunk: bytes) -> EventBatch | None:
    """Return the whole events of a read that holds nothing but regular ones, and perhaps the beginning of one more."""
    if b"\r" in chunk:
        return _recognise_crlf(chunk)
    cut = chunk.rfind(_BLANK) + len(_BLANK)
    if cut < len(_BLANK):
        return None
    raw = chunk[:cut]
    if raw.startswith(_DATA):
        payloads = raw[len(_DATA) : -len(_BLANK)].split(_BETWEEN)
        # Each payload accounts for two line ends; one more anywhere means that some event is not one data line.
        if raw.count(b"\n") == 2 * len(payloads):
            return EventBatch(raw, payloads)
    return _batch_of(raw, _EVENT.split(raw))


def _recognise_crlf(chunk: bytes) -> EventBatch | None:
    """Do the same where lines end with CRLF."""
    cut = chunk.rfind(_CRLF_BLANK) + len(_CRLF_BLANK)
    if cut < len(_CRLF_BLANK):
        return None
    raw = chunk[:cut]
    parts = _CRLF_EVENT.split(raw)
    names = parts[1::3]
    # A CR alone would be a line end too, and what is behind the last event may hold a blank line of another kind.
    if raw.count(b"\r") != 3 * len(names) - names.count(None) or b"" in chunk[cut:].splitlines():
        return None
    return _batch_of(raw, parts)


def _batch_of(raw: bytes, parts: list[Any]) -> EventBatch | None:
    """Return the events that a pattern found, or None where there is anything between them."""
    if any(parts[::3]):
        return None
    names = parts[1::3]
    if all(names):
        return EventBatch(raw, parts[2::3], None, names)
    return EventBatch(raw, parts[2::3], None, [name or _MESSAGE for name in names] if any(names) else None)


def _over_limit() -> UpstreamError:
    return UpstreamError("upstream_protocol", "The provider sent an event that is over the gateway's limits.")
