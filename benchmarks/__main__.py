"""``python -m benchmarks``: the cost of requests, streams and frames beside their targets."""

import argparse
import time
from pathlib import Path

import benchmarks
from benchmarks.profiling import profile
from benchmarks.report import header, line, syscall_us, write_json, yardstick_ms
from benchmarks.workloads import FULL, QUICK, WORKLOADS, Cost


def main() -> None:
    """Run what is asked for; exit with status 1 at the first failed answer, stall or inexact ledger."""
    arguments = _arguments()
    effort = QUICK if arguments.quick else FULL
    if arguments.profile:
        workload = WORKLOADS[arguments.profile]
        assert isinstance(workload, Cost)
        profile(workload, effort.repeats)
        return
    began, yardsticks = time.monotonic(), [yardstick_ms()]
    rows, kernel = [], [syscall_us()]
    print(header(), flush=True)
    for name in arguments.workloads or WORKLOADS:
        for row in WORKLOADS[name].rows(effort):
            rows.append(row)
            print(line(row), flush=True)
    yardsticks.append(yardstick_ms())
    print(f"\nEvery request above is settled and audited once, and nothing is open. {time.monotonic() - began:.0f} s.")
    print(
        f"Yardsticks of the machine: {yardsticks[0]:.1f} ms of Python before, {yardsticks[1]:.1f} ms after;"
        f" {kernel[0]:.1f} us a byte through the kernel before, {syscall_us():.1f} us after."
    )
    if arguments.json:
        write_json(arguments.json, rows, yardsticks)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=benchmarks.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}; all if left out")
    parser.add_argument("--quick", action="store_true", help="one short run of each instead of three")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    costs = [name for name, workload in WORKLOADS.items() if isinstance(workload, Cost)]
    parser.add_argument(
        "--profile", choices=costs, help="show where the gateway's CPU goes under this workload instead"
    )
    arguments = parser.parse_args()
    unknown = [name for name in arguments.workloads if name not in WORKLOADS]
    if unknown:
        parser.error(f"no such workload: {', '.join(unknown)}")
    return arguments


if __name__ == "__main__":
    main()
