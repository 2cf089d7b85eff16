"""Why no model can be tried: the status that is recorded, and words that say what to do."""

import pytest

from ainf.inference.errors import AinfError, DownstreamError, RoutingError
from tests.routing.fleet import Case

RESTING = {name: {"rests_s": 8.2} for name in ("nano", "mini", "solo", "mid", "large")}
AUDIO = {"attachment_count": 1, "attachments": frozenset({"audio"})}


def refusal(**case) -> tuple[str | None, AinfError]:
    return Case(**case).decide().refusal()


def told(error: AinfError) -> dict:
    """What a program is told, less what is always the same."""
    routing = dict(error.details["routing"])
    assert routing.pop("target") == "ainf-inference"
    return routing


def test_below_the_floor_that_was_asked_for():
    """The best quality there is is named, and the field at fault."""
    status, error = refusal(hint={"min_quality": 0.95})
    assert (status, error.code, error.status, error.transient) == ("rejected_floor", "no_candidate", 422, False)
    assert isinstance(error, RoutingError)
    assert error.param == "routing_hint.min_quality"
    assert error.message == (
        "No model of 'ainf-inference' that can do this clears the quality floor of 0.95; the best has 0.9. Lower "
        "`routing_hint.min_quality`, or name a model."
    )
    assert told(error) == {"candidates": 5, "floor": 0.95, "fell": {"floor": 5}, "best_quality": 0.9}


def test_below_the_targets_own_floor():
    """Then no field is at fault, and a hint is what helps."""
    _, error = refusal(floor=950)
    assert error.param is None
    assert error.message.endswith("Send a `routing_hint.min_quality` of 0.9 or less, or name a model.")


def test_the_best_is_of_those_that_can():
    """A better model that cannot do what is asked is not held out."""
    status, error = refusal(need={"stored_at": "alpha"}, hint={"min_quality": 0.7})
    assert status == "rejected_floor"
    assert told(error) == {"candidates": 5, "floor": 0.7, "fell": {"stored": 3, "floor": 2}, "best_quality": 0.6}


def test_too_dear():
    """What the cheapest is expected to cost is named, in dollars."""
    status, error = refusal(hint={"max_cost": "0.0001", "min_quality": 0.65})
    assert (status, error.code, error.param) == ("rejected_cost", "no_candidate", "routing_hint.max_cost")
    assert error.message == (
        "No model of 'ainf-inference' that can do this and clears the quality floor is expected to cost as little as "
        "0.0001 USD; the cheapest is expected to cost 0.0011 USD. Raise `routing_hint.max_cost`, or ask for less."
    )
    assert told(error) == {
        "candidates": 5, "floor": 0.65, "fell": {"floor": 2, "cost": 3}, "least_cost": "0.0011",
    }  # fmt: skip


def test_unable_for_one_thing():
    """Where all lack the same, the field that asks for it is at fault."""
    status, error = refusal(need={"has_tools": True}, only="nano")
    assert (status, error.code, error.param) == ("rejected_ability", "no_candidate", "tools")
    assert error.message == (
        "No model of 'ainf-inference' that this key may use can do what is asked (of 1: 1 take no tools). Ask for "
        "less, or name a model that can."
    )


@pytest.mark.parametrize(
    ("need", "only", "param"),
    [
        ({"stream": True}, "solo", "stream"),
        ({"stored_at": "delta"}, "", "previous_response_id"),
        ({"input_bytes": 10**8}, "mini mid", None),
        (AUDIO, "mini mid", None),
    ],
)
def test_the_field_at_fault(need, only, param):
    """It is named where all protocols call it the same."""
    status, error = refusal(need=need, only=only)
    assert (status, error.param) == ("rejected_ability", param)


def test_unable_for_several_things():
    """Each is counted, and no field is singled out."""
    status, error = refusal(need=AUDIO | {"stream": True, "has_tools": True}, only="nano mini solo", floor=1000)
    assert (status, error.param) == ("rejected_ability", None)
    assert told(error)["fell"] == {"tools": 1, "streaming": 1, "attachments": 1}
    assert "(of 3: 1 take no tools, 1 do not stream, 1 do not take these kinds of attachments)" in error.message


@pytest.mark.parametrize(("soonest_s", "wait_s"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.001, 2), (8.0, 8), (300.0, 60)])
def test_all_rest(soonest_s, wait_s):
    """A retry can help: when the first may be asked again, from 1 to 60 s."""
    later = {name: {"rests_s": soonest_s + 1} for name in RESTING}
    status, error = refusal(seen=later | {"large": {"rests_s": soonest_s}})
    assert (status, error.code, error.status) == ("rejected_unavailable", "all_candidates_failed", 503)
    assert isinstance(error, RoutingError)
    assert error.transient
    assert error.retry_after_s == wait_s
    assert error.message == (
        "The models of 'ainf-inference' that could answer have failed so often of late that they are let rest; ask "
        f"again in {wait_s} s."
    )
    assert told(error)["fell"] == {"floor": 1, "resting": 4}


def test_who_would_not_do_is_not_waited_for():
    """The wait is for models that could answer; one that rests for less but is not good enough does not count."""
    _, error = refusal(hint={"min_quality": 0.9}, seen=RESTING | {"mini": {"rests_s": 1.0}})
    assert error.retry_after_s == 9


def test_no_right_to_any():
    """Nothing was decided, so there is no outcome; and the client learns no model's name."""
    status, error = refusal(seen={name: {"allowed": False} for name in RESTING})
    assert status is None
    assert isinstance(error, DownstreamError)
    assert (error.code, error.status, error.param, error.details) == ("not_permitted", 403, "model", {})
    assert error.message == "This key has no right to any model of 'ainf-inference'."


def test_what_a_key_may_not_use_is_not_counted():
    """Who may use two models is told of two."""
    _, error = refusal(hint={"min_quality": 1}, seen={name: {"allowed": False} for name in ("mid", "large", "solo")})
    assert told(error) == {"candidates": 2, "floor": 1.0, "fell": {"floor": 2}, "best_quality": 0.6}
