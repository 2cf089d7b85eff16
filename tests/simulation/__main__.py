"""Run seeds of the simulation: ``python -m tests.simulation SEED [--trace]``, or ``--seeds FIRST:BEHIND``."""

import argparse
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from tests.simulation.run import Report, run_seed
from tests.simulation.sometimes import BRANCHES

_CHUNK: Final = 20


def run_range(first: int, behind: int) -> Iterator[Report]:
    """Run a range of seeds in as many processes as there are cores, and yield what came of each."""
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        yield from pool.imap_unordered(run_seed, range(first, behind), _CHUNK)


def table(reports: Iterable[Report]) -> Iterator[str]:
    """Yield how many seeds hit each branch, and how often all of them did."""
    seeds: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for report in reports:
        seeds.update(report.met.keys())
        times.update(report.met)
    for name in BRANCHES:
        yield f"{name:<44} {seeds[name]:>7,} seeds {times[name]:>9,} times"


def _run_one(seed: int, *, is_traced: bool) -> int:
    report = run_seed(seed, print if is_traced else None)
    print(f"seed {report.seed}: {report.requests} requests, digest {report.digest}")
    print(report.fault or "\n".join(f"  {name}: {count}" for name, count in report.met.items()))
    return report.fault is not None


def _run_range(first: int, behind: int) -> int:
    reports = []
    for report in run_range(first, behind):
        reports.append(report)
        if report.fault is not None:
            print(f"seed {report.seed}: {report.fault}", flush=True)
    faults = sum(report.fault is not None for report in reports)
    print(f"{len(reports):,} seeds, {sum(report.requests for report in reports):,} requests, {faults} faults")
    print("\n".join(table(reports)))
    return faults != 0


def main() -> int:
    """Run what the command line says; 1 where the law was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int)
    parser.add_argument("--seeds", metavar="FIRST:BEHIND", help="run all of these, and count the branches they hit")
    parser.add_argument("--trace", action="store_true", help="print everything that can be observed")
    given = parser.parse_args()
    if given.seeds is not None:
        first, behind = map(int, given.seeds.split(":"))
        return _run_range(first, behind)
    if given.seed is None:
        parser.error("say a seed, or --seeds FIRST:BEHIND")
    return _run_one(given.seed, is_traced=given.trace)


if __name__ == "__main__":
    sys.exit(main())
