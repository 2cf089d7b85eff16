"""From events to the Gemini wire: a stream, or a whole answer."""

from collections.abc import Iterable
from typing import Any, Final

from ainf.formats.base import Answer, EndingStyle, Listener, Piece, PipeLimits, Reading
from ainf.formats.endings import is_told
from ainf.formats.gemini.frames import (
    answer_document,
    cap_fields,
    cap_reason,
    capped_frame,
    document_frame,
    failure_frame,
    names_for,
    names_of,
)
from ainf.formats.gemini.observe import BLOCKED
from ainf.formats.gemini.part_writer import PartWriter, merged
from ainf.formats.gemini.relay import visible_in
from ainf.formats.gemini.usage import usage_fields
from ainf.formats.relay import split_stream
from ainf.formats.whole_writer import WholeWriter
from ainf.inference.events import (
    BlockDelta,
    BlockEnd,
    BlockStart,
    FinishReason,
    MessageEnd,
    MessageStart,
    StreamEvent,
    UsageUpdate,
)
from ainf.inference.outcome import Ending, Outcome

_WORDS: Final = {
    FinishReason.STOP: "STOP",
    FinishReason.TOOL_CALLS: "STOP",
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.CONTENT_FILTER: "SAFETY",
    FinishReason.OTHER: "OTHER",
}
_BROKEN_CALL: Final = "MALFORMED_FUNCTION_CALL"


class GeminiStreamWriter:
    """Writes events as a Gemini stream.

    Args:
        listener: whom it is for.
        answer: what is known of the provider's answer, kept by the reader.
        is_translated: whether the provider's format is another one; where it is the same, the provider's name of the
            model and its raw finish reason stand.
    """

    __slots__ = ("_answer", "_end", "_is_translated", "_listener", "_names", "_parts")

    is_whole = False

    def __init__(self, listener: Listener, answer: Answer, *, is_translated: bool) -> None:
        self._listener = listener
        self._answer = answer
        self._is_translated = is_translated
        self._parts = PartWriter(shows_refusals=is_translated)
        self._names: dict[str, Any] = {}
        self._end: MessageEnd | None = None

    def send(self, events: Iterable[StreamEvent]) -> bytes:
        """Return the frames of these events. See ``EventWriter.send``."""
        return b"".join([self._frames_of(event) for event in events])

    def split(self, reading: Reading, output_bytes: int) -> tuple[Piece, Reading]:
        """Cut a reading between frames. See ``Pipe.split``."""
        return split_stream(reading, output_bytes, visible_in)

    def rewind(self, payloads: list[bytes]) -> None:
        """Do nothing: no chunk needs another one to be ended. See ``EventWriter.rewind``."""

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the terminal group. See ``Pipe.close``."""
        if not is_told(outcome.ending):
            return b""
        names = self._names or names_for(self._answer, ending)
        if outcome.ending is Ending.COMPLETED:
            assert self._end is not None, "completed without evidence"
            parts = self._parts.end() or [{"text": ""}]
            return document_frame(_finished(parts, names, outcome, self._reason(self._end)))
        if outcome.ending is Ending.SPEND_CAP_EXCEEDED:
            return capped_frame(names, outcome, ending)
        return failure_frame(outcome, ending)

    def _reason(self, end: MessageEnd) -> str:
        return reason_word(end, self._parts, is_translated=self._is_translated)

    def _frames_of(self, event: StreamEvent) -> bytes:
        match event:
            case MessageStart():
                self._names = _names(self._listener, event.response_id, event.model, is_translated=self._is_translated)
            case BlockStart() | BlockDelta() | BlockEnd():
                parts = self._parts.send(event)
                return b"".join([document_frame(answer_document([part], self._names)) for part in parts])
            case MessageEnd():
                self._end = event
            case UsageUpdate():
                pass  # usage is said at the end
        return b""


class GeminiAnswerWriter(WholeWriter):
    """Writes events as one whole Gemini answer, given at the end. See ``WholeWriter``."""

    __slots__ = ("_parts", "_writer")

    def __init__(self, listener: Listener, answer: Answer, limits: PipeLimits, *, is_translated: bool) -> None:
        super().__init__(listener, answer, limits, is_translated=is_translated)
        self._writer = PartWriter(shows_refusals=is_translated)
        self._parts: list[dict[str, Any]] = []

    def _keep(self, event: BlockStart | BlockDelta | BlockEnd) -> None:
        self._parts.extend(self._writer.send(event))

    def _document(self, end: MessageEnd | None, outcome: Outcome, style: EndingStyle) -> dict[str, Any]:
        answer, is_translated = self._answer, self._is_translated
        names = _names(self._listener, answer.response_id, answer.model, is_translated=is_translated)
        parts = merged([*self._parts, *self._writer.end()])
        if end is None:
            return cap_fields(outcome, style) | _finished(parts, names, outcome, cap_reason(style))
        reason = reason_word(end, self._writer, is_translated=is_translated)
        return _finished(parts, names, outcome, reason)


def reason_word(end: MessageEnd, parts: PartWriter, *, is_translated: bool) -> str:
    """Return the finish reason for a client: the provider's own in the same format, else the wire's word for it.

    A call that could not be written is said: an answer that lacks it has not just stopped.
    """
    if not is_translated:
        return end.raw_reason
    if parts.is_broken and end.reason in {FinishReason.STOP, FinishReason.TOOL_CALLS}:
        return _BROKEN_CALL
    return _WORDS[end.reason]


def _names(listener: Listener, response_id: str | None, model: str | None, *, is_translated: bool) -> dict[str, Any]:
    return names_of(response_id or listener.inference_id, listener.model if is_translated else model or listener.model)


def _finished(parts: list[dict[str, Any]], names: dict[str, Any], outcome: Outcome, reason: str) -> dict[str, Any]:
    """Return the document of an end: the prompt's feedback where it was blocked, else a candidate with its reason."""
    usage = usage_fields(outcome.usage)
    if reason.startswith(BLOCKED):
        return {"promptFeedback": {"blockReason": reason.removeprefix(BLOCKED)}, "usageMetadata": usage, **names}
    return answer_document(parts, names, finishReason=reason, usageMetadata=usage)
