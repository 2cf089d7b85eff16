import json

import pytest

from ainf.formats.base import EndingStyle, Listener, PipeLimits
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.request import Operation
from ainf.inference.usage import Usage
from ainf.protocols.base import ErrorAnswer
from ainf.protocols.embeddings import MOST_INPUTS, Embeddings
from ainf.protocols.openai_errors import openai_error
from tests.protocols.asking import WRONG, Asker

EMBEDDINGS = Embeddings()
ASK = Asker(EMBEDDINGS, "/v1/embeddings", {"model": "m", "input": "Hi"})
LIMITS = PipeLimits(1 << 16, 1 << 16, 1 << 16)


def test_plain():
    """A plain request says what it asks, and rides along as it came."""
    request = ASK.parse(dimensions=64, x_unknown=[None])
    assert (request.protocol, request.path, request.model) == ("embeddings", "/v1/embeddings", "m")
    assert (request.operation, request.stream, request.include_usage) == (Operation.EMBED, False, False)
    assert (request.max_output_tokens, request.attachment_count, request.has_tools) == (None, 0, False)
    assert request.fields == {"model": "m", "input": "Hi", "dimensions": 64, "x_unknown": [None]}


@pytest.mark.parametrize(
    ("value", "inputs", "size"),
    [
        ("Hié", 1, 4),
        (["a", "é", ""], 3, 3),
        ([1, 2, 3], 1, 12),
        ([[1, 2], [], [3]], 3, 12),
        ([1] * 8_192, 1, 4 * 8_192),
        (["a"] * MOST_INPUTS, MOST_INPUTS, MOST_INPUTS),
    ],
)
def test_inputs(value, inputs, size):
    """Texts count by their bytes, tokens as four bytes each; the bound is never below the whole body."""
    request = ASK.parse(input=value)
    assert request.input_bytes == size
    assert request.bound_bytes == max(size, len(ASK.body(input=value)))
    assert EMBEDDINGS.echo(request) == {"inputs": inputs, "encoding_format": "float"}


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": ...}, "missing_field", "model"),
        ({"input": ...}, "missing_field", "input"),
        ({"input": None}, "missing_field", "input"),
        ({"input": ""}, "invalid_value", "input"),
        ({"input": []}, "invalid_value", "input"),
        ({"input": {}}, "invalid_type", "input"),
        ({"input": 7}, "invalid_type", "input"),
        ({"input": [True]}, "invalid_type", "input[0]"),
        ({"input": [1.5]}, "invalid_type", "input[0]"),
        ({"input": [{}]}, "invalid_type", "input[0]"),
        ({"input": ["a", 1]}, "invalid_type", "input[1]"),
        ({"input": [1, "a"]}, "invalid_type", "input[1]"),
        ({"input": [1, True]}, "invalid_type", "input[1]"),
        ({"input": [[1], "a"]}, "invalid_type", "input[1]"),
        ({"input": [[1], [2, "a"]]}, "invalid_type", "input[1][1]"),
        ({"input": ["a"] * (MOST_INPUTS + 1)}, "invalid_value", "input"),
        ({"stream": True}, "unsupported_parameter", "stream"),
        ({"encoding_format": ""}, "invalid_value", "encoding_format"),
        ({"encoding_format": "int8"}, "invalid_value", "encoding_format"),
        ({"encoding_format": 7}, "invalid_type", "encoding_format"),
        ({"dimensions": 0}, "invalid_value", "dimensions"),
        ({"dimensions": "9"}, "invalid_type", "dimensions"),
        ({"user": "a\0"}, "invalid_unicode", "user"),
    ],
)
def test_refused(fields, code, param):
    """A field of the wrong type or value is refused by its name."""
    assert ASK.refusal(**fields) == (code, param)


@pytest.mark.parametrize("name", ["model", "input", "stream", "encoding_format", "dimensions", "user"])
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_hostile(name, value):
    """Whatever stands in a field, it is an answer or a refusal that names it."""
    ASK.survives(**{name: value})


@pytest.mark.parametrize("value", [None, ..., "float"])
def test_the_usual_encoding(value):
    """Lists of numbers, unless base64 was asked for."""
    assert EMBEDDINGS.echo(ASK.parse(encoding_format=value))["encoding_format"] == "float"
    assert EMBEDDINGS.echo(ASK.parse(encoding_format="base64"))["encoding_format"] == "base64"


def answered(request, provider_format, body):
    listener = Listener(
        stream=False, include_usage=False, model="m", inference_id="i", created=1, echo=EMBEDDINGS.echo(request)
    )
    pipe = EMBEDDINGS.open_pipe(listener, provider_format, LIMITS)
    pipe.receive(body)
    pipe.receive_eof()
    outcome = Outcome(Verdict(Ending.COMPLETED), "embedded", Usage(input_tokens=2), Evidence.REPORTED, 0)
    return pipe.close(outcome, EndingStyle("extended", "i", 1, "m", retryable=False))


def test_pipes():
    """OpenAI's answers go on as they came; Gemini's come in OpenAI's words, in the encoding that was asked for."""
    request = ASK.parse(input=["a", "b"], encoding_format="base64")
    own = b'{"data":[{"embedding":"AAAAPw=="},{"embedding":"AACAPw=="}]}'
    assert answered(request, "embeddings", own) == own
    told = json.loads(answered(request, "gemini_embeddings", b'{"embeddings":[{"values":[0.5]},{"values":[1]}]}'))
    assert [item["embedding"] for item in told["data"]] == ["AAAAPw==", "AACAPw=="]


def test_no_other_pipe():
    """Formats of answers have no vectors."""
    with pytest.raises(AssertionError):
        answered(ASK.parse(), "chat", b"{}")


def test_error_body():
    """An error answer is OpenAI's."""
    answer = ErrorAnswer("upstream_error", "upstream_error", "No.", "n", "inf-1", 0, "req-1")
    assert EMBEDDINGS.error_body(answer) == openai_error(answer)
