import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ainf.formats.base import Answer
from ainf.formats.gemini.reader import BlockTracker
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
    UsageUpdate,
)
from ainf.inference.usage import Usage
from tests.formats.gemini.support import (
    ERROR,
    FINISH,
    NAMES,
    WIRE_USAGE,
    answer_of,
    answer_reader,
    calls_of,
    chunk,
    document_of,
    expected,
    fixture,
    frame_of,
    is_ended,
    read,
    stream_reader,
    text,
    texts_of,
)

CALL = {"functionCall": {"id": "c-1", "name": "f", "args": {"x": [1, 2]}}}


def stream(data, size=None):
    return read(stream_reader(), data, size)


def failed(data):
    """Return the text of a stream that ends the reading, however it is cut, and the error."""
    told = set()
    for size in (None, 7):
        reader = stream_reader()
        told.add((texts_of(read(reader, data, size))[BlockKind.TEXT], str(reader.answer.error)))
    (found,) = told
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [None, 1, 7])
def test_fixture(name, size):
    """A provider's stream is read into grammatical events that hold all of it."""
    want, reader = expected(name), stream_reader()
    if "error" in want and name == "error_bare":
        with pytest.raises(UpstreamError, match=want["error"]):
            read(reader, fixture(name), 1)
        return
    events = read(reader, fixture(name), size)
    texts = texts_of(events)
    assert [texts[kind] for kind in (BlockKind.TEXT, BlockKind.REASONING, BlockKind.REFUSAL)] == [
        want["text"], want["reasoning"], want["refusal"],
    ]  # fmt: skip
    assert [list(call) for call in calls_of(events)] == want["calls"]
    opaques = [event.opaque for event in events if isinstance(event, BlockEnd) and event.opaque]
    assert [[opaque.source, opaque.data] for opaque in opaques] == want["signatures"]
    ends = [[event.reason.value, event.raw_reason] for event in events if isinstance(event, MessageEnd)]
    assert ends == ([want["finish"]] if is_ended(name) else [])
    assert [event for event in events if isinstance(event, UsageUpdate)][-1] == UsageUpdate(Usage(*want["usage"]))
    assert (None if reader.answer.error is None else reader.answer.error.code) == want.get("error")


@pytest.mark.parametrize("name", [name for name in NAMES if is_ended(name)])
@given(cuts=st.lists(st.integers(1, 200), max_size=30))
def test_any_cut(name, cuts):
    """Any cut of the bytes gives the same events and facts."""
    data, reader, whole = fixture(name), stream_reader(), stream_reader()
    events, at = [], 0
    for cut in cuts:
        events += reader.receive(data[at : at + cut])
        at += cut
    events += reader.receive(data[at:]) + reader.receive_eof()
    assert events == read(whole, data)
    assert reader.answer == whole.answer


def test_transcript():
    """Text and thoughts follow one another as blocks; a signature stands before the part that it belongs to."""
    data = (
        chunk({"text": "hm", "thought": True})
        + chunk({"text": " hm", "thought": True, "thoughtSignature": "s0"})
        + chunk({"text": "again", "thought": True}, {"text": "a"})
        + text("b", usageMetadata=WIRE_USAGE)
        + chunk({"text": "c", "thoughtSignature": "s1"})
        + chunk(CALL | {"thoughtSignature": "s2"}, CALL)
        + chunk({"text": "", "thoughtSignature": "s3"}, finish="STOP")
    )
    assert stream(data) == [
        MessageStart("r-1", "m-1"),
        BlockStart(0, BlockKind.REASONING),
        BlockDelta(0, "hm"),
        BlockDelta(0, " hm"),
        BlockEnd(0, Opaque("gemini", "s0")),
        BlockStart(1, BlockKind.REASONING),
        BlockDelta(1, "again"),
        BlockEnd(1),
        BlockStart(2, BlockKind.TEXT),
        BlockDelta(2, "a"),
        UsageUpdate(Usage(5, 0, 3, 1)),
        BlockDelta(2, "b"),
        BlockEnd(2),
        BlockStart(3, BlockKind.REASONING),
        BlockEnd(3, Opaque("gemini.text", "s1")),
        BlockStart(4, BlockKind.TEXT),
        BlockDelta(4, "c"),
        BlockEnd(4),
        BlockStart(5, BlockKind.REASONING),
        BlockEnd(5, Opaque("gemini.call", "s2")),
        BlockStart(6, BlockKind.TOOL_CALL, "c-1", "f"),
        BlockDelta(6, '{"x":[1,2]}'),
        BlockEnd(6),
        BlockStart(7, BlockKind.TOOL_CALL, "c-1", "f"),
        BlockDelta(7, '{"x":[1,2]}'),
        BlockEnd(7),
        BlockStart(8, BlockKind.REASONING),
        BlockEnd(8, Opaque("gemini.text", "s3")),
        MessageEnd(FinishReason.TOOL_CALLS, "STOP"),
    ]


