"""What the commands share."""

import pytest

from ainf.cli.settings import CommandError, new_id, told, wall_clock


def raising(error):
    with told("it failed", OSError, KeyError):
        raise error


@pytest.mark.parametrize(
    "error",
    [OSError("no"), ExceptionGroup("g", [OSError("no")]), ExceptionGroup("g", [ExceptionGroup("h", [OSError("no")])])],
)
def test_expected_errors_are_told_in_one_line(error):
    """An expected error, however deep in groups, becomes one line."""
    with pytest.raises(CommandError) as caught:
        raising(error)
    assert caught.value.message == "it failed: no"


@pytest.mark.parametrize(
    "error",
    [ValueError("bug"), ExceptionGroup("g", [ValueError("bug")]), ExceptionGroup("g", [OSError(), ValueError()])],
)
def test_bugs_are_not_hidden(error):
    """An error that was not expected, alone or beside an expected one, goes on as it is."""
    with pytest.raises(type(error)) as caught:
        raising(error)
    assert caught.value is error


def test_ids_sort_by_time():
    """A later id is not less in its first part, and ids differ."""
    first, second = new_id("acc"), new_id("acc")
    assert first.startswith("acc_")
    assert first[:16] <= second[:16]
    assert first != second


def test_the_clock_counts_microseconds():
    """The clock is in this century when read as microseconds."""
    assert 1_600_000_000_000_000 < wall_clock() < 4_200_000_000_000_000
