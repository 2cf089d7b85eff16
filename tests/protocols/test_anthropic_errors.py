"""Error bodies as the Anthropic SDK reads them."""

import json

import anthropic
import httpx2
import pytest

from ainf.inference.errors import CODES
from ainf.protocols.anthropic_errors import anthropic_error
from ainf.protocols.base import ErrorAnswer


def test_the_shape():
    """Anthropic's document, with our code, what was billed and the ids."""
    answer = ErrorAnswer("model_not_found", "invalid_request_error", "No.", "model", "inf-1", 1_500_000, "req-1")
    assert json.loads(anthropic_error(answer)) == {
        "type": "error",
        "error": {
            "type": "not_found_error",
            "message": "No.",
            "code": "model_not_found",
            "param": "model",
            "inference_id": "inf-1",
            "billed": "0.0015",
        },
        "request_id": "req-1",
    }


def test_a_money_refusal_under_another_name():
    """Whatever its code and status are to be, it is a matter of billing."""
    answer = ErrorAnswer("insufficient_quota", "insufficient_quota", "No.", None, None, 0, "req-1")
    assert json.loads(anthropic_error(answer))["error"]["type"] == "billing_error"


@pytest.mark.parametrize("code", CODES)
def test_what_the_sdk_makes_of_it(code):
    """Every code reaches the caller with its status, its message and a type of Anthropic's."""
    row = CODES[code]
    body = anthropic_error(ErrorAnswer(code, row.type, "No.", None, "inf-1", 0, "req-1"))

    def answer(_request):
        return httpx2.Response(row.status, content=body, headers={"content-type": "application/json"})

    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as http,
        anthropic.Anthropic(api_key="k", base_url="http://g", http_client=http, max_retries=0) as client,
        pytest.raises(anthropic.APIStatusError) as raised,
    ):
        client.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": "Hi"}])
    error = raised.value
    assert error.status_code == row.status
    assert error.type is not None
    assert error.body == json.loads(body)
