"""Chat stream to chat stream: what is relayed, what is metered, and what is kept for the terminal group."""

from collections.abc import Sequence
from typing import Any

from ainf.formats.base import Answer, EndingStyle
from ainf.formats.chat.observe import error_in, note_end, note_head, note_view_usage, read_frame
from ainf.formats.chat.terminal import ChatTerminalGroup
from ainf.formats.chat.usage import read_usage
from ainf.formats.chat.wire import (
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
from ainf.formats.observe import note_usage, truncated
from ainf.formats.views import Frame
from ainf.inference.outcome import Outcome
from ainf.sse import EventBatch


class ChatStreamJudge:
    """What the chat format makes of a stream that is relayed.

    Usage-only chunks that the client did not ask for are not shown to it.

    Args:
        include_usage: whether the client asked for the usage chunk.
        limit: the most bytes of the terminal group.
        answer: where to keep what is learnt.
    """

    __slots__ = ("_group", "_include_usage", "_needs_head", "answer", "is_over")

    def __init__(self, *, include_usage: bool, limit: int, answer: Answer) -> None:
        self.answer = answer
        self.is_over = False
        self._include_usage = include_usage
        self._group = ChatTerminalGroup(include_usage=include_usage, limit=limit)
        self._needs_head = True

    def measure(self, batch: EventBatch) -> tuple[int, int]:
        """Return the visible bytes of the leading plain deltas, and how many. See ``StreamJudge.measure``."""
        payloads = batch.payloads
        if batch.names is not None:
            return 0, 0
        views = decode_views(payloads if payloads[-1] != DONE else payloads[:-1])
        if views is None:
            return 0, 0
        output_bytes, plain, usage = _measure(views)
        if self._needs_head:
            self._read_head(payloads[:plain])
        if usage is not None:
            note_usage(self.answer, usage, read_usage(usage))
        return output_bytes, plain

    def is_readable(self, payload: bytes) -> bool:
        """Whether a payload is whole. See ``StreamJudge.is_readable``."""
        return payload == DONE or decode_loosely(payload) is not None

    def rewind(self, payloads: list[bytes]) -> None:
        """Do nothing: no chunk needs another one to be ended. See ``StreamJudge.rewind``."""

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the terminal group. See ``Pipe.close``."""
        return self._group.close(self.answer, outcome, ending)

    def _read_head(self, payloads: list[bytes]) -> None:
        """Look for what names the answer; with all providers but a few the first payload says it."""
        for payload in payloads:
            view = decode_view(payload)
            if view is not None:
                note_head(self.answer, view)
            self._needs_head = self.answer.response_id is None or self.answer.model is None
            if not self._needs_head:
                break

    def judge(self, payload: bytes, name: bytes, event: bytes) -> tuple[int, bool]:
        """Take one event; return its visible bytes, and whether it is relayed. See ``StreamJudge.judge``."""
        is_error = name == b"error"
        if payload == DONE:
            self._take_done(event)
            return 0, False
        frame = read_frame(payload)
        if self.is_over:
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
            self.is_over = True
            return 0, False
        reason = finish_reason_of(view)
        if reason is not None:
            self.is_over = True
            note_end(self.answer, reason)
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
        elif not self.is_over:
            self.is_over = True
            self.answer.error = truncated()

    def _take_behind(self, frame: Frame[HeadedView], event: bytes) -> None:
        """Take an event behind the finish chunk: usage and remarks join the group, more output does not."""
        view = frame.view
        if not self._group.is_open or view is None:
            return
        note_head(self.answer, view)
        if frame.output_bytes or error_in(view) or finish_reason_of(view):
            return
        note_view_usage(self.answer, view)
        if self._include_usage or not is_usage_only(view):
            # OpenRouter's usage chunk has a choice, an empty one.
            self._group.keep(event, is_usage=isinstance(view.usage, dict))


def visible_in(payload: bytes) -> int:
    """Return the visible bytes of one payload, as a stream's judge counts them."""
    return read_frame(payload).output_bytes


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
