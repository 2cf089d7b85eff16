"""What is asked of the gateway, and what is measured while it answers."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final

import attrs

from benchmarks.dialects import CHAT, MESSAGES, RESPONSES, Dialect
from benchmarks.generator import Load, LoadError, Tally
from benchmarks.report import Row, median, quantile
from benchmarks.rig import CHAT_PROVIDER, HELD, SHORT, Rig, running_rig

_PACED_S: Final = 200 * 0.020
_LATE: Final = 1.1
_IDLE_STREAMS: Final = 200
_IDLE_S = 5.0
"""Idle is what has been idle for a while: freed memory goes back with the progress tick."""
_IDLE_BODY_BYTES: Final = 100_000
_LOAD: Final = 0.7
_MS: Final = 1e3
_US: Final = 1e6


@attrs.frozen
class Effort:
    """How long to measure."""

    repeats: int
    share: float
    """Of the usual number of requests."""

    def count(self, usual: int) -> int:
        """Return how many requests to make where ``usual`` is usual."""
        return max(1, int(usual * self.share))


FULL: Final = Effort(repeats=3, share=1.0)
QUICK: Final = Effort(repeats=1, share=0.25)


@attrs.frozen
class Run:
    """One measured run."""

    tally: Tally
    gateway_cpu_s: float
    frames_asked: int


@attrs.frozen
class Cost:
    """A workload whose figure is CPU of the gateway for each request, stream or frame.

    ``count`` requests are one run. ``spread_s``: their starts are spread evenly over that time (None: each starts as
    soon as a connection is free). ``dialect`` is the clients', ``provider`` the name of who answers. ``are_alike``: all
    requests have the same body, so that each is found to ask the one before again.
    """

    name: str
    model: str
    stream: bool
    connections: int
    count: int
    unit: str
    target: float | None
    per_frame: bool = False
    spread_s: float | None = None
    dialect: Dialect = CHAT
    provider: str = CHAT_PROVIDER
    are_alike: bool = False

    def rows(self, effort: Effort) -> Iterator[Row]:
        """Measure on a rig of its own, on a pinned core."""
        with running_rig(pinned=True) as rig, self.load(rig) as load:
            self.warm_up(rig, load)
            # Streams that run side by side are the workload: a short run has as many, only once.
            count = self.count if self.spread_s else effort.count(self.count)
            runs = [self.run(rig, load, count) for _ in range(effort.repeats)]
            costs = [run.gateway_cpu_s / self.units(run.tally) * _US for run in runs]
            yield Row(self.name, self.unit, costs, self.target, self._note(runs))
            yield Row(f"{self.name} peak RSS", "MiB", [rig.gateway.peak_rss_kib / 1024], 90.0)

    def load(self, rig: Rig) -> AbstractContextManager[Load]:
        """Return a load of this workload's requests."""
        request = self.request(rig, self.model, stream=self.stream)
        return open_load(rig.gateway_address, request, self.connections, self.dialect, are_alike=self.are_alike)

    def request(self, rig: Rig, model: str, *, stream: bool) -> bytes:
        """Return a request of this workload's clients, for a model of its provider."""
        return rig.request(model, stream=stream, dialect=self.dialect, provider=self.provider)

    def warm_up(self, rig: Rig, load: Load) -> None:
        """Open every connection, to and behind the gateway, and leave ``load`` with the request to measure."""
        request = load.request
        if self.spread_s:
            load.request = self.request(rig, SHORT, stream=True)
        _succeeded(load.run(max(100, 4 * self.connections)))
        load.request = request

    def run(self, rig: Rig, load: Load, count: int) -> Run:
        """Make ``count`` requests and check that the ledger has each of them.

        Raises:
            LoadError: an answer was not a success.
            LedgerError: the ledger does not have exactly these.
        """
        arrivals = [self.spread_s * i / count for i in range(count)] if self.spread_s else None
        before, cpu = rig.books(), rig.gateway.cpu_s
        tally = _succeeded(load.run(count, arrivals))
        cpu = rig.gateway.cpu_s - cpu
        rig.books().check_since(before, requests=count, ending="completed")
        return Run(tally, cpu, count)

    def units(self, tally: Tally) -> int:
        """Return how many requests, streams or frames it was."""
        return tally.frames if self.per_frame else tally.answers

    def _note(self, runs: Sequence[Run]) -> str:
        rate = median([self.units(run.tally) / run.tally.wall_s for run in runs])
        busy = median([run.gateway_cpu_s / run.tally.wall_s for run in runs])
        generator = median([run.tally.cpu_s / self.units(run.tally) * _US for run in runs])
        note = f"{rate:,.0f}/s, {busy:.0%} of a core, generator {generator:.0f} us"
        whole = [seconds for run in runs for seconds in run.tally.whole_s]
        if self.spread_s:
            late = sum(seconds > _LATE * _PACED_S for seconds in whole)
            return f"{note}, {late} of {len(whole)} streams over {_LATE * _PACED_S:.1f} s, slowest {max(whole):.2f} s"
        return f"{note}, answer p50 {quantile(whole, 0.5) * _MS:.1f} ms"


