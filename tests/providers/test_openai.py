import json

import attrs
import pytest

from ainf.inference.errors import DownstreamError
from ainf.inference.request import InferenceRequest
from ainf.providers.base import Target
from ainf.providers.openai import OpenAI

VENDOR = OpenAI()
TARGET = Target("main", "gpt-up", "https://api.example.test/v1", "max_completion_tokens")
FIELDS = {
    "model": "asked",
    "messages": [{"role": "user", "content": "Grüß \u2028"}],
    "x_unknown": {"a": [1, None, 0.1]},
}


def request_of(**fields):
    fields = FIELDS | fields
    return InferenceRequest(
        protocol="chat_completions",
        path="/v1/chat/completions",
        model="asked",
        stream=fields.get("stream") is True,
        include_usage=False,
        max_output_tokens=fields.get("max_tokens"),
        input_bytes=1,
        bound_bytes=1,
        attachment_count=0,
        has_tools=False,
        fields=fields,
    )


def written(limit=None, **fields):
    wire = VENDOR.write_request(request_of(**fields), TARGET, limit)
    assert wire.url == "https://api.example.test/v1/chat/completions"
    return json.loads(wire.body)


def test_fields_as_they_came():
    """A request goes on with its fields untouched but for the model."""
    assert written() == FIELDS | {"model": "gpt-up"}


@pytest.mark.parametrize("options", [..., None, {"include_usage": False}, {"include_obfuscation": False}])
def test_usage_is_always_asked_for(options):
    """A stream asks for usage whatever the client said, and keeps its other options."""
    fields = {} if options is ... else {"stream_options": options}
    sent = written(stream=True, **fields)["stream_options"]
    assert sent["include_usage"] is True
    assert sent.get("include_obfuscation") == (
        options.get("include_obfuscation") if isinstance(options, dict) else None
    )
    assert "stream_options" not in written()


@pytest.mark.parametrize(
    ("fields", "limit", "sent"),
    [
        ({"max_tokens": 50}, None, {"max_tokens": 50}),
        ({"max_tokens": 50}, 20, {"max_tokens": 20}),
        ({"max_completion_tokens": 50}, 20, {"max_completion_tokens": 20}),
        ({"max_completion_tokens": 50, "max_tokens": 50}, 20, {"max_completion_tokens": 20, "max_tokens": 20}),
        ({"max_tokens": None}, 20, {"max_tokens": None, "max_completion_tokens": 20}),
        ({}, 20, {"max_completion_tokens": 20}),
        ({}, None, {}),
    ],
)
def test_output_limit(fields, limit, sent):
    """A clamped limit goes into the field that the client used, else into the one that the vendor wants."""
    assert {name: value for name, value in written(limit, **fields).items() if name.startswith("max_")} == sent


def test_the_request_is_left_alone():
    """Writing changes nothing in the request: a later attempt writes it again."""
    request = request_of(stream=True, stream_options={"include_usage": False})
    before = json.dumps(request.fields)
    VENDOR.write_request(request, attrs.evolve(TARGET, upstream_model="other"), 5)
    assert json.dumps(request.fields) == before


def test_check():
    """What would change the price is refused before anything is reserved, and never written."""
    with pytest.raises(DownstreamError, match="service_tier"):
        VENDOR.check(request_of(service_tier="flex"))
    with pytest.raises(DownstreamError, match="service_tier"):
        VENDOR.write_request(request_of(service_tier="flex"), TARGET, None)


def test_credential():
    """The key goes into the bearer header."""
    assert VENDOR.credential("sk-1") == ((b"authorization", b"Bearer sk-1"),)


def error_of(status, error=None, headers=None, body=None):
    body = json.dumps({"error": error}).encode() if body is None else body
    return VENDOR.read_error(status, headers or {}, body)


@pytest.mark.parametrize(
    ("status", "error", "code", "answered", "transient"),
    [
        (401, {"code": "invalid_api_key"}, "upstream_auth", 502, False),
        (402, None, "upstream_auth", 502, False),
        (403, "text", "upstream_auth", 502, False),
        (429, {"code": "insufficient_quota", "type": "insufficient_quota"}, "upstream_auth", 502, False),
        (400, {"code": "billing_hard_limit_reached"}, "upstream_auth", 502, False),
        (429, {"code": "rate_limit_exceeded", "type": "tokens"}, "upstream_overloaded", 503, True),
        (503, {"type": "server_error"}, "upstream_overloaded", 503, True),
        (529, None, "upstream_overloaded", 503, True),
        (500, {"type": "overloaded_error"}, "upstream_overloaded", 503, True),
        (500, {"type": "server_error", "message": "Traceback /srv/app.py sk-live-123456"}, "upstream_error", 502, True),
        (502, None, "upstream_error", 502, True),
        (999, None, "upstream_error", 502, True),
        (408, None, "upstream_error", 502, True),
        (409, None, "upstream_error", 502, True),
        (400, {"code": "context_length_exceeded", "param": "messages"}, "upstream_rejected", 400, False),
        (404, {"code": "model_not_found"}, "upstream_rejected", 400, False),
        (413, None, "upstream_rejected", 400, False),
        (422, {"type": "invalid_request_error"}, "upstream_rejected", 400, False),
    ],
)
def test_read_error(status, error, code, answered, transient):
    """A refusal is ours to explain: blame, status and whether a retry can help."""
    found = error_of(status, error)
    assert (found.code, found.status, found.transient) == (code, answered, transient)
    assert "sk-live" not in found.message
    assert "app.py" not in found.message


def test_rejected_in_the_providers_words():
    """Where the provider speaks of the request, its code, field and scrubbed words are passed on."""
    message = (
        "Maximum context length is 128000 tokens. Visit https://platform.example.com/x or write to req_0123456789."
    )
    found = error_of(400, {"code": "context_length_exceeded", "param": "messages", "message": message})
    assert found.param == "messages"
    assert "(context_length_exceeded): Maximum context length is 128000 tokens." in found.message
    assert "example.com" not in found.message
    assert "req_" not in found.message
    assert len(error_of(400, {"message": "word " * 5000}).message) < 300


@pytest.mark.parametrize("code", ["evil\r\ncode", "x" * 5000, {"a": 1}, None, 17])
def test_unknown_codes_are_not_shown(code):
    """Only codes that we know are shown."""
    assert error_of(400, {"code": code, "message": ""}).message == "The provider refused the request as invalid."


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>nginx</html>",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b'{"error":',
        b"[" * 5000,
        b'{"detail":[{"loc":["body"]}]}',
    ],
)
def test_any_body(body):
    """Whatever stands in a refusal's body, it is read without a fault and not shown."""
    assert error_of(400, body=body).message == "The provider refused the request as invalid."
    assert error_of(500, body=body).code == "upstream_error"


def test_vllm_shape():
    """An error at the top level of the body is read as well."""
    body = json.dumps({"object": "error", "message": "Too long.", "type": "BadRequestError", "code": 400}).encode()
    assert error_of(400, body=body).message.endswith("as invalid: Too long.")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"7", 7), (b" 7 ", 7), (b"0", 1), (b"61", 60), (b"1000000000000", 60), (b"-5", None), (b"1.5", None), (b"", None),
     (b"soon", None), (b"Wed, 21 Oct 2026 07:28:00 GMT", None), ("²".encode(), None), ("٣".encode(), None),
     (b"9" * 5000, None), (b"+5", None), (b"0x10", None)],
)  # fmt: skip
def test_retry_after(value, seconds):
    """The provider's wait is bounded to 1 to 60 seconds, and garbage is no wait."""
    assert error_of(429, headers={b"retry-after": value}).retry_after_s == seconds
