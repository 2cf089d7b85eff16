"""Routing targets as requests meet them: rights, hints, needs, and how their models stand."""

import attrs
import pytest
import trio

from ainf.exchange.health import Health
from ainf.http.targets import RoutingTarget, look_at, need_of, take_hint
from ainf.inference.errors import DownstreamError
from ainf.routing.hint import NO_HINT, Hint
from ainf.routing.observed import LEAST_LATENCIES, Signal
from ainf.routing.ruleset import Quality, RatedModel, Rules, Ruleset
from ainf.store.base import StoredResponse
from tests.gateway.world import World, world
from tests.http.requests import request


def rated(name: str, quality: int = 800) -> RatedModel:
    rating = Quality(quality, (("code", 900),))
    return RatedModel(name, "sim", rating, None, frozenset(), True, True, 4096, None)


def target(*models: str, learning: bool = False) -> RoutingTarget:
    return RoutingTarget(Ruleset("team-fast", 500, tuple(map(rated, models)), Rules(learning=learning, prior_weight=1)))


@pytest.mark.parametrize(
    ("rights", "requested", "allowed"),
    [
        (None, "fast", ("a", "b", "team/c")),
        ((), "fast", ()),
        (("fast",), "fast", ("a", "b", "team/c")),
        (("fast",), "team-fast", ()),
        (("team-fast",), "fast", ("a", "b", "team/c")),
        (("team-*",), "fast", ("a", "b", "team/c")),
        (("team/*", "b"), "fast", ("b", "team/c")),
        (("team/*", "fast"), "team-fast", ("team/c",)),
        (("other",), "fast", ()),
    ],
)
def test_which_models_a_key_may_get(rights, requested, allowed):
    """All where it may name the target, by the name it used or the canonical one; else those that it may pin."""
    assert target("b", "a", "team/c").allowed(rights, requested) == allowed


def test_a_hint_is_taken_out_of_the_request():
    """It is the gateway's own: whoever is asked sees nothing of it, and only a pinned one has it named as dropped."""
    plain = request(a=1)
    assert take_hint(plain, is_routed=True) == (NO_HINT, plain)
    hinted = attrs.evolve(request(a=1, routing_hint={"task_type": "code"}), dropped=("x",))
    hint, routed = take_hint(hinted, is_routed=True)
    assert (hint, routed.fields, routed.dropped) == (Hint(task_type="code"), {"a": 1}, ("x",))
    hint, pinned = take_hint(hinted, is_routed=False)
    assert (hint, pinned.fields, pinned.dropped) == (Hint(task_type="code"), {"a": 1}, ("x", "routing_hint"))
    assert "routing_hint" in hinted.fields
    assert take_hint(request(routing_hint=None), is_routed=True)[1].fields == {}


@pytest.mark.parametrize("is_routed", [True, False])
def test_a_hint_that_is_wrong(is_routed):
    """It is refused wherever it stands."""
    with pytest.raises(DownstreamError) as caught:
        take_hint(request(routing_hint={"min_quality": 2}), is_routed=is_routed)
    assert caught.value.param == "routing_hint.min_quality"


def test_what_a_request_needs():
    """Everything that a decision goes by is the request's own, and of what is stored."""
    asked = attrs.evolve(
        request(), input_bytes=70, attachment_count=2, attachments=frozenset({"image"}), has_tools=True, stream=True,
        max_output_tokens=9,
    )  # fmt: skip
    need = need_of(asked, None)
    assert (need.input_bytes, need.attachment_count, need.attachments) == (70, 2, frozenset({"image"}))
    assert (need.has_tools, need.stream, need.max_output_tokens) == (True, True, 9)
    assert (need.stored_at, need.stored_tokens) == (None, 0)
    need = need_of(asked, StoredResponse("sim", "a", "a-1", 30, 12))
    assert (need.stored_at, need.stored_tokens) == ("sim", 42)


async def look(here: World, *, learning: bool, health: Health, task_type: str | None = None):
    ruleset = target("sim", "sim-tokens-5", learning=learning).ruleset
    return look_at(ruleset, {"sim": here.gateway.models["sim"]}, health, task_type)


async def test_how_models_stand(tmp_path, autojump_clock):
    """At the price and the ratios in force, with the rest that is left; those that are not allowed are not there."""
    async with world(tmp_path, "sim") as here:
        health, terms = Health(failures=1, open_s=10), here.gateway.models["sim"].terms
        (name, seen), *others = (await look(here, learning=False, health=health)).items()
        assert (name, others) == ("sim", [])
        assert (seen.price, seen.ratios, seen.rests_s, seen.quality) == (terms.price, terms.ratios, None, None)
        breaker = health._breakers.of("sim", "sim")
        turn = breaker.begin(trio.current_time())
        assert turn is not None
        breaker.failed(turn, trio.current_time())
        await trio.sleep(4)
        for learning in (False, True):
            assert (await look(here, learning=learning, health=health))["sim"].rests_s == pytest.approx(6)


async def test_what_answers_showed_counts_only_where_that_is_on(tmp_path, autojump_clock):
    """The blend rests on the prior of the task that is hinted at; without an answer there is none."""
    async with world(tmp_path, "sim") as here:
        health = Health()
        assert (await look(here, learning=True, health=health))["sim"].quality is None
        observed = health.observed("sim", "sim")
        observed.note(Signal.FAILED_AFTER)
        for _ in range(LEAST_LATENCIES):
            observed.note_latency(70)
        unlearnt = (await look(here, learning=False, health=health))["sim"]
        assert (unlearnt.quality, unlearnt.observations, unlearnt.latency_ms) == (None, 0, None)
        for task_type, quality in ((None, 400), ("code", 450)):
            learnt = (await look(here, learning=True, health=health, task_type=task_type))["sim"]
            assert (learnt.quality, learnt.observations, learnt.latency_ms) == (quality, 1, 70)
