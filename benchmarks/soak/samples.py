"""What is measured of a gateway that runs, and whether it is flat."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

import attrs
import trio

from ainf.store.reader import MAX_READERS
from benchmarks.books import read_books
from benchmarks.soak.place import Place

_MINUTE_S: Final = 60.0
_BASE_MINUTE: Final = 5
_WINDOW_S: Final = 60.0
"""Memory goes up and down with what runs: it is the median of the samples of a minute."""
_MEMORY_GROWS: Final = 1.05
_MOST_DATABASE_DESCRIPTORS: Final = 2 * (1 + MAX_READERS + 1) + 4
"""Two of each connection: one that writes, those that read, one for reports; and lock, shared memory, spool, ballast.
Connections that read are made as they are needed, and kept."""
_JUDGED_S: Final = 10 * _MINUTE_S
"""A shorter run says nothing of memory."""


@attrs.frozen
class Sample:
    """The gateway at one moment."""

    at_s: float
    rss_kib: int
    anonymous_kib: int
    descriptors: int
    """But for those of the database."""
    database_descriptors: int
    threads: int
    tasks: int
    running: int
    """Exchanges."""
    open_holds: int
    database_kib: int
    wal_kib: int
    cpu_s: float
    """Used since it started."""


@attrs.frozen
class Verdict:
    """One thing that must be so."""

    name: str
    told: str
    """The figures."""
    holds: bool | None
    """None: not judged."""


async def sample(place: Place, at_s: float) -> Sample:
    """Look at the gateway from outside.

    Raises:
        OSError: it is gone.
    """
    metrics, descriptors = _metrics(await place.get("/metrics")), place.gateway.descriptors()
    of_database = sum(path.startswith(str(place.database)) for path in descriptors)
    wal = place.database.with_name(place.database.name + "-wal")
    return Sample(
        at_s=at_s,
        rss_kib=place.gateway.rss_kib,
        anonymous_kib=place.gateway.anonymous_kib,
        descriptors=len(descriptors) - of_database,
        database_descriptors=of_database,
        threads=place.gateway.threads,
        tasks=int(metrics["ainf_tasks"]),
        running=int(metrics["ainf_running"]),
        open_holds=read_books(place.database).open,
        database_kib=place.database.stat().st_size >> 10,
        wal_kib=wal.stat().st_size >> 10 if wal.exists() else 0,
        cpu_s=place.gateway.cpu_s,
    )


def _metrics(text: bytes) -> dict[str, float]:
    """Return the metrics without labels."""
    lines = (line.split() for line in text.decode().splitlines() if not line.startswith("#") and "{" not in line)
    return {name: float(value) for name, value in lines}


async def keep_sampling(place: Place, every_s: float, samples: list[Sample], tell: Callable[[Sample], None]) -> None:
    """Add a sample every so often, until cancelled."""
    began = trio.current_time()
    while True:
        await trio.sleep_until(began + (len(samples) + 1) * every_s)
        samples.append(await sample(place, trio.current_time() - began))
        tell(samples[-1])


async def wait_idle(place: Place, idle: Sample | None, names: Sequence[str], within_s: float) -> Sample:
    """Wait until nothing runs, and what is named is back to what it was; return what is there at last."""
    deadline = trio.current_time() + within_s
    while True:
        last = await sample(place, trio.current_time())
        is_back = idle is None or all(getattr(last, name) <= getattr(idle, name) for name in names)
        if (not last.running and not last.open_holds and is_back) or trio.current_time() > deadline:
            return last
        await trio.sleep(0.25)


def flat_names(lasts_s: float) -> tuple[str, ...]:
    """Return what an idle gateway must have no more of than before.

    Threads that work for the event loop are kept for ten seconds: in a short run there is no time to see them go.
    """
    return ("descriptors", "tasks", "threads") if lasts_s >= _JUDGED_S else ("descriptors", "tasks")


def memory_at(samples: Sequence[Sample], at_s: float) -> float:
    """Return the resident memory around a moment, in KiB."""
    around = [each.rss_kib for each in samples if abs(each.at_s - at_s) <= _WINDOW_S / 2]
    return median(around or [min(samples, key=lambda each: abs(each.at_s - at_s)).rss_kib])


def judge(idle: Sample, samples: Sequence[Sample], end: Sample, lasted_s: float) -> list[Verdict]:
    """Return what must be flat, from the samples of a load that lasted so long and those of the idle gateway."""
    flat = [
        Verdict(f"{name}, idle", f"{before} before, {after} after", after <= before)
        for name, before, after in ((name, getattr(idle, name), getattr(end, name)) for name in flat_names(lasted_s))
    ]
    most = _MOST_DATABASE_DESCRIPTORS
    bounded = Verdict(
        "descriptors of the database",
        f"{end.database_descriptors}, of {most} at most",
        end.database_descriptors <= most,
    )
    is_quiet = end.running == end.open_holds == 0
    quiet = Verdict("running exchanges, open holds", f"{end.running}, {end.open_holds}", is_quiet)
    return [*_judged_memory(samples, end, lasted_s), *flat, bounded, quiet]


def _judged_memory(samples: Sequence[Sample], end: Sample, lasted_s: float) -> list[Verdict]:
    if lasted_s < _JUDGED_S:
        told = (
            f"{samples[0].rss_kib / 1024:.1f} MiB first, {samples[-1].rss_kib / 1024:.1f} MiB last; too short to judge"
        )
        return [Verdict("memory", told, None)]
    base, last = memory_at(samples, _BASE_MINUTE * _MINUTE_S), memory_at(samples, lasted_s - _WINDOW_S / 2)
    return [
        Verdict(name, f"{base / 1024:.1f} MiB at minute {_BASE_MINUTE}, {then / 1024:.1f} MiB at the end"
                f" ({100 * (then / base - 1):+.1f} %)", then <= base * _MEMORY_GROWS)
        for name, then in (("memory, under load", last), ("memory, idle again", float(end.rss_kib)))
    ]  # fmt: skip
