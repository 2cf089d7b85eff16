"""Gemini, told: the chunks of a stream, and the objects that they and a whole answer are made of.

Wire format: https://ai.google.dev/api/generate-content (GenerateContentResponse, Candidate, UsageMetadata), thoughts
https://ai.google.dev/gemini-api/docs/thinking, where signatures stand
https://ai.google.dev/gemini-api/docs/thought-signatures, errors https://google.aip.dev/193
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from ainf.simulator.answer import UNKNOWN, Answer, Beat, BeatKind, Counts
from ainf.simulator.behaviour import Say
from ainf.simulator.blocks import Block, BlockKind, BlockVoice
from ainf.simulator.lies import teller
from ainf.simulator.wire import ErrorBody

_FINISH_REASONS: Final[Mapping[str, str]] = MappingProxyType({
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
})
_ERROR_STATUSES: Final[Mapping[int, str]] = MappingProxyType({
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
})
_THOUGHTS: Final = frozenset({BlockKind.OPAQUE, BlockKind.REASONING})


class GeminiVoice(BlockVoice):
    """Tells an answer as chunks; each is a whole response with the parts that are new."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self._unsigned = False
        self._told: Counts | None = None

    def frame(self, beat: Beat) -> bytes:
        """Return a beat's frames; see ``Voice.frame``."""
        frames = super().frame(beat)
        self._told = beat.counts
        return frames

    def starts(self, beat: Beat) -> bytes:
        """Return nothing: the first part is the first chunk."""
        del beat
        return b""

    def opens(self, block: Block) -> bytes:
        """Return nothing; note that what was thought is still unsigned."""
        self._unsigned |= block.kind in _THOUGHTS
        return b""

    def grows(self, block: Block, beat: Beat) -> bytes:
        """Return the chunk with the text; nothing of a call until it is whole, nor of what the finish says."""
        if beat.kind is BeatKind.FINISH:
            return b""
        if block.kind is BlockKind.TOOL:
            return self._chunk(self._signed(_call(block)), beat.counts) if block.whole_call else b""
        return self._chunk(_text(block.kind, beat.text), beat.counts)

    def closes(self, block: Block) -> bytes:
        """Return, with ``signature``, a thought that holds nothing but the signature of those before it."""
        if block.kind not in _THOUGHTS or not self.answer.behaviour.signature:
            return b""
        return self._chunk(self._signed({"text": "", "thought": True}), self._told)

    def finishes(self, beat: Beat) -> bytes:
        """Return the chunk with the finish reason."""
        if self.answer.behaviour.blocked:
            return _framed(_blocked(self.answer, beat.counts))
        parts = [self._signed({"text": beat.text})]
        return _framed(_response(self.answer, [_candidate(parts, finish_reason(self.answer))], beat.counts))

    def tells_usage(self, beat: Beat) -> bytes:
        """Return a chunk with nothing else."""
        return _framed(_response(self.answer, None, beat.counts))

    def ends(self, beat: Beat) -> bytes:
        """Return nothing: the end of the body is the end."""
        del beat
        return b""

    def error_frame(self, error: ErrorBody, *, as_string: bool = False, as_event: bool = False) -> bytes:
        """Return an error in the stream; see ``Voice.error_frame``."""
        prefix = b"event: error\n" if as_event else b""
        return prefix + _framed({"error": error.message if as_string else error_object(error)})

    def _chunk(self, part: dict[str, Any], counts: Counts | None) -> bytes:
        return _framed(_response(self.answer, [_candidate([part], None)], counts))

    def _signed(self, part: dict[str, Any]) -> dict[str, Any]:
        """Return the part with the signature, if one is due."""
        if not self._unsigned:
            return part
        self._unsigned = False
        return {**part, "thoughtSignature": self.answer.opaque}


def whole_response(answer: Answer, blocks: Iterable[Block]) -> dict[str, Any]:
    """Return the answer as one response."""
    if answer.behaviour.blocked:
        return _blocked(answer, answer.counts)
    parts: list[dict[str, Any]] = []
    unsigned = False
    for block in blocks:
        part = _call(block) if block.kind is BlockKind.TOOL else _text(block.kind, block.text)
        unsigned |= block.kind in _THOUGHTS
        is_shown = block.whole_call or block.kind in {BlockKind.REASONING, BlockKind.TEXT, BlockKind.REFUSAL}
        takes_it = answer.behaviour.signature if block.kind in _THOUGHTS else block.whole_call
        if unsigned and takes_it:
            unsigned = False
            parts.append({**part, "thoughtSignature": answer.opaque})
        elif is_shown:
            parts.append(part)
    if unsigned:
        if not parts or "thought" in parts[-1]:
            parts.append({"text": ""})
        parts[-1]["thoughtSignature"] = answer.opaque
    return _response(answer, [_candidate(parts, finish_reason(answer))], answer.counts)


def finish_reason(answer: Answer) -> str:
    """Return the finish reason in Gemini's words."""
    reason = answer.finish_reason
    if reason == "stop" and answer.behaviour.say is Say.REFUSAL:
        reason = "content_filter"
    return _FINISH_REASONS.get(reason, reason)


def error_object(error: ErrorBody) -> dict[str, Any]:
    """Return an error as Google spells it; a code of Google's own is a detail."""
    by_class = "INTERNAL" if error.status >= 500 else "INVALID_ARGUMENT"
    told: dict[str, Any] = {
        "code": error.status,
        "message": error.message,
        "status": _ERROR_STATUSES.get(error.status, by_class),
    }
    if error.code and error.code.isupper():
        info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.code, "domain": "googleapis.com"}
        told["details"] = [info]
    return told


def _framed(chunk: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _text(kind: BlockKind, text: str) -> dict[str, Any]:
    return {"text": text, "thought": True} if kind in _THOUGHTS else {"text": text}


def _call(block: Block) -> dict[str, Any]:
    arguments = msgspec.json.decode(block.text) if block.whole_call else {}
    return {"functionCall": {"name": block.name, "args": arguments}}


def _candidate(parts: list[dict[str, Any]], reason: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"} if parts else {"role": "model"}}
    if reason is not None:
        candidate["finishReason"] = reason
    return {**candidate, "index": 0}


def _blocked(answer: Answer, counts: Counts | None) -> dict[str, Any]:
    return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **_response(answer, None, counts)}


def _response(answer: Answer, candidates: list[dict[str, Any]] | None, counts: Counts | None) -> dict[str, Any]:
    response: dict[str, Any] = {} if candidates is None else {"candidates": candidates}
    if counts is not None:
        response["usageMetadata"] = _usage(counts, answer.behaviour.usage_lie)
    response |= {"modelVersion": answer.ask.model, "responseId": answer.serial}
    if answer.behaviour.unknown_fields:
        response["xUnknown"] = UNKNOWN
    return response


def _usage(counts: Counts, lie: str | None) -> dict[str, Any]:
    """Return the usage; what is thought is not among the candidates' tokens, and counts of zero are left out."""
    tell = teller(lie)
    shown = counts.output - counts.reasoning
    usage: dict[str, Any] = {"promptTokenCount": tell(counts.input)}
    if shown or lie:
        usage["candidatesTokenCount"] = tell(shown)
    usage["totalTokenCount"] = tell(counts.input + counts.output)
    if counts.cached:
        usage["cachedContentTokenCount"] = counts.cached
    usage["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": counts.input}]
    if counts.reasoning:
        usage["thoughtsTokenCount"] = counts.reasoning
    return usage
