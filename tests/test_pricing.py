"""Prices and costs: exact, rounded up once, and named by their content."""

from fractions import Fraction

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.inference.conversation import CacheMark
from ainf.inference.usage import Usage
from ainf.pricing import (
    FREE,
    Price,
    PriceSchedule,
    Tier,
    always,
    cost,
    parse_price,
    price_from_canonical,
    tokens_cost,
    tokens_within,
)

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


# A long prompt costs twice as much, a very long one three times, of the output only the reasoning.
TIERED = parse_price({
    "input": "1", "cached_input": "0.1", "output": "4", "cache_write": "1.25", "audio_input": "8", "audio_output": "16",
    "tiers": [
        {"above": 100, "input": "2", "cached_input": "0.2", "output": "8"},
        {"above": 200, "input": "3", "reasoning": "12"},
    ],
})  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(input_tokens=100), 100 * 1_000),
        (Usage(input_tokens=101), 101 * 2_000),
        (Usage(input_tokens=200), 200 * 2_000),
        (Usage(input_tokens=201), 201 * 3_000),
        (Usage(input_tokens=101, cached_input_tokens=100), 1 * 2_000 + 100 * 200),
        (Usage(input_tokens=101, cache_write_tokens=100), 1 * 2_000 + 100 * 1_250),
        (Usage(input_tokens=100, output_tokens=10, reasoning_tokens=4), 100_000 + 6 * 4_000 + 4 * 4_000),
        (Usage(input_tokens=101, output_tokens=10, reasoning_tokens=4), 202_000 + 6 * 8_000 + 4 * 8_000),
        (Usage(input_tokens=201, output_tokens=10, reasoning_tokens=4), 603_000 + 6 * 8_000 + 4 * 12_000),
        (Usage(input_tokens=100, audio_input_tokens=60, cached_input_tokens=30), 10 * 1_000 + 60 * 8_000 + 30 * 100),
        (Usage(output_tokens=10, reasoning_tokens=2, audio_output_tokens=3), 5 * 4_000 + 2 * 4_000 + 3 * 16_000),
    ],
)
def test_tiers_and_sound(usage, expected):
    """All tokens of a request cost the tier that its whole input is above; what a tier does not name goes on."""
    assert cost(TIERED, usage) == expected


def test_sound_without_a_rate():
    """It costs what plain input and output do."""
    usage = Usage(input_tokens=10, audio_input_tokens=6, output_tokens=5, audio_output_tokens=2)
    assert cost(MINI, usage) == cost(MINI, Usage(input_tokens=10, output_tokens=5))


@pytest.mark.parametrize(
    ("bound", "cache_write", "has_audio", "most"),
    [
        (100, None, False, 1), (101, None, False, 2), (200, None, False, 2), (201, None, False, 3),
        (100, CacheMark.SHORT, False, 1.25), (201, CacheMark.LONG, False, 3), (100, None, True, 8),
        (201, None, True, 8),
    ],
)  # fmt: skip
def test_what_a_hold_reckons_with(bound, cache_write, has_audio, most):
    """The dearest rate of every tier that an input of so many tokens can reach, and no other."""
    assert TIERED.dearest_input(bound, cache_write, has_audio=has_audio) == most * 10**9
    assert TIERED.dearest_output(bound) == 16 * 10**9


def test_a_cheaper_tier_does_not_lower_what_is_held():
    """The input may stay below it."""
    price = parse_price({"input": "3", "output": "9", "tiers": [{"above": 10, "input": "1", "output": "1"}]})
    assert (price.dearest_input(11), price.dearest_output(11)) == (3 * 10**9, 9 * 10**9)


rates = st.integers(0, 10**13)
write_rates = st.none() | rates
prices = st.builds(
    Price, input=rates, cached_input=rates, output=rates, reasoning=rates, request=rates, cache_write=write_rates,
    long_cache_write=write_rates,
)  # fmt: skip
tokens = st.integers(0, 10**8)


@st.composite
def any_prices(draw):
    """Prices with every part that a price may have."""
    kinds = dict.fromkeys(("input", "cached_input", "output", "reasoning"), rates)
    optional = ("cache_write", "long_cache_write", "audio_input", "audio_output")
    kinds |= dict.fromkeys(draw(st.sets(st.sampled_from(optional))), rates)
    aboves = sorted(draw(st.sets(st.integers(1, 10**6), max_size=3)))
    tiers = tuple(draw(st.builds(Tier, above=st.just(above), **kinds)) for above in aboves)
    return draw(st.builds(Price, **kinds, request=rates, tiers=st.just(tiers)))


@st.composite
def any_consistent_usages(draw):
    """Usage of every kind of token, with inputs around the tiers' borders."""
    some = st.integers(0, 4 * 10**5)
    plain, cached, short, long, heard, visible, thought, spoken = (draw(some) for _ in range(8))
    return Usage(
        input_tokens=plain + cached + short + long + heard,
        cached_input_tokens=cached,
        output_tokens=visible + thought + spoken,
        reasoning_tokens=thought,
        cache_write_tokens=short + long,
        long_cache_write_tokens=long,
        audio_input_tokens=heard,
        audio_output_tokens=spoken,
    )


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


