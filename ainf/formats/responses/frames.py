"""The events and fields of the Responses format that we make ourselves: response objects, ends, errors.

Source: ``openai.types.responses``. Beyond it, of our own: the incomplete reasons ``spend_cap_exceeded`` and ``other``,
our codes in a response's ``error``, and fields beside them that say what was billed.
"""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from ainf.formats.base import Answer, EndingStyle, Listener
from ainf.formats.endings import CAP_CODE, ending_error
from ainf.formats.loose import dump_loosely
from ainf.formats.responses.transcript import ItemDraft, PartDraft
from ainf.formats.responses.wire import COMPLETED, FAILED, INCOMPLETE, ITEM_DONE, TEXT
from ainf.inference.events import FinishReason, MessageEnd
from ainf.inference.money import format_usd
from ainf.inference.outcome import Ending, Outcome
from ainf.sse import frame

LOUD_CAP_CODE: Final = "insufficient_quota"
"""What a cap is called where it shall be taken for an error: a code that clients know as not worth a retry."""
NEUTRAL_REASON: Final = "other"
"""What a stop reason that this format has no word for is translated to: incomplete, and never completed."""

_STATUSES: Final = {COMPLETED: "completed", INCOMPLETE: "incomplete", FAILED: "failed"}
_RAW_INCOMPLETE: Final = "incomplete:"
_REASONS: Final = {
    FinishReason.LENGTH: "max_output_tokens",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.OTHER: NEUTRAL_REASON,
}

# What the API repeats of a request, and what it says where the request says nothing. Only ``store`` differs: it is
# true there, but an answer that we write is kept nowhere.
_DEFAULTS: Final[Mapping[str, Any]] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


@attrs.frozen
class End:
    """How a response ends, in this format's words."""

    kind: str
    """The event: ``COMPLETED``, ``INCOMPLETE`` or ``FAILED``."""
    reason: str | None = None
    """Why it is incomplete."""
    error: Mapping[str, Any] | None = None
    """Why it failed."""

    @property
    def fields(self) -> dict[str, Any]:
        """Return what a response object says of it."""
        return {
            "status": _STATUSES[self.kind],
            "incomplete_details": None if self.reason is None else {"reason": self.reason},
            "error": self.error,
        }


def event_frame(kind: str, number: int, **fields: Any) -> bytes:  # noqa: ANN401 - JSON
    """Return one event."""
    return frame(dump_loosely({"type": kind, "sequence_number": number, **fields}), event=kind.encode())


def response_id_of(inference_id: str) -> str:
    """Return the id of a response that we name."""
    return f"resp_{inference_id}"


def first_object(listener: Listener, answer: Answer, *, is_translated: bool) -> dict[str, Any]:
    """Return the response object of an answer that we write, as it is at its beginning.

    Args:
        listener: whom it is for.
        answer: what is known of the provider's answer.
        is_translated: whether the provider's format is another one; else the provider's names stand.
    """
    own_id = response_id_of(listener.inference_id)
    return _object(
        {name: value for name, value in listener.echo.items() if value is not None},
        id=own_id if is_translated else answer.response_id or own_id,
        created_at=listener.created if answer.created is None else answer.created,
        model=listener.model if is_translated else answer.model or listener.model,
    )


def base_object(base: Mapping[str, Any], answer: Answer, style: EndingStyle) -> dict[str, Any]:
    """Return the response object of an answer that is relayed, as it was at its beginning, as far as that is known."""
    known = {name: value for name, value in base.items() if value is not None}
    return _object(
        known,
        id=known.get("id") or answer.response_id or response_id_of(style.inference_id),
        created_at=known.get("created_at") or (style.created if answer.created is None else answer.created),
        model=known.get("model") or answer.model or style.model,
    )


def reached_end(end: MessageEnd, *, is_translated: bool) -> End:
    """Return how a response ends that came to its own end: in the provider's words where its format is this one."""
    if end.reason in {FinishReason.STOP, FinishReason.TOOL_CALLS}:
        return End(COMPLETED)
    if not is_translated and end.raw_reason.startswith(_RAW_INCOMPLETE):
        return End(INCOMPLETE, end.raw_reason.removeprefix(_RAW_INCOMPLETE))
    return End(INCOMPLETE, _REASONS[end.reason])


def broken_end(outcome: Outcome, style: EndingStyle) -> End:
    """Return how a response ends that did not come to its own end: by a cap, or by a failure."""
    is_capped = outcome.ending is Ending.SPEND_CAP_EXCEEDED
    if is_capped and style.finish_reasons != "loud":
        return End(INCOMPLETE, "max_output_tokens" if style.finish_reasons == "strict" else CAP_CODE)
    error = _error_fields(outcome, style)
    return End(FAILED, error=error | {"code": LOUD_CAP_CODE} if is_capped else error)


def closing_events(item: ItemDraft, *, is_whole: bool, **final: Any) -> list[tuple[str, dict[str, Any]]]:  # noqa: ANN401
    """Return the events that end an item: their types and fields, in order.

    Args:
        item: an item that is open.
        is_whole: whether it is all there; a call whose arguments are cut is not said to be done with them, since
            clients act on that.
        final: fields that only the whole item has.
    """
    events: list[tuple[str, dict[str, Any]]] = []
    for part in item.parts.values():
        if is_whole or part.kind.type is not None:
            events.extend(_closing_part(item, part))
    document = item.document("completed" if is_whole else "incomplete") | final
    events.append((ITEM_DONE, {"output_index": item.index, "item": document}))
    return events


def _closing_part(item: ItemDraft, part: PartDraft) -> list[tuple[str, dict[str, Any]]]:
    kind = part.kind
    place: dict[str, Any] = {"item_id": item.id, "output_index": item.index}
    if kind.index_field is not None:
        place[kind.index_field] = part.index
    events: list[tuple[str, dict[str, Any]]] = []
    if not part.is_said:
        logprobs = {"logprobs": list[Any]()} if kind is TEXT else {}
        events.append((f"{kind.stem}.done", place | {kind.text_field: part.text} | logprobs))
    if kind.list_stem is not None and not part.is_done:
        events.append((f"{kind.list_stem}.done", place | {"part": kind.part_of(part.text)}))
    return events


def _object(known: Mapping[str, Any], **names: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a response object in progress: what is known, with everything else that has to be there."""
    begun: dict[str, Any] = {
        "object": "response",
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "output": [],
    }
    return names | begun | dict(_DEFAULTS) | {"usage": None} | dict(known) | names | begun


def _error_fields(outcome: Outcome, style: EndingStyle) -> dict[str, Any]:
    """Return the error object of an ending: the format's fields, with what was billed and whether to ask again."""
    error = ending_error(outcome, style)
    return {
        "code": error.code,
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "inference_id": error.inference_id,
        "billed": format_usd(error.billed_nusd),
        "retryable": error.retryable,
    }
