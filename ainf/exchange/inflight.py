"""The exchanges that are running now: their durable progress, and the endings that concern all or some of them."""

from collections.abc import Iterator

import trio

from ainf.exchange.run import Exchange
from ainf.inference.outcome import Ending, Verdict
from ainf.store.base import Progress
from ainf.store.protocol import InferenceStore
from ainf.telemetry import Telemetry

_SHUTTING_DOWN = Verdict(Ending.SHUTDOWN, "shutting_down", "The gateway is shutting down; ask again.")
_REVOKED = Verdict(Ending.TERMINATED, "key_revoked", "The key was revoked or its account closed.")


class Inflight:
    """The running exchanges of this process, by inference id."""

    def __init__(self) -> None:
        self._running: dict[str, Exchange] = {}
        self._empty = trio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[Exchange]:
        return iter(list(self._running.values()))

    def add(self, exchange: Exchange) -> None:
        """Note an exchange that is about to run."""
        if not self._running:
            self._empty = trio.Event()
        self._running[exchange.plan.inference_id] = exchange

    def remove(self, exchange: Exchange) -> None:
        """Forget an exchange that has ended."""
        del self._running[exchange.plan.inference_id]
        if not self._running:
            self._empty.set()

    async def wait_empty(self) -> None:
        """Wait until nothing runs."""
        while self._running:
            await self._empty.wait()

    def shut_down(self, close_s: float) -> None:
        """Offer every running exchange the end of the process; each gets ``close_s`` to settle from now."""
        for exchange in self:
            exchange.hurry(close_s)
            exchange.offer(_SHUTTING_DOWN)

    def revoke(self, inference_id: str) -> None:
        """Offer an exchange the end of its key."""
        if (exchange := self._running.get(inference_id)) is not None:
            exchange.offer(_REVOKED)

    def disown(self, epoch: int) -> int:
        """Offer the end to what was opened before an epoch, because others close it; return how many took it."""
        return sum(exchange.disown(epoch) for exchange in self)


async def keep_progress(inflight: Inflight, store: InferenceStore, telemetry: Telemetry, every_s: float) -> None:
    """Make the progress of all running exchanges durable at every tick, and end those whose key is gone.

    Runs until cancelled. A tick that the store refuses is made up for by the next: progress is cumulative.
    """
    while True:
        await trio.sleep(every_s)
        if inflight:
            await _keep_progress(inflight, store, telemetry)


async def _keep_progress(inflight: Inflight, store: InferenceStore, telemetry: Telemetry) -> None:
    """Make one tick; in a frame of its own, so that no exchange is kept until the next."""
    steps: list[tuple[Exchange, Progress]] = []
    for exchange in inflight:
        with telemetry.tried("progress"):  # by itself: what is wrong with one keeps no other's from being durable
            if (step := exchange.progress()) is not None:
                steps.append((exchange, step))
    with telemetry.tried("progress", running=len(inflight)):
        seen = await store.record_progress([step for _, step in steps])
        for exchange, step in steps:
            exchange.progress_is_durable(step)
        for inference_id in seen.revoked:
            inflight.revoke(inference_id)
