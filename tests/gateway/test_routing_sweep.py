"""Capture, swept: whatever a target is called, however it is asked, and however that ends, it is captured once.

What is pinned is not captured at all, and says so.
"""

from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio

from ainf.store import admin
from tests.gateway.capture import (
    NAMES,
    OWN_TARGET,
    SURFACES,
    Surface,
    check_capture,
    check_captured,
    outcomes,
)
from tests.gateway.holds import base_of
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
