"""The Gemini wire: typed views of a chunk and of a whole answer, which are the same, with only what we read from them.

Source: the Gemini API reference, "GenerateContentResponse", and the types of the ``google-genai`` package. A stream
(``streamGenerateContent?alt=sse``) is events of one such object each, without an end marker; without ``alt=sse`` the
same objects come as one JSON array.

Decoding is tolerant in two steps. A view is decoded by type (one decode for all payloads of a read); what does not fit
is *opaque*: it is read loosely, for the output that can be made out and for evidence (finish reason, usage, error).
"""

import json
from typing import Any, Final

import msgspec

from ainf.formats.loose import clean, load_loosely, text_bytes, text_or_none
from ainf.formats.views import view_decoder, views_decoder
from ainf.inference.errors import UpstreamError

_UNSPECIFIED: Final = frozenset({"FINISH_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED"})
"""How the API's enumerations say nothing."""


class FunctionCallView(msgspec.Struct, gc=False):
    """A call; unlike on other wires its arguments are an object, and come whole."""

    id: str | None = None
    name: str | None = None
    args: dict[str, Any] | None = None
    partialArgs: Any = None  # noqa: N815 - the wire's name
    willContinue: Any = None  # noqa: N815 - the wire's name


class CodeView(msgspec.Struct, gc=False):
    """Code that the model wrote for the provider to run."""

    code: str | None = None


class PartView(msgspec.Struct, gc=False):
    """A part of an answer: text, a thought, a call, or what only this format can say."""

    text: str | None = None
    thought: Any = None
    thoughtSignature: str | None = None  # noqa: N815 - the wire's name
    functionCall: FunctionCallView | None = None  # noqa: N815 - the wire's name
    executableCode: CodeView | None = None  # noqa: N815 - the wire's name
    codeExecutionResult: Any = None  # noqa: N815 - the wire's name
    inlineData: Any = None  # noqa: N815 - the wire's name
    fileData: Any = None  # noqa: N815 - the wire's name
    toolCall: Any = None  # noqa: N815 - the wire's name
    toolResponse: Any = None  # noqa: N815 - the wire's name


class ContentView(msgspec.Struct, gc=False):
    """The content of a candidate, or a piece of it."""

    parts: list[PartView] | None = None


class CandidateView(msgspec.Struct, gc=False):
    """A candidate."""

    content: ContentView | None = None
    finishReason: str | None = None  # noqa: N815 - the wire's name


class FeedbackView(msgspec.Struct, gc=False):
    """What the API says of the prompt."""

    blockReason: str | None = None  # noqa: N815 - the wire's name


class AnswerView(msgspec.Struct, gc=False):
    """A chunk, or a whole answer."""

    candidates: list[CandidateView] | None = None
    promptFeedback: FeedbackView | None = None  # noqa: N815 - the wire's name
    usageMetadata: Any = None  # noqa: N815 - the wire's name
    error: Any = None
    responseId: Any = None  # noqa: N815 - the wire's name
    modelVersion: Any = None  # noqa: N815 - the wire's name


decode_views: Final = views_decoder(AnswerView)
"""Returns the views of all payloads, or None when any of them does not fit; see ``views_decoder``."""
decode_view: Final = view_decoder(AnswerView)
"""Returns the view of one payload, or None where it does not fit."""

_decode_list = msgspec.json.Decoder(list[dict[str, Any]]).decode


def load_documents(body: bytes) -> list[dict[str, Any]] | None:
    """Return the JSON objects of a body: the only one, or those of an array; None where it is neither."""
    document = load_loosely(body)
    if document is not None:
        return [document]
    try:
        return _decode_list(body)
    except (ValueError, RecursionError):
        return None


def decode_loosely(payload: bytes) -> AnswerView | None:
    """Return what can be read of a payload that is no typed view; None where it is no JSON object at all.

    Fields of a wrong type count as absent. Of an array only an error is read: Google's front ends send errors so.
    """
    documents = load_documents(payload)
    if documents is None:
        return None
    for document in documents:
        if document.get("error"):
            return loose_view(document)
    return loose_view(documents[0]) if len(documents) == 1 else None


