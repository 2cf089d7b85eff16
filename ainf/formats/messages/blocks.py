"""What a client of a Messages stream has seen begin and not end."""

from typing import Any

from ainf.formats.messages.frames import block_stop_frame
from ainf.formats.messages.wire import read_frame
from ainf.inference.errors import UpstreamError

_MOST_OPEN = 1024


class SentBlocks:
    """The content blocks that a stream holds open, and whether it has begun.

    Attributes:
        is_started: the message has begun.
    """

    __slots__ = ("_open", "is_started")

    def __init__(self) -> None:
        self.is_started = False
        self._open: set[int] = set()

    @property
    def is_full(self) -> bool:
        """Whether no other block may begin before one of them ends."""
        return len(self._open) >= _MOST_OPEN

    def start(self, index: Any) -> None:  # noqa: ANN401 - a provider's word; one that is no number opens nothing
        """Take the beginning of a block.

        Raises:
            UpstreamError: ``upstream_protocol``: more blocks are open than any answer has; this one is not taken.
        """
        if type(index) is int:
            if self.is_full:
                raise too_many_open()
            self._open.add(index)

    def stop(self, index: Any) -> None:  # noqa: ANN401 - as start
        """Take the end of a block."""
        if type(index) is int:
            self._open.discard(index)

    def rewind(self, payloads: list[bytes]) -> None:
        """Take back events that the client was not handed: the newest ones, in order."""
        for payload in reversed(payloads):
            view = read_frame(payload).view
            if view is None:
                continue
            if view.type == "content_block_start":
                self.stop(view.index)
            elif view.type == "content_block_stop":
                self.start(view.index)
            elif view.type == "message_start":
                self.is_started = False

    def end(self) -> bytes:
        """Return the ends of the blocks that are open, which closes them."""
        frames = b"".join(block_stop_frame(index) for index in sorted(self._open))
        self._open.clear()
        return frames


def too_many_open() -> UpstreamError:
    """More blocks are open than any answer has."""
    return UpstreamError("upstream_protocol", "The provider's answer has more open blocks than the gateway's limit.")
