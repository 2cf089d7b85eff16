import json

import pytest
from openai.types.responses import Response

from ainf.formats.base import Answer
from ainf.inference.errors import UpstreamError
from ainf.inference.usage import Usage
from tests.formats.responses.support import (
    CAPPED,
    DONE,
    FORMAT,
    LIMITS,
    WHOLE,
    expected,
    feed,
    fixture,
    message,
    response,
    style,
)


def collect(body, size=None):
    pipe = FORMAT.collect(LIMITS, Answer())
    return sum(reading.output_bytes for reading in feed(pipe, body, size)), pipe


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("size", [None, 1])
def test_fixture(name, size):
    """A whole answer is understood and handed on byte for byte."""
    want, body = expected(name), fixture(name)
    counted, pipe = collect(body, size)
    answer = pipe.answer
    assert (answer.response_id, answer.raw_finish_reason) == (want["response_id"], want["finish"])
    assert answer.usage == (None if want["usage"] is None else Usage(*want["usage"]))
    assert (None if answer.error is None else answer.error.code) == want["error"]
    if answer.error is None:
        assert pipe.close(DONE, style()) == body
        calls = "".join(call_name + arguments for _, call_name, arguments in want["calls"])
        assert counted == len((want["text"] + want["reasoning"] + calls).encode())


@pytest.mark.parametrize(
    ("finish_reasons", "status", "reason"),
    [
        ("extended", "incomplete", "spend_cap_exceeded"),
        ("strict", "incomplete", "max_output_tokens"),
        ("loud", "failed", None),
    ],
)
def test_capped(finish_reasons, status, reason):
    """A cap is told in the answer's own fields, and everything else stays."""
    pipe = collect(fixture("whole_incomplete"))[1]
    body = json.loads(pipe.close(CAPPED, style(finish_reasons)))
    assert (body["status"], (body["incomplete_details"] or {}).get("reason")) == (status, reason)
    assert (body["error"] or {}).get("code") == ("insufficient_quota" if finish_reasons == "loud" else None)
    own = {"status", "incomplete_details", "error"}
    whole = json.loads(fixture("whole_incomplete"))
    assert {name: body[name] for name in body.keys() - own} == {name: whole[name] for name in whole.keys() - own}
    if finish_reasons == "strict":
        assert Response.model_validate(body).output_text == "Once"


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"", "nothing"),
        (b" \n", "nothing"),
        (b"[]", "not a response object"),
        (b'{"object": "chat.completion", "choices": []}', "not a response object"),
        (b'{"output": 7, "status": "completed"}', "not a response object"),
        (b'{"output": [], "status": "compl', "broke off"),
        (b"{" * 9000, "not a response object|broke off"),
        (json.dumps(response("queued")).encode(), "broke off"),
        (json.dumps(response(None)).encode(), "broke off"),
    ],
)
def test_no_answer(body, match):
    """What is no whole response is the provider's fault."""
    with pytest.raises(UpstreamError, match=match):
        collect(body)


def test_error_body():
    """An error object instead of an answer is an error."""
    assert collect(b'{"error": {"code": "server_overloaded", "message": "x"}}')[1].answer.error.code == (
        "upstream_overloaded"
    )


def test_opaque():
    """An answer that is not quite JSON text is read all the same, and counted."""
    body = json.dumps(response("completed", [message("Hi")])).encode().replace(b"Hi", b"\xff")
    counted, pipe = collect(body)
    assert (counted, pipe.answer.opaque_frames, pipe.answer.raw_finish_reason) == (3, 1, "completed")
    assert pipe.close(DONE, style()) == body
