"""A count of a request's tokens: what a provider answers to ``count_tokens``.

Source: Anthropic's API reference, "count tokens in a message": ``{"input_tokens": 14}``. There is no other format to
translate it from: where a provider has no counter, the gateway counts by itself.
"""

from ainf.formats.base import Answer, EndingStyle
from ainf.formats.errors import in_band_error
from ainf.formats.loose import load_loosely
from ainf.formats.observe import believable_usage, not_of_format, note_finish, note_usage, unreadable
from ainf.inference.events import FinishReason
from ainf.inference.outcome import Outcome
from ainf.inference.usage import Usage

_WHAT = "a count of tokens"


class CountTokensJudge:
    """What a count is made of."""

    def read(self, body: bytes, answer: Answer) -> int | None:
        """Note what a count says; the count itself is no usage. See ``WholeJudge.read``."""
        document = load_loosely(body)
        if document is None:
            raise unreadable(body, _WHAT)
        error = document.get("error")
        if error or document.get("type") == "error":
            answer.error = in_band_error(error or document)
            return None
        tokens = document.get("input_tokens")
        if tokens is None or believable_usage(input_tokens=tokens) is None:
            raise not_of_format(_WHAT)
        note_usage(answer, {"input_tokens": tokens}, Usage())
        note_finish(answer, "counted", FinishReason.STOP)
        return 0

    def capped(self, body: bytes, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the body as it is: nothing in it could be less. See ``WholeJudge.capped``."""
        return body
