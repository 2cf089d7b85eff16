"""What the views of an answer teach: its names, usage, end and error. For relay, collector and readers alike."""

from typing import Final

import attrs

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


@attrs.frozen
class Frame:
    """One payload, as far as it can be read."""

    view: AnswerView | None
    """None where it is no JSON object at all."""
    output_bytes: int
    """Visible output. An opaque payload counts with what can be read of it; where that is nothing, with all its bytes,
    since there may be output in a shape that we do not know."""
    is_opaque: bool
    """It is no typed view."""


def read_frame(payload: bytes) -> Frame:
    """Return what one payload says."""
    view = decode_view(payload)
    if view is not None:
        return Frame(view, view_bytes(view), is_opaque=False)
    loose = decode_loosely(payload)
    # A byte that is no UTF-8 reads as three, so the payload's own size is the limit.
    readable = min(view_bytes(loose), len(payload)) if loose is not None else 0
    return Frame(loose, readable or len(payload), is_opaque=True)


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
