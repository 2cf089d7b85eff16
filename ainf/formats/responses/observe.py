"""What the events of an answer teach: its head, usage, end and error. For relay, collector and readers alike."""

from typing import Any, Final

from ainf.formats.base import Answer
from ainf.formats.errors import in_band_error
from ainf.formats.observe import note_finish, note_names, note_usage
from ainf.formats.responses.usage import read_usage
from ainf.formats.responses.wire import (
    CALL_TYPES,
    COMPLETED,
    ERROR,
    FAILED,
    INCOMPLETE,
    EventView,
    decode_event,
    output_of,
    view_bytes,
    word_of,
)
from ainf.formats.views import Frame, frame_of
from ainf.inference.errors import UpstreamError
from ainf.inference.events import FinishReason

INCOMPLETE_REASONS: Final = {
    "max_output_tokens": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}
UNFINISHED: Final = "incomplete:"
"""What stands before the reason in ``Answer.raw_finish_reason`` where the response is incomplete."""
_STATUSES: Final = {"completed": COMPLETED, "incomplete": INCOMPLETE, "failed": FAILED}


def read_frame(payload: bytes) -> Frame[EventView]:
    """Return what one payload says."""
    view, is_opaque = decode_event(payload)
    return frame_of(payload, view, view_bytes, is_opaque=is_opaque)


def visible_in(payload: bytes) -> int:
    """Return the visible bytes of one payload by itself."""
    return read_frame(payload).output_bytes


def note_response(answer: Answer, response: Any) -> None:  # noqa: ANN401 - a provider's word, judged here
    """Keep what a response object says of itself: its names, and its usage where it has any."""
    if not isinstance(response, dict):
        return
    note_names(answer, response.get("id"), response.get("model"), response.get("created_at"))
    usage = response.get("usage")
    if usage is not None:
        note_usage(answer, usage, read_usage(usage))


def note_end(answer: Answer, kind: str, response: Any, *, has_calls: bool) -> None:  # noqa: ANN401 - as note_response
    """Keep the evidence of an end.

    Args:
        answer: where to keep it.
        kind: the event that it is: ``COMPLETED`` or ``INCOMPLETE``.
        response: the response object in it.
        has_calls: whether calls of tools were seen before it.
    """
    note_response(answer, response)
    if kind == COMPLETED:
        is_call = has_calls or any(item.get("type") in CALL_TYPES for item in output_of(response) if _is_typed(item))
        note_finish(answer, "completed", FinishReason.TOOL_CALLS if is_call else FinishReason.STOP)
        return
    reason = word_of(response.get("incomplete_details"), "reason") if isinstance(response, dict) else None
    raw = UNFINISHED + reason if reason else "incomplete"
    note_finish(answer, raw, INCOMPLETE_REASONS.get(reason or "", FinishReason.OTHER))


def kind_of(response: dict[str, Any]) -> str | None:
    """Return the event that a whole response object would end a stream with; None where it is not at its end."""
    status = response.get("status")
    return _STATUSES.get(status) if isinstance(status, str) else None


def error_in(view: EventView, *, is_named: bool = False) -> UpstreamError | None:
    """Return the error that an event reports, if it does.

    That is ``response.failed``, an event of the type or name "error" (its fields at the top, or in an ``error``
    object), and an ``error`` object in an event without a type, which is how servers put other formats' errors here.
    """
    if view.type == FAILED:
        return failure_of(view.response)
    if view.type == ERROR or ((is_named or view.error) and not view.type):
        return in_band_error(view.error or {"code": view.code, "message": view.message, "param": view.param})
    return None


def failure_of(response: Any) -> UpstreamError:  # noqa: ANN401 - as note_response
    """Return the error of a response that failed."""
    return in_band_error(response.get("error") if isinstance(response, dict) else None)


def _is_typed(item: dict[str, Any]) -> bool:
    return isinstance(item.get("type"), str)
