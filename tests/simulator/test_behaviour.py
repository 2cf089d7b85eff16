import re

import pytest

from ainf.simulator import behaviour
from ainf.simulator.behaviour import OPTIONS, Fault, Point, Say, Strike, UnknownModelError, Writes, parse_model
from ainf.simulator.faults import WHOLE


def _documented():
    """The option words of the module's docstring, points spelled out."""
    names = set()
    table = re.sub(r"How the formats differ\n.*?\n(?=For benchmarks)", "", behaviour.__doc__, flags=re.DOTALL)
    for name in re.findall(r"``([^`]+)``", table):
        word = re.sub(r"-(?:N|T|WORD)$", "", name)
        points = [point.value for point in Point] if word.endswith("-POINT") else [""]
        names |= {word.replace("POINT", point) for point in points}
    return names


def test_every_option_is_documented():
    """No option is missing in the module's docstring."""
    assert set(OPTIONS) - _documented() == set()


def test_every_documented_option_exists():
    """Each word in the docstring's table parses, save the words that are no options."""
    no_options = {"sim", "+", "-", "20ms", "1.5s", "2", "location", "retry-after: 2", "reasoning_content"}
    no_options |= {point.value for point in Point} | {"eof-before-head", "content_filter"}
    said = {name for name in _documented() if not name.startswith(("sim-", "bench-"))}
    assert said - no_options - set(OPTIONS) == set()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("sim", {}),
        ("sim-tokens-500", {"tokens": 500}),
        ("sim-tokens-500+pace-20ms", {"tokens": 500, "pace_s": 0.02}),
        ("sim-delay-1.5s-drip-every-1ms", {"delay_s": 1.5, "writes": Writes.DRIP, "drip_s": 0.001}),
        ("sim-parallel-tools-burst", {"say": Say.PARALLEL_TOOLS, "writes": Writes.BURST}),
        ("sim-error-429", {"error_status": 429}),
        ("sim-error-500-html", {"error_status": 500, "error_html": True}),
        ("sim-error-429-retry-after-soon", {"error_status": 429, "retry_after": "soon"}),
        ("sim-error-after-3", {"strike": Strike(Fault.ERROR, Point.AFTER_TOKENS, 3)}),
        ("sim-reset-after-3", {"strike": Strike(Fault.RESET, Point.AFTER_TOKENS, 3)}),
        ("sim-stall-after-finish", {"strike": Strike(Fault.STALL, Point.AFTER_FINISH)}),
        ("sim-stall-mid-after-2", {"strike": Strike(Fault.STALL_MID, Point.AFTER_TOKENS, 2)}),
        ("sim-html-200", {"whole": "html-200"}),
        ("sim-cache-write-3-cache-write-1h-4", {"cache_write": 3, "long_cache_write": 4}),
        ("sim-reasoning-3+raw-reasoning+signature", {"reasoning": 3, "raw_reasoning": True, "signature": True}),
        ("sim-error-429-error-list", {"error_status": 429, "error_list": True}),
        ("sim-no-tools-no-stream", {"takes_tools": False, "streams": False}),
        ("bench-json", {"tokens": 120, "constant": True}),
    ],
)
def test_a_name_says_what_to_do(name, changes):
    """A name parses to the default with the named changes."""
    assert parse_model(name) == behaviour.Behaviour(**changes)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "gpt-4o",
        "simulator",
        "sim-",
        "sim-nonsense",
        "sim-tokens",
        "sim-tokens-x",
        "sim-pace-fast",
        "sim-tokens-٣",
        "sim-error-99",
        "bench-nothing",
        "sim-reset-after-",
        "sim-tokens-9999999999",
    ],
)
def test_an_unknown_name_is_no_model(name):
    """What the grammar does not know is refused, never guessed."""
    with pytest.raises(UnknownModelError):
        parse_model(name)


def test_whole_faults_are_the_same_list():
    """Each whole fault has its option and its bytes."""
    assert set(WHOLE) <= set(OPTIONS)
    for name in WHOLE:
        assert parse_model(f"sim-{name}").whole == name
