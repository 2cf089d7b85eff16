"""Usage: one convention."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.inference.usage import Usage

TOKENS = st.integers(0, 1 << 40)
FIELDS = [field.name for field in attrs.fields(Usage)]
USAGES = st.builds(Usage, **dict.fromkeys(FIELDS, TOKENS))


@pytest.mark.parametrize("bad", [-1, 1.5, "1", None])
@pytest.mark.parametrize("field", FIELDS)
def test_a_count_is_a_whole_number(field, bad):
    """Nothing else can stand in a usage."""
    with pytest.raises((ValueError, TypeError)):
        Usage(**{field: bad})


@given(USAGES, USAGES)
def test_two_attempts_add_up(one, other):
    """Each part is the sum of the parts, and consistent parts stay consistent."""
    both = one + other
    for name in FIELDS:
        assert getattr(both, name) == getattr(one, name) + getattr(other, name)
    assert both.is_consistent() or not (one.is_consistent() and other.is_consistent())


@pytest.mark.parametrize(
    ("usage", "is_consistent"),
    [
        (Usage(), True),
        (Usage(input_tokens=5, cached_input_tokens=5), True),
        (Usage(input_tokens=5, cached_input_tokens=6), False),
        (Usage(input_tokens=5, cache_write_tokens=5, long_cache_write_tokens=5), True),
        (Usage(input_tokens=5, cached_input_tokens=2, cache_write_tokens=3), True),
        (Usage(input_tokens=5, cached_input_tokens=3, cache_write_tokens=3), False),
        (Usage(input_tokens=5, cache_write_tokens=6), False),
        (Usage(input_tokens=5, cache_write_tokens=2, long_cache_write_tokens=3), False),
        (Usage(output_tokens=5, reasoning_tokens=5), True),
        (Usage(output_tokens=5, reasoning_tokens=6), False),
    ],
)
def test_parts_fit_into_their_wholes(usage, is_consistent):
    """What was read from a cache and what was written to one are parts of the input, reasoning is one of output."""
    assert usage.is_consistent() is is_consistent
