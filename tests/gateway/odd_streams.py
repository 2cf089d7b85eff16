"""Generated streams of providers that may be odd, but are right enough to be relayed: chat, messages, responses.

Any frame (content, reasoning, pieces of calls, comments, named events, several data lines, unknown fields, invalid
UTF-8, broken JSON, line separators that are none), any line end, any cut of the bytes.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

WORDS = ["plain", "grüße", "日本語", "\u2028", "\u0085", "a\\nb", "data: [DONE]\\n\\n", "😀", '"', "\t", "x" * 300]
_BROKEN: Final = (b'data: {"type":"message_st', b'data: {"choices":[{"index":0,"del', b"data: not json", b"data: 17",
                  b"data: []")  # fmt: skip
_COMMENTS: Final = (b": keep going", b":", b": OPENROUTER PROCESSING")


@attrs.frozen
class OddStream:
    """One stream: what stands before its end, and the end."""

    body: bytes
    end: bytes


@attrs.frozen
class Spoken:
    """How a format says things; each gives the JSON of one event."""

    begin: Callable[[], list[dict[str, Any]]]
    """What comes before any content."""
    say: Callable[[random.Random, str], dict[str, Any]]
    """A piece of content of any kind."""
    pause: Callable[[random.Random, str], dict[str, Any]]
    """An event without content."""
    end: Callable[[random.Random], bytes]
    """The frames of the end."""
    is_named: bool
    """Whether events are named by their types."""


def odd_stream(rng: random.Random, format_: str) -> OddStream:
    """Return a stream of a format: a beginning, some content, up to a dozen frames of any kind, the end."""
    spoken = SPOKEN[format_]
    begin = [[*_lines(rng, spoken, document), b"", b""] for document in spoken.begin()]
    content = [*_lines(rng, spoken, spoken.say(rng, "x")), b"", b""]
    frames = [b"\n".join(lines) for lines in [*begin, content]]
    frames += [_frame(rng, spoken) for _ in range(rng.randint(0, 12))]
    return OddStream(b"".join(frames), spoken.end(rng))


def cuts(rng: random.Random, data: bytes) -> Iterator[bytes]:
    """The bytes in pieces of any size, down to one by one."""
    longest = rng.choices([1, 7, 60, 400, len(data)], [1, 2, 5, 8, 8])[0]
    at = 0
    while at < len(data):
        step = rng.randint(1, longest)
        yield data[at : at + step]
        at += step


def _json(rng: random.Random, document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=rng.random() < 0.5).encode()


def _lines(rng: random.Random, spoken: Spoken, document: dict[str, Any]) -> list[bytes]:
    name = [b"event: " + document["type"].encode()] if spoken.is_named else []
    return [*name, b"data: " + _json(rng, document)]


def _frame(rng: random.Random, spoken: Spoken) -> bytes:
    """One frame of a provider that may be odd but has not ended."""
    eol = rng.choice([b"\n", b"\n", b"\n", b"\r\n", b"\r"])
    word = rng.choice(WORDS)
    kind = rng.randrange(12)
    if kind <= 4:
        lines = _lines(rng, spoken, spoken.say(rng, word))
    elif kind == 5:
        lines = [rng.choice(_COMMENTS)]
    elif kind == 6:
        lines = [b"data:" + _json(rng, spoken.say(rng, word))]
    elif kind == 7:
        lines = [b"event: message", b"id: 7", b"data: " + _json(rng, spoken.say(rng, word)), b"retry: 10"]
    elif kind == 8:
        text = json.dumps(spoken.say(rng, word) | {"x_new": {"deep": [1, 2]}}, indent=1)
        lines = [b"data: " + line.encode() for line in text.splitlines()]
    elif kind == 9:
        lines = [b"data: " + _json(rng, spoken.say(rng, "XY")).replace(b"XY", b"\xff\xfe bad")]
    elif kind == 10:
        lines = [rng.choice(_BROKEN)]
    else:
        lines = [b"unknown: field", *_lines(rng, spoken, spoken.pause(rng, word))]
    return eol.join(lines) + eol + eol


# --- chat ---


def _chunk(choices: list[Any], **fields: Any) -> dict[str, Any]:
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **fields}


def _chat_say(rng: random.Random, word: str) -> dict[str, Any]:
    calls = [{"index": 0, "function": {"arguments": word}}]
    delta = rng.choice([{"content": word}, {"content": word}, {"reasoning": word}, {"tool_calls": calls}])
    return _chunk([{"index": 0, "delta": delta, "finish_reason": None}])


def _chat_end(rng: random.Random) -> bytes:
    reason = rng.choice(["stop", "length", "odd"])
    parts = [b"data: " + _json(rng, _chunk([{"index": 0, "delta": {}, "finish_reason": reason}])) + b"\n\n"]
    if rng.random() < 0.8:
        usage = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
        parts.append(b"data: " + _json(rng, _chunk([], usage=usage)) + b"\n\n")
    if rng.random() < 0.8:
        parts.append(b"data: [DONE]\n\n")
    return b"".join(parts)


# --- messages ---


def _messages_begin() -> list[dict[str, Any]]:
    usage = {"input_tokens": 5, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    return [{"type": "message_start", "message": message}, {"type": "ping"}, block]


def _messages_say(rng: random.Random, word: str) -> dict[str, Any]:
    kind, field = rng.choice([
        ("text_delta", "text"),
        ("thinking_delta", "thinking"),
        ("input_json_delta", "partial_json"),
    ])
    index = rng.choice([0, 0, 1, 2**31])
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: word}}


def _messages_pause(rng: random.Random, word: str) -> dict[str, Any]:
    block = {"type": "tool_use", "id": "t", "name": word, "input": {}}
    return rng.choice([
        {"type": "ping"},
        {"type": "odd_event", "x": word},
        {"type": "content_block_start", "index": rng.randrange(4), "content_block": block},
        {"type": "content_block_stop", "index": rng.randrange(4)},
        {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 3}},
    ])


def _messages_end(rng: random.Random) -> bytes:
    delta = {"stop_reason": rng.choice(["end_turn", "max_tokens", "odd"]), "stop_sequence": None}
    finish = {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 9}}
    return (
        b"event: message_delta\ndata: "
        + _json(rng, finish)
        + (b'\n\nevent: message_stop\ndata: {"type": "message_stop"}\n\n')
    )


# --- responses ---


def _response(**fields: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [], **fields}


def _responses_begin() -> list[dict[str, Any]]:
    response = _response(status="in_progress")
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    return [
        {"type": "response.created", "sequence_number": 0, "response": response},
        {"type": "response.in_progress", "sequence_number": 1, "response": response},
        {"type": "response.output_item.added", "sequence_number": 2, "output_index": 0, "item": item},
    ]


def _responses_say(rng: random.Random, word: str) -> dict[str, Any]:
    stem = rng.choice(["output_text", "output_text", "reasoning_summary_text", "function_call_arguments", "odd"])
    place = {"item_id": "msg_1", "output_index": rng.choice([0, 0, 1, 2**31]), "content_index": 0}
    return {"type": f"response.{stem}.delta", "sequence_number": rng.randrange(99), **place, "delta": word}


def _responses_pause(rng: random.Random, word: str) -> dict[str, Any]:
    item = {"id": "fc_1", "type": "function_call", "call_id": "c", "name": word, "arguments": ""}
    index = rng.randrange(4)
    return rng.choice([
        {"type": "keepalive"},
        {"type": "response.odd_event", "x": word},
        {"type": "response.output_item.added", "output_index": index, "item": item},
        {"type": "response.output_item.done", "output_index": index, "item": item | {"arguments": word}},
        {"type": "response.output_text.done", "output_index": index, "content_index": 0, "text": word},
    ])


def _responses_end(rng: random.Random) -> bytes:
    status = rng.choice(["completed", "incomplete"])
    usage = {"input_tokens": 5, "output_tokens": 9, "total_tokens": 14}
    end = {"type": f"response.{status}", "sequence_number": 99, "response": _response(status=status, usage=usage)}
    return f"event: response.{status}\ndata: ".encode() + _json(rng, end) + b"\n\n"


SPOKEN: Final[Mapping[str, Spoken]] = {
    "chat": Spoken(
        list, _chat_say, lambda _, word: _chunk([], prompt_filter_results=[{"x": word}]), _chat_end,
        is_named=False,
    ),
    "messages": Spoken(_messages_begin, _messages_say, _messages_pause, _messages_end, is_named=True),
    "responses": Spoken(_responses_begin, _responses_say, _responses_pause, _responses_end, is_named=True),
}  # fmt: skip
