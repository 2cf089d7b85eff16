"""Messages stream to Messages stream: what is relayed, what is metered, and what is kept for the terminal group."""

from typing import Final

from ainf.formats.base import Answer, EndingStyle
from ainf.formats.messages.blocks import SentBlocks, too_many_open
from ainf.formats.messages.observe import MessageNotes, error_in, note_end, stop_reason_of
from ainf.formats.messages.terminal import MessagesTerminalGroup
from ainf.formats.messages.wire import (
    EventView,
    FullView,
    block_bytes,
    decode_events,
    delta_bytes,
    read_frame,
)
from ainf.formats.observe import truncated
from ainf.formats.views import Frame
from ainf.inference.outcome import Outcome
from ainf.sse import EventBatch

_PLAIN: Final = frozenset({"content_block_start", "content_block_stop", "ping"})
"""Events that go on as they are, beside deltas."""


class MessagesStreamJudge:
    """What the Messages format makes of a stream that is relayed.

    Args:
        limit: the most bytes of the terminal group.
        answer: where to keep what is learnt.
    """

    __slots__ = ("_blocks", "_group", "_notes", "answer", "is_over")

    def __init__(self, *, limit: int, answer: Answer) -> None:
        self.answer = answer
        self.is_over = False
        self._blocks = SentBlocks()
        self._group = MessagesTerminalGroup(limit)
        self._notes = MessageNotes(answer)

    def measure(self, batch: EventBatch) -> tuple[int, int]:
        """Return the visible bytes of the leading content events and pings, and how many those are.

        See ``StreamJudge.measure``.
        """
        if batch.names is not None and b"error" in batch.names:
            return 0, 0
        views = decode_events(batch.payloads)
        if views is None:
            return 0, 0
        total = 0
        for number, view in enumerate(views):
            if view.type != "content_block_delta":  # nearly all are
                if view.type not in _PLAIN or self._is_too_much(view):
                    return total, number
                self._note_block(view)
            if view.delta is not None:
                total += delta_bytes(view.delta)
            if view.content_block is not None:
                total += block_bytes(view.content_block)
        return total, len(views)

    def judge(self, payload: bytes, name: bytes, event: bytes) -> tuple[int, bool]:
        """Take one event; return its visible bytes, and whether it is relayed. See ``StreamJudge.judge``."""
        frame = read_frame(payload)
        if self.is_over:
            self._take_behind(frame, event)
            return 0, False
        self.answer.opaque_frames += frame.is_opaque
        self.answer.error = error_in(frame.view, name)
        if self.answer.error is not None:
            self.is_over = True
            return 0, False
        if frame.view is None:
            return frame.output_bytes, True
        self._notes.take(frame.view)
        return frame.output_bytes, self._is_shown(frame.view, payload, event)

    def is_readable(self, payload: bytes) -> bool:
        """Whether a payload is whole. See ``StreamJudge.is_readable``."""
        return read_frame(payload).view is not None

    def rewind(self, payloads: list[bytes]) -> None:
        """Take back events that were relayed and not handed over. See ``StreamJudge.rewind``."""
        self._blocks.rewind(payloads)

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the terminal group. See ``Pipe.close``."""
        return self._group.close(self._blocks, self.answer, outcome, ending)

    def _is_shown(self, view: FullView, payload: bytes, event: bytes) -> bool:
        """Take an event that is relayed unless it belongs to the end, or begins a block too many."""
        if self._is_too_much(view):
            self.is_over = True
            self.answer.error = too_many_open()
            return False
        reason = stop_reason_of(view)
        if reason is not None:
            self.is_over = True
            note_end(self.answer, reason)
            self._group.keep_finish(event, payload)
            return False
        if view.type == "message_stop":
            self.is_over = True
            self.answer.error = truncated()
            return False
        if view.type == "message_start":
            self._blocks.is_started = True
        else:
            self._note_block(view)
        return True

    def _is_too_much(self, view: EventView) -> bool:
        return view.type == "content_block_start" and self._blocks.is_full

    def _note_block(self, view: EventView) -> None:
        if view.type == "content_block_start":
            self._blocks.start(view.index)
        elif view.type == "content_block_stop":
            self._blocks.stop(view.index)

    def _take_behind(self, frame: Frame[FullView], event: bytes) -> None:
        """Take an event behind the stop reason: usage joins the group; a second stop reason and more output do not."""
        view = frame.view
        if not self._group.is_open or view is None:
            return
        if view.type == "message_stop":
            self._group.keep_stop(event)
        elif view.type == "message_delta" and stop_reason_of(view) is None:
            self._notes.take(view)
            self._group.keep(event)
