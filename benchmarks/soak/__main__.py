"""``python -m benchmarks.soak``: mixed load and faults for a long time; exit status 1 where something is not flat."""

import argparse
import datetime as dt
import os
import platform
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import apsw
import trio

from ainf.app import wall_clock
from benchmarks.processes import ProcessError, ainf
from benchmarks.soak.load import Load
from benchmarks.soak.place import Place, running_place
from benchmarks.soak.reconciled import Reconciliation, read_bills, read_charges, reconcile
from benchmarks.soak.report import HEAD, Run, page, row, told
from benchmarks.soak.samples import Sample, Verdict, flat_names, judge, keep_sampling, sample, wait_idle
from benchmarks.soak.trouble import Trouble

PAGE: Final = Path(__file__).parents[2] / "docs" / "soak.md"
_WARM_S: Final = 3.0
_SAMPLES_EVERY_S: Final = 10.0
_LEAST_SAMPLES: Final = 6
_QUIET_WITHIN_S: Final = 60.0
_LOOK_S, _STILL_LOOKS = 0.25, 8
"""An idle gateway has settled down when it looks the same for longer than it keeps idle connections."""
_ENDINGS: Final = "SELECT ending, count(*) FROM settlements GROUP BY ending"


async def soak(place: Place, arguments: argparse.Namespace) -> Run:
    """Run it all, and return what it showed."""
    chance = random.Random(arguments.seed)
    lasts_s = arguments.minutes * 60
    warm = Load(place, chance, arguments.rate)
    await warm.run(min(_WARM_S, lasts_s / 2))
    idle = await wait_idle(place, None, (), _QUIET_WITHIN_S)
    idle = await _settled_down(place, idle)
    load, trouble = Load(place, chance, arguments.rate), Trouble(place, chance, max(1.0, 60 / lasts_s))
    samples: list[Sample] = []
    async with trio.open_nursery() as nursery:
        every_s = min(_SAMPLES_EVERY_S, lasts_s / _LEAST_SAMPLES)
        nursery.start_soon(keep_sampling, place, every_s, samples, _tell(samples))
        nursery.start_soon(trouble.run)
        await load.run(lasts_s)
        nursery.cancel_scope.cancel()
    end = await wait_idle(place, idle, flat_names(lasts_s), _QUIET_WITHIN_S)
    books = await _reconciled(place)
    verdicts = [
        *judge(idle, samples, end, lasts_s),
        *_lawful(place, [*warm.broken, *load.broken], trouble.failures, books),
    ]
    return Run(
        command=f"python -m benchmarks.soak --minutes {arguments.minutes:g} --rate {arguments.rate:g}",
        machine=f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
        date=dt.datetime.fromtimestamp(wall_clock() // 10**6, dt.UTC).date().isoformat(),
        rate=arguments.rate,
        idle=idle,
        samples=samples,
        end=end,
        deeds=load.counts,
        troubles=trouble.counts,
        endings=_endings(place),
        books=books,
        verdicts=verdicts,
    )


def _tell(samples: Sequence[Sample]):
    print(HEAD, flush=True)

    def tell(one: Sample) -> None:
        print(row(one, samples[-2] if len(samples) > 1 else None), flush=True)

    return tell


async def _settled_down(place: Place, first: Sample) -> Sample:
    """Wait until idle connections are closed: descriptors and tasks no longer fall."""
    still = 0
    while still < _STILL_LOOKS:
        await trio.sleep(_LOOK_S)
        now = await sample(place, 0.0)
        still = still + 1 if (now.descriptors, now.tasks) >= (first.descriptors, first.tasks) else 0
        first = now
    return first


async def _reconciled(place: Place) -> Reconciliation:
    with trio.move_on_after(_QUIET_WITHIN_S):
        while any(entry["ended_at"] is None for entry in await place.provider_entries()):  # noqa: ASYNC110 - other processes
            await trio.sleep(1)
    charges, posted = read_charges(place.database)
    return reconcile(charges, read_bills(await place.provider_entries()), posted)


def _lawful(place: Place, broken: Sequence[str], failures: Sequence[str], books: Reconciliation) -> list[Verdict]:
    log = (place.folder / "gateway.log").read_text()
    defects = [line for line in log.splitlines() if '"defect"' in line or "Traceback" in line]
    for line in [*broken[:10], *failures[:10], *defects[:10]]:
        print(f"Wrong: {line}")
    try:
        verified, is_sound = ainf(place.folder, "ledger", "verify"), True
    except ProcessError as error:
        verified, is_sound = str(error), False
    return [
        Verdict("answers without an end", f"{len(broken)}", not broken),
        Verdict("commands that failed", f"{len(failures)}", not failures),
        Verdict("defects in the log", f"{len(defects)}", not defects),
        Verdict("`ainf ledger verify`", verified, is_sound),
        Verdict("unexplained nano-dollars", f"{books.unexplained_nusd:,}", not books.unexplained),
    ]


def _endings(place: Place) -> Counter[str]:
    with apsw.Connection(str(place.database), flags=apsw.SQLITE_OPEN_READONLY) as books:
        return Counter(dict(books.execute(_ENDINGS)))


def main() -> None:
    """Run a soak and print what it showed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long clients come")
    parser.add_argument("--rate", type=float, default=20.0, help="clients a second")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn; when the kernel runs whom is not")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(PAGE.parents[1])}")
    arguments = parser.parse_args()
    with running_place() as place:
        run = trio.run(soak, place, arguments)
    print(f"\n{told(run)}")
    if arguments.write:
        PAGE.write_text(page(run))
    sys.exit(0 if run.is_good else 1)


if __name__ == "__main__":
    main()
