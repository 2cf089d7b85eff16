"""Clients, each of its own manner: what they ask, how they behave meanwhile, and what they do when it went wrong."""

import json
import random
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from tests.gateway.world import Client

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

RETRIES: Final = 2
"""As both SDKs."""
_LONGEST_BACKOFF_S: Final = 8.0
_TRANSIENT: Final = frozenset({408, 409, 429})


@attrs.frozen
class Manner:
    """What a client does while it is answered."""

    leaves_at_write: int | None = None
    leaves_after_s: float | None = None
    stalls_at_write: int | None = None
    """It takes nothing more from then on ..."""
    stalls_s: float = 0.0
    """... for so long."""
    pace_s: float = 0.0
    """How long each write takes it."""

    @property
    def is_slow(self) -> bool:
        """Whether it may not take its end as soon as that is told."""
        return self.stalls_at_write is not None or self.pace_s > 0


@attrs.frozen
class Asking:
    """One request as a client makes it."""

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    manner: Manner = Manner()
    method: str = "POST"
    retries: int = RETRIES
    looks_after: bool = False
    """Whether it asks for the receipt at once."""


@attrs.frozen
class Visit:
    """One client: when it comes, and what it asks, one after the other."""

    number: int
    at_s: float
    key_id: str
    askings: tuple[Asking, ...]
    seed: int


class SimulatedClient(Client):
    """A connection, and all that is seen on it."""

    def __init__(self, process: "Process", name: str, key: str, asking: Asking):
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json", **dict(asking.headers)}
        super().__init__(asking.path, asking.body, headers, asking.method)
        self.name = name
        self.process = process
        self.asking = asking
        self._in_order = trio.Lock()
        self.over = trio.Event()
        """It has seen all that it will see."""
        self.was_cut = False
        """The process at the other end is gone."""
        self.was_stopped = False
        """The process had to end before its answer did."""
        self.was_stuck = False
        """It took nothing for so long that the gateway gave it up."""
        self.looked: Client | None = None
        """What its receipt said when it asked for it right behind the end."""
        self._patience: trio.CancelScope | None = None

    def set_write_limit(self, seconds: float) -> None:
        self._write_s = seconds
        if self._patience is not None:
            self._patience.deadline = min(self._patience.deadline, trio.current_time() + seconds)

    def leave(self) -> None:
        self._see("leaves")
        super().leave()
        self.over.set()

    def abort(self) -> None:
        if not self.over.is_set():
            self._see("is aborted")
        super().abort()
        self.over.set()

    def cut(self) -> None:
        if not self.over.is_set():
            self.was_cut = True
            self._see("is cut")
            super().leave()
            self.over.set()

    def served(self) -> None:
        """The request's task has ended: a server closes a connection whose answer is not whole."""
        if not self.over.is_set():
            self._see("was not answered")
            self.abort()

    def resume(self) -> None:
        self._unstalled.set()

    async def send(self, message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.CancelScope(shield=True):
            await self._in_order.acquire()  # as on a connection: what is said first comes first
        try:
            await self._send(message)
        finally:
            self._in_order.release()

    async def _send(self, message: dict[str, Any]) -> None:
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
            if not self._unstalled.is_set():
                await self._wait_unstalled()
            if self.asking.manner.pace_s:
                await trio.sleep(self.asking.manner.pace_s)
        if self.gone or self.aborted:
            return
        if message["type"] == "http.response.start":
            self._see("head", f"{message['status']} {message['headers']!r}".encode())
        else:
            self._see("body", message.get("body", b""))
        await super().send(message)  # at once: nothing is stalled any more
        if self.ended:
            self._see("end")
            self.over.set()

    async def _wait_unstalled(self) -> None:
        with trio.move_on_after(self._write_s) as self._patience:
            await self._unstalled.wait()
        if self._patience.cancelled_caught:
            self.was_stuck = True
            self.leave()
        self._patience = None

    def _see(self, what: str, data: bytes = b"") -> None:
        self.process.world.note(self.name, what, data)


class Customer:
    """Makes a visit."""

    def __init__(self, world: "World", visit: Visit):
        self._world = world
        self._visit = visit
        self._chance = random.Random(visit.seed)
        self._key = world.keys[visit.key_id]

    async def run(self) -> None:
        await trio.sleep(self._visit.at_s)
        for number, asking in enumerate(self._visit.askings):
            await self._ask(f"client {self._visit.number}.{number}", asking)

    async def _ask(self, name: str, asking: Asking) -> None:
        for attempt in range(asking.retries + 1):
            retried = attrs.evolve(asking, headers=(*asking.headers, ("x-stainless-retry-count", str(attempt))))
            client = await self._connect(f"{name}.{attempt}", retried)
            if client is not None and not self._asks_again(client):
                return
            await trio.sleep(self._backoff_s(client, attempt))

    async def _connect(self, name: str, asking: Asking) -> SimulatedClient | None:
        """Ask once; None where nobody listens."""
        process = self._world.listening(self._chance)
        if process is None or process.server is None:
            self._world.note(name, "is refused")
            self._world.met["nobody listened"] += 1
            return None
        client = SimulatedClient(process, name, self._key, asking)
        self._world.clients.append(client)
        self._world.note(name, f"asks process {process.number}", asking.path.encode() + asking.body)
        process.server.serve(client)
        async with trio.open_nursery() as nursery:
            self._behave(client, nursery)
            await client.over.wait()
            nursery.cancel_scope.cancel()
        if asking.looks_after and client.ended and "x-ainf-inference-id" in client.headers:
            client.looked = await self._look(f"{name} looks", client, process)
        return client

    def _behave(self, client: SimulatedClient, nursery: trio.Nursery) -> None:
        manner = client.asking.manner

        async def leave() -> None:
            await trio.sleep(manner.leaves_after_s)
            client.leave()

        async def stall() -> None:
            client.stall()
            await trio.sleep(manner.stalls_s)
            client.resume()

        def on_write(writes: int) -> None:
            if writes == manner.leaves_at_write and not client.over.is_set():
                client.leave()
            if writes == manner.stalls_at_write:
                nursery.start_soon(stall)

        client.on_write = on_write
        if manner.leaves_after_s is not None:
            nursery.start_soon(leave)

    async def _look(self, name: str, client: SimulatedClient, process: "Process") -> Client | None:
        if not process.is_listening or process.server is None:
            return None
        asking = Asking(f"/v1/audit/{client.inference_id}", b"", (), method="GET")
        looking = SimulatedClient(process, name, self._key, asking)
        process.server.serve(looking)
        await looking.over.wait()
        return looking

    def _asks_again(self, client: SimulatedClient) -> bool:
        """Whether an SDK would."""
        if client.ended and client.status is not None:
            verdict = client.headers.get("x-should-retry")
            if verdict is not None:
                return verdict == "true"
            return client.status in _TRANSIENT or client.status >= 500
        left_itself = client.gone and not client.was_cut and not client.was_stuck
        return client.status is None and not left_itself

    def _backoff_s(self, client: SimulatedClient | None, attempt: int) -> float:
        told = None if client is None else client.headers.get("retry-after")
        if told is not None and told.isdigit() and int(told) <= 60:
            return float(told)
        return min(0.5 * 2**attempt, _LONGEST_BACKOFF_S) * self._chance.uniform(0.75, 1)


def encoded(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()
