import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.base import Answer
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
from tests.formats.responses.support import (
    ADDED,
    CREATED,
    FORMAT,
    LIMITS,
    PART,
    STREAMS,
    WHOLE,
    call,
    completed,
    event,
    expected,
    fixture,
    incomplete,
    read,
    summary,
    text,
)


def stream(data, size=None, answer=None):
    return read(FORMAT.stream_reader(LIMITS, Answer() if answer is None else answer), data, size)


def check(name, reader, size):
    want = expected(name)
    events = read(reader, fixture(name), size)
    answer = reader.answer
    assert summary(events) == {part: want[part] for part in ("text", "reasoning", "refusal", "calls", "opaque")}
    assert answer.raw_finish_reason == want["finish"]
    assert answer.usage == (None if want["usage"] is None else Usage(*want["usage"]))
    assert (answer.response_id, answer.model) == (want["response_id"], want["model"])
    assert (None if answer.error is None else answer.error.code) == want["error"]
    return events


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("size", [None, 1, 7])
def test_stream_fixture(name, size):
    """A provider's stream is read into grammatical events that hold all of it, however it is cut."""
    assert check(name, FORMAT.stream_reader(LIMITS, Answer()), size) == stream(fixture(name))


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("size", [None, 7])
def test_whole_fixture(name, size):
    """A whole answer is read into the same events."""
    check(name, FORMAT.answer_reader(LIMITS, Answer()), size)


def test_transcript():
    """A message's parts and calls are blocks; usage comes with the end."""
    added = event("response.output_item.added", output_index=1, item=call(""))
    delta = event("response.function_call_arguments.delta", output_index=1, item_id="fc_1", delta="{}")
    done = event("response.output_item.done", output_index=1, item=call("{}"))
    part_done = event("response.content_part.done", output_index=0, content_index=0, part={"type": "output_text"})
    assert stream(CREATED + ADDED + PART + text("Hi") + part_done + added + delta + done + completed()) == [
        MessageStart("resp_1", "m-1"),
        BlockStart(0, BlockKind.TEXT),
        BlockDelta(0, "Hi"),
        BlockEnd(0),
        BlockStart(1, BlockKind.TOOL_CALL, "c_1", "f"),
        BlockDelta(1, "{}"),
        BlockEnd(1),
        UsageUpdate(Usage(5, 0, 3)),
        MessageEnd(FinishReason.TOOL_CALLS, "completed"),
    ]


@given(st.lists(st.integers(1, 400), max_size=30), st.sampled_from(STREAMS))
def test_any_cut(cuts, name):
    """Any cut of the bytes gives the same events."""
    data, parts, at = fixture(name), [], 0
    for size in cuts:
        parts.append(data[at : at + size])
        at += size
    reader = FORMAT.stream_reader(LIMITS, Answer())
    events = [one for part in [*parts, data[at:]] for one in reader.receive(part)] + reader.receive_eof()
    assert events == stream(data)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), st.data())
def test_arguments_survive_any_split(arguments, data):
    """However a call's arguments are cut into deltas, they are whole again."""
    at, pieces = 0, []
    while at < len(arguments):
        size = data.draw(st.integers(1, 5))
        pieces.append(arguments[at : at + size])
        at += size
    added = event("response.output_item.added", output_index=0, item=call(""))
    deltas = [event("response.function_call_arguments.delta", output_index=0, delta=piece) for piece in pieces]
    events = stream(added + b"".join(deltas) + completed([call(arguments)]))
    assert summary(events)["calls"] == [["c_1", "f", arguments]]


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (completed(), FinishReason.STOP),
        (completed([call()]), FinishReason.TOOL_CALLS),
        (incomplete("max_output_tokens"), FinishReason.LENGTH),
        (incomplete("content_filter"), FinishReason.CONTENT_FILTER),
        (incomplete("steered"), FinishReason.OTHER),
        (event("response.incomplete", response={}), FinishReason.OTHER),
    ],
)
def test_ends(end, reason):
    """Each end is what it says, and what nobody knows is never a stop."""
    assert stream(CREATED + end)[-1].reason is reason


def test_nothing_behind_the_end():
    """What comes behind the end is not read."""
    assert stream(CREATED + completed() + text("more") + b"data: [DONE]\n\n") == stream(CREATED + completed())


def test_end_marker_of_another_format():
    """An end marker without the end is no end."""
    reader = FORMAT.stream_reader(LIMITS, Answer())
    reader.receive(CREATED + b"data: [DONE]\n\n")
    with pytest.raises(UpstreamError, match="broke off"):
        reader.receive_eof()


@pytest.mark.parametrize(
    "frame",
    [
        event("error", code="x", message="no"),
        event("error", error={"code": "x", "message": "no"}),
        b'event: error\ndata: {"message": "no"}\n\n',
        b"event: error\ndata: no JSON\n\n",
        b'data: {"error": {"message": "no"}}\n\n',
        event("response.failed", response={"error": {"code": "server_error", "message": "x"}}),
        event("response.failed", response=None),
    ],
)
def test_errors(frame):
    """However a provider reports an error, it ends the answer and is no evidence of an end."""
    answer = Answer()
    stream(CREATED + text("a") + frame + text("b"), answer=answer)
    assert answer.error.code == "upstream_error"
    assert answer.raw_finish_reason is None


def test_broken_frames():
    """A broken frame is skipped and counted; the eighth in a row ends the stream."""
    answer, broken = Answer(), b"data: {\n\n"
    assert summary(stream(CREATED + broken * 7 + text("a") + broken + completed(), answer=answer))["text"] == "a"
    assert answer.opaque_frames == 8
    for size in (None, 7):
        answer = Answer()
        data = CREATED + text("a") + broken * 8 + text("b") + completed()
        assert summary(stream(data, size, answer))["text"] == "a"
        assert "eight frames in a row" in str(answer.error)


@pytest.mark.parametrize("data", [b"", b": ping\n\n"])
def test_nothing(data):
    """An empty answer is a protocol error."""
    with pytest.raises(UpstreamError, match="nothing"):
        stream(data)


def test_cut():
    """An answer without its end is truncated, and what came before is kept."""
    answer = Answer()
    reader = FORMAT.stream_reader(LIMITS, answer)
    assert summary(reader.receive(CREATED + text("a")))["text"] == "a"
    with pytest.raises(UpstreamError, match="broke off"):
        reader.receive_eof()


def test_opaque_is_kept_as_it_came():
    """What looks sealed in a provider's answer is that provider's own."""
    item = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "ainf.gemini:x"}
    events = stream(CREATED + event("response.output_item.done", output_index=0, item=item) + completed())
    assert events[2] == BlockEnd(0, Opaque("responses", "rs_1:ainf.gemini:x"))
