"""One request of a kind over a machine on which something goes wrong, and what must hold when that is over."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from ainf.http.idempotency import SharedExchanges
from ainf.inference.outcome import Ending
from tests.gateway.capture import check_let_go
from tests.gateway.failing import CLOSE_S, Machine, machine
from tests.gateway.kinds import Kind, Stage, asking, stage
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.world import Client, World

AWAY_CODE: Final = "store_unavailable"
_SAID_OF_KEYS: Final = ((409, "idempotency_in_progress"), (409, "idempotency_completed"))
"""How a second request is refused of which the first could not be settled yet, or not with its answer."""


@attrs.define
class Trial:
    """What one trial did, and how to check it. ``scope`` is that of the clients' requests: cancel it, and they are."""

    here: World
    machine: Machine
    kind: Kind
    idempotency_key: str = ""
    """Asked under it twice, one after the other; empty: once, without."""
    clients: list[Client] = attrs.field(factory=list)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    on_begin: Callable[["Trial"], None] | None = None
    """Called in the task that serves the requests."""
    on_write: Callable[[int], None] | None = None
    """Called behind each write to a client."""
    _dialled: int = 0
    _logged: int = 0
    _billed_before: int = 0
    _breaches: list[str] = attrs.field(factory=list)

    async def run(self) -> None:
        """Ask, and wait until all is over; where the process dies, nobody is told anything from then on."""
        self._dialled, self._logged = len(self.here.simulator.books.entries), len(self.here.log.getvalue())
        self._billed_before = self.machine.billed_nusd()
        async with trio.open_nursery() as process:
            self.here.gateway.shared = SharedExchanges(limit=1 << 20, linger_s=1)
            await process.start(self.here.gateway.shared.run)
            self.machine.on_death = lambda: self._die(process)
            async with trio.open_nursery() as requests:
                requests.start_soon(self._ask)
            await self.here.gateway.inflight.wait_empty()
            process.cancel_scope.cancel()

    async def _ask(self) -> None:
        if self.on_begin is not None:
            self.on_begin(self)
        with self.scope:
            for _ in range(2 if self.idempotency_key else 1):
                headers = {"idempotency_key": self.idempotency_key} if self.idempotency_key else {}
                client = asking(self.here, self.kind, **headers)
                self._watch(client)
                self.clients.append(client)
                await self.here.run(client)

    def _watch(self, client: Client) -> None:
        """Look, whenever something is said: an end only of what is settled, and nothing that is not paid for."""
        leave = client.on_write

        def look(writes: int) -> None:
            if leave is not None:
                leave(writes)
            if self.on_write is not None:
                self.on_write(writes)
            is_told = client.ended and "x-ainf-inference-id" in client.headers
            if is_told and not self.machine.is_durable(client.inference_id):
                self._breaches.append("it spoke before the settlement was durable")
            for exchange in self.here.gateway.inflight:
                if exchange.attempt is None:
                    continue  # between two, of which the ledger may know the next already
                held_nusd = self.machine.held_nusd(exchange.plan.inference_id)
                if held_nusd is not None and exchange.hold.held_nusd > held_nusd:
                    self._breaches.append("it relies on more than is held")

        client.on_write = look

    def _die(self, process: trio.Nursery) -> None:
        for client in self.clients:
            client.abort()
        process.cancel_scope.cancel()

    async def check(
        self,
        *,
        refusals: Sequence[tuple[int, str]] | None = (),
        defects: bool = False,
        told: bool = False,
        undone: bool = False,
    ) -> None:
        """The law, over the whole database and what everybody saw; the process that lives has recovered.

        Args:
            refusals: the statuses and codes of refusals that may be, beside that of a store that is away; None: all.
            defects: whether there may be any.
            told: whether each client that did not leave must have been told an end.
            undone: whether what was opened too late for its client must have been taken back.
        """
        allowed = {*(refusals or ()), (503, AWAY_CODE), *(_SAID_OF_KEYS if self.idempotency_key else ())}
        if defects:
            allowed.add((500, "internal_error"))
        assert not self._breaches, self._breaches
        for client in self.clients:
            ending = await check_transcript(self.here, client)
            assert not (client.ended and ending is Ending.ABANDONED), "an end was told that recovery knows nothing of"
            assert not told or client.ended or client.gone, "it was cut off without need"
            if ending is None and client.ended:
                _check_refused(client, None if refusals is None else allowed)
        if all(client.ended and "x-ainf-inference-id" not in client.headers for client in self.clients):
            assert len(self.here.simulator.books.entries) == self._dialled, "a provider was asked for who was refused"
            assert not undone or self.machine.billed_nusd() == self._billed_before, "who was refused was billed"
        await check_provider(self.here)
        await check_ledger(self.here)
        assert await self.here.rows("SELECT * FROM claims WHERE state = 'running'") == []
        check_let_go(self.here)
        assert defects or '"defect"' not in self.here.log.getvalue()[self._logged :]


def _check_refused(client: Client, allowed: set[tuple[int, str]] | None) -> None:
    assert client.status is not None
    code = client.json()["error"]["code"]
    assert allowed is None or (client.status, code) in allowed, client.body
    if code == AWAY_CODE:
        assert client.headers["x-should-retry"] == "true"


@asynccontextmanager
async def premises(kind: Kind, tmp_path: Path) -> AsyncIterator[tuple[Machine, Stage]]:
    """Run a gateway for a kind around a block, on a machine of its own."""
    async with machine(tmp_path) as below, stage(kind, tmp_path, below) as ready:
        below.turn_s = 0.2 if kind.slow_store else 0.0
        services = ready.here.gateway.services
        clocks = attrs.evolve(services.clocks, close_s=CLOSE_S)
        ready.here.gateway.services = attrs.evolve(services, clocks=clocks)
        yield below, ready


@contextmanager
def reproducible(what: str) -> Iterator[None]:
    """Say with whatever fails in the block what brings it about."""
    try:
        yield
    except BaseException as error:
        error.add_note(what)
        raise
