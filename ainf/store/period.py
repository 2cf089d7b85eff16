"""The time that a report is asked for, as people write it."""

import contextlib
import re
from datetime import UTC, datetime

import attrs

from ainf.inference.moments import DAY_US, HOUR_US, datetime_of, moment_of

_AGE = re.compile(r"(\d{1,5})([dh])", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


@attrs.frozen
class Period:
    """From one moment until before another, in microseconds since 1970 UTC."""

    since: int
    until: int


def parse_moment(text: str, now: int) -> int:
    """Return the moment that a text names, in microseconds since 1970 UTC.

    Args:
        text: a date (its midnight in UTC), a time as RFC 3339 has it, or an age: ``30d`` is the midnight 30 days before
            today's, ``12h`` the beginning of the hour 12 hours ago.
        now: the time that an age is reckoned from.

    Raises:
        ValueError: it names none; the text says what would.
    """
    if age := _AGE.fullmatch(text):
        unit = DAY_US if age[2] == "d" else HOUR_US
        return max(0, now // unit - int(age[1])) * unit
    midnight = "T00:00Z" if _DATE.fullmatch(text) else ""
    if midnight or _TIME.fullmatch(text):
        # There may be no such day or hour, and in UTC no such year.
        with contextlib.suppress(ValueError, OverflowError):
            return moment_of(datetime.fromisoformat(text.upper() + midnight).astimezone(UTC))
    raise ValueError(
        f"{text[:40]!r} is not a date such as 2026-11-01, a time such as 2026-11-01T12:00:00Z, or an age such as 30d or"
        " 12h"
    )


def date_of(day: int) -> str:
    """Return the date of a day, given as the number of days since 1970."""
    return datetime_of(day * DAY_US).date().isoformat()
