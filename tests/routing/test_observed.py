"""What earlier answers say of a model: which of them say something, what that is worth, and how it fades."""

import math

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from ainf.inference.errors import CODES
from ainf.inference.events import FinishReason
from ainf.inference.outcome import Ending
from ainf.routing.observed import (
    KEPT_LATENCIES,
    KEPT_SIGNALS,
    LEAST_LATENCIES,
    WORTHS,
    Observed,
    PastAttempt,
    Signal,
    is_blamed,
    is_doubted,
    recall,
    signal_of,
)

DONE = PastAttempt(
    provider="openai", model="gpt", ending=Ending.COMPLETED, error_code=None, finish=FinishReason.STOP,
    first_content_us=250_999, has_content=True,
)  # fmt: skip


def past(**changes) -> PastAttempt:
    return msgspec.structs.replace(DONE, **changes)


def failed(code="upstream_error", *, ending=Ending.UPSTREAM_ERROR, **changes) -> PastAttempt:
    fields = {"ending": ending, "error_code": code, "finish": None, "first_content_us": None, "has_content": False}
    return past(**fields | changes)


@pytest.mark.parametrize(
    ("attempt", "signal"),
    [
        (DONE, Signal.SUCCEEDED),
        (past(finish=FinishReason.TOOL_CALLS), Signal.SUCCEEDED),
        (past(finish=FinishReason.OTHER), Signal.SUCCEEDED),
        (past(finish=None), Signal.SUCCEEDED),
        (past(was_asked_again=True), Signal.SUCCEEDED),
        (past(finish=FinishReason.LENGTH), Signal.TRUNCATED),
        (past(is_empty=True, has_content=False), Signal.EMPTY),
        (past(is_empty=True, has_content=False, finish=FinishReason.LENGTH), Signal.EMPTY),
        (past(finish=FinishReason.CONTENT_FILTER), None),
        (past(finish=FinishReason.CONTENT_FILTER, is_empty=True), None),
        (failed(), Signal.FAILED_BEFORE),
        (failed("upstream_overloaded"), Signal.FAILED_BEFORE),
        (failed("upstream_timeout", ending=None), Signal.FAILED_BEFORE),
        (failed("all_candidates_failed"), Signal.FAILED_BEFORE),
        (failed("upstream_truncated", has_content=True), Signal.FAILED_AFTER),
        (failed(is_empty=True), Signal.FAILED_BEFORE),
        (failed("upstream_rejected"), None),
        (failed("context_length_exceeded", ending=None), None),
        (failed("content_filter"), None),
        (failed("a_code_of_another_version"), None),
        (failed(None), None),
        (failed(None, ending=None), None),
        *((past(ending=ending), None) for ending in set(Ending) - {Ending.COMPLETED, Ending.UPSTREAM_ERROR}),
        (failed("store_unavailable", ending=Ending.TERMINATED), None),
        (failed("upstream_error", ending=Ending.CLIENT_DISCONNECTED), None),
    ],
)
def test_what_an_attempt_says(attempt, signal):
    """Only what the provider itself did, or did not do, is a signal."""
    assert signal_of(attempt) is signal


@pytest.mark.parametrize(
    ("attempt", "doubted"),
    [
        (past(was_asked_again=True), True),
        (past(was_asked_again=True, finish=FinishReason.LENGTH), True),
        (past(was_asked_again=True, ending=Ending.CLIENT_DISCONNECTED), True),
        (past(was_asked_again=True, is_empty=True), False),
        (failed(was_asked_again=True), False),
        (past(was_asked_again=True, ending=Ending.DEADLINE_EXCEEDED), False),
        (DONE, False),
    ],
)
def test_what_was_asked_again(attempt, doubted):
    """It tells against an answer that was given or not waited for; of a failure it is what must be expected."""
    assert is_doubted(attempt) is doubted


def test_who_is_blamed():
    """The provider for its own errors, not for what was asked of it, nor for ours."""
    blamed = {code for code in CODES if is_blamed(code)}
    assert blamed == {
        "upstream_unreachable", "upstream_error", "upstream_overloaded", "upstream_auth", "upstream_protocol",
        "upstream_truncated", "upstream_timeout", "all_candidates_failed",
    }  # fmt: skip


def test_worths():
    """Each signal has one, and none is worth more than a success; what says the answer is lost is worth nothing."""
    assert set(WORTHS) == set(Signal)
    assert max(WORTHS.values()) == WORTHS[Signal.SUCCEEDED] == 1000
    ordered = [Signal.SUCCEEDED, Signal.TRUNCATED, Signal.FAILED_BEFORE, Signal.FAILED_AFTER]
    assert [WORTHS[signal] for signal in ordered] == [1000, 900, 500, 0]
    assert WORTHS[Signal.EMPTY] == WORTHS[Signal.ASKED_AGAIN] == 0


def observed(*signals: Signal) -> Observed:
    known = Observed()
    for signal in signals:
        known.note(signal)
    return known


