import pytest

from ainf.providers.cache_options import check_breakpoint, check_cache_options
from tests.providers.requests import BARE, COVERED, LONG_COVERED, refused


@pytest.mark.parametrize(
    ("fields", "price", "param"),
    [
        ({"prompt_cache_options": {"mode": "implicit"}}, BARE, "prompt_cache_options"),
        ({"prompt_cache_options": "x"}, BARE, "prompt_cache_options"),
        ({"prompt_cache_options": {"ttl": "12h"}}, COVERED, "prompt_cache_options"),
        ({"prompt_cache_options": {"ttl": 12}}, COVERED, "prompt_cache_options"),
        ({"prompt_cache_options": {"prewarm": True}}, LONG_COVERED, "prompt_cache_options.prewarm"),
        (
            {"prompt_cache_options": {"comparison_response_id": "r"}},
            COVERED,
            "prompt_cache_options.comparison_response_id",
        ),
        ({"prompt_cache_retention": "24h"}, COVERED, "prompt_cache_retention"),
    ],
)
def test_options_that_the_price_does_not_cover(fields, price, param):
    """Each write that is asked for needs a price of its own."""
    assert refused(check_cache_options, fields, price) == param


@pytest.mark.parametrize(
    ("fields", "price"),
    [
        ({}, BARE),
        ({"prompt_cache_options": {}, "prompt_cache_retention": None}, BARE),
        ({"prompt_cache_retention": "in_memory", "prompt_cache_key": "k"}, BARE),
        ({"prompt_cache_options": {"mode": "explicit", "ttl": "30m", "prewarm": False}}, COVERED),
        ({"prompt_cache_options": {"ttl": "12h"}, "prompt_cache_retention": "24h"}, LONG_COVERED),
    ],
)
def test_options_that_it_covers(fields, price):
    """What is covered, or asks for nothing, goes on."""
    check_cache_options(fields, price)


def test_breakpoints():
    """A part's mark is refused at its path, unless the price covers its time."""
    part = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    long = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}
    assert refused(check_breakpoint, part, "input[0]", BARE) == "input[0].prompt_cache_breakpoint"
    assert refused(check_breakpoint, long, "input[0]", COVERED) == "input[0].prompt_cache_breakpoint"
    check_breakpoint(part, "p", COVERED)
    check_breakpoint(long, "p", LONG_COVERED)
    check_breakpoint({"prompt_cache_breakpoint": None}, "p", BARE)
