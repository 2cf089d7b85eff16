"""The Gemini API's own ``Schema`` objects as JSON schema.

Source: the Gemini API reference, "Schema": a subset of OpenAPI 3.0's, with the names of types in capitals. Beside it
the API takes JSON schema as it is (``parametersJsonSchema``, ``responseJsonSchema``), which is what we write.
"""

from collections.abc import Mapping
from typing import Any, Final

_SCHEMAS: Final = frozenset({"items", "additionalProperties"})
_LISTS: Final = frozenset({"anyOf", "prefixItems"})
_MAPPINGS: Final = frozenset({"properties"})
_COUNTS: Final = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})


def json_schema_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a ``Schema`` object as JSON schema; what is of no known kind stays as it is."""
    read = {name: _read(name, value) for name, value in schema.items() if name != "nullable"}
    kind = read.get("type")
    if schema.get("nullable") is True and isinstance(kind, str):
        read["type"] = [kind, "null"]
    return read


def _read(name: str, value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if name == "type" and isinstance(value, str):
        return value.lower()
    if name in _SCHEMAS and isinstance(value, dict):
        return json_schema_of(value)
    if name in _LISTS and isinstance(value, list):
        return [json_schema_of(each) if isinstance(each, dict) else each for each in value]
    if name in _MAPPINGS and isinstance(value, dict):
        return {key: json_schema_of(each) if isinstance(each, dict) else each for key, each in value.items()}
    if name in _COUNTS and isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)  # the API's JSON has 64-bit integers as text
    return value
