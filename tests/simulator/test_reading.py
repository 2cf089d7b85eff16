import pytest

from ainf.simulator.reading import Fields, first_property, text_bytes, tokens, utf8_bytes
from ainf.simulator.wire import ErrorBody, RefusedError


def _wrong_type(name, kind):
    return RefusedError(ErrorBody(400, f"{name} is no {kind.__name__}", "x"))


def test_fields_have_exactly_their_type():
    """A field of the type is returned, null counts as left out, and true is no integer."""
    fields = Fields({"a": 1, "b": None, "c": True}, _wrong_type)

    assert fields.get("a", int, default=9) == 1
    assert fields.get("b", int, default=9) == fields.get("d", int, default=9) == 9
    with pytest.raises(RefusedError) as refused:
        fields.get("c", int, default=9)
    assert refused.value.body.message == "c is no int"


@pytest.mark.parametrize(("size", "count"), [(0, 0), (1, 1), (4, 1), (5, 2)])
def test_four_bytes_are_a_token(size, count):
    """Tokens are four bytes each, rounded up."""
    assert tokens(size) == count


def test_text_counts_in_bytes():
    """Strings and the texts of parts count in UTF-8, lone surrogates too; what is no text counts nothing."""
    assert utf8_bytes("\u20ac\ud800") == 6
    assert text_bytes("abc") == 3
    assert text_bytes([{"text": "ab"}, {"text": 5}, {"type": "image"}, "x", None]) == 2
    assert text_bytes(None) == text_bytes({"text": "ab"}) == 0


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ({"properties": {"b": {}, "a": {}}}, "b"),
        ({"properties": {}}, "text"),
        ({}, "text"),
        (None, "text"),
        (5, "text"),
    ],
)
def test_the_first_property(schema, name):
    """The first property named is the one, else text."""
    assert first_property(schema) == name
