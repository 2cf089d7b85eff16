"""What a client has been told of an answer so far: what must be ended, repeated and counted on from when we end it.

Kept alike by the writer, which makes the events, and by the judge of a relay, which only watches them.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from io import StringIO
from typing import Any, Final

from ainf.formats.loose import clean, text_bytes
from ainf.formats.responses.wire import (
    ARGUMENTS,
    CALL_TYPES,
    CREATED,
    DELTAS,
    INPUT,
    ITEM_ADDED,
    ITEM_DONE,
    PARTS_ADDED,
    PARTS_DONE,
    SUMMARY,
    TEXT_DONES,
    DeltaView,
    EventView,
    PartKind,
    decode_event,
    delta_text,
    done_text,
    read_part,
    texts_of,
    word_of,
)

_OVERHEAD: Final = 512
"""Bytes that an item or a part takes beside its text, so that empty ones are bounded too."""
_OWN_TYPES: Final = CALL_TYPES | {"message", "reasoning"}
"""Types of items whose status can be "incomplete"; tools that a provider runs have other words."""
_MOST_STEPS: Final = 1 << 14
"""Events that can be taken back; no read holds more that are no deltas."""


class PartDraft:
    """A part, as far as it was told."""

    __slots__ = ("_buffer", "index", "is_done", "is_said", "kind", "said")

    def __init__(self, kind: PartKind, index: int) -> None:
        self.kind = kind
        self.index = index
        self.said = 0
        """Characters so far, kept or not."""
        self.is_said = False
        """Its text's ``done`` was told."""
        self.is_done = False
        """The part's own ``done`` was told."""
        self._buffer = StringIO()

    def add(self, text: str, *, is_kept: bool) -> None:
        """Take more text."""
        self.said += len(text)
        if is_kept:
            self._buffer.write(text)

    @property
    def text(self) -> str:
        """What was told of it."""
        return clean(self._buffer.getvalue()[: self.said])


class ItemDraft:
    """An item, as far as it was told."""

    __slots__ = ("fields", "final", "index", "is_announced", "parts")

    def __init__(self, index: int, fields: dict[str, Any], *, is_announced: bool) -> None:
        self.index = index
        self.fields = fields
        """The item as it was when it was added."""
        self.is_announced = is_announced
        """It was added by an event of its own, so that an event of its own has to end it."""
        self.parts: dict[tuple[str, int], PartDraft] = {}
        self.final: dict[str, Any] | None = None
        """The item as it was when it was done."""

    @property
    def id(self) -> str:
        """Its id; empty where it has none."""
        return word_of(self.fields, "id") or ""

    def document(self, status: str) -> dict[str, Any]:
        """Return the item: as it was done, else with what was told of it, in this status."""
        if self.final is not None:
            return self.final
        lists: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        texts: dict[str, Any] = {}
        for part in self.parts.values():
            if part.kind.type is None:
                texts[part.kind.field] = part.text
            else:
                lists.setdefault(part.kind.field, []).append((part.index, part.kind.part_of(part.text)))
        whole = {field: [part for _, part in sorted(parts, key=_first)] for field, parts in lists.items()}
        own = {"status": status} if word_of(self.fields, "type") in _OWN_TYPES else {}
        return self.fields | texts | whole | own


