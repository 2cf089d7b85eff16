import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.calibration import (
    ERROR_EDGES,
    KEPT,
    LEAST_INPUTS,
    LEAST_OUTPUTS,
    RATIO_EDGES,
    Calibration,
    bound_figures,
    error_figures,
    from_json,
)
from ainf.metering import MeterRatios, input_bound

CONFIGURED = MeterRatios(mean=4000, low=2000, image_tokens=1600)


def calibration(*, outputs=(), inputs=()):
    """What was learnt of (bytes, tokens) of outputs and inputs, all metered at what the configuration says."""
    made = Calibration("openai", "gpt")
    for size, tokens in outputs:
        made.note_output(size, tokens, size // 4)
    for size, tokens in inputs:
        made.note_input(size, size, tokens, estimate=size // 4, bound=size // 2)
    return made


sample = st.tuples(st.integers(1, 10_000), st.integers(1, 3_000))
samples = st.lists(sample, max_size=120)
calibrations = st.builds(lambda outputs, inputs: calibration(outputs=outputs, inputs=inputs), samples, samples)


def test_until_enough_is_known_the_configuration_holds():
    """One sample less than enough changes nothing; one more, and the ratio is what was seen."""
    few = calibration(outputs=[(300, 100)] * (LEAST_OUTPUTS - 1), inputs=[(300, 100)] * (LEAST_INPUTS - 1))
    assert few.ratios(CONFIGURED) == CONFIGURED

    enough = calibration(outputs=[(300, 100)] * LEAST_OUTPUTS, inputs=[(350, 100)] * LEAST_INPUTS)
    ratios = enough.ratios(CONFIGURED)
    assert (ratios.mean, ratios.input_mean) == (3000, 3500)
    assert 3000 < ratios.low <= 3500
    assert ratios.image_tokens == 1600


def test_output_and_input_are_learnt_apart():
    """Enough of the one says nothing of the other; where only output is known, input is still counted as configured."""
    ratios = calibration(outputs=[(300, 100)] * LEAST_OUTPUTS).ratios(CONFIGURED)

    assert ratios == attrs.evolve(CONFIGURED, mean=3000, input_mean=4000)


def test_a_mean_makes_the_sum_right():
    """It is all bytes over all tokens: long answers weigh more than short ones."""
    learnt = calibration(outputs=[(10, 10)] * 50 + [(40_000, 10_000)] * 50)

    assert learnt.ratios(CONFIGURED).mean == (10 * 50 + 40_000 * 50) * 1000 // (10 * 50 + 10_000 * 50)


def test_the_bound_follows_the_dense_hundredth():
    """One input in a hundred that is denser is not bounded; two are."""
    thin, dense = (400, 100), (150, 100)

    assert calibration(inputs=[thin] * 99 + [dense]).ratios(CONFIGURED).low < 2000
    assert calibration(inputs=[thin] * 199 + [dense]).ratios(CONFIGURED).low > 3500


@pytest.mark.parametrize(
    ("size", "low"),
    [(10, 1000), (100, 1000), (10_000, 16_000), (400, None)],
    ids=["no less than a byte", "a byte", "no more than sixteen", "the bucket's lower edge"],
)
def test_the_bound_is_bounded(size, low):
    """However strange the reported tokens, the bound's ratio stays between 1 and 16 bytes a token."""
    edge = max((edge for edge in RATIO_EDGES if edge <= size * 10), default=0)
    found = calibration(inputs=[(size, 100)] * LEAST_INPUTS).ratios(CONFIGURED).low

    assert found == (edge if low is None else low)


def test_strange_samples_make_no_ratio_of_nothing():
    """A byte for a million tokens, or the reverse, leaves ratios that can be divided by."""
    for size, tokens in ((1, 1_000_000), (10_000_000, 1)):
        learnt = calibration(outputs=[(size, tokens)] * LEAST_OUTPUTS, inputs=[(size, tokens)] * LEAST_INPUTS)
        ratios = learnt.ratios(CONFIGURED)
        assert RATIO_EDGES[0] <= ratios.mean <= RATIO_EDGES[-1]
        assert RATIO_EDGES[0] <= ratios.input_mean <= RATIO_EDGES[-1]


@given(st.lists(sample, min_size=LEAST_INPUTS, max_size=400))
def test_hardly_any_input_is_above_its_bound(inputs):
    """Of the inputs that were learnt of, at most one in a hundred has more tokens than its bound (unless by having
    fewer bytes than tokens)."""
    ratios = calibration(inputs=inputs).ratios(CONFIGURED)
    above = [1 for size, tokens in inputs if size >= tokens > input_bound(size, 0, ratios)]

    assert len(above) * 100 <= len(inputs)
    assert ratios.low <= max(1000, ratios.input_mean)


def test_old_samples_fade():
    """What was true of thousands of answers gives way to what has been true since."""
    learnt = calibration(outputs=[(400, 100)] * 10_000)
    assert learnt.output.samples <= KEPT

    for _ in range(20_000):
        learnt.note_output(200, 100, 50)
    assert learnt.output.samples <= KEPT
    assert 2000 <= learnt.ratios(CONFIGURED).mean < 2010


@given(calibrations, calibrations)
def test_merging_is_learning_of_both(one, other):
    """Of either order the same, and as if one had learnt all."""
    both = one.merged(other)

    assert both == other.merged(one)
    assert both.output.samples == one.output.samples + other.output.samples
    assert both.input.numerator == one.input.numerator + other.input.numerator
    assert both.merged(Calibration("openai", "gpt")) == both


def test_merging_fades_too():
    """However many meet, no more are kept."""
    full = calibration(outputs=[(400, 100)] * KEPT)

    assert full.output.samples == KEPT
    assert full.merged(full).output.samples == KEPT
    assert full.merged(full).merged(full).output.samples <= KEPT


@given(calibrations)
def test_json_tells_everything(learnt):
    """What is kept is read as it was, is canonical, and has a bounded size."""
    text = learnt.to_json()

    assert from_json(text) == learnt
    assert from_json(text).to_json() == text
    assert len(text) < 8_000


def test_the_fullest_json_is_small():
    """Every count at its highest."""
    learnt = calibration()
    for tally in (learnt.output, learnt.input, learnt.bound, learnt.output_error, learnt.input_error, learnt.shortfall):
        tally.counts = [KEPT] * len(tally.counts)
        tally.numerator = tally.denominator = tally.samples = 2**63

    assert len(learnt.to_json()) < 4_000


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"provider": "p"}', '{"provider": "p", "upstream_model": "m", "output": {"counts": [1, 2]}}'],
)
def test_what_is_no_calibration_is_refused(text):
    """Damaged, or of another version's buckets."""
    with pytest.raises(ValueError):  # noqa: PT011 - the kind is the contract
        from_json(text)


