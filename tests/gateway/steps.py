"""Something happens at the k-th step of a request: an enumerator of every point at which it can be interrupted.

A step is one stretch of a task between two awaits. An ``Instrument`` counts those of the request's own task and of all
tasks below it, and acts just before the k-th: k = 0, 1, 2, ... until a run is over before its k-th step came.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio
import trio._core._run as scheduler


class AtStep(trio.abc.Instrument):
    """Calls ``act`` just before the ``at``-th step of a task tree."""

    def __init__(self, root: trio.lowlevel.Task, at: int, act: Callable[[], None]):
        self.count = 0
        self.acted = False
        self._root = root
        self._at = at
        self._act = act
        self._known: dict[trio.lowlevel.Task, bool] = {root: True}

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self._is_below(task):
            return
        if self.count == self._at:
            self.acted = True
            self._act()
        self.count += 1

    def _is_below(self, task: trio.lowlevel.Task) -> bool:
        known = self._known.get(task)
        if known is None:
            nursery = task.parent_nursery
            known = nursery is not None and self._is_below(nursery.parent_task)
            self._known[task] = known
        return known


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
