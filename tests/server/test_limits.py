"""The limits' names."""

import attrs

from ainf.server.limits import ServerLimits


def test_every_limit_is_positive_and_named_by_its_unit():
    """Each limit has a default above zero and a name that says what it counts."""
    for field in attrs.fields(ServerLimits):
        assert field.default > 0
        assert field.name.endswith(("_s", "_bytes", "_rate", "_lines")) or field.name.startswith("connections")
