"""Prices and costs: exact, rounded up once, and named by their content."""

from fractions import Fraction

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.inference.conversation import CacheMark
from ainf.inference.usage import Usage
from ainf.pricing import FREE, Price, cost, parse_price, price_from_canonical, tokens_cost, tokens_within

MINI = Price(input=150_000_000, cached_input=75_000_000, output=600_000_000, reasoning=600_000_000)
# Anthropic's shape: a read costs a tenth of the input, a write a quarter more, a long one twice as much.
WRITING = Price(
    input=1_000_000, cached_input=100_000, output=5_000_000, reasoning=5_000_000, cache_write=1_250_000,
    long_cache_write=2_000_000,
)  # fmt: skip
SHORT_ONLY = attrs.evolve(WRITING, long_cache_write=None)
LONG_ONLY = attrs.evolve(WRITING, cache_write=None)
WRITTEN = Usage(input_tokens=100, cached_input_tokens=30, cache_write_tokens=60, long_cache_write_tokens=20)


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
        (WRITING, WRITTEN, 10 + 3 + 50 + 40),
        (SHORT_ONLY, WRITTEN, 10 + 3 + 50 + 25),
        (LONG_ONLY, WRITTEN, 10 + 3 + 40 + 40),
        (MINI, WRITTEN, 70 * 150 + 30 * 75),
        (WRITING, Usage(input_tokens=1, cache_write_tokens=1), 2),
    ],
)
def test_cost(price, usage, expected):
    """Each part has its own rate, and the sum is rounded up once."""
    assert cost(price, usage) == expected


rates = st.integers(0, 10**13)
write_rates = st.none() | rates
prices = st.builds(
    Price, input=rates, cached_input=rates, output=rates, reasoning=rates, request=rates, cache_write=write_rates,
    long_cache_write=write_rates,
)  # fmt: skip
tokens = st.integers(0, 10**8)
usages = st.builds(
    lambda plain, cached, short, long, visible, reasoning: Usage(
        input_tokens=plain + cached + short + long,
        cached_input_tokens=cached,
        output_tokens=visible + reasoning,
        reasoning_tokens=reasoning,
        cache_write_tokens=short + long,
        long_cache_write_tokens=long,
    ),
    tokens, tokens, tokens, tokens, tokens, tokens,
)  # fmt: skip


@given(prices, usages)
def test_a_cost_is_the_exact_sum_rounded_up(price, usage):
    """The cost lies less than one nano-dollar above the exact sum of its parts, never below it."""
    short_rate = price.input if price.cache_write is None else price.cache_write
    long_rate = short_rate if price.long_cache_write is None else price.long_cache_write
    plain = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    exact = (
        price.request
        + Fraction(plain, 10**6) * price.input
        + Fraction(usage.cached_input_tokens, 10**6) * price.cached_input
        + Fraction(usage.cache_write_tokens - usage.long_cache_write_tokens, 10**6) * short_rate
        + Fraction(usage.long_cache_write_tokens, 10**6) * long_rate
        + Fraction(usage.output_tokens - usage.reasoning_tokens, 10**6) * price.output
        + Fraction(usage.reasoning_tokens, 10**6) * price.reasoning
    )
    assert 0 <= cost(price, usage) - exact < 1


@given(prices, usages, usages)
def test_more_tokens_never_cost_less(price, usage, more):
    """A cost is monotone: whatever tokens are added, it does not fall, nor does cutting usage up save anything."""
    whole = cost(price, usage + more)
    assert whole >= max(cost(price, usage), cost(price, more))
    assert whole + price.request <= cost(price, usage) + cost(price, more)


any_usages = st.builds(Usage, *[tokens] * 6)


@given(prices, any_usages)
def test_no_cost_is_negative(price, usage):
    """Even parts that do not fit into their wholes cost something or nothing, but give nothing back."""
    assert cost(price, usage) >= price.request


@given(prices, usages)
def test_a_cost_is_within_its_dearest_reading(price, usage):
    """What a hold reckons with, the dearest token of each kind, bounds every cost."""
    bound = tokens_cost(usage.input_tokens, price.dearest_input(usage.input_tokens, CacheMark.LONG)) + tokens_cost(
        usage.output_tokens, price.dearest_output(usage.input_tokens)
    )
    assert cost(price, usage) <= price.request + bound


@given(prices)
def test_the_dearest_input_is_a_rate_that_is_set(price):
    """It is the greatest of the rates of input that the price has."""
    rates_set = [price.input, price.cached_input, price.cache_write, price.long_cache_write]
    assert price.dearest_input(1, CacheMark.LONG) == max(rate for rate in rates_set if rate is not None)


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
    assert WRITING.version == "1418177febe46763"


def test_a_rate_that_is_not_set_is_not_written():
    """What is stored names the rates that are set, and nought is one."""
    assert MINI.canonical() == (
        b'{"cached_input":75000000,"input":150000000,"output":600000000,"reasoning":600000000,"request":0}'
    )
    free_writes = attrs.evolve(MINI, cache_write=0)
    assert b'"cache_write":0' in free_writes.canonical()
    assert free_writes != MINI


def test_parse_price():
    """Decimal strings of dollars are exact; what is left out follows the tokens it is a part of."""
    assert parse_price({"input": "0.15", "cached_input": "0.075", "output": "0.60"}) == MINI
    assert parse_price({"input": "1", "output": "2", "request": "0.5"}) == Price(
        10**9, 10**9, 2 * 10**9, 2 * 10**9, 500_000_000
    )
    writing = parse_price({"input": "1", "output": "2", "cache_write": "1.25", "long_cache_write": "2"})
    assert (writing.cache_write, writing.long_cache_write) == (1_250_000_000, 2 * 10**9)
    assert parse_price({"input": "1", "output": "2", "long_cache_write": "0"}).long_cache_write == 0


def test_writes_to_a_cache_are_not_covered_by_default():
    """A price that does not name them has no rate for them, neither the input's nor nought."""
    price = parse_price({"input": "1", "output": "2"})
    assert (price.cache_write, price.long_cache_write) == (None, None)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"output": "1"}, "no 'input'"),
        ({"input": "1"}, "no 'output'"),
        ({"input": "1", "output": "1", "Output": "2"}, "'Output'"),
        ({"input": "free", "output": "1"}, "price.input"),
        ({"input": "1", "output": "-1"}, "price.output"),
        ({"input": "1", "output": "0.0000000001"}, "finer than a nano-dollar"),
        ({"input": "1", "output": "1", "cache_write": "cheap"}, "price.cache_write"),
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


@pytest.mark.parametrize("rate", [-1, 1.5, "1"])
@pytest.mark.parametrize("name", ["cache_write", "long_cache_write"])
def test_a_rate_for_writes_is_a_whole_number_or_none(name, rate):
    """The same holds of the rates that need not be set."""
    with pytest.raises((TypeError, ValueError)):
        attrs.evolve(MINI, **{name: rate})
