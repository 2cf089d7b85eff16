"""Inputs that are nearly right, changed at random, for everything that reads what strangers send."""

import pytest
from hypothesis import HealthCheck, given, seed, settings

from tests.extent import FULL, SEED
from tests.fuzz.mutate import HEAD_BYTES, inputs
from tests.fuzz.regressions import REGRESSIONS
from tests.fuzz.targets import TARGETS, Target, input_of, reproduction

INPUTS = 1_000 if FULL else 60
"""Of a target of weight 1."""
WAYS = 20 if FULL else 2
"""In which each seed is checked."""

pytestmark = pytest.mark.law


def run(target: Target, data: bytes) -> None:
    """Check one input; a failure says how to have it again."""
    try:
        target.check(data)
    except BaseException as failure:
        failure.add_note(reproduction(target.name, data))
        raise


@pytest.mark.parametrize("name", TARGETS)
def test_any_input(name, count_cases):
    """Whatever comes, what the target promises holds."""
    target, ran = TARGETS[name], 0

    @seed(SEED)
    @settings(
        max_examples=INPUTS * target.weight, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(inputs(target.seeds(), target.mutator))
    def check(data: bytes) -> None:
        nonlocal ran
        ran += 1
        run(target, data)

    check()
    count_cases("fuzz inputs", ran)


def run_in_ways(target: Target, body: bytes, ways: int) -> int:
    """Check a body with several choices of what is done with it; return how many."""
    for way in range(ways):
        run(target, way.to_bytes(HEAD_BYTES, "big") + body)
    return ways


@pytest.mark.parametrize("name", TARGETS)
def test_what_inputs_begin_with(name, count_cases):
    """The seeds themselves hold, in a few ways each."""
    count_cases("fuzz inputs", sum(run_in_ways(TARGETS[name], body, WAYS) for body in TARGETS[name].seeds()))


@pytest.mark.parametrize("found", REGRESSIONS, ids=lambda found: f"{found.target}: {found.what}")
def test_what_was_found(found, count_cases):
    """What once broke a promise does so no more, in any way that it may be taken."""
    count_cases("fuzz inputs", run_in_ways(TARGETS[found.target], found.body, 32))


def test_a_reproduction_is_what_failed():
    """The line that a failure prints holds its input."""
    data = bytes(range(256))
    assert input_of(reproduction("sse", data).rpartition(" ")[2].strip("'")) == data