@attrs.frozen
class FirstByte:
    """Time to the first byte of a short stream, less that of the provider alone; nothing is pinned."""

    name: str
    target: float

    def rows(self, effort: Effort) -> Iterator[Row]:
        """Measure one by one, at the rate that the gateway can do with 32 connections, and at 70 % of that."""
        count = effort.count(800)
        with (
            running_rig(pinned=False) as rig,
            open_load(rig.gateway_address, rig.request(SHORT, stream=True), 1) as one,
            open_load(rig.provider_address, rig.direct_request(SHORT, stream=True), 1) as direct_one,
            open_load(rig.gateway_address, rig.request(SHORT, stream=True), 256) as many,
            open_load(rig.provider_address, rig.direct_request(SHORT, stream=True), 256) as direct,
            open_load(rig.gateway_address, rig.request(SHORT, stream=True), 32) as full,
        ):
            for load in (one, direct_one, full):
                _succeeded(load.run(100))
            before = rig.books()
            idle = [(_succeeded(one.run(count)), _succeeded(direct_one.run(count))) for _ in range(effort.repeats)]
            saturated = [_succeeded(full.run(2 * count)) for _ in range(effort.repeats)]
            rate = median([tally.answers / tally.wall_s for tally in saturated])
            _succeeded(many.run(64, [0.0] * 64))
            _succeeded(direct.run(64, [0.0] * 64))
            loaded = []
            for seed in range(effort.repeats):
                arrivals = _arrivals(2 * count, rate * _LOAD, seed)
                through_us = _succeeded(many.run(2 * count, arrivals))
                loaded.append((through_us, _succeeded(direct.run(2 * count, arrivals))))
            through = sum(tally.answers for tally in saturated) + sum(pair[0].answers for pair in idle + loaded) + 64
            rig.books().check_since(before, requests=through, ending="completed")
            yield from self._added(f"{self.name} idle", idle, self.target, "one by one")
            yield from self._added(f"{self.name} at 70 %", loaded, None, f"{rate * _LOAD:,.0f} streams/s, unpinned")
            alone = [pair[1] for pair in idle]
            yield from self._added(
                f"{self.name} at 100 %",
                list(zip(saturated, alone, strict=True)),
                None,
                f"{rate:,.0f} streams/s over 32 connections, less the provider idle",
            )

    def _added(self, name: str, pairs: Sequence[tuple[Tally, Tally]], target: float | None, note: str) -> Iterator[Row]:
        for pair in pairs:
            for tally in pair:
                _succeeded(tally)
        for share, bound in ((0.50, target), (0.99, None)):
            added = [
                quantile(through.first_byte_s, share) - quantile(direct.first_byte_s, share)
                for through, direct in pairs
            ]
            yield Row(f"{name} p{share * 100:.0f}", "ms", [seconds * _MS for seconds in added], bound, note)


