"""The soak itself, for some seconds: that it runs, counts, and can fail."""

import re
import subprocess
import sys
from collections import Counter

import attrs

from benchmarks.soak.reconciled import Reconciliation
from benchmarks.soak.report import Run, page, told
from benchmarks.soak.samples import Verdict
from tests.benchmarks.soak.test_samples import END, IDLE, under_load

RUN = Run(
    command="python -m benchmarks.soak", machine="a machine", date="2030-01-01", rate=20, idle=IDLE,
    samples=under_load(), end=END, deeds=Counter({"stay": 3}), troubles=Counter({"hold": 1}),
    endings=Counter({"completed": 2, "shutdown": 1}), books=Reconciliation({}, ("a line",), 5),
    verdicts=(Verdict("one", "1", holds=True), Verdict("two", "2", holds=None)),
)  # fmt: skip


def test_one_thing_that_does_not_hold_fails_the_run():
    """What is not judged is no failure; one verdict is."""
    assert RUN.is_good
    wrong = attrs.evolve(RUN, verdicts=(*RUN.verdicts, Verdict("three", "3", holds=False)))
    assert not wrong.is_good
    assert "| three | 3 | DOES NOT HOLD |" in told(wrong)


def test_the_page_has_the_figures():
    """Date, machine, command, the first and the last sample, and what is unexplained."""
    shown = page(RUN)
    assert "`python -m benchmarks.soak --write` on 2030-01-01; a machine" in shown
    assert "3 exchanges in 30.0 minutes" in shown
    assert re.search(r"^\| 0\.2 \|.*^\| 30\.0 \|", shown, re.MULTILINE | re.DOTALL)
    assert "Unexplained: a line" in shown


def test_a_short_soak(tell):
    """A gateway under mixed load for some seconds is flat, and every unit is explained."""
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.05", "--rate", "20"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-3000:]
    exchanges = int(re.search(r"^([\d,]+) exchanges in", run.stdout, re.MULTILINE)[1].replace(",", ""))
    assert exchanges >= 20
    assert "DOES NOT HOLD" not in run.stdout
    assert "| unexplained nano-dollars | 0 | holds |" in run.stdout
    tell(f"a short soak: {exchanges} exchanges, nothing unexplained")
