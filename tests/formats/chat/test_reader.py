import json

import pytest

from ainf.formats.base import Answer
from ainf.inference.conversation import Opaque
from ainf.inference.errors import UpstreamError
from ainf.inference.events import (
    TOOL_KINDS,
    BlockDelta,
    BlockEnd,
    BlockKind,
    BlockStart,
    FinishReason,
    MessageEnd,
    MessageStart,
    StreamGrammar,
    UsageUpdate,
)
from ainf.inference.usage import Usage
from tests.formats.chat.support import (
    CHAT,
    DONE,
    FINISH,
    LIMITS,
    NAMES,
    USAGE_CHUNK,
    WIRE_USAGE,
    answer_of,
    chunk,
    expected,
    fixture,
    frame_of,
    text,
)


def read(reader, data, size=None):
    """Return all events of an answer, held against the grammar."""
    parts = [data] if size is None else [data[at : at + size] for at in range(0, len(data), size)]
    events = [event for part in parts for event in reader.receive(part)]
    events += reader.receive_eof()
    grammar = StreamGrammar()
    for event in events:
        grammar.advance(event)
    return events


def stream(data, size=None):
    return read(CHAT.stream_reader(LIMITS, Answer()), data, size)


def failed(data):
    """Return the texts of a stream that ends the reading, however it is cut, and the error."""
    told = set()
    for size in (None, 7):
        reader = CHAT.stream_reader(LIMITS, Answer())
        texts = tuple(event.text for event in read(reader, data, size) if isinstance(event, BlockDelta))
        told.add((texts, str(reader.answer.error)))
    (found,) = told
    return found


def call(index=0, call_id=None, name=None, arguments=None):
    piece = {"function": {"name": name, "arguments": arguments}, "id": call_id}
    return chunk({"tool_calls": [piece | ({} if index is None else {"index": index})]})


def calls_of(events):
    starts = {event.index: event for event in events if isinstance(event, BlockStart) and event.kind in TOOL_KINDS}
    return [
        (
            start.call_id,
            start.name,
            "".join(event.text for event in events if isinstance(event, BlockDelta) and event.index == index),
        )
        for index, start in starts.items()
    ]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [None, 1])
def test_fixture(name, size):
    """A provider's stream is read into grammatical events that hold all of it."""
    want, events = expected(name), stream(fixture(name), size)
    texts = dict.fromkeys(BlockKind, "")
    kinds = {event.index: event.kind for event in events if isinstance(event, BlockStart)}
    for event in events:
        if isinstance(event, BlockDelta):
            texts[kinds[event.index]] += event.text
    assert (texts[BlockKind.TEXT], texts[BlockKind.REASONING]) == (want["text"], want["reasoning"])
    assert [list(found) for found in calls_of(events)] == want["calls"]
    assert [event.raw_reason for event in events if isinstance(event, MessageEnd)] == [want["finish"]]
    assert [event for event in events if isinstance(event, UsageUpdate)][-1] == UsageUpdate(Usage(*want["usage"]))


def test_transcript():
    """Kinds of text follow one another as blocks; usage may follow the end."""
    data = chunk({"role": "assistant", "content": ""}) + chunk({"reasoning": "hm"}) + text("a") + text("b")
    assert stream(data + chunk({"refusal": "no"}) + FINISH + USAGE_CHUNK + DONE) == [
        MessageStart("chatcmpl-1", "m-1"),
        BlockStart(0, BlockKind.REASONING),
        BlockDelta(0, "hm"),
        BlockEnd(0),
        BlockStart(1, BlockKind.TEXT),
        BlockDelta(1, "a"),
        BlockDelta(1, "b"),
        BlockEnd(1),
        BlockStart(2, BlockKind.REFUSAL),
        BlockDelta(2, "no"),
        BlockEnd(2),
        MessageEnd(FinishReason.STOP, "stop"),
        UsageUpdate(Usage(5, 0, 3, 0)),
    ]


