"""The figures beside their targets."""

import json
import os
import platform
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs


@attrs.frozen
class Row:
    """One figure, measured several times; lower is better."""

    name: str
    unit: str
    values: Sequence[float]
    target: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """The figure."""
        return median(self.values)

    @property
    def ratio(self) -> float | None:
        """How many times the target it is."""
        return self.median / self.target if self.target else None


def median(values: Sequence[float]) -> float:
    """Return the middle value; of an even number, the mean of the two in the middle."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def quantile(values: Sequence[float], share: float) -> float:
    """Return the least value that at least ``share`` of the values do not exceed (the nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * round(share * 1000) // 1000)
    return ordered[max(rank, 1) - 1]


def header() -> str:
    """Return the table's first line."""
    return f"{'':46}{'':>11}{'median':>9}{'least':>9}{'most':>9}{'target':>9}{'ratio':>7}"


def line(row: Row) -> str:
    """Return a row of the table."""
    target = f"{row.target:9,.0f}" if row.target else " " * 9
    ratio = f"{row.ratio:6.2f}x" if row.ratio is not None else " " * 7
    figures = "".join(_figure(value) for value in (row.median, min(row.values), max(row.values)))
    return f"{row.name:46}{row.unit:>11}{figures}{target}{ratio}  {row.note}".rstrip()


def _figure(value: float) -> str:
    return f"{value:9,.0f}" if abs(value) >= 100 else f"{value:9.2f}"


def yardstick_ms() -> float:
    """Return the CPU time of a fixed piece of Python (best of five): it tells a slow gateway from a slow machine."""
    return 1e3 * min(_fixed_work_s() for _ in range(5))


def _fixed_work_s() -> float:
    began = time.process_time()
    counts: dict[str, int] = {}
    for number in range(100_000):
        name = str(number % 1000)
        counts[name] = counts.get(name, 0) + 1
    return time.process_time() - began


def syscall_us() -> float:
    """Return the CPU time of one byte sent and received over a socket pair (best of five): the kernel's share."""
    one, other = socket.socketpair()
    with one, other:
        return 1e6 * min(_exchange_s(one, other) for _ in range(5))


def _exchange_s(one: socket.socket, other: socket.socket, times: int = 5_000) -> float:
    began = time.process_time()
    for _ in range(times):
        one.send(b"x")
        other.recv(1)
    return (time.process_time() - began) / times


def write_json(path: Path, rows: Iterable[Row], yardsticks_ms: Sequence[float]) -> None:
    """Write the rows, and what they were measured on, for comparison with another day's."""
    document = {
        "python": platform.python_version(),
        "machine": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "yardsticks_ms": yardsticks_ms,
        "rows": [{**attrs.asdict(row), "median": row.median, "ratio": row.ratio} for row in rows],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