@pytest.mark.parametrize(
    ("response_id", "ids"),
    [("r-1", ["call_r-1_0", "call_r-1_1"]), ("r/1 ü", ["call_r1_0", "call_r1_1"]),
     ("r" * 99, ["call_" + "r" * 32 + "_0"]), (None, ["call_0", "call_1"]), (7, ["call_0", "call_1"])],
)  # fmt: skip
def test_ids_of_calls(response_id, ids):
    """A call without an id gets one that is the same whenever the answer is read, of characters that all APIs take."""
    call = {"functionCall": {"name": "f"}}
    events = stream(chunk(call, call, finish="STOP", responseId=response_id))
    assert [found[0] for found in calls_of(events)][: len(ids)] == ids
    assert [found[2] for found in calls_of(events)] == ["{}", "{}"]


def test_own_ids_are_kept():
    """Ids that the provider gives stand, and the others count on."""
    nameless = {"functionCall": {"name": "g", "args": None}}
    assert [found[0] for found in calls_of(stream(chunk(CALL, nameless, finish="STOP")))] == ["c-1", "call_r-1_1"]


@pytest.mark.parametrize(
    "part",
    [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}, {"executableCode": {"code": "1"}},
     {"codeExecutionResult": {}}, {"fileData": {}}, {"toolCall": {}}, {"toolResponse": {}},
     {"functionCall": {"name": "f", "willContinue": True}}, {"functionCall": {"partialArgs": [{"jsonPath": "$.x"}]}},
     {"functionCall": {}}],
)  # fmt: skip
def test_what_no_other_format_can_say(part):
    """A part that was not asked for and has no place elsewhere is an error, never left out in silence."""
    said, error = failed(text("a") + chunk(part, finish="STOP") + text("b") + FINISH)
    assert "upstream_protocol" in error
    assert said == "a"
    with pytest.raises(UpstreamError, match="upstream_protocol"):
        read(answer_reader(), answer_of(part))


def test_broken_frames():
    """A broken frame is skipped and counted; the eighth in a row ends the stream."""
    broken, reader = b"data: {oops\r\n\r\n", stream_reader()
    events = read(reader, text("a") + broken * 7 + text("b") + broken * 7 + FINISH)
    assert texts_of(events)[BlockKind.TEXT] == "ab"
    assert reader.answer.opaque_frames == 14
    said, error = failed(text("a") + broken * 8 + text("b") + FINISH)
    assert "eight frames in a row" in error
    assert said == "a"


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (b'{"candidates":[{"content":{"parts":[{"text":"a\xffb"}]}}]}', "a\ufffdb"),
        (b'{"candidates":[{"content":{"parts":[{"text":"a\\ud83d"}]}}]}', "a\ufffd"),
        (b'{"candidates":[{"content":{"parts":[{"text":"\\ud83d\\ude00"}]}}]}', "\U0001f600"),
        (b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"x":"\\ud83d"}}}]}}]}',
         '{"x":"\ufffd"}'),
    ],
)  # fmt: skip
def test_broken_text(payload, found):
    """Invalid UTF-8 and lone surrogates become U+FFFD, pairs are joined."""
    events = stream(b"data: " + payload + b"\n\n" + FINISH)
    assert [event.text for event in events if isinstance(event, BlockDelta)] == [found]


def test_many_blocks():
    """A provider that goes to and fro between text and thoughts without end is out of bounds."""
    said, error = failed(chunk({"text": "a"}, {"text": "b", "thought": True}) * 1_100)
    assert "more blocks" in error
    assert said == "a" * 1_024


def test_first_finish_stands():
    """Nothing but usage is read behind the end."""
    late = frame_of({"usageMetadata": WIRE_USAGE | {"candidatesTokenCount": 9}})
    events = stream(FINISH + text("late") + chunk(CALL, finish="MAX_TOKENS") + ERROR + late)
    assert [type(event) for event in events] == [MessageStart, UsageUpdate, MessageEnd, UsageUpdate]
    assert events[-1] == UsageUpdate(Usage(5, 0, 10, 1))


@pytest.mark.parametrize("data", [b"", b": ping\n\n"])
def test_nothing(data):
    """A stream without any event is no answer."""
    with pytest.raises(UpstreamError, match="upstream_protocol"):
        stream(data)


def test_truncated():
    """A stream without its end is an error, also where its last event still says something."""
    reader = stream_reader()
    reader.receive(text("a"))
    with pytest.raises(UpstreamError, match="upstream_truncated"):
        reader.receive_eof()
    reader = stream_reader()
    assert texts_of(read(reader, text("a") + text("b").rstrip()))[BlockKind.TEXT] == "ab"
    assert reader.answer.error.code == "upstream_truncated"


def test_in_band_error_without_json():
    """An event named "error" is an error, whatever it holds."""
    reader = stream_reader()
    read(reader, text("a") + b"event: error\ndata: oops\n\n" + FINISH)
    assert (reader.answer.error.code, reader.answer.opaque_frames) == ("upstream_error", 0)


