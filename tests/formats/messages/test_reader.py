import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.base import Answer
from ainf.formats.messages.format import MESSAGES
from ainf.inference.conversation import Opaque
from ainf.inference.errors import UpstreamError
from ainf.inference.events import (
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
from tests.formats.messages.support import (
    HELLO,
    LIMITS,
    NAMES,
    PING,
    STOP,
    WHOLE,
    WHOLE_NAMES,
    answer_of,
    arguments,
    block_start,
    delta,
    event,
    expected,
    finish,
    fixture,
    start,
    stop,
    text,
    thinking,
    thinking_start,
    tool_start,
    whole_fixture,
)
from tests.formats.messages.test_wire import HOSTILE, SMALL_HOSTILE


def stream_reader():
    return MESSAGES.stream_reader(LIMITS, Answer())


def answer_reader():
    return MESSAGES.answer_reader(LIMITS, Answer())


def read(reader, data, size=None):
    """Return all events of an answer, held against the grammar."""
    parts = [data] if size is None else [data[at : at + size] for at in range(0, len(data), size)]
    events = [event for part in parts for event in reader.receive(part)]
    events += reader.receive_eof()
    grammar = StreamGrammar()
    for each in events:
        grammar.advance(each)
    return events


def stream(data, size=None):
    return read(stream_reader(), data, size)


def failed(data):
    """Return the text of a stream that ends the reading, however it is cut, and the error."""
    told = set()
    for size in (None, 7):
        reader = stream_reader()
        told.add((text_of(read(reader, data, size), BlockKind.TEXT), str(reader.answer.error)))
    (found,) = told
    return found


def text_of(events, kind):
    kinds = {each.index: each.kind for each in events if isinstance(each, BlockStart)}
    return "".join(each.text for each in events if isinstance(each, BlockDelta) and kinds[each.index] is kind)


def calls_of(events):
    return [
        [begun.call_id, begun.name,
         "".join(each.text for each in events if isinstance(each, BlockDelta) and each.index == begun.index)]
        for begun in events if isinstance(begun, BlockStart) and begun.kind is BlockKind.TOOL_CALL
    ]  # fmt: skip


def check(events, reader, want):
    assert events[0] == MessageStart(want["response_id"], want["model"])
    assert text_of(events, BlockKind.TEXT) == want["text"]
    assert text_of(events, BlockKind.REASONING) == want["reasoning"]
    opaques = [each.opaque for each in events if isinstance(each, BlockEnd) and each.opaque is not None]
    assert [[opaque.source, opaque.data] for opaque in opaques] == want["opaque"]
    assert calls_of(events) == want["calls"]
    ends = [(each.raw_reason, each.stop_sequence) for each in events if isinstance(each, MessageEnd)]
    assert ends == ([] if want["finish"] is None else [(want["finish"], want["stop_sequence"])])
    assert [each for each in events if isinstance(each, UsageUpdate)][-1] == UsageUpdate(Usage(*want["usage"]))
    error = reader.answer.error
    assert (error and error.code, reader.answer.opaque_frames) == (want["error"], 0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [None, 1, 30])
def test_fixture(name, size):
    """A provider's stream is read into grammatical events that hold all of it, however it is cut."""
    reader = stream_reader()
    check(read(reader, fixture(name), size), reader, expected(name))


@pytest.mark.parametrize("name", WHOLE_NAMES)
def test_whole_fixture(name):
    """A whole answer is the same events at once."""
    reader = answer_reader()
    check(read(reader, whole_fixture(name), 64), reader, expected(name))


def test_transcript():
    """Blocks are followed as they come; what their provider wants back rides on their end."""
    data = (
        start() + thinking_start() + PING + thinking("hm") + delta(0, type="signature_delta", signature="sig") + stop()
    )
    data += tool_start(1) + tool_start(2, "toolu_2", "g") + arguments('{"a"', 1) + arguments("{}", 2) + stop(2)
    data += arguments(":1}", 1) + stop(1) + finish("tool_use", usage={"output_tokens": 9}) + STOP
    assert stream(data) == [
        MessageStart("msg_1", "m-1"),
        UsageUpdate(Usage(5, 0, 3)),
        BlockStart(0, BlockKind.REASONING),
        BlockDelta(0, "hm"),
        BlockEnd(0, Opaque("messages.signature", "sig")),
        BlockStart(1, BlockKind.TOOL_CALL, "toolu_1", "f"),
        BlockStart(2, BlockKind.TOOL_CALL, "toolu_2", "g"),
        BlockDelta(1, '{"a"'),
        BlockDelta(2, "{}"),
        BlockEnd(2),
        BlockDelta(1, ":1}"),
        BlockEnd(1),
        UsageUpdate(Usage(5, 0, 9)),
        MessageEnd(FinishReason.TOOL_CALLS, "tool_use"),
    ]


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        ([tool_start(0), stop()], [["toolu_1", "f", "{}"]]),
        ([tool_start(0), arguments(""), stop()], [["toolu_1", "f", "{}"]]),
        ([tool_start(0)], [["toolu_1", "f", "{}"]]),
        ([tool_start(0, input={"a": 1}), stop()], [["toolu_1", "f", '{"a": 1}']]),
        ([tool_start(0, input={"a": 1}), arguments('{"b":2}'), stop()], [["toolu_1", "f", '{"b":2}']]),
        ([tool_start(0, None, None)], [["toolu_0", "", "{}"]]),
        ([tool_start(2**31), arguments("1", 2**31), tool_start(-1), arguments("2", -1)],
         [["toolu_1", "f", "1"], ["toolu_1", "f", "2"]]),
        ([tool_start(0), arguments("1"), tool_start(0, "b", "g"), arguments("2"), stop()],
         [["toolu_1", "f", "1"], ["b", "g", "2"]]),
        ([tool_start("x"), arguments("1", None)], [["toolu_1", "f", "1"]]),
        ([tool_start(0), text("no"), arguments("{")], [["toolu_1", "f", "{"]]),
    ],
)  # fmt: skip
def test_tool_calls(frames, found):
    """The pieces of a tool's input are joined by index, however odd; without any, its beginning stands."""
    assert calls_of(stream(start() + b"".join(frames) + finish("tool_use"))) == found


