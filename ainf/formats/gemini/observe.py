"""What the views of an answer teach: its names, usage, end and error. For relay, collector and readers alike."""

from typing import Final

from ainf.formats.base import Answer
from ainf.formats.errors import in_band_error
from ainf.formats.gemini.usage import read_usage
from ainf.formats.gemini.wire import (
    AnswerView,
    block_reason_of,
    decode_loosely,
    decode_view,
    finish_reason_of,
    parts_of,
    usage_of,
    view_bytes,
)
from ainf.formats.observe import note_finish, note_names, note_usage
from ainf.formats.views import Frame, frame_of
from ainf.inference.errors import UpstreamError
from ainf.inference.events import FinishReason

BLOCKED: Final = "promptFeedback:"
"""What stands before the reason in ``Answer.raw_finish_reason`` where the prompt was blocked."""

FINISH_REASONS: Final = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "BLOCKLIST": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "SPII": FinishReason.CONTENT_FILTER,
    "MODEL_ARMOR": FinishReason.CONTENT_FILTER,
    "IMAGE_SAFETY": FinishReason.CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "IMAGE_RECITATION": FinishReason.CONTENT_FILTER,
}


def read_frame(payload: bytes) -> Frame[AnswerView]:
    """Return what one payload says."""
    view = decode_view(payload)
    if view is not None:
        return frame_of(payload, view, view_bytes, is_opaque=False)
    return frame_of(payload, decode_loosely(payload), view_bytes, is_opaque=True)


def has_calls(view: AnswerView) -> bool:
    """Whether a view holds a call of a function."""
    return any(part.functionCall is not None for part in parts_of(view))


def note_head(answer: Answer, view: AnswerView) -> None:
    """Keep what names the answer."""
    note_names(answer, view.responseId, view.modelVersion)


def note_view_usage(answer: Answer, view: AnswerView) -> bool:
    """Keep the usage in a view, if it has any; return whether it can be true."""
    usage = usage_of(view)
    if usage is None:
        return False
    note_usage(answer, usage, read_usage(usage))
    return not answer.is_usage_rejected


def note_end(answer: Answer, view: AnswerView, *, has_called: bool) -> bool:
    """Keep the evidence of an end, if a view holds it; return whether it does.

    Args:
        answer: where to keep it.
        view: what was read.
        has_called: whether the answer holds a call: the wire has no reason of its own for that.
    """
    reason = finish_reason_of(view)
    if reason is not None:
        finish = FINISH_REASONS.get(reason, FinishReason.OTHER)
        is_call = has_called and finish is FinishReason.STOP
        note_finish(answer, reason, FinishReason.TOOL_CALLS if is_call else finish)
        return True
    blocked = block_reason_of(view)
    if blocked is not None:
        note_finish(answer, BLOCKED + blocked, FinishReason.CONTENT_FILTER)
    return blocked is not None


def error_in(view: AnswerView, *, is_named: bool = False) -> UpstreamError | None:
    """Return the error that a view reports, if it does: a truthy ``error``, or an event that is named "error"."""
    if view.error:
        return in_band_error(view.error)
    return in_band_error({}) if is_named else None