@pytest.mark.parametrize("error", [ERROR, b"data: [" + ERROR[6:].strip() + b"]\n\n", b"event: error\n" + ERROR])
def test_in_band_error(error):
    """An error in the stream ends the reading; nothing of it becomes an event."""
    reader = stream_reader()
    events = read(reader, text("a") + error + text("b") + FINISH)
    assert reader.answer.error.code == "upstream_overloaded"
    assert texts_of(events)[BlockKind.TEXT] == "a"
    assert reader.answer.raw_finish_reason is None


@pytest.mark.parametrize(("reason", "shown"), [("SAFETY", "SAFETY"), ("<b>\u2028", "OTHER")])
def test_blocked_prompt(reason, shown):
    """A blocked prompt is a refusal in words, and nothing of what a provider may put there but a word."""
    events = stream(frame_of({"promptFeedback": {"blockReason": reason}, "responseId": "r-1"}))
    assert events[1:4] == [
        BlockStart(0, BlockKind.REFUSAL),
        BlockDelta(0, f"The provider blocked the prompt ({shown})."),
        BlockEnd(0),
    ]
    assert events[-1].reason is FinishReason.CONTENT_FILTER


@pytest.mark.parametrize("size", [None, 7])
def test_whole_answer(size):
    """A whole answer is the same events at once."""
    thought = {"text": "hm", "thought": True}
    assert read(answer_reader(), answer_of(thought, {"text": "Hi"}, CALL), size) == [
        MessageStart("r-1", "m-1"),
        UsageUpdate(Usage(5, 0, 3, 1)),
        BlockStart(0, BlockKind.REASONING),
        BlockDelta(0, "hm"),
        BlockEnd(0),
        BlockStart(1, BlockKind.TEXT),
        BlockDelta(1, "Hi"),
        BlockEnd(1),
        BlockStart(2, BlockKind.TOOL_CALL, "c-1", "f"),
        BlockDelta(2, '{"x":[1,2]}'),
        BlockEnd(2),
        MessageEnd(FinishReason.TOOL_CALLS, "STOP"),
    ]


@pytest.mark.parametrize("name", [name for name in NAMES if is_ended(name)])
def test_array_of_chunks(name):
    """A stream that was sent as one JSON array says the same as the stream."""
    payloads = [line[6:].strip() for line in fixture(name).split(b"\n") if line.startswith(b"data: ")]
    events = read(answer_reader(), b"[" + b"\n,\r\n".join(payloads) + b"]\n")
    streamed = stream(fixture(name))
    assert [event for event in events if not isinstance(event, UsageUpdate)] == [
        event for event in streamed if not isinstance(event, UsageUpdate)
    ]
    assert events[1] == [event for event in streamed if isinstance(event, UsageUpdate)][-1]


def test_array_behind_its_end():
    """Nothing but usage is read behind the end of an array either."""
    chunks = [document_of({"text": "a"}, finish="STOP"), document_of({"text": "late"}, usageMetadata=WIRE_USAGE)]
    events = read(answer_reader(), json.dumps(chunks).encode())
    assert texts_of(events)[BlockKind.TEXT] == "a"
    assert events[1] == UsageUpdate(Usage(5, 0, 3, 1))


def test_whole_error():
    """An error object gives no events."""
    reader = answer_reader()
    assert read(reader, json.dumps([{"error": {"code": 500}}]).encode()) == []
    assert reader.answer.error.code == "upstream_error"


def test_usage_that_cannot_be_true_is_no_event():
    """Rejected usage is kept as text only."""
    reader = stream_reader()
    events = read(reader, chunk({"text": "a"}, finish="STOP", usageMetadata=WIRE_USAGE | {"promptTokenCount": -1}))
    assert not [event for event in events if isinstance(event, UsageUpdate)]
    assert reader.answer.is_usage_rejected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["text", "parts", "content", "functionCall", "name", "args", "id", "thought", "finishReason",
                         "thoughtSignature", "blockReason", "error", "code", "promptTokenCount"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["candidates", "promptFeedback", "usageMetadata", "error", "responseId", "modelVersion"]),
        json_values
        | st.lists(st.fixed_dictionaries({}, optional={"content": json_values, "finishReason": json_values})),
    )
)
@example(
    document_of({"text": "\ud800", "thoughtSignature": "\ud800"}, {"functionCall": {"name": "\ud800", "id": "\ud800"}})
)
def test_hostile_json(document):
    """Whatever JSON a provider sends, it is read into events that can be encoded, or refused as its fault."""
    payload = json.dumps(document).encode()
    for reader, data in ((stream_reader(), b"data: " + payload + b"\n\n"), (answer_reader(), payload)):
        try:
            events = read(reader, data)
        except UpstreamError:
            continue
        for event in events:
            repr(event).encode()
            if isinstance(event, BlockDelta):
                event.text.encode()


def test_tracker_ends_nothing_twice():
    """The end of what is not open is no event."""
    events = []
    BlockTracker(Answer()).end(events)
    assert events == []
