import json

import pytest

from ainf.formats.base import Answer
from ainf.formats.pipe import EventPipe, SniffingPipe
from ainf.inference.errors import UpstreamError
from ainf.inference.events import BlockKind, BlockStart, MessageStart
from ainf.inference.outcome import Ending
from ainf.inference.usage import Usage
from tests.formats.chat.support import (
    CAPPED,
    COMPLETED,
    DONE,
    FINISH,
    LIMITS,
    USAGE,
    answer_of,
    chunk,
    documents,
    expected,
    feed,
    fixture,
    opened,
    outcome,
    shown,
    style,
    text,
)


@pytest.mark.parametrize("size", [None, 1, 5])
@pytest.mark.parametrize("lead", [b"", b"\r\n \n", b"\xef\xbb\xbf"])
def test_stream_for_stream(size, lead):
    """A stream where a stream was asked for is relayed as it came, leading blanks and byte order mark included."""
    pipe = opened(is_stream=True)
    assert shown(feed(pipe, lead + text("a") + FINISH, size)) == lead + text("a")
    assert not pipe.is_wrapped


@pytest.mark.parametrize("size", [None, 1, 5])
def test_answer_for_answer(size):
    """A whole answer where one was asked for is given back with the same bytes."""
    pipe, body = opened(is_stream=False), b"\n \n" + answer_of()
    assert shown(feed(pipe, body, size)) == b""
    assert pipe.close(COMPLETED, style()) == body


@pytest.mark.parametrize("size", [None, 1, 5])
def test_wrapped(size):
    """A whole answer where a stream was asked for becomes a stream, its usage counted once."""
    pipe = opened(is_stream=True, include_usage=True)
    message = {"role": "assistant", "content": "Grüß", "reasoning_content": "hm"}
    readings = feed(pipe, b"\n" + answer_of(message, "weird_reason"), size)
    assert pipe.is_wrapped
    assert sum(reading.output_bytes for reading in readings) == len("Grüßhm".encode())
    assert readings[-1].is_content
    role, *deltas, finish, usage = documents(shown(readings) + pipe.close(COMPLETED, style()))
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [frame["choices"][0]["delta"] for frame in deltas] == [{"reasoning_content": "hm"}, {"content": "Grüß"}]
    assert finish["choices"][0]["finish_reason"] == "weird_reason"
    assert usage["usage"]["prompt_tokens"] == USAGE.input_tokens
    assert {(frame["id"], frame["model"], frame["created"]) for frame in (role, *deltas, finish, usage)} == {
        ("chatcmpl-2", "m-2", 1700000001)
    }


@pytest.mark.parametrize("size", [None, 1, 11])
@pytest.mark.parametrize("name", ["openai_text", "openai_tools", "vllm_reasoning"])
def test_collected(name, size):
    """A stream where a whole answer was asked for becomes one answer."""
    pipe, want = opened(is_stream=False), expected(name)
    readings = feed(pipe, fixture(name), size)
    assert shown(readings) == b""
    assert not pipe.is_wrapped
    answer = json.loads(pipe.close(COMPLETED, style()))
    message = answer["choices"][0]["message"]
    calls = [
        [call["id"], call["function"]["name"], call["function"]["arguments"]] for call in message.get("tool_calls", ())
    ]
    assert (message["content"] or "", message.get("reasoning_content", ""), calls) == (
        want["text"],
        want["reasoning"],
        want["calls"],
    )
    assert answer["choices"][0]["finish_reason"] == want["finish"]
    assert answer["id"] == want["response_id"]


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize(
    "body",
    [b"<!DOCTYPE html><p>Bad gateway</p>", b"\x1f\x8b\x08\x00", b"\xff\xfe", b'{"a":1}\n{"b":2}\n', b"Internal error",
     b"upstream error", b"", b"\n\n", b"internal error\n\n"],
)  # fmt: skip
def test_neither(body, is_stream):
    """HTML, NDJSON, binary, text and nothing at all are refused, whatever was asked for, and not shown."""
    pipe = opened(is_stream=is_stream)
    with pytest.raises(UpstreamError) as caught:
        feed(pipe, body, 3)
    assert pipe.answer.raw_finish_reason is None
    assert caught.value.code == "upstream_protocol"


def test_blanks_are_bounded():
    """An answer of nothing but blanks ends at the limit."""
    pipe = opened(is_stream=True)
    with pytest.raises(UpstreamError, match="blank"):
        feed(pipe, b" " * (LIMITS.line + 2), 1000)


