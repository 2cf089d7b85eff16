"""Gemini stream to Gemini stream: what is relayed, what is metered, and what is kept for the terminal group."""

from collections.abc import Sequence
from typing import Any

import msgspec

from ainf.formats.base import Answer, EndingStyle
from ainf.formats.endings import is_told
from ainf.formats.gemini.frames import (
    cap_fields,
    cap_reason,
    capped_frame,
    document_frame,
    failure_frame,
    names_for,
)
from ainf.formats.gemini.observe import error_in, has_calls, note_end, note_head, note_view_usage, read_frame
from ainf.formats.gemini.usage import read_usage
from ainf.formats.gemini.wire import AnswerView, ContentView, decode_views, load_documents, part_bytes, usage_of
from ainf.formats.observe import note_usage
from ainf.formats.views import Frame
from ainf.inference.outcome import Ending, Outcome
from ainf.sse import EventBatch


class GeminiStreamJudge:
    """What the Gemini format makes of a stream that is relayed.

    The terminal group is one chunk, that with the evidence of the end: the wire has no end marker, and usage stands in
    every chunk.

    Args:
        answer: where to keep what is learnt.
    """

    __slots__ = ("_finish", "_finish_payload", "_has_called", "answer", "is_over")

    def __init__(self, *, answer: Answer) -> None:
        self.answer = answer
        self.is_over = False
        self._has_called = False
        self._finish = b""
        self._finish_payload = b""

    def measure(self, batch: EventBatch) -> tuple[int, int]:
        """Return the visible bytes of the leading plain chunks, and how many. See ``StreamJudge.measure``."""
        if batch.names is not None:
            return 0, 0
        views = decode_views(batch.payloads)
        if views is None:
            return 0, 0
        output_bytes, plain = _measure(views)
        self._read_head(views[:plain])
        usage = _last_usage(views[:plain])
        if usage is not None:
            note_usage(self.answer, usage, read_usage(usage))
        return output_bytes, plain

    def judge(self, payload: bytes, name: bytes, event: bytes) -> tuple[int, bool]:
        """Take one event; return its visible bytes, and whether it is relayed. See ``StreamJudge.judge``."""
        frame = read_frame(payload)
        if self.is_over:
            self._take_behind(frame)
            return 0, False
        self.answer.opaque_frames += frame.is_opaque
        is_error = name == b"error"
        if frame.view is None and not is_error:
            return frame.output_bytes, True
        view = frame.view or AnswerView()
        note_head(self.answer, view)
        note_view_usage(self.answer, view)
        self.answer.error = error_in(view, is_named=is_error)
        if self.answer.error is not None:
            self.is_over = True
            return 0, False
        self._has_called |= has_calls(view)
        if note_end(self.answer, view, has_called=self._has_called):
            self.is_over = True
            self._finish, self._finish_payload = event, payload
            return frame.output_bytes, False
        return frame.output_bytes, True

    def is_readable(self, payload: bytes) -> bool:
        """Whether a payload is whole. See ``StreamJudge.is_readable``."""
        return load_documents(payload) is not None

    def rewind(self, payloads: list[bytes]) -> None:
        """Do nothing: no chunk needs another one to be ended. See ``StreamJudge.rewind``."""

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the terminal group: exactly one terminal frame, and none for a client that has left."""
        if not is_told(outcome.ending):
            return b""
        if outcome.ending is Ending.COMPLETED:
            assert self._finish, "completed without evidence"
            return self._finish
        if outcome.ending is Ending.SPEND_CAP_EXCEEDED:
            return self._capped(outcome, ending)
        return failure_frame(outcome, ending)

    def _read_head(self, views: Sequence[AnswerView]) -> None:
        """Look for what names the answer; nearly always the first chunk says it."""
        for view in views:
            if self.answer.response_id is not None and self.answer.model is not None:
                break
            note_head(self.answer, view)

    def _take_behind(self, frame: Frame[AnswerView]) -> None:
        """Take an event behind the end: its usage is the last, and nothing of it is shown."""
        if self._finish and frame.view is not None:
            note_view_usage(self.answer, frame.view)

    def _capped(self, outcome: Outcome, style: EndingStyle) -> bytes:
        """Return the finish of a cap: the provider's own with our reason, where it reached a clamped limit."""
        document = _finished_document(self._finish_payload)
        if document is None:
            return capped_frame(names_for(self.answer, style), outcome, style)
        for candidate in document["candidates"]:
            if isinstance(candidate, dict) and candidate.get("finishReason"):
                candidate["finishReason"] = cap_reason(style)
        return document_frame(cap_fields(outcome, style) | document)


def visible_in(payload: bytes) -> int:
    """Return the visible bytes of one payload, as a stream's judge counts them."""
    return read_frame(payload).output_bytes


def _measure(views: Sequence[AnswerView]) -> tuple[int, int]:
    """Return the visible bytes of the leading plain chunks, and how many those are."""
    total = 0
    for number, view in enumerate(views):
        candidates = view.candidates
        if not candidates or len(candidates) > 1 or view.error or candidates[0].finishReason:
            return total, number
        content = candidates[0].content
        size = 0 if content is None else _plain_bytes(content)
        if size is None:
            return total, number
        total += size
    return total, len(views)


def _last_usage(views: Sequence[AnswerView]) -> dict[str, Any] | None:
    """Return the newest usage in chunks, each of which tells all so far."""
    for view in reversed(views):
        usage = usage_of(view)
        if usage is not None:
            return usage
    return None


def _plain_bytes(content: ContentView) -> int | None:
    """Return the visible bytes of content; None where it holds a call, which changes what the end means."""
    size = 0
    for part in content.parts or ():
        if part.functionCall is not None:
            return None
        size += part_bytes(part)
    return size


def _finished_document(payload: bytes) -> dict[str, Any] | None:
    """Return a kept chunk that can be written again with another reason, or None."""
    try:
        document = msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return None
    if isinstance(document, dict) and isinstance(document.get("candidates"), list):
        return document
    return None
