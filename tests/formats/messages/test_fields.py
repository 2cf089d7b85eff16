import pytest

from ainf.formats.messages.fields import FieldReader
from ainf.inference.errors import DownstreamError

READINGS = ["text", "required_text", "integer", "number", "boolean", "array", "object", "required_object", "objects",
            "required_objects"]  # fmt: skip


@pytest.mark.parametrize(
    ("reading", "value", "found"),
    [
        ("text", "a", "a"),
        ("required_text", "a", "a"),
        ("integer", 7, 7),
        ("number", 7, 7),
        ("number", 0.5, 0.5),
        ("boolean", False, False),
        ("array", [1], [1]),
        ("text", None, None),
        ("number", None, None),
        ("array", None, []),
        ("objects", None, []),
        ("object", None, None),
    ],
)
def test_values(reading, value, found):
    """A field of its type is what it says; null is absent."""
    fields = FieldReader({"x": value}, "a[0]")
    assert getattr(fields, reading)("x") == found
    assert fields.unread() == []


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("value", [object(), (), b"x"])
def test_wrong_types(reading, value):
    """A field of another type is refused by its path."""
    with pytest.raises(DownstreamError) as refused:
        getattr(FieldReader({"x": value}, "a[0]"), reading)("x")
    assert (refused.value.code, refused.value.param) == ("invalid_type", "a[0].x")


@pytest.mark.parametrize("reading", [each for each in READINGS if each.startswith("required")])
def test_missing(reading):
    """A field that must be there is missed by its path."""
    with pytest.raises(DownstreamError) as refused:
        getattr(FieldReader({}), reading)("x")
    assert (refused.value.code, refused.value.param) == ("missing_field", "x")


def test_paths():
    """Objects inside know where they stand."""
    fields = FieldReader({"a": {"b": [{}, {"c": 1}]}})
    inner = fields.object("a").objects("b")[1]
    assert (inner.path, inner.path_of("c")) == ("a.b[1]", "a.b[1].c")
    assert FieldReader({"a": {}}).required_object("a").path == "a"
    assert inner.invalid("c", "a string").param == "a.b[1].c"
    assert (inner.unsupported().param, inner.unsupported("c").param) == ("a.b[1]", "a.b[1].c")


def test_unread():
    """What nobody asked for, and says something, is refused."""
    fields = FieldReader({"a": 1, "b": None, "c": [], "d": False}, "m")
    fields.value("a")
    assert fields.unread() == ["d"]
    with pytest.raises(DownstreamError) as refused:
        fields.refuse_unread()
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "m.d")
    fields.boolean("d")
    fields.refuse_unread()
