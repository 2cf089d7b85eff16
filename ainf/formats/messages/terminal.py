"""The terminal group of a Messages stream: what the provider sent from its stop reason on, kept until we may speak."""

from typing import Any

from ainf.formats.base import Answer, EndingStyle
from ainf.formats.endings import is_told
from ainf.formats.loose import dump_loosely, load_loosely
from ainf.formats.messages.blocks import SentBlocks
from ainf.formats.messages.frames import (
    STOP_FRAME,
    cap_frame,
    cap_reason,
    delta_frame,
    error_frame,
    start_frame,
)
from ainf.formats.messages.usage import usage_fields
from ainf.inference.outcome import Ending, Outcome
from ainf.inference.usage import Usage
from ainf.sse import frame


class MessagesTerminalGroup:
    """Frames as they came: the ``message_delta`` with the stop reason, what follows it, ``message_stop``.

    Args:
        limit: the most bytes that are kept; what would pass it is dropped, since the end itself was seen.
    """

    __slots__ = ("_finish", "_finish_payload", "_room", "_stop", "_tail")

    def __init__(self, limit: int) -> None:
        self._room = limit
        self._finish = b""
        self._finish_payload = b""
        self._tail: list[bytes] = []
        self._stop = b""

    @property
    def is_open(self) -> bool:
        """Whether a stop reason was kept and no ``message_stop``."""
        return bool(self._finish) and not self._stop

    def keep_finish(self, raw: bytes, payload: bytes) -> None:
        """Keep the event with the stop reason, as it came, and its payload."""
        self._finish, self._finish_payload = raw, payload
        self._room -= len(raw)

    def keep(self, raw: bytes) -> None:
        """Keep an event behind it."""
        if len(raw) <= self._room:
            self._room -= len(raw)
            self._tail.append(raw)

    def keep_stop(self, raw: bytes) -> None:
        """Keep ``message_stop``."""
        self._stop = raw

    def close(self, blocks: SentBlocks, answer: Answer, outcome: Outcome, style: EndingStyle) -> bytes:
        """Return the group for the client: exactly one terminal frame, and none for a client that has left."""
        if not is_told(outcome.ending):
            return b""
        if outcome.ending is Ending.COMPLETED:
            assert self._finish, "completed without evidence"
            return self._finish + b"".join(self._tail) + (self._stop or STOP_FRAME)
        if outcome.ending is Ending.SPEND_CAP_EXCEEDED:
            return self._capped(blocks, answer, outcome, style)
        return blocks.end() + error_frame(outcome, style)

    def _capped(self, blocks: SentBlocks, answer: Answer, outcome: Outcome, style: EndingStyle) -> bytes:
        begin = b""
        if not blocks.is_started:
            message_id = answer.response_id or f"msg_{style.inference_id}"
            begin = start_frame(message_id, answer.model or style.model, answer.usage or Usage())
        return begin + blocks.end() + self._capped_finish(outcome, style) + cap_frame(outcome, style)

    def _capped_finish(self, outcome: Outcome, style: EndingStyle) -> bytes:
        """Return the stop reason of a cap: in the provider's own event, where it reached a clamped limit."""
        document = load_loosely(self._finish_payload)
        if document is None:
            return delta_frame(cap_reason(style), None, outcome.usage)
        said: dict[str, Any] = document["delta"] | {"stop_reason": cap_reason(style), "stop_sequence": None}
        usage = document["usage"] if isinstance(document.get("usage"), dict) else usage_fields(outcome.usage)
        return frame(dump_loosely(document | {"delta": said, "usage": usage}), event=b"message_delta")
