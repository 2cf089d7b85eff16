import base64
import json

import pytest

from ainf.formats.json import load_json
from ainf.inference.errors import DownstreamError
from ainf.protocols.base import ErrorAnswer
from ainf.protocols.chat_completions import ChatCompletions
from ainf.protocols.openai_errors import openai_error

CHAT = ChatCompletions()
BASE = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
PNG = "data:image/png;base64," + base64.b64encode(bytes(30_000)).decode()


def parse(**fields):
    document = {name: value for name, value in (BASE | fields).items() if value is not ...}
    body = json.dumps(document).encode()
    return CHAT.parse(load_json(body), path="/v1/chat/completions", body_bytes=len(body), headers={})


def refusal(**fields):
    with pytest.raises(DownstreamError) as caught:
        parse(**fields)
    assert len(caught.value.message) <= 200
    return caught.value.code, caught.value.param


def test_plain():
    """A plain request says what it asks, and rides along as it came."""
    request = parse(temperature=0.5, x_unknown={"a": [1, None]})
    assert (request.protocol, request.path, request.model) == ("chat_completions", "/v1/chat/completions", "m")
    assert (request.stream, request.include_usage, request.has_tools) == (False, False, False)
    assert (request.max_output_tokens, request.attachment_count) == (None, 0)
    assert request.fields == BASE | {"temperature": 0.5, "x_unknown": {"a": [1, None]}}


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": ...}, "missing_field", "model"),
        ({"model": None}, "missing_field", "model"),
        ({"model": 7}, "invalid_type", "model"),
        ({"model": ""}, "model_not_found", "model"),
        ({"model": "x" * 257}, "model_not_found", "model"),
        ({"model": "x" * (1 << 20)}, "model_not_found", "model"),
        ({"model": "a\0b"}, "invalid_unicode", "model"),
        ({"messages": ...}, "missing_field", "messages"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": {}}, "invalid_type", "messages"),
        ({"messages": "Hi"}, "invalid_type", "messages"),
        ({"messages": [{"content": "a"}, "b"]}, "invalid_type", "messages[1]"),
        ({"messages": [{"content": 7}]}, "invalid_type", "messages[0].content"),
        ({"messages": [{"content": {}}]}, "invalid_type", "messages[0].content"),
        ({"messages": [{"content": [7]}]}, "invalid_type", "messages[0].content"),
        ({"stream": "true"}, "invalid_type", "stream"),
        ({"stream": 1}, "invalid_type", "stream"),
        ({"stream_options": []}, "invalid_type", "stream_options"),
        ({"stream_options": {"include_usage": 1}}, "invalid_type", "stream_options.include_usage"),
        ({"n": 2}, "unsupported_parameter", "n"),
        ({"n": 0}, "unsupported_parameter", "n"),
        ({"n": True}, "invalid_type", "n"),
        ({"n": "1"}, "invalid_type", "n"),
        ({"tools": {}}, "invalid_type", "tools"),
        ({"tools": ["search"]}, "invalid_type", "tools[0]"),
        ({"functions": [1]}, "invalid_type", "functions[0]"),
        ({"tool_choice": 1}, "invalid_type", "tool_choice"),
        ({"function_call": True}, "invalid_type", "function_call"),
        ({"response_format": "json"}, "invalid_type", "response_format"),
        ({"user": 5}, "invalid_type", "user"),
        ({"user": "a\0"}, "invalid_unicode", "user"),
        ({"metadata": []}, "invalid_type", "metadata"),
        ({"metadata": {"a\0": "b"}}, "invalid_unicode", "metadata"),
        ({"metadata": {"a": ["b\0"]}}, "invalid_unicode", "metadata"),
    ],
)
def test_refused(fields, code, param):
    """A field of the wrong type or value is refused by its name."""
    assert refusal(**fields) == (code, param)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    ("value", "code"),
    [(-1, "invalid_value"), (0, "invalid_value"), ((1 << 63) - 1, "invalid_value"), (1 << 31, "invalid_value"),
     (1.5, "invalid_type"), (64.0, "invalid_type"), ("64", "invalid_type"), (True, "invalid_type"),
     ([], "invalid_type")],
)  # fmt: skip
def test_bad_limits(name, value, code):
    """An output limit is a whole number from 1 to 2^31-1."""
    assert refusal(**{name: value}) == (code, name)


def test_limits():
    """Either name gives the limit; both must agree."""
    assert parse(max_tokens=5).max_output_tokens == 5
    assert parse(max_completion_tokens=6, max_tokens=None).max_output_tokens == 6
    assert parse(max_completion_tokens=7, max_tokens=7).max_output_tokens == 7
    assert refusal(max_completion_tokens=7, max_tokens=8) == ("invalid_value", "max_tokens")


def test_null_is_absent():
    """Null stands for absent where OpenAI's API has it so."""
    names = [
        "stream",
        "stream_options",
        "n",
        "tools",
        "functions",
        "tool_choice",
        "response_format",
        "user",
        "metadata",
    ]
    request = parse(**dict.fromkeys(names))
    assert (request.stream, request.has_tools) == (False, False)


