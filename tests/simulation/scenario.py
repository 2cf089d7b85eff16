"""What happens in a seed: how the gateway is configured, who spends how much, who asks what, and what goes wrong when.

All of it is drawn before anything runs, from one source of chance. What is left to draw on the way (what a provider's
model does at a request, how long a client waits before it asks again) is drawn from seeds that stand here.
"""

import random
from collections.abc import Mapping
from typing import Final

import attrs

from ainf.config import Config
from tests.simulation import askings, events, settings
from tests.simulation.askings import Accounts
from tests.simulation.clients import Visit
from tests.simulation.events import Event

_STARTS: Final = ("2027-01-31T23:59:55", "2027-06-15T11:30:00", "2027-06-15T12:59:52", "2028-02-29T23:59:50")
"""Some just before a window ends."""
_SHARED: Final = 0.15
"""How many seeds have two gateways."""


@attrs.frozen
class Scenario:
    """A whole seed."""

    seed: int
    starts_at: str
    config: Config
    reloaded: Config
    """What is in force after a reload."""
    moods: Mapping[str, tuple[str, ...]]
    """What each model does, by its name at its provider: one of these at each request."""
    first_content_us: int | None
    """How soon each model is known to begin; None: that is not known."""
    accounts: Accounts
    visits: tuple[Visit, ...]
    events: tuple[Event, ...]
    processes: int
    """How many gateways share the database."""


def draw(seed: int) -> Scenario:
    """Draw a seed."""
    chance = random.Random(seed)
    processes = 2 if chance.random() < _SHARED else 1
    config, moods = settings.draw(chance, is_shared=processes > 1)
    accounts = askings.draw_accounts(chance)
    visits = askings.draw_visits(chance, accounts, config)
    moments = [visit.at_s for visit in visits]
    return Scenario(
        seed=seed,
        starts_at=chance.choice(_STARTS),
        config=config,
        reloaded=settings.changed(chance, config),
        moods=moods,
        first_content_us=chance.choice((None, 20_000, 500_000)),
        accounts=accounts,
        visits=visits,
        events=events.draw(chance, accounts, moments, is_shared=processes > 1),
        processes=processes,
    )