@pytest.mark.threat(112)
@pytest.mark.parametrize(
    ("frames", "found"),
    [
        ([call(0, "a", "f", "{"), call(1, "b", "g", "["), call(0, arguments="}"), call(1, arguments="]")],
         [("a", "f", "{}"), ("b", "g", "[]")]),
        ([call(2**31, "a", "f", "1"), call(-1, "b", "g", "2"), call(2**31, arguments="3")],
         [("a", "f", "13"), ("b", "g", "2")]),
        ([call(None, "a", "f", "1"), call(None, "b", "g", "2"), call(None, "a", None, "3"), call(None, arguments="4")],
         [("a", "f", "134"), ("b", "g", "2")]),
        ([call(0, "a", "f", "1"), call(0, "b", "g", "2"), call(0, arguments="3")],
         [("a", "f", "1"), ("b", "g", "23")]),
        ([call(0, None, "f", "1")], [("call_0", "f", "1")]),
        ([call(0, "a", "f", {"x": 1})], [("a", "f", '{"x":1}')]),
        ([call(True, "a", "f", "{bro")], [("a", "f", "{bro")]),
        ([chunk({"function_call": {"name": "f", "arguments": ""}}), chunk({"function_call": {"arguments": "{}"}})],
         [(None, "f", "{}")]),
        ([chunk({"tool_calls": [{"index": 0, "id": "a", "custom": {"name": "f", "input": "x"}}]})], [("a", "f", "x")]),
    ],
)  # fmt: skip
def test_tool_calls(frames, found):
    """Pieces of tool calls are joined by index, else by id, however odd the index."""
    assert calls_of(stream(b"".join(frames) + chunk({}, "tool_calls"))) == found


def test_the_beginning_waits_for_a_name():
    """A first chunk that names nothing and says nothing (Azure's) is no beginning; one that says something is."""
    nameless = {"id": "", "model": "", "created": 0}
    filtered = chunk(**nameless, prompt_filter_results=[])
    assert stream(filtered + text("a") + FINISH)[0] == MessageStart("chatcmpl-1", "m-1")
    for first in (
        chunk({"content": "a"}, **nameless),
        chunk({}, "stop", **nameless),
        chunk({}, **nameless, usage=WIRE_USAGE),
    ):
        assert stream(first + text("b") + FINISH)[0] == MessageStart(None, None)


def test_custom_calls():
    """A call of a custom tool is told from a function's, in a stream and in a whole answer."""
    custom = {"id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}
    pieces = [{"index": 0} | custom, {"index": 0, "custom": {"input": "y"}}]
    events = stream(b"".join(chunk({"tool_calls": [piece]}) for piece in pieces) + chunk({}, "tool_calls"))
    assert events[1:-1] == [
        BlockStart(0, BlockKind.CUSTOM_TOOL_CALL, "a", "f"),
        BlockDelta(0, "x"),
        BlockDelta(0, "y"),
        BlockEnd(0),
    ]
    body = answer_of({"role": "assistant", "tool_calls": [custom]}, "tool_calls")
    start = read(CHAT.answer_reader(LIMITS, Answer()), body)[1]
    assert start == BlockStart(0, BlockKind.CUSTOM_TOOL_CALL, "a", "f")


PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "reference"}]},
    {"type": "thinking", "thinking": [{"type": "text", "text": "m"}]},
    {"type": "text", "text": "a"},
    {"type": "reference", "reference_ids": [1]},
    {"type": "text", "text": "b"},
]  # fmt: skip
IN_PARTS = [
    BlockStart(0, BlockKind.REASONING),
    BlockDelta(0, "h"),
    BlockDelta(0, "m"),
    BlockEnd(0),
    BlockStart(1, BlockKind.TEXT),
    BlockDelta(1, "a"),
    BlockDelta(1, "b"),
    BlockEnd(1),
]


def test_content_in_parts():
    """Thoughts and text that stand in one list are blocks of their own, whether all at once or part by part."""
    assert stream(chunk({"content": PARTS}) + FINISH)[1:-1] == IN_PARTS
    assert stream(b"".join(chunk({"content": [part]}) for part in PARTS) + FINISH)[1:-1] == IN_PARTS
    message = {"role": "assistant", "content": PARTS}
    events = read(CHAT.answer_reader(LIMITS, Answer()), answer_of(message))
    assert [event for event in events[1:-1] if not isinstance(event, UsageUpdate)] == IN_PARTS


