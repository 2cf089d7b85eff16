import json

import pytest

from ainf.inference.errors import UpstreamError
from ainf.inference.events import FinishReason
from ainf.inference.usage import Usage
from tests.formats.chat.support import CAPPED, COMPLETED, LIMITS, answer_of, collected, feed, style


@pytest.mark.parametrize("size", [None, 1, 7])
def test_same_bytes(size):
    """A whole answer is given back with the same bytes, whatever the reads; it is learnt at its end and not before."""
    body = b" \n" + answer_of({"role": "assistant", "content": "Grüß", "refusal": None, "x_vendor": [1]}) + b"\n"
    pipe = collected()
    *before, last = feed(pipe, body, size)
    assert not any(reading.data or reading.output_bytes or reading.is_content for reading in before)
    assert (last.data, last.output_bytes, last.is_content) == (b"", 6, True)
    assert (pipe.answer.raw_finish_reason, pipe.answer.finish) == ("stop", FinishReason.STOP)
    assert (pipe.answer.response_id, pipe.answer.model, pipe.answer.created) == ("chatcmpl-2", "m-2", 1700000001)
    assert pipe.answer.usage == Usage(input_tokens=5, output_tokens=3)
    assert pipe.close(COMPLETED, style()) == body


def test_blanks_are_not_meaningful():
    """Blanks that keep a line alive are no sign of the model."""
    pipe = collected()
    assert not pipe.receive(b"\n\n").is_meaningful
    assert pipe.receive(b"{").is_meaningful


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "upstream_protocol"),
        (b"  \r\n", "upstream_protocol"),
        (b"not json", "upstream_protocol"),
        (b"[]", "upstream_protocol"),
        (b"{}", "upstream_protocol"),
        (b'{"choices":[]}', "upstream_protocol"),
        (b'{"choices":7}', "upstream_protocol"),
        (answer_of() + answer_of(), "upstream_protocol"),
        (b"[" * 5000, "upstream_protocol"),
        (answer_of()[:-1], "upstream_truncated"),
        (answer_of()[:40], "upstream_truncated"),
        (answer_of(finish=None), "upstream_truncated"),
        (answer_of(finish=3), "upstream_truncated"),
    ],
)
def test_no_answer(body, code):
    """What is no chat completion, or not all of one, is an error and never an empty success."""
    with pytest.raises(UpstreamError) as caught:
        feed(collected(), body)
    assert caught.value.code == code


@pytest.mark.parametrize("error", ["overloaded at 10.0.0.7", {"message": "10.0.0.7", "type": "server_error"}, [1]])
def test_error_object(error):
    """An error object under a 200 is noted in our words."""
    pipe = collected()
    readings = feed(pipe, json.dumps({"error": error}).encode())
    assert not readings[-1].is_content
    assert pipe.answer.error.code == "upstream_error"
    assert "10.0.0.7" not in pipe.answer.error.message


def test_limit():
    """A body over its limit is a protocol error."""
    pipe = collected()
    with pytest.raises(UpstreamError, match="upstream_protocol"):
        feed(pipe, b"{" + b" " * LIMITS.answer, 1 << 16)


@pytest.mark.parametrize(
    ("mode", "reason"), [("extended", "spend_cap_exceeded"), ("strict", "length"), ("loud", "spend_cap_exceeded")]
)
def test_cap(mode, reason):
    """At a cap only the finish reason changes; loud mode adds the error object."""
    pipe, body = collected(), answer_of({"role": "assistant", "content": "cut"}, "length", system_fingerprint="fp")
    feed(pipe, body)
    document = json.loads(pipe.close(CAPPED, style(mode)))
    error = document.pop("error", None)
    want = json.loads(body)
    want["choices"][0]["finish_reason"] = reason
    assert document == want
    assert (error is not None) == (mode == "loud")
    if error:
        assert (error["code"], error["billed"], error["type"]) == ("spend_cap_exceeded", "0.0015", "insufficient_quota")


def test_invalid_text_counts_by_what_can_be_read():
    """An answer with invalid UTF-8 is handed on as it came, and counts with its text."""
    pipe = collected()
    body = answer_of({"role": "assistant", "content": "abcX"}).replace(b"X", b"\xff")
    assert feed(pipe, body)[-1].output_bytes == 3 + len("\ufffd".encode())
    assert (pipe.answer.opaque_frames, pipe.close(COMPLETED, style())) == (1, body)


def test_odd_message_counts_with_all_its_bytes():
    """A message of unknown shape is handed on and counts with all its bytes."""
    pipe, body = collected(), answer_of({"role": "assistant", "content": [{"type": "image", "data": "aGk="}]})
    assert feed(pipe, body)[-1].output_bytes == len(body)
    assert (pipe.answer.opaque_frames, pipe.close(COMPLETED, style())) == (1, body)


def test_content_in_parts():
    """A message in parts (Mistral's) is handed on as it came, and counts with its thoughts and its text."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": True}
    pipe, body = collected(), answer_of({"role": "assistant", "content": [thought, {"type": "text", "text": "a"}]})
    assert feed(pipe, body)[-1].output_bytes == 3
    assert (pipe.answer.opaque_frames, pipe.close(COMPLETED, style())) == (0, body)


def test_split_holds_nothing():
    """A reading of a whole answer has nothing to cut."""
    pipe = collected()
    reading = feed(pipe, answer_of())[-1]
    piece, rest = pipe.split(reading, 0)
    assert (piece.data, piece.output_bytes, rest) == (b"", 0, reading)


def test_cap_of_odd_text():
    """A lone surrogate in a clamped answer goes back as the escape that it was."""
    pipe = collected()
    feed(pipe, b'{"choices":[{"message":{"content":"a\\ud83d"},"finish_reason":"length"}]}')
    assert b"a\\ud83d" in pipe.close(CAPPED, style())
