"""The workloads themselves: small, on the real processes."""

import os

import pytest

from benchmarks.books import LedgerError
from benchmarks.workloads import WORKLOADS, Effort, _arrivals


def test_arrivals_are_the_same_for_the_same_seed_and_of_the_right_rate():
    """A thousand arrivals at 500 a second take about two seconds, in order, and the gateway's equal the provider's."""
    times = _arrivals(1000, 500.0, seed=1)
    assert times == sorted(times) == _arrivals(1000, 500.0, seed=1)
    assert times != _arrivals(1000, 500.0, seed=2)
    assert 1.8 < times[-1] < 2.2


@pytest.mark.parametrize(
    ("name", "unit"), [("A", "us/request"), ("B-messages", "us/stream"), ("B-responses", "us/stream"),
                       ("B-translated", "us/stream")],
)  # fmt: skip
def test_a_small_run_of_the_real_gateway_gives_a_cost_and_an_exact_ledger(name, unit):
    """A twentieth of a workload on an ``ainf serve``: a positive cost, memory, and the cores given back."""
    cores = os.sched_getaffinity(0)
    cost, memory = WORKLOADS[name].rows(Effort(repeats=1, share=0.05))
    assert (cost.unit, memory.unit) == (unit, "MiB")
    assert 0 < cost.median < 1e6
    assert 10 < memory.median < 1000
    assert os.sched_getaffinity(0) == cores


def test_a_figure_without_its_settlements_is_an_error(monkeypatch):
    """A run whose ledger lacks a settlement raises instead of giving a figure."""
    monkeypatch.setattr("benchmarks.books._AUDITED", "SELECT 0")
    with pytest.raises(LedgerError):
        list(WORKLOADS["A"].rows(Effort(repeats=1, share=0.01)))
