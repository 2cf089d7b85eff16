"""Embeddings that follow from their text, so that the same text has the same vector in every format."""

import base64
import hashlib
import struct

DEFAULT_DIMENSIONS = 8
MAX_DIMENSIONS = 4096


def vector(text: bytes, dimensions: int) -> list[float]:
    """Return a vector of numbers from -1 to below 1, each of which a 32 bit float holds exactly."""
    return [(byte - 128) / 128 for byte in hashlib.shake_128(text).digest(dimensions)]


def packed(numbers: list[float]) -> str:
    """Return a vector as base64 of little-endian 32 bit floats."""
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode("ascii")