SIGNED = {"type": "reasoning.text", "text": "", "signature": "s1", "format": "anthropic-claude-v1", "index": 0}
SECRET = {"type": "reasoning.encrypted", "data": "d1", "index": 1}
SIGNED_OPAQUE = Opaque("chat", '{"type":"reasoning.text","signature":"s1","format":"anthropic-claude-v1"}')
SECRET_OPAQUE = Opaque("chat", '{"type":"reasoning.encrypted","data":"d1"}')


def test_opaque_reasoning():
    """What a provider wants back of its reasoning ends the thought that it belongs to, or stands alone."""
    frames = [
        chunk({"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm", "index": 0}]}),
        chunk({"reasoning_details": [SIGNED]}),
        text("a"),
        chunk({"reasoning_details": [SECRET]}),
        text("b"),
    ]
    assert stream(b"".join(frames) + FINISH)[1:-1] == [
        BlockStart(0, BlockKind.REASONING),
        BlockDelta(0, "hm"),
        BlockEnd(0, SIGNED_OPAQUE),
        BlockStart(1, BlockKind.TEXT),
        BlockDelta(1, "a"),
        BlockEnd(1),
        BlockStart(2, BlockKind.REASONING),
        BlockEnd(2, SECRET_OPAQUE),
        BlockStart(3, BlockKind.TEXT),
        BlockDelta(3, "b"),
        BlockEnd(3),
    ]


def test_opaque_reasoning_of_a_whole_answer():
    """A whole answer says the same at once; a thought that only the entries tell is read from them."""
    message = {
        "role": "assistant",
        "content": "a",
        "reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}, SIGNED, SECRET],
    }
    events = read(CHAT.answer_reader(LIMITS, Answer()), answer_of(message))
    assert events[1:8] == [
        BlockStart(0, BlockKind.REASONING),
        BlockDelta(0, "hm"),
        BlockEnd(0, SIGNED_OPAQUE),
        BlockStart(1, BlockKind.REASONING),
        BlockEnd(1, SECRET_OPAQUE),
        BlockStart(2, BlockKind.TEXT),
        BlockDelta(2, "a"),
    ]


@pytest.mark.threat(112)
@pytest.mark.parametrize("index", [None, 0, 7])
def test_orphan_piece(index):
    """A piece of a tool call that belongs to none, and names none that it could begin, is a protocol error."""
    texts, error = failed(text("a") + call(index, None, None, "x") + text("b") + FINISH)
    assert "belongs to none" in error
    assert texts == ("a",)


def test_many_tool_calls():
    """A provider that opens tool calls without end is out of bounds."""
    _, error = failed(b"".join(call(number, f"c{number}", "f", "") for number in range(1100)))
    assert "more tool calls" in error


def test_many_blocks():
    """So is one that goes to and fro between text and thoughts without end: each turn is a block more."""
    texts, error = failed((text("a") + chunk({"reasoning_content": "b"})) * 1_100)
    assert "more blocks" in error
    assert texts == ("a", "b") * 1_024


@pytest.mark.threat(85)
def test_broken_frames():
    """A broken frame is skipped and counted; the eighth in a row ends the stream."""
    broken = b"data: {oops\n\n"
    reader = CHAT.stream_reader(LIMITS, Answer())
    events = read(reader, text("a") + broken * 7 + text("b") + broken * 7 + FINISH)
    assert [event.text for event in events if isinstance(event, BlockDelta)] == ["a", "b"]
    assert reader.answer.opaque_frames == 14
    texts, error = failed(text("a") + broken * 8 + text("b") + FINISH)
    assert "eight frames in a row" in error
    assert texts == ("a",)


