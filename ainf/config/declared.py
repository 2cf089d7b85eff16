"""How a field of a class becomes a setting: by its metadata."""

from collections.abc import Iterator
from typing import Any

import attrs

from ainf.config.values import Kind


@attrs.frozen
class Declared:
    """What a field's metadata holds where the field is a setting."""

    kind: Kind
    meaning: str
    key: str | None
    default_text: str | None


def setting(
    kind: Kind, meaning: str, *, key: str | None = None, default_text: str | None = None
) -> dict[str, Declared]:
    """Return the metadata that makes a field a setting.

    Args:
        kind: how the value is read.
        meaning: one line for README.
        key: its name in the file, where that is not the field's.
        default_text: what README says of the default, where it is taken from elsewhere.
    """
    return {"setting": Declared(kind, meaning, key, default_text)}


def settings_of(cls: type[Any]) -> Iterator[tuple[str, Declared, "attrs.Attribute[Any]"]]:
    """Yield the settings of a class: key in the file, what was declared, the field."""
    for field in attrs.fields(cls):
        declared = field.metadata.get("setting")
        if declared is not None:
            yield declared.key or field.name, declared, field
