import json

import pytest

from ainf.formats.base import Answer
from ainf.formats.collected import Collected
from ainf.formats.gemini.collected import GeminiWholeJudge
from ainf.inference.errors import UpstreamError
from ainf.inference.events import FinishReason
from ainf.inference.usage import Usage
from tests.formats.gemini.support import (
    CAPPED,
    COMPLETED,
    LIMITS,
    WIRE_USAGE,
    answer_of,
    check_types,
    document_of,
    feed,
    style,
)


def collected():
    return Collected(GeminiWholeJudge(), LIMITS, Answer())


@pytest.mark.parametrize("size", [None, 1, 7])
def test_same_bytes(size):
    """A whole answer is given back with the same bytes, whatever the reads; it is learnt at its end and not before."""
    body, pipe = b" \n" + answer_of({"text": "Grüß"}, x_vendor=[1]) + b"\n", collected()
    *before, last = feed(pipe, body, size)
    assert not any(reading.data or reading.output_bytes or reading.is_content for reading in before)
    assert (last.data, last.output_bytes, last.is_content) == (b"", 6, True)
    assert (pipe.answer.raw_finish_reason, pipe.answer.finish) == ("STOP", FinishReason.STOP)
    assert (pipe.answer.response_id, pipe.answer.model) == ("r-1", "m-1")
    assert pipe.answer.usage == Usage(5, 0, 3, 1)
    assert pipe.close(COMPLETED, style()) == body


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "upstream_protocol"),
        (b"  \r\n", "upstream_protocol"),
        (b"not json", "upstream_protocol"),
        (b"[]", "upstream_protocol"),
        (b"{}", "upstream_protocol"),
        (b'{"candidates":[]}', "upstream_protocol"),
        (b'{"candidates":7}', "upstream_protocol"),
        (b'{"promptFeedback":{}}', "upstream_protocol"),
        (answer_of() + answer_of(), "upstream_protocol"),
        (b"[" * 5000, "upstream_protocol"),
        (b"[7]", "upstream_protocol"),
        (answer_of()[:-1], "upstream_truncated"),
        (answer_of()[:40], "upstream_truncated"),
        (answer_of(finish=None), "upstream_truncated"),
        (answer_of(finish=3), "upstream_truncated"),
        (b"[" + answer_of(finish=None) + b"]", "upstream_truncated"),
    ],
)
def test_no_answer(body, code):
    """What is no answer, or not all of one, is an error and never an empty success."""
    with pytest.raises(UpstreamError) as caught:
        feed(collected(), body)
    assert caught.value.code == code


@pytest.mark.parametrize("error", ["overloaded at 10.0.0.7", {"message": "10.0.0.7", "code": 500}, [1]])
@pytest.mark.parametrize("is_array", [True, False])
def test_error_object(error, is_array):
    """An error object under a 200, alone or in an array, is noted in our words."""
    pipe, document = collected(), {"error": error}
    readings = feed(pipe, json.dumps([document] if is_array else document).encode())
    assert not readings[-1].is_content
    assert pipe.answer.error.code == "upstream_error"
    assert "10.0.0.7" not in pipe.answer.error.message


def test_blocked_prompt():
    """A blocked prompt is an answer, and says so."""
    pipe, body = collected(), b'{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":4}}'
    assert feed(pipe, body)[-1].is_content
    assert (pipe.answer.finish, pipe.answer.usage) == (FinishReason.CONTENT_FILTER, Usage(4))
    assert pipe.close(COMPLETED, style()) == body


@pytest.mark.parametrize(
    ("mode", "reason"), [("extended", "SPEND_CAP_EXCEEDED"), ("strict", "MAX_TOKENS"), ("loud", "SPEND_CAP_EXCEEDED")]
)
def test_cap(mode, reason):
    """At a cap only the finish reason changes; loud mode adds the error object."""
    pipe, body = collected(), answer_of({"text": "cut"}, finish="MAX_TOKENS", x_vendor=1)
    feed(pipe, body)
    document = json.loads(pipe.close(CAPPED, style(mode)))
    error = document.pop("error", None)
    want = json.loads(body)
    want["candidates"][0]["finishReason"] = reason
    assert document == want
    document.pop("x_vendor")
    check_types(document)
    assert (error is not None) == (mode == "loud")
    if error:
        assert (error["code"], error["status"]) == (402, "RESOURCE_EXHAUSTED")


def test_array_of_chunks():
    """A stream that was sent as one array is one answer: given back as it came, capped in its last chunk."""
    chunks = [
        document_of({"text": "a"}, usageMetadata={"promptTokenCount": 5}),
        document_of({"functionCall": {"name": "f"}}, usageMetadata=WIRE_USAGE),
        document_of({"text": "b"}, finish="STOP", usageMetadata=WIRE_USAGE),
    ]
    pipe, body = collected(), json.dumps(chunks).encode()
    assert feed(pipe, body)[-1].output_bytes == len("a" + "f{}" + "b")
    assert (pipe.answer.finish, pipe.answer.usage) == (FinishReason.TOOL_CALLS, Usage(5, 0, 3, 1))
    assert pipe.close(COMPLETED, style()) == body
    chunks[2]["candidates"][0]["finishReason"] = "SPEND_CAP_EXCEEDED"
    assert json.loads(pipe.close(CAPPED, style())) == chunks


def test_array_behind_its_end():
    """Of what stands behind the end in an array only the usage is learnt; the rest is neither output nor an error."""
    chunks = [
        document_of({"text": "a"}, finish="STOP", usageMetadata=WIRE_USAGE),
        document_of({"text": "late"}, finish="MAX_TOKENS", usageMetadata=WIRE_USAGE | {"candidatesTokenCount": 9}),
        {"error": {"code": 500}},
    ]
    pipe = collected()
    assert feed(pipe, json.dumps(chunks).encode())[-1].output_bytes == 1
    assert (pipe.answer.raw_finish_reason, pipe.answer.error) == ("STOP", None)
    assert pipe.answer.usage == Usage(5, 0, 10, 1)


def test_invalid_text_counts_by_what_can_be_read():
    """An answer with invalid UTF-8 is handed on as it came, and counts with its text."""
    pipe, body = collected(), answer_of({"text": "abcX"}).replace(b"X", b"\xff")
    assert feed(pipe, body)[-1].output_bytes == 3 + len("\ufffd".encode())
    assert (pipe.answer.opaque_frames, pipe.close(COMPLETED, style())) == (1, body)


def test_odd_parts_count_with_all_bytes():
    """An answer of unknown shape is handed on and counts with all its bytes."""
    pipe, body = collected(), answer_of({"text": ["a"]})
    assert feed(pipe, body)[-1].output_bytes == len(body)
    assert (pipe.answer.opaque_frames, pipe.close(COMPLETED, style())) == (1, body)


def test_cap_of_odd_text():
    """A lone surrogate in a clamped answer goes back as the escape that it was."""
    pipe = collected()
    feed(pipe, b'{"candidates":[{"content":{"parts":[{"text":"a\\ud83d"}]},"finishReason":"MAX_TOKENS"}]}')
    assert b"a\\ud83d" in pipe.close(CAPPED, style())