@pytest.mark.threat(81, 83)
@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (b'{"choices":[{"delta":{"content":"a\xffb"}}]}', "a\ufffdb"),
        (b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}', "a\ufffd"),
        (b'{"choices":[{"delta":{"content":"\\ud83d\\ude00"}}]}', "\U0001f600"),
        (b'{"choices":[{"delta":{"function_call":{"name":"f","arguments":"\\ud83d"}}}]}', "\ufffd"),
    ],
)
def test_broken_text(payload, found):
    """Invalid UTF-8 and lone surrogates become U+FFFD, pairs are joined."""
    events = stream(b"data: " + payload + b"\n\n" + FINISH)
    assert [event.text for event in events if isinstance(event, BlockDelta)] == [found]


@pytest.mark.threat(93)
def test_first_finish_stands():
    """Nothing but usage is read behind the finish chunk."""
    events = stream(FINISH + text("late") + chunk({}, "length") + USAGE_CHUNK + DONE + USAGE_CHUNK)
    assert [type(event) for event in events] == [MessageStart, MessageEnd, UsageUpdate]


@pytest.mark.parametrize("data", [b"", b": ping\n\n"])
def test_nothing(data):
    """A stream without any event is no answer."""
    with pytest.raises(UpstreamError, match="upstream_protocol"):
        stream(data)


def test_done_alone():
    """An end marker is no evidence of an end."""
    reader = CHAT.stream_reader(LIMITS, Answer())
    assert read(reader, DONE + FINISH) == []
    assert reader.answer.error.code == "upstream_truncated"


def test_truncated():
    """A stream without its end is an error."""
    reader = CHAT.stream_reader(LIMITS, Answer())
    reader.receive(text("a"))
    with pytest.raises(UpstreamError, match="upstream_truncated"):
        reader.receive_eof()


def test_in_band_error():
    """An error in the stream ends the reading; nothing of it becomes an event."""
    reader = CHAT.stream_reader(LIMITS, Answer())
    events = read(reader, text("a") + frame_of({"error": {"code": 429}}) + text("b") + FINISH)
    assert reader.answer.error.code == "upstream_overloaded"
    assert [event.text for event in events if isinstance(event, BlockDelta)] == ["a"]


def test_a_named_error_that_is_no_json():
    """It is an error all the same, and no broken frame."""
    reader = CHAT.stream_reader(LIMITS, Answer())
    events = read(reader, text("a") + b"event: error\ndata: gpu-17.internal\n\n" + text("b") + FINISH)
    assert reader.answer.error.code == "upstream_error"
    assert reader.answer.opaque_frames == 0
    assert [event.text for event in events if isinstance(event, BlockDelta)] == ["a"]


def test_whole_answer():
    """A whole answer is the same events at once."""
    message = {
        "role": "assistant",
        "content": "Hi",
        "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}, {"id": "b", "function": {"name": "g"}}],
    }
    events = read(CHAT.answer_reader(LIMITS, Answer()), answer_of(message, "tool_calls"), 7)
    assert events == [
        MessageStart("chatcmpl-2", "m-2"),
        BlockStart(0, BlockKind.TEXT),
        BlockDelta(0, "Hi"),
        BlockEnd(0),
        BlockStart(1, BlockKind.TOOL_CALL, "call_1", "f"),
        BlockDelta(1, "{}"),
        BlockStart(2, BlockKind.TOOL_CALL, "b", "g"),
        UsageUpdate(Usage(5, 0, 3, 0)),
        BlockEnd(1),
        BlockEnd(2),
        MessageEnd(FinishReason.TOOL_CALLS, "tool_calls"),
    ]


def test_whole_error():
    """An error object gives no events."""
    reader = CHAT.answer_reader(LIMITS, Answer())
    assert read(reader, json.dumps({"error": "x"}).encode()) == []
    assert reader.answer.error.code == "upstream_error"


def test_usage_that_cannot_be_true_is_no_event():
    """Rejected usage is kept as text only."""
    reader = CHAT.stream_reader(LIMITS, Answer())
    events = read(reader, FINISH + chunk(usage=WIRE_USAGE | {"prompt_tokens": -1}))
    assert not [event for event in events if isinstance(event, UsageUpdate)]
    assert reader.answer.is_usage_rejected
