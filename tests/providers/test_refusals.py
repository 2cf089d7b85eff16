import json

import pytest

from ainf.providers.refusals import read_error


def error_of(status, error=None, headers=None, body=None):
    body = json.dumps({"error": error}).encode() if body is None else body
    return read_error(status, headers or {}, body)


def google(status, message="No.", *details, as_list=False):
    error = {"error": {"code": 400, "message": message, "status": status, "details": list(details)}}
    return json.dumps([error] if as_list else error).encode()


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
        (529, {"type": "overloaded_error", "message": "Overloaded"}, "upstream_overloaded", 503, True),
        (500, {"type": "overloaded_error"}, "upstream_overloaded", 503, True),
        (500, {"type": "server_error", "message": "Traceback /srv/app.py sk-live-123456"}, "upstream_error", 502, True),
        (500, {"type": "api_error"}, "upstream_error", 502, True),
        (502, None, "upstream_error", 502, True),
        (999, None, "upstream_error", 502, True),
        (408, None, "upstream_error", 502, True),
        (409, None, "upstream_error", 502, True),
        (400, {"code": "context_length_exceeded", "param": "messages"}, "context_length_exceeded", 400, False),
        (400, {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}, "context_length_exceeded", 400,
         False),
        (400, {"code": "content_filter"}, "content_filter", 400, False),
        (422, {"code": "content_policy_violation"}, "content_filter", 400, False),
        (404, {"code": "model_not_found"}, "upstream_rejected", 400, False),
        (404, {"type": "not_found_error", "message": "model: claude-x"}, "upstream_rejected", 400, False),
        (413, None, "upstream_rejected", 400, False),
        (413, {"type": "request_too_large"}, "upstream_rejected", 400, False),
        (422, {"type": "invalid_request_error"}, "upstream_rejected", 400, False),
    ],
)  # fmt: skip
def test_statuses(status, error, code, answered, transient):
    """A refusal is ours to explain: blame, status and whether a retry can help."""
    found = error_of(status, error)
    assert (found.code, found.status, found.transient) == (code, answered, transient)
    assert "sk-live" not in found.message
    assert "app.py" not in found.message


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}}),
        (400, {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}),
        (400, {"type": "invalid_request_error", "message": "You have reached your specified API usage limits."}),
        (400, {"message": "Incorrect API key provided: xa***. You can obtain one at https://console."}),
    ],
)
def test_the_operators_account(status, error):
    """What a vendor says of the operator's money or key is never shown as the client's fault."""
    found = error_of(status, error)
    assert (found.code, found.message) == ("upstream_auth", "The provider refused the gateway's own account.")


def test_anthropics_shape():
    """The error stands beside a type and a request id."""
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens: too large"}}
    found = error_of(400, body=json.dumps(body | {"request_id": "req_0123456789"}).encode())
    assert found.code == "upstream_rejected"
    assert found.message.endswith("max_tokens: too large")


@pytest.mark.parametrize("as_list", [False, True])
def test_googles_shape(as_list):
    """The status says what happened, in an object or, where a stream was asked for, in a list of one."""
    found = error_of(400, body=google("INVALID_ARGUMENT", "Unknown name 'x'.", as_list=as_list))
    assert found.code == "upstream_rejected"
    assert found.message.endswith("Unknown name 'x'.")
    key = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    assert error_of(400, body=google("INVALID_ARGUMENT", "Bad.", key, as_list=as_list)).code == "upstream_auth"
    assert error_of(403, body=google("PERMISSION_DENIED", as_list=as_list)).code == "upstream_auth"
    assert error_of(503, body=google("UNAVAILABLE", as_list=as_list)).code == "upstream_overloaded"
    assert error_of(500, body=google("INTERNAL", as_list=as_list)).code == "upstream_error"


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [("34s", 34), ("34.074824224s", 35), ("0s", 1), ("0.1s", 1), ("3600s", 60), ("-5s", None), ("soon", None),
     (34, None), (None, None), ("9999999999s", None)],
)  # fmt: skip
def test_googles_wait(delay, seconds):
    """``RetryInfo`` says how long, in the body."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    found = error_of(429, body=google("RESOURCE_EXHAUSTED", "Quota.", "odd", info))
    assert (found.code, found.retry_after_s) == ("upstream_overloaded", seconds)


def test_a_flagged_input():
    """OpenRouter answers 403 where a model's moderation flags the input: the request is at fault, not the key."""
    metadata = {"reasons": ["violence"], "flagged_input": "...", "provider_name": "OpenAI"}
    error = {"code": 403, "message": "Your chosen model requires moderation and your input was flagged."}
    assert error_of(403, error | {"metadata": metadata}).code == "content_filter"
    assert error_of(403, error).code == "upstream_auth"


