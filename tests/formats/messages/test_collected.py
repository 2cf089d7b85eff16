import json

import pytest
from anthropic.types import Message

from ainf.formats.base import Answer
from ainf.formats.messages.format import MESSAGES
from ainf.inference.errors import UpstreamError
from ainf.inference.usage import Usage
from tests.formats.messages.support import (
    CAPPED,
    COMPLETED,
    LIMITS,
    WHOLE_NAMES,
    answer_of,
    expected,
    feed,
    style,
    whole_fixture,
)
from tests.formats.messages.test_wire import HOSTILE


def collect():
    return MESSAGES.collect(LIMITS, Answer())


@pytest.mark.parametrize("name", WHOLE_NAMES)
@pytest.mark.parametrize("size", [None, 1, 50])
def test_fixture(name, size):
    """A whole answer is handed on as it came, and all of it is understood."""
    want, body = expected(name), whole_fixture(name)
    pipe = collect()
    readings = feed(pipe, body, size)
    answer = pipe.answer
    assert pipe.close(COMPLETED, style()) == body
    assert (answer.response_id, answer.model, answer.raw_finish_reason) == (
        want["response_id"],
        want["model"],
        want["finish"],
    )
    assert answer.usage == Usage(*want["usage"])
    said = want["text"] + want["reasoning"] + "".join(call[1] + call[2] for call in want["calls"])
    assert readings[-1].output_bytes == len(said) - 2 * sum(call[2] == "{}" for call in want["calls"])
    assert readings[-1].is_content
    Message.model_validate_json(body, strict=True)


@pytest.mark.parametrize("mode", ["extended", "strict", "loud"])
def test_cap(mode):
    """At a cap the answer has our stop reason, and for those who want it loud the error beside it."""
    pipe = collect()
    feed(pipe, answer_of(reason="stop_sequence", stop_sequence="END", x=[1.5]))
    document = json.loads(pipe.close(CAPPED, style(mode)))
    assert document["stop_reason"] == ("max_tokens" if mode == "strict" else "spend_cap_exceeded")
    assert document["stop_sequence"] is None
    assert ("error" in document, document["x"], document["usage"]["input_tokens"]) == (mode == "loud", [1.5], 5)
    if mode == "strict":
        Message.model_validate(document, strict=True)
    if mode == "loud":
        assert (document["error"]["type"], document["error"]["billed"]) == ("billing_error", "0.0015")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "upstream_protocol"),
        (b" \n", "upstream_protocol"),
        (b"[]", "upstream_protocol"),
        (b"{}", "upstream_protocol"),
        (b"<html>", "upstream_protocol"),
        (answer_of()[:-9], "upstream_truncated"),
        (answer_of(reason=None), "upstream_truncated"),
        (answer_of(reason=7), "upstream_truncated"),
        (answer_of(content=7), "upstream_protocol"),
        *[(payload, "upstream_") for payload in HOSTILE],
    ],
)
def test_no_answer(body, code):
    """What is no message, or has no end, is refused."""
    with pytest.raises(UpstreamError, match=code):
        feed(collect(), body)


def test_error():
    """An error under a 200 is an error."""
    pipe = collect()
    readings = feed(pipe, json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}).encode())
    assert (pipe.answer.error.code, readings[-1].is_content) == ("upstream_overloaded", False)


def test_opaque():
    """What cannot be decoded is handed on and counted, as far as it can be read."""
    pipe = collect()
    body = answer_of().replace(b"Hi", b"H\xff")
    assert feed(pipe, body)[-1].output_bytes == 4
    assert pipe.close(COMPLETED, style()) == body
    assert pipe.answer.opaque_frames == 1
    body = answer_of().replace(b"Hi", b"\xff" * 999)
    assert feed(collect(), body)[-1].output_bytes == len(body)