@given(any_prices(), any_consistent_usages(), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_hold_pays_for_every_tier_and_part(price, usage, more_input, more_sound):
    """Usage within the bounds of an admission costs at most what is held: input at its dearest, and one output rate.

    Plain input is bounded apart from what may be sound, as an admission does that.
    """
    heard, read = usage.audio_input_tokens + more_sound, usage.input_tokens - usage.audio_input_tokens + more_input
    bound = heard + read
    base = price.request + tokens_cost(read, price.dearest_input(bound, CacheMark.LONG))
    base += tokens_cost(heard, price.dearest_input(bound, CacheMark.LONG, has_audio=True))
    assert cost(price, usage) <= base + tokens_cost(usage.output_tokens, price.dearest_output(bound))


@given(any_prices(), any_consistent_usages())
def test_a_request_costs_one_tier(price, usage):
    """The cost is that of a price without tiers that has the rates of the tier reached."""
    (reached,) = [tier for tier in price.tiers if tier.above < usage.input_tokens][-1:] or [price]
    flat = Price(**reached.named(), request=price.request)
    assert cost(price, usage) == cost(flat, usage)


@given(any_prices())
def test_a_stored_price_is_the_same_price(price):
    """What is stored under a version gives back that version's price."""
    again = price_from_canonical(price.canonical())
    assert again == price
    assert again.version == price.version


@given(any_prices(), any_prices())
def test_a_version_names_a_content(one, other):
    """Two prices share a version exactly when they are equal."""
    assert (one == other) == (one.version == other.version)


def test_a_version_does_not_change():
    """The version of a price is the same in every process and release: settlements are recomputed by it."""
    assert MINI.version == "0c546e658a3a6da9"
    assert WRITING.version == "1418177febe46763"
    assert FREE.version == "3d93d6e57478757c"
    assert TIERED.version == "164030b7f39a184f"


def test_a_rate_that_is_not_set_is_not_written():
    """What is stored names the rates that are set, and nought is one."""
    assert MINI.canonical() == (
        b'{"cached_input":75000000,"input":150000000,"output":600000000,"reasoning":600000000,"request":0}'
    )
    free_writes = attrs.evolve(MINI, cache_write=0)
    assert b'"cache_write":0' in free_writes.canonical()
    assert free_writes != MINI


def test_a_tier_is_stored_by_what_differs():
    """What a tier costs as the one below it does is not written again; the words do not matter, only what they mean."""
    assert TIERED.canonical() == (
        b'{"audio_input":8000000000,"audio_output":16000000000,"cache_write":1250000000,"cached_input":100000000,'
        b'"input":1000000000,"output":4000000000,"reasoning":4000000000,"request":0,"tiers":['
        b'{"above":100,"cached_input":200000000,"input":2000000000,"output":8000000000,"reasoning":8000000000},'
        b'{"above":200,"input":3000000000,"reasoning":12000000000}]}'
    )
    said_again = {"above": 1, "input": "1", "output": "3"}
    brief, wordy = (
        {"input": "1", "output": "2", "tiers": [tier]} for tier in ({"above": 1, "output": "3"}, said_again)
    )
    assert parse_price(brief) == parse_price(wordy)


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"input":1}', b'{"input":1.5}', b'{"tiers":1}', b'{"tiers":[[]]}', b"x",
             MINI.canonical().replace(b"}", b',"tiers":5}'), MINI.canonical().replace(b"}", b',"tiers":[{"input":1}]}'),
             MINI.canonical().replace(b"}", b',"above":5}'), MINI.canonical().replace(b"}", b',"other":5}')]
)  # fmt: skip
def test_what_is_no_stored_price(body):
    """A body that no price wrote is refused, and not taken for one."""
    with pytest.raises((ValueError, TypeError)):
        price_from_canonical(body)


@pytest.mark.parametrize("aboves", [(5, 5), (5, 4), (0,), (-1,), (1.5,)])
def test_tiers_rise(aboves):
    """Each tier begins above the one before, and above no tokens at all there is none."""
    with pytest.raises((TypeError, ValueError)):
        attrs.evolve(MINI, tiers=tuple(Tier(above=above, **MINI.named()) for above in aboves))


def test_a_schedule():
    """The price in force is the latest that has begun; a clock that was set back finds the first."""
    schedule = PriceSchedule(((10, MINI), (20, WRITING), (30, FREE)))
    assert [schedule.at(now) for now in (0, 10, 19, 20, 29, 30, 10**18)] == [
        MINI, MINI, MINI, WRITING, WRITING, FREE, FREE
    ]  # fmt: skip
    assert always(MINI).at(0) is MINI


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
        ({"input": "1", "output": "1", "tiers": [{"input": "1"}]}, r"price.tiers\[0\] has no 'above'"),
        ({"input": "1", "output": "1", "tiers": [{"above": 1, "input": "x"}]}, r"price.tiers\[0\].input"),
        ({"input": "1", "output": "1", "tiers": [{"above": 1, "request": "1"}]}, "'request'"),
        ({"input": "1", "output": "1", "tiers": [{"above": 1, "audio_input": "1"}]}, "must name 'audio_input' too"),
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
@pytest.mark.parametrize("name", ["cache_write", "long_cache_write", "audio_input", "audio_output"])
def test_a_rate_for_writes_is_a_whole_number_or_none(name, rate):
    """The same holds of the rates that need not be set."""
    with pytest.raises((TypeError, ValueError)):
        attrs.evolve(MINI, **{name: rate})
