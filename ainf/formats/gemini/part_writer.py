"""From events to the parts of a Gemini answer, for streams and whole answers alike."""

from typing import Any

import msgspec

from ainf.formats.gemini.signature import CALL, SOURCES, THOUGHT, signature_of
from ainf.inference.conversation import Opaque
from ainf.inference.events import TOOL_KINDS, BlockDelta, BlockEnd, BlockKind, BlockStart

BlockEvent = BlockStart | BlockDelta | BlockEnd

_decode_arguments = msgspec.json.Decoder(dict[str, Any]).decode


class PartWriter:
    """Makes parts of blocks. Text goes on piece by piece, a call when it is whole: the wire has no pieces of calls.

    A signature waits for the part that it belongs to.

    Args:
        shows_refusals: whether refusals are written, as text. Those of this format's own reader are not: they say in
            words what the end says.
    """

    __slots__ = ("_blocks", "_shows_refusals", "_signature", "_thoughts", "is_broken")

    def __init__(self, *, shows_refusals: bool) -> None:
        self._shows_refusals = shows_refusals
        self._blocks: dict[int, tuple[BlockStart, list[str]]] = {}
        self._thoughts: set[int] = set()
        self._signature: Opaque | None = None
        self.is_broken = False
        """A call was left out because its arguments are no JSON object."""

    def send(self, event: BlockEvent) -> list[dict[str, Any]]:
        """Return the parts that an event completes."""
        match event:
            case BlockStart():
                self._blocks[event.index] = (event, [])
                return []
            case BlockDelta():
                return self._piece(event)
            case BlockEnd():
                return self._end(event)

    def end(self) -> list[dict[str, Any]]:
        """Return the parts that are still owed when everything was sent; calls that were not ended are not."""
        signature, self._signature = self._signature, None
        return [] if signature is None else [{"text": "", "thoughtSignature": signature_of(signature)}]

    def _piece(self, event: BlockDelta) -> list[dict[str, Any]]:
        start, texts = self._blocks[event.index]
        if start.kind in TOOL_KINDS:
            texts.append(event.text)
            return []
        if start.kind is BlockKind.REASONING:
            self._thoughts.add(event.index)
            return [*self.end(), {"text": event.text, "thought": True}]
        if start.kind is BlockKind.REFUSAL and not self._shows_refusals:
            return []
        return self._signed({"text": event.text}, is_call=False)

    def _end(self, event: BlockEnd) -> list[dict[str, Any]]:
        start, texts = self._blocks.pop(event.index)
        if start.kind in TOOL_KINDS:
            return self._call(start, "".join(texts))
        opaque = event.opaque
        if opaque is None:
            return []
        if opaque.source in SOURCES and event.index not in self._thoughts:
            owed, self._signature = self.end(), opaque
            return owed
        return [*self.end(), {"text": "", "thought": True, "thoughtSignature": signature_of(opaque)}]

    def _call(self, start: BlockStart, text: str) -> list[dict[str, Any]]:
        if start.kind is BlockKind.CUSTOM_TOOL_CALL:
            arguments: dict[str, Any] = {"input": text}
        else:
            try:
                arguments = _decode_arguments(text or "{}")
            except (ValueError, RecursionError):
                self.is_broken = True
                return []
        call = {"name": start.name or "", "args": arguments}
        return self._signed({"functionCall": call | ({"id": start.call_id} if start.call_id else {})}, is_call=True)

    def _signed(self, part: dict[str, Any], *, is_call: bool) -> list[dict[str, Any]]:
        """Return a part with the signature that waits for it; one that waits for another kind of part goes first."""
        waiting = self._signature
        if waiting is None:
            return [part]
        if waiting.source != THOUGHT and (waiting.source == CALL) is not is_call:
            return [*self.end(), part]
        self._signature = None
        return [part | {"thoughtSignature": signature_of(waiting)}]


def merged(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return parts with the pieces of one text, or of one thought, joined; a signature ends a thought."""
    whole: list[dict[str, Any]] = []
    for part in parts:
        last = whole[-1] if whole else None
        if last is None or not _may_join(last, part):
            whole.append(dict(part))
            continue
        last["text"] += part["text"]
        if "thoughtSignature" in part:
            last["thoughtSignature"] = part["thoughtSignature"]
    return whole


def _may_join(last: dict[str, Any], part: dict[str, Any]) -> bool:
    if "text" not in last or "text" not in part or ("thought" in last) is not ("thought" in part):
        return False
    return "thoughtSignature" not in (last if "thought" in last else part)
