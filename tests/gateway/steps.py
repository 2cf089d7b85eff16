"""Something happens at the k-th step of a request: an enumerator of every point at which it can be interrupted.

A step is one stretch of a task between two awaits. An ``Instrument`` counts those of the request's own task and of all
tasks below it, and acts just before the k-th: k = 0, 1, 2, ... until a run is over before its k-th step came.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import attrs
import trio
import trio._core._run as scheduler


class Steps(trio.abc.Instrument, ABC):
    """Sees each step of a task tree just before it is made."""

    def __init__(self, root: trio.lowlevel.Task):
        self._known: dict[trio.lowlevel.Task, bool] = {root: True}

    @abstractmethod
    def step(self) -> None:
        """Called before each step."""

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._is_below(task):
            self.step()

    def _is_below(self, task: trio.lowlevel.Task) -> bool:
        known = self._known.get(task)
        if known is None:
            nursery = task.parent_nursery
            known = nursery is not None and self._is_below(nursery.parent_task)
            self._known[task] = known
        return known


class AtStep(Steps):
    """Calls ``act`` just before the ``at``-th step of a task tree."""

    def __init__(self, root: trio.lowlevel.Task, at: int, act: Callable[[], None]):
        super().__init__(root)
        self.count = 0
        self.acted = False
        self._at = at
        self._act = act

    def step(self) -> None:
        if self.count == self._at:
            self.acted = True
            self._act()
        self.count += 1


@attrs.frozen
class Moment:
    """When something happens."""

    act: Callable[[], None]
    at: int
    """At the so manieth moment (counted from 1) behind what happened before it; 0: at the same one."""
    during: str = ""
    """How the moments begin that are counted; empty: all are."""


class Moments(Steps):
    """Lets one thing happen after the other: at steps of a task tree, and at moments that others tell of.

    Attributes:
        acted: how many of them happened.
        passed: how many moments that the next one counts have passed since the last one happened.
    """

    def __init__(self, root: trio.lowlevel.Task, moments: Sequence[Moment]):
        super().__init__(root)
        self.acted = 0
        self.passed = 0
        self._moments = moments

    def step(self) -> None:
        self.pass_by("step")

    def pass_by(self, label: str) -> None:
        """Note that a moment has come."""
        if (moment := self._next) is None or not label.startswith(moment.during):
            return
        self.passed += 1
        while (moment := self._next) is not None and moment.at <= self.passed:
            self.acted += 1
            self.passed = 0
            moment.act()

    @property
    def _next(self) -> Moment | None:
        return self._moments[self.acted] if self.acted < len(self._moments) else None


def reseed(seed: object) -> None:
    """Make trio's scheduling from here on a function of ``seed``, inside a run that is deterministic."""
    scheduler._r.seed(str(seed))


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Make trio's scheduling a function of ``seed`` for runs started inside the block."""
    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    scheduler._r.seed(seed)
    try:
        yield
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = before
        scheduler._r.seed(random.random())