@pytest.mark.parametrize(
    ("fields", "include_usage"),
    [
        ({"stream": True, "stream_options": {"include_usage": True}}, True),
        ({"stream": True, "stream_options": {"include_usage": False}}, False),
        ({"stream": True, "stream_options": {"include_usage": None}}, False),
        ({"stream": True}, False),
        ({"stream_options": {"include_usage": True}}, False),
    ],
)
def test_include_usage(fields, include_usage):
    """The usage chunk is shown to a stream that asked for it."""
    assert parse(**fields).include_usage is include_usage


@pytest.mark.parametrize(("name", "value"), [("tools", [{"type": "function"}]), ("functions", [{"name": "f"}])])
def test_tools(name, value):
    """Tools of either form are noticed, and the model reads them."""
    assert parse(**{name: value}).has_tools
    assert parse(**{name: value}).input_bytes > parse().input_bytes + 10
    assert not parse(**{name: []}).has_tools


def test_input_bytes():
    """Everything that the model reads counts by its UTF-8 bytes; pictures are counted apart, without their payload."""
    plain = parse().input_bytes
    assert parse(messages=[{"role": "user", "content": "Hi" + "é" * 100}]).input_bytes == plain + 200
    assert parse(messages=[{"role": "user", "content": "Hi"}] * 3).input_bytes == 3 * plain
    assert parse(user="u" * 500, x="y" * 500).input_bytes == plain
    parts = [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": PNG}}, "bare"]
    request = parse(messages=[{"role": "user", "content": parts * 2}])
    assert (request.attachment_count, request.attachments) == (2, {"image"})
    assert parse().attachments == set()
    assert plain < request.input_bytes < 200
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": "x" * 300}}]}
    assert parse(messages=[call]).input_bytes > 300
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"d": "x" * 400}}}
    assert parse(response_format=schema).input_bytes > plain + 400


def test_bound_bytes():
    """The bound counts all that came, known to be read or not, less base64 payloads; it is never below the estimate."""
    for fields in ({}, {"user": "u" * 500}, {"documents": [{"text": "x" * 5_000}]}, {"x": "é" * 100}):
        body = json.dumps(BASE | fields).encode()
        assert parse(**fields).bound_bytes == len(body)
    picture = {"type": "image_url", "image_url": {"url": PNG}}
    body = json.dumps(BASE | {"messages": [{"role": "user", "content": [picture] * 3}]}).encode()
    payload = len(PNG.partition(",")[2])
    request = CHAT.parse(load_json(body), path="/", body_bytes=len(body), headers={})
    assert (request.attachment_count, request.bound_bytes) == (3, len(body) - 3 * payload)
    short = b'{"model":"m","messages":[{"content":"a"}],"tools":[{"x":[' + b",".join([b"1e15"] * 100) + b"]}]}"
    request = CHAT.parse(load_json(short), path="/", body_bytes=len(short), headers={})
    assert request.bound_bytes == request.input_bytes > len(short)


def test_audio_payload_left_out():
    """A base64 payload of audio is no text that the model reads."""
    part = {"type": "input_audio", "input_audio": {"data": "A" * 10_000, "format": "wav"}}
    assert parse(messages=[{"role": "user", "content": [part]}]).input_bytes < 100


def test_model_name_in_a_refusal():
    """A refused model name is cut and escaped, so that no log line can be forged with it."""
    with pytest.raises(DownstreamError) as caught:
        parse(model="a\r\nb\x1b" + "x" * 300)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 160


def test_error_body():
    """An error answer is OpenAI's."""
    answer = ErrorAnswer("upstream_error", "upstream_error", "No.", "n", "inf-1", 0, "req-1")
    assert CHAT.error_body(answer) == openai_error(answer)


def test_echo():
    """Chat answers repeat nothing."""
    assert CHAT.echo(parse(user="u", tools=[])) == {}


@pytest.mark.parametrize(
    ("message", "text"),
    [({"content": "Hi \u2028"}, "Hi \u2028"), ({"content": None, "tool_calls": [{"id": "x"}]}, None), ({}, None)],
)
def test_finish_json(message, text):
    """The inference shape adds the text, the cost and the receipt's address; choices stay as they are."""
    body = json.dumps({"id": "x", "choices": [{"index": 0, "message": message}]}).encode()
    extra = {"cost": "0.01", "audit_url": "http://g/v1/audit/1"}
    assert json.loads(CHAT.finish_json(body, extra)) == json.loads(body) | {"content": text} | extra


def test_finish_json_of_odd_text():
    """A provider's lone surrogate or NaN in a whole answer breaks nothing after the settlement."""
    body = b'{"x":NaN,"choices":[{"message":{"content":"a\\ud83d"}}]}'
    assert json.loads(CHAT.finish_json(body, {}))["content"] == "a\ud83d"
    assert b"NaN" not in CHAT.finish_json(body, {})
