"""What the views of an answer teach: its head, usage, end and error. For relay, collector and readers alike."""

from typing import Any, Final

from ainf.formats.base import Answer
from ainf.formats.chat.usage import read_usage
from ainf.formats.chat.wire import (
    ChunkView,
    HeadedView,
    decode_loosely,
    decode_view,
    finish_reason_of,
    usage_of,
    view_bytes,
)
from ainf.formats.errors import in_band_error
from ainf.formats.observe import note_finish, note_names, note_usage
from ainf.formats.views import Frame, frame_of
from ainf.inference.errors import UpstreamError
from ainf.inference.events import FinishReason

FINISH_REASONS: Final = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}


def read_frame(payload: bytes) -> Frame[HeadedView]:
    """Return what one payload says."""
    view = decode_view(payload)
    if view is not None:
        return frame_of(payload, view, view_bytes, is_opaque=False)
    return frame_of(payload, decode_loosely(payload), view_bytes, is_opaque=True)


def note_end(answer: Answer, reason: str) -> None:
    """Keep the evidence of an end."""
    note_finish(answer, reason, FINISH_REASONS.get(reason, FinishReason.OTHER))


def note_head(answer: Answer, view: HeadedView) -> None:
    """Keep what names the answer."""
    note_names(answer, view.id, view.model, view.created)


def note_view_usage(answer: Answer, view: ChunkView) -> bool:
    """Keep the usage in a view, if it has any; return whether it can be true."""
    usage = usage_of(view)
    if usage is None:
        return False
    note_usage(answer, usage, read_usage(usage))
    return not answer.is_usage_rejected


def error_in(view: ChunkView, *, is_named: bool = False) -> UpstreamError | None:
    """Return the error that a view reports, if it does.

    That is a truthy ``error``, an event that is named "error", vLLM's error document, or the finish reason "error",
    which is how aggregators end a stream that failed.
    """
    if view.error:
        return in_band_error(view.error)
    if is_named or (isinstance(view, HeadedView) and view.object == "error"):
        return in_band_error(_bare_error(view))
    return in_band_error({}) if finish_reason_of(view) == "error" else None


def _bare_error(view: ChunkView) -> dict[str, Any]:
    """Return the error that a view is, rather than holds."""
    return {name: getattr(view, name, None) for name in ("message", "type", "code", "param")}
