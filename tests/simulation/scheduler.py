"""Whose turn it is: processes that share one event loop, each of which can be stopped as by SIGSTOP, or SIGKILL.

A process is a task and everything below it. Stopped, none of its tasks gets a turn, whatever wakes them: their turns
are kept until it goes on. One that is killed never goes on, so that nothing of it runs, no ``finally`` either.
"""

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio
import trio._core._run as trio_run
import trio.testing
from trio.lowlevel import Task

from tests.gateway.steps import deterministic


class Turns(deque[Task]):
    """trio's queue of tasks that can run, without those of the processes that are stopped."""

    def __init__(self) -> None:
        super().__init__()
        self._stopped: set[Task] = set()
        self._above: dict[Task, tuple[Task, ...]] = {}

    @classmethod
    def install(cls) -> "Turns":
        """Take the place of the running loop's queue."""
        runner = trio_run.GLOBAL_RUN_CONTEXT.runner
        turns = cls()
        turns.extend(runner.runq)
        runner.runq = turns
        return turns

    def stop(self, process: Task) -> None:
        """Give the tasks of a process no more turns; the one that runs keeps its own until its next await."""
        self._stopped.add(process)

    def resume(self, process: Task) -> None:
        """Let a process go on."""
        self._stopped.discard(process)

    def is_stopped(self, process: Task) -> bool:
        return process in self._stopped

    def __iter__(self) -> Iterator[Task]:
        every = super().__iter__()
        return (task for task in every if not self._waits(task)) if self._stopped else every

    def __len__(self) -> int:
        return sum(1 for _ in self) if self._stopped else super().__len__()

    def clear(self) -> None:
        """Forget those that get their turn now."""
        kept = [task for task in super().__iter__() if self._waits(task)] if self._stopped else ()
        super().clear()
        self.extend(kept)

    def _waits(self, task: Task) -> bool:
        return not self._stopped.isdisjoint(self.tasks_above(task))

    def tasks_above(self, task: Task) -> tuple[Task, ...]:
        """Return a task and all that it is below of."""
        found = self._above.get(task)
        if found is None:
            nursery = task.parent_nursery
            above = () if nursery is None else self.tasks_above(nursery.parent_task)
            found = self._above[task] = (task, *above)
        return found


async def _in_place(work: Callable[..., Any], *args: Any, **_: Any) -> Any:
    """Do what is meant for a thread here and now: a thread's time is the machine's, not the simulation's."""
    await trio.lowlevel.checkpoint()
    return work(*args)


@contextmanager
def _without_threads() -> Iterator[None]:
    before = trio.to_thread.run_sync
    trio.to_thread.run_sync = _in_place
    try:
        yield
    finally:
        trio.to_thread.run_sync = before


def run(seed: int, main: Callable[..., Any], *args: Any) -> Any:
    """Run ``main`` on a loop of its own whose clock jumps and whose order is a function of the seed."""
    with deterministic(random.Random(f"order-{seed}").getrandbits(64)), _without_threads():
        return trio.run(main, *args, clock=trio.testing.MockClock(autojump_threshold=0))
