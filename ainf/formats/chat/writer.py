"""From events to the chat wire: a stream, or a whole answer."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from ainf.formats.base import Answer, EndingStyle, Listener, Piece, Reading
from ainf.formats.chat.frames import (
    DONE_FRAME,
    cap_fields,
    cap_reason,
    choice_of,
    chunk_frame,
    failure_group,
    head_of,
    is_told,
    usage_frame,
)
from ainf.formats.chat.relay import visible_in
from ainf.formats.chat.usage import usage_fields
from ainf.formats.relay import split_stream
from ainf.inference.errors import UpstreamError
from ainf.inference.events import (
    BlockDelta,
    BlockEnd,
    BlockKind,
    BlockStart,
    FinishReason,
    MessageEnd,
    MessageStart,
    StreamEvent,
    UsageUpdate,
)
from ainf.inference.outcome import Ending, Outcome

NEUTRAL_REASON: Final = "other"
"""What a stop reason that no chat client knows is translated to: never "stop"."""

_WORDS: Final = {reason: reason.value for reason in FinishReason} | {FinishReason.OTHER: NEUTRAL_REASON}
_TEXT_FIELDS: Final = {
    BlockKind.TEXT: "content",
    BlockKind.REASONING: "reasoning_content",
    BlockKind.REFUSAL: "refusal",
}


class ChatStreamWriter:
    """Writes events as a chat stream.

    A tool call without an id is the legacy ``function_call``; it has no other form on this wire.

    Args:
        listener: whom it is for.
        answer: what is known of the provider's answer, kept by the reader.
        is_translated: whether the provider's format is another one; where it is the same, the provider's name of the
            model and its raw finish reason stand.
    """

    __slots__ = ("_answer", "_calls", "_end", "_head", "_is_translated", "_kinds", "_listener")

    is_whole = False

    def __init__(self, listener: Listener, answer: Answer, *, is_translated: bool) -> None:
        self._listener = listener
        self._answer = answer
        self._is_translated = is_translated
        self._head: dict[str, Any] = {}
        self._kinds: dict[int, BlockKind] = {}
        self._calls: dict[int, int | None] = {}  # block -> its number among the tool calls; None for the legacy form
        self._end: MessageEnd | None = None

    def send(self, events: Iterable[StreamEvent]) -> bytes:
        """Return the frames of these events. See ``EventWriter.send``."""
        return b"".join([self._frame_of(event) for event in events])

    def split(self, reading: Reading, output_bytes: int) -> tuple[Piece, Reading]:
        """Cut a reading between frames. See ``Pipe.split``."""
        return split_stream(reading, output_bytes, visible_in)

    def rewind(self, payloads: list[bytes]) -> None:
        """Do nothing: no chunk needs another one to be ended. See ``EventWriter.rewind``."""

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the terminal group. See ``Pipe.close``."""
        if not is_told(outcome.ending):
            return b""
        head = self._head or head_of(self._answer, ending)
        if outcome.ending is Ending.COMPLETED:
            assert self._end is not None, "completed without evidence"
            finish = chunk_frame(head, choice_of({}, reason_word(self._end, is_translated=self._is_translated)))
        elif outcome.ending is Ending.SPEND_CAP_EXCEEDED:
            finish = chunk_frame(head, choice_of({}, cap_reason(ending)), **cap_fields(outcome, ending))
        else:
            return failure_group(head, outcome, ending)
        return finish + (usage_frame(head, outcome.usage) if self._listener.include_usage else b"") + DONE_FRAME

    def _frame_of(self, event: StreamEvent) -> bytes:
        match event:
            case MessageStart():
                self._head = {
                    "id": event.response_id or f"chatcmpl-{self._listener.inference_id}",
                    "created": self._answer.created or self._listener.created,
                    "model": self._named(event.model),
                }
                return self._delta({"role": "assistant", "content": ""})
            case BlockStart():
                return self._start(event)
            case BlockDelta():
                return self._delta(self._piece(event))
            case MessageEnd():
                self._end = event
            case BlockEnd() | UsageUpdate():
                pass  # neither has a frame of its own: usage is said at the end
        return b""

    def _named(self, model: str | None) -> str:
        return self._listener.model if self._is_translated or model is None else model

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return chunk_frame(self._head, choice_of(delta))

    def _start(self, event: BlockStart) -> bytes:
        self._kinds[event.index] = event.kind
        if event.kind is not BlockKind.TOOL_CALL:
            return b""
        function = {"name": event.name or "", "arguments": ""}
        if event.call_id is None:
            self._calls[event.index] = None
            return self._delta({"function_call": function})
        number = self._calls[event.index] = len(self._calls)
        call = {"index": number, "id": event.call_id, "type": "function", "function": function}
        return self._delta({"tool_calls": [call]})

    def _piece(self, event: BlockDelta) -> dict[str, Any]:
        kind = self._kinds[event.index]
        if kind is not BlockKind.TOOL_CALL:
            return {_TEXT_FIELDS[kind]: event.text}
        number = self._calls[event.index]
        if number is None:
            return {"function_call": {"arguments": event.text}}
        return {"tool_calls": [{"index": number, "function": {"arguments": event.text}}]}


