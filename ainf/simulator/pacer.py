"""One timer for many sleepers, because two hundred paced streams should cost less than the gateway they load.

A ``trio.sleep`` is a cancel scope, a deadline and a turn of the loop of its own; ten thousand a second of them are most
of a core. Here sleepers wait in one heap, and one task wakes all that are due.
"""

import heapq
import itertools
import math
from typing import Final

import trio

# Under load, wakes are gathered: a sleeper may be late by this much. One that sleeps alone is on time.
GATHER_S: Final = 0.001


class Pacer:
    """Wakes sleepers while ``run`` runs."""

    def __init__(self) -> None:
        self._sleepers: list[tuple[float, int, trio.lowlevel.Task]] = []
        self._asleep: set[int] = set()
        self._tickets = itertools.count()
        self._timer: trio.CancelScope | None = None
        self._not_before = -math.inf

    async def sleep_until(self, due: float) -> None:
        """Sleep until ``due`` on trio's clock, or up to ``GATHER_S`` longer; a checkpoint, cancelled at once."""
        if due <= trio.current_time():
            await trio.lowlevel.checkpoint()
            return
        ticket = next(self._tickets)
        self._asleep.add(ticket)
        heapq.heappush(self._sleepers, (due, ticket, trio.lowlevel.current_task()))
        if self._timer is not None and due < self._timer.deadline:
            self._timer.deadline = max(due, self._not_before)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._asleep.discard(ticket)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    async def run(self) -> None:
        """Wake sleepers until cancelled."""
        while True:
            with trio.CancelScope() as self._timer:
                first_due = self._sleepers[0][0] if self._sleepers else math.inf
                self._timer.deadline = max(first_due, self._not_before)
                await trio.sleep_forever()
            now = trio.current_time()
            self._not_before = now + GATHER_S
            self._wake(now)

    def _wake(self, now: float) -> None:
        while self._sleepers and self._sleepers[0][0] <= now:
            _, ticket, task = heapq.heappop(self._sleepers)
            if ticket in self._asleep:
                self._asleep.remove(ticket)
                trio.lowlevel.reschedule(task)
