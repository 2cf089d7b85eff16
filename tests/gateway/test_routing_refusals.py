"""A routed request that is not admitted: one outcome without an exchange, and the same status streamed or not."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio

from ainf.inference.errors import GatewayError
from tests.gateway.candidates import counter
from tests.gateway.capture import (
    NAMES,
    OWN_TARGET,
    SURFACES,
    Surface,
    check_capture,
    check_unadmitted,
    rejections,
)
from tests.gateway.dialects import MESSAGES
from tests.gateway.law import check_transcript
from tests.gateway.world import Client, World, world

COUNT = Surface("/v1/messages/count_tokens", MESSAGES)

streams = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
surfaces = pytest.mark.parametrize("surface", [*SURFACES, COUNT], ids=lambda surface: surface.path[4:])


async def _as_it_is(here: World) -> None:
    """Nothing has to happen before."""


async def _all_rest(here: World) -> None:
    health = here.gateway.services.health
    for model in here.gateway.models.values():
        breaker = health._breakers.of(model.terms.provider, model.terms.name)
        turn = breaker.begin(trio.current_time())
        assert turn is not None
        breaker.failed(turn, trio.current_time(), retry_after_s=7)


async def _no_money(here: World) -> None:
    await here.set_cap(1)


@attrs.frozen
class Refusal:
    """A reason for which nothing can be tried."""

    status: str
    http: int
    code: str
    fell: dict[str, int] | None = None
    """At which filter, and how many; None where the decision found a model."""
    param: str | None = None
    hint: Any = None
    more: str = ""
    with_tools: bool = False
    before: Callable[[World], Awaitable[None]] = _as_it_is
    retry_after: str | None = None


REFUSALS = (
    Refusal(
        "rejected_floor", 422, "no_candidate", {"floor": 2}, "routing_hint.min_quality", {"min_quality": "frontier"}
    ),
    Refusal("rejected_floor", 422, "no_candidate", {"floor": 2}, more="quality = 0.4"),
    Refusal("rejected_ability", 422, "no_candidate", {"tools": 2}, "tools", more="tools = false", with_tools=True),
    Refusal("rejected_ability", 422, "no_candidate", {"context": 2}, more="context_tokens = 2"),
    Refusal(
        "rejected_cost", 422, "no_candidate", {"cost": 2}, "routing_hint.max_cost", {"max_cost": "0.000000001"}
    ),
    Refusal(
        "rejected_unavailable", 503, "all_candidates_failed", {"resting": 2}, before=_all_rest, retry_after="7"
    ),
    Refusal("rejected_money", 402, "spend_cap_exceeded", before=_no_money),
)  # fmt: skip


def refusal_id(refusal: Refusal) -> str:
    return "-".join([refusal.status, *(refusal.fell or ()), *(refusal.hint or ())])


async def ask(here: World, surface: Surface, name: str, refusal: Refusal, *, stream: bool) -> Client:
    fields: dict[str, Any] = {"tools": [surface.dialect.tool]} if refusal.with_tools else {}
    if refusal.hint is not None:
        fields["routing_hint"] = refusal.hint
    client = surface.client(here, name, stream=stream, **fields)
    if surface is COUNT:
        asked = surface.dialect.question(name, **fields)
        del asked["max_tokens"], asked["stream"]
        client = here.client(asked, path=surface.path)
    return await here.run(client)


def check_told(client: Client, refusal: Refusal) -> None:
    """The refusal is told in the protocol's own words, with what a program may want to know."""
    error = client.json()["error"]
    assert (client.status, error["code"], error.get("param")) == (refusal.http, refusal.code, refusal.param)
    assert client.headers["content-type"] == "application/json"
    assert client.json().get("type") == ("error" if client.dialect is MESSAGES else None)
    assert client.headers["x-should-retry"] == str(refusal.retry_after is not None).lower()
    assert client.headers.get("retry-after") == refusal.retry_after
    assert "x-ainf-inference-id" not in client.headers
    if refusal.fell is not None:
        assert error["routing"]["fell"] == refusal.fell
        assert error["routing"]["candidates"] == 2


