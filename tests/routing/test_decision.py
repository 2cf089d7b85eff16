"""Decisions: a table of them, what the dial may not change, and what holds for any target and request."""

import json
from itertools import chain, combinations, permutations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.routing.decision import Decision, Need, decide
from ainf.routing.hint import NO_HINT, parse_hint
from ainf.routing.ruleset import Ruleset
from tests.routing.decision_table import LIVE, TABLE, Row
from tests.routing.fleet import EVERYTHING, Case, fleet, moment, price
from tests.routing.markets import eligible, hints, markets, needs, thousandths, tokens_and_cost

ROWS = list(chain.from_iterable(TABLE.values()))


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{part}: {row.what}") for part, rows in TABLE.items() for row in rows]
)
def test_the_table(row: Row):
    """Each question has its answer: the models in order, or the reason why there are none; and the floor behind it."""
    decision = row.case.decide()
    assert (decision.floor, decision.floor_from, decision.preference) == (row.at, row.by, row.took)
    if decision.ranked:
        assert " ".join(decision.ranked) == row.expected
    else:
        status, error = decision.refusal()
        assert (status or error.code) == row.expected


def test_the_table_is_long():
    """It has sixty rows and more."""
    assert len(ROWS) >= 60


LOCKED = [
    {},
    {"hint": {"task_type": "code"}},
    {"hint": {"max_cost": "0.002"}},
    {"hint": {"min_quality": 0.7}},
    {"hint": {"min_quality": "frontier", "task_type": "code", "max_cost": 0.01}},
    {"floor": 300},
    {"floor": 600},
    {"floor": 800, "need": {"has_tools": True, "stream": True}},
    {"floor": 920},
    {"floor": 1000},
    {"need": {"stored_at": "delta"}},
    {"seen": {"mini": {"rests_s": 3.0}, "large": {"allowed": False}}},
    {"rules": {"learning": True}, "seen": {"mini": {"quality": 640, "observations": 7, "latency_ms": 4}}},
]
"""Questions without a preference."""


def preferring(preference: str, live: bool, case: dict) -> Decision:
    """The decision of a case with a preference, the dial on or off."""
    hint = case.get("hint", {}) | {"routing_preference": preference}
    return Case(**case | {"hint": hint, "rules": case.get("rules", {}) | {"preference_live": live}}).decide()


def silent(live: bool, case: dict) -> Decision:
    """The decision of a case without a preference, the dial on or off."""
    return Case(**case | {"rules": case.get("rules", {}) | {"preference_live": live}}).decide()


@pytest.mark.parametrize("live", [False, True], ids=["off", "on"])
@pytest.mark.parametrize("case", LOCKED, ids=str)
def test_balanced_is_no_preference(case, live):
    """The record is the same, byte for byte, with ``balanced`` as with nothing said, whether the dial is on or off."""
    assert preferring("balanced", live, case).record() == silent(live, case).record()


@pytest.mark.parametrize("preference", ["quality", "cost"])
@pytest.mark.parametrize("case", LOCKED, ids=str)
def test_a_dial_that_is_off_moves_nothing(case, preference):
    """Then ``quality`` and ``cost`` are decided exactly as ``balanced``, and recorded so."""
    assert preferring(preference, False, case).record() == silent(False, case).record()


@pytest.mark.parametrize("preference", ["quality", "cost"])
@pytest.mark.parametrize("case", [case for case in LOCKED if "min_quality" in case.get("hint", {})], ids=str)
def test_a_dial_moves_no_floor_that_was_named(case, preference):
    """An explicit ``min_quality`` wins, and the record does not know of the dial."""
    assert preferring(preference, True, case).record() == silent(True, case).record()


@pytest.mark.parametrize("live", [False, True], ids=["off", "on"])
@pytest.mark.parametrize("case", LOCKED, ids=str)
def test_an_unknown_preference_is_recorded(case, live):
    """It is decided as ``balanced``; the record differs by its name alone."""
    record = json.loads(preferring("haste", live, case).record())
    assert record.pop("unknown_preference") == "haste"
    assert record == json.loads(silent(live, case).record())


@pytest.mark.parametrize(
    ("hint", "live", "header"),
    [
        ({}, True, None),
        ({"min_quality": 0.7}, True, None),
        ({"routing_preference": "balanced"}, False, b"balanced"),
        ({"routing_preference": "quality"}, False, b"balanced"),
        ({"routing_preference": "quality"}, True, b"quality"),
        ({"routing_preference": "cost"}, True, b"cost"),
        ({"routing_preference": "cost", "min_quality": 0.7}, True, b"balanced"),
        ({"routing_preference": "haste"}, True, b"balanced"),
    ],
)
def test_the_header_says_what_took_effect(hint, live, header):
    """Who sends a preference is told which was in effect; who sends none, nothing."""
    assert Case(hint=hint, floor=600, rules={"preference_live": live}).decide().preference_header == header


