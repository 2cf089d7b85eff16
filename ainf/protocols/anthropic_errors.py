"""Error answers in Anthropic's words, for every protocol of theirs."""

from typing import Final

import msgspec

from ainf.formats.messages.frames import error_document
from ainf.inference.errors import CODES
from ainf.protocols.base import ErrorAnswer

_MEANT: Final = {"insufficient_quota": "spend_cap_exceeded"}
"""What a code stands for that is no row of the table: a money refusal, for clients that obey only OpenAI's name."""


def anthropic_error(answer: ErrorAnswer) -> bytes:
    """Return Anthropic's error document, with what was billed; whether a retry can help is said by a header."""
    row = CODES[_MEANT.get(answer.code, answer.code)]
    return msgspec.json.encode(
        error_document(
            code=answer.code,
            type_=answer.type,
            status=row.status,
            message=answer.message,
            param=answer.param,
            inference_id=answer.inference_id,
            billed_nusd=answer.billed_nusd,
            retryable=None,
            request_id=answer.request_id,
            details=answer.details,
        )
    )
