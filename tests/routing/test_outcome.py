"""The one word for what became of a routed request."""

import pytest

from ainf.inference.outcome import Ending
from ainf.routing.outcome import REJECTED, RoutingStatus, status_of

TABLE = [
    (Ending.COMPLETED, 1, "succeeded"),
    (Ending.COMPLETED, 2, "fell_back"),
    (Ending.COMPLETED, 7, "fell_back"),
    (Ending.SPEND_CAP_EXCEEDED, 1, "capped"),
    (Ending.SPEND_CAP_EXCEEDED, 2, "capped"),
    (Ending.CLIENT_DISCONNECTED, 1, "cancelled"),
    (Ending.CLIENT_DISCONNECTED, 2, "cancelled"),
    (Ending.UPSTREAM_ERROR, 1, "failed"),
    (Ending.UPSTREAM_ERROR, 3, "failed"),
    (Ending.DEADLINE_EXCEEDED, 1, "timed_out"),
    (Ending.SHUTDOWN, 1, "shut_down"),
    (Ending.TERMINATED, 1, "terminated"),
    (Ending.INTERNAL_ERROR, 2, "failed"),
    (Ending.ABANDONED, 2, "abandoned"),
]


@pytest.mark.parametrize(("ending", "served", "status"), TABLE)
def test_an_ending_has_its_status(ending, served, status):
    """Only of what was completed does it matter which attempt answered."""
    assert status_of(ending, served) == status


def test_every_ending_has_one():
    """No exchange ends without a status, and none with one of a request that was not admitted."""
    assert {ending for ending, _, _ in TABLE} == set(Ending)
    assert {status_of(ending, served) for ending in Ending for served in (1, 2)} == set(RoutingStatus) - REJECTED