def test_the_record():
    """It names what was asked, the floor, the order, and for each candidate what it was compared by or fell at."""
    case = Case(
        hint={"routing_preference": "quality", "task_type": "code", "max_cost": "0.002"},
        need={"attachments": frozenset({"image", "file"}), "attachment_count": 1, "stream": True},
        rules=LIVE | {"learning": True},
        seen={
            "nano": {"allowed": False},
            "mid": {"quality": 840, "observations": 12, "latency_ms": 420},
            "large": {"rests_s": 1.2345},
        },
    )
    decision = case.decide()
    prices = {each.model: price.version for each, price in zip(decision.candidates, decision.prices, strict=True)}
    assert json.loads(decision.record()) == {
        "target": "ainf-inference",
        "requested": "ainf-auto",
        "ruleset": case.ruleset().hash,
        "need": {"input_bytes": 3000, "attachment_count": 1, "attachments": ["file", "image"], "stream": True},
        "hint": {"max_cost_nusd": 2_000_000, "task_type": "code"},
        "floor": 600,
        "floor_from": "dial",
        "preference": "quality",
        "ranked": ["mid"],
        "candidates": [
            {
                "model": "large", "provider": "gamma", "price": prices["large"], "input_tokens": 1750,
                "output_tokens": 500, "cost_nusd": 12_750_000, "quality": 900, "quality_from": "prior",
                "rests_ms": 1235, "fell": "cost",
            },
            {
                "model": "mid", "provider": "beta", "price": prices["mid"], "input_tokens": 1750, "output_tokens": 500,
                "cost_nusd": 1_875_000, "quality": 840, "quality_from": "blended", "observations": 12,
                "latency_ms": 420,
            },
            {
                "model": "mini", "provider": "alpha", "price": prices["mini"], "input_tokens": 1750,
                "output_tokens": 500, "cost_nusd": 562_500, "quality": 550, "quality_from": "prior", "latency_ms": 300,
                "fell": "attachments",
            },
            {
                "model": "solo", "provider": "beta", "price": prices["solo"], "input_tokens": 1750,
                "output_tokens": 500, "cost_nusd": 1_500_000, "quality": 750, "quality_from": "prior",
                "latency_ms": 900, "fell": "streaming",
            },
        ],
        "barred": ["nano"],
    }  # fmt: skip


def test_sets_are_recorded_in_order():
    """However a set comes out, its record is sorted."""
    for size in range(1, 5):
        for kinds in combinations(sorted(EVERYTHING), size):
            record = json.loads(
                Case(need={"attachments": frozenset(kinds), "attachment_count": size}).decide().record()
            )
            assert record["need"]["attachments"] == list(kinds)


def test_a_record_has_no_floats():
    """Whatever is recorded is whole, so that no reader gets another number."""

    def refuse(text: str) -> None:
        raise AssertionError(text)

    for row in ROWS:
        json.loads(row.case.decide().record(), parse_float=refuse)


def test_what_was_learnt_leaves_no_trace_where_it_does_not_count():
    """With learning off, the record is the same whatever was seen."""
    learnt = {name: {"quality": 1, "observations": 99, "latency_ms": 7} for name in ("mini", "mid", "large")}
    assert Case(seen=learnt).decide().record() == Case().decide().record()


def test_the_prices_are_those_of_the_candidates():
    """Each version that the record names is among them, and no other."""
    decision = Case(seen={"mini": {"allowed": False}}).decide()
    assert [price.version for price in decision.prices] == [each.price for each in decision.candidates]
    assert price("0.15", "0.60") not in decision.prices


def test_the_order_of_models_says_nothing():
    """Neither that of the target's models nor that in which they are seen changes a byte."""
    models = fleet()
    records = set()
    for some in permutations(models):
        seen = moment(list(reversed(some)))
        records.add(decide(Ruleset("t", 500, some), Need(3_000), NO_HINT, seen, requested="t").record())
    assert len(records) == 1


def test_a_model_that_is_not_seen_is_barred():
    """What nobody says anything about is not tried."""
    models = fleet()
    seen = moment(models)
    del seen["mini"]
    decision = decide(Ruleset("t", 500, models), Need(3_000), NO_HINT, seen, requested="t")
    assert decision.barred == ("mini",)
    assert decision.ranked == ("solo", "mid", "large")
    assert decision.target == "t"


