"""JSON Schema (draft 2020-12) in few words.

Two kinds of objects are told apart. A *record* is the gateway's own: all of its fields are listed. An object *of a
format* is one that a vendor's reference defines: what is listed is what the gateway reads or writes, and it says
``additionalProperties: true``, for other fields of the vendor's may stand beside those.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

Schema: TypeAlias = dict[str, Any]
Fields: TypeAlias = Mapping[str, Schema]

NO_FIELDS: Final[Fields] = {}
NOTHING: Final[Schema] = {"type": "null"}


def text(description: str = "", **more: Any) -> Schema:  # noqa: ANN401 - a keyword's value
    """Return the schema of a string; ``more`` are keywords beside its type."""
    return _described({"type": "string", **more}, description)


def whole(description: str = "", **more: Any) -> Schema:  # noqa: ANN401 - as above
    """Return the schema of an integer."""
    return _described({"type": "integer", **more}, description)


def count(description: str = "") -> Schema:
    """Return the schema of an integer from 0."""
    return whole(description, minimum=0)


def flag(description: str = "") -> Schema:
    """Return the schema of a boolean."""
    return _described({"type": "boolean"}, description)


def moment(description: str = "") -> Schema:
    """Return the schema of a time, as RFC 3339 has it."""
    return text(description, format="date-time")


def word(values: Iterable[str], description: str = "") -> Schema:
    """Return the schema of one of these strings."""
    return text(description, enum=list(values))


def constant(value: object, description: str = "") -> Schema:
    """Return the schema of this value alone."""
    return _described({"const": value}, description)


def items(of: Schema, description: str = "", **more: Any) -> Schema:  # noqa: ANN401 - as above
    """Return the schema of an array."""
    return _described({"type": "array", "items": of, **more}, description)


def either(*schemas: Schema, description: str = "") -> Schema:
    """Return the schema of what fits any of these."""
    return _described({"anyOf": list(schemas)}, description)


def nullable(schema: Schema) -> Schema:
    """Return the schema of what fits this one, or is null."""
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], NOTHING]}
    if "type" not in schema:
        described = {"description": schema["description"]} if "description" in schema else {}
        return {
            "anyOf": [{name: value for name, value in schema.items() if name not in described}, NOTHING],
            **described,
        }
    told = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return schema | {"type": [schema["type"], "null"]} | told


def record(required: Fields, optional: Fields = NO_FIELDS, description: str = "") -> Schema:
    """Return the schema of an object of the gateway's own."""
    schema: Schema = {"type": "object", "properties": {**required, **optional}}
    if required:
        schema["required"] = list(required)
    return _described(schema, description)


def of_format(required: Fields, optional: Fields = NO_FIELDS, description: str = "") -> Schema:
    """Return the schema of an object that a vendor's reference defines."""
    return record(required, optional, description) | {"additionalProperties": True}


def mapping(of: Schema, description: str = "", **more: Any) -> Schema:  # noqa: ANN401 - as above
    """Return the schema of an object whose names are anybody's and whose values are these."""
    return _described({"type": "object", "additionalProperties": of, **more}, description)


def anything(description: str) -> Schema:
    """Return the schema of any value."""
    return {"description": description}


def ref(name: str, description: str = "", *, kind: str = "schemas") -> Schema:
    """Return a reference to one of the document's components."""
    return _described({"$ref": f"#/components/{kind}/{name}"}, description)


def _described(schema: Schema, description: str) -> Schema:
    return schema | {"description": description} if description else schema
