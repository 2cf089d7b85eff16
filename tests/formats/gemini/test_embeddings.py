import json

import pytest
from google.genai.types import EmbedContentResponse

from ainf.formats.gemini.embeddings import read_embeddings, read_embeddings_usage, write_embeddings
from ainf.inference.errors import DownstreamError
from ainf.inference.usage import Usage

ANSWER = {"embeddings": [{"values": [0.5, 1]}, {"values": [-1e-3]}], "usageMetadata": {"promptTokenCount": 4}}


def test_write():
    """Each text is a request that names the model again."""
    fields = {"model": "ours", "input": ["a", "b"], "dimensions": 256, "encoding_format": "base64", "user": None}
    assert write_embeddings(fields, "gemini-embedding-001") == {
        "requests": [
            {
                "model": "models/gemini-embedding-001",
                "content": {"parts": [{"text": text}]},
                "outputDimensionality": 256,
            }
            for text in ("a", "b")
        ]
    }


def test_write_one():
    """A single text is one request; a model that is named in full stays as it is."""
    assert write_embeddings({"input": "a"}, "models/x") == {
        "requests": [{"model": "models/x", "content": {"parts": [{"text": "a"}]}}]
    }


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({}, "missing_field", "input"),
        ({"input": 7}, "invalid_type", "input"),
        ({"input": [1, 2]}, "unsupported_parameter", "input"),
        ({"input": [[1, 2]]}, "unsupported_parameter", "input"),
        ({"input": ["a", None]}, "invalid_type", "input[1]"),
        ({"input": "a", "dimensions": "9"}, "invalid_type", "dimensions"),
        ({"input": "a", "user": "u"}, "unsupported_parameter", "user"),
        ({"input": "a", "task": "x"}, "unsupported_parameter", "task"),
    ],
)
def test_refused(fields, code, param):
    """Tokens, wrong types and what the API cannot be told are refused by name."""
    with pytest.raises(DownstreamError) as caught:
        write_embeddings(fields, "x")
    assert (caught.value.code, caught.value.param) == (code, param)


def test_read():
    """Vectors come in order, with the usage where the API tells it."""
    body = json.dumps(ANSWER).encode()
    theirs = EmbedContentResponse.model_validate_json(body)
    assert read_embeddings(body) == [embedding.values for embedding in theirs.embeddings] == [[0.5, 1.0], [-0.001]]
    assert read_embeddings_usage(body) == Usage(theirs.usage_metadata.prompt_token_count)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b"7", b'{"embeddings":[]}', b'{"embeddings":[{}]}', b'{"embeddings":[{"values":[]}]}',
     b'{"embeddings":[{"values":["a"]}]}', b'{"embeddings":[{"values":[1e999]}]}',
     b'{"embeddings":[{"values":[null]}]}',
     b'{"embeddings":' + b"[" * 100_000, b"\xff"],
)  # fmt: skip
def test_no_answer(body):
    """What is no list of vectors of numbers is no answer."""
    assert read_embeddings(body) is None
    assert read_embeddings_usage(body) is None


@pytest.mark.parametrize(
    "usage", [None, 7, {}, {"promptTokenCount": -1}, {"promptTokenCount": "4"}, {"totalTokenCount": 4}]
)
def test_no_usage(usage):
    """Usage that is missing or cannot be true is none; the vectors stand."""
    body = json.dumps(ANSWER | {"usageMetadata": usage}).encode()
    assert read_embeddings_usage(body) is None
    assert read_embeddings(body) is not None
