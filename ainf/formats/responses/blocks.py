"""From the items of a Responses answer to blocks of events."""

from typing import Any, Final, TypeAlias

from ainf.formats.loose import clean
from ainf.formats.responses.opaque import read_opaque
from ainf.formats.responses.wire import (
    ARGUMENTS,
    DELTAS,
    INPUT,
    ITEM_ADDED,
    ITEM_DONE,
    PARTS_ADDED,
    PARTS_DONE,
    REFUSAL,
    SUMMARY,
    TEXT,
    TEXT_DONES,
    THOUGHT,
    EventView,
    PartKind,
    delta_text,
    done_text,
    read_part,
    texts_of,
    word_of,
)
from ainf.inference.conversation import Opaque
from ainf.inference.errors import UpstreamError
from ainf.inference.events import TOOL_KINDS, BlockDelta, BlockEnd, BlockKind, BlockStart, StreamEvent

_MOST_BLOCKS: Final = 1024
_BETWEEN_PARTS: Final = "\n\n"
"""What parts the parts of one item's reasoning: they are paragraphs of one block."""

_KINDS: Final = {
    TEXT: BlockKind.TEXT,
    REFUSAL: BlockKind.REFUSAL,
    THOUGHT: BlockKind.REASONING,
    SUMMARY: BlockKind.REASONING,
    ARGUMENTS: BlockKind.TOOL_CALL,
    INPUT: BlockKind.CUSTOM_TOOL_CALL,
}
_CALLS: Final = {"function_call": BlockKind.TOOL_CALL, "custom_tool_call": BlockKind.CUSTOM_TOOL_CALL}


_Key: TypeAlias = tuple[int, int | None, BlockKind]
"""The output index, the number of the part where it has a block of its own, and the kind."""


class _Block:
    __slots__ = ("index", "is_open", "kind", "said")

    def __init__(self, index: int, kind: BlockKind) -> None:
        self.index = index
        self.kind = kind
        self.is_open = True
        self.said: dict[tuple[str, int], int] = {}
        """Characters of each part so far."""


