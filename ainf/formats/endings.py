"""What a client is told of an ending, in no format's words yet."""

from typing import Final

import attrs

from ainf.formats.base import EndingStyle
from ainf.inference.errors import CODES
from ainf.inference.outcome import Ending, Outcome

CAP_CODE: Final = "spend_cap_exceeded"
"""The code of a spend cap, and its finish reason for clients that are told of it in so many words."""

_CAP_MESSAGE: Final = "The answer was cut: a spend cap on the key or an account above it is used up."


@attrs.frozen
class EndingError:
    """An ending, as an error."""

    code: str
    """A key of ``CODES``."""
    type: str
    """Our own (OpenAI-style) type of it."""
    status: int
    """The HTTP status that it would have had."""
    message: str
    param: str | None
    """The request field at fault, if one is."""
    inference_id: str
    billed_nusd: int
    retryable: bool
    """The retry verdict: the cause is transient and nothing was charged."""


def ending_error(outcome: Outcome, style: EndingStyle) -> EndingError:
    """Return an ending that is not the answer's own as an error: a failure, or a cap."""
    verdict = outcome.verdict
    is_capped = verdict.ending is Ending.SPEND_CAP_EXCEEDED
    code = CAP_CODE if is_capped else verdict.code or "internal_error"
    row = CODES[code]
    return EndingError(
        code=code,
        type=row.type,
        status=row.status,
        message=verdict.message or (_CAP_MESSAGE if is_capped else row.meaning),
        param=verdict.param,
        inference_id=style.inference_id,
        billed_nusd=outcome.billed_nusd,
        retryable=style.retryable,
    )


def is_told(ending: Ending) -> bool:
    """Whether anybody is there to be told: a client that left, or whose connection died with us, gets nothing."""
    return ending not in {Ending.CLIENT_DISCONNECTED, Ending.ABANDONED}
