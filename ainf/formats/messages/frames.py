"""The frames and fields of the Messages format that we make ourselves: start, blocks, end, error.

Source: Anthropic's API reference, "Streaming messages" and "Errors". Beyond it, of our own: the stop reason
``spend_cap_exceeded``, and what stands in an error object beside its type and message.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from ainf.formats.base import EndingStyle
from ainf.formats.endings import CAP_CODE, ending_error
from ainf.formats.messages.usage import usage_fields
from ainf.inference.errors import MONEY_TYPE
from ainf.inference.money import format_usd
from ainf.inference.outcome import Outcome
from ainf.inference.usage import Usage
from ainf.sse import frame

_TYPE_OF_STATUS: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_NO_DETAILS: Final[Mapping[str, Any]] = MappingProxyType({})


def event_frame(document: dict[str, Any]) -> bytes:
    """Return one event, named by its type."""
    return frame(msgspec.json.encode(document), event=document["type"].encode())


STOP_FRAME: Final = event_frame({"type": "message_stop"})


def start_frame(message_id: str, model: str, usage: Usage) -> bytes:
    """Return the event that begins a message; ``usage`` is what is known by then."""
    message: dict[str, Any] = {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_fields(usage),
    }
    return event_frame({"type": "message_start", "message": message})


def block_start_frame(index: int, block: dict[str, Any]) -> bytes:
    """Return the event that begins a content block."""
    return event_frame({"type": "content_block_start", "index": index, "content_block": block})


def block_delta_frame(index: int, delta: dict[str, str]) -> bytes:
    """Return the event that carries more of a content block."""
    return event_frame({"type": "content_block_delta", "index": index, "delta": delta})


def block_stop_frame(index: int) -> bytes:
    """Return the event that ends a content block."""
    return event_frame({"type": "content_block_stop", "index": index})


def delta_frame(stop_reason: str, stop_sequence: str | None, usage: Usage) -> bytes:
    """Return the event that says why a message ends, and what it used in all."""
    delta = {"stop_reason": stop_reason, "stop_sequence": stop_sequence}
    return event_frame({"type": "message_delta", "delta": delta, "usage": usage_fields(usage)})


def error_type(status: int, type_: str) -> str:
    """Return Anthropic's type for an error of ours.

    A money refusal is a billing error under whatever status it is sent, so that nobody takes it for a limit of rate.
    """
    if type_ == MONEY_TYPE:
        return _TYPE_OF_STATUS[402]
    return _TYPE_OF_STATUS.get(status, "api_error" if status > 504 else "invalid_request_error")


def error_document(  # noqa: PLR0913 - everything that an error says, each by its name
    *,
    code: str,
    type_: str,
    status: int,
    message: str,
    param: str | None,
    inference_id: str | None,
    billed_nusd: int,
    retryable: bool | None,
    request_id: str | None,
    details: Mapping[str, Any] = _NO_DETAILS,
) -> dict[str, Any]:
    """Return an error in Anthropic's shape: the body of an error answer, or the payload of an ``error`` event.

    Args:
        code: a key of ``CODES``.
        type_: our own (OpenAI-style) type of the error.
        status: the HTTP status that it has, or would have had.
        message: what is wrong and what to do.
        param: the request field at fault, if one is.
        inference_id: of the inference that failed, if one was admitted.
        billed_nusd: what it is charged.
        retryable: whether to ask again can help; left out where None.
        request_id: of the HTTP request, where it is known.
        details: what a program may want to know besides, by name.
    """
    error: dict[str, Any] = {
        **details,
        "type": error_type(status, type_),
        "message": message,
        "code": code,
        "param": param,
        "inference_id": inference_id,
        "billed": format_usd(billed_nusd),
    }
    if retryable is not None:
        error["retryable"] = retryable
    return {"type": "error", "error": error, "request_id": request_id}


def ending_document(outcome: Outcome, style: EndingStyle) -> dict[str, Any]:
    """Return the error document of an ending."""
    error = ending_error(outcome, style)
    return error_document(
        code=error.code,
        type_=error.type,
        status=error.status,
        message=error.message,
        param=error.param,
        inference_id=error.inference_id,
        billed_nusd=error.billed_nusd,
        retryable=error.retryable,
        request_id=None,
    )


def error_frame(outcome: Outcome, style: EndingStyle) -> bytes:
    """Return the event that says how a stream failed; nothing stands behind it."""
    return event_frame(ending_document(outcome, style))


def cap_reason(style: EndingStyle) -> str:
    """Return the stop reason that tells this client of a cap."""
    return "max_tokens" if style.finish_reasons == "strict" else CAP_CODE


def cap_frame(outcome: Outcome, style: EndingStyle) -> bytes:
    """Return the terminal frame of a cap, behind the stop reason: the error for clients that are told loudly."""
    return error_frame(outcome, style) if style.finish_reasons == "loud" else STOP_FRAME
