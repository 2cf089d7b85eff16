import pytest

from ainf.inference.request import Operation
from ainf.inference.secret import Secret
from ainf.providers.openai_responses import OPENAI_RESPONSES
from tests.providers.requests import passes, refused_by, shown, written

FIELDS = {"model": "asked", "input": "Hi", "instructions": {"malformed": [None]}, "x_unknown": [1]}
EMBED = {"operation": Operation.EMBED}


def test_fields_as_they_came():
    """A request goes on with its fields untouched but for the model, whatever they hold."""
    assert written(OPENAI_RESPONSES, FIELDS) == ("/responses", FIELDS | {"model": "up-1"})
    streamed = written(OPENAI_RESPONSES, FIELDS | {"stream_options": {"x": 1}}, stream=True)[1]
    assert streamed == FIELDS | {"model": "up-1", "stream": True, "stream_options": {"x": 1}}


@pytest.mark.parametrize(("limit", "sent"), [(None, 100), (50, 50)])
def test_output_limit(limit, sent):
    """A clamped limit replaces the client's."""
    assert written(OPENAI_RESPONSES, FIELDS | {"max_output_tokens": 100}, limit)[1]["max_output_tokens"] == sent


def test_a_stored_response():
    """It may be gone on from: whose it is was asked before."""
    fields = FIELDS | {"previous_response_id": "resp_1"}
    assert passes(OPENAI_RESPONSES, fields)
    assert written(OPENAI_RESPONSES, fields)[1]["previous_response_id"] == "resp_1"


def test_embeddings():
    """They are OpenAI's, with the same refusals."""
    fields = {"model": "asked", "input": ["a"]}
    assert written(OPENAI_RESPONSES, fields, **EMBED) == ("/embeddings", fields | {"model": "up-1"})
    assert refused_by(OPENAI_RESPONSES, fields | {"api_base": "http://x"}, **EMBED) == "api_base"


def test_checked():
    """What outlives its request is refused before anything is reserved."""
    assert refused_by(OPENAI_RESPONSES, FIELDS | {"background": True}) == "background"


def test_the_rest():
    """Bearer key, shared reading of refusals, everything held."""
    assert shown(OPENAI_RESPONSES.credential(Secret(b"sk-1"))) == ((b"authorization", b"Bearer sk-1"),)
    assert OPENAI_RESPONSES.read_error(503, {}, b"").code == "upstream_overloaded"
    assert OPENAI_RESPONSES.facts.hidden_reasoning == "always"
