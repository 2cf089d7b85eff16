"""Anthropic's Messages API, told: the events of a stream, and the objects that they and a whole answer are made of.

Wire format: https://platform.claude.com/docs/en/build-with-claude/streaming and, for thinking and its signatures,
https://platform.claude.com/docs/en/build-with-claude/extended-thinking
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from ainf.simulator.answer import UNKNOWN, Answer, Beat, Counts
from ainf.simulator.behaviour import Say
from ainf.simulator.blocks import Block, BlockKind, BlockVoice
from ainf.simulator.lies import teller
from ainf.simulator.wire import ErrorBody

_STOP_REASONS: Final[Mapping[str, str]] = MappingProxyType({
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
})
_ERROR_TYPES: Final[Mapping[int, str]] = MappingProxyType({
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
})
_DELTAS: Final[Mapping[BlockKind, tuple[str, str]]] = MappingProxyType({
    BlockKind.REASONING: ("thinking_delta", "thinking"),
    BlockKind.TEXT: ("text_delta", "text"),
    BlockKind.REFUSAL: ("text_delta", "text"),
    BlockKind.TOOL: ("input_json_delta", "partial_json"),
})
# A message that has just started says that it has a token of output, whatever it will come to.
_OUTPUT_AT_START: Final = 1


class MessagesVoice(BlockVoice):
    """Tells an answer as events, from ``message_start`` to ``message_stop``."""

    def starts(self, beat: Beat) -> bytes:
        """Return ``message_start``."""
        message = envelope(self.answer, content=[], counts=beat.counts, stop_reason=None, stop_sequence=None)
        if beat.counts is not None:
            message["usage"]["output_tokens"] = _OUTPUT_AT_START
        return self._event("message_start", message=message)

    def opens(self, block: Block) -> bytes:
        """Return ``content_block_start``."""
        return self._event("content_block_start", index=block.index, content_block=_empty_content(block, self.answer))

    def grows(self, block: Block, beat: Beat) -> bytes:
        """Return ``content_block_delta``."""
        kind, field = _DELTAS[block.kind]
        return self._event("content_block_delta", index=block.index, delta={"type": kind, field: beat.text})

    def closes(self, block: Block) -> bytes:
        """Return ``content_block_stop``; before it, of thinking, the signature."""
        signed = b""
        if block.kind is BlockKind.REASONING:
            delta = {"type": "signature_delta", "signature": self.answer.opaque}
            signed = self._event("content_block_delta", index=block.index, delta=delta)
        return signed + self._event("content_block_stop", index=block.index)

    def finishes(self, beat: Beat) -> bytes:
        """Return ``message_delta``."""
        usage = {} if beat.counts is None else {"usage": _usage(beat.counts, self.answer)}
        return self._event("message_delta", delta=stop(self.answer), **usage)

    def tells_usage(self, beat: Beat) -> bytes:
        """Return a ``message_delta`` once more."""
        return self.finishes(beat)

    def ends(self, beat: Beat) -> bytes:
        """Return ``message_stop``."""
        del beat
        return self._event("message_stop")

    def error_frame(self, error: ErrorBody, *, as_string: bool = False, as_event: bool = False) -> bytes:
        """Return an error in the stream, which is a named event in any case; see ``Voice.error_frame``."""
        del as_event
        return self._event("error", error=error.message if as_string else error_object(error))

    def _event(self, kind: str, **fields: object) -> bytes:
        if self.answer.behaviour.unknown_fields:
            fields["x_unknown"] = UNKNOWN
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode({"type": kind, **fields}))


def envelope(
    answer: Answer,
    *,
    content: list[dict[str, Any]],
    counts: Counts | None,
    **ending: object,
) -> dict[str, Any]:
    """Return a message; ``ending`` is how it stopped (``stop``)."""
    message: dict[str, Any] = {
        "id": f"msg_{answer.serial}",
        "type": "message",
        "role": "assistant",
        "model": answer.ask.model,
        "content": content,
        **ending,
    }
    if counts is not None:
        message["usage"] = {**_usage(counts, answer), "service_tier": "standard"}
        message["usage"]["cache_creation"] = {
            "ephemeral_5m_input_tokens": counts.cache_write,
            "ephemeral_1h_input_tokens": counts.long_cache_write,
        }
    if answer.behaviour.unknown_fields:
        message["x_unknown"] = UNKNOWN
    return message


def stop(answer: Answer) -> dict[str, Any]:
    """Return how an answer stopped, as a message and ``message_delta`` say it."""
    reason = answer.finish_reason
    if reason == "stop" and answer.behaviour.say is Say.REFUSAL:
        reason = "content_filter"
    stopped: dict[str, Any] = {"stop_reason": _STOP_REASONS.get(reason, reason), "stop_sequence": None}
    if stopped["stop_reason"] == "refusal":
        stopped["stop_details"] = {"type": "refusal", "category": None, "explanation": None}
    return stopped


def content_of(block: Block, answer: Answer) -> dict[str, Any]:
    """Return a whole block of content."""
    content = _empty_content(block, answer)
    match block.kind:
        case BlockKind.REASONING:
            content |= {"thinking": block.text, "signature": answer.opaque}
        case BlockKind.TEXT | BlockKind.REFUSAL:
            content["text"] = block.text
        case BlockKind.TOOL:
            # The limit may have cut the arguments, of which nothing is then left in a whole answer.
            content["input"] = msgspec.json.decode(block.text) if block.whole_call else {}
        case BlockKind.OPAQUE:
            pass
    return content


def _empty_content(block: Block, answer: Answer) -> dict[str, Any]:
    match block.kind:
        case BlockKind.OPAQUE:
            return {"type": "redacted_thinking", "data": answer.opaque}
        case BlockKind.REASONING:
            return {"type": "thinking", "thinking": "", "signature": ""}
        case BlockKind.TEXT | BlockKind.REFUSAL:
            return {"type": "text", "text": ""}
        case BlockKind.TOOL:
            return {"type": "tool_use", "id": f"toolu_{answer.serial}_{block.call}", "name": block.name, "input": {}}


def error_object(error: ErrorBody) -> dict[str, str]:
    """Return an error as Anthropic spells it."""
    by_class = "api_error" if error.status >= 500 else "invalid_request_error"
    return {"type": _ERROR_TYPES.get(error.status, by_class), "message": error.message}


def _usage(counts: Counts, answer: Answer) -> dict[str, Any]:
    """Return the usage; unlike other formats' its input excludes what a cache gave or took."""
    tell = teller(answer.behaviour.usage_lie)
    written = counts.cache_write + counts.long_cache_write
    usage: dict[str, Any] = {
        "input_tokens": tell(counts.input - counts.cached - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": counts.cached,
        "output_tokens": tell(counts.output),
    }
    if counts.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": counts.reasoning}
    return usage
