"""This process among others: it shows that it lives, and looks after what those left that do not."""

from collections.abc import Callable
from typing import Protocol

import trio

from ainf.exchange.inflight import Inflight
from ainf.telemetry import Telemetry


class InstanceStore(Protocol):
    """What a process needs of the store to live beside others; see ``store.Store``."""

    @property
    def epoch(self) -> int:
        """The epoch in which this process goes on."""
        ...

    async def renew_lease(self) -> bool:
        """Show that this process lives; return whether it had been taken for dead."""
        ...

    async def reap(self, at: int) -> list[str]:
        """Close what dead processes left open; return the ids of what was closed."""
        ...


async def keep_instance(
    inflight: Inflight, store: InstanceStore, telemetry: Telemetry, now: Callable[[], int], every_s: float
) -> None:
    """Renew the lease at every beat, and do what a living process owes to the others. Runs until cancelled.

    Where this process had been taken for dead, whatever it opened before is another's to close: it ends, at once. What
    the store refuses, or a defect keeps from being done, is tried again by the next beat. Dead processes may have left
    very much: while that is being closed, the beats go on.

    Args:
        inflight: the exchanges that run.
        store: where the lease is.
        telemetry: where is told what happened.
        now: microseconds since 1970 UTC.
        every_s: from one beat to the next.
    """
    reaping = trio.Lock()
    async with trio.open_nursery() as nursery:
        while True:
            with telemetry.tried("beat"):  # at once: the start may have taken longer than a lease
                await beat(inflight, store, telemetry)
                if not reaping.locked():
                    nursery.start_soon(_reap, store, telemetry, now, reaping)
            await trio.sleep(every_s)


async def beat(inflight: Inflight, store: InstanceStore, telemetry: Telemetry) -> None:
    """Make one beat.

    Raises:
        GatewayError: ``store_unavailable``: it was not made.
    """
    if await store.renew_lease():
        telemetry.fenced(store.epoch, inflight.disown(store.epoch))


async def _reap(store: InstanceStore, telemetry: Telemetry, now: Callable[[], int], reaping: trio.Lock) -> None:
    async with reaping:
        with telemetry.tried("reaping"):
            telemetry.reaped(len(await store.reap(now())))
