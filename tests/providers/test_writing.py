import json

import attrs
import pytest

from ainf.inference.secret import Secret
from ainf.providers.writing import bearer, is_streamed, own_fields, post, write_embeddings
from tests.providers.requests import TARGET, request_of, shown

WHOLE = attrs.evolve(TARGET, streams=False)


@pytest.mark.parametrize(
    ("stream", "target", "said", "sent"),
    [
        (True, TARGET, {"stream": True}, {"stream": True}),
        (True, TARGET, {}, {"stream": True}),
        (False, TARGET, {}, {}),
        (False, TARGET, {"stream": False, "stream_options": {}}, {"stream": False, "stream_options": {}}),
        (False, TARGET, {"stream": None}, {"stream": None}),
        (True, WHOLE, {"stream": True, "stream_options": {"a": 1}}, {"stream": False}),
        (True, WHOLE, {}, {"stream": False}),
    ],
)
def test_own_fields(stream, target, said, sent):
    """The model is ours; a stream is asked for where the client wants one and the model has one."""
    request = request_of(said | {"x": 1, "model": "asked"}, stream=stream)
    assert own_fields(request, target) == sent | {"x": 1, "model": "up-1"}
    assert is_streamed(request, target) == (stream and target.streams)


def test_post():
    """Fields become JSON; headers ride along."""
    wire = post("https://x/y", {"a": "ü"}, ((b"h", b"v"),))
    assert (wire.url, json.loads(wire.body), wire.headers) == ("https://x/y", {"a": "ü"}, ((b"h", b"v"),))


def test_embeddings():
    """OpenAI's path and words, with our model."""
    wire = write_embeddings(request_of({"model": "asked", "input": "a", "dimensions": 8}), TARGET)
    assert wire.url == f"{TARGET.base_url}/embeddings"
    assert json.loads(wire.body) == {"model": "up-1", "input": "a", "dimensions": 8}


def test_bearer():
    """The key as it is."""
    assert shown(bearer(Secret(b"sk-1"))) == ((b"authorization", b"Bearer sk-1"),)
