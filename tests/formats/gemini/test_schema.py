import pytest

from ainf.formats.gemini.schema import json_schema_of


@pytest.mark.parametrize(
    ("schema", "found"),
    [
        ({"type": "STRING"}, {"type": "string"}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "INTEGER", "nullable": True}, {"type": ["integer", "null"]}),
        ({"type": "INTEGER", "nullable": False}, {"type": "integer"}),
        ({"nullable": True}, {}),
        ({"type": "ARRAY", "items": {"type": "NUMBER"}, "minItems": "2"},
         {"type": "array", "items": {"type": "number"}, "minItems": 2}),
        ({"anyOf": [{"type": "STRING"}, 7]}, {"anyOf": [{"type": "string"}, 7]}),
        ({"type": "OBJECT", "properties": {"type": {"type": "BOOLEAN"}}, "required": ["type"]},
         {"type": "object", "properties": {"type": {"type": "boolean"}}, "required": ["type"]}),
        ({"enum": ["STRING"], "example": {"type": "STRING"}}, {"enum": ["STRING"], "example": {"type": "STRING"}}),
        ({"type": 7, "items": [], "properties": 7, "anyOf": {}, "maxItems": "x"},
         {"type": 7, "items": [], "properties": 7, "anyOf": {}, "maxItems": "x"}),
    ],
)  # fmt: skip
def test_schema(schema, found):
    """Names of types become JSON schema's wherever a schema stands, and nowhere else."""
    assert json_schema_of(schema) == found
