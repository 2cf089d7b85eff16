import pytest

from ainf.formats.fields import (
    objects,
    optional,
    path_of,
    refuse_others,
    required,
    says_something,
    unsupported,
    wrong_value,
)
from ainf.inference.errors import DownstreamError


def refusal_of(call, *arguments, **options):
    with pytest.raises(DownstreamError) as caught:
        call(*arguments, **options)
    return caught.value.code, caught.value.param, caught.value.message


def test_paths():
    """A path is the client's way to a field: names with dots, numbers in brackets."""
    assert path_of("", "a") == "a"
    assert path_of(path_of(path_of("a", "b"), 3), "c") == "a.b[3].c"


@pytest.mark.parametrize(
    ("value", "types"), [("x", (str,)), (7, (int,)), (7, (float,)), (0.5, (float,)), (True, (bool,)), ([], (str, list))]
)
def test_right_types(value, types):
    """A value of one of the types is returned as it is; an integer is a number."""
    assert optional({"a": value}, "a", *types) == value
    assert required({"a": value}, "a", *types) == value


@pytest.mark.parametrize(
    ("value", "types", "words"),
    [
        (True, (int,), "an integer"),
        (True, (float,), "a number"),
        (7.0, (int,), "an integer"),
        (7, (bool,), "true or false"),
        ({}, (str, list), "a string or a list"),
        ("x", (dict,), "an object"),
    ],
)
def test_wrong_types(value, types, words):
    """A value of another type is refused by its path, in words; a boolean is no number."""
    found = ("invalid_type", "x[1].a", f"`x[1].a` must be {words}.")
    assert refusal_of(optional, {"a": value}, "a", *types, at="x[1]") == found


def test_null_is_absent():
    """Null and nothing are the same, and refused only where something must be."""
    assert optional({"a": None}, "a", str) is None
    assert optional({}, "a", str) is None
    for fields in ({"a": None}, {}):
        assert refusal_of(required, fields, "a", str, at="x")[:2] == ("missing_field", "x.a")


def test_objects():
    """A list of objects is one all through; an absent one is empty."""
    assert objects({}, "a") == []
    assert objects({"a": [{"b": 1}]}, "a") == [{"b": 1}]
    assert refusal_of(objects, {"a": [{}, 7]}, "a", "x")[:2] == ("invalid_type", "x.a[1]")
    assert refusal_of(objects, {"a": {}}, "a")[:2] == ("invalid_type", "a")


def test_others_are_refused():
    """A field beside the known ones is refused by its path, unless it says nothing."""
    known = frozenset({"a"})
    refuse_others({"a": 1, "b": None, "c": [], "d": {}}, known, "x")
    for value in (False, 0, "", "e"):
        assert refusal_of(refuse_others, {"e": value}, known, "x")[:2] == ("unsupported_parameter", "x.e")


@pytest.mark.parametrize(
    ("value", "says"), [(None, False), ([], False), ({}, False), (0, True), (False, True), ("", True)]
)
def test_says_something(value, says):
    """Null and empty lists and objects say nothing; a zero, a false and an empty text do."""
    assert says_something(value) is says


def test_words_of_refusals():
    """A refusal says what is wrong, and where."""
    assert str(unsupported("a.b", "so it is")) == "unsupported_parameter: `a.b` is not supported here: so it is."
    assert str(wrong_value("a.b", "one")) == "invalid_value: `a.b` must be one."