# Strategy: a message has a block for each of its parts; reasoning is one block an item, since what its provider wants
# back belongs to the item; a call is one block, begun once its name is known. A text is said once: by its deltas, and
# by what a ``done`` event, the item when it is done, or the whole output at the end hold beyond them. A delta of a call
# that was not announced waits for those.
class BlockTracker:
    """Makes blocks of items."""

    __slots__ = ("_blocks", "_next", "_of_item", "_types")

    def __init__(self) -> None:
        self._next = 0
        self._blocks: dict[_Key, _Block] = {}
        self._of_item: dict[int, list[_Block]] = {}  # those that the end of their item still has to end
        self._types: dict[int, str | None] = {}

    @property
    def has_calls(self) -> bool:
        """Whether any block is a call."""
        return any(block.kind in TOOL_KINDS for block in self._blocks.values())

    def take(self, view: EventView) -> list[StreamEvent]:
        """Return what one event of a stream adds.

        Raises:
            UpstreamError: ``upstream_protocol``: too many blocks.
        """
        events: list[StreamEvent] = []
        at, kind = view.output_index, DELTAS.get(view.type)
        text = None if kind is None else delta_text(view)
        if kind is not None and text is not None:
            self._add(at, kind, view.part_index, text, events)
        elif view.type in TEXT_DONES:
            kind = TEXT_DONES[view.type]
            self._complete(at, kind, view.part_index, done_text(view, kind) or "", events)
        elif view.type in PARTS_ADDED or view.type in PARTS_DONE:
            self._take_part(view, events)
        elif view.type in {ITEM_ADDED, ITEM_DONE} and isinstance(view.item, dict):
            self._take_item(at, view.item, events, is_done=view.type == ITEM_DONE)
        return events

    def finish(self, output: list[dict[str, Any]]) -> list[StreamEvent]:
        """Return what the whole output adds at the end, and the ends of what is open.

        Items that were seen must be the same ones in the output: some servers leave out a few, which moves the others.
        """
        events: list[StreamEvent] = []
        if all(0 <= at < len(output) and word_of(output[at], "type") == type_ for at, type_ in self._types.items()):
            for at, item in enumerate(output):
                self._take_item(at, item, events, is_done=True)
        for block in self._blocks.values():
            _end(block, events)
        return events

    def _take_item(self, at: int, item: dict[str, Any], events: list[StreamEvent], *, is_done: bool) -> None:
        type_ = word_of(item, "type")
        if len(self._types) < _MOST_BLOCKS:
            self._types.setdefault(at, type_)
        call = _CALLS.get(type_ or "")
        if call is not None and (at, None, call) not in self._blocks and (is_done or word_of(item, "name")):
            self._start((at, None, call), events, item)
        if type_ in {"message", "reasoning"} or call is not None:
            for kind, number, text in texts_of(item):
                if kind.list_stem is not None and type_ == "message":
                    self._block(at, kind, number, events)  # a part without a word is one all the same
                self._complete(at, kind, number, text, events)
        if not is_done:
            return
        opaque = read_opaque(word_of(item, "id"), word_of(item, "encrypted_content")) if type_ == "reasoning" else None
        if opaque is not None and (at, None, BlockKind.REASONING) not in self._blocks:
            self._start((at, None, BlockKind.REASONING), events)
        for block in self._of_item.pop(at, ()):
            _end(block, events, opaque if block.kind is BlockKind.REASONING else None)

    def _take_part(self, view: EventView, events: list[StreamEvent]) -> None:
        found = read_part(view.part)
        if found is None:
            return
        kind, text = found
        block = self._block(view.output_index, kind, view.part_index, events)
        self._complete(view.output_index, kind, view.part_index, text, events)
        if block is not None and block.kind is not BlockKind.REASONING and view.type in PARTS_DONE:
            _end(block, events)

    def _complete(self, at: int, kind: PartKind, number: int, text: str, events: list[StreamEvent]) -> None:
        """Say what a whole text holds beyond what was said of it."""
        block = self._blocks.get(_key(at, kind, number))
        said = 0 if block is None else block.said.get((kind.field, number), 0)
        if len(text) > said:
            self._add(at, kind, number, text[said:], events)

    def _add(self, at: int, kind: PartKind, number: int, text: str, events: list[StreamEvent]) -> None:
        block = self._block(at, kind, number, events)
        if block is None or not block.is_open or not text:
            return
        place = (kind.field, number)
        is_next = bool(block.said) and place not in block.said
        if is_next and len(block.said) >= _MOST_BLOCKS:
            raise _too_many()
        block.said[place] = block.said.get(place, 0) + len(text)
        events.append(BlockDelta(block.index, clean(_BETWEEN_PARTS + text if is_next else text)))

    def _block(self, at: int, kind: PartKind, number: int, events: list[StreamEvent]) -> _Block | None:
        """Return the block of a part, begun if need be; None where it is that of a call which is still unknown."""
        key = _key(at, kind, number)
        block = self._blocks.get(key)
        return self._start(key, events) if block is None and key[2] not in TOOL_KINDS else block

    def _start(self, key: _Key, events: list[StreamEvent], call: dict[str, Any] | None = None) -> _Block:
        if len(self._blocks) >= _MOST_BLOCKS:
            raise _too_many()
        block = self._blocks[key] = _Block(self._next, key[2])
        self._of_item.setdefault(key[0], []).append(block)
        self._next += 1
        if call is None:
            events.append(BlockStart(block.index, block.kind))
        else:
            call_id = word_of(call, "call_id") or word_of(call, "id") or f"call_{block.index}"
            events.append(BlockStart(block.index, block.kind, call_id, word_of(call, "name") or ""))
        return block


def _key(at: int, kind: PartKind, number: int) -> _Key:
    """Return which block of an item a part belongs to: its own in a message, else the only one of its kind."""
    return (at, number if kind is TEXT or kind is REFUSAL else None, _KINDS[kind])


def _end(block: _Block, events: list[StreamEvent], opaque: Opaque | None = None) -> None:
    if block.is_open:
        block.is_open = False
        events.append(BlockEnd(block.index, opaque))


def _too_many() -> UpstreamError:
    return UpstreamError("upstream_protocol", "The provider's answer has more parts than the gateway's limit.")
