"""What ends an exchange, as it would from outside, at any moment; and a store that gives it time to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import trio

from ainf.inference.outcome import Ending, Verdict
from ainf.store.base import AttemptOpened, AttemptOpening, Closing, Extended, Extension, Opened, Opening, Settlement
from tests.gateway.world import Client, World


class Source:
    """Something that ends an exchange, as it would from outside: ``act`` is called in the middle of everything."""

    def __init__(self, here: World, client: Client, scope: trio.CancelScope):
        self.here, self.client, self.scope = here, client, scope

    def client_gone(self) -> None:
        self.client.leave()

    def deadline(self) -> None:
        self._offer(Verdict(Ending.DEADLINE_EXCEEDED, "deadline_exceeded", "The deadline passed."))

    def shutdown(self) -> None:
        with self._breaking_off():
            self.here.gateway.inflight.shut_down(2.0)

    def cap(self) -> None:
        self._offer(Verdict(Ending.SPEND_CAP_EXCEEDED, "spend_cap_exceeded", "A cap is used up."))

    def _offer(self, verdict: Verdict) -> None:
        with self._breaking_off():
            for exchange in self.here.gateway.inflight:
                exchange.offer(verdict)

    @contextmanager
    def _breaking_off(self) -> Iterator[None]:
        """L7: what ends in the block has closed every socket to a provider behind it, but one that is read on."""
        running = [exchange for exchange in self.here.gateway.inflight if exchange.arbiter.verdict is None]
        yield
        for exchange in running:
            attempts = [attempt for attempt in (exchange.attempt, exchange.rival) if attempt is not None]
            assert exchange.drain is not None or all(attempt.call._aborted for attempt in attempts)

    def cancelled(self) -> None:
        self.scope.cancel()

    def provider_reset(self) -> None:
        for wire in self.here.wires:
            wire.stream._outgoing.broken = wire.stream._incoming.broken = True
            wire.stream._incoming.notify()


SOURCES = ["client_gone", "deadline", "shutdown", "cap", "cancelled", "provider_reset"]


class SlowStore:
    """A store whose disk is slow; like the real one, it is waited for to the end once it has begun."""

    def __init__(self, store: Any):
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def _slowly(self, operation: Callable[[], Any]) -> Any:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.2)
            done = await operation()
            await trio.sleep(0.2)
            return done

    async def open_inference(self, opening: Opening) -> Opened:
        return await self._slowly(partial(self._store.open_inference, opening))

    async def open_attempt(self, opening: AttemptOpening) -> AttemptOpened:
        return await self._slowly(partial(self._store.open_attempt, opening))

    async def extend_hold(self, extension: Extension) -> Extended:
        return await self._slowly(partial(self._store.extend_hold, extension))

    async def close_inference(self, closing: Closing) -> Settlement:
        return await self._slowly(partial(self._store.close_inference, closing))
