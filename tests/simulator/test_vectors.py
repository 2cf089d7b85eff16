import base64
import struct

import pytest

from ainf.simulator.vectors import packed, vector


def test_a_text_has_its_vector():
    """The same text gives the same vector, another one another; fewer dimensions are the first of more."""
    assert vector(b"x", 8) == vector(b"x", 8) == vector(b"x", 30)[:8]
    assert vector(b"x", 8) != vector(b"y", 8)


@pytest.mark.parametrize("dimensions", [1, 8, 3000])
def test_packing_loses_nothing(dimensions):
    """As 32 bit floats in base64 every number is still the same, and within -1 and 1."""
    numbers = vector(b"x", dimensions)

    assert list(struct.unpack(f"<{dimensions}f", base64.b64decode(packed(numbers)))) == numbers
    assert all(-1 <= number < 1 for number in numbers)
