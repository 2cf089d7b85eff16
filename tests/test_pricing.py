"""Prices and costs: exact, rounded up once, and named by their content."""

from fractions import Fraction

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.inference.usage import Usage
from ainf.pricing import FREE, Price, cost, parse_price, price_from_canonical, tokens_cost, tokens_within

MINI = Price(input=150_000_000, cached_input=75_000_000, output=600_000_000, reasoning=600_000_000)


@pytest.mark.parametrize(
    ("price", "usage", "expected"),
    [
        (MINI, Usage(), 0),
        (MINI, Usage(input_tokens=1), 150),
        (MINI, Usage(input_tokens=10, cached_input_tokens=4), 1_200),
        (MINI, Usage(input_tokens=10, cached_input_tokens=4, output_tokens=5), 4_200),
        (Price(1, 0, 1, 1), Usage(input_tokens=1, output_tokens=1), 1),
        (Price(1, 0, 1, 1, request=7), Usage(), 7),
        (Price(0, 0, 1_000_000, 3_000_000), Usage(output_tokens=10, reasoning_tokens=4), 18),
        (FREE, Usage(input_tokens=10**9, output_tokens=10**9), 0),
    ],
)
def test_cost(price, usage, expected):
    """Each part has its own rate, and the sum is rounded up once."""
    assert cost(price, usage) == expected


rates = st.integers(0, 10**13)
prices = st.builds(Price, input=rates, cached_input=rates, output=rates, reasoning=rates, request=rates)


@st.composite
def usages(draw):
    tokens = st.integers(0, 10**8)
    inputs, outputs = draw(tokens), draw(tokens)
    return Usage(inputs, draw(st.integers(0, inputs)), outputs, draw(st.integers(0, outputs)))


@given(prices, usages())
def test_a_cost_is_the_exact_sum_rounded_up(price, usage):
    """The cost lies less than one nano-dollar above the exact sum, never below it."""
    exact = (
        price.request
        + Fraction(usage.input_tokens - usage.cached_input_tokens, 10**6) * price.input
        + Fraction(usage.cached_input_tokens, 10**6) * price.cached_input
        + Fraction(usage.output_tokens - usage.reasoning_tokens, 10**6) * price.output
        + Fraction(usage.reasoning_tokens, 10**6) * price.reasoning
    )
    assert 0 <= cost(price, usage) - exact < 1


@given(prices, usages())
def test_a_cost_is_within_its_dearest_reading(price, usage):
    """What a hold reckons with, the dearest token of each kind, bounds every cost."""
    dearest_input = max(price.input, price.cached_input)
    bound = tokens_cost(usage.input_tokens, dearest_input) + tokens_cost(usage.output_tokens, price.dearest_output)
    assert cost(price, usage) <= price.request + bound


@given(st.integers(0, 10**15), st.integers(1, 10**13))
def test_tokens_within_an_amount(amount, rate):
    """As many tokens as the amount pays for, and not one more."""
    tokens = tokens_within(amount, rate)
    assert tokens_cost(tokens, rate) <= amount < tokens_cost(tokens + 1, rate)


def test_nothing_is_within_a_debt():
    """A negative amount pays for no token."""
    assert tokens_within(-1, 1) == 0


@given(prices)
def test_a_stored_price_is_the_same_price(price):
    """What is stored under a version gives back that version's price."""
    again = price_from_canonical(price.canonical())
    assert again == price
    assert again.version == price.version


@given(prices, prices)
def test_a_version_names_a_content(one, other):
    """Two prices share a version exactly when they are equal."""
    assert (one == other) == (one.version == other.version)


def test_a_version_does_not_change():
    """The version of a price is the same in every process and release: settlements are recomputed by it."""
    assert MINI.version == "0c546e658a3a6da9"


def test_parse_price():
    """Decimal strings of dollars are exact; what is left out follows the tokens it is a part of."""
    assert parse_price({"input": "0.15", "cached_input": "0.075", "output": "0.60"}) == MINI
    assert parse_price({"input": "1", "output": "2", "request": "0.5"}) == Price(
        10**9, 10**9, 2 * 10**9, 2 * 10**9, 500_000_000
    )


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"output": "1"}, "no 'input'"),
        ({"input": "1"}, "no 'output'"),
        ({"input": "1", "output": "1", "Output": "2"}, "'Output'"),
        ({"input": "free", "output": "1"}, "price.input"),
        ({"input": "1", "output": "-1"}, "price.output"),
        ({"input": "1", "output": "0.0000000001"}, "finer than a nano-dollar"),
    ],
)
def test_a_faulty_price_is_refused_by_name(table, says):
    """The text names the field at fault."""
    with pytest.raises(ValueError, match=says):
        parse_price(table)


@pytest.mark.parametrize("rate", [-1, 1.5, "1", None])
def test_a_rate_is_a_whole_number(rate):
    """No float and no negative amount gets into a price."""
    with pytest.raises((TypeError, ValueError)):
        attrs.evolve(MINI, input=rate)
