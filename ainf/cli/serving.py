"""The gateway as a process of its own: what its signals do, from the first moment to the last."""

import ctypes
import gc
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Final

import trio

from ainf.app import RunningGateway, apply_config, running_gateway
from ainf.cli.reload import Reloader
from ainf.config import Config
from ainf.telemetry import Telemetry

_COLLECT_AFTER: Final = 10_000
"""New objects between two runs of the garbage collector."""
_M_ARENA_MAX: Final = -8
"""glibc's name for how many heaps there may be (``malloc.h``)."""
_M_MMAP_THRESHOLD: Final = -3
"""And for the size from which on memory is taken beside the heap, and given back as soon as it is free."""
_LARGE_BYTES: Final = 128 * 1024


def run(path: Path, config: Config) -> None:
    """Run a gateway until SIGTERM or SIGINT has drained it; a second one ends what still runs at once.

    SIGHUP has its configuration read again from ``path``; while it drains, that is refused.
    """
    keep_heap_small()
    trio.run(_run, path, config)


async def _run(path: Path, config: Config) -> None:
    telemetry = Telemetry()
    # The receivers are there before anything listens and until all is done: no signal finds the process without them.
    with (
        trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as ends,
        trio.open_signal_receiver(signal.SIGHUP) as hangups,
    ):
        async with trio.open_nursery() as nursery:
            async with running_gateway(config, telemetry) as running:
                spare_collector()
                reloader = Reloader(path, config, partial(apply_config, running), telemetry)
                nursery.start_soon(_end_when_told, ends, running)  # noqa: ASYNC111 - signals count while it drains too
                nursery.start_soon(_reload_when_told, hangups, running, reloader)  # noqa: ASYNC111 - the same
                await running.stop.wait()
            nursery.cancel_scope.cancel()


async def _end_when_told(signals: AsyncIterator[int], running: RunningGateway) -> None:
    """Drain at the first signal; at the next, end what still runs at once."""
    async for _ in signals:
        if running.stop.is_set():
            running.patience.cancel()
        running.stop.set()


async def _reload_when_told(signals: AsyncIterator[int], running: RunningGateway, reloader: Reloader) -> None:
    async for _ in signals:
        if running.stop.is_set():
            reloader.refuse(["the gateway is draining; what it starts with next is read then"])
        else:
            await reloader.reload()


def keep_heap_small() -> None:
    """Let all threads use one heap, and nothing large; called before there are any.

    glibc gives threads heaps of their own, and what is free in one is no use to another. And once something large was
    freed, whatever is smaller than that comes from the heap too, and leaves holes in it. A gateway so grows by some MiB
    in a quarter of an hour, of which nothing is in use. Other C libraries have no such call.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def spare_collector() -> None:
    """Keep the garbage collector from walking again and again what lives as long as the process.

    Requests leave few cycles behind, so it may also wait for more of them: 5 to 10 % of a small request's cost.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 10, 10)
