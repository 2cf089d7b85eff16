"""The setting ``price`` in each of its forms."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from ainf.config.prices import BUNDLED, PRICE, PRICE_ROWS
from ainf.config.values import UnfitError, UnfitPartsError
from ainf.pricing import FREE, PRICE_FIELDS, parse_price

PLAIN = {"input": "1", "output": "2"}
DEARER = {"input": "2", "output": "4"}


def faults(value):
    with pytest.raises(UnfitPartsError) as caught:
        PRICE.parse(value)
    return caught.value.parts


def test_a_table():
    """A table is one price, for ever; in a list of one it is the same."""
    assert PRICE.parse("free").entries == ((0, FREE),)
    assert PRICE.parse(PLAIN).entries == ((0, parse_price(PLAIN)),)
    assert PRICE.parse([PLAIN]) == PRICE.parse(PLAIN)
    assert PRICE.parse(PLAIN).source is None
    assert PRICE.parse({**PLAIN, "cache_write": "1.25"}).at(0).cache_write == 1_250_000_000


def test_what_is_bundled_is_found_elsewhere():
    """The word stands for it: what it is depends on the provider and the name there."""
    assert PRICE.parse("bundled") is BUNDLED
    assert BUNDLED.entries == ()


@pytest.mark.parametrize("value", ["cheap", 1, ["1"], [], True, None, [PLAIN, "free"]])
def test_what_is_no_price(value):
    """A word that is none of ours, a bare number, an empty list."""
    with pytest.raises(UnfitError, match='must be a table of USD per million tokens as strings, "free" or "bundled"'):
        PRICE.parse(value)


@pytest.mark.parametrize(
    ("begins", "moment"),
    [
        (date(2027, 1, 1), datetime(2027, 1, 1, tzinfo=UTC)),
        (datetime.fromisoformat("2027-01-01T08:30"), datetime(2027, 1, 1, 8, 30, tzinfo=UTC)),
        (datetime(2027, 1, 1, tzinfo=timezone(timedelta(hours=-8))), datetime(2027, 1, 1, 8, tzinfo=UTC)),
    ],
)
def test_when_a_price_begins(begins, moment):
    """A day begins at midnight UTC, and so is a time that names no zone; the order in the file does not matter."""
    at = int(moment.timestamp()) * 1_000_000
    schedule = PRICE.parse([{**DEARER, "from": begins}, PLAIN])
    assert schedule.entries == ((0, parse_price(PLAIN)), (at, parse_price(DEARER)))
    assert [schedule.at(now).input for now in (-1, 0, at - 1, at, at + 1)] == [10**9] * 3 + [2 * 10**9] * 2


def test_every_fault_is_told_by_its_place():
    """Names, amounts, dates and tiers: each fault at its path, in the order of the tables."""
    assert [name for name, _ in faults({"input": 1, "out": "1", "cache_write": 1, "long_cache_write": "much"})] == [
        ("input",), ("out",), ("cache_write",), ("long_cache_write",), ("output",),
    ]  # fmt: skip
    tiers = [{"above": 0, "input": "2", "request": "1"}, {"above": True}, {"inputs": "1"}]
    assert [name for name, _ in faults([PLAIN, {**PLAIN, "from": "2027-01-01", "tiers": tiers}])] == [
        ("[1]", "from"),
        ("[1]", "tiers", "[0]", "above"),
        ("[1]", "tiers", "[0]", "request"),
        ("[1]", "tiers", "[1]", "above"),
        ("[1]", "tiers", "[2]", "inputs"),
        ("[1]", "tiers", "[2]", "above"),
    ]  # fmt: skip
    for bad in ({"above": 1}, "1", [1]):
        assert faults({**PLAIN, "tiers": bad}) == [(("tiers",), "must be a list of tables")]


def test_two_prices_do_not_begin_at_once():
    """The later of two that do is named, also where neither says when."""
    again = {**DEARER, "from": date(2027, 1, 1)}
    assert [name for name, _ in faults([PLAIN, again, again, DEARER])] == [("[2]", "from"), ("[3]", "from")]
    assert [name for name, _ in faults([again, {**PLAIN, "from": datetime(2027, 1, 1, tzinfo=UTC)}])] == [
        ("[1]", "from")
    ]


@pytest.mark.parametrize(
    ("tiers", "says"),
    [
        ([{"above": 10}, {"above": 10}], "each be above more tokens"),
        ([{"above": 10}, {"above": 9}], "each be above more tokens"),
        ([{"above": 10, "cache_write": "1"}], "below its first tier must name 'cache_write' too"),
    ],
)
def test_tiers_in_no_order(tiers, says):
    """Tiers rise, and cover nothing that the price does not."""
    with pytest.raises(UnfitError, match=says):
        PRICE.parse({**PLAIN, "tiers": tiers})


def test_every_field_has_its_row():
    """README's table tells of all that a price may hold."""
    assert set(PRICE_ROWS) == {*PRICE_FIELDS, "from"}
