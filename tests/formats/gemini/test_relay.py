import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.base import Answer
from ainf.formats.gemini.relay import GeminiStreamJudge, visible_in
from ainf.formats.relay import StreamRelay
from ainf.inference.errors import UpstreamError
from ainf.inference.events import BlockKind, FinishReason
from ainf.inference.outcome import Ending
from ainf.inference.usage import Usage
from tests.formats.gemini.support import (
    CAPPED,
    COMPLETED,
    ERROR,
    FINISH,
    LIMITS,
    NAMES,
    WIRE_USAGE,
    check_types,
    chunk,
    documents,
    expected,
    feed,
    fixture,
    frame_of,
    is_ended,
    outcome,
    read,
    shown,
    stream_reader,
    style,
    text,
    texts_of,
)

CALL = {"functionCall": {"name": "f", "args": {"x": 1}}}
BLOCKED = frame_of({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}})
FAILURES = [
    (Ending.UPSTREAM_ERROR, "upstream_truncated", 502),
    (Ending.DEADLINE_EXCEEDED, "deadline_exceeded", 504),
    (Ending.SHUTDOWN, "shutting_down", 503),
    (Ending.TERMINATED, "key_revoked", 401),
    (Ending.INTERNAL_ERROR, "internal_error", 500),
]
SEEN = {"nothing": b"", "content": text("a"), "finish": text("a") + FINISH, "blocked": BLOCKED}


def relay():
    return StreamRelay(GeminiStreamJudge(answer=Answer()), visible_in, LIMITS)


def relay_of(seen):
    pipe = relay()
    pipe.receive(SEEN[seen])
    return pipe


@pytest.mark.parametrize("name", [name for name in NAMES if is_ended(name)])
@pytest.mark.parametrize("size", [None, 1, 7])
def test_fixture(name, size):
    """A stream is relayed with its own bytes; what it says is learnt on the way."""
    data, want, pipe = fixture(name), expected(name), relay()
    readings = feed(pipe, data, size)
    assert shown(readings) + pipe.close(COMPLETED, style()) == data
    text_bytes = len((want["text"] + want["reasoning"]).encode())
    call_bytes = sum(len((name + arguments).encode()) for _, name, arguments in want["calls"])
    assert sum(reading.output_bytes for reading in readings) == text_bytes + call_bytes
    answer = pipe.answer
    assert [answer.finish.value, answer.raw_finish_reason] == want["finish"]
    assert answer.usage == Usage(*want["usage"])
    assert (answer.response_id, answer.opaque_frames) == (documents(data)[0]["responseId"], 0)


@pytest.mark.parametrize("name", NAMES)
@given(cuts=st.lists(st.integers(1, 200), max_size=30))
def test_any_cut(name, cuts):
    """Any cut gives the client the same bytes and us the same facts."""

    def view(sizes):
        pipe, readings, at, data = relay(), [], 0, fixture(name)
        for size in sizes:
            readings.append(pipe.receive(data[at : at + size]))
            at += size
        readings.append(pipe.receive(data[at:]))
        try:
            readings.append(pipe.receive_eof())
        except UpstreamError as error:
            return shown(readings), error.code, repr(pipe.answer)
        return shown(readings), sum(reading.output_bytes for reading in readings), repr(pipe.answer)

    assert view(cuts) == view([])


@pytest.mark.parametrize("name", ["error_object", "error_array"])
def test_in_band_error(name):
    """An error in the stream is kept from the client, and noted in our words."""
    pipe = relay()
    assert (
        shown(feed(pipe, fixture(name)))
        == fixture(name).split(b"data: ")[0] + b"data: " + fixture(name).split(b"data: ")[1]
    )
    assert pipe.answer.error.code == "upstream_overloaded"
    assert pipe.answer.raw_finish_reason is None


def test_commit_point():
    """The first visible output commits, and so does the evidence of an end; empty parts do not."""
    pipe = relay()
    assert not pipe.receive(chunk({"text": ""})).is_content
    assert not pipe.receive(frame_of({"usageMetadata": WIRE_USAGE})).is_content
    assert pipe.receive(text("a")).is_content
    assert relay().receive(BLOCKED).is_content
    assert relay().receive(FINISH).is_content


def test_content_beside_the_reason():
    """Text in the last chunk is counted, and kept back with it."""
    pipe = relay()
    reading = pipe.receive(text("abc", finish="STOP"))
    assert (reading.data, reading.output_bytes) == (b"", 3)


@pytest.mark.parametrize("behind", [text("late"), ERROR, chunk(CALL, finish="MAX_TOKENS")])
def test_nothing_is_shown_behind_the_end(behind):
    """The first end stands, and the terminal frame is the last; later usage is still learnt."""
    pipe = relay()
    late = frame_of({"usageMetadata": WIRE_USAGE | {"candidatesTokenCount": 9}})
    assert shown(feed(pipe, FINISH + behind + late)) == b""
    assert pipe.close(COMPLETED, style()) == FINISH
    assert (pipe.answer.raw_finish_reason, pipe.answer.error) == ("STOP", None)
    assert pipe.answer.usage == Usage(5, 0, 10, 1)


