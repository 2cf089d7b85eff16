"""OpenAI's Responses API, told: the events of a stream, and the objects that they and a whole answer are made of.

Wire format: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from ainf.simulator.answer import UNKNOWN, Answer, Beat, Counts
from ainf.simulator.blocks import Block, BlockKind, BlockVoice
from ainf.simulator.lies import teller
from ainf.simulator.wire import ErrorBody

_COMPLETE: Final = frozenset({"stop", "tool_calls"})
_INCOMPLETE_REASONS: Final[Mapping[str, str]] = MappingProxyType({"length": "max_output_tokens"})
_ERROR_CODES: Final[Mapping[int, str]] = MappingProxyType({400: "invalid_prompt", 429: "rate_limit_exceeded"})
_ITEM_IDS: Final[Mapping[BlockKind, str]] = MappingProxyType({
    BlockKind.OPAQUE: "rs",
    BlockKind.REASONING: "rs",
    BlockKind.TEXT: "msg",
    BlockKind.REFUSAL: "msg",
    BlockKind.TOOL: "fc",
})


class ResponsesVoice(BlockVoice):
    """Tells an answer as numbered events, from ``response.created`` to ``response.completed`` or its likes."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.echo: dict[str, Any] = msgspec.json.decode(answer.ask.echo)
        self._numbers = 0
        self._told: Counts | None = None

    def frame(self, beat: Beat) -> bytes:
        """Return a beat's frames; see ``Voice.frame``."""
        frames = super().frame(beat)
        if beat.tokens:
            self._told = beat.counts
        return frames

    def starts(self, beat: Beat) -> bytes:
        """Return ``response.created`` and ``response.in_progress``."""
        del beat
        begun = response_object(self, counts=None, status="in_progress")
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def opens(self, block: Block) -> bytes:
        """Return ``response.output_item.added``, and of text the part in it."""
        added = self._event("response.output_item.added", output_index=block.index, item=self.item(block))
        match block.kind:
            case BlockKind.OPAQUE | BlockKind.TOOL:
                return added
            case BlockKind.REASONING if not self.answer.behaviour.raw_reasoning:
                where = self._where(block, "summary_index")
                return added + self._event("response.reasoning_summary_part.added", **where, part=_summary(""))
            case _:
                where = self._where(block, "content_index")
                return added + self._event("response.content_part.added", **where, part=_part(block.kind, ""))

    def grows(self, block: Block, beat: Beat) -> bytes:
        """Return the delta of the block's kind."""
        kind, index, _ = self._shape(block.kind)
        return self._event(f"{kind}.delta", **self._where(block, index), delta=beat.text, **_logprobs(block))

    def closes(self, block: Block) -> bytes:
        """Return the ``done`` events of what was added: the text, the part, the item."""
        done = b""
        if block.kind is not BlockKind.OPAQUE:
            kind, index, field = self._shape(block.kind)
            where = self._where(block, index)
            done = self._event(f"{kind}.done", **where, **{field: block.text}, **_logprobs(block))
            if index == "summary_index":
                done += self._event("response.reasoning_summary_part.done", **where, part=_summary(block.text))
            elif index == "content_index":
                done += self._event("response.content_part.done", **where, part=_part(block.kind, block.text))
        return done + self._event("response.output_item.done", output_index=block.index, item=self.item(block))

    def finishes(self, beat: Beat) -> bytes:
        """Return ``response.completed`` or ``response.incomplete``."""
        response = response_object(self, counts=beat.counts, **ended(self.answer))
        return self._event(f"response.{response['status']}", response=response)

    def tells_usage(self, beat: Beat) -> bytes:
        """Return the last event once more."""
        return self.finishes(beat)

    def ends(self, beat: Beat) -> bytes:
        """Return nothing: the last event is the end."""
        del beat
        return b""

    def error_frame(self, error: ErrorBody, *, as_string: bool = False, as_event: bool = False) -> bytes:
        """Return ``response.failed``, an event ``error``, or an error that is no event; see ``Voice.error_frame``."""
        if as_string:
            return b"data: " + msgspec.json.encode({"error": error.message}) + b"\n\n"
        if as_event:
            return self._event("error", code=error.code, message=error.message, param=error.param)
        return self._event("response.failed", response=response_object(self, counts=self._told, **failed(error)))

    def item(self, block: Block) -> dict[str, Any]:
        """Return a block as an item of the output, as far as it is said."""
        text = block.text
        item: dict[str, Any] = {"id": self._item_id(block), "status": _status(block)}
        match block.kind:
            case BlockKind.OPAQUE | BlockKind.REASONING:
                return {**item, "type": "reasoning", **self._reasoning(block, text)}
            case BlockKind.TEXT | BlockKind.REFUSAL:
                # A message that has just been added has no part yet.
                content = [_part(block.kind, text)] if text else []
                return {**item, "type": "message", "role": "assistant", "content": content}
            case BlockKind.TOOL:
                call_id = self.answer.call_id(block.call)
                return {**item, "type": "function_call", "call_id": call_id, "name": block.name, "arguments": text}

    def _reasoning(self, block: Block, text: str) -> dict[str, Any]:
        said: dict[str, Any] = {"summary": []}
        if text and self.answer.behaviour.raw_reasoning:
            said["content"] = [_part(block.kind, text)]
        elif text:
            said["summary"] = [_summary(text)]
        if self.answer.behaviour.signature or "reasoning.encrypted_content" in self.echo["include"]:
            said["encrypted_content"] = self.answer.opaque
        return said

    def _shape(self, kind: BlockKind) -> tuple[str, str | None, str]:
        """Return the name of a kind's deltas, the index beside the item's, and the field of the whole text."""
        match kind:
            case BlockKind.REASONING if self.answer.behaviour.raw_reasoning:
                return "response.reasoning_text", "content_index", "text"
            case BlockKind.REASONING | BlockKind.OPAQUE:
                return "response.reasoning_summary_text", "summary_index", "text"
            case BlockKind.TEXT:
                return "response.output_text", "content_index", "text"
            case BlockKind.REFUSAL:
                return "response.refusal", "content_index", "refusal"
            case BlockKind.TOOL:
                return "response.function_call_arguments", None, "arguments"

    def _where(self, block: Block, index: str | None) -> dict[str, Any]:
        where: dict[str, Any] = {"item_id": self._item_id(block), "output_index": block.index}
        return where if index is None else {**where, index: 0}

    def _item_id(self, block: Block) -> str:
        return f"{_ITEM_IDS[block.kind]}_{self.answer.serial}_{block.index}"

    def _event(self, kind: str, **fields: object) -> bytes:
        if self.answer.behaviour.unknown_fields:
            fields["x_unknown"] = UNKNOWN
        event = {"type": kind, "sequence_number": self._numbers, **fields}
        self._numbers += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(event))


