"""The frames and fields of the chat format that we make ourselves: finish, usage, error, end marker.

Source: OpenAI's API reference, "chat completion chunk object". Beyond it, of our own: the finish reasons
``spend_cap_exceeded`` and ``error``, and an ``error`` object at the top level of a chunk, which the OpenAI SDKs raise.
"""

from typing import Any, Final

import msgspec

from ainf.formats.base import Answer, EndingStyle
from ainf.formats.chat.usage import usage_fields
from ainf.formats.chat.wire import DONE
from ainf.inference.errors import CODES
from ainf.inference.money import format_usd
from ainf.inference.outcome import Ending, Outcome
from ainf.inference.usage import Usage
from ainf.sse import frame

DONE_FRAME: Final = frame(DONE)
CAP_CODE: Final = "spend_cap_exceeded"
_CAP_MESSAGE = "The answer was cut: a spend cap on the key or an account above it is used up."


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
    verdict = outcome.verdict
    capped = verdict.ending is Ending.SPEND_CAP_EXCEEDED
    code = CAP_CODE if capped else verdict.code or "internal_error"
    row = CODES[code]
    return {
        "message": verdict.message or (_CAP_MESSAGE if capped else row.meaning),
        "type": row.type,
        "code": code,
        "param": verdict.param,
        "inference_id": style.inference_id,
        "billed": format_usd(outcome.billed_nusd),
        "retryable": style.retryable,
    }


def failure_group(head: dict[str, Any], outcome: Outcome, style: EndingStyle) -> bytes:
    """Return how a stream says that it failed: the error before the end marker, since SDKs stop reading there."""
    error = error_fields(outcome, style)
    return chunk_frame(head, choice_of({}, "error"), error=error) + DONE_FRAME


def cap_fields(outcome: Outcome, style: EndingStyle) -> dict[str, Any]:
    """Return what stands beside the finish reason of a cap: the error object, for clients that are told loudly."""
    return {"error": error_fields(outcome, style)} if style.finish_reasons == "loud" else {}


def is_told(ending: Ending) -> bool:
    """Whether anybody is there to be told: a client that left, or whose connection died with us, gets nothing."""
    return ending not in {Ending.CLIENT_DISCONNECTED, Ending.ABANDONED}
