"""The frames and fields of the chat format that we make ourselves: finish, usage, error, end marker.

Source: OpenAI's API reference, "chat completion chunk object". Beyond it, of our own: the finish reasons
``spend_cap_exceeded`` and ``error``, and an ``error`` object at the top level of a chunk, which the OpenAI SDKs raise.
"""

from typing import Any, Final

import msgspec

from ainf.formats.base import Answer, EndingStyle
from ainf.formats.chat.usage import usage_fields
from ainf.formats.chat.wire import DONE
from ainf.formats.endings import CAP_CODE, ending_error
from ainf.inference.money import format_usd
from ainf.inference.outcome import Outcome
from ainf.inference.usage import Usage
from ainf.sse import frame

DONE_FRAME: Final = frame(DONE)


def chunk_frame(head: dict[str, Any], choices: list[dict[str, Any]], **fields: Any) -> bytes:  # noqa: ANN401 - JSON
    """Return one chunk; ``head`` holds id, created and model."""
    return frame(
        msgspec.json.encode({
            "id": head["id"],
            "object": "chat.completion.chunk",
            "created": head["created"],
            "model": head["model"],
            "choices": choices,
            **fields,
        })
    )


def choice_of(delta: dict[str, Any], finish_reason: str | None = None) -> list[dict[str, Any]]:
    """Return the choices of a chunk: the only one that is ever asked for."""
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]


def head_of(answer: Answer, style: EndingStyle) -> dict[str, Any]:
    """Return what names the frames that we add to an answer: the provider's words where it said any."""
    return {
        "id": answer.response_id or f"chatcmpl-{style.inference_id}",
        "created": style.created if answer.created is None else answer.created,
        "model": answer.model or style.model,
    }


def usage_frame(head: dict[str, Any], usage: Usage) -> bytes:
    """Return the usage-only chunk."""
    return chunk_frame(head, [], usage=usage_fields(usage))


def cap_reason(style: EndingStyle) -> str:
    """Return the finish reason that tells this client of a cap."""
    return "length" if style.finish_reasons == "strict" else CAP_CODE


def error_fields(outcome: Outcome, style: EndingStyle) -> dict[str, Any]:
    """Return the error object of an ending: the OpenAI shape, with what was billed and whether a retry can help."""
    error = ending_error(outcome, style)
    return {
        "message": error.message,
        "type": error.type,
        "code": error.code,
        "param": error.param,
        "inference_id": error.inference_id,
        "billed": format_usd(error.billed_nusd),
        "retryable": error.retryable,
    }


def failure_group(head: dict[str, Any], outcome: Outcome, style: EndingStyle) -> bytes:
    """Return how a stream says that it failed: the error before the end marker, since SDKs stop reading there."""
    error = error_fields(outcome, style)
    return chunk_frame(head, choice_of({}, "error"), error=error) + DONE_FRAME


def cap_fields(outcome: Outcome, style: EndingStyle) -> dict[str, Any]:
    """Return what stands beside the finish reason of a cap: the error object, for clients that are told loudly."""
    return {"error": error_fields(outcome, style)} if style.finish_reasons == "loud" else {}