def test_counts_that_are_not_the_samples_are_refused():
    """A body whose sum is wrong was not written by us."""
    learnt = calibration(outputs=[(400, 100)])

    with pytest.raises(ValueError, match="other buckets"):
        from_json(learnt.to_json().replace('"samples":1', '"samples":2', 1))


def test_errors_are_told_in_thousandths_of_the_truth():
    """Median, tails and bias: what was metered at 4 bytes a token of text that has 5 and of text that has 2."""
    learnt = calibration(outputs=[(500, 100)] * 90 + [(200, 100)] * 10)
    figures = error_figures(learnt.output_error)

    assert (figures.samples, figures.median, figures.p90, figures.p99) == (100, 300, 300, 500)
    assert figures.bias == (125 * 90 + 50 * 10) * 1000 // 10_000 - 1000
    assert error_figures(Calibration("p", "m").output_error).bias == 0


def test_a_perfect_meter_has_no_error():
    """And the first bucket holds nothing else."""
    learnt = calibration(outputs=[(400, 100)] * 100)

    assert error_figures(learnt.output_error) == error_figures(learnt.output_error).__class__(100, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("tokens", "below", "worst"),
    [(100, 0, 0), (200, 0, 0), (201, 1, 5), (210, 1, 50), (400, 1, 1000), (9_000, 1, 10_000)],
)
def test_inputs_above_their_bound_are_counted(tokens, below, worst):
    """A bound of 200 tokens is below whatever has more, and the worst is told."""
    learnt = Calibration("p", "m")
    learnt.note_input(400, 400, tokens, estimate=100, bound=200)
    learnt.note_input(400, 400, 100, estimate=100, bound=200)

    figures = bound_figures(learnt.shortfall)
    assert (figures.samples, figures.below, figures.worst) == (2, below, worst)


def test_edges_rise():
    """Each bucket has room."""
    for edges in (RATIO_EDGES, ERROR_EDGES):
        assert all(one < other for one, other in itertools.pairwise(edges))


def test_it_is_of_one_model_at_one_provider():
    """Another model under the same name is another."""
    learnt = calibration()

    assert learnt.is_of("openai", "gpt")
    assert not learnt.is_of("azure", "gpt")
    assert not learnt.is_of("openai", "gpt-2")


def test_a_bound_that_is_hardly_too_low_is_too_low():
    """A token in ten thousand counts, and is told as the least that can be told."""
    learnt = Calibration("p", "m")
    learnt.note_input(400, 400, 10_001, estimate=100, bound=10_000)

    figures = bound_figures(learnt.shortfall)
    assert (figures.below, figures.worst) == (1, 1)
