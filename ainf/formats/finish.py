"""What a provider's own word for the end of an answer means, whichever format it is of: for who reads it back later."""

from typing import Final

from ainf.formats.chat.observe import FINISH_REASONS as CHAT
from ainf.formats.gemini.observe import BLOCKED
from ainf.formats.gemini.observe import FINISH_REASONS as GEMINI
from ainf.formats.messages.observe import FINISH_REASONS as MESSAGES
from ainf.formats.responses.observe import INCOMPLETE_REASONS, UNFINISHED
from ainf.inference.events import FinishReason

# No two formats say the same word and mean something else.
_MEANINGS: Final = {
    **CHAT,
    **MESSAGES,
    **GEMINI,
    "completed": FinishReason.STOP,
    **{UNFINISHED + reason: meaning for reason, meaning in INCOMPLETE_REASONS.items()},
}


def meaning_of(raw_reason: str) -> FinishReason:
    """Return what ``Answer.raw_finish_reason`` says; that the answer called tools, not every format's word tells."""
    if raw_reason.startswith(BLOCKED):
        return FinishReason.CONTENT_FILTER
    return _MEANINGS.get(raw_reason, FinishReason.OTHER)
