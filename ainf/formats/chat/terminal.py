"""The terminal group of a chat stream: what the provider sent from its finish chunk on, kept until we may speak."""

from typing import Any

import msgspec

from ainf.formats.base import Answer, EndingStyle
from ainf.formats.chat.frames import (
    DONE_FRAME,
    cap_fields,
    cap_reason,
    choice_of,
    chunk_frame,
    failure_group,
    head_of,
    usage_frame,
)
from ainf.formats.endings import is_told
from ainf.inference.outcome import Ending, Outcome
from ainf.sse import frame


class ChatTerminalGroup:
    """Frames as they came: the finish chunk, what follows it, the end marker.

    Args:
        include_usage: whether the client asked for the usage chunk.
        limit: the most bytes that are kept; what would pass it is dropped, since the end itself was seen.
    """

    __slots__ = ("_done", "_finish", "_finish_payload", "_include_usage", "_room", "_tail", "_usage", "has_usage")

    def __init__(self, *, include_usage: bool, limit: int) -> None:
        self._include_usage = include_usage
        self._room = limit
        self._finish = b""
        self._finish_payload = b""
        self._tail: list[bytes] = []
        self._usage = b""
        self._done = b""
        self.has_usage = False
        """The client has the provider's usage already, or gets it with this group."""

    @property
    def is_open(self) -> bool:
        """Whether a finish chunk was kept and no end marker."""
        return bool(self._finish) and not self._done

    def keep_finish(self, raw: bytes, payload: bytes, *, has_usage: bool) -> None:
        """Keep the finish chunk: its event as it came, and its payload."""
        self._finish, self._finish_payload = raw, payload
        self._room -= len(raw)
        self.has_usage |= has_usage

    def keep(self, raw: bytes, *, is_usage: bool) -> None:
        """Keep an event behind the finish chunk; a usage chunk takes the place of an earlier one."""
        if len(raw) > self._room:
            return
        self._room -= len(raw)
        if not is_usage:
            self._tail.append(raw)
            return
        self._usage = raw
        self.has_usage = True

    def keep_done(self, raw: bytes) -> None:
        """Keep the end marker."""
        self._done = raw

    def close(self, answer: Answer, outcome: Outcome, style: EndingStyle) -> bytes:
        """Return the group for the client: exactly one terminal frame, and none for a client that has left."""
        if not is_told(outcome.ending):
            return b""
        if outcome.ending is Ending.COMPLETED:
            assert self._finish, "completed without evidence"
            return self._finish + self._follow(answer, outcome, style)
        if outcome.ending is Ending.SPEND_CAP_EXCEEDED:
            return self._capped_finish(answer, outcome, style) + self._follow(answer, outcome, style)
        return failure_group(head_of(answer, style), outcome, style)

    def _follow(self, answer: Answer, outcome: Outcome, style: EndingStyle) -> bytes:
        """Return what comes behind the finish chunk, with what the client misses in it."""
        usage = self._usage
        if self._include_usage and not self.has_usage:
            usage = usage_frame(head_of(answer, style), outcome.usage)
        return b"".join(self._tail) + usage + (self._done or DONE_FRAME)

    def _capped_finish(self, answer: Answer, outcome: Outcome, style: EndingStyle) -> bytes:
        """Return the finish chunk of a cap: the provider's own with our reason, where it reached a clamped limit."""
        extra = cap_fields(outcome, style)
        document = _object(self._finish_payload)
        if document is None:
            return chunk_frame(head_of(answer, style), choice_of({}, cap_reason(style)), **extra)
        for choice in document["choices"]:
            if isinstance(choice, dict) and choice.get("finish_reason"):
                choice["finish_reason"] = cap_reason(style)
        return frame(msgspec.json.encode(document | extra))


def _object(payload: bytes) -> dict[str, Any] | None:
    """Return a kept chunk that can be written again, or None."""
    try:
        document = msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return None
    if isinstance(document, dict) and isinstance(document.get("choices"), list):
        return document
    return None
