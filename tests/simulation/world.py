"""Everything that there is in a seed, and its course: processes and who starts them, clients, providers, a clock."""

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from ainf.ledger import Window, window_start
from ainf.simulator import Entry, Simulator
from ainf.simulator.answer import Ask
from ainf.simulator.steps import Step
from ainf.simulator.wire import Wire
from tests.gateway.candidates import reach
from tests.gateway.clock import SteppedClock
from tests.simulation import scheduler
from tests.simulation.checker import books_of, check, check_idle
from tests.simulation.clients import Customer, SimulatedClient
from tests.simulation.database import Database
from tests.simulation.events import happen
from tests.simulation.kernel import DATABASE, Files, simulated
from tests.simulation.process import Process
from tests.simulation.scenario import Scenario

LONGEST_S: Final = 3600.0
"""Of virtual time; what is not over then hangs."""
_EVENTS: Final = "SELECT epoch, seq, kind, hash FROM audit_events ORDER BY epoch, seq"
_OPEN: Final = "SELECT inference_id FROM holds WHERE epoch = ? ORDER BY inference_id"
_LEFT: Final = "SELECT 1 FROM holds LIMIT 1"
_RESTART_S: Final = (0.05, 1.0, 4.0)


class Clock(SteppedClock):
    """The wall clock of all processes."""

    def step(self, by_us: int) -> None:
        self._base += by_us


class MoodySimulator(Simulator):
    """A provider whose models do at each request one of the things that they may do."""

    def __init__(self, seed: int, moods: Mapping[str, tuple[str, ...]]):
        super().__init__(seed=seed, api_key=None)
        self._moods = moods
        self._own_seed = seed
        self.behaved: dict[int, str] = {}
        """What each request met, by its number in the books."""

    def _answer(self, wire: Wire, ask: Ask, entry: Entry, headers: Mapping[str, str]) -> Iterable[Step]:
        mood = random.Random(f"{self._own_seed}-{entry.number}").choice(self._moods[ask.model])
        self.behaved[entry.number] = mood
        return super()._answer(wire, attrs.evolve(ask, model=mood), entry, headers)


class Network:
    """The way to the providers."""

    def __init__(self) -> None:
        self._fails: str | None = None

    async def fail(self, how: str, for_s: float) -> None:
        self._fails = how
        await trio.sleep(for_s)
        self._fails = None

    async def reach(self, host: str) -> None:
        await reach(f"{self._fails}.{host}")


