"""One life of a gateway's process: how it starts, what is done to it, and how it ends."""

from collections import Counter
from collections.abc import Awaitable, Callable
from io import StringIO
from typing import TYPE_CHECKING, Any

import apsw
import attrs
import trio

from ainf import app as composition
from ainf.config import Config
from ainf.inference.errors import GatewayError
from ainf.store.spool_file import SpoolError
from ainf.store.sqlite import LockedError
from ainf.telemetry import Telemetry
from tests.gateway.world import SimulatedWire
from tests.simulation.database import WeatheredEngine
from tests.simulation.server import MemoryServer

if TYPE_CHECKING:
    from tests.simulation.world import World


class Process:
    """A gateway from its start to its end.

    Attributes:
        running: the gateway, once it listens.
        ready: it listens, or is over.
        over: it has ended, by itself or killed.
        death: how it died, where it did.
        left_open: the exchanges that it had not settled when it ended in good order.
    """

    def __init__(self, world: "World", number: int, config: Config):
        self.world = world
        self.number = number
        self.config = config
        self.running: composition.RunningGateway | None = None
        self.server: MemoryServer | None = None
        self.task: trio.lowlevel.Task | None = None
        self.ready = trio.Event()
        self.over = trio.Event()
        self.death: str | None = None
        self.left_open: list[str] = []
        self._engines: list[WeatheredEngine] = []
        self.wires: list[SimulatedWire] = []
        self._sleeps_since = 0.0
        self._longest_sleep_s = 0.0
        self._log = StringIO()
        self._log_at_death: str | None = None
        self._telemetry = Telemetry(self._log)
        self._samples: dict[str, float] | None = None
        self._told_to_stop = trio.Event()
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None

    @property
    def is_listening(self) -> bool:
        if self.server is None or self.death is not None or self._scope.cancel_called:
            return False
        return self.server.is_listening

    @property
    def may_be_fenced(self) -> bool:
        """Whether another one may have taken it for dead, though it lived."""
        return self._longest_sleep_s >= self.config.store.lease_s or self.samples()["ainf_fenced_total"] > 0

    @property
    def log(self) -> str:
        """What it logged, until its death."""
        return self._log.getvalue() if self._log_at_death is None else self._log_at_death

    def samples(self) -> dict[str, float]:
        """Return its metrics: the sums over all labels by name, and those of each label's value by "name:value"."""
        if self._samples is not None:
            return self._samples
        sums: Counter[str] = Counter()
        for family in self._telemetry.registry.collect():
            for sample in family.samples:
                for name in (sample.name, *(f"{sample.name}:{value}" for value in sample.labels.values())):
                    sums[name] += sample.value
        if self.over.is_set():
            self._samples = sums
        return sums

    async def run(self) -> None:
        """Run it from its start to its end."""
        if self.over.is_set():
            return  # killed before its first step
        self.task = trio.lowlevel.current_task()
        try:
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    await self._run()
        except* (GatewayError, apsw.Error, LockedError, SpoolError) as errors:  # the command would say it, and exit
            self._end(f"would not start: {_first(errors)!r}")
        else:
            if not self.over.is_set() and self.running is not None:
                self.left_open = self.world.open_in(self.running.store.epoch)
            self._end(None)

    async def _run(self) -> None:
        async with composition.running_gateway(self.config, self._telemetry, on_fatal=self._on_fatal) as self.running:
            self.world.note(f"process {self.number}", "listens")
            self.ready.set()
            await self._told_to_stop.wait()

    def _end(self, death: str | None) -> None:
        if not self.over.is_set():
            self.world.note(f"process {self.number}", "ended", (death or "").encode())
            self.death = death
            self.ready.set()
            self.over.set()

    # what is done to it

    def terminate(self) -> None:
        """SIGTERM."""
        self._told_to_stop.set()

    def interrupt(self) -> None:
        """SIGTERM and SIGINT again, as often as it takes: everything in it is cancelled."""
        self._scope.cancel()

    def freeze(self) -> None:
        """SIGSTOP."""
        assert self.task is not None
        self._sleeps_since = trio.current_time()
        self.world.turns.stop(self.task)

    def thaw(self) -> None:
        """SIGCONT."""
        if self.task is not None and self.death is None and self.world.turns.is_stopped(self.task):
            self._longest_sleep_s = max(self._longest_sleep_s, trio.current_time() - self._sleeps_since)
            self.world.turns.resume(self.task)

    def reload(self, config: Config) -> None:
        """SIGHUP."""
        if self.running is not None:
            with self.world.acting_as(self):
                composition.apply_config(self.running, attrs.evolve(config, store=self.config.store))

    def kill(self, why: str) -> None:
        """SIGKILL: nothing of it runs any more, and the kernel closes what it had open."""
        if self.over.is_set():
            return
        self._end(why)
        self.world.note_killed()
        self._log_at_death = self._log.getvalue()
        if self.task is not None:
            self.world.turns.stop(self.task)
        for engine in self._engines:
            engine.is_dead = True
        for wire in self.wires:
            wire.close()
        self.world.files.close_all(self)
        if self.server is not None:
            self.server.cut()

    def _on_fatal(self, error: BaseException) -> None:
        self.kill(f"fatal: {error}")

    def bury(self) -> None:
        """Let what is left of one that was killed unwind: it can do nothing any more."""
        if self.task is None or not self.world.turns.is_stopped(self.task):
            return
        self.world.turns.resume(self.task)
        if self.running is not None:
            for exchange in self.running.gateway.inflight:
                exchange.hurry(0)
        self._scope.cancel()

    # what it is given

    def start_soon(self, work: Callable[[], Awaitable[Any]]) -> None:
        """Let something run beside the gateway, as long as it does: what is a thread of its own."""
        assert self._nursery is not None
        self._nursery.start_soon(work)

    def own(self, engine: WeatheredEngine) -> WeatheredEngine:
        """Take an engine: it dies with the process."""
        self._engines.append(engine)
        return engine

    async def dial(self, host: str, port: int) -> SimulatedWire:
        """Connect to a provider."""
        del port
        await trio.lowlevel.checkpoint()
        await self.world.network.reach(host)
        wire = SimulatedWire(self.world.simulator.connect(self.world.nursery))
        self.wires.append(wire)
        return wire


def _first(errors: BaseExceptionGroup[Exception]) -> BaseException:
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
