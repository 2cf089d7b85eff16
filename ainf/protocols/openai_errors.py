"""Error answers in OpenAI's words, for every protocol of theirs.

Source: OpenAI's API reference, "error codes"; ``billed``, ``request_id`` and ``inference_id`` are our own.
"""

from typing import Any

import msgspec

from ainf.inference.money import format_usd
from ainf.protocols.base import ErrorAnswer


def openai_error(answer: ErrorAnswer) -> bytes:
    """Return OpenAI's error object, with what was billed."""
    error: dict[str, Any] = {
        **answer.details,
        "message": answer.message,
        "type": answer.type,
        "code": answer.code,
        "param": answer.param,
        "billed": format_usd(answer.billed_nusd),
        "request_id": answer.request_id,
    }
    if answer.inference_id is not None:
        error["inference_id"] = answer.inference_id
    return msgspec.json.encode({"error": error})