def test_wrapped_error():
    """An error object where a stream was asked for is an error, not a stream."""
    pipe = opened(is_stream=True)
    feed(pipe, b'{"error":{"message":"no","code":429}}')
    assert pipe.answer.error.code == "upstream_overloaded"
    failed = outcome(Ending.UPSTREAM_ERROR, "upstream_overloaded")
    assert documents(pipe.close(failed, style()))[0]["error"]["code"] == "upstream_overloaded"


def test_wrapped_split_and_cap():
    """A wrapped stream is cut between frames, and ends at a cap like any other."""
    pipe = opened(is_stream=True)
    message = {"role": "assistant", "content": "abc", "reasoning_content": "hm"}
    reading = feed(pipe, answer_of(message))[-1]
    piece, rest = pipe.split(reading, 3)
    assert (piece.output_bytes, rest.output_bytes) == (2, 3)
    finish = documents(piece.data + pipe.close(CAPPED, style("loud")))[-1]
    assert finish["choices"][0]["finish_reason"] == "spend_cap_exceeded"
    assert finish["error"]["code"] == "spend_cap_exceeded"


def test_before_anything_came():
    """Told of an ending before the first byte, the pipe speaks as what was asked for."""
    pipe = opened(is_stream=True)
    assert isinstance(pipe, SniffingPipe)
    assert pipe.close(outcome(Ending.CLIENT_DISCONNECTED), style()) == b""
    assert pipe.close(outcome(Ending.SHUTDOWN, "shutting_down"), style()).endswith(DONE)


def test_collected_stream_is_bounded():
    """A stream that is collected is held to the limit of a whole answer."""
    pipe = opened(is_stream=False)
    with pytest.raises(UpstreamError, match="over the gateway's limit"):
        feed(pipe, text("x" * 10_000) * 100, 10_000)


class Reader:
    """A format whose reads are noted in the answer as they come, and whose events are given."""

    is_whole = False

    def __init__(self, *reads):
        self.answer = Answer()
        self._reads = list(reads)

    def receive(self, data):
        self.answer.usage = Usage(input_tokens=len(data))
        return self._reads.pop(0)

    def receive_eof(self):
        return []


class Writer:
    """A format that says all that it knows of the answer with each event, and at the end."""

    is_whole = False

    def __init__(self, answer):
        self._answer = answer

    def send(self, events):
        return b"".join(self._say(type(event).__name__) for event in events)

    def close(self, outcome, ending):
        return self._say("close")

    def _say(self, word):
        answer = self._answer
        return f"{word}:{answer.response_id}:{answer.model}:{answer.usage and answer.usage.input_tokens};".encode()


def test_what_a_writer_knows_depends_on_no_cut():
    """With the beginning it is told the names, of the rest nothing before the end, when it is told all."""
    start, text_start = MessageStart("i", "m"), BlockStart(0, BlockKind.TEXT)
    said = []
    for reads in ([[start, text_start]], [[start], [text_start]]):
        told = Answer()
        pipe = EventPipe(Reader(*reads), Writer(told), told)
        said.append(b"".join(pipe.receive(b"x").data for _ in reads) + pipe.close(COMPLETED, style()))
    assert said[0] == said[1] == b"MessageStart:i:m:None;BlockStart:i:m:None;close:None:None:1;"


@pytest.mark.parametrize("size", [None, 1])
def test_names_of_a_collected_stream(size):
    """What names the answer is learnt from all chunks of a read, not only from that with which it begins."""
    pipe = opened(is_stream=False)
    feed(pipe, chunk({"content": "a"}, id="i", model="") + chunk({"content": "b"}, id="", model="m") + FINISH, size)
    assert (pipe.answer.response_id, pipe.answer.model) == ("i", "m")


def test_of_a_whole_answer_all_is_known():
    """A writer that looks at the reader's own answer knows what the reader knows."""
    reader = Reader([MessageStart("i", "m")])
    reader.answer.response_id, reader.answer.model = "i", "m"
    pipe = EventPipe(reader, Writer(reader.answer))
    assert pipe.receive(b"x").data == b"MessageStart:i:m:1;"


def test_metered_as_it_comes():
    """A collected stream counts its output read by read, though nothing is handed over yet."""
    pipe = opened(is_stream=False)
    reading = pipe.receive(text("abc"))
    assert (reading.data, reading.output_bytes, reading.is_content, reading.is_meaningful) == (b"", 3, False, True)
