"""Whole gateways, seed by seed: whatever happens to them, the law holds; and every rare branch is met."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.extent import FULL, SEED
from tests.simulation.__main__ import run_range, table
from tests.simulation.run import run_seed
from tests.simulation.sometimes import BRANCHES, RARE

SEEDS = 10_000 if FULL else 1_000
FIRST = SEED * 1_000
ROOT = Path(__file__).parents[2]
_SHOWN = 5


@pytest.mark.law
def test_the_law_holds_in_every_seed(count_cases: Callable[[str, int], None], tell: Callable[[str], None]):
    """Nothing breaks it in any of them, and every branch is hit by some; one that is rare, by some of ten thousand."""
    reports = list(run_range(FIRST, FIRST + SEEDS))
    count_cases("seeds", len(reports))
    tell(f"simulation, --seeds {FIRST}:{FIRST + SEEDS}: {sum(report.requests for report in reports):,} requests")
    faults = [report for report in reports if report.fault is not None]
    assert not faults, "\n".join(f"seed {report.seed}: {report.fault}" for report in faults[:_SHOWN])
    missed = BRANCHES.keys() - {name for report in reports for name in report.met}
    assert missed <= (set() if FULL else RARE), "\n".join(table(reports))


def test_a_seed_is_the_same_bit_for_bit():
    """Run again, in this process or in another one that hashes otherwise, all that can be observed is the same."""
    seeds = range(FIRST, FIRST + 12)
    reports = [run_seed(seed) for seed in seeds]
    assert [report.fault for report in reports if report.fault is not None] == []
    digests = [report.digest for report in reports]
    assert digests == [run_seed(seed).digest for seed in seeds], seeds
    program = f"from tests.simulation.run import run_seed\nfor seed in {seeds!r}: print(run_seed(seed).digest)"
    for hash_seed in ("1", "2"):
        said = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": hash_seed}, check=True,
            capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip
        assert said.stdout.split() == digests, seeds


def test_a_broken_law_is_told_with_the_line_that_shows_it_again(monkeypatch):
    """A settlement that is not made is found, and how to see it again is said."""
    monkeypatch.setattr("ainf.store.store.close_inference", lambda tx, closing: None)
    faults = [report.fault for seed in range(10) if (report := run_seed(seed)).fault is not None]
    assert any("it saw its end, and the records know nothing of it" in fault for fault in faults)
    assert all("python -m tests.simulation" in fault for fault in faults)


def test_what_is_called_rare_is_a_branch():
    """An exception that is none any more is taken out."""
    assert not RARE - BRANCHES.keys()
