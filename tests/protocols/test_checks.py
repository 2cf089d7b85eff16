import pytest

from ainf.inference.errors import DownstreamError
from ainf.protocols.checks import model_name, optional, refuse_nul, unknown_model


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


def test_an_unknown_name_is_shown_cut():
    """64 characters of it, escaped."""
    error = unknown_model("x\n" * 100)
    assert error.code == "model_not_found"
    assert error.message.isprintable()
    assert len(error.message) < 200


@pytest.mark.parametrize("name", ["", "x" * 257])
def test_a_name_that_no_model_can_have_is_an_unknown_one(name):
    """It is refused in the same words, which say where the names are."""
    with pytest.raises(DownstreamError) as refused:
        model_name({"model": name})
    assert str(refused.value) == str(unknown_model(name))
    assert "GET /v1/models" in refused.value.message


@pytest.mark.parametrize("value", ["ok", None, 7, {"a": [True, "b"]}])
def test_no_nul(value):
    """What holds no NUL passes."""
    refuse_nul(value, "x")
