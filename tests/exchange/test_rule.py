"""The settlement rule, for what the worked-out table does not vary: parts of usage, inputs beyond their bound."""

import attrs
import pytest

from ainf.exchange.rule import Known, reads_on, reckon
from ainf.exchange.situations import EXAMPLE, Abort, Case, Situation
from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage


def known(ending: Ending, abort: Abort = Abort.DELIVERED, **facts: object) -> Known:
    return attrs.evolve(Case(ending, Situation.NO_USAGE, abort).known(), **facts)


@pytest.mark.parametrize("abort", [Abort.DELIVERED, Abort.HELD])
def test_a_cut_is_charged_inside_its_hold(abort):
    """An input that the provider says was larger than its bound does not take a cut answer above what was held."""
    larger = Usage(input_tokens=500, output_tokens=1)
    cut = reckon(known(Ending.SPEND_CAP_EXCEEDED, abort, reported=larger, is_output_counted=False))
    assert cut.cost_nusd == known(Ending.SPEND_CAP_EXCEEDED).held_nusd
    gone = reckon(known(Ending.CLIENT_DISCONNECTED, reported=larger, is_output_counted=False))
    assert gone.cost_nusd == (500 + 2 * EXAMPLE.arrived) * 1_000


def test_what_is_read_on_is_never_capped_away():
    """What the provider bills beyond the hold is its cost all the same: the rest will be overrun."""
    cut = reckon(known(Ending.SPEND_CAP_EXCEEDED, Abort.READ_CUT, output_tokens=1_000))
    assert cut.cost_nusd == (EXAMPLE.estimated_input + 2_000) * 1_000 > known(Ending.SPEND_CAP_EXCEEDED).held_nusd


def test_held_output_is_the_least():
    """Where more came than was held, what came is settled."""
    gone = reckon(known(Ending.CLIENT_DISCONNECTED, Abort.HELD, output_tokens=1_000))
    assert gone.usage.output_tokens == 1_000


def test_a_usage_of_the_input_says_nothing_of_the_output():
    """Its parts of the input stand, with what was cached, written to a cache, or sound; of the output we count."""
    told = Usage(
        input_tokens=9, cached_input_tokens=2, cache_write_tokens=3, long_cache_write_tokens=1, audio_input_tokens=1,
        output_tokens=5, reasoning_tokens=2, audio_output_tokens=1,
    )  # fmt: skip
    cut = reckon(known(Ending.CLIENT_DISCONNECTED, reported=told))
    assert cut.evidence is Evidence.METERED
    assert cut.usage == attrs.evolve(told, output_tokens=EXAMPLE.arrived, reasoning_tokens=0, audio_output_tokens=0)


def test_what_is_read_on():
    """Never when the process or its store is going, or after a bug."""
    assert reads_on(Ending.TERMINATED, "killed")
    assert not reads_on(Ending.TERMINATED, "store_unavailable")
    assert not reads_on(Ending.SHUTDOWN, "shutting_down")
    assert not reads_on(Ending.INTERNAL_ERROR, "internal_error")
    assert not reads_on(Ending.UPSTREAM_ERROR, "upstream_error")