def test_what_can_be_tried_is_no_refusal():
    """To ask why nothing is ranked where something is, is a bug."""
    with pytest.raises(AssertionError):
        Case().decide().refusal()


@given(markets(), needs, hints)
def test_the_chosen_one_clears_all_and_none_is_cheaper(market, need, hint):
    """What is ranked is exactly what may, can, is good and cheap enough and does not rest; it begins with the cheapest
    and goes on to the dearer.
    """
    ruleset, seen = market
    decision = decide(ruleset, need, hint, seen, requested="t")
    found = eligible(ruleset, seen, need, hint, decision.floor)
    assert set(decision.ranked) == found.keys()
    costs = [found[name] for name in decision.ranked]
    assert costs == sorted(costs)


@given(markets(), needs, hints)
def test_costs_are_those_of_the_price(market, need, hint):
    """A candidate's expected cost is what ``pricing.cost`` makes of its tokens."""
    ruleset, seen = market
    models = {model.name: model for model in ruleset.models}
    for each in decide(ruleset, need, hint, seen, requested="t").candidates:
        expected = tokens_and_cost(models[each.model], seen[each.model], need, ruleset.rules)
        assert (each.input_tokens, each.cost_nusd) == expected


@given(markets(), needs, hints, st.randoms(use_true_random=False))
def test_order_says_nothing(market, need, hint, random):
    """Shuffled models and a shuffled moment give the same bytes."""
    ruleset, seen = market
    models, names = list(ruleset.models), list(seen)
    random.shuffle(models)
    random.shuffle(names)
    shuffled = Ruleset(ruleset.target, ruleset.floor, models, ruleset.rules)
    again = decide(shuffled, need, hint, {name: seen[name] for name in names}, requested="t")
    assert again.record() == decide(ruleset, need, hint, seen, requested="t").record()


@given(markets(), needs, hints, thousandths, thousandths)
def test_a_higher_floor_never_chooses_lower_quality(market, need, hint, one, other):
    """Whoever asks for more gets what is as good or better and as dear or dearer, or nothing."""
    ruleset, seen = market
    low, high = (
        decide(ruleset, need, attrs.evolve(hint, min_quality=floor), seen, requested="t")
        for floor in sorted((one, other))
    )
    assert set(high.ranked) <= set(low.ranked)
    if not high.ranked:
        return
    before, after = ({each.model: each for each in made.candidates}[made.ranked[0]] for made in (low, high))
    assert after.quality >= max(before.quality, one, other)
    assert after.cost_nusd >= before.cost_nusd


@given(markets(), needs, hints)
def test_every_model_is_accounted_for(market, need, hint):
    """Each is ranked, fell or is barred; and where none is ranked there is a reason that some candidate fell at."""
    ruleset, seen = market
    decision = decide(ruleset, need, hint, seen, requested="t")
    fallen = [each.model for each in decision.candidates if each.fell is not None]
    accounted = [*decision.ranked, *fallen, *decision.barred]
    assert sorted(accounted) == [model.name for model in ruleset.models]
    if not decision.ranked:
        status, error = decision.refusal()
        assert (status is None) == (not decision.candidates)
        assert error.message[0].isupper()
        assert error.message.endswith(".")


@given(markets(), needs, hints)
def test_the_dial_moves_a_step_at_most_and_not_out_of_its_range(market, need, hint):
    """It moves by 0.10 or less, and only a floor that was not named, where it is on, not beyond 0.50 or 0.85."""
    ruleset, seen = market
    decision = decide(ruleset, need, hint, seen, requested="t")
    moved = decision.floor - ruleset.floor
    if decision.floor_from != "dial":
        assert decision.floor == (ruleset.floor if hint.min_quality is None else hint.min_quality)
        assert decision.preference == "balanced"
        return
    assert ruleset.rules.preference_live
    assert hint.min_quality is None
    assert decision.preference == hint.preference
    assert 0 < abs(moved) <= 100
    assert (moved > 0) == (hint.preference == "quality")
    assert decision.floor <= 850 if moved > 0 else decision.floor >= 500


def test_a_hint_is_told_as_it_was_read():
    """A tier, a number and its decimals that say the same are the same decision."""
    records = {Case(hint={"min_quality": asked}).decide().record() for asked in ("frontier", 0.85, 0.8499)}
    assert len(records) == 1
    assert parse_hint({"min_quality": "frontier"}).min_quality == 850