@pytest.mark.parametrize("size", [None, 1])
def test_the_first_name_stands(size):
    """The answer is named by the first chunk that does, wherever the bytes are cut; what is behind the end does not."""
    pipe = relay()
    nameless = {"responseId": 7, "modelVersion": ""}
    feed(pipe, text("a", **nameless) + text("b", responseId="r-2") + FINISH + text("late", responseId="r-3"), size)
    assert (pipe.answer.response_id, pipe.answer.model) == ("r-2", "m-1")


def test_call_before_the_end():
    """A stop behind a call is an end to call tools, wherever the call stood."""
    pipe = relay()
    feed(pipe, text("a") + chunk(CALL) + text("b") + FINISH)
    assert pipe.answer.finish is FinishReason.TOOL_CALLS


def test_opaque_frames():
    """What cannot be decoded is relayed and counted by its bytes; a finish in it is still evidence."""
    pipe, broken = relay(), b"data: {oops\n\n"
    finish = b'data: {"candidates":[{"content":{"parts":[{"text":"\xff"}]},"finishReason":"STOP"}]}\n\n'
    readings = feed(pipe, text("a") + broken + finish)
    assert shown(readings) == text("a") + broken
    assert (pipe.answer.opaque_frames, pipe.answer.raw_finish_reason) == (2, "STOP")
    assert sum(reading.output_bytes for reading in readings) == 1 + len("{oops") + 3


@pytest.mark.parametrize(("data", "code"), [(b"", "upstream_protocol"), (text("a"), "upstream_truncated")])
def test_no_end(data, code):
    """An end that is missing is an error, never a stop."""
    with pytest.raises(UpstreamError, match=code):
        feed(relay(), data)


def test_cut_inside_json():
    """A last event that was cut inside its JSON is not shown."""
    pipe = relay()
    with pytest.raises(UpstreamError, match="upstream_truncated"):
        feed(pipe, text("a") + text("b")[:30])
    assert pipe.answer.opaque_frames == 1


def test_split():
    """A reading is cut between chunks, at the last that fits."""
    pipe = relay()
    reading = pipe.receive(text("ab") + text("cd") + chunk(CALL))
    piece, rest = pipe.split(reading, 4)
    assert (piece.data, piece.output_bytes) == (text("ab") + text("cd"), 4)
    assert (rest.data, rest.output_bytes) == (chunk(CALL), len('f{"x":1}'))


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize(("ending", "code", "status"), FAILURES)
def test_failures(seen, ending, code, status):
    """A failure is one frame with nothing but the error."""
    (document,) = documents(relay_of(seen).close(outcome(ending, code, "It broke."), style()))
    assert document.keys() == {"error"}
    assert (document["error"]["code"], document["error"]["message"]) == (status, "It broke.")


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize(("mode", "reason"), [("extended", "SPEND_CAP_EXCEEDED"), ("strict", "MAX_TOKENS"),
                                             ("loud", "SPEND_CAP_EXCEEDED")])  # fmt: skip
def test_cap(seen, mode, reason):
    """A cap is one finish chunk in the client's mode: the provider's own where it ended by itself."""
    (document,) = documents(relay_of(seen).close(CAPPED, style(mode)))
    assert document["candidates"][0]["finishReason"] == reason
    assert ("error" in document) == (mode == "loud")
    assert document["usageMetadata"]["promptTokenCount"] == (5 if seen == "finish" else 12)
    check_types(document)


@pytest.mark.parametrize("seen", ["finish", "blocked"])
@pytest.mark.parametrize("mode", ["extended", "strict", "loud"])
def test_completed(seen, mode):
    """A completed stream ends with the provider's own last chunk, in every mode."""
    assert relay_of(seen).close(COMPLETED, style(mode)) == (FINISH if seen == "finish" else BLOCKED)


def test_completed_without_evidence_is_a_bug():
    """No finish is ever invented."""
    with pytest.raises(AssertionError, match="without evidence"):
        relay_of("content").close(COMPLETED, style())


@pytest.mark.parametrize("ending", [Ending.CLIENT_DISCONNECTED, Ending.ABANDONED])
def test_nobody_is_told(ending):
    """A client that has left gets nothing."""
    assert relay_of("finish").close(outcome(ending), style()) == b""


def test_cap_of_an_opaque_finish():
    """A last chunk that cannot be written again gives way to one of ours."""
    pipe = relay()
    feed(pipe, b'data: {"candidates":[{"finishReason":"STOP","index":"\xff"}]}\n\n')
    (document,) = documents(pipe.close(CAPPED, style()))
    assert document["candidates"][0]["finishReason"] == "SPEND_CAP_EXCEEDED"


def test_relayed_bytes_read_as_the_original():
    """What a client is given, ending included, reads as what the provider sent."""
    pipe, data = relay(), fixture("parallel_calls")
    given_bytes = shown(feed(pipe, data, 3)) + pipe.close(COMPLETED, style())
    assert texts_of(read(stream_reader(), given_bytes))[BlockKind.TOOL_CALL]
    assert json.dumps(documents(given_bytes)) == json.dumps(documents(data))
