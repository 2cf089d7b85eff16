import json

import pytest

from ainf.simulator.wire import ErrorBody, RefusedError
from ainf.simulator.wires.openai import OpenAIWire, error_frame, fields_of, model_of, wrong_type

ERROR = ErrorBody(429, "slow down", "rate_limit_error", "rate_limit_exceeded")


def test_errors_have_four_fields():
    """An error says message, type, param and code, in a body and in a stream."""
    error = {"message": "slow down", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}

    assert json.loads(OpenAIWire().error_document(ERROR)) == {"error": error}
    assert json.loads(error_frame(ERROR)[6:]) == {"error": error}
    assert json.loads(error_frame(ERROR, as_string=True)[6:]) == {"error": "slow down"}
    assert error_frame(ERROR, as_event=True).startswith(b"event: error\ndata: ")


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"authorization": "Bearer sk-1"}, "sk-1"),
        ({"authorization": "Basic sk-1"}, None),
        ({"x-api-key": "sk-1"}, None),
        ({}, None),
    ],
)
def test_the_key_is_a_bearer_token(headers, key):
    """Only a bearer token is a key."""
    assert OpenAIWire().key(headers) == key


def test_refusals_name_the_field():
    """A missing model and a wrong type name their parameter; what is no object names none."""
    assert wrong_type("n", int).body.param == "n"
    with pytest.raises(RefusedError) as refused:
        model_of({"model": ""})
    assert refused.value.body.param == "model"
    with pytest.raises(RefusedError) as refused:
        fields_of([])
    assert refused.value.body.param is None