class ChatAnswerWriter:
    """Writes events as one whole chat answer, given at the end.

    Args:
        answer: what is known of the provider's answer, kept by the reader.
        limit: the most bytes of text that are kept.
        listener: as for ``ChatStreamWriter``.
        is_translated: as for ``ChatStreamWriter``.
    """

    __slots__ = ("_answer", "_blocks", "_end", "_is_translated", "_listener", "_room")

    is_whole = True

    def __init__(self, listener: Listener, answer: Answer, limit: int, *, is_translated: bool) -> None:
        self._listener = listener
        self._answer = answer
        self._room = limit
        self._is_translated = is_translated
        self._blocks: dict[int, tuple[BlockStart, list[str]]] = {}
        self._end: MessageEnd | None = None

    def send(self, events: Iterable[StreamEvent]) -> bytes:
        """Keep what these events hold. See ``EventWriter.send``."""
        for event in events:
            match event:
                case BlockStart():
                    self._blocks[event.index] = (event, [])
                case BlockDelta():
                    self._room -= len(event.text)
                    self._blocks[event.index][1].append(event.text)
                case MessageEnd():
                    self._end = event
                case MessageStart() | BlockEnd() | UsageUpdate():
                    pass  # the answer's head and usage are said at the end
        if self._room < 0:
            raise UpstreamError("upstream_protocol", "The provider's answer is over the gateway's limit.")
        return b""

    def split(self, reading: Reading, output_bytes: int) -> tuple[Piece, Reading]:
        """Return nothing and the reading: it holds nothing that could be cut."""
        return Piece(b"", 0), reading

    def rewind(self, payloads: list[bytes]) -> None:
        """Do nothing: nothing is handed over before the end. See ``EventWriter.rewind``."""

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the whole answer; only called for ``completed`` and ``spend_cap_exceeded``."""
        extra: dict[str, Any] = {}
        if outcome.ending is Ending.COMPLETED:
            assert self._end is not None, "completed without evidence"
            reason = reason_word(self._end, is_translated=self._is_translated)
        else:
            assert outcome.ending is Ending.SPEND_CAP_EXCEEDED, outcome.ending
            reason, extra = cap_reason(ending), cap_fields(outcome, ending)
        head = head_of(self._answer, ending)
        choice = {"index": 0, "message": self._message(), "logprobs": None, "finish_reason": reason}
        return msgspec.json.encode({
            "id": head["id"],
            "object": "chat.completion",
            "created": head["created"],
            "model": self._listener.model if self._is_translated else head["model"],
            "choices": [choice],
            "usage": usage_fields(outcome.usage),
            **extra,
        })

    def _message(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
        calls: list[dict[str, Any]] = []
        for start, texts in self._blocks.values():
            text = "".join(texts)
            if start.kind is not BlockKind.TOOL_CALL:
                field = _TEXT_FIELDS[start.kind]
                message[field] = (message.get(field) or "") + text
            elif start.call_id is None:
                message["function_call"] = {"name": start.name or "", "arguments": text}
            else:
                function = {"name": start.name or "", "arguments": text}
                calls.append({"id": start.call_id, "type": "function", "function": function})
        return message | ({"tool_calls": calls} if calls else {})


def reason_word(end: MessageEnd, *, is_translated: bool) -> str:
    """Return the finish reason for a client: the provider's own in the same format, else our word for it."""
    return _WORDS[end.reason] if is_translated else end.raw_reason
