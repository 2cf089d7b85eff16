"""From events to the Responses wire: a whole answer."""

from typing import Any

from ainf.formats.base import EndingStyle
from ainf.formats.responses.frames import broken_end, first_object, reached_end
from ainf.formats.responses.items import Namer, final_fields, item_of
from ainf.formats.responses.usage import usage_fields
from ainf.formats.responses.writer import PART_KINDS
from ainf.formats.whole_writer import BlocksWriter, KeptBlock
from ainf.inference.events import MessageEnd
from ainf.inference.outcome import Outcome


class ResponsesAnswerWriter(BlocksWriter):
    """Writes events as one whole answer of the Responses format, given at the end. See ``WholeWriter``."""

    __slots__ = ()

    def _document(self, end: MessageEnd | None, outcome: Outcome, style: EndingStyle) -> dict[str, Any]:
        is_translated, namer = self._is_translated, Namer(self._listener.inference_id)
        told = broken_end(outcome, style) if end is None else reached_end(end, is_translated=is_translated)
        begun = first_object(self._listener, self._answer, is_translated=is_translated)
        output = [_item(block, index, namer) for index, block in enumerate(self._blocks)]
        return begun | told.fields | {"output": output, "usage": usage_fields(outcome.usage)}


def _item(block: KeptBlock, index: int, namer: Namer) -> dict[str, Any]:
    kind, text = PART_KINDS[block.start.kind], block.text
    item_id = namer.name(block.start.kind, index, block.opaque)
    item = item_of(block.start, item_id, "completed" if block.is_done else "incomplete")
    if kind.type is None:
        told: dict[str, Any] = {kind.field: text}
    else:
        told = {kind.field: [kind.part_of(text)] if text or kind.field == "content" else []}
    return item | told | final_fields(block.opaque, item_id)
