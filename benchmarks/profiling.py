"""Where the gateway's CPU goes under a workload."""

import json
import signal
import sys
import tempfile
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from benchmarks.rig import running_rig
from benchmarks.workloads import Cost

_FUNCTIONS: Final = 60
_MODULES: Final = 25
_SHARES: Final = 1e6


def profile(workload: Cost, repeats: int) -> None:
    """Run a workload ``repeats`` times and print the gateway's CPU by thread, module and function."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "profile.json")
        command = (sys.executable, "-m", "benchmarks.sampler", str(path))
        with running_rig(pinned=True, gateway_command=command) as rig, workload.load(rig) as load:
            workload.warm_up(rig, load)
            rig.gateway.signal(signal.SIGUSR1)
            runs = [workload.run(rig, load, workload.count) for _ in range(repeats)]
            rig.gateway.signal(signal.SIGUSR1)
        units = sum(workload.units(run.tally) for run in runs)
        cpu = sum(run.gateway_cpu_s for run in runs)
        print(f"{workload.name}: {cpu / units * _SHARES:,.0f} {workload.unit} under the sampler, {units:,} of them")
        _print(json.loads(path.read_text()), _SHARES / units)


def _print(found: dict[str, Any], each: float) -> None:
    """Print what the sampler wrote, ``each`` being what turns its seconds into the unit of the workload."""
    print(f"other threads (the store's writer): {found['other_s'] * each:,.1f} us each")
    print(f"main thread: {found['main_s'] * each:,.1f} us each")
    for name, cpu in sorted(found["modules"].items(), key=itemgetter(1), reverse=True)[:_MODULES]:
        print(f"  {cpu * each:9.1f} {cpu / found['main_s']:6.1%}  {name}")
    for order, title in (("own_s", "by own time"), ("total_s", "by time of it and all it calls")):
        print(f"  {'own us':>9} {'total us':>9}  {title}")
        for function in sorted(found["functions"], key=itemgetter(order), reverse=True)[:_FUNCTIONS]:
            hot = f" (line {function['hot_line']})" if function["hot_line"] else ""
            print(f"  {function['own_s'] * each:9.1f} {function['total_s'] * each:9.1f}  {function['name']}{hot}")
