import pytest

from ainf.formats.errors import in_band_error, read_error_object, scrub


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": "insufficient_quota", "message": "sk-proj-1234567890"}, "upstream_auth"),
        ({"type": "authentication_error"}, "upstream_auth"),
        ({"code": 402}, "upstream_auth"),
        ({"type": "overloaded_error", "message": "Overloaded"}, "upstream_overloaded"),
        ({"code": "rate_limit_exceeded", "type": "tokens"}, "upstream_overloaded"),
        ({"code": 503}, "upstream_overloaded"),
        ({"code": 429, "status": "RESOURCE_EXHAUSTED"}, "upstream_overloaded"),
        ({"status": "UNAVAILABLE"}, "upstream_overloaded"),
        ({"type": "rate_limit_error"}, "upstream_overloaded"),
        ({"status": "UNAUTHENTICATED"}, "upstream_auth"),
        ({"status": "PERMISSION_DENIED"}, "upstream_auth"),
        ({"status": "INVALID_ARGUMENT", "details": [7, {"reason": "API_KEY_INVALID"}]}, "upstream_auth"),
        ({"type": "permission_error"}, "upstream_auth"),
        ({"type": "billing_error"}, "upstream_auth"),
        ({"status": "INTERNAL", "details": {"reason": "UNAVAILABLE"}, "innererror": ["x"]}, "upstream_error"),
        ({"type": "api_error"}, "upstream_error"),
        ({"type": "timeout_error"}, "upstream_error"),
        ({"code": "server_error"}, "upstream_error"),
        ({"code": [1], "type": {"a": 1}, "message": 7, "param": 3}, "upstream_error"),
        ("text", "upstream_error"),
        (True, "upstream_error"),
        ([{"code": 429}], "upstream_error"),
    ],
)
def test_in_band_error(error, code):
    """An error in an answer is one of ours, in our own words."""
    found = in_band_error(error)
    assert found.code == code
    assert "sk-proj" not in found.message


def test_error_about_the_request_is_explained():
    """Where the provider speaks of the request, its code, field and scrubbed words are passed on."""
    found = in_band_error({
        "code": "context_length_exceeded",
        "type": "invalid_request_error",
        "param": "messages",
        "message": "Too long; see https://example.com/x",
    })
    assert (found.code, found.param) == ("context_length_exceeded", "messages")
    assert "(context_length_exceeded): Too long; see [removed]" in found.message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": "context_length_exceeded"}, "context_length_exceeded"),
        ({"type": "exceed_context_size_error"}, "context_length_exceeded"),
        ({"type": "invalid_request_error", "message": "prompt is too long: 208310 tokens > 200000 maximum"},
         "context_length_exceeded"),
        ({"type": "invalid_request_error",
          "message": "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000"},
         "context_length_exceeded"),
        ({"status": "INVALID_ARGUMENT",
          "message": "The input token count (2551556) exceeds the maximum number of tokens allowed (1048576)."},
         "context_length_exceeded"),
        ({"code": 400, "type": "BadRequestError",
          "message": "This model's maximum context length is 4096 tokens. However, you requested 8238 tokens"},
         "context_length_exceeded"),
        ({"message": "This model's maximum prompt length is 131072 but the request contains 537812 tokens."},
         "context_length_exceeded"),
        ({"code": 400, "message": "the request exceeds the available context size, try increasing it"},
         "context_length_exceeded"),
        ({"code": "content_filter", "innererror": {"code": "ResponsibleAIPolicyViolation"}}, "content_filter"),
        ({"code": 400, "innererror": {"code": "ResponsibleAIPolicyViolation"}}, "content_filter"),
        ({"code": "content_policy_violation"}, "content_filter"),
        ({"code": "invalid_prompt"}, "content_filter"),
        ({"type": "invalid_request_error", "message": "Output blocked by content filtering policy"}, "content_filter"),
        ({"code": "invalid_value", "message": "the maximum is 5"}, None),
        ({"message": " " * 5000 + "prompt is too long"}, None),
        ("prompt is too long", "context_length_exceeded"),
        (None, None),
    ],
)  # fmt: skip
def test_our_code(error, code):
    """What clients act on has a code of ours, whichever vendor says it in whatever way."""
    assert read_error_object(error).our_code == code
    if code is not None:
        assert in_band_error(error).code == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"status": "INVALID_ARGUMENT"}, "invalid_argument"),
        ({"status": "FAILED_PRECONDITION"}, "failed_precondition"),
        ({"status": "OUT_OF_RANGE"}, "out_of_range"),
        ({"status": "NOT_FOUND"}, "not_found"),
        ({"type": "not_found_error"}, "not_found_error"),
        ({"type": "request_too_large"}, "request_too_large"),
        ({"code": "unknown_parameter", "type": "invalid_request_error"}, "unknown_parameter"),
        ({"code": "content_filter", "status": 400}, "content_filter"),
        ({"type": "api_error"}, None),
        ({"code": "1' OR 1=1"}, None),
    ],
)
def test_codes_about_the_request(error, code):
    """Of the provider's own codes the one that says most is known to speak of the request; no other is passed on."""
    assert read_error_object(error).request_code == code


@pytest.mark.parametrize(
    "secret",
    [
        "https://internal.example.com/v1?key=1", "sk-proj-abcDEF123456", "org-AbCd1234", "req_0123456789abcdef",
        "Bearer abc.def", "ops@example.com", "10.1.2.3:8000", "fe80:0:0:1::7", "gpu-7.prod.internal:9000",
        "localhost:8000", "/usr/lib/python3/site-packages/x.py", "C:\\srv\\x", "123e4567-e89b-12d3-a456-426614174000",
        "a1b2c3d4e5f6a7b8c9d0e1f2a3b4", "gsk_abcdefgh1234", "user-123456",
    ],
)  # fmt: skip
def test_scrub(secret):
    """Addresses, keys, ids and paths are removed; the words around them stay."""
    assert scrub(f"failed at {secret} again") == "failed at [removed] again"


@pytest.mark.parametrize(
    "text",
    [
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 tokens.",
        "Invalid value: 'sytem'. Supported values are: 'system', 'assistant', 'user' and/or 'tool'.",
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    ],
)
def test_scrub_leaves_plain_words(text):
    """What OpenAI really says of a request passes unharmed."""
    assert scrub(text) == text


def test_scrub_is_one_short_line():
    """Control characters, line ends and length are taken away."""
    assert scrub("a\r\nb\x00\x1b[31mc\ud800") == "a b [31mc"
    assert len(scrub("word " * 10_000)) == 200


@pytest.mark.parametrize(
    ("param", "shown"),
    [
        ("messages[0].content", "messages[0].content"),
        ("a b", None),
        ("x" * 101, None),
        ("http://x", None),
        (3, None),
        ("", None),
    ],
)
def test_param_by_shape(param, shown):
    """A field name is passed on only where it looks like one."""
    assert read_error_object({"param": param}).param == shown


@pytest.mark.parametrize("unit", ["a-", "a.", "1.", "aa:", "/a", "sk-", "a@", "a1", "http", "-" * 7 + "a"])
def test_scrub_takes_no_time(unit):
    """No text makes the patterns run wild: a megabyte is cut before it is searched."""
    assert len(scrub(unit * 500_000)) <= 200
