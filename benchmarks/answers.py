"""Read HTTP answers at the least cost: when one is over, how many frames it had, and whether it ended well.

No parser: a read costs a few searches in C, whatever its number of frames. That holds for answers as our gateway and
simulator give them to a client with one request outstanding: a ``content-length``, or chunks without trailers.
"""

import re
from typing import Final

_FRAME: Final = b"data: "
_EDGE: Final = len(_FRAME) - 1
_LAST_CHUNK: Final = b"\r\n0\r\n\r\n"
_WHOLE: Final = b"\n\n" + _LAST_CHUNK
_TAIL: Final = 64
"""Bytes of a read that are kept for the next one: more than any mark has."""
_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class AnswerReader:
    """One answer at a time of a connection; ``clear`` before the next.

    Args:
        end: what the last event of a good stream begins with.
    """

    __slots__ = ("_chunked", "_end", "_has_ended", "_head", "_left", "_tail", "frames", "size", "status")

    def __init__(self, end: bytes) -> None:
        assert 0 < len(end) <= _TAIL
        self._end = end
        self.clear()

    def clear(self) -> None:
        """Expect a new answer."""
        self.status = 0
        self.frames = 0
        self.size = 0
        self._head = b""
        self._left = 0
        self._chunked = False
        self._has_ended = False
        self._tail = b"\r\n"  # of the head: an empty body's last chunk follows it

    def receive(self, data: bytes) -> bool:
        """Take one read; return whether the answer is over with it.

        Raises:
            ValueError: the answer's head is not HTTP.
        """
        self.size += len(data)
        if not self.status:
            data = self._read_head(data)
            if not self.status:
                return False
        if not self._chunked:
            self._left -= len(data)
            return self._left <= 0
        self.frames += data.count(_FRAME) + (self._tail[-_EDGE:] + data[:_EDGE]).count(_FRAME)
        edge = len(self._end) - 1
        self._has_ended |= self._end in data or self._end in self._tail[-edge:] + data[:edge]
        self._tail = data[-_TAIL:] if len(data) >= _TAIL else (self._tail + data)[-_TAIL:]
        return self._tail.endswith(_LAST_CHUNK)

    def _read_head(self, data: bytes) -> bytes:
        """Return what follows the head, once that is whole."""
        self._head += data
        head, found, body = self._head.partition(b"\r\n\r\n")
        if not found:
            return b""
        if not head.startswith(b"HTTP/1.1 "):
            raise ValueError(f"not an HTTP answer: {head[:80]!r}")
        self.status = int(head[9:12])
        length = _CONTENT_LENGTH.search(head + b"\r\n")
        self._chunked = length is None
        self._left = int(length[1]) if length else 0
        self._head = b""
        return body

    @property
    def ended_well(self) -> bool:
        """Whether the answer that is over is a whole success: a 200 of known length, or one with its last event."""
        return self.status == 200 and (not self._chunked or (self._has_ended and self._tail.endswith(_WHOLE)))