def response_id(answer: Answer) -> str:
    """Return the id of the response to a request."""
    return f"resp_{answer.serial}"


def response_object(voice: ResponsesVoice, *, counts: Counts | None, **ending: object) -> dict[str, Any]:
    """Return a response with all that its voice has said; ``ending`` is its state (``ended``, ``failed``)."""
    answer = voice.answer
    repeated = {name: value for name, value in voice.echo.items() if name != "include"}
    response: dict[str, Any] = {
        "id": response_id(answer),
        "object": "response",
        "created_at": answer.created,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": answer.ask.model,
        "output": [voice.item(block) for block in voice.blocks],
        "service_tier": "default",
        **repeated,
        **ending,
        "usage": None if counts is None else _usage(counts, answer.behaviour.usage_lie),
    }
    if answer.behaviour.unknown_fields:
        response["x_unknown"] = UNKNOWN
    return response


def ended(answer: Answer) -> dict[str, Any]:
    """Return the state of a response that came to its end."""
    reason = answer.finish_reason
    if reason in _COMPLETE:
        return {"status": "completed", "completed_at": answer.created}
    return {"status": "incomplete", "incomplete_details": {"reason": _INCOMPLETE_REASONS.get(reason, reason)}}


def failed(error: ErrorBody) -> dict[str, Any]:
    """Return the state of a response that failed."""
    code = _ERROR_CODES.get(error.status, "server_error")
    return {"status": "failed", "error": {"code": code, "message": error.message}}


def _status(block: Block) -> str:
    if not block.closed:
        return "in_progress"
    return "incomplete" if block.cut else "completed"


def _part(kind: BlockKind, text: str) -> dict[str, Any]:
    if kind is BlockKind.REFUSAL:
        return {"type": "refusal", "refusal": text}
    if kind is BlockKind.REASONING:
        return {"type": "reasoning_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _logprobs(block: Block) -> dict[str, list[object]]:
    return {"logprobs": []} if block.kind is BlockKind.TEXT else {}


def _summary(text: str) -> dict[str, str]:
    return {"type": "summary_text", "text": text}


def _usage(counts: Counts, lie: str | None) -> dict[str, Any]:
    tell = teller(lie)
    written = {"ttl_30m_tokens": counts.cache_write, "ttl_12h_tokens": counts.long_cache_write}
    return {
        "input_tokens": tell(counts.input),
        "input_tokens_details": {
            "cached_tokens": counts.cached,
            "cache_write_tokens": sum(written.values()),
            "cache_write_tokens_details": written,
        },
        "output_tokens": tell(counts.output),
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": tell(counts.input + counts.output),
    }
