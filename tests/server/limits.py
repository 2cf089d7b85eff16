"""Limits for tests of the server: those of the settings, but for what a test names."""

from typing import Any

import attrs

from ainf import app
from ainf.config import Limits
from ainf.server.limits import ServerLimits


def server_limits(**changes: Any) -> ServerLimits:
    return attrs.evolve(app.server_limits(Limits()), **changes)