def loose_view(document: dict[str, Any]) -> AnswerView:
    """Return the view of an object, in which fields of a wrong type count as absent."""
    feedback, candidates = document.get("promptFeedback"), document.get("candidates")
    return AnswerView(
        candidates=[_loose_candidate(each) for each in candidates if isinstance(each, dict)]
        if isinstance(candidates, list)
        else None,
        promptFeedback=FeedbackView(text_or_none(feedback.get("blockReason"))) if isinstance(feedback, dict) else None,
        usageMetadata=document.get("usageMetadata"),
        error=document.get("error"),
        responseId=document.get("responseId"),
        modelVersion=document.get("modelVersion"),
    )


def args_text(call: FunctionCallView) -> str:
    """Return the arguments of a call as compact JSON, as other wires have them; lone surrogates become U+FFFD.

    Raises:
        UpstreamError: ``upstream_protocol``: they are nested too deeply to be written.
    """
    args = call.args or {}
    try:
        return msgspec.json.encode(args).decode()
    except ValueError:
        return clean(json.dumps(args, ensure_ascii=False, separators=(",", ":")))
    except RecursionError:
        raise UpstreamError("upstream_protocol", "The provider's tool call is nested too deeply.") from None


def part_bytes(part: PartView) -> int:
    """Return how much visible output a part holds: text, thoughts, names and arguments of calls, code."""
    size = text_bytes(part.text)
    if part.functionCall is not None:
        size += text_bytes(part.functionCall.name) + len(args_text(part.functionCall).encode())
    if part.executableCode is not None:
        size += text_bytes(part.executableCode.code)
    return size


def parts_of(view: AnswerView) -> list[PartView]:
    """Return the parts of all candidates. One candidate is all that is ever asked for."""
    return [
        part
        for candidate in view.candidates or ()
        if candidate.content is not None
        for part in candidate.content.parts or ()
    ]


def view_bytes(view: AnswerView) -> int:
    """Return the visible output in all candidates of a chunk or answer."""
    return sum(part_bytes(part) for part in parts_of(view))


def finish_reason_of(view: AnswerView) -> str | None:
    """Return the evidence of an end that a candidate holds, if one does."""
    for candidate in view.candidates or ():
        if candidate.finishReason and candidate.finishReason not in _UNSPECIFIED:
            return candidate.finishReason
    return None


def block_reason_of(view: AnswerView) -> str | None:
    """Return why the prompt was blocked, where it was: then there is no candidate, and nothing will come."""
    reason = None if view.promptFeedback is None else view.promptFeedback.blockReason
    return None if view.candidates or not reason or reason in _UNSPECIFIED else reason


def usage_of(view: AnswerView) -> dict[str, Any] | None:
    """Return the usage object of a view; None where it has none, or (chunks of Vertex AI) one without any count."""
    usage = view.usageMetadata
    if isinstance(usage, dict) and any(name.endswith("TokenCount") for name in usage):
        return usage
    return None


def _loose_candidate(candidate: dict[str, Any]) -> CandidateView:
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    return CandidateView(
        content=ContentView([_loose_part(part) for part in parts if isinstance(part, dict)])
        if isinstance(parts, list)
        else None,
        finishReason=text_or_none(candidate.get("finishReason")),
    )


def _loose_part(part: dict[str, Any]) -> PartView:
    call, code = part.get("functionCall"), part.get("executableCode")
    rest = ("thought", "codeExecutionResult", "inlineData", "fileData", "toolCall", "toolResponse")
    return PartView(
        text=text_or_none(part.get("text")),
        thoughtSignature=text_or_none(part.get("thoughtSignature")),
        functionCall=_loose_call(call) if isinstance(call, dict) else None,
        executableCode=CodeView(text_or_none(code.get("code"))) if isinstance(code, dict) else None,
        **{name: part.get(name) for name in rest},
    )


def _loose_call(call: dict[str, Any]) -> FunctionCallView:
    args = call.get("args")
    return FunctionCallView(
        id=text_or_none(call.get("id")),
        name=text_or_none(call.get("name")),
        args=args if isinstance(args, dict) else None,
        partialArgs=call.get("partialArgs"),
        willContinue=call.get("willContinue"),
    )
