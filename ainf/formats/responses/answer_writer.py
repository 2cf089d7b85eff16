"""From events to the Responses wire: a whole answer."""

from collections.abc import Iterable
from typing import Any

import attrs
import msgspec

from ainf.formats.base import Answer, EndingStyle, Listener, Piece, Reading
from ainf.formats.responses.frames import broken_end, first_object, reached_end
from ainf.formats.responses.items import Namer, final_fields, item_of
from ainf.formats.responses.usage import usage_fields
from ainf.formats.responses.writer import PART_KINDS
from ainf.inference.conversation import Opaque
from ainf.inference.errors import UpstreamError
from ainf.inference.events import (
    BlockDelta,
    BlockEnd,
    BlockStart,
    MessageEnd,
    MessageStart,
    StreamEvent,
    UsageUpdate,
)
from ainf.inference.outcome import Ending, Outcome


@attrs.define
class _Block:
    start: BlockStart
    texts: list[str] = attrs.field(factory=list)
    is_done: bool = False
    opaque: Opaque | None = None


class ResponsesAnswerWriter:
    """Writes events as one whole answer of the Responses format, given at the end.

    Args:
        listener: as for ``ResponsesStreamWriter``.
        answer: the same.
        limit: the most bytes of text that are kept.
        is_translated: the same.
    """

    __slots__ = ("_answer", "_blocks", "_end", "_is_translated", "_listener", "_room")

    is_whole = True

    def __init__(self, listener: Listener, answer: Answer, limit: int, *, is_translated: bool) -> None:
        self._listener = listener
        self._answer = answer
        self._room = limit
        self._is_translated = is_translated
        self._blocks: dict[int, _Block] = {}
        self._end: MessageEnd | None = None

    def send(self, events: Iterable[StreamEvent]) -> bytes:
        """Keep what these events hold. See ``EventWriter.send``."""
        for event in events:
            match event:
                case BlockStart():
                    self._blocks[event.index] = _Block(event)
                case BlockDelta():
                    self._room -= len(event.text)
                    self._blocks[event.index].texts.append(event.text)
                case BlockEnd():
                    block = self._blocks[event.index]
                    block.is_done, block.opaque = True, event.opaque
                    self._room -= 0 if event.opaque is None else len(event.opaque.data)
                case MessageEnd():
                    self._end = event
                case MessageStart() | UsageUpdate():
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
        if outcome.ending is Ending.COMPLETED:
            assert self._end is not None, "completed without evidence"
            end = reached_end(self._end, is_translated=self._is_translated)
        else:
            assert outcome.ending is Ending.SPEND_CAP_EXCEEDED, outcome.ending
            end = broken_end(outcome, ending)
        begun = first_object(self._listener, self._answer, is_translated=self._is_translated)
        told = {"output": self._output(), "usage": usage_fields(outcome.usage)}
        return msgspec.json.encode(begun | end.fields | told)

    def _output(self) -> list[dict[str, Any]]:
        namer = Namer(self._listener.inference_id)
        return [_item(block, index, namer) for index, block in enumerate(self._blocks.values())]


def _item(block: _Block, index: int, namer: Namer) -> dict[str, Any]:
    kind, text = PART_KINDS[block.start.kind], "".join(block.texts)
    item_id = namer.name(block.start.kind, index, block.opaque)
    item = item_of(block.start, item_id, "completed" if block.is_done else "incomplete")
    if kind.type is None:
        told: dict[str, Any] = {kind.field: text}
    else:
        told = {kind.field: [kind.part_of(text)] if text or kind.field == "content" else []}
    return item | told | final_fields(block.opaque, item_id)
