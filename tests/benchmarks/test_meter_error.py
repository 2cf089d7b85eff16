import pytest

from benchmarks.meter_error import CONFIGURED, Count, bench, figures


def test_figures_by_hand():
    """Errors of each count and of the sum; bounds in times of the truth, and how low at worst."""
    found = figures([
        Count(metered_output=110, output=100, estimated_input=50, bound_input=100, input=40),
        Count(metered_output=40, output=50, estimated_input=50, bound_input=50, input=60),
    ])

    assert found.output_error == pytest.approx((0.1 + 0.2) / 2)
    assert found.output_bias == pytest.approx(0)
    assert found.input_error == pytest.approx((0.25 + 1 / 6) / 2)
    assert found.input_bias == pytest.approx(0)
    assert found.bound_times == pytest.approx(1.5)
    assert (found.too_low, found.worst) == (0.5, pytest.approx(0.2))


async def test_what_was_learnt_makes_the_meter_better():
    """Through a real gateway: of JSON, which is far from four bytes a token, the errors at least halve."""
    async with bench(["json"]) as running:
        before = await running.try_on("json", CONFIGURED, 60)
        learnt = await running.learn("json", 60)
        after = await running.try_on("json", learnt, 60)

    assert abs(before.output_bias) > 0.25
    assert after.output_error < before.output_error
    assert abs(after.output_bias) < abs(before.output_bias) / 1.5
    assert abs(after.input_bias) < abs(before.input_bias)
