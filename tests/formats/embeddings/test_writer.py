"""OpenAI's words for vectors, as their SDK reads them."""

import base64
import struct

import pytest
from openai.types import CreateEmbeddingResponse

from ainf.formats.embeddings.writer import write_embeddings, write_vector
from ainf.inference.usage import Usage

VECTOR = [0.5, -1.0, 3.0e-3, 0]


def test_a_list():
    """Numbers stay as they are."""
    assert write_vector(VECTOR, "float") == VECTOR


def test_base64():
    """Little-endian floats of 32 bits."""
    text = write_vector(VECTOR, "base64")
    assert isinstance(text, str)
    assert struct.unpack("<4f", base64.b64decode(text)) == pytest.approx(VECTOR)
    assert base64.b64decode(text)[:4] == b"\0\0\0\x3f"


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("number", [1e39, -1e300, 10**400, "x", None])
def test_no_number_of_32_bits(number, encoding):
    """It is refused in either encoding alike."""
    with pytest.raises(ValueError, match="32 bits"):
        write_vector([1.0, number], encoding)


def test_the_answer():
    """In the order of the inputs, and valid in the SDK's eyes."""
    body = write_embeddings([[1.0], "AAAAPw=="], "m", Usage(input_tokens=7))
    answer = CreateEmbeddingResponse.model_validate_json(write_embeddings([[1.0], [2.0]], "m", Usage(input_tokens=7)))
    assert [(item.index, item.embedding) for item in answer.data] == [(0, [1.0]), (1, [2.0])]
    assert (answer.model, answer.usage.prompt_tokens, answer.usage.total_tokens) == ("m", 7, 7)
    assert b'"embedding":"AAAAPw=="' in body
