"""What became of a routed request, in one word for each way out: what is recorded of it, and counted."""

from enum import StrEnum
from typing import Final

from ainf.inference.outcome import Ending


class RoutingStatus(StrEnum):
    """How a routed request ended; those that begin with ``rejected_`` are of requests that were not admitted."""

    SUCCEEDED = "succeeded"
    """The model that was tried first answered."""
    FELL_BACK = "fell_back"
    """One that was tried later answered."""
    CAPPED = "capped"
    """The money of its answer was used up."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    """The client left."""
    TIMED_OUT = "timed_out"
    SHUT_DOWN = "shut_down"
    TERMINATED = "terminated"
    """The key was revoked, an operator ended it, or the store was lost."""
    ABANDONED = "abandoned"
    """The process died."""
    REJECTED_FLOOR = "rejected_floor"
    """No model clears the quality floor."""
    REJECTED_ABILITY = "rejected_ability"
    """No model can do what is asked."""
    REJECTED_COST = "rejected_cost"
    """Under the most that it may cost, no model can answer."""
    REJECTED_UNAVAILABLE = "rejected_unavailable"
    """All models that could answer rest after failures."""
    REJECTED_MONEY = "rejected_money"
    """A cap or a balance does not leave what the request needs."""


REJECTED: Final = frozenset(status for status in RoutingStatus if status.startswith("rejected_"))
"""Of requests that were not admitted: no exchange has one of these."""

_STATUSES: Final = {
    Ending.COMPLETED: RoutingStatus.SUCCEEDED,
    Ending.SPEND_CAP_EXCEEDED: RoutingStatus.CAPPED,
    Ending.CLIENT_DISCONNECTED: RoutingStatus.CANCELLED,
    Ending.UPSTREAM_ERROR: RoutingStatus.FAILED,
    Ending.DEADLINE_EXCEEDED: RoutingStatus.TIMED_OUT,
    Ending.SHUTDOWN: RoutingStatus.SHUT_DOWN,
    Ending.TERMINATED: RoutingStatus.TERMINATED,
    Ending.INTERNAL_ERROR: RoutingStatus.FAILED,
    Ending.ABANDONED: RoutingStatus.ABANDONED,
}


def status_of(ending: Ending, served: int) -> RoutingStatus:
    """Return what became of a routed exchange.

    Args:
        ending: how it ended.
        served: the number of the attempt that answered, or was tried last; from 1.
    """
    if ending is Ending.COMPLETED and served > 1:
        return RoutingStatus.FELL_BACK
    return _STATUSES[ending]
