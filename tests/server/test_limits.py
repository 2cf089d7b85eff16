"""The limits' names and range."""

import attrs
import pytest

from ainf.server.limits import ServerLimits
from tests.server.limits import server_limits


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(ServerLimits)])
def test_every_limit_is_positive_and_named_by_its_unit(name):
    """There is no way to switch a limit off by zero; a name says what it counts; a default stands elsewhere."""
    with pytest.raises(ValueError, match=name):
        server_limits(**{name: 0})
    assert name.endswith(("_s", "_bytes", "_lines")) or name.startswith("connections")
    assert getattr(attrs.fields(ServerLimits), name).default is attrs.NOTHING
