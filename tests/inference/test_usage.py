"""Usage: one convention."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.inference.usage import Usage

TOKENS = st.integers(0, 1 << 40)
USAGES = st.builds(
    Usage, input_tokens=TOKENS, cached_input_tokens=TOKENS, output_tokens=TOKENS, reasoning_tokens=TOKENS
)


@pytest.mark.parametrize("bad", [-1, 1.5, "1", None])
@pytest.mark.parametrize("field", ["input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens"])
def test_a_count_is_a_whole_number(field, bad):
    """Nothing else can stand in a usage."""
    with pytest.raises((ValueError, TypeError)):
        Usage(**{field: bad})


@given(USAGES, USAGES)
def test_two_attempts_add_up(one, other):
    """Each part is the sum of the parts, and consistent parts stay consistent."""
    both = one + other
    assert both == other + one
    assert both.output_tokens == one.output_tokens + other.output_tokens
    assert both.is_consistent() or not (one.is_consistent() and other.is_consistent())


@pytest.mark.parametrize(
    ("usage", "is_consistent"),
    [
        (Usage(), True),
        (Usage(input_tokens=5, cached_input_tokens=5), True),
        (Usage(input_tokens=5, cached_input_tokens=6), False),
        (Usage(output_tokens=5, reasoning_tokens=5), True),
        (Usage(output_tokens=5, reasoning_tokens=6), False),
    ],
)
def test_parts_fit_into_their_wholes(usage, is_consistent):
    """Cached is part of input, reasoning of output."""
    assert usage.is_consistent() is is_consistent
