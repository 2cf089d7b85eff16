"""From events to the Messages wire: a stream, or a whole answer."""

from collections.abc import Iterable
from typing import Any, Final

import attrs
import msgspec

from ainf.formats.base import Answer, EndingStyle, Listener, Piece, PipeLimits, Reading
from ainf.formats.endings import is_told
from ainf.formats.messages.blocks import SentBlocks
from ainf.formats.messages.collected import loud_fields
from ainf.formats.messages.frames import (
    STOP_FRAME,
    block_delta_frame,
    block_start_frame,
    block_stop_frame,
    cap_frame,
    cap_reason,
    delta_frame,
    error_frame,
    start_frame,
)
from ainf.formats.messages.reader import REDACTED, SIGNATURE
from ainf.formats.messages.usage import usage_fields
from ainf.formats.messages.wire import visible_in
from ainf.formats.relay import split_stream
from ainf.formats.whole_writer import BlocksWriter, KeptBlock
from ainf.inference.conversation import Opaque
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
from ainf.inference.usage import Usage

NEUTRAL_REASON: Final = "other"
"""What a stop reason that no Messages client knows is translated to: never "end_turn"."""

_WORDS: Final = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
    FinishReason.OTHER: NEUTRAL_REASON,
}


class _Names:
    """What names an answer to its client."""

    __slots__ = ("_listener", "is_translated")

    def __init__(self, listener: Listener, *, is_translated: bool) -> None:
        self._listener = listener
        self.is_translated = is_translated

    def message_id(self, response_id: str | None) -> str:
        """Return the message's id: the provider's own where it is of this format."""
        return f"msg_{self._listener.inference_id}" if self.is_translated or response_id is None else response_id

    def model(self, model: str | None) -> str:
        """Return the model's name."""
        return self._listener.model if self.is_translated or model is None else model

    def call_id(self, start: BlockStart) -> str:
        """Return a tool call's id; the legacy form of another format has none."""
        return start.call_id or f"toolu_{self._listener.inference_id}_{start.index}"

    def end(self, end: MessageEnd, *, has_refused: bool) -> tuple[str, str | None]:
        """Return the stop reason and stop sequence: the provider's own in the same format, else our words for them.

        Other formats end a refusal as any answer; here it has a reason of its own.
        """
        if self.is_translated:
            if has_refused and end.reason is FinishReason.STOP:
                return "refusal", None
            is_sequence = end.reason is FinishReason.STOP and end.stop_sequence is not None
            return ("stop_sequence", end.stop_sequence) if is_sequence else (_WORDS[end.reason], None)
        return end.raw_reason, end.stop_sequence


@attrs.define
class _Sending:
    """A block that is being sent; ``number`` is its place on the wire, once it has one."""

    start: BlockStart
    number: int | None = None


