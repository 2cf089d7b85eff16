"""Capture, swept: whatever a target is called, however it is asked, and however that ends, it is captured once.

What is pinned is not captured at all, and says so.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio

from ainf.store import admin
from tests.gateway.candidates import counter
from tests.gateway.capture import (
    NAMES,
    OWN_TARGET,
    SURFACES,
    Surface,
    check_capture,
    check_captured,
    check_direct,
    outcomes,
)
from tests.gateway.holds import base_of
from tests.gateway.keyed import keyed
from tests.gateway.law import check_transcript
from tests.gateway.world import Client, World, world

MONEY = "slice_tokens = 8\nmin_output_tokens = 4"
PATIENT = "\n[routing]\nbreaker_failures = 100\n" + OWN_TARGET
"""The same failure again and again lets nobody rest here."""
LONG = "sim-tokens-500-pace-20ms"

surfaces = pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.path.rpartition("/")[2])
streams = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


async def _nothing(here: World, client: Client) -> None:
    """It ends by itself."""


async def _leave(here: World, client: Client) -> None:
    client.leave()


async def _shut_down(here: World, client: Client) -> None:
    here.gateway.inflight.shut_down(2.0)


async def _revoke(here: World, client: Client) -> None:
    key_id, at = here.key_id, here.clock()
    await here.store.write(lambda tx: admin.revoke_key(tx, key_id=key_id, at=at))


@attrs.frozen
class Way:
    """A way out of a routed exchange."""

    name: str
    status: str
    behaviours: tuple[str, ...]
    """Of the target's models, in the order in which they are tried."""
    after_1s: Callable[[World, Client], Awaitable[None]] = _nothing
    headers: dict[str, str] = attrs.field(factory=dict)
    room_nusd: int | None = None
    """What a cap leaves for output."""


WAYS = (
    Way("succeeded", "succeeded", ("sim-tokens-5",)),
    Way("fell-back", "fell_back", ("sim-error-500", "sim-tokens-5")),
    Way("failed", "failed", ("sim-error-500", "sim-overloaded")),
    Way("failed-in-content", "failed", ("sim-tokens-9-error-after-3",)),
    Way("cancelled", "cancelled", (LONG,), _leave),
    Way("capped", "capped", ("sim-tokens-60",), room_nusd=30_000),
    Way("timed-out", "timed_out", (LONG,), headers={"x_ainf_deadline_ms": "1500"}),
    Way("shut-down", "shut_down", (LONG,), _shut_down),
    Way("terminated", "terminated", (LONG,), _revoke),
)


async def run_way(here: World, way: Way, surface: Surface, name: str, *, stream: bool) -> Client:
    """Ask for a target by one of its names, with a key of its own, and end it as the way does."""
    here.key_id = f"k{len(here.simulator.books.entries) + 1:07}"
    here.key = await here.new_key("agents", key_id=here.key_id)
    if way.room_nusd is not None:
        base = await base_of(here, surface.client(here, f"{surface.dialect.format}/{way.behaviours[0]}", stream=stream))
        await here.set_cap(base + way.room_nusd, key_id=here.key_id)
    client = surface.client(here, name, stream=stream, headers=way.headers)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.run, client)
        if way.after_1s is not _nothing:
            await trio.sleep(1)
            await way.after_1s(here, client)
    return client


@streams
@surfaces
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
async def test_every_way_out_is_captured_once(way, surface, stream, tmp_path, autojump_clock):
    """Under each of its names, a target that is asked leaves one outcome of what became of it."""
    models = [f"{surface.dialect.format}/{behaviour}" for behaviour in way.behaviours]
    async with world(tmp_path, *models, more=MONEY, after=PATIENT) as here:
        for name, target in NAMES.items():
            client = await run_way(here, way, surface, name, stream=stream)
            ((inference_id,),) = await here.rows(
                "SELECT inference_id FROM inferences ORDER BY inference_id DESC LIMIT 1"
            )
            receipt = await check_captured(here, inference_id, name, way.status)
            assert [line["model"] for line in receipt["attempts"]] == models
            assert receipt["routing"]["served"] == len(models)
            await check_transcript(here, client)
            if client.headers:
                assert client.headers["x-ainf-router"] == target
                assert "x-ainf-routing-preference" not in client.headers
            check_shape(client, surface, stream=stream)
        made = await here.rows("SELECT count(*) FROM inferences")
        pinned = 0 if way.room_nusd is None else len(NAMES)
        await check_capture(here, admitted=made[0][0], alias_hits=dict.fromkeys(NAMES, 1))
        assert len(await outcomes(here)) == made[0][0] - pinned == len(NAMES)


