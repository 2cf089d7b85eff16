import json

import anthropic
import httpx2
import pytest
from anthropic.types import ErrorResponse
from pydantic import TypeAdapter

from ainf.formats.messages.frames import (
    block_delta_frame,
    block_start_frame,
    block_stop_frame,
    cap_frame,
    cap_reason,
    delta_frame,
    ending_document,
    error_document,
    start_frame,
)
from ainf.inference.errors import CODES
from ainf.inference.outcome import Ending
from tests.formats.messages.support import CAPPED, FAILED, STOP, USAGE, client_message, kinds, outcome, style


def error_of(code, **fields):
    row = CODES[code]
    given = {"param": None, "inference_id": None, "billed_nusd": 0, "retryable": None, "request_id": None} | fields
    return error_document(code=code, type_=row.type, status=row.status, message="Said.", **given)


def test_a_made_stream():
    """The frames that we make are a stream that the official client understands."""
    stream = b"".join([
        start_frame("msg_1", "m", USAGE),
        block_start_frame(0, {"type": "text", "text": ""}),
        block_delta_frame(0, {"type": "text_delta", "text": "Hi\u2028\n"}),
        block_stop_frame(0),
        delta_frame("stop_sequence", "END", USAGE),
        STOP,
    ])
    message = client_message(stream)
    assert (message.id, message.model, message.content[0].text) == ("msg_1", "m", "Hi\u2028\n")
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (6, 2)
    assert stream.startswith(b"event: message_start\ndata: {")


@pytest.mark.parametrize("code", CODES)
def test_error_types(code):
    """Each of our codes has a type that Anthropic's clients know."""
    known = {
        "invalid_request_error", "authentication_error", "billing_error", "permission_error", "not_found_error",
        "rate_limit_error", "api_error", "timeout_error", "overloaded_error", "request_too_large",
    }  # fmt: skip
    document = error_of(code)
    assert document["error"]["type"] in known
    if document["error"]["type"] != "request_too_large":  # documented, and not yet among the package's types
        TypeAdapter(ErrorResponse).validate_python(document, strict=True)


@pytest.mark.parametrize(
    ("code", "type_"),
    [
        ("invalid_value", "invalid_request_error"),
        ("unsupported_media_type", "invalid_request_error"),
        ("tools_not_supported", "invalid_request_error"),
        ("streaming_not_supported", "invalid_request_error"),
        ("invalid_api_key", "authentication_error"),
        ("spend_cap_exceeded", "billing_error"),
        ("not_permitted", "permission_error"),
        ("model_not_found", "not_found_error"),
        ("request_too_large", "request_too_large"),
        ("rate_limited", "rate_limit_error"),
        ("internal_error", "api_error"),
        ("upstream_error", "api_error"),
        ("upstream_overloaded", "overloaded_error"),
        ("deadline_exceeded", "timeout_error"),
    ],
)
def test_error_type_of_a_code(code, type_):
    """The type follows the status that the error has, or would have had."""
    assert error_of(code)["error"]["type"] == type_


def test_money_is_never_a_limit_of_rate():
    """A money refusal under 429 is still a billing error."""
    row = CODES["spend_cap_exceeded"]
    document = error_document(
        code="spend_cap_exceeded", type_=row.type, status=429, message="Said.", param=None, inference_id=None,
        billed_nusd=0, retryable=False, request_id="req_1",
    )  # fmt: skip
    assert (document["error"]["type"], document["request_id"]) == ("billing_error", "req_1")


def test_error_fields():
    """An error says what was billed and whether a retry can help; where nobody knows, it does not say."""
    told = error_of("upstream_error", inference_id="inf_1", billed_nusd=1_500_000, retryable=False, param="messages")
    assert told["error"] == {
        "type": "api_error", "message": "Said.", "code": "upstream_error", "param": "messages",
        "inference_id": "inf_1", "billed": "0.0015", "retryable": False,
    }  # fmt: skip
    assert "retryable" not in error_of("upstream_error")["error"]


def test_ending_document():
    """An ending's error has its code's meaning unless it says more; without a code it is a defect of ours."""
    assert ending_document(FAILED, style())["error"]["message"] == CODES["upstream_overloaded"].meaning
    said = ending_document(outcome(Ending.UPSTREAM_ERROR, "upstream_error", "More."), style())["error"]
    assert (said["message"], said["type"]) == ("More.", "api_error")
    assert ending_document(outcome(Ending.INTERNAL_ERROR), style())["error"]["code"] == "internal_error"
    assert "cut" in ending_document(CAPPED, style())["error"]["message"]


@pytest.mark.parametrize(
    ("mode", "reason", "last"),
    [("extended", "spend_cap_exceeded", "message_stop"), ("strict", "max_tokens", "message_stop"),
     ("loud", "spend_cap_exceeded", "error")],
)  # fmt: skip
def test_cap(mode, reason, last):
    """A cap is told in the client's mode."""
    assert cap_reason(style(mode)) == reason
    assert kinds(cap_frame(CAPPED, style(mode))) == [last]


def test_the_client_raises_an_error_event():
    """The official client raises what an error event says."""
    body = b"event: error\ndata: " + json.dumps(ending_document(FAILED, style())).encode() + b"\n\n"
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    )
    with (
        anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=transport)) as client,
        pytest.raises(anthropic.APIStatusError) as raised,
    ):
        list(client.messages.create(model="m", max_tokens=1, messages=[], stream=True))
    assert raised.value.body["error"]["type"] == "overloaded_error"
