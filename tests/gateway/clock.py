"""A wall clock for a gateway under test: it goes with trio's, and is set to any moment."""

from datetime import UTC, datetime, timedelta

import trio

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000


def moment(text: str) -> int:
    """Return "2027-01-31T23:59:59" (UTC) as a gateway reads it: microseconds since 1970."""
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


class SteppedClock:
    """Tells microseconds since 1970 UTC; between two settings as much passes as on trio's clock."""

    def __init__(self, text: str) -> None:
        self.set(text)

    def set(self, text: str) -> None:
        """Set it, forwards or back."""
        self._base = moment(text) - int(trio.current_time() * _SECOND)

    def __call__(self) -> int:
        return self._base + int(trio.current_time() * _SECOND)
