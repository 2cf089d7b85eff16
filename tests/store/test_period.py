"""Moments as people write them."""

import pytest

from ainf.inference.moments import DAY_US, HOUR_US
from ainf.store.period import date_of, parse_moment

NOW = 1_793_534_400_000_000 + 1_800_000_001  # 2026-11-01T12:30:00.000001Z


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-01", 1_793_491_200_000_000),
        ("1970-01-01", 0),
        ("2026-11-01T12:00:00Z", 1_793_534_400_000_000),
        ("2026-11-01t12:00:00z", 1_793_534_400_000_000),
        ("2026-11-01 12:00Z", 1_793_534_400_000_000),
        ("2026-11-01T14:00:00+02:00", 1_793_534_400_000_000),
        ("2026-11-01T12:00:00.000001Z", 1_793_534_400_000_001),
        ("0d", 1_793_491_200_000_000),
        ("30d", 1_793_491_200_000_000 - 30 * DAY_US),
        ("1h", 1_793_534_400_000_000 - HOUR_US),
        ("99999d", 0),
    ],
)
def test_moments(text, moment):
    """A date is its midnight in UTC; a time is exact; an age goes back to the beginning of its day or hour."""
    assert parse_moment(text, NOW) == moment


@pytest.mark.parametrize(
    "text",
    ["", "0000-01-01", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "yesterday",
     "2026-13-01", "2026-02-30", "20261101", "2026-W44", "2026-11-01T12:00:00", "2026-11-01T25:00Z",
     "-1d", "1.5d", "30", "d", "\uff12d", "123456d", "2026-11-01T12:00:00 02:00", "1" * 99],
)  # fmt: skip
def test_what_is_no_moment(text):
    """What could be meant in more ways than one is refused, with what would do; of a long text only the beginning."""
    with pytest.raises(ValueError, match="is not a date such as 2026-11-01, a time such as") as refused:
        parse_moment(text, NOW)
    assert len(str(refused.value)) < 200


def test_dates():
    """A day is told as its date."""
    assert [date_of(0), date_of(parse_moment("2026-11-01", 0) // DAY_US)] == ["1970-01-01", "2026-11-01"]
