"""Vectors as OpenAI's embeddings say them.

Source: OpenAI's API reference, "create embeddings"; ``base64`` is that of little-endian 32-bit floats, as their SDKs
read it.
"""

import base64
import struct
from collections.abc import Sequence

import msgspec

from ainf.inference.usage import Usage


def write_vector(vector: Sequence[float], encoding_format: str) -> list[float] | str:
    """Return a vector in an encoding: "base64", or else a list.

    Raises:
        ValueError: a number in it is none of 32 bits.
    """
    try:
        packed = struct.pack(f"<{len(vector)}f", *vector)
    except (OverflowError, struct.error):
        raise ValueError("a number of more than 32 bits") from None
    return base64.b64encode(packed).decode() if encoding_format == "base64" else list(vector)


def write_embeddings(vectors: Sequence[list[float] | str], model: str, usage: Usage) -> bytes:
    """Return the answer with these vectors, which stand in the order of the inputs."""
    return msgspec.json.encode({
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)],
        "model": model,
        "usage": {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens},
    })
