"""Moments, as records have them and as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.inference.moments import DAY_US, datetime_of, moment_of, rfc3339

LAST_US = 2_932_896 * DAY_US
"""The first moment after the year 9999."""


def test_times_are_exact():
    """A time keeps its microseconds, where a float of seconds would not."""
    assert rfc3339(1_700_000_000_123_457) == "2023-11-14T22:13:20.123457Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000000Z"


@given(st.integers(0, LAST_US - 1))
def test_a_moment_goes_to_the_calendar_and_back(at):
    """No moment of the calendar is changed by being told as a time."""
    assert moment_of(datetime_of(at)) == at


def test_what_the_calendar_does_not_have():
    """A moment after the year 9999 is refused, not wrapped."""
    with pytest.raises(OverflowError):
        datetime_of(LAST_US + DAY_US)
