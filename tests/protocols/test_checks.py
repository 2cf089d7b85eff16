import pytest

from ainf.inference.errors import DownstreamError
from ainf.protocols.checks import model_name, optional, refuse_nul


def test_a_boolean_is_no_integer():
    """True where a number is wanted is a wrong type."""
    with pytest.raises(DownstreamError, match="`x` must be an integer"):
        optional({"x": True}, "x", int)


def test_several_types():
    """A field of several types names them all in its refusal, with its path."""
    with pytest.raises(DownstreamError, match=r"`a\.x` must be a string or an object"):
        optional({"x": 1}, "x", str, dict, within="a")
    assert optional({"x": "s"}, "x", str, dict) == "s"


def test_model_name():
    """A model name of 256 characters is asked for as it is."""
    assert model_name({"model": "ü" * 256}) == "ü" * 256


@pytest.mark.parametrize("value", ["ok", None, 7, {"a": [True, "b"]}])
def test_no_nul(value):
    """What holds no NUL passes."""
    refuse_nul(value, "x")