def check_shape(client: Client, surface: Surface, *, stream: bool) -> None:
    """A whole answer on our own path has our own fields, whichever candidate gave it."""
    if client.status == 200 and not stream:
        assert ("audit_url" in client.json()) is (surface.path == "/v1/inference")


# --- tokens that are counted ---

COUNT = "/v1/messages/count_tokens"
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Count to ten."}]}


def sent(here: World) -> bytes:
    """What the provider was asked last."""
    return here.simulator.books.entries[-1].request_body or b""


def counting(here: World, model: str, **fields: Any) -> Client:
    return here.client({"model": model, **ASKED, **fields}, path=COUNT)


async def test_a_provider_that_counts_is_chosen_and_captured(tmp_path, autojump_clock):
    """To have tokens counted for a target is a routed exchange like any other, which costs nothing."""
    async with world(tmp_path, "messages/sim", after=OWN_TARGET) as here:
        for name, target in NAMES.items():
            client = await here.run(counting(here, name, routing_hint={"min_quality": "good"}))
            assert client.json()["input_tokens"] > 0
            assert client.headers["x-ainf-router"] == target
            receipt = await check_captured(here, client.inference_id, name, "succeeded")
            assert receipt["settled_nusd"] == 0
            assert b"routing_hint" not in sent(here)
        await check_capture(here, admitted=len(NAMES), alias_hits=dict.fromkeys(NAMES, 1))


async def test_what_we_count_ourselves_is_no_exchange(tmp_path, autojump_clock):
    """Where the cheapest model's provider has no counter nobody is asked; the answer says how its model was chosen."""
    async with world(tmp_path, "sim", after=OWN_TARGET) as here:
        for name, target in NAMES.items():
            hint = {"min_quality": 0.3, "routing_preference": "thrift"}
            client = await here.run(counting(here, name, routing_hint=hint))
            assert (client.status, client.headers["x-ainf-evidence"]) == (200, "metered")
            assert (client.headers["x-ainf-router"], client.headers["x-ainf-model"]) == (target, "sim")
            assert client.headers["x-ainf-routing-preference"] == "balanced"
            assert "x-ainf-dropped-params" not in client.headers
        await check_capture(here, admitted=0, alias_hits=dict.fromkeys(NAMES, 1))
        assert not here.simulator.books.entries


async def test_a_model_that_cannot_be_told_leaves_the_counting_to_another(tmp_path, autojump_clock):
    """As the answer that is announced would come from the next model, so does the count; a pinned one is refused."""
    async with world(tmp_path, "chat/sim", "messages/sim") as here:
        assert (await here.run(counting(here, "ainf-auto"))).headers["x-ainf-model"] == "chat/sim"
        client = await here.run(counting(here, "ainf-auto", top_k=5))
        assert client.headers["x-ainf-model"] == "messages/sim"
        await check_captured(here, client.inference_id, "ainf-auto", "succeeded")
        pinned = await here.run(counting(here, "chat/sim", top_k=5))
        assert (pinned.status, pinned.json()["error"]["param"]) == (400, "top_k")
        await check_capture(here, admitted=1, alias_hits={"ainf-auto": 2})


# --- what is pinned ---

VECTORS = """
[models.vectors]
provider = "sim"
upstream_model = "sim"
kind = "embeddings"
price = { input = "1.00", output = "0" }
"""
HINT = {"min_quality": 0.9, "max_cost": "0.01", "task_type": "code", "routing_preference": "thrift"}


def pinned_bodies(*, stream: bool) -> dict[str, dict[str, Any]]:
    """A request for a pinned model on each path; the model of messages has a counter of its own."""
    asked = {surface.path: surface.dialect.question("sim", stream=stream) for surface in SURFACES}
    asked["/v1/messages"]["model"] = "messages/sim"
    asked["/v1/embeddings"] = {"model": "vectors", "input": "Count to ten."}
    asked[COUNT] = {"model": "messages/sim", **ASKED}
    return asked