@given(st.text(max_size=40), st.lists(st.integers(0, 40), max_size=8), st.integers(1, 200))
def test_arguments_survive_any_split(content, cuts, size):
    """A tool's input is the same however its text is cut into pieces and the bytes into reads."""
    whole = json.dumps({"a": content})
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    pieces = [arguments(whole[begin:end]) for begin, end in pairwise(edges)]
    events = stream(start() + tool_start(0) + b"".join(pieces) + stop() + finish("tool_use") + STOP, size)
    assert calls_of(events) == [["toolu_1", "f", whole]]


def test_orphans():
    """Text and thinking that belong to no block begin one; a piece of a tool's input is a protocol error."""
    events = stream(start() + text("a") + text("b") + stop() + text("c", 0) + thinking("d", 4) + finish())
    assert [each for each in events if isinstance(each, BlockStart)] == [
        BlockStart(0, BlockKind.TEXT),
        BlockStart(1, BlockKind.TEXT),
        BlockStart(2, BlockKind.REASONING),
    ]
    assert (text_of(events, BlockKind.TEXT), text_of(events, BlockKind.REASONING)) == ("abc", "d")
    said, error = failed(start() + text("a") + arguments("x", 1) + text("b") + finish())
    assert "belongs to none" in error
    assert said == "a"


def test_content_in_a_beginning():
    """Text that stands in a block's beginning is not lost."""
    data = block_start(0, type="text", text="a", signature="none of its own") + text("b") + stop()
    data += block_start(1, type="thinking", thinking="c", signature="s") + stop(1)
    events = stream(start() + data + finish())
    assert (text_of(events, BlockKind.TEXT), text_of(events, BlockKind.REASONING)) == ("ab", "c")
    assert [each for each in events if isinstance(each, BlockEnd)] == [
        BlockEnd(0),
        BlockEnd(1, Opaque("messages.signature", "s")),
    ]


def test_blocks_that_no_event_has():
    """What the provider's own tools do is passed over, with its pieces."""
    data = block_start(0, type="server_tool_use", id="s", name="x", input={}) + arguments("{}") + stop()
    assert [type(each) for each in stream(start() + data + finish())] == [
        MessageStart, UsageUpdate, UsageUpdate, MessageEnd,
    ]  # fmt: skip


def test_many_blocks():
    """A provider that opens blocks without end is out of bounds."""
    _, error = failed(start() + b"".join(block_start(number) for number in range(2100)))
    assert "more blocks" in error


def test_broken_frames():
    """A broken frame is skipped and counted; the eighth in a row ends the stream."""
    broken = b"event: content_block_delta\ndata: {oops\n\n"
    reader = stream_reader()
    events = read(reader, start() + text("a") + broken * 7 + text("b") + broken * 7 + finish())
    assert text_of(events, BlockKind.TEXT) == "ab"
    assert reader.answer.opaque_frames == 14
    said, error = failed(start() + text("a") + broken * 8 + text("b") + finish())
    assert "eight frames in a row" in error
    assert said == "a"


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"a\xffb", "a\ufffdb"), (b"a\\ud83d", "a\ufffd"), (b"\\ud83d\\ude00", "\U0001f600")],
)
def test_broken_text(content, found):
    """Invalid UTF-8 and lone surrogates become U+FFFD, pairs are joined."""
    frame = (
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"' + content + b'"}}\n\n'
    )
    assert text_of(stream(start() + frame + finish()), BlockKind.TEXT) == found


