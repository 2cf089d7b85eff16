"""From events to the chat wire: a stream, or a whole answer."""

from collections.abc import Iterable
from typing import Any, Final

from ainf.formats.base import Answer, EndingStyle, Listener, Piece, Reading
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
from ainf.formats.chat.reasoning import entry_of
from ainf.formats.chat.relay import visible_in
from ainf.formats.chat.usage import usage_fields
from ainf.formats.endings import is_told
from ainf.formats.relay import split_stream
from ainf.formats.whole_writer import BlocksWriter, KeptBlock
from ainf.inference.conversation import Opaque
from ainf.inference.events import (
    TOOL_KINDS,
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
_CALL_FIELDS: Final = {
    BlockKind.TOOL_CALL: ("function", "arguments"),
    BlockKind.CUSTOM_TOOL_CALL: ("custom", "input"),
}


class ChatStreamWriter:
    """Writes events as a chat stream.

    A function's call without an id is the legacy ``function_call``; it has no other form on this wire.

    Args:
        listener: whom it is for.
        answer: what is known of the provider's answer, kept by the reader.
        is_translated: whether the provider's format is another one; where it is the same, the provider's name of the
            model and its raw finish reason stand.
    """

    __slots__ = ("_answer", "_calls", "_details", "_end", "_head", "_is_translated", "_kinds", "_listener")

    is_whole = False

    def __init__(self, listener: Listener, answer: Answer, *, is_translated: bool) -> None:
        self._listener = listener
        self._answer = answer
        self._is_translated = is_translated
        self._head: dict[str, Any] = {}
        self._kinds: dict[int, BlockKind] = {}
        self._calls: dict[int, int | None] = {}  # block -> its number among the tool calls; None for the legacy form
        self._details = 0
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
            case BlockEnd(opaque=Opaque() as opaque):
                self._details += 1
                return self._delta({"reasoning_details": [entry_of(opaque, "", self._details - 1)]})
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
        if event.kind not in TOOL_KINDS:
            return b""
        if _is_legacy(event):
            self._calls[event.index] = None
            return self._delta({"function_call": {"name": event.name or "", "arguments": ""}})
        number = self._calls[event.index] = len(self._calls)
        return self._delta({"tool_calls": [{"index": number} | _call(event, "")]})

    def _piece(self, event: BlockDelta) -> dict[str, Any]:
        kind = self._kinds[event.index]
        if kind not in TOOL_KINDS:
            return {_TEXT_FIELDS[kind]: event.text}
        number = self._calls[event.index]
        if number is None:
            return {"function_call": {"arguments": event.text}}
        body, field = _CALL_FIELDS[kind]
        return {"tool_calls": [{"index": number, body: {field: event.text}}]}


class ChatAnswerWriter(BlocksWriter):
    """Writes events as one whole chat answer, given at the end. See ``WholeWriter``."""

    __slots__ = ()

    def _document(self, end: MessageEnd | None, outcome: Outcome, style: EndingStyle) -> dict[str, Any]:
        head = head_of(self._answer, style)
        reason = cap_reason(style) if end is None else reason_word(end, is_translated=self._is_translated)
        choice = {"index": 0, "message": _message(self._blocks), "logprobs": None, "finish_reason": reason}
        return {
            "id": head["id"],
            "object": "chat.completion",
            "created": head["created"],
            "model": self._listener.model if self._is_translated else head["model"],
            "choices": [choice],
            "usage": usage_fields(outcome.usage),
            **(cap_fields(outcome, style) if end is None else {}),
        }


def _message(blocks: Iterable[KeptBlock]) -> dict[str, Any]:
    """Return the message that holds these blocks."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    calls: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    for block in blocks:
        start, text = block.start, block.text
        if start.kind not in TOOL_KINDS:
            field = _TEXT_FIELDS[start.kind]
            if text:  # a block of opaque data alone has none
                message[field] = (message.get(field) or "") + text
        elif _is_legacy(start):
            message["function_call"] = {"name": start.name or "", "arguments": text}
        else:
            calls.append(_call(start, text))
        if block.opaque is not None:
            details.append(entry_of(block.opaque, text, len(details)))
    lists = {"tool_calls": calls, "reasoning_details": details}
    message |= {field: values for field, values in lists.items() if values}
    if not message.keys() & {"tool_calls", "function_call"} and message["refusal"] is None:
        message["content"] = message["content"] or ""  # null stands for content only where something else is said
    return message


def _is_legacy(start: BlockStart) -> bool:
    return start.kind is BlockKind.TOOL_CALL and start.call_id is None


def _call(start: BlockStart, text: str) -> dict[str, Any]:
    """Return a tool call with its arguments or input so far."""
    body, field = _CALL_FIELDS[start.kind]
    call_id = start.call_id or f"call_{start.index}"
    return {"id": call_id, "type": body, body: {"name": start.name or "", field: text}}


def reason_word(end: MessageEnd, *, is_translated: bool) -> str:
    """Return the finish reason for a client: the provider's own in the same format, else our word for it."""
    return _WORDS[end.reason] if is_translated else end.raw_reason