@streams
async def test_pinned_models_are_not_captured(stream, tmp_path, autojump_clock):
    """On no path does a request that names its model leave an outcome; its head, event and receipt say "direct"."""
    async with world(tmp_path, "sim", "messages/sim", after=VECTORS) as here:
        bodies = pinned_bodies(stream=stream)
        for path, body in bodies.items():
            client = await here.run(here.client(body, path=path))
            assert client.status == 200, (path, client.body)
            await check_direct(here, client)
            assert "x-ainf-dropped-params" not in client.headers
        assert await here.rows("SELECT * FROM routing_decisions") == []
        await check_capture(here, admitted=len(bodies), alias_hits={})
        assert await outcomes(here) == []


@streams
async def test_a_hint_on_a_pinned_model_is_dropped_by_name(stream, tmp_path, autojump_clock):
    """There is nothing to choose: the hint is named among what the provider was not told, and the provider is not."""
    async with world(tmp_path, "sim", "messages/sim", after=VECTORS) as here:
        bodies = pinned_bodies(stream=stream)
        for path, body in bodies.items():
            client = await here.run(here.client(body | {"routing_hint": HINT}, path=path))
            assert client.status == 200, (path, client.body)
            await check_direct(here, client)
            assert client.headers["x-ainf-dropped-params"] == "routing_hint"
            assert b"routing_hint" not in sent(here)
        await check_capture(here, admitted=len(bodies), alias_hits={})
        assert await outcomes(here) == []


async def test_a_hint_on_a_pinned_model_that_we_count_for(tmp_path, autojump_clock):
    """Counted by us, it is answered and named all the same, beside what the provider would not be told."""
    async with world(tmp_path, "sim", more='drop_params = ["top_k"]') as here:
        client = await here.run(counting(here, "sim", routing_hint=HINT, top_k=5))
        assert (client.status, client.headers["x-ainf-evidence"]) == (200, "metered")
        assert client.headers["x-ainf-router"] == "direct"
        assert client.headers["x-ainf-dropped-params"] == "routing_hint, top_k"
        await check_capture(here, admitted=0, alias_hits={})


# --- who asks for no exchange of its own ---


@surfaces
async def test_who_joins_or_is_told_again_is_not_captured(surface, tmp_path, autojump_clock):
    """Of all requests that bear one idempotency key only the one that made the exchange has an outcome."""
    async with world(tmp_path, LONG) as here:
        clients = [
            surface.client(here, name, stream=stream, headers={"idempotency_key": "k-1"}, limit=100)
            for name, stream in (("ainf-auto", True), ("ainf-auto", True), ("ainf-auto", False))
        ]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(here.run, client)
                await trio.sleep(0.5)
        again = surface.client(here, "ainf-auto", stream=False, headers={"idempotency_key": "k-1"}, limit=100)
        clients.append(await here.run(again))
        assert {client.headers["x-ainf-router"] for client in clients} == {"ainf-inference"}
        (inference_id,) = {client.inference_id for client in clients}
        await check_captured(here, inference_id, "ainf-auto", "succeeded")
        assert counter(here, "idempotent_replays", kind="attached") == 2
        assert counter(here, "idempotent_replays", kind="replayed") == 1
        other = surface.client(here, "ainf-mithril", stream=True, headers={"idempotency_key": "k-1"}, limit=100)
        assert (await here.run(other)).status == 422, "another name is another body"
        await check_capture(here, admitted=1, alias_hits={"ainf-auto": 4, "ainf-mithril": 1})


async def test_a_refused_opening_under_a_key_is_captured_once(tmp_path, autojump_clock):
    """All who wait for one opening are told its refusal, of which there is one outcome; the next one has its own."""
    async with world(tmp_path, "sim") as here:
        await here.set_cap(1)
        clients = [keyed(here, "ainf-auto", stream=stream) for stream in (True, False)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(here.run, client)
        assert [client.status for client in clients] == [402, 402]
        rows = await outcomes(here)
        assert [row["status"] for row in rows] == ["rejected_money"]
        await here.run(keyed(here, "ainf-auto"))
        await check_capture(here, admitted=0, unadmitted=2, alias_hits={"ainf-auto": 3})
