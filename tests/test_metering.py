"""Tokens that nobody reported."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.inference.usage import Usage
from ainf.metering import (
    ATTACHMENT_TOKENS,
    BELIEVED_TIMES,
    SLACK_TOKENS,
    MeterRatios,
    bytes_of,
    input_bound,
    input_estimate,
    is_believable,
    tokens_of,
)

RATIO = st.integers(1, 20_000)
SIZE = st.integers(0, 1 << 40)


@given(SIZE, RATIO)
def test_bytes_are_the_inverse_of_tokens(size, ratio):
    """``bytes_of`` gives the most bytes that are still taken for so many tokens."""
    tokens = tokens_of(size, ratio)
    assert tokens_of(bytes_of(tokens, ratio), ratio) <= tokens
    assert tokens_of(bytes_of(tokens, ratio) + 1, ratio) > tokens or bytes_of(tokens, ratio) >= size
    assert bytes_of(tokens, ratio) >= size


@given(SIZE, SIZE, RATIO)
def test_cutting_never_saves_a_token(one, other, ratio):
    """Counting in parts counts at least as much as counting the whole."""
    assert tokens_of(one, ratio) + tokens_of(other, ratio) >= tokens_of(one + other, ratio)


@given(SIZE, st.integers(0, 100))
def test_the_bound_is_not_below_the_estimate(size, images):
    """What is held for an input is at least what it is settled at."""
    ratios = MeterRatios(mean=4000, low=2000, image_tokens=1600)
    assert input_bound(size, images, ratios) >= input_estimate(size, images, ratios) >= images * 1600


def test_four_bytes_are_a_token():
    """The default ratio, rounded up."""
    assert [tokens_of(size, 4000) for size in (0, 1, 4, 5, 8)] == [0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    "bad", [{"mean": 0, "low": 1}, {"mean": 1, "low": 0}, {"mean": 1, "low": 1, "image_tokens": -1}]
)
def test_ratios_are_positive(bad):
    """A ratio of nothing cannot be."""
    with pytest.raises(ValueError, match="must be"):
        MeterRatios(**bad)


MOST_IN, MOST_OUT = BELIEVED_TIMES * (100 + SLACK_TOKENS), BELIEVED_TIMES * (50 + SLACK_TOKENS)


@pytest.mark.parametrize(
    ("usage", "is_true"),
    [
        (Usage(), True),
        (Usage(input_tokens=100, output_tokens=50), True),
        (Usage(input_tokens=MOST_IN, output_tokens=MOST_OUT), True),
        (Usage(input_tokens=MOST_IN + 1), False),
        (Usage(output_tokens=MOST_OUT + 1), False),
        (Usage(input_tokens=5, cached_input_tokens=6), False),
        (Usage(output_tokens=5, reasoning_tokens=6), False),
        (Usage(input_tokens=9, cached_input_tokens=4, cache_write_tokens=5, long_cache_write_tokens=5), True),
        (Usage(input_tokens=MOST_IN, cache_write_tokens=MOST_IN), True),
        (Usage(input_tokens=MOST_IN + 1, cache_write_tokens=MOST_IN + 1), False),
        (Usage(input_tokens=9, cached_input_tokens=5, cache_write_tokens=5), False),
        (Usage(input_tokens=9, cache_write_tokens=4, long_cache_write_tokens=5), False),
    ],
)
def test_usage_is_believed_within_ten_times_its_bounds(usage, is_true):
    """Beyond that, or in contradiction with itself, it counts as absent."""
    assert is_believable(usage, input_tokens=100, attachments=0, output_tokens=50) is is_true


@pytest.mark.parametrize(
    ("tokens", "attachments", "is_true"),
    [
        (48_169, 0, False),
        (48_169, 1, True),  # the dearest image of gpt-4o-mini
        (ATTACHMENT_TOKENS, 1, True),
        (20 * 48_169, 20, True),
        (10**9, 1, False),
    ],
)
def test_what_an_attachment_may_cost_is_believed(tokens, attachments, is_true):
    """A few bytes of URL may stand for very many tokens, but not for any number of them."""
    usage = Usage(input_tokens=tokens, output_tokens=5)
    assert is_believable(usage, input_tokens=60, attachments=attachments, output_tokens=50) is is_true
