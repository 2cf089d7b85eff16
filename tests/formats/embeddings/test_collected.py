"""OpenAI's whole answers with embeddings."""

import json

import pytest

from ainf.formats.base import Answer, EndingStyle, PipeLimits
from ainf.formats.collected import Collected
from ainf.formats.embeddings.collected import EmbeddingsJudge, read_usage
from ainf.inference.errors import UpstreamError
from ainf.inference.events import FinishReason
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage

LIMITS = PipeLimits(1 << 16, 1 << 16, 1 << 16)
STYLE = EndingStyle("extended", "i", 1, "m", retryable=False)
ITEM = {"object": "embedding", "index": 0, "embedding": [0.5, -1]}
DOCUMENT = {"object": "list", "data": [ITEM], "model": "e-1", "usage": {"prompt_tokens": 5, "total_tokens": 5}}


def read(body, inputs=1):
    answer = Answer()
    pipe = Collected(EmbeddingsJudge(inputs), LIMITS, answer)
    pipe.receive(body)
    return pipe, answer, pipe.receive_eof()


def changed(**fields):
    return json.dumps(DOCUMENT | fields).encode()


def outcome(ending):
    return Outcome(Verdict(ending), None, Usage(input_tokens=5), Evidence.REPORTED, 0)


@pytest.mark.parametrize("ending", [Ending.COMPLETED, Ending.SPEND_CAP_EXCEEDED])
def test_the_body_goes_on_as_it_came(ending):
    """To the byte; no cap could make less of it."""
    body = b"\n " + json.dumps(DOCUMENT, indent=1).encode() + b"\n"
    pipe, answer, reading = read(body)
    assert (reading.output_bytes, reading.is_content) == (0, True)
    assert (answer.raw_finish_reason, answer.finish, answer.model) == ("embedded", FinishReason.STOP, "e-1")
    assert answer.usage == Usage(input_tokens=5)
    assert pipe.close(outcome(ending), STYLE) == body


def test_base64_and_many():
    """Vectors of any encoding count, as many as there were inputs."""
    items = [ITEM, {"embedding": "AAAAPw=="}]
    assert read(changed(data=items), inputs=2)[1].raw_finish_reason == "embedded"


@pytest.mark.parametrize("inputs", [1, 3])
def test_another_number_of_vectors(inputs):
    """Fewer vectors than inputs, or more, are no answer."""
    with pytest.raises(UpstreamError) as raised:
        read(changed(data=[ITEM, ITEM]), inputs)
    assert raised.value.code == "upstream_protocol"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "upstream_protocol"),
        (b" \n", "upstream_protocol"),
        (b"<html>no</html>", "upstream_protocol"),
        (b"[]", "upstream_protocol"),
        (b"7", "upstream_protocol"),
        (b"{}", "upstream_protocol"),
        (b"[" * 100_000, "upstream_protocol"),
        (b'{"data":[{"embedding":' + b"[" * 100_000, "upstream_protocol"),
        (json.dumps(DOCUMENT).encode()[:-10], "upstream_truncated"),
        (changed(data=None), "upstream_protocol"),
        (changed(data=7), "upstream_protocol"),
        (changed(data={}), "upstream_protocol"),
        (changed(data=[7]), "upstream_protocol"),
        (changed(data=[{}]), "upstream_protocol"),
        (changed(data=[[0.5]]), "upstream_protocol"),
        (b"data: " + json.dumps(DOCUMENT).encode() + b"\n\n", "upstream_protocol"),
    ],
)
def test_what_is_no_answer(body, code):
    """Nothing, other things, and half a thing, each by its name."""
    with pytest.raises(UpstreamError) as raised:
        read(body)
    assert raised.value.code == code


@pytest.mark.parametrize("body", [
    json.dumps(DOCUMENT).encode().replace(b"0.5", b"NaN"),
    json.dumps(DOCUMENT).encode().replace(b"e-1", b"e-1\xff"),
    json.dumps(DOCUMENT | {"x": "\ud800"}).encode().replace(b"0.5", b"NaN"),
])  # fmt: skip
def test_broken_text_goes_on_and_is_counted(body):
    """What can be read of an answer stands; its bytes are not changed."""
    pipe, answer, _ = read(body)
    assert (answer.raw_finish_reason, answer.opaque_frames) == ("embedded", 1)
    assert answer.usage == Usage(input_tokens=5)
    assert pipe.close(outcome(Ending.COMPLETED), STYLE) == body


@pytest.mark.parametrize("error", [{"message": "no", "code": "server_error"}, "no", [1], 7])
@pytest.mark.parametrize("data", [[ITEM], None, {}])
def test_an_error_in_a_200(error, data):
    """It is an error, whatever stands beside it."""
    _, answer, reading = read(changed(error=error, data=data))
    assert answer.error is not None
    assert answer.error.code == "upstream_error"
    assert (answer.raw_finish_reason, reading.is_content) == (None, False)


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ({"prompt_tokens": 0}, Usage()),
        ({"prompt_tokens": 7, "total_tokens": "x"}, Usage(input_tokens=7)),
        ({"prompt_tokens": -1}, None),
        ({"prompt_tokens": 1 << 70}, None),
        ({"prompt_tokens": True}, None),
        ({"prompt_tokens": "7"}, None),
        ({"prompt_tokens": None}, None),
        ({}, None),
        ([], None),
        ("x", None),
    ],
)
def test_usage(usage, told):
    """Only a count of tokens is believed; what is not leaves the answer as it is."""
    assert read_usage(usage) == told
    _, answer, _ = read(changed(usage=usage))
    assert answer.usage == told
    assert answer.raw_finish_reason == "embedded"
    assert answer.is_usage_rejected is (told is None)


@pytest.mark.parametrize("model", [None, 7, [], {}, "a\0b"])
def test_a_model_that_is_no_name(model):
    """It is not noted, and nothing else follows."""
    _, answer, _ = read(changed(model=model))
    assert (answer.model, answer.raw_finish_reason) == (None, "embedded")
