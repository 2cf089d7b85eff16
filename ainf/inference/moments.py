"""Moments: whole microseconds since 1970 UTC, as records, windows and prices have them, and as people read them."""

from datetime import UTC, datetime, timedelta
from typing import Final

SECOND_US: Final = 1_000_000
HOUR_US: Final = 3_600 * SECOND_US
DAY_US: Final = 24 * HOUR_US

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def datetime_of(at: int) -> datetime:
    """Return a moment as a time in UTC.

    Raises:
        OverflowError: it is outside the calendar's years 1 to 9999.
    """
    return _EPOCH + timedelta(microseconds=at)


def moment_of(time: datetime) -> int:
    """Return the moment of a time that has a time zone, exactly."""
    return (time - _EPOCH) // _MICROSECOND


def rfc3339(at: int) -> str:
    """Return a moment as RFC 3339 text in UTC, exact to the microsecond."""
    return datetime_of(at).isoformat(timespec="microseconds").replace("+00:00", "Z")
