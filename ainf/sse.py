"""Server-sent events: the stream reader and the frame writer. Pure: bytes in, results out.

Source of the wire format: WHATWG HTML, section 9.2 (server-sent events). Two deliberate differences: an event that a
clean end of the stream leaves without its blank line counts, since it may hold the evidence of an end, and every byte
is kept, since a relay hands on comments, ``id:``, ``retry:`` and line ends as they came.

Words: a *line* ends with LF, CRLF or CR, and nothing else (U+2028 and U+0085 are text); an *event* is everything up to
and with the next blank line; its *payload* is its ``data`` lines joined by LF, if it has any.
"""

from itertools import accumulate
from typing import Final

from ainf.inference.errors import UpstreamError

HEARTBEAT: Final = b": keep-alive\n\n"
"""A comment: every client ignores it, every middlebox sees life. Stands between events, never inside one."""

_BOM = b"\xef\xbb\xbf"
_DATA = b"data: "
_BETWEEN = b"\n\ndata: "
_FRAMING = len(_DATA) + len(b"\n\n")
_LF = b"\n"[0]
_MESSAGE = b"message"


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

    @property
    def ends(self) -> list[int]:
        """For each payload, the offset in ``raw`` just behind its event: where ``raw`` may be cut."""
        if self._ends is None:
            self._ends = list(accumulate(len(payload) + _FRAMING for payload in self.payloads))
        return self._ends


# Strategy: two readers over one buffer. Providers send events of one "data: " line, ended by LF LF, many to a read;
# such a read is recognised as a whole and split by four searches in C, without a step per event. Everything else (CR,
# other fields, comments, extra blank lines) goes line by line. The buffer holds the bytes behind the last whole event;
# `_scanned` of them were already read as lines, so that no line is read twice and a dripping provider costs linear
# time.
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
            return self._read_lines(data)
        buffer = self._buffer
        if buffer:
            if len(buffer) + len(data) <= self._max_line_bytes and b"\n" not in data and b"\r" not in data:
                buffer += data
                return EventBatch(b"", [])
            chunk = bytes(buffer) + data
        else:
            chunk = data
        size = len(chunk)
        if size <= self._max_line_bytes and chunk.startswith(_DATA) and b"\r" not in chunk:
            cut = chunk.rfind(b"\n\n") + 2
            if cut > 1:
                raw = chunk if cut == size else chunk[:cut]
                payloads = raw[len(_DATA) : -2].split(_BETWEEN)
                # Each payload accounts for two line ends; one more anywhere means that some event is not one data line.
                if raw.count(b"\n") == 2 * len(payloads):
                    if buffer or cut != size:
                        buffer[:] = chunk[cut:]
                    self._at_start = False
                    return EventBatch(raw, payloads)
        return self._read_lines(data)

    def receive_eof(self) -> EventBatch:
        """Take the clean end of the stream: an unfinished last event counts, and ``raw`` gets what it lacks.

        Raises:
            UpstreamError: as ``receive``.
        """
        if not self._buffer:
            return EventBatch(b"", [])
        return self._read_lines(b"\n" if self._buffer.endswith(b"\n") else b"\n\n")

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
        return batch

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


def _over_limit() -> UpstreamError:
    return UpstreamError("upstream_protocol", "The provider sent an event that is over the gateway's limits.")
