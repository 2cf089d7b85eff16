"""A field that is a setting, beside one that is none."""

import attrs

from ainf.config.declared import setting, settings_of
from ainf.config.values import COUNT, FLAG


@attrs.frozen
class Table:
    """Two settings, and a field of the program's own."""

    name: str
    is_on: bool = attrs.field(default=False, metadata=setting(FLAG, "Whether.", key="on"))
    most: int = attrs.field(default=3, metadata=setting(COUNT, "How many."))


def test_the_settings_of_a_class():
    """Each has its name in the file, its kind and meaning; other fields are left out."""
    found = [(key, field.name, declared.kind, declared.meaning) for key, declared, field in settings_of(Table)]
    assert found == [("on", "is_on", FLAG, "Whether."), ("most", "most", COUNT, "How many.")]