class World:
    """A seed on its way.

    Attributes:
        processes: every life of a gateway, in the order of their starts.
        clients: every connection that was made, in order.
        met: how often each named branch was hit, as far as that is known on the way.
    """

    nursery: trio.Nursery
    turns: scheduler.Turns
    files: Files
    clock: Clock

    def __init__(self, scenario: Scenario, tell: Any = None):
        self.scenario = scenario
        self.processes: list[Process] = []
        self.clients: list[SimulatedClient] = []
        self.keys: dict[str, str] = {}
        self.met: Counter[str] = Counter()
        self.network = Network()
        self.simulator = MoodySimulator(scenario.seed, scenario.moods)
        self.database = Database()
        self._ids = random.Random(f"ids-{scenario.seed}")
        self._fate = random.Random(f"fate-{scenario.seed}")
        self._digest = hashlib.sha256()
        self._tell = tell
        self._is_over = False
        self._acting: Process | None = None
        self._folder = Path()

    # what everybody uses

    def note(self, who: str, what: str, data: bytes = b"") -> None:
        """Note what can be observed: it is part of the digest."""
        line = f"{trio.current_time():.6f} {who} {what} "
        self._digest.update(line.encode())
        self._digest.update(data)
        self._digest.update(b"\n")
        if self._tell is not None:
            self._tell(line + data.decode("latin-1"))

    def note_killed(self) -> None:
        if self.database.rows("SELECT 1 FROM holds LIMIT 1"):
            self.met["killed with holds open"] += 1

    def open_in(self, epoch: int) -> list[str]:
        """Return the exchanges that an epoch has open."""
        return [row[0] for row in self.database.rows(_OPEN, epoch)]

    def step_clock(self, by_us: int) -> None:
        """Set the wall clock, forwards or back."""
        before = self.clock()
        self.clock.step(by_us)
        after = self.clock()
        self.met["clock set back"] += after < before
        self.met["clock stepped over a window"] += window_start(Window.DAY, before) != window_start(Window.DAY, after)

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{self.clock():014x}{self._ids.getrandbits(72):018x}"

    def here(self) -> Process | None:
        """Return the process whose task runs now, if it is one's."""
        if self._acting is not None:
            return self._acting
        above = self.turns.tasks_above(trio.lowlevel.current_task())
        return next((process for process in self.processes if process.task in above), None)

    def current(self) -> Process:
        """Return the process whose task runs now."""
        process = self.here()
        assert process is not None
        return process

    @contextmanager
    def acting_as(self, process: Process) -> Iterator[None]:
        """Do something in a process that no task of it does: what a signal does."""
        self._acting = process
        try:
            yield
        finally:
            self._acting = None

    def listening(self, chance: random.Random) -> Process | None:
        """Return a process that takes connections, if any does."""
        found = [process for process in self.processes if process.is_listening]
        return chance.choice(found) if found else None

    def living(self, which: int) -> Process | None:
        """Return one of the processes that are not over."""
        found = [process for process in self.processes if not process.over.is_set()]
        return found[which % len(found)] if found else None

    # its course

    async def run(self) -> None:
        """Run the seed until everything is over, and all that died has been recovered."""
        self.turns, self.clock = scheduler.Turns.install(), Clock(self.scenario.starts_at)
        at = self.clock()
        self.keys = self.database.command(lambda tx: self.scenario.accounts.plant(tx, at), at)
        with simulated(self) as self._folder, trio.fail_after(LONGEST_S):
            async with trio.open_nursery() as self.nursery:
                try:
                    await self._run_processes()
                    await self._run_last()
                    await self._look_back()
                finally:
                    for process in self.processes:
                        process.bury()
                self.nursery.cancel_scope.cancel()

    async def _run_processes(self) -> None:
        async with trio.open_nursery() as supervisors:
            for _ in range(self.scenario.processes):
                supervisors.start_soon(self._supervise)
            async with trio.open_nursery() as actors:
                for event in self.scenario.events:
                    actors.start_soon(happen, self, event)
                for visit in self.scenario.visits:
                    actors.start_soon(Customer(self, visit).run)
            self._is_over = True
            for process in self.processes:
                process.thaw()
            supervisors.start_soon(self._stop_all)

    async def _stop_all(self) -> None:
        """End what runs: some processes in good order, when nothing runs in them any more, some not."""
        for process in self.processes:
            if process.over.is_set():
                continue
            fate = self._fate.random()
            if fate < 0.6 and process.running is not None:
                await self._wait_idle(process)
            if fate < 0.8:
                process.terminate()
            else:
                process.kill("killed at the end")

    async def _wait_idle(self, process: Process) -> None:
        """Wait until all that ran in a process has ended, as it must, and nothing of it is left."""
        assert process.running is not None
        gateway = process.running.gateway
        while not process.over.is_set() and (len(gateway.inflight) or len(gateway.shared)):  # noqa: ASYNC110 - two things
            await trio.sleep(0.5)
        await trio.sleep(0.5)
        if not process.over.is_set():
            check_idle(process)

    async def _supervise(self) -> None:
        """Start a gateway, and again whenever it has ended."""
        while not self._is_over:
            process = self._new_process()
            self.nursery.start_soon(process.run)
            await process.over.wait()
            if not self._is_over:
                await trio.sleep(self._fate.choice(_RESTART_S) if process.running else _RESTART_S[-1])

    def _new_process(self) -> Process:
        number = len(self.processes)
        config = self.scenario.config
        paths = {"url": f"sqlite:{self._folder / DATABASE}", "spool": self._folder / "spool"}
        process = Process(self, number, attrs.evolve(config, store=attrs.evolve(config.store, **paths)))
        self.processes.append(process)
        return process

    async def _look_back(self) -> None:
        """Check what is left, and let it count for the digest."""
        await check(self)
        for line in books_of(self):
            self.note("books", line)
        for epoch, seq, kind, hash_ in self.database.rows(_EVENTS):
            self.note(f"audit {epoch}.{seq}", kind, hash_.encode())

    async def _run_last(self) -> None:
        """Start once more where anything is left, in fair weather: it is recovered then."""
        weather = self.database.weather
        weather.refuses = weather.breaks = None
        weather.refuses_spool = False
        weather.queue_s = weather.answer_s = 0.0
        if not self.database.rows(_LEFT) and not list(self._folder.glob("spool*")):
            return
        process = self._new_process()
        self.nursery.start_soon(process.run)
        await process.ready.wait()
        process.terminate()
        await process.over.wait()
        assert process.death is None, process.death
