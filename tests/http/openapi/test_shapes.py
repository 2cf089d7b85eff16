"""JSON Schema in few words."""

import pytest
from jsonschema import Draft202012Validator

from ainf.http.openapi.shapes import (
    constant,
    count,
    either,
    items,
    mapping,
    moment,
    nullable,
    of_format,
    record,
    ref,
    text,
    word,
)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (text("Said.", minLength=1), ["a"], ["", 1, None]),
        (count(), [0, 7], [-1, "7", 0.5, None]),
        (word(("a", "b")), ["a"], ["c", None]),
        (constant("a"), ["a"], ["b", None]),
        (items(text(), minItems=1), [["a"]], [[], ["a", 1], "a"]),
        (either(text(), count()), ["a", 1], [None, -1]),
        (mapping(count()), [{}, {"a": 1}], [{"a": "1"}, []]),
        (nullable(text()), ["a", None], [1]),
        (nullable(word(("a", "b"))), ["a", None], ["c"]),
        (nullable(constant("a", "Said.")), ["a", None], ["b"]),
        (nullable(either(text(), count(), description="Said.")), ["a", 1, None], [-1]),
        (record({"a": text()}, {"b": text()}), [{"a": ""}, {"a": "", "b": ""}], [{}, {"b": ""}, {"a": 1}, []]),
        (of_format({"a": text()}), [{"a": "", "z": 1}], [{}]),
    ],
)
def test_what_fits(schema, good, bad):
    """Each word takes what its name says, and nothing else; null only where it is said."""
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert [value for value in good if not validator.is_valid(value)] == []
    assert [value for value in bad if validator.is_valid(value)] == []


def test_what_is_said_of_a_schema_stays_with_it():
    """A description survives being made nullable, at the top, once."""
    for schema in (
        text("Said."),
        constant("a", "Said."),
        either(text(), count(), description="Said."),
        moment("Said."),
    ):
        made = nullable(schema)
        assert made["description"] == "Said."
        assert str(made).count("Said.") == 1


def test_two_kinds_of_objects():
    """A vendor's says that other fields may stand in it; ours lists all and does not forbid what later versions add."""
    assert of_format({})["additionalProperties"] is True
    assert "additionalProperties" not in record({"a": text()})


def test_references():
    """To a component, of whichever kind, with words of its own where they are given."""
    assert ref("USD") == {"$ref": "#/components/schemas/USD"}
    assert ref("a", "Said.", kind="headers") == {"$ref": "#/components/headers/a", "description": "Said."}