@pytest.mark.parametrize("payload", HOSTILE)
def test_hostile(payload):
    """Wrong types count as absent; the answer around them is read."""
    odd = b"event: x\ndata: " + payload + b"\n\n"
    events = stream(HELLO + odd + text(" there", 9) + finish("max_tokens"))
    assert text_of(events, BlockKind.TEXT).startswith("Hi you")
    assert text_of(events, BlockKind.TEXT).endswith(" there")
    assert events[-1] == MessageEnd(FinishReason.LENGTH, "max_tokens")


@given(st.lists(st.sampled_from(SMALL_HOSTILE), max_size=20), st.integers(1, 50))
def test_hostile_streams(payloads, size):
    """Any heap of nonsense is grammatical events and the same verdict, however it is cut."""
    data = b"".join(b"event: x\ndata: " + payload + b"\n\n" for payload in payloads)

    def verdict(size):
        reader = stream_reader()
        try:
            read(reader, data, size)
        except UpstreamError as error:
            return error.code
        return reader.answer.error and reader.answer.error.code

    assert verdict(None) == verdict(size)


def test_without_a_start():
    """A stream whose provider forgot message_start is read all the same."""
    assert stream(PING + start() + finish())[0] == MessageStart("msg_1", "m-1")
    events = stream(PING + block_start() + text("a") + stop() + finish(usage={"input_tokens": 1, "output_tokens": 2}))
    assert events[0] == MessageStart()
    assert text_of(events, BlockKind.TEXT) == "a"


def test_behind_the_end():
    """Behind the stop reason only usage is read, until message_stop."""
    usage = event("message_delta", delta={}, usage={"output_tokens": 50})
    events = stream(HELLO + finish() + text("late") + finish("max_tokens") + usage + STOP + usage + event("error"))
    assert [type(each) for each in events[-3:]] == [UsageUpdate, MessageEnd, UsageUpdate]
    assert events[-1] == UsageUpdate(Usage(5, 0, 50))


@pytest.mark.parametrize("data", [b"", b": ping\n\n"])
def test_nothing(data):
    """A stream without any event is no answer."""
    with pytest.raises(UpstreamError, match="upstream_protocol"):
        stream(data)


def test_truncated():
    """A stream without a stop reason is an error, and message_stop alone is none."""
    reader = stream_reader()
    reader.receive(HELLO)
    with pytest.raises(UpstreamError, match="upstream_truncated"):
        reader.receive_eof()
    assert reader.answer.usage == Usage(5, 0, 3)
    reader = stream_reader()
    read(reader, HELLO + STOP + finish())
    assert (reader.answer.error.code, reader.answer.raw_finish_reason) == ("upstream_truncated", None)


def test_unterminated_last_event():
    """At a clean end an event without its blank line counts, and an error beside it is kept."""
    assert isinstance(stream(WHOLE[: -len(STOP)].rstrip(b"\n"))[-1], MessageEnd)
    reader = stream_reader()
    events = read(reader, start() + text("a").rstrip(b"\n"))
    assert text_of(events, BlockKind.TEXT) == "a"
    assert reader.answer.error.code == "upstream_truncated"


def test_in_band_error():
    """An error in the stream ends the reading; nothing of it becomes an event."""
    reader = stream_reader()
    events = read(reader, HELLO + event("error", error={"type": "overloaded_error"}) + text("b", 1) + finish())
    assert reader.answer.error.code == "upstream_overloaded"
    assert text_of(events, BlockKind.TEXT) == "Hi you"


def test_whole_error():
    """An error object gives no events."""
    reader = answer_reader()
    assert read(reader, json.dumps({"type": "error", "error": {"type": "api_error"}}).encode()) == []
    assert reader.answer.error.code == "upstream_error"


def test_whole_with_odd_blocks():
    """Blocks of a whole answer that no event has are passed over."""
    content = [
        7,
        {"type": "mystery"},
        {"type": "text"},
        {"type": "text", "text": "a"},
        {"type": "tool_use", "input": 7},
    ]
    events = read(answer_reader(), answer_of(content, usage=None))
    assert text_of(events, BlockKind.TEXT) == "a"
    assert calls_of(events) == [["toolu_2", "", "{}"]]
    assert not [each for each in events if isinstance(each, UsageUpdate)]


def test_usage_that_cannot_be_true_is_no_event():
    """Rejected usage is kept as text only."""
    reader = stream_reader()
    events = read(reader, start({"input_tokens": -1, "output_tokens": 1}) + finish(usage={"output_tokens": 4}))
    assert not [each for each in events if isinstance(each, UsageUpdate)]
    assert reader.answer.is_usage_rejected
