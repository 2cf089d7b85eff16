"""The items of an answer that we write, and their names, which follow from the inference's id."""

from typing import Any, Final

from ainf.formats.responses.opaque import own_parts
from ainf.inference.conversation import Opaque
from ainf.inference.events import BlockKind, BlockStart

_PREFIXES: Final = {
    BlockKind.TEXT: "msg",
    BlockKind.REFUSAL: "msg",
    BlockKind.REASONING: "rs",
    BlockKind.TOOL_CALL: "fc",
    BlockKind.CUSTOM_TOOL_CALL: "ctc",
}


class Namer:
    """Names the items of one answer, no two alike.

    Args:
        inference_id: what the names are made of.
    """

    __slots__ = ("_inference_id", "_taken")

    def __init__(self, inference_id: str) -> None:
        self._inference_id = inference_id
        self._taken: set[str] = set()

    def name(self, kind: BlockKind, index: int, opaque: Opaque | None = None) -> str:
        """Return the id of an item: the one that its encrypted content belongs to, where this format made that."""
        own = own_parts(opaque)
        if own is not None and own[0] and own[0] not in self._taken:
            self._taken.add(own[0])
            return own[0]
        return f"{_PREFIXES[kind]}_{self._inference_id}_{index}"


def item_of(block: BlockStart, item_id: str, status: str) -> dict[str, Any]:
    """Return the item of a block, without its texts."""
    match block.kind:
        case BlockKind.TEXT | BlockKind.REFUSAL:
            return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": []}
        case BlockKind.REASONING:
            return {"id": item_id, "type": "reasoning", "summary": [], "encrypted_content": None, "status": status}
        case BlockKind.TOOL_CALL:
            return {"id": item_id, "type": "function_call", "arguments": "", **_call_of(block, item_id, status)}
        case BlockKind.CUSTOM_TOOL_CALL:
            return {"id": item_id, "type": "custom_tool_call", "input": "", **_call_of(block, item_id, status)}


def final_fields(opaque: Opaque | None, item_id: str) -> dict[str, Any]:
    """Return what a reasoning item has once it is done: its encrypted content, sealed unless it is this item's own."""
    if opaque is None:
        return {}
    own = own_parts(opaque)
    is_own = own is not None and own[0] in {item_id, ""}
    return {"encrypted_content": own[1] if own is not None and is_own else opaque.sealed()}


def _call_of(block: BlockStart, item_id: str, status: str) -> dict[str, Any]:
    return {"call_id": block.call_id or item_id, "name": block.name or "", "status": status}
