"""What hostile providers send in the messages, responses and gemini formats, after a good beginning.

A row is what comes behind ``BEGIN`` (a start and the text "abcd") and how the exchange must end.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import attrs

from ainf.simulator import Close, Reset, Stall, Step, Wait, chunk

TRACE: Final = "Traceback of worker.py at gpu-17.internal"
DEEP: Final = b'{"a":' * 700 + b"1" + b"}" * 700


@attrs.frozen
class Row:
    """One way to misbehave."""

    frames: bytes = b""
    code: str = ""
    """The error that it is; none where the answer completes."""
    relayed: str | None = None
    """The same for a client of the same format, where that differs."""
    steps: tuple[Step, ...] = ()
    """What follows the frames; without any the body ends well."""


def event(document: Any, name: str | None = None) -> bytes:
    """One event; bytes are taken as they are."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + data + b"\n\n"


def named(kind: str, **fields: Any) -> bytes:
    """One event of a format whose events are named by their types."""
    return event({"type": kind, **fields}, kind)


# --- messages ---

_USAGE: Final = {"output_tokens": 2}


def _delta(text: str, index: Any = 0, **fields: Any) -> bytes:
    delta = {"type": "text_delta", "text": text, **fields}
    return named("content_block_delta", index=index, delta=delta)


def _block(index: Any, *inside: bytes, **block: Any) -> bytes:
    begin = named("content_block_start", index=index, content_block=block or {"type": "text", "text": ""})
    return b"".join([begin, *inside, named("content_block_stop", index=index)])


