"""Hints: read exactly or refused by name, and described by a schema that says the same."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ainf.formats.json import load_json
from ainf.inference.errors import DownstreamError
from ainf.routing.hint import HINT_SCHEMA, NO_HINT, TIERS, Hint, parse_hint

SCHEMA = Draft202012Validator(HINT_SCHEMA)
Draft202012Validator.check_schema(HINT_SCHEMA)


def said(text):
    """The value that a body with this hint is decoded to."""
    return load_json(b'{"routing_hint":' + text.encode() + b"}")["routing_hint"]


VALID = [
    ("null", NO_HINT),
    ("{}", NO_HINT),
    ('{"min_quality": null, "max_cost": null, "task_type": null, "routing_preference": null}', NO_HINT),
    ('{"min_quality": 0}', Hint(min_quality=0)),
    ('{"min_quality": 0.0}', Hint(min_quality=0)),
    ('{"min_quality": -0.0}', Hint(min_quality=0)),
    ('{"min_quality": 1}', Hint(min_quality=1000)),
    ('{"min_quality": 1.0}', Hint(min_quality=1000)),
    ('{"min_quality": 0.5}', Hint(min_quality=500)),
    ('{"min_quality": 0.29}', Hint(min_quality=290)),
    ('{"min_quality": 0.57}', Hint(min_quality=570)),
    ('{"min_quality": 7e-1}', Hint(min_quality=700)),
    ('{"min_quality": 0.8500}', Hint(min_quality=850)),
    ('{"min_quality": 0.8501}', Hint(min_quality=851)),
    ('{"min_quality": 0.8499}', Hint(min_quality=850)),
    ('{"min_quality": 1e-300}', Hint(min_quality=1)),
    ('{"min_quality": 0.9999999}', Hint(min_quality=1000)),
    ('{"min_quality": "good"}', Hint(min_quality=500)),
    ('{"min_quality": "frontier"}', Hint(min_quality=850)),
    ('{"max_cost": 0}', Hint(max_cost_nusd=0)),
    ('{"max_cost": 2}', Hint(max_cost_nusd=2_000_000_000)),
    ('{"max_cost": 0.1}', Hint(max_cost_nusd=100_000_000)),
    ('{"max_cost": 0.000000001}', Hint(max_cost_nusd=1)),
    ('{"max_cost": 1.1e-8}', Hint(max_cost_nusd=11)),
    ('{"max_cost": 0.0000000019}', Hint(max_cost_nusd=1)),
    ('{"max_cost": 0.30000000000000004}', Hint(max_cost_nusd=300_000_000)),
    ('{"max_cost": 1000000000}', Hint(max_cost_nusd=10**18)),
    ('{"max_cost": "0"}', Hint(max_cost_nusd=0)),
    ('{"max_cost": "0.075"}', Hint(max_cost_nusd=75_000_000)),
    ('{"max_cost": "000.50"}', Hint(max_cost_nusd=500_000_000)),
    ('{"max_cost": "0.0000000019"}', Hint(max_cost_nusd=1)),
    ('{"max_cost": "999999999.999999999999999999"}', Hint(max_cost_nusd=10**18 - 1)),
    ('{"max_cost": "1000000000"}', Hint(max_cost_nusd=10**18)),
    ('{"task_type": "code"}', Hint(task_type="code")),
    ('{"task_type": "a task of \u00e9"}', Hint(task_type="a task of \u00e9")),
    (json.dumps({"task_type": "x" * 64}), Hint(task_type="x" * 64)),
    ('{"routing_preference": "quality"}', Hint(preference="quality")),
    ('{"routing_preference": "Balanced"}', Hint(preference="Balanced")),
    ('{"routing_preference": "cheapest please"}', Hint(preference="cheapest please")),
    (
        '{"min_quality": 0.9, "max_cost": "0.01", "task_type": "sql", "routing_preference": "cost"}',
        Hint(min_quality=900, max_cost_nusd=10_000_000, task_type="sql", preference="cost"),
    ),
]
TYPE, VALUE, UNKNOWN = "invalid_type", "invalid_value", "unsupported_parameter"
INVALID = [
    ('"good"', TYPE, ""),
    ("[]", TYPE, ""),
    ("true", TYPE, ""),
    ("0.5", TYPE, ""),
    ('{"min_quality": true}', TYPE, ".min_quality"),
    ('{"min_quality": [0.5]}', TYPE, ".min_quality"),
    ('{"min_quality": -0.001}', VALUE, ".min_quality"),
    ('{"min_quality": 1.0001}', VALUE, ".min_quality"),
    ('{"min_quality": 85}', VALUE, ".min_quality"),
    ('{"min_quality": 1e308}', VALUE, ".min_quality"),
    ('{"min_quality": "best"}', VALUE, ".min_quality"),
    ('{"min_quality": "0.5"}', VALUE, ".min_quality"),
    ('{"min_quality": "Good"}', VALUE, ".min_quality"),
    ('{"min_quality": ""}', VALUE, ".min_quality"),
    ('{"max_cost": false}', TYPE, ".max_cost"),
    ('{"max_cost": {"usd": 1}}', TYPE, ".max_cost"),
    ('{"max_cost": -1}', VALUE, ".max_cost"),
    ('{"max_cost": -1e-12}', VALUE, ".max_cost"),
    ('{"max_cost": 1000000000.5}', VALUE, ".max_cost"),
    ('{"max_cost": "1000000000.0"}', VALUE, ".max_cost"),
    ('{"max_cost": "1000000001"}', VALUE, ".max_cost"),
    ('{"max_cost": ""}', VALUE, ".max_cost"),
    ('{"max_cost": "-1"}', VALUE, ".max_cost"),
    ('{"max_cost": "+1"}', VALUE, ".max_cost"),
    ('{"max_cost": "1e-3"}', VALUE, ".max_cost"),
    ('{"max_cost": "1_000"}', VALUE, ".max_cost"),
    ('{"max_cost": " 1"}', VALUE, ".max_cost"),
    ('{"max_cost": "$1"}', VALUE, ".max_cost"),
    ('{"max_cost": ".5"}', VALUE, ".max_cost"),
    ('{"max_cost": "5."}', VALUE, ".max_cost"),
    ('{"max_cost": "0,5"}', VALUE, ".max_cost"),
    ('{"max_cost": "\u0665"}', VALUE, ".max_cost"),
    ('{"max_cost": "NaN"}', VALUE, ".max_cost"),
    ('{"max_cost": "Infinity"}', VALUE, ".max_cost"),
    (json.dumps({"max_cost": "0." + "1" * 19}), VALUE, ".max_cost"),
    ('{"task_type": 1}', TYPE, ".task_type"),
    ('{"task_type": ["code"]}', TYPE, ".task_type"),
    ('{"task_type": ""}', VALUE, ".task_type"),
    (json.dumps({"task_type": "x" * 65}), VALUE, ".task_type"),
    ('{"task_type": "a\\nb"}', VALUE, ".task_type"),
    ('{"task_type": "a\\u0000"}', VALUE, ".task_type"),
    ('{"routing_preference": 1}', TYPE, ".routing_preference"),
    ('{"routing_preference": ""}', VALUE, ".routing_preference"),
    ('{"routing_preference": "cost\\r\\nx: y"}', VALUE, ".routing_preference"),
    (json.dumps({"routing_preference": "x" * 65}), VALUE, ".routing_preference"),
    ('{"min_qualty": 0.5}', UNKNOWN, ".min_qualty"),
    ('{"min_quality": 0.5, "zeal": 1, "haste": null}', UNKNOWN, ".haste"),
    ('{"": 1}', UNKNOWN, "."),
]


@pytest.mark.parametrize(("text", "hint"), VALID)
def test_a_hint(text, hint):
    """It is read exactly; floors are rounded up, promises of cost down, and null asks nothing."""
    value = said(text)
    assert parse_hint(value) == hint
    SCHEMA.validate(value)


@pytest.mark.parametrize(("text", "code", "at"), INVALID)
def test_no_hint(text, code, at):
    """Anything else is refused by the name of the field, by the gateway and by the schema alike."""
    value = said(text)
    with pytest.raises(DownstreamError) as refused:
        parse_hint(value)
    error = refused.value
    assert (error.code, error.status, error.param) == (code, 400, f"routing_hint{at}")
    assert error.param in error.message
    assert not SCHEMA.is_valid(value)


def test_a_refusal_says_what_to_do():
    """The message names the field and what it takes."""
    for value, message in [
        ("fast", "`routing_hint` must be an object."),
        ({"min_quality": 2}, "`routing_hint.min_quality` must be from 0 to 1."),
        ({"min_quality": "x"}, "`routing_hint.min_quality` must be a number from 0 to 1, or 'good' or 'frontier'."),
        ({"task_type": ""}, "`routing_hint.task_type` must be 1 to 64 printable characters."),
        (
            {"quality": 1},
            "`routing_hint.quality` is not supported here: known are min_quality, max_cost, task_type, "
            "routing_preference.",
        ),
    ]:
        with pytest.raises(DownstreamError) as refused:
            parse_hint(value)
        assert refused.value.message == message


def test_what_no_printer_shows():
    """Separators and format characters beyond ASCII are no printable characters either."""
    for word in ("\u2028", "a\u200bb", "\u00a0", "\ufeff", "\u202e"):
        with pytest.raises(DownstreamError):
            parse_hint({"task_type": word})


@given(st.integers(0, 1000))
def test_thousandths_are_exact(floor):
    """A floor of at most three decimals is itself, whatever its binary fraction."""
    assert parse_hint({"min_quality": floor / 1000}).min_quality == floor


@given(st.decimals(min_value=0, max_value=1, allow_nan=False, places=9))
def test_a_floor_never_sinks(number):
    """It is the least number of thousandths that is not below what was asked."""
    floor = parse_hint(said(f'{{"min_quality": {number:f}}}')).min_quality
    assert floor - 1 < number * 1000 <= floor


@given(st.decimals(min_value=0, max_value=1000, allow_nan=False, places=12))
def test_a_promise_never_grows(number):
    """It is the greatest number of nano-dollars that is not over what was asked, as a number or a string."""
    promises = {parse_hint(said(f'{{"max_cost": {text}}}')).max_cost_nusd for text in (f"{number:f}", f'"{number:f}"')}
    assert len(promises) == 1
    promise = promises.pop()
    assert promise <= number * Decimal(10**9) < promise + 1


def test_the_tiers():
    """Names stand for floors, and the schema has each of them."""
    assert TIERS == {"good": 500, "frontier": 850}
    assert all(SCHEMA.is_valid({"min_quality": name}) for name in TIERS)
