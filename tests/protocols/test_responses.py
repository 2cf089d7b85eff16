import pytest

from ainf.inference.request import Operation
from ainf.protocols.base import ErrorAnswer
from ainf.protocols.openai_errors import openai_error
from ainf.protocols.responses import Responses
from tests.protocols.asking import WRONG, Asker

RESPONSES = Responses()
ASK = Asker(RESPONSES, "/v1/responses", {"model": "m", "input": "Hi"})


def test_plain():
    """A plain request says what it asks, and rides along as it came."""
    request = ASK.parse(temperature=0.5, x_unknown={"a": [1, None]})
    assert (request.protocol, request.path, request.model) == ("responses", "/v1/responses", "m")
    assert (request.operation, request.stream, request.include_usage) == (Operation.GENERATE, False, False)
    assert (request.max_output_tokens, request.has_tools, request.attachment_count) == (None, False, 0)
    assert request.previous_response_id is None
    assert request.fields == {"model": "m", "input": "Hi", "temperature": 0.5, "x_unknown": {"a": [1, None]}}


def test_what_is_interpreted():
    """Stream, limit, tools and the response that it goes on from."""
    request = ASK.parse(stream=True, max_output_tokens=7, tools=[{"type": "function"}], previous_response_id="resp_1")
    assert (request.stream, request.include_usage, request.max_output_tokens) == (True, False, 7)
    assert (request.has_tools, request.previous_response_id) == (True, "resp_1")


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": ...}, "missing_field", "model"),
        ({"model": []}, "invalid_type", "model"),
        ({"stream": "yes"}, "invalid_type", "stream"),
        ({"max_output_tokens": 0}, "invalid_value", "max_output_tokens"),
        ({"max_output_tokens": 1.0}, "invalid_type", "max_output_tokens"),
        ({"tools": {}}, "invalid_type", "tools"),
        ({"tools": [{}, 7]}, "invalid_type", "tools[1]"),
        ({"previous_response_id": 7}, "invalid_type", "previous_response_id"),
        ({"previous_response_id": "a\0"}, "invalid_unicode", "previous_response_id"),
        ({"user": []}, "invalid_type", "user"),
        ({"user": "a\0"}, "invalid_unicode", "user"),
        ({"metadata": "x"}, "invalid_type", "metadata"),
        ({"metadata": {"a\0": "b"}}, "invalid_unicode", "metadata"),
    ],
)
def test_refused(fields, code, param):
    """A field of the wrong type or value is refused by its name."""
    assert ASK.refusal(**fields) == (code, param)


@pytest.mark.parametrize(
    "name",
    ["model", "stream", "max_output_tokens", "tools", "previous_response_id", "user", "metadata", "input",
     "instructions", "text", "reasoning"],
)  # fmt: skip
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_hostile(name, value):
    """Whatever stands in a field, it is an answer or a refusal that names it."""
    ASK.survives(**{name: value})


@pytest.mark.parametrize("name", ["input", "instructions"])
@pytest.mark.parametrize("value", [None, ..., *WRONG], ids=repr)
def test_what_the_provider_judges(name, value):
    """Input and instructions of any type, or none, go on untouched."""
    request = ASK.parse(**{name: value})
    assert request.fields.get(name, ...) == value


@pytest.mark.parametrize("name", ["instructions", "tools", "text", "prompt", "tool_choice"])
def test_read_beside_the_input(name):
    """The model reads it, so it counts."""
    value = [{"description": "x" * 300}]
    assert 300 < ASK.parse(**{name: value}).input_bytes - ASK.parse().input_bytes < 360


def test_sizes():
    """Attachments are counted apart; the bound counts all that came, less their payloads."""
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 30_000}
    asked = [{"role": "user", "content": [image]}]
    request = ASK.parse(input=asked, x_unknown="y" * 500)
    assert (request.attachment_count, request.attachments, request.input_bytes < 100) == (1, {"image"}, True)
    assert ASK.parse().attachments == set()
    assert request.bound_bytes == len(ASK.body(input=asked, x_unknown="y" * 500)) - 30_000


def test_echo():
    """The response object repeats what was set of its fields, and nothing else."""
    told = {"instructions": "Be brief.", "tools": [{"type": "function", "name": "f"}], "temperature": 0.5, "user": "u"}
    assert RESPONSES.echo(ASK.parse(**told, top_p=None, include=["x"], stream=True)) == told
    assert RESPONSES.echo(ASK.parse()) == {}


@pytest.mark.parametrize("name", ["instructions", "tools"])
def test_echo_of_long_fields(name):
    """Instructions and tools are left out where they are too long to be repeated."""
    long = {"instructions": "x" * (8 << 10), "tools": [{"name": "x" * (8 << 10)}]}[name]
    assert RESPONSES.echo(ASK.parse(**{name: long}, temperature=0.5)) == {"temperature": 0.5}


def test_echo_of_too_much():
    """Nothing is repeated where even the rest is over the bound; just below it all is."""
    assert RESPONSES.echo(ASK.parse(metadata={"a": "x" * (8 << 10)}, temperature=0.5)) == {}
    fitting = "x" * ((8 << 10) - len('{"instructions":""}'))
    assert RESPONSES.echo(ASK.parse(instructions=fitting)) == {"instructions": fitting}
    assert RESPONSES.echo(ASK.parse(instructions=fitting + "x")) == {}


def test_error_body():
    """An error answer is OpenAI's."""
    answer = ErrorAnswer("upstream_error", "upstream_error", "No.", "n", "inf-1", 0, "req-1")
    assert RESPONSES.error_body(answer) == openai_error(answer)