# Strategy: a block gets its place on the wire when its first frame is written, so that places are without gaps, as
# clients expect. Reasoning waits for its first text or its end: only then is it known whether it is a thinking block or
# a redacted one, which has nothing but the data that its provider wants back.
class MessagesStreamWriter:
    """Writes events as a Messages stream.

    Args:
        listener: whom it is for.
        answer: what is known of the provider's answer, kept by the reader.
        is_translated: whether the provider's format is another one; where it is the same, the provider's names and its
            raw stop reason stand.
    """

    __slots__ = ("_answer", "_blocks", "_end", "_has_refused", "_names", "_next", "_sending")

    is_whole = False

    def __init__(self, listener: Listener, answer: Answer, *, is_translated: bool) -> None:
        self._answer = answer
        self._names = _Names(listener, is_translated=is_translated)
        self._blocks = SentBlocks()
        self._sending: dict[int, _Sending] = {}
        self._next = 0
        self._has_refused = False
        self._end: MessageEnd | None = None

    def send(self, events: Iterable[StreamEvent]) -> bytes:
        """Return the frames of these events. See ``EventWriter.send``.

        Raises:
            UpstreamError: ``upstream_protocol``: a call of a custom tool: this wire has none, and none was asked for.
                Then none of the events is taken: the client is not given their frames.
        """
        known = list(events)
        if any(isinstance(event, BlockStart) and event.kind is BlockKind.CUSTOM_TOOL_CALL for event in known):
            raise _custom_tool()
        return b"".join([self._frames_of(event) for event in known])

    def split(self, reading: Reading, output_bytes: int) -> tuple[Piece, Reading]:
        """Cut a reading between frames. See ``Pipe.split``."""
        return split_stream(reading, output_bytes, visible_in)

    def rewind(self, payloads: list[bytes]) -> None:
        """Take back frames that were not handed over. See ``EventWriter.rewind``."""
        self._blocks.rewind(payloads)

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the terminal group. See ``Pipe.close``."""
        if not is_told(outcome.ending):
            return b""
        if outcome.ending is Ending.COMPLETED:
            assert self._end is not None, "completed without evidence"
            reason, sequence = self._names.end(self._end, has_refused=self._has_refused)
            finish = delta_frame(reason, sequence, outcome.usage) + STOP_FRAME
        elif outcome.ending is Ending.SPEND_CAP_EXCEEDED:
            finish = delta_frame(cap_reason(ending), None, outcome.usage) + cap_frame(outcome, ending)
        else:
            return self._blocks.end() + error_frame(outcome, ending)
        begin = b"" if self._blocks.is_started else self._start_message()
        return begin + self._blocks.end() + finish

    def _frames_of(self, event: StreamEvent) -> bytes:
        match event:
            case MessageStart():
                return self._start_message()
            case BlockStart():
                self._has_refused |= event.kind is BlockKind.REFUSAL
                self._sending[event.index] = _Sending(event)
                return b"" if event.kind is BlockKind.REASONING else self._start_block(event, self._beginning(event))
            case BlockDelta():
                return self._piece(event)
            case BlockEnd():
                return self._end_block(event)
            case MessageEnd():
                self._end = event
            case UsageUpdate():
                pass  # it is said at the end
        return b""

    def _start_message(self) -> bytes:
        self._blocks.is_started = True
        answer, names = self._answer, self._names
        return start_frame(names.message_id(answer.response_id), names.model(answer.model), answer.usage or Usage())

    def _beginning(self, start: BlockStart) -> dict[str, Any]:
        match start.kind:
            case BlockKind.TOOL_CALL:
                return {"type": "tool_use", "id": self._names.call_id(start), "name": start.name or "", "input": {}}
            case BlockKind.CUSTOM_TOOL_CALL:
                raise _custom_tool()
            case BlockKind.REASONING:
                return {"type": "thinking", "thinking": "", "signature": ""}
            case BlockKind.TEXT | BlockKind.REFUSAL:
                return {"type": "text", "text": ""}

    def _start_block(self, start: BlockStart, block: dict[str, Any]) -> bytes:
        number = self._sending[start.index].number = self._next
        self._next += 1
        self._blocks.start(number)
        return block_start_frame(number, block)

    def _piece(self, event: BlockDelta) -> bytes:
        sending = self._sending[event.index]
        if not event.text:
            return b""
        begin = b"" if sending.number is not None else self._start_block(sending.start, self._beginning(sending.start))
        assert sending.number is not None, "a block that began has a place"
        return begin + block_delta_frame(sending.number, _delta(sending.start.kind, event.text))

    def _end_block(self, event: BlockEnd) -> bytes:
        sending = self._sending[event.index]
        frames, opaque = b"", event.opaque
        if sending.number is None:
            if opaque is None or opaque.source == SIGNATURE:
                frames = self._start_block(sending.start, self._beginning(sending.start))
            else:
                frames, opaque = self._start_block(sending.start, redacted(opaque)), None
        del self._sending[event.index]
        number = sending.number
        assert number is not None, "a block that began has a place"
        if opaque is not None:
            frames += block_delta_frame(number, {"type": "signature_delta", "signature": signature(opaque)})
        self._blocks.stop(number)
        return frames + block_stop_frame(number)


class MessagesAnswerWriter(BlocksWriter):
    """Writes events as one whole Messages answer, given at the end. See ``WholeWriter``.

    ``send`` refuses also a call of a custom tool, and arguments that this wire cannot say: they are no JSON object (and
    not because the answer was cut).
    """

    __slots__ = ("_names",)

    def __init__(self, listener: Listener, answer: Answer, limits: PipeLimits, *, is_translated: bool) -> None:
        super().__init__(listener, answer, limits, is_translated=is_translated)
        self._names = _Names(listener, is_translated=is_translated)

    def _keep(self, event: BlockStart | BlockDelta | BlockEnd) -> None:
        if isinstance(event, BlockStart) and event.kind is BlockKind.CUSTOM_TOOL_CALL:
            raise _custom_tool()
        super()._keep(event)

    def _keep_end(self, end: MessageEnd) -> None:
        super()._keep_end(end)
        if end.reason is FinishReason.LENGTH:
            return  # the arguments of an answer that was cut in the middle are left out
        for block in self._blocks:
            if block.start.kind is BlockKind.TOOL_CALL and _input(block.text) is None:
                raise UpstreamError(
                    "upstream_protocol", "The model called a tool with arguments that are no JSON object."
                )

    def _document(self, end: MessageEnd | None, outcome: Outcome, style: EndingStyle) -> dict[str, Any]:
        has_refused = any(block.start.kind is BlockKind.REFUSAL for block in self._blocks)
        reason, sequence = (cap_reason(style), None) if end is None else self._names.end(end, has_refused=has_refused)
        return {
            "id": self._names.message_id(self._answer.response_id),
            "type": "message",
            "role": "assistant",
            "model": self._names.model(self._answer.model),
            "content": [self._block(block) for block in self._blocks],
            "stop_reason": reason,
            "stop_sequence": sequence,
            "usage": usage_fields(outcome.usage),
            **(loud_fields(outcome, style) if end is None else {}),
        }

    def _block(self, block: KeptBlock) -> dict[str, Any]:
        start, text, opaque = block.start, block.text, block.opaque
        if start.kind is BlockKind.TOOL_CALL:
            given = _input(text)
            call = {"type": "tool_use", "id": self._names.call_id(start), "name": start.name or ""}
            return call | {"input": {} if given is None else given}
        if start.kind is not BlockKind.REASONING:
            return {"type": "text", "text": text}
        if opaque is not None and not text and opaque.source != SIGNATURE:
            return redacted(opaque)
        return {"type": "thinking", "thinking": text, "signature": "" if opaque is None else signature(opaque)}


def signature(opaque: Opaque) -> str:
    """Return what stands as the signature of a thinking block."""
    return opaque.data if opaque.source == SIGNATURE else opaque.sealed()


def redacted(opaque: Opaque) -> dict[str, Any]:
    """Return the block for opaque data without a text."""
    return {"type": "redacted_thinking", "data": opaque.data if opaque.source == REDACTED else opaque.sealed()}


def _delta(kind: BlockKind, text: str) -> dict[str, str]:
    if kind is BlockKind.REASONING:
        return {"type": "thinking_delta", "thinking": text}
    if kind is BlockKind.TOOL_CALL:
        return {"type": "input_json_delta", "partial_json": text}
    return {"type": "text_delta", "text": text}


def _input(arguments: str) -> msgspec.Raw | dict[str, Any] | None:
    """Return a tool's input as it is written; None where the arguments are no JSON object."""
    if not arguments.strip():
        return {}
    try:
        msgspec.json.decode(arguments, type=dict[str, Any])
    except (ValueError, RecursionError):
        return None
    return msgspec.Raw(arguments.encode())


def _custom_tool() -> UpstreamError:
    return UpstreamError("upstream_protocol", "The model called a custom tool, which no request of this format offers.")
