import pytest

from ainf.inference.errors import DownstreamError
from ainf.protocols.checks import (
    check_strings,
    messages_of,
    model_name,
    refuse_nul,
    refuse_stream,
    token_limit,
    unknown_model,
)


@pytest.mark.parametrize("value", [1, 5, (1 << 31) - 1])
def test_a_limit(value):
    """A whole number from 1 to 2^31-1 is a limit; absent and null are none."""
    assert token_limit({"x": value}, "x") == value
    assert token_limit({"x": None}, "x") is None
    assert token_limit({}, "x") is None


@pytest.mark.parametrize(
    ("value", "code"),
    [(-1, "invalid_value"), (0, "invalid_value"), (1 << 31, "invalid_value"), ((1 << 63) - 1, "invalid_value"),
     (1.5, "invalid_type"), (64.0, "invalid_type"), ("64", "invalid_type"), (True, "invalid_type"),
     ([], "invalid_type")],
)  # fmt: skip
def test_no_limit(value, code):
    """Anything else is refused where it stands."""
    with pytest.raises(DownstreamError) as refused:
        token_limit({"x": value}, "x", at="a")
    assert (refused.value.code, refused.value.param) == (code, "a.x")


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({}, "missing_field", "messages"),
        ({"messages": None}, "missing_field", "messages"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": {}}, "invalid_type", "messages"),
        ({"messages": [{}, 7]}, "invalid_type", "messages[1]"),
    ],
)
def test_no_messages(fields, code, param):
    """There must be one message or more, and each an object."""
    with pytest.raises(DownstreamError) as refused:
        messages_of(fields)
    assert (refused.value.code, refused.value.param) == (code, param)


def test_strings():
    """A list of strings passes; the first other value is named."""
    check_strings({"stop": ["a", ""]}, "stop")
    check_strings({}, "stop")
    with pytest.raises(DownstreamError, match=r"`stop\[1\]` must be a string"):
        check_strings({"stop": ["a", 1, 2]}, "stop")


def test_no_stream():
    """Where nothing can be streamed, only the wish for a stream is refused."""
    for fields in ({}, {"stream": None}, {"stream": False}):
        refuse_stream(fields)
    with pytest.raises(DownstreamError) as refused:
        refuse_stream({"stream": True})
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "stream")


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
