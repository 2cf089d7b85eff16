"""A gateway whose database goes away while exchanges run; its spool is on a disk that waits on the event loop."""

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs

from ainf.app import wall_clock
from ainf.inference.errors import GatewayError
from ainf.store.base import Closing, Settlement
from ainf.store.epochs import begin_epoch
from ainf.store.reader import InlineReader
from ainf.store.reserves import Reserves, ReserveTerms
from ainf.store.spool import InlineDisk, Spool
from ainf.store.spool_file import SpoolFile
from ainf.store.store import Store
from ainf.store.writer import InlineWriter
from tests.gateway.world import World, world
from tests.store.conftest import never

AWAY = GatewayError("store_unavailable", "The ledger cannot be written at the moment.")


class Fickle:
    """A store that takes no closing, and may not even be read, while it is away."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_away = True
        self.is_readable = True
        self.closings: list[Closing] = []
        self.owed: list[Closing] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def close_inference(self, closing: Closing) -> Settlement:
        self.closings.append(closing)
        if self.is_away:
            raise AWAY
        return await self._store.close_inference(closing)

    def owe(self, closing: Closing) -> None:
        self.owed.append(closing)

    async def renew_lease(self) -> bool:
        """A beat: what is owed is tried with whatever is written next."""
        while self.owed and not self.is_away:
            self._store.owe(self.owed.pop())
        return await self._store.write(lambda _: False)


@asynccontextmanager
async def stranded(tmp_path: Path, *models: str, **how: Any) -> AsyncIterator[tuple[World, Fickle]]:
    """Run a gateway whose database takes openings, and no closing until it is told to."""
    terms = ReserveTerms(tmp_path / "spool", disk=InlineDisk)
    async with (
        Store.open("memory:", now=wall_clock, reserves=terms) as store,
        world(tmp_path, *models, store=store, **how) as here,
    ):
        fickle = Fickle(store)
        here.gateway.services = attrs.evolve(here.gateway.services, store=fickle)
        yield here, fickle


async def next_process(here: World, tmp_path: Path) -> World:
    """Let this process be dead at once, and its database be taken over by the next one, which has not recovered yet."""
    spool = here.store.reserves._spool
    assert spool is not None
    spool._file.close()
    here.store._reserves = Reserves()
    engine = here.store._writer._runner._engine
    tx = begin_epoch(engine, "gateway", here.clock())
    writer = InlineWriter(engine, tx, wait_s=5, on_fatal=never)
    own = await Spool.open(tmp_path / "spool", wait_s=5, disk=InlineDisk)
    return attrs.evolve(here, store=Store(writer, InlineReader(engine), now=here.clock, reserves=Reserves(own)))


def fill_disk(monkeypatch, room: int = 0) -> None:
    """Let spools have no more room than so many bytes each."""
    append = SpoolFile.append

    def full(self: SpoolFile, lines: list[bytes]) -> list[int]:
        if sum(map(len, lines)) > room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return append(self, lines)

    monkeypatch.setattr(SpoolFile, "append", full)
