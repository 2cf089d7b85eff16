"""Dollars in and out, exactly."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.inference.money import NANO_PER_USD, format_usd, parse_usd

AMOUNTS = st.integers(0, NANO_PER_USD * 1_000_000_000)


@given(AMOUNTS)
def test_what_is_written_reads_the_same(amount):
    """Every amount survives its text."""
    assert parse_usd(format_usd(amount)) == amount


@given(AMOUNTS)
def test_the_text_is_the_exact_decimal(amount):
    """No float, no exponent, no trailing noughts."""
    text = format_usd(amount)
    assert Decimal(text) * NANO_PER_USD == amount
    assert "E" not in text
    assert not (text.endswith("0") and "." in text)


@pytest.mark.parametrize(
    ("text", "nano"),
    [("0", 0), ("0.15", 150_000_000), ("0.075", 75_000_000), ("1e3", 1_000 * NANO_PER_USD), ("0.000000001", 1)],
)
def test_amounts(text, nano):
    """Plain decimals, to the nano-dollar."""
    assert parse_usd(text) == nano


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "-0.000000001", "0.0000000001", "NaN", "Infinity", "1e10", "1,5", "9" * 100, "0x10"]
)
def test_what_is_no_amount(text):
    """Anything else is refused, and its text cut short."""
    with pytest.raises(ValueError, match=r"US dollars|nano-dollar") as refused:
        parse_usd(text)
    assert len(str(refused.value)) < 120


def test_negative_amounts_can_be_shown():
    """Adjustments may be negative."""
    assert format_usd(-1_500_000_000) == "-1.5"
    assert format_usd(-1) == "-0.000000001"
