"""What the views of an answer teach: its head, usage, end and error. For relay, collector and readers alike."""

from typing import Any, Final

import attrs

from ainf.formats.base import Answer
from ainf.formats.chat_errors import in_band_error
from ainf.formats.chat_usage import note_usage
from ainf.formats.chat_wire import (
    ChunkView,
    HeadedView,
    decode_loosely,
    decode_view,
    finish_reason_of,
    usage_of,
    view_bytes,
)
from ainf.inference.errors import UpstreamError
from ainf.inference.events import FinishReason

FINISH_REASONS: Final = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_HEAD_CHARACTERS = 256
_REASON_CHARACTERS = 64


@attrs.frozen
class Frame:
    """One payload, as far as it can be read."""

    view: HeadedView | None
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


def note_finish(answer: Answer, reason: str) -> None:
    """Keep the evidence of an end."""
    answer.raw_finish_reason = reason.encode("ascii", "backslashreplace").decode()[:_REASON_CHARACTERS]
    answer.finish = FINISH_REASONS.get(reason, FinishReason.OTHER)


def note_head(answer: Answer, view: HeadedView) -> None:
    """Keep what names the answer; the first that says something stands (Azure's first chunk says nothing)."""
    if answer.response_id is None:
        answer.response_id = _name(view.id)
    if answer.model is None:
        answer.model = _name(view.model)
    if answer.created is None and type(view.created) is int and 0 < view.created < 1 << 40:
        answer.created = view.created


def note_view_usage(answer: Answer, view: ChunkView) -> bool:
    """Keep the usage in a view, if it has any; return whether it can be true."""
    usage = usage_of(view)
    if usage is None:
        return False
    note_usage(answer, usage)
    return not answer.is_usage_rejected


def error_in(view: ChunkView, *, is_named: bool = False) -> UpstreamError | None:
    """Return the error that a view reports, if it does.

    That is a truthy ``error``, an event that is named "error", vLLM's error document, or the finish reason "error",
    which is how aggregators end a stream that failed.
    """
    if view.error:
        return in_band_error(view.error)
    if isinstance(view, HeadedView) and view.object == "error":
        return in_band_error({})
    if is_named or finish_reason_of(view) == "error":
        return in_band_error({})
    return None


def no_answer() -> UpstreamError:
    """A 200 that holds nothing."""
    return UpstreamError("upstream_protocol", "The provider answered with nothing.")


def not_chat() -> UpstreamError:
    """A 200 that is not of the format."""
    return UpstreamError("upstream_protocol", "The provider's answer is not a chat completion.")


def truncated() -> UpstreamError:
    """An answer without its end."""
    return UpstreamError("upstream_truncated", "The provider's answer broke off before its end.")


def _name(value: Any) -> str | None:  # noqa: ANN401 - a provider's word, judged here
    """Return a name that is fit for records: printable, bounded, not empty."""
    if isinstance(value, str) and value and value.isprintable():
        return value[:_HEAD_CHARACTERS]
    return None
