"""What a machine gives the processes on it: its uptime, a folder on a disk, locks, and the way to the database.

Gateways are composed by ``ainf.app`` as it is. What it takes from outside is put in its place while a world runs; which
process asks is told by whose task it is. Files are real ones, in memory, for the locks on them are; a process that is
killed loses those that it had open, and its locks, as by the kernel.
"""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import trio
from werkzeug.routing import Rule

from ainf import app as composition
from ainf.config import Config
from ainf.http.surface import build_surface
from ainf.routing.observed import LEAST_LATENCIES, PastAttempt
from ainf.store import ballast, parts, spool_file
from ainf.store.reader import InlineReader
from ainf.store.routing_history import recent_outcomes
from ainf.store.sqlite import LockFile
from ainf.store.transaction import Transaction
from ainf.telemetry import Telemetry
from tests.simulation.database import ReadingEngine, Weather, WeatheredEngine
from tests.simulation.server import MemoryServer
from tests.store.task_writer import TaskWriter

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

_MEMORY: Final = Path("/dev/shm")
DATABASE: Final = "ainf.db"
_ROOM: Final = 5
"""Commits that the ballast's room is enough for."""


class MachineClock:
    """The uptime that all processes of a world see."""

    boot: Final = "simulated"

    def now(self) -> int:
        return int(trio.current_time() * 1_000_000)


class Files:
    """Which process opened what."""

    def __init__(self, world: "World", folder: Path):
        self._world = world
        self._folder = folder
        self._owners: dict[int, Process] = {}
        self._open = os.open

    def open(self, path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        descriptor = self._open(path, flags, mode, **more)
        process = self._world.here()
        if process is not None:
            self._owners[descriptor] = process
        return descriptor

    def close_all(self, process: "Process") -> None:
        """Close what a process has open, its locks with it; its descriptors lead nowhere from then on."""
        nowhere = self._open(os.devnull, os.O_RDWR)
        for descriptor, owner in self._owners.items():
            if owner is process and self._is_ours(descriptor):
                os.dup2(nowhere, descriptor)
        os.close(nowhere)

    def _is_ours(self, descriptor: int) -> bool:
        try:
            return Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(self._folder)
        except OSError:
            return False


def _parts(world: "World") -> dict[str, Any]:
    """Return what stores are made of over the world's one database."""
    database = world.database

    class Engines:
        @staticmethod
        def open(_: str, make_room: Callable[[], bool] | None = None, lock: LockFile | None = None) -> WeatheredEngine:
            del lock  # its schema is the newest
            return world.current().own(database.engine(_room_maker(database.weather, make_room)))

        @staticmethod
        def open_reader(_: str, cache_kib: int) -> WeatheredEngine:
            del cache_kib  # it is all in memory
            return world.current().own(ReadingEngine(database.connection, database.weather))

    def writer(engine: WeatheredEngine, tx: Transaction, **more: Any) -> TaskWriter:
        made = TaskWriter(engine, tx, turn=database.weather.turn, **more)
        world.current().start_soon(partial(_run_on, made))
        return made

    def reader(connect: Callable[[], WeatheredEngine], *, wait_s: float) -> InlineReader:
        del wait_s
        return InlineReader(connect())

    return {
        "SQLiteEngine": Engines, "ThreadWriter": writer, "ThreadReader": reader, "MachineUptime": MachineClock,
        "OwnUptime": MachineClock,
    }  # fmt: skip


async def _run_on(writer: TaskWriter) -> None:
    """Cancellation does not stop it, as it does not stop a thread."""
    with trio.CancelScope(shield=True):
        await writer.run()


def _room_maker(weather: Weather, drop: Callable[[], bool] | None) -> Callable[[], bool]:
    def make_room() -> bool:
        if drop is None or not drop():
            return False
        weather.room += _ROOM
        weather.ballasts_dropped += 1
        return True

    return make_room


_compile_builder = Rule._compile_builder
_builders: dict[tuple[str, bool], Any] = {}


def _compile_once(rule: Rule, append_unknown: bool = True) -> Any:
    """Compile how a rule's URLs are built once, not for each life of a gateway: else a fifth of what a seed costs."""
    key = (rule.rule, append_unknown)
    if key not in _builders:
        _builders[key] = _compile_builder(rule, append_unknown)
    return _builders[key]


@contextmanager
def simulated(world: "World") -> Iterator[Path]:
    """Let gateways of this world be composed over it, in a folder that lasts as long."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as name, ExitStack() as stack:
        folder = Path(name)
        world.files = Files(world, folder)
        for module, stand_ins in _stand_ins(world).items():
            for attribute, stand_in in stand_ins.items():
                stack.enter_context(mock.patch.object(module, attribute, stand_in))
        yield folder


def _habits(world: "World") -> Iterator[PastAttempt]:
    """Yield what is known of the models from before the seed: how soon they begin; nothing in a part of the seeds."""
    config, first_content_us = world.scenario.config, world.scenario.first_content_us
    for model in config.models.values() if first_content_us is not None else ():
        habit = PastAttempt(
            provider=model.provider, model=model.name, ending=None, error_code=None, first_content_us=first_content_us
        )
        yield from (habit for _ in range(LEAST_LATENCIES))


def _stand_ins(world: "World") -> dict[Any, dict[str, Any]]:
    build_gateway, backend_of = composition.build_gateway, composition.backend_of
    weather = world.database.weather

    def build(config: Config, telemetry: Telemetry, its_store: Any) -> Any:
        return build_gateway(config, telemetry, its_store, clock=world.clock)

    def backend(config: Config, provider: Any, dialer: Any = None) -> Any:
        del dialer
        return backend_of(config, provider, world.current().dial)

    def build_server(config: Config, gateway: Any) -> MemoryServer:
        surface = build_surface(gateway, body_bytes=config.limits.body_bytes, started_at=0)
        server = world.current().server = MemoryServer(surface, config.limits.write_s)
        return server

    async def keep_memory(*_: Any) -> None:
        await trio.sleep_forever()

    def recent(tx: Transaction, *, since: int, most: int) -> list[PastAttempt]:
        return [*recent_outcomes(tx, since=since, most=most), *_habits(world)]

    find_room, append = ballast._find_room, spool_file.SpoolFile.append

    def look_for_room(descriptor: int, size: int) -> None:
        if weather.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        find_room(descriptor, size)

    def append_spool(file: Any, lines: Any) -> Any:
        if weather.refuses_spool:
            weather.spools_refused += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return append(file, lines)

    return {
        composition: {
            "build_gateway": build, "backend_of": backend, "_build_server": build_server,
            "_give_memory_back": keep_memory, "recent_outcomes": recent,
            "wall_clock": world.clock, "new_id": world.new_id,
        },
        parts: _parts(world),
        ballast: {"_find_room": look_for_room},
        spool_file.SpoolFile: {"append": append_spool},
        Rule: {"_compile_builder": _compile_once},
        os: {"open": world.files.open},
    }  # fmt: skip
