"""How a busy event loop lets the writer's thread run.

CPython gives the interpreter to a waiting thread only after the running one has kept it for 5 ms without a break, and a
loop that makes many short system calls makes breaks all the time, each too short for the other thread to wake up in. A
writer that needs the interpreter again after every step of a statement then stands still for tens of milliseconds.

Strategy: while operations are in flight, a loop with runnable tasks stops before it polls. While the writer runs
statements it waits for them (the two would take turns in any case, only more slowly); while the writer waits for the
disk it naps for a moment, in case that wait is over. Both are bounded, and an idle loop does neither.
"""

import threading
import time
from typing import Final

import trio

from ainf.store.transaction import Engine

NAP_S: Final = 20e-6
"""What the system makes of it is rather 70 us: enough for the other thread to wake up."""
TURN_S: Final = 1e-3
"""The longest that the loop waits at once for statements; a batch of 32 takes about this long."""


class LoopYield(trio.abc.Instrument):
    """Stops the event loop, briefly, for a writer that has operations in flight."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._statements_done = threading.Event()
        self._statements_done.set()

    def expect(self, more: int) -> None:
        """Note, on the event loop, that the writer has so many more (negative: fewer) operations to do."""
        self._in_flight += more

    def begin_statements(self) -> None:
        """Note, in the writer's thread, that it needs the interpreter from now on."""
        self._statements_done.clear()

    def end_statements(self) -> None:
        """Note, in the writer's thread, that it does not need the interpreter for now."""
        self._statements_done.set()

    def before_io_wait(self, timeout: float) -> None:
        """Give the interpreter away, where the loop would not do so by itself."""
        if not self._in_flight or timeout > 0:
            return
        if self._statements_done.is_set():
            time.sleep(NAP_S)
        else:
            self._statements_done.wait(TURN_S)


class YieldedEngine:
    """An ``Engine`` that tells a ``LoopYield`` when it runs statements; waiting for locks and disks is none."""

    __slots__ = (
        "_engine", "_yield", "changes", "close", "execute", "executemany", "is_fatal", "is_unavailable", "relieve",
    )  # fmt: skip

    def __init__(self, engine: Engine, loop_yield: LoopYield) -> None:
        self._engine = engine
        self._yield = loop_yield
        self.execute = engine.execute
        self.executemany = engine.executemany
        self.changes = engine.changes
        self.is_unavailable = engine.is_unavailable
        self.is_fatal = engine.is_fatal
        self.relieve = engine.relieve
        self.close = engine.close

    def begin(self) -> None:
        """See ``Engine``."""
        self._engine.begin()
        self._yield.begin_statements()

    def commit(self) -> None:
        """See ``Engine``."""
        self._yield.end_statements()
        self._engine.commit()

    def rollback(self) -> None:
        """See ``Engine``."""
        self._yield.end_statements()
        self._engine.rollback()
