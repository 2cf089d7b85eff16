"""Gemini's vectors for clients that speak OpenAI's words."""

import base64
import json
import struct

import pytest
from openai.types import CreateEmbeddingResponse

from ainf.formats.base import Answer, EndingStyle, Listener, PipeLimits
from ainf.formats.embeddings.gemini import GeminiEmbeddings
from ainf.inference.errors import UpstreamError
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage

LIMITS = PipeLimits(1 << 16, 1 << 16, 1 << 16)
STYLE = EndingStyle("extended", "i", 1, "m", retryable=False)
OUTCOME = Outcome(Verdict(Ending.COMPLETED), "embedded", Usage(input_tokens=9), Evidence.METERED, 0)
BODY = json.dumps({"embeddings": [{"values": [0.5, -1.0]}, {"values": [2.0, 4.0]}]}).encode()


def pipe_for(encoding_format="float", inputs=2):
    echo = {"inputs": inputs, "encoding_format": encoding_format}
    listener = Listener(stream=False, include_usage=False, model="mine", inference_id="i", created=1, echo=echo)
    return GeminiEmbeddings(listener, LIMITS, Answer())


def read(body, **asked):
    pipe = pipe_for(**asked)
    for at in range(0, len(body), 7):
        assert pipe.receive(body[at : at + 7]).data == b""
    return pipe, pipe.receive_eof()


@pytest.mark.parametrize("ending", [Ending.COMPLETED, Ending.SPEND_CAP_EXCEEDED])
def test_vectors(ending):
    """They come in order, under the client's name of the model, with the usage that was settled."""
    pipe, reading = read(BODY)
    assert (reading.is_content, reading.output_bytes, pipe.is_wrapped) == (True, 0, False)
    assert pipe.answer.raw_finish_reason == "embedded"
    told = Outcome(Verdict(ending), "embedded", Usage(input_tokens=9), Evidence.METERED, 0)
    answer = CreateEmbeddingResponse.model_validate_json(pipe.close(told, STYLE))
    assert [item.embedding for item in answer.data] == [[0.5, -1.0], [2.0, 4.0]]
    assert (answer.model, answer.usage.prompt_tokens) == ("mine", 9)


def test_base64():
    """Whoever asked for base64 gets floats of 32 bits in it."""
    pipe, _ = read(BODY, encoding_format="base64")
    data = json.loads(pipe.close(OUTCOME, STYLE))["data"]
    assert struct.unpack("<2f", base64.b64decode(data[1]["embedding"])) == (2.0, 4.0)


def test_usage():
    """Where the provider tells its usage, it is noted; else nothing is."""
    told = json.dumps(json.loads(BODY) | {"usageMetadata": {"promptTokenCount": 4}}).encode()
    assert read(told)[0].answer.usage == Usage(input_tokens=4)
    assert read(BODY)[0].answer.usage is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "upstream_protocol"),
        (b"  ", "upstream_protocol"),
        (b"<html>", "upstream_protocol"),
        (b"{}", "upstream_protocol"),
        (b"[]", "upstream_protocol"),
        (b'{"embeddings":7}', "upstream_protocol"),
        (b'{"embeddings":[{"values":[1]}]}', "upstream_protocol"),
        (b'{"embeddings":[{"values":[1]},{"values":["x"]}]}', "upstream_protocol"),
        (b'{"embeddings":[{"values":[1]},{"values":[1e300]}]}', "upstream_protocol"),
        (BODY[:-4], "upstream_truncated"),
        (b"[" * 100_000, "upstream_protocol"),
    ],
)
def test_what_is_no_answer(body, code):
    """Nothing, other things, too few vectors, and half an answer, each by its name."""
    with pytest.raises(UpstreamError) as raised:
        read(body)
    assert raised.value.code == code


@pytest.mark.parametrize("error", [{"code": 500, "message": "no", "status": "INTERNAL"}, "no", [7]])
def test_an_error_in_a_200(error):
    """It is an error and no end."""
    pipe, reading = read(json.dumps({"error": error}).encode())
    assert pipe.answer.error is not None
    assert (pipe.answer.raw_finish_reason, reading.is_content) == (None, False)
