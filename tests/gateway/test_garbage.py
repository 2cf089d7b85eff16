"""What a request held is free when it has been answered or refused: nothing waits for the garbage collector.

A request's body may be large, and the collector comes late to what has lived for as long as a provider took to answer.
"""

import gc
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import trio

from ainf.exchange.attempt import Attempt
from ainf.exchange.plan import Plan
from ainf.exchange.route import Route
from ainf.exchange.run import Exchange
from ainf.http.asked import Asked
from ainf.inference.request import InferenceRequest
from ainf.routing.observed import LEAST_LATENCIES
from tests.gateway.candidates import Candidate, target_text
from tests.gateway.keyed import keyed
from tests.gateway.law import check_ledger
from tests.gateway.world import World, world

HELD = (Asked, Attempt, Exchange, InferenceRequest, Plan, Route)

LATE = Candidate("sim-error-500-delay-300ms")
TARGETS = (
    target_text(Candidate("sim-error-500"), Candidate("sim-tokens-5"), name="falls-0")
    + target_text(Candidate("sim-error-500"), Candidate("sim-overloaded"), name="fails-0")
    + target_text(LATE, LATE, name="late-0")
    + target_text(LATE, Candidate("sim-tokens-5-delay-500ms"), name="rival-0")
    + "[routing]\nbreaker_failures = 1000\nhedging = true\n"
)


@attrs.frozen
class Case:
    """A request, and the status of its answer."""

    name: str
    model: str
    status: int
    fields: dict[str, Any] = attrs.field(factory=dict)


CASES = [
    Case("answered", "sim", 200),
    Case("refused-upstream", "fails-1", 502),
    Case("routed", "ainf-auto", 200, {"routing_hint": {"min_quality": 0.9}}),
    Case("falls-back", "falls-0", 200),
    Case("all-fail", "fails-0", 503),
    Case("two-at-once-fail", "late-0", 503),
    Case("one-of-two-fails", "rival-0", 200),
    Case("below-the-floor", "ainf-auto", 422, {"routing_hint": {"min_quality": 1}}),
    Case("too-dear", "falls-0", 422, {"routing_hint": {"max_cost": 0}}),
    Case("too-dear-to-begin", "falls-0", 422, {"routing_hint": {"max_cost": "0.00003"}, "max_tokens": 1}),
    Case("cannot-be-told", "falls-0", 422, {"audio": {"voice": "alloy", "format": "wav"}}),
]


@pytest.fixture
def only_by_reference() -> Iterator[None]:
    """The collector does not come."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def held_now() -> list[object]:
    return [found for found in gc.get_objects() if isinstance(found, HELD)]


async def ask(here: World, case: Case) -> None:
    client = await here.ask(case.model, **case.fields)
    assert client.status == case.status, client.body


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_nothing_is_left_to_the_collector(case, tmp_path, autojump_clock, only_by_reference):
    """However a request ends, nothing of it is left behind its answer."""
    async with world(tmp_path, "sim", more="quality = 0.9", after=TARGETS) as here:
        for _ in range(LEAST_LATENCIES):
            for model in ("late-1", "rival-1"):
                here.gateway.services.health.observed("sim", model).note_latency(100)
        others = held_now()  # of other tests, which have such things by name
        await ask(here, case)
        await trio.sleep(1)
        here.simulator.books.clear()
        left = [found for found in held_now() if not any(found is other for other in others)]
        assert [type(found).__name__ for found in left] == []


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_who_is_told_anothers_answer_holds_no_request(stream, tmp_path, autojump_clock):
    """Once the answer has begun, neither who asked nor who joined holds what was asked, or a way to ask it again."""
    async with world(tmp_path, "sim-tokens-40-pace-100ms") as here:
        clients = [keyed(here, "ainf-auto"), keyed(here, "ainf-auto", stream=stream)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(here.run, client)
                await trio.sleep(1)
            held = [found for found in gc.get_objects() if isinstance(found, Asked)]
            told = [found for found in gc.get_objects() if isinstance(found, InferenceRequest) and found.fields]
            assert (len(here.gateway.inflight), held, told) == (1, [], [])
        assert {client.status for client in clients} == {200}
        await check_ledger(here, admitted=1)
