"""What the events of a Messages answer teach: its head, usage, end and error. For relay, collector and readers."""

from typing import Any, Final

from ainf.formats.base import Answer
from ainf.formats.errors import in_band_error
from ainf.formats.messages.usage import UsageTotals, read_usage
from ainf.formats.messages.wire import FullView
from ainf.formats.observe import note_finish, note_names, note_usage, part
from ainf.inference.errors import UpstreamError
from ainf.inference.events import FinishReason

FINISH_REASONS: Final = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
}
"""Every other one ("pause_turn", what is not known yet) is ``OTHER``."""


def note_end(answer: Answer, reason: str) -> None:
    """Keep the evidence of an end."""
    note_finish(answer, reason, FINISH_REASONS.get(reason, FinishReason.OTHER))


def error_in(view: FullView | None, name: bytes) -> UpstreamError | None:
    """Return the error that an event reports, if it does: by its name, by its type, or by an ``error`` without a type.

    The last is how servers put other formats' errors here.
    """
    is_error = view is not None and (view.type == "error" or bool(view.error and not view.type))
    if name == b"error" or is_error:
        return in_band_error((None if view is None else view.error) or {})
    return None


def stop_reason_of(view: FullView) -> str | None:
    """Return the evidence of an end, if an event holds it."""
    return (view.delta.stop_reason or None) if view.type == "message_delta" and view.delta is not None else None


class MessageNotes:
    """Keeps in ``answer`` what the events of one stream say about it."""

    __slots__ = ("_totals", "answer")

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self._totals = UsageTotals()

    def take(self, view: FullView) -> bool:
        """Note what names the answer and what it used; return whether the view told a usage that can be true."""
        if view.type == "message_start" and view.message is not None:
            note_names(self.answer, view.message.id, view.message.model)
            self.answer.is_usage_partial = True  # its output is a placeholder: nothing was written yet
            return self._take_usage(view.message.usage)
        if view.type != "message_delta":
            return False
        if part(view.usage, "output_tokens"):
            self.answer.is_usage_partial = False
        return self._take_usage(view.usage)

    def _take_usage(self, document: Any) -> bool:  # noqa: ANN401 - a provider's word, judged by read_usage
        if document is None:
            return False
        whole = self._totals.add(document)
        note_usage(self.answer, whole, read_usage(whole))
        return not self.answer.is_usage_rejected