@pytest.mark.parametrize(
    ("prior", "weight", "signals", "quality"),
    [
        (850, 50, [], 850),
        (850, 0, [], 850),
        (850, 50, [Signal.SUCCEEDED] * 100, 850),
        (850, 50, [Signal.FAILED_AFTER] * 50, 425),
        (850, 50, [Signal.FAILED_BEFORE] * 50, 637),
        (850, 50, [Signal.TRUNCATED] * 50, 807),
        (850, 50, [Signal.SUCCEEDED, Signal.ASKED_AGAIN] * 25, 637),
        (850, 0, [Signal.EMPTY], 0),
        (850, 0, [Signal.SUCCEEDED, Signal.EMPTY], 425),
        (333, 1, [Signal.TRUNCATED], 316),
        (1000, 1000, [Signal.EMPTY], 999),
        (0, 50, [Signal.SUCCEEDED], 0),
    ],
)
def test_blend(prior, weight, signals, quality):
    """The prior times the mean worth, of which ``weight`` unseen successes are a part; rounded down."""
    known = observed(*signals)
    assert (known.blended(prior, weight), known.observations) == (quality, len(signals))


SIGNALS = st.lists(st.sampled_from(Signal), max_size=60)


@given(prior=st.integers(0, 1000), weight=st.integers(0, 200), signals=SIGNALS)
def test_a_blend_is_never_above_the_prior(prior, weight, signals):
    """Outcomes lower trust and never raise it; and each success brings it nearer to the prior again."""
    known = observed(*signals)
    before = known.blended(prior, weight)
    assert 0 <= before <= prior
    total = weight + len(signals)
    worth = weight + sum(WORTHS[signal] for signal in signals) / 1000
    assert before == (prior if not total else pytest.approx(prior * worth / total, abs=1))
    known.note(Signal.SUCCEEDED)
    assert before <= known.blended(prior, weight) <= prior


def test_old_signals_fade():
    """After so many newer ones a failure is forgotten, and the sums are those of what is kept."""
    known = observed(Signal.EMPTY, Signal.TRUNCATED, *[Signal.SUCCEEDED] * (KEPT_SIGNALS - 2))
    assert known.blended(1000, 0) == (KEPT_SIGNALS * 1000 - 1100) // KEPT_SIGNALS
    known.note(Signal.SUCCEEDED)
    assert (known.blended(1000, 0), known.observations) == ((KEPT_SIGNALS * 1000 - 100) // KEPT_SIGNALS, KEPT_SIGNALS)
    known.note(Signal.SUCCEEDED)
    assert known.blended(1000, 0) == 1000


def with_latencies(latencies) -> Observed:
    known = Observed()
    for latency in latencies:
        known.note_latency(latency)
    return known


def test_too_few_latencies_say_nothing():
    """Below twenty none is usual."""
    known = with_latencies(range(LEAST_LATENCIES - 1))
    assert (known.p50_ms(), known.p95_ms()) == (None, None)
    known.note_latency(100)
    assert (known.p50_ms(), known.p95_ms()) == (9, 18)


@given(st.lists(st.integers(0, 50), min_size=LEAST_LATENCIES, max_size=60), st.integers(1, 9))
def test_latencies_are_those_of_late(latencies, shifts):
    """The least that half, or 95 in a hundred, of the kept ones do not exceed."""
    latencies = [latency + 20 * (shift % 3) for shift in range(shifts) for latency in latencies]
    known = with_latencies(latencies)
    kept = sorted(latencies[-KEPT_LATENCIES:])
    for percent, found in ((50, known.p50_ms()), (95, known.p95_ms())):
        assert found == kept[math.ceil(len(kept) * percent / 100) - 1]
        assert sum(latency <= found for latency in kept) * 100 >= len(kept) * percent


def test_an_attempt_is_learnt_of():
    """Its signal and its latency count, and that it was asked again beside them."""
    known = Observed()
    for _ in range(LEAST_LATENCIES):
        known.note_past(DONE)
    assert (known.observations, known.p50_ms(), known.blended(1000, 0)) == (LEAST_LATENCIES, 250, 1000)
    known.note_past(past(ending=Ending.CLIENT_DISCONNECTED, first_content_us=None))
    assert known.observations == LEAST_LATENCIES
    known.note_past(past(was_asked_again=True, first_content_us=None))
    assert (known.observations, known.blended(1000, 0)) == (LEAST_LATENCIES + 2, 954)


def test_a_history_is_recalled_by_model_and_provider():
    """A model that another provider serves is another one; what nobody told of is not there."""
    known = recall([failed(), DONE, failed(provider="azure", model="gpt"), failed(None, model="mini")])
    found = {name: (one.observations, one.blended(1000, 0)) for name, one in known.items()}
    assert found == {("openai", "gpt"): (2, 750), ("azure", "gpt"): (1, 500), ("openai", "mini"): (0, 1000)}


def test_a_history_is_recalled_in_its_order():
    """It is told newest first, so what fades is its end."""
    known = recall([DONE] * KEPT_SIGNALS + [failed()])
    assert known["openai", "gpt"].blended(1000, 0) == 1000
    known = recall([failed()] + [DONE] * KEPT_SIGNALS)
    assert known["openai", "gpt"].blended(1000, 0) == 999
