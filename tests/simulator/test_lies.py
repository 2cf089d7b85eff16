import pytest

from ainf.simulator.lies import teller


def test_no_lie_is_the_truth():
    """Without a lie a count is told as it is."""
    assert teller(None)(20) == 20


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        ("negative", -21),
        ("float", 20.5),
        ("string", "20"),
        ("absurd", 1_000_000_020),
        ("null", None),
        ("bool", True),
        ("list", [20]),
        ("zero", 0),
    ],
)
def test_lies(lie, told):
    """Each lie says something else of twenty."""
    assert teller(lie)(20) == told