def _finish(reason: Any = "end_turn", usage: Any = _USAGE) -> bytes:
    return named("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=usage)


_MESSAGE: Final = {"id": "msg_1", "type": "message", "role": "assistant", "model": "other-model", "content": []}
_START: Final = named("message_start", message=_MESSAGE | {"usage": {"input_tokens": 4, "output_tokens": 1}})
_STOP, _END = named("content_block_stop", index=0), named("message_stop")
_TAIL: Final = _STOP + _finish() + _END
_TOOL: Final = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
MESSAGES_BEGIN: Final = (
    _START + named("content_block_start", index=0, content_block={"type": "text", "text": ""}) + (_delta("abcd"))
)

MESSAGES: Final[Mapping[str, Row]] = {
    "no end of the block": Row(_finish() + _END),
    "no message_stop": Row(_STOP + _finish()),
    "message_stop alone": Row(_STOP + _END, "upstream_truncated"),
    "a message_delta without a reason": Row(_STOP + _finish(None) + _END, "upstream_truncated"),
    "a stop reason that is a number": Row(_STOP + _finish(7) + _END, "upstream_truncated"),
    "two message_delta": Row(_STOP + _finish() + _finish("max_tokens") + _END),
    "content behind the end": Row(_TAIL + _block(1, _delta("late", 1))),
    "content inside the end": Row(_STOP + _finish() + _block(1, _delta("late", 1)) + _END),
    "two message_start": Row(_START + _TAIL),
    "an index used again while it is open": Row(_block(0, _delta("y")) + _finish() + _END),
    "an index used again": Row(_STOP + _block(0, _delta("y")) + _finish() + _END),
    **{
        f"index {index}": Row(_block(index, _delta("y", index)) + _TAIL)
        for index in (1 << 31, 1 << 70, -1, "a", 0.5, None, [], {})
    },
    "a delta of no block": Row(_delta("y", 7) + _TAIL),
    "arguments of no block": Row(_delta("", 9, type="input_json_delta", partial_json="{") + _TAIL, "upstream_protocol",
                                 relayed=""),
    "arguments in a text": Row(_delta("", type="input_json_delta", partial_json="{") + _TAIL),
    "an end before its beginning": Row(named("content_block_stop", index=5) + _TAIL),
    "a delta behind the end of its block": Row(_STOP + _delta("y") + _finish() + _END),
    "a tool of wrong types": Row(_STOP + _block(1, type="tool_use", id=7, name=[], input="x") + _finish() + _END),
    "a deep input": Row(_STOP + _block(1, **_TOOL).replace(b"{}", DEEP) + _finish() + _END),
    "a deep input of wrong types": Row(
        _STOP + _block(1, **_TOOL | {"id": 7}).replace(b"{}", DEEP) + _finish() + _END
    ),
    "a tool that the provider runs": Row(_STOP + _block(1, type="server_tool_use", name="web_search") + _finish()
                                         + _END),
    "an unknown block": Row(_block(1, _delta("z", 1, type="odd_delta"), type="odd", text="z") + _TAIL),
    "an unknown stop reason": Row(_STOP + _finish("odd_reason") + _END),
    "an overload": Row(named("error", error={"type": "overloaded_error", "message": TRACE}), "upstream_overloaded"),
    "an error and more": Row(named("error", error={"type": "api_error"}) + _TAIL, "upstream_error"),
    "an error as text": Row(named("error", error=TRACE), "upstream_error"),
    "an error as a list": Row(named("error", error=[TRACE]), "upstream_error"),
    "an error without a name": Row(event({"type": "error", "error": {"message": TRACE}}), "upstream_error"),
    "an error without a type": Row(event({"error": {"message": TRACE}}), "upstream_error"),
    "blocks without number": Row(
        b"".join(named("content_block_start", index=n, content_block={"type": "text"}) for n in range(5000)),
        "upstream_protocol",
    ),
    "pings for ever": Row(named("ping"), "upstream_timeout", steps=(chunk(named("ping") * 9), Wait(0.5)) * 20),
}  # fmt: skip

# --- responses ---

_ITEM: Final = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
_PART: Final = {"type": "output_text", "text": "abcd", "annotations": []}
_WHOLE_ITEM: Final = _ITEM | {"status": "completed", "content": [_PART]}
_COUNTS: Final = {"input_tokens": 4, "output_tokens": 2, "total_tokens": 6}


def _response(**fields: Any) -> dict[str, Any]:
    begun = {"id": "resp_1", "object": "response", "created_at": 1, "model": "other-model", "status": "in_progress"}
    return begun | {"output": [], "usage": None} | fields


def _added(index: Any, item: Any, *, done: bool = False) -> bytes:
    kind = "response.output_item.done" if done else "response.output_item.added"
    return named(kind, sequence_number=8, output_index=index, item=item)


def _piece(text: Any, index: Any = 0, kind: str = "output_text", **fields: Any) -> bytes:
    place = {"sequence_number": 4, "item_id": "msg_1", "output_index": index, "content_index": 0}
    return named(f"response.{kind}.delta", **place | {"delta": text} | fields)


def _ended(status: str = "completed", **fields: Any) -> bytes:
    response = _response(status=status, output=[_WHOLE_ITEM], usage=_COUNTS) | fields
    return named(f"response.{status}", sequence_number=9, response=response)


_PLACE: Final = {"sequence_number": 5, "item_id": "msg_1", "output_index": 0, "content_index": 0}
_DONES: Final = (
    named("response.output_text.done", **_PLACE, text="abcd")
    + named("response.content_part.done", **_PLACE, part=_PART)
    + _added(0, _WHOLE_ITEM, done=True)
)
_CALL: Final = {"id": "fc", "type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
_CUSTOM: Final = {"id": "ct", "type": "custom_tool_call", "call_id": "c", "name": "f", "input": ""}
_CREATED: Final = named("response.created", sequence_number=0, response=_response())
RESPONSES_BEGIN: Final = (
    _CREATED
    + named("response.in_progress", sequence_number=1, response=_response())
    + _added(0, _ITEM)
    + named("response.content_part.added", **_PLACE, part=_PART | {"text": ""})
    + _piece("abcd")
)

RESPONSES: Final[Mapping[str, Row]] = {
    "no ends of anything": Row(_ended()),
    "ends of all but the response": Row(_DONES, "upstream_truncated"),
    "two ends": Row(_DONES + _ended() + _ended("incomplete")),
    "content behind the end": Row(_DONES + _ended() + _piece("late")),
    "a failure": Row(_ended("failed", error={"code": "server_error", "message": TRACE}), "upstream_error"),
    "a failure without an error": Row(_ended("failed", error=None), "upstream_error"),
    "a failure as text": Row(_ended("failed", error=TRACE), "upstream_error"),
    "an unknown end": Row(_DONES + _ended("cancelled"), "upstream_truncated"),
    "an unknown reason": Row(_DONES + _ended("incomplete", incomplete_details={"reason": "odd"})),
    "no reason": Row(_DONES + _ended("incomplete", incomplete_details=7)),
    "an end without a response": Row(_DONES + named("response.completed")),
    "a response that is a list": Row(_DONES + named("response.completed", response=[1])),
    "an output of odd things": Row(_DONES + _ended(output=[7, None, {"type": 7}, {"type": "message", "content": [7]}])),
    "an output of other words": Row(_DONES + _ended(output=[_WHOLE_ITEM | {"content": [_PART | {"text": "other"}]}])),
    "an output of more words": Row(_ended(output=[_WHOLE_ITEM | {"content": [_PART | {"text": "abcdefgh"}]}])),
    "an output of more items": Row(_DONES + _ended(output=[_WHOLE_ITEM, _CALL | {"arguments": "{}"}])),
    "an error event": Row(named("error", code="rate_limit_exceeded", message=TRACE), "upstream_overloaded"),
    "an error inside": Row(named("error", error={"code": "server_error", "message": TRACE}), "upstream_error"),
    "an error and more": Row(named("error", code="x") + _ended(), "upstream_error"),
    "an error as text": Row(event({"error": TRACE}), "upstream_error"),
    "an error without a type": Row(event({"error": {"message": TRACE}}), "upstream_error"),
    "two beginnings": Row(_CREATED + _DONES + _ended()),
    "an index used again": Row(_added(0, _ITEM) + _piece("y") + _DONES + _ended()),
    **{
        f"index {index}": Row(_piece("y", index) + _DONES + _ended())
        for index in (1 << 31, 1 << 70, -1, "a", 0.5, None, [], {})
    },
    **{
        f"part {index}": Row(_piece("y", content_index=index) + _DONES + _ended())
        for index in (1 << 40, -3, "q", None)
    },
    **{
        f"sequence number {number}": Row(_piece("y", sequence_number=number) + _DONES + _ended())
        for number in (1 << 70, -3, "q", 0, None)
    },
    "a delta of no item": Row(_piece("y", 7) + _DONES + _ended()),
    "arguments of no item": Row(_piece("{}", 7, "function_call_arguments") + _DONES + _ended()),
    "arguments in a message": Row(_piece("{}", 0, "function_call_arguments") + _DONES + _ended()),
    "an end before its beginning": Row(_added(5, _WHOLE_ITEM, done=True) + _DONES + _ended()),
    "an end that says nothing": Row(_added(0, {}, done=True) + _ended()),
    "an end that says more": Row(_DONES.replace(b"abcd", b"abcdefgh") + _ended()),
    "an end that says less": Row(_DONES.replace(b"abcd", b"ab") + _ended()),
    "a delta behind the end of its item": Row(_DONES + _piece("y") + _ended()),
    "a call of wrong types": Row(_DONES + _added(1, _CALL | {"name": 7, "call_id": [], "arguments": {}}) + _ended()),
    "deep arguments": Row(_DONES + _added(1, _CALL, done=True).replace(b'"arguments": ""', b'"arguments": ' + DEEP)
                          + _ended()),
    "a deep item": Row(_added(1, _ITEM).replace(b"[]", DEEP), "upstream_truncated"),
    "a deep beginning": Row(_CREATED.replace(b"[]", DEEP), "upstream_truncated"),
    "a tool that the provider runs": Row(_DONES + _added(1, {"id": "ws", "type": "web_search_call"}) + _ended()),
    "an unknown item": Row(_added(1, {"id": "o", "type": "odd", "text": "z"}) + _DONES + _ended()),
    "an unknown delta": Row(_piece("z", kind="odd") + _DONES + _ended()),
    "items without number": Row(b"".join(_added(n, _ITEM) for n in range(1, 3000)), "upstream_truncated"),
    "parts without number": Row(
        b"".join(_piece("y", content_index=n) for n in range(1, 3000)), "upstream_protocol",
        relayed="upstream_truncated",
    ),
    "keep-alives for ever": Row(
        code="upstream_timeout", steps=(chunk(named("keepalive", sequence_number=5)), Wait(0.5)) * 20
    ),
}  # fmt: skip
CUSTOM_CALL: Final = _DONES + _added(1, _ITEM) + _piece("more", 1) + _added(2, _CUSTOM)
"""A tool of free-form input, which no client of another format can have offered, beside other things in one read."""

# --- gemini ---


def _parts(*parts: Any, reason: Any = None, usage: Any = None) -> bytes:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    counts = {"promptTokenCount": 4, "candidatesTokenCount": 2, "totalTokenCount": 6}
    head = {"usageMetadata": usage or counts, "modelVersion": "other-model", "responseId": "r"}
    return event({"candidates": [candidate | ({} if reason is None else {"finishReason": reason})], **head})


def _called(**call: Any) -> bytes:
    return _parts({"functionCall": {"name": "f", "args": {"a": 1}} | call})


_FIN: Final = _parts({"text": ""}, reason="STOP")
GEMINI_BEGIN: Final = _parts({"text": "abcd"})

GEMINI: Final[Mapping[str, Row]] = {
    "two ends": Row(_FIN + _parts({"text": "z"}, reason="MAX_TOKENS")),
    "content behind the end": Row(_FIN + _parts({"text": "late"})),
    **{
        f"a reason that is {reason!r}": Row(_parts({"text": ""}, reason=reason), "upstream_truncated")
        for reason in ("FINISH_REASON_UNSPECIFIED", "", 7, [])
    },
    "an unknown reason": Row(_parts({"text": ""}, reason="ODD")),
    "a filter": Row(event({"promptFeedback": {"blockReason": "SAFETY"}})),
    "a filter of odd words": Row(event({"promptFeedback": {"blockReason": TRACE}})),
    "a filter that is text": Row(event({"promptFeedback": TRACE}) + _FIN),
    "an error object": Row(event({"error": {"code": 503, "status": "UNAVAILABLE", "message": TRACE}}),
                           "upstream_overloaded"),
    "an error in an array": Row(event([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": TRACE}}]),
                                "upstream_overloaded"),
    "an error between events": Row(b'{"error":{"code":500,"message":"Traceback"}}\n', "upstream_truncated"),
    "an error of our account": Row(event({"error": {"code": 401, "status": "UNAUTHENTICATED", "message": TRACE}}),
                                   "upstream_auth"),
    "an error as text": Row(event({"error": TRACE}), "upstream_error"),
    "an error as a list": Row(event({"error": [TRACE]}), "upstream_error"),
    "an error and more": Row(event({"error": {"code": 500}}) + _FIN, "upstream_error"),
    "no candidates": Row(event({"candidates": []}) + event({"candidates": None}) + event({}) + _FIN),
    "two candidates": Row(event({"candidates": [{"content": {"parts": [{"text": "a"}]}}] * 2}) + _FIN),
    "odd parts": Row(_parts(7, None, [], "x", {}, {"odd": 1}) + _FIN),
    "a call without a name": Row(_called(name=None) + _FIN, "upstream_protocol"),
    "a piece of a call": Row(_called(willContinue=True) + _FIN, "upstream_protocol"),
    "a call of wrong types": Row(_called(id=7, args="x") + _FIN),
    "a call that is a number": Row(_parts({"functionCall": 7}) + _FIN),
    "deep arguments": Row(_called().replace(b'{"a": 1}', DEEP) + _FIN),
    "deep arguments of wrong types": Row(_called(id=7).replace(b'{"a": 1}', DEEP) + _FIN),
    "arguments of odd numbers": Row(_called().replace(b'{"a": 1}', b'{"a":1e400,"b":NaN,"c":' + b"9" * 4000 + b"}")
                                    + _FIN),
    "lone surrogates in a call": Row(_called(id="X", name="X").replace(b"X", b"\\ud83d") + _FIN),
    "code": Row(_parts({"executableCode": {"code": "print(1)"}}) + _FIN, "upstream_protocol"),
    "an image": Row(_parts({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}) + _FIN, "upstream_protocol"),
    "signatures of wrong types": Row(_parts({"text": "x", "thoughtSignature": 7, "thought": "yes"}) + _FIN),
    "several chunks in one event": Row(event([{"candidates": []}, {"candidates": []}]), "upstream_truncated"),
    "empty parts for ever": Row(code="upstream_timeout", steps=(chunk(_parts({"text": ""})), Wait(0.5)) * 20),
}  # fmt: skip

# --- any format ---

BEGIN: Final = {"messages": MESSAGES_BEGIN, "responses": RESPONSES_BEGIN, "gemini": GEMINI_BEGIN}
TAIL: Final = {"messages": _TAIL, "responses": _DONES + _ended(), "gemini": _FIN}
_TEXT: Final = {"messages": _delta("XY"), "responses": _piece("XY"), "gemini": _parts({"text": "XY"})}
_OWN: Final = {"messages": MESSAGES, "responses": RESPONSES, "gemini": GEMINI}


def rows_of(format_: str) -> dict[str, Row]:
    """Every row of a format: its own, and what any provider may do."""
    text, tail = _TEXT[format_], TAIL[format_]
    error = Row(event(TRACE.encode(), "error"), "upstream_error")
    rows = {
        "silence": Row(code="upstream_timeout", steps=(Stall(),)),
        "half an event": Row(text[:30], "upstream_timeout", steps=(Stall(),)),
        "a cut in JSON": Row(text[:40], "upstream_truncated"),
        "no end": Row(b"", "upstream_truncated"),
        "closed": Row(b"", "upstream_truncated", steps=(Close(),)),
        "reset": Row(b"", "upstream_truncated", steps=(Wait(1), Reset())),
        "the end, then a reset": Row(tail, steps=(Wait(1), Reset())),
        "the end, then a hang": Row(tail, steps=(Stall(),)),
        "a named error without JSON": error,
        "an unknown event": Row(event({"type": "odd", "x": 1}, "odd") + tail),
        "invalid UTF-8": Row(text.replace(b"XY", b"\xff\xfe") + tail),
        "separators": Row(text.replace(b"XY", "a\u2028\u2029\u0085b".encode()) + tail),
        "lone surrogates": Row(text.replace(b"XY", b"\\ud83d") + text.replace(b"XY", b"\\ude00") + tail),
        "a false end": Row(text.replace(b"XY", b"\\n\\ndata: [DONE]\\n\\n") + tail),
        "broken JSON": Row(text[:30] + b"\n\n" + tail),
        "eight broken frames": Row((b"data: {x\n\n") * 8 + tail, "upstream_protocol", relayed=""),
        "scalars": Row(b'data: 17\n\ndata: null\n\ndata: []\n\ndata: true\n\ndata: "x"\n\n' + tail),
        "deep JSON": Row(event(b"[" * 100_000 + b"]" * 100_000) + event(DEEP) + tail),
        "many digits": Row(event(b'{"x":' + b"9" * 10_000 + b"}") + tail),
        "end markers of chat": Row(b"data: [DONE]\n\n" + tail + b"data: [DONE]\n\n"),
        "an end marker of chat alone": Row(b"data: [DONE]\n\n", "upstream_truncated"),
        "CRLF": Row((text + tail).replace(b"\n", b"\r\n")),
        "CR": Row((text + tail).replace(b"\n", b"\r")),
        "several data lines": Row(text.replace(b", ", b",\ndata: ") + tail),
        "comments": Row(b": keep\n\n:\n\n" + tail),
        "comments for ever": Row(code="upstream_timeout", steps=(chunk(b": keep\n\n"), Wait(0.5)) * 20),
        "a line without end": Row(b"data: ", "upstream_protocol", steps=(chunk(b"x" * 65536),) * 20),
        "an event without end": Row(b"", "upstream_protocol", steps=(chunk(b"data: " + b"x" * 9999 + b"\n"),) * 110),
    }
    return rows | _OWN[format_]


def first_rows(format_: str) -> dict[str, Row]:
    """What may come with nothing before it."""
    text, tail, begin = _TEXT[format_], TAIL[format_], BEGIN[format_]
    return {
        "nothing": Row(b"", "upstream_protocol"),
        "blanks": Row(b"\n\n \n", "upstream_protocol"),
        "a comment": Row(b": hello\n\n", "upstream_protocol"),
        "HTML": Row(f"<html>{TRACE}</html>".encode(), "upstream_protocol"),
        "a string": Row(b'"x"', "upstream_protocol"),
        "JSON of nobody": Row(b'{"x": 1}', "upstream_protocol"),
        "a broken frame": Row(b"data: {x\n\n", "upstream_truncated"),
        "an error": Row(event({"error": {"code": "x", "message": TRACE}}), "upstream_error"),
        "an error as JSON": Row(json.dumps({"error": {"message": TRACE}}).encode(), "upstream_error"),
        "a text without its beginning": Row(text, "upstream_truncated"),
        "an answer without its beginning": Row(text + tail),
        "a beginning twice": Row(begin + begin + tail),
    }


# --- usage that cannot be true ---

LIES: Final[Mapping[str, Any]] = {
    "negative": -7, "huge": 10**7, "65 bits": 1 << 65, "float": 7.5, "text": "7", "bool": True, "list": [7],
    "object": {"a": 1},
}  # fmt: skip
SILENCES: Final[Mapping[str, Any]] = {"null": None, "zero": 0}
TOLD: Final = {
    "messages": ("input_tokens", "output_tokens", "cache_read_input_tokens"),
    "responses": ("input_tokens", "output_tokens"),
    "gemini": ("promptTokenCount", "candidatesTokenCount", "cachedContentTokenCount"),
}
"""The counts of a format's last usage object; the second is that of the output."""


def lying(format_: str, count: str, lie: Any) -> bytes:
    """A whole good stream of six bytes whose last usage object lies about one count."""
    begin = BEGIN[format_] + _TEXT[format_]
    if format_ == "messages":
        return begin + _STOP + _finish(usage={"input_tokens": 4, "output_tokens": 9} | {count: lie}) + _END
    if format_ == "responses":
        return begin + _ended(usage=_COUNTS | {"output_tokens": 9} | {count: lie})
    counts = {"promptTokenCount": 4, "candidatesTokenCount": 9, "totalTokenCount": 13}
    return begin + _parts({"text": ""}, reason="STOP", usage=counts | {count: lie})
