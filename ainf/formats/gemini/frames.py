"""The frames and fields of the Gemini format that we make ourselves: content, finish, usage, error.

Source: the Gemini API reference, "GenerateContentResponse", and Google's API design guide, "errors", for the error
object: an HTTP ``code``, a ``status`` of ``google.rpc.Code``, and ``details`` with one ``google.rpc.ErrorInfo``, where
what is ours stands. Beyond it, of our own: the finish reason ``SPEND_CAP_EXCEEDED``.
"""

from typing import Any, Final

import msgspec

from ainf.formats.base import Answer, EndingStyle
from ainf.formats.endings import CAP_CODE, ending_error
from ainf.formats.gemini.usage import usage_fields
from ainf.inference.money import format_usd
from ainf.inference.outcome import Outcome
from ainf.sse import frame

_ERROR_INFO: Final = "type.googleapis.com/google.rpc.ErrorInfo"
_DOMAIN: Final = "ainf"
_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""``google.rpc.Code`` by HTTP status; those that it has no word for have the nearest."""
_OTHER_STATUS: Final = "INVALID_ARGUMENT"
"""Of every other status that we answer with: they all speak of the request."""


def names_of(response_id: str | None, model: str | None) -> dict[str, Any]:
    """Return the fields that name an answer."""
    return {"modelVersion": model or "", "responseId": response_id or ""}


def names_for(answer: Answer, style: EndingStyle) -> dict[str, Any]:
    """Return what names the frames that we add to an answer: the provider's words where it said any."""
    return names_of(answer.response_id or style.inference_id, answer.model or style.model)


def answer_document(parts: list[dict[str, Any]], names: dict[str, Any], **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a chunk, or a whole answer: one candidate with these parts.

    Args:
        parts: of its content.
        names: what names the answer.
        fields: ``finishReason`` of the candidate; any other is the document's.
    """
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}}
    if "finishReason" in fields:
        candidate["finishReason"] = fields.pop("finishReason")
    return {"candidates": [candidate | {"index": 0}], **fields, **names}


def document_frame(document: dict[str, Any]) -> bytes:
    """Return the event of one chunk."""
    return frame(msgspec.json.encode(document))


def cap_reason(style: EndingStyle) -> str:
    """Return the finish reason that tells this client of a cap."""
    return "MAX_TOKENS" if style.finish_reasons == "strict" else CAP_CODE.upper()


def error_fields(outcome: Outcome, style: EndingStyle) -> dict[str, Any]:
    """Return the error object of an ending: Google's shape, with what was billed and whether a retry can help."""
    error = ending_error(outcome, style)
    metadata = {
        "inference_id": error.inference_id,
        "billed": format_usd(error.billed_nusd),
        "retryable": "true" if error.retryable else "false",
    }
    return {
        "code": error.status,
        "message": error.message,
        "status": _STATUSES.get(error.status, _OTHER_STATUS),
        "details": [{"@type": _ERROR_INFO, "reason": error.code.upper(), "domain": _DOMAIN, "metadata": metadata}],
    }


def failure_frame(outcome: Outcome, style: EndingStyle) -> bytes:
    """Return how a stream says that it failed: a frame that is nothing but the error, which Google's SDKs raise."""
    return document_frame({"error": error_fields(outcome, style)})


def cap_fields(outcome: Outcome, style: EndingStyle) -> dict[str, Any]:
    """Return what stands beside the finish reason of a cap: the error object, for clients that are told loudly.

    It must stand first in its document: that is where Google's SDKs look for it.
    """
    return {"error": error_fields(outcome, style)} if style.finish_reasons == "loud" else {}


def capped_frame(names: dict[str, Any], outcome: Outcome, style: EndingStyle) -> bytes:
    """Return how a stream says that a cap ended it."""
    usage = usage_fields(outcome.usage)
    document = answer_document([{"text": ""}], names, finishReason=cap_reason(style), usageMetadata=usage)
    return document_frame(cap_fields(outcome, style) | document)
