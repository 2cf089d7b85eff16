"""From a number to what came of it."""

import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import attrs

from tests.simulation import scheduler, sometimes
from tests.simulation.scenario import draw
from tests.simulation.world import World


@attrs.frozen
class Report:
    """What came of a seed."""

    seed: int
    digest: str
    """Of all that could be observed."""
    met: Counter[str]
    """The branches that it hit."""
    requests: int
    fault: str | None = None
    """What broke the law, and how to see it again."""


def run_seed(seed: int, tell: Callable[[str], object] | None = None) -> Report:
    """Run a seed and check it. ``tell`` is told each line of what can be observed."""
    world = World(draw(seed), tell)
    try:
        scheduler.run(seed, world.run)
        return Report(seed, world.digest, sometimes.met(world), len(world.clients))
    except Exception as error:  # noqa: BLE001 - whatever it is: with the line that shows it again
        said = "".join(traceback.format_exception(error)) if tell is not None else _told(error)
        again = f"python -m tests.simulation {seed} --trace"
        return Report(seed, world.digest, Counter(), len(world.clients), f"{said}\nTo see it again: {again}")
    finally:
        world.database.close()


def _told(error: BaseException) -> str:
    """Return what was found, and where."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