# Strategy: deltas only grow their part, by a number that can be taken back. Every other event is a step, and leaves
# what undoes it; taking events back runs the newest steps backwards.
class Transcript:
    """Items and their texts, the next sequence number, and whether the answer was begun.

    Args:
        limit: the most bytes that are kept; beyond them only sizes are, and ``is_full`` says so.
    """

    __slots__ = ("_is_numbered", "_items", "_room", "_steps", "base", "is_created", "is_full", "next_number")

    def __init__(self, limit: int) -> None:
        self._room = limit
        self._items: dict[int, ItemDraft] = {}
        self._steps: deque[list[Callable[[], Any]]] = deque(maxlen=_MOST_STEPS)
        self.base: dict[str, Any] = {}
        """The response object that the answer began with; empty where there is none, or no room for it."""
        self.is_created = False
        """The beginning of the answer was told."""
        self.is_full = False
        self.next_number = 0
        self._is_numbered = False

    @property
    def items(self) -> list[ItemDraft]:
        """The items, in order."""
        return [self._items[index] for index in sorted(self._items)]

    def item(self, index: int) -> ItemDraft:
        """Return an item that was told of."""
        return self._items[index]

    def say(self, view: DeltaView, text: str) -> None:
        """Take a delta."""
        self._count(view)
        kind = DELTAS.get(view.type)
        part = None if kind is None else self._part(kind, view.output_index, view.part_index)
        if part is not None:
            self._spend(len(text))
            part.add(text, is_kept=not self.is_full)

    def take(self, view: EventView, size: int) -> int:
        """Take any other event; return the visible bytes in it that no delta brought before.

        Args:
            view: the event.
            size: its bytes.
        """
        self._steps.append([])
        self._count(view)
        if view.type in TEXT_DONES:
            return self._end_text(view, TEXT_DONES[view.type])
        if view.type in PARTS_ADDED or view.type in PARTS_DONE:
            return self._take_part(view, is_done=view.type in PARTS_DONE)
        if view.type in {ITEM_ADDED, ITEM_DONE} and isinstance(view.item, dict):
            self._spend(size)
            return self._add_item(view, view.item) if view.type == ITEM_ADDED else self._end_item(view, view.item)
        if view.type == CREATED:
            self.is_created = True
            if isinstance(view.response, dict) and size <= self._room:
                self._spend(size)
                self.base = view.response
        return 0

    def rewind(self, payloads: list[bytes]) -> None:
        """Take back the newest events: the client has not been told of them."""
        numbers: list[int | None] = []
        for payload in reversed(payloads):
            view, _ = decode_event(payload)
            if view is None:
                continue
            numbers.append(_number_of(view))
            text = delta_text(view)
            if text is not None:
                self._take_back(view, len(text))
            elif self._steps:
                for undo in reversed(self._steps.pop()):
                    undo()
            if view.type == CREATED:
                self.is_created = False
        told = [number for number in numbers if number is not None]
        if told:
            self.next_number = told[-1]
        elif not self._is_numbered:
            self.next_number = max(0, self.next_number - len(numbers))

    def _count(self, view: DeltaView) -> None:
        """Note the number of an event. One without any is counted where none has one, else (keep-alives) it is not."""
        number = _number_of(view)
        if number is not None:
            self._is_numbered = True
            self.next_number = number + 1
        elif not self._is_numbered:
            self.next_number += 1

    def _spend(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            self.is_full = True

    def _take_back(self, view: DeltaView, characters: int) -> None:
        kind, item = DELTAS.get(view.type), self._items.get(view.output_index)
        part = None if kind is None or item is None else item.parts.get((kind.field, view.part_index))
        if part is not None:
            part.said -= characters

    def _part(self, kind: PartKind, output_index: int, index: int) -> PartDraft | None:
        """Return a part, which a server need not have announced; None for a new one where there is no room left."""
        item = self._items.get(output_index)
        if item is None:
            item = self._new_item(output_index, _unannounced(kind), is_announced=False)
        if item is None:
            return None
        part = item.parts.get((kind.field, index))
        if part is None and not self.is_full:
            self._spend(_OVERHEAD)
            part = item.parts[kind.field, index] = PartDraft(kind, index)
            self._on_undo(partial(item.parts.pop, (kind.field, index), None))
        return part

    def _new_item(self, index: int, fields: dict[str, Any], *, is_announced: bool) -> ItemDraft | None:
        if self.is_full:
            return None
        self._spend(_OVERHEAD)
        item = self._items[index] = ItemDraft(index, fields, is_announced=is_announced)
        self._on_undo(partial(self._items.pop, index, None))
        return item

    def _on_undo(self, undo: Callable[[], Any]) -> None:
        if self._steps:
            self._steps[-1].append(undo)

    def _add_item(self, view: EventView, fields: dict[str, Any]) -> int:
        if view.output_index not in self._items:
            self._new_item(view.output_index, fields, is_announced=True)
        for kind, number, text in texts_of(fields):
            self._complete(kind, view.output_index, number, text)
        return 0  # what it brings is not a repetition: its view counts it

    def _end_item(self, view: EventView, fields: dict[str, Any]) -> int:
        late = 0
        is_new = view.output_index not in self._items
        item = self._new_item(view.output_index, fields, is_announced=False) if is_new else self.item(view.output_index)
        if is_new and item is not None:
            late += text_bytes(word_of(fields, "name"))
        for kind, number, text in texts_of(fields):
            late += self._complete(kind, view.output_index, number, text)
        if item is not None:
            self._on_undo(partial(setattr, item, "final", item.final))
            item.final = fields
        return late

    def _take_part(self, view: EventView, *, is_done: bool) -> int:
        found = read_part(view.part)
        if found is None:
            return 0
        kind, text = found
        late = self._complete(kind, view.output_index, view.part_index, text)
        part = self._part(kind, view.output_index, view.part_index)
        if part is not None and is_done:
            self._on_undo(partial(setattr, part, "is_done", part.is_done))
            part.is_done = True
        return late if is_done else 0

    def _end_text(self, view: EventView, kind: PartKind) -> int:
        late = self._complete(kind, view.output_index, view.part_index, done_text(view, kind) or "")
        part = self._part(kind, view.output_index, view.part_index)
        if part is not None:
            self._on_undo(partial(setattr, part, "is_said", part.is_said))
            part.is_said = True
        return late

    def _complete(self, kind: PartKind, output_index: int, index: int, text: str) -> int:
        """Take the whole text of a part; return the bytes of what was not said before."""
        part = self._part(kind, output_index, index)
        if part is None or len(text) <= part.said:
            return 0
        rest = text[part.said :]
        self._on_undo(partial(setattr, part, "said", part.said))
        self._spend(len(rest))
        part.add(rest, is_kept=not self.is_full)
        return text_bytes(rest)


def _unannounced(kind: PartKind) -> dict[str, Any]:
    """Return an item for a part that a server told without its item."""
    if kind is ARGUMENTS or kind is INPUT:
        return {
            "id": "",
            "type": "function_call" if kind is ARGUMENTS else "custom_tool_call",
            "call_id": "",
            "name": "",
        }
    if kind.field == SUMMARY.field or kind.type == "reasoning_text":
        return {"id": "", "type": "reasoning", "summary": []}
    return {"id": "", "type": "message", "role": "assistant", "content": []}


def _number_of(view: DeltaView) -> int | None:
    number = view.sequence_number
    return number if type(number) is int and 0 <= number < 1 << 53 else None


def _first(pair: tuple[int, Any]) -> int:
    return pair[0]