@attrs.frozen
class Memory:
    """Memory of a stream that began with a large body and is open and idle."""

    name: str
    target: float

    def rows(self, effort: Effort) -> Iterator[Row]:
        """Measure in a fresh process each time: memory that an earlier run left would hide what a stream needs."""
        note = f"{_IDLE_STREAMS} streams that began with {_IDLE_BODY_BYTES // 1000} KB"
        yield Row(self.name, "KiB", [self._measure() for _ in range(effort.repeats)], self.target, note)

    def _measure(self) -> float:
        with running_rig(pinned=True) as rig:
            request = rig.request(HELD, stream=True, body_bytes=_IDLE_BODY_BYTES)
            with open_load(rig.gateway_address, rig.request(SHORT, stream=True), 8) as load:
                _succeeded(load.run(200))
            self._hold(rig, request, 4)
            return self._hold(rig, request, _IDLE_STREAMS)

    def _hold(self, rig: Rig, request: bytes, count: int) -> float:
        """Return the KiB that each of ``count`` idle streams adds, and wait until all have left and are settled."""
        before, rss = rig.books(), rig.gateway.rss_kib
        with open_load(rig.gateway_address, request, count) as load, load.held_open(count):
            time.sleep(_IDLE_S)
            rss = rig.gateway.rss_kib - rss
        rig.wait_settled(before, requests=count, ending="client_disconnected")
        return rss / count


Workload = Cost | FirstByte | Memory


def _burst(name: str, dialect: Dialect, provider: str) -> Cost:
    """Return workload B between two formats, with half as many streams."""
    return Cost(name, "bench-burst", True, 32, 750, "us/stream", None, dialect=dialect, provider=provider)


def _paced(name: str, dialect: Dialect, provider: str) -> Cost:
    """Return workload C between two formats."""
    return Cost(
        name,
        "bench-paced",
        True,
        200,
        200,
        "us/frame",
        None,
        per_frame=True,
        spread_s=1.0,
        dialect=dialect,
        provider=provider,
    )


WORKLOADS: Final[dict[str, Workload]] = {
    "A": Cost("A JSON, 32 connections", "bench-json", False, 32, 2000, "us/request", 1300.0),
    "A1": Cost("A JSON, one by one", "bench-json", False, 1, 600, "us/request", None),
    "A-alike": Cost("A JSON, all alike", "bench-json", False, 32, 2000, "us/request", None, are_alike=True),
    "B": Cost("B 203 frames at once, 32 connections", "bench-burst", True, 32, 1500, "us/stream", 1800.0),
    "C": attrs.evolve(_paced("C 200 streams, a frame each 20 ms", CHAT, CHAT_PROVIDER), target=60.0),
    "B-messages": _burst("B messages", MESSAGES, "messages"),
    "C-messages": _paced("C messages", MESSAGES, "messages"),
    "B-responses": _burst("B responses", RESPONSES, "responses"),
    "B-translated": _burst("B messages from chat", MESSAGES, CHAT_PROVIDER),
    "ttfb": FirstByte("added first byte,", 2.0),
    "memory": Memory("an idle open stream", 80.0),
}


@contextmanager
def open_load(
    address: tuple[str, int], request: bytes, connections: int, dialect: Dialect = CHAT, *, are_alike: bool = False
) -> Iterator[Load]:
    load = Load(address, request, connections, dialect.end, are_alike=are_alike)
    try:
        yield load
    finally:
        load.close()


def _succeeded(tally: Tally) -> Tally:
    """Return the tally.

    Raises:
        LoadError: an answer was not a success.
    """
    if tally.failures:
        raise LoadError(f"{tally.failures} of {tally.answers} answers failed, the first with {tally.first_failure}")
    return tally


def _arrivals(count: int, rate: float, seed: int) -> list[float]:
    """Return the times of independent arrivals at ``rate`` a second, the same for the same seed."""
    chance, at, times = random.Random(seed), 0.0, []
    for _ in range(count):
        at += chance.expovariate(rate)
        times.append(at)
    return times