TOLD = [
    pytest.param(surface, refusal, id=f"{surface.path}-{refusal_id(refusal)}")
    for surface in (*SURFACES, COUNT)
    for refusal in REFUSALS
    if surface is not COUNT or refusal.before is not _no_money  # to count costs nothing
]


@pytest.mark.parametrize(("surface", "refusal"), TOLD)
async def test_a_refusal_is_on_record_once(refusal, surface, tmp_path, autojump_clock):
    """Under each name of the target, streamed or not: one outcome without an exchange, one event, nothing dialled."""
    asked = [(name, stream) for name in NAMES for stream in ((False,) if surface is COUNT else (True, False))]
    format_ = surface.dialect.format
    async with world(
        tmp_path, f"{format_}/sim", f"{format_}/sim-tokens-5", more=refusal.more, after=OWN_TARGET
    ) as here:
        await refusal.before(here)
        for name, stream in asked:
            client = await ask(here, surface, name, refusal, stream=stream)
            check_told(client, refusal)
            await check_transcript(here, client)
            row = await check_unadmitted(here, client, name, refusal.status)
            assert (row["path"], row["stream"], row["key_id"]) == (surface.path, int(stream), here.key_id)
        assert not here.simulator.books.entries
        events = await rejections(here)
        assert {(event["code"], event["path"]) for event in events} == {(refusal.code, surface.path)}
        assert sum(event.get("count", 1) for event in events) == len(asked)
        assert counter(here, "rejections", code=refusal.code) == len(asked)
        hits = dict.fromkeys(NAMES, len(asked) // len(NAMES))
        await check_capture(here, admitted=0, unadmitted=len(asked), alias_hits=hits)


async def test_what_no_provider_can_be_told(tmp_path, autojump_clock):
    """A field that is found out only when the models that were ranked are planned for: none is able."""
    async with world(tmp_path, "chat/sim", "chat/sim-tokens-5", after=OWN_TARGET) as here:
        client = await here.run(SURFACES[2].client(here, "fast", stream=True, top_k=5))
        row = await check_unadmitted(here, client, "fast", "rejected_ability")
        error = client.json()["error"]
        assert (client.status, error["code"], error["param"]) == (422, "no_candidate", "top_k")
        assert error["routing"] == {
            "skipped": dict.fromkeys(("chat/sim", "chat/sim-tokens-5"), "unsupported_parameter")
        }
        assert json.loads(row["decision"])["ranked"] == ["chat/sim", "chat/sim-tokens-5"]
        await check_capture(here, admitted=0, unadmitted=1, alias_hits={"fast": 1})


@streams
async def test_a_promise_that_pays_for_less_than_the_least(stream, tmp_path, autojump_clock):
    """What is expected is affordable, but the worst case is not even with the least output: 422, for either mode."""
    async with world(tmp_path, "sim", more="min_output_tokens = 400", after=OWN_TARGET) as here:
        asked = {"max_completion_tokens": 2, "messages": [{"role": "user", "content": "x " * 1000}]}
        probe = await here.ask("fast", stream=stream, routing_hint={"max_cost": 0}, **asked)
        least = probe.json()["error"]["routing"]["least_cost"]
        client = await here.ask("fast", stream=stream, routing_hint={"max_cost": least}, **asked)
        error = client.json()["error"]
        assert (client.status, error["code"], error["param"]) == (422, "no_candidate", "routing_hint.max_cost")
        await check_unadmitted(here, client, "fast", "rejected_cost")
        await check_capture(here, admitted=0, unadmitted=2, alias_hits={"fast": 2})


@surfaces
async def test_a_key_without_any_of_the_models(surface, tmp_path, autojump_clock):
    """It has no right to be told of a decision: 403, an event, and no outcome."""
    async with world(tmp_path, "sim", after=OWN_TARGET) as here:
        here.key = await here.new_key("agents", models=("other",))
        unknown = Refusal("", 403, "not_permitted", param="model")
        for name in NAMES:
            for stream in (True, False):
                check_told(await ask(here, surface, name, unknown, stream=stream), unknown)
        assert {event["code"] for event in await rejections(here)} == {"not_permitted"}
        await check_capture(here, admitted=0, alias_hits=dict.fromkeys(NAMES, 2))


@streams
@pytest.mark.parametrize("operation", ["note_unrouted", "open_inference"])
async def test_a_store_that_is_away(operation, stream, tmp_path, autojump_clock):
    """Neither a refusal nor an opening that cannot be recorded is told as anything but that; nothing is dialled."""

    async def away(_record: object) -> None:
        await trio.lowlevel.checkpoint()
        raise GatewayError("store_unavailable", "The store is away.")

    async with world(tmp_path, "sim", after=OWN_TARGET) as here:
        setattr(here.store, operation, away)
        for surface in SURFACES:
            hint = {"min_quality": 1 if operation == "note_unrouted" else 0}
            client = await here.run(surface.client(here, "fast", stream=stream, routing_hint=hint))
            assert (client.status, client.json()["error"]["code"]) == (503, "store_unavailable")
            assert client.headers["x-should-retry"] == "true"
        assert not here.simulator.books.entries
        await check_capture(here, admitted=0, alias_hits={"fast": len(SURFACES)})


async def test_a_target_is_not_for_embeddings(tmp_path, autojump_clock):
    """It chooses from models that answer in text: 422, before anything is decided."""
    async with world(tmp_path, "sim", after=OWN_TARGET) as here:
        for name in NAMES:
            client = await here.run(here.client({"model": name, "input": "Count."}, path="/v1/embeddings"))
            error = client.json()["error"]
            assert (client.status, error["code"], error["param"]) == (422, "operation_not_supported", "model")
        await check_capture(here, admitted=0, alias_hits={})


HINTS: tuple[tuple[Any, str, str], ...] = (
    ([], "routing_hint", "invalid_type"),
    ("cost", "routing_hint", "invalid_type"),
    ({"max_price": 1}, "routing_hint.max_price", "unsupported_parameter"),
    ({"min_quality": "best"}, "routing_hint.min_quality", "invalid_value"),
    ({"min_quality": 1.1}, "routing_hint.min_quality", "invalid_value"),
    ({"min_quality": True}, "routing_hint.min_quality", "invalid_type"),
    ({"max_cost": "-1"}, "routing_hint.max_cost", "invalid_value"),
    ({"max_cost": "1e3"}, "routing_hint.max_cost", "invalid_value"),
    ({"task_type": 7}, "routing_hint.task_type", "invalid_type"),
    ({"routing_preference": ["cost"]}, "routing_hint.routing_preference", "invalid_type"),
)


@surfaces
async def test_hints_that_are_wrong(surface, tmp_path, autojump_clock):
    """On a target and on a pinned model alike: 400 that names the part; nothing is decided, opened or dialled."""
    async with world(tmp_path, "sim", "messages/sim", after=OWN_TARGET) as here:
        for asked, param, code in HINTS:
            wrong = Refusal("", 400, code, param=param, hint=asked)
            for name in ("ainf-inference", "fast", "sim", "messages/sim"):
                for stream in (True, False):
                    check_told(await ask(here, surface, name, wrong, stream=stream), wrong)
        assert not here.simulator.books.entries
        await check_capture(here, admitted=0, alias_hits={})


async def test_hints_that_are_wrong_on_embeddings(tmp_path, autojump_clock):
    """There too, though there is nothing to route."""
    vectors = '[models.vectors]\nprovider = "sim"\nkind = "embeddings"\nprice = { input = "1.00", output = "0" }\n'
    async with world(tmp_path, "sim", after=vectors + OWN_TARGET) as here:
        for asked, param, code in HINTS:
            body = {"model": "vectors", "input": "Count.", "routing_hint": asked}
            client = await here.run(here.client(body, path="/v1/embeddings"))
            error = client.json()["error"]
            assert (client.status, error["code"], error["param"]) == (400, code, param)
        await check_capture(here, admitted=0, alias_hits={})
