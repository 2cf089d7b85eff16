"""The limits of a provider's connections."""

import attrs
import pytest

from ainf import app
from ainf.config import Limits
from ainf.upstream.limits import UpstreamLimits


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(UpstreamLimits)])
def test_every_limit_is_positive(name):
    """There is no way to switch a limit off by zero."""
    assert getattr(UpstreamLimits(), name) > 0
    with pytest.raises(ValueError, match=name):
        UpstreamLimits(**{name: 0})


def test_the_defaults_are_those_of_the_settings():
    """A client that is made without limits behaves as one of an empty configuration."""
    assert UpstreamLimits() == app.upstream_limits(Limits())