@pytest.mark.parametrize(
    "body",
    [
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "x", 0, "y"], "msg": "Extra inputs"}]},
        {"object": "error", "message": {"detail": [{"loc": ["body", "x", 0, "y"], "msg": "Extra inputs"}]}},
        {"object": "Error", "message": [{"loc": ["body", "x", 0, "y"], "msg": "Extra inputs"}], "code": 3001},
    ],
)
def test_validation_faults(body):
    """The first fault that a vendor's validation found is told with its field."""
    found = error_of(422, body=json.dumps(body).encode())
    assert (found.code, found.param) == ("upstream_rejected", "x[0].y")
    assert found.message.endswith("as invalid: x[0].y: Extra inputs")


@pytest.mark.parametrize("detail", [["a"], [{"loc": "x", "msg": "y"}], {"detail": {"detail": {"detail": "deep"}}}, 5])
def test_odd_validation_faults(detail):
    """What is not of that shape says nothing."""
    found = error_of(422, body=json.dumps({"detail": detail}).encode())
    assert found.message == "The provider refused the request as invalid."


def test_a_field_of_no_shape():
    """A fault at something that is no field path is told without it."""
    body = {"detail": [{"loc": ["body", "evil\r\nx"], "msg": "Bad."}]}
    found = error_of(422, body=json.dumps(body).encode())
    assert (found.param, found.message) == (None, "The provider refused the request as invalid: Bad.")


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
        b"[[]]",
        b"[1,",
        b"null",
        b"\xff\xfe\x00",
        b'{"error":',
        b'{"error":[]}',
        b"[" * 5000,
        b'{"error":{"details":[1],"metadata":[],"message":{"message":{"message":{"message":{}}}}}}',
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


def test_a_bare_text():
    """An error that is a text alone is its message."""
    assert error_of(400, "No such voice.").message.endswith("as invalid: No such voice.")
    assert error_of(422, body=b'{"detail":"Not today."}').message.endswith("as invalid: Not today.")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"7", 7), (b" 7 ", 7), (b"0", 1), (b"61", 60), (b"1000000000000", 60), (b"-5", None), (b"1.5", None), (b"", None),
     (b"soon", None), (b"Wed, 21 Oct 2026 07:28:00 GMT", None), ("²".encode(), None), ("٣".encode(), None),
     (b"9" * 5000, None), (b"+5", None), (b"0x10", None)],
)  # fmt: skip
def test_retry_after(value, seconds):
    """The provider's wait is bounded to 1 to 60 seconds, and garbage is no wait."""
    assert error_of(429, headers={b"retry-after": value}).retry_after_s == seconds


@pytest.mark.parametrize(
    ("value", "seconds"), [(b"1500", 2), (b"20", 1), (b"0", 1), (b"900000", 60), (b"soon", 9), (b"", 9)]
)
def test_retry_after_ms(value, seconds):
    """Milliseconds come first where both stand there, rounded up; garbage leaves the seconds."""
    assert error_of(429, headers={b"retry-after-ms": value, b"retry-after": b"9"}).retry_after_s == seconds
