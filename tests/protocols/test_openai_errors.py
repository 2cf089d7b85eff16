"""Error bodies as the OpenAI SDK reads them."""

import json

import httpx
import openai
import pytest

from ainf.inference.errors import CODES
from ainf.protocols.base import ErrorAnswer
from ainf.protocols.openai_errors import openai_error


def test_the_shape():
    """OpenAI's object, with what was billed and the ids; no inference, no id."""
    answer = ErrorAnswer("spend_cap_exceeded", "insufficient_quota", "No.", None, None, 1_500_000, "req-1")
    assert json.loads(openai_error(answer))["error"] == {
        "message": "No.",
        "type": "insufficient_quota",
        "code": "spend_cap_exceeded",
        "param": None,
        "billed": "0.0015",
        "request_id": "req-1",
    }
    with_id = ErrorAnswer("upstream_error", "upstream_error", "No.", "n", "inf-1", 0, "req-1")
    assert json.loads(openai_error(with_id))["error"]["inference_id"] == "inf-1"


@pytest.mark.parametrize("code", CODES)
def test_what_the_sdk_makes_of_it(code):
    """Every code reaches the caller with its status, type and parameter."""
    row = CODES[code]
    body = openai_error(ErrorAnswer(code, row.type, "No.", "input", "inf-1", 0, "req-1"))

    def answer(_request):
        return httpx.Response(row.status, content=body, headers={"content-type": "application/json"})

    with (
        httpx.Client(transport=httpx.MockTransport(answer)) as http,
        openai.OpenAI(api_key="k", base_url="http://g/v1", http_client=http, max_retries=0) as client,
        pytest.raises(openai.APIStatusError) as raised,
    ):
        client.responses.create(model="m", input="Hi")
    error = raised.value
    assert (error.status_code, error.code, error.type, error.param) == (row.status, code, row.type, "input")
