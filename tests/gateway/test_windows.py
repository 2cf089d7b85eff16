"""Windows through a whole gateway whose clock is set: refused until the moment that was told, and served from it on."""

from typing import Any

import pytest
import trio

from ainf.inference.money import format_usd
from ainf.ledger import Window
from ainf.store.verify import verify
from tests.gateway.backends import OUTPUT_RATE
from tests.gateway.clock import SteppedClock, moment
from tests.gateway.holds import base_of
from tests.gateway.law import check_ledger
from tests.gateway.world import Client, World, question, world

MONEY = "slice_tokens = 8\nmin_output_tokens = 4"

TURNS = [
    # window, a moment in it, its last second, when the next begins
    (Window.HOUR, "2026-11-21T10:00:00", "2026-11-21T10:59:59", "2026-11-21T11:00:00"),
    (Window.HOUR, "2026-11-21T10:30:00", "2026-11-21T10:59:59", "2026-11-21T11:00:00"),
    (Window.HOUR, "2026-12-31T23:15:00", "2026-12-31T23:59:59", "2027-01-01T00:00:00"),
    (Window.DAY, "2026-11-21T00:00:00", "2026-11-21T23:59:59", "2026-11-22T00:00:00"),
    (Window.DAY, "2028-02-28T12:00:00", "2028-02-28T23:59:59", "2028-02-29T00:00:00"),
    (Window.WEEK, "2026-11-16T00:00:00", "2026-11-22T23:59:59", "2026-11-23T00:00:00"),  # from Monday
    (Window.WEEK, "2026-11-22T12:00:00", "2026-11-22T23:59:59", "2026-11-23T00:00:00"),
    (Window.WEEK, "2026-12-31T12:00:00", "2027-01-03T23:59:59", "2027-01-04T00:00:00"),
    (Window.MONTH, "2027-01-31T12:00:00", "2027-01-31T23:59:59", "2027-02-01T00:00:00"),
    (Window.MONTH, "2027-02-01T00:00:00", "2027-02-28T23:59:59", "2027-03-01T00:00:00"),
    (Window.MONTH, "2028-02-10T12:00:00", "2028-02-29T23:59:59", "2028-03-01T00:00:00"),
    (Window.MONTH, "2027-04-30T23:00:00", "2027-04-30T23:59:59", "2027-05-01T00:00:00"),
    (Window.MONTH, "2026-12-01T00:00:00", "2026-12-31T23:59:59", "2027-01-01T00:00:00"),
]


async def counted(here: World) -> list[tuple[int, int]]:
    """The settled amounts of the cap by the start of their window."""
    return [
        (start, settled)
        for start, settled in await here.rows(
            "SELECT window_start, settled_nusd FROM counters WHERE settled_nusd > 0 ORDER BY window_start"
        )
    ]


async def enough_for_one(here: World, window: Window, model: str = "sim", **fields: Any) -> int:
    """Set a cap that pays for one request and not for two; return it."""
    base = await base_of(here, here.client(question(model, **fields)))
    await here.set_cap(nusd := base + 8 * OUTPUT_RATE, window=window)
    return nusd


@pytest.mark.parametrize(("window", "inside", "last", "turn"), TURNS, ids=[f"{row[0]}-{row[1]}" for row in TURNS])
async def test_a_window_turns(window, inside, last, turn, tmp_path, autojump_clock):
    """What used the cap up is refused to the window's last second, and told when it ends; then it is served again."""
    clock = SteppedClock(inside)
    async with world(tmp_path, "sim-tokens-8", more=MONEY, clock=clock) as here:
        nusd = await enough_for_one(here, window, "sim-tokens-8")
        first = await here.ask("sim-tokens-8")
        assert first.status == 200
        clock.set(last)
        refused = await here.ask("sim-tokens-8")
        cap = refused.json()["error"]["cap"]
        assert (refused.status, cap["window"], cap["limit"]) == (402, window, format_usd(nusd))
        assert (cap["resets_at"], cap["resets_in_s"]) == (f"{turn}.000000Z", 1)
        assert refused.json()["error"]["message"].endswith(f"It resets at {turn}Z.")
        (told,) = (await here.get("/v1/usage")).json()["caps"]
        assert (told["resets_at"], told["left_nusd"]) == (cap["resets_at"], nusd - told["settled_nusd"])
        clock.set(turn)
        (told,) = (await here.get("/v1/usage")).json()["caps"]
        assert (told["settled_nusd"], told["left_nusd"]) == (0, nusd)
        assert (await here.ask("sim-tokens-8")).status == 200
        assert [start for start, _ in await counted(here)][1:] == [moment(turn)]
        assert (await here.ask("sim-tokens-8")).status == 402
        await check_ledger(here)


async def test_a_lifetime_never_turns(tmp_path, autojump_clock):
    """Years later it is refused as ever, and nothing is said of a reset."""
    clock = SteppedClock("2026-11-21T10:59:00")
    async with world(tmp_path, "sim-tokens-8", more=MONEY, clock=clock) as here:
        await enough_for_one(here, Window.LIFETIME, "sim-tokens-8")
        assert (await here.ask("sim-tokens-8")).status == 200
        clock.set("2036-01-01T00:00:00")
        error = (await here.ask("sim-tokens-8")).json()["error"]
        assert (error["cap"]["resets_at"], error["cap"]["resets_in_s"]) == (None, None)
        assert "resets" not in error["message"]


@pytest.mark.threat(71)
async def test_a_stream_over_the_turn_counts_where_it_was_admitted(tmp_path, autojump_clock):
    """Opened at 10:59:59, extended and settled after 11:00: all of it is the old hour's, whose cap cuts it; the new
    hour is untouched and pays for the next."""
    model = "sim-tokens-60-unlimited-pace-100ms"
    clock = SteppedClock("2026-11-21T10:59:59")
    async with world(tmp_path, model, more=MONEY, clock=clock) as here:
        base = await base_of(here, here.client(question(model)))
        await here.set_cap(base + 30 * OUTPUT_RATE, window=Window.HOUR)
        client = await here.ask(model)
        receipt = await here.receipt(client.inference_id)
        assert clock() > moment("2026-11-21T11:00:01")
        assert receipt["ending"] == "spend_cap_exceeded"
        assert len(client.text()) // 4 == receipt["usage"]["output_tokens"] >= 30
        assert receipt["caps"][0]["window_start"] == "2026-11-21T10:00:00.000000Z"
        assert await counted(here) == [(moment("2026-11-21T10:00:00"), receipt["settled_nusd"])]
        after = await here.ask(model, max_tokens=8)
        spent = (await here.receipt(after.inference_id))["settled_nusd"]
        assert (await counted(here))[1] == (moment("2026-11-21T11:00:00"), spent)
        await check_ledger(here)


@pytest.mark.threat(71)
@pytest.mark.parametrize("to", ["2026-11-21T11:30:00", "2026-11-21T09:30:00"], ids=["an-hour-on", "an-hour-back"])
async def test_a_clock_that_jumps(to, tmp_path, autojump_clock):
    """A clock that is set while a stream runs ends nothing; what it costs counts where it was admitted, once."""
    model = "sim-tokens-40-pace-100ms"
    clock = SteppedClock("2026-11-21T10:30:00")
    async with world(tmp_path, model, more=MONEY, clock=clock) as here:
        await here.set_cap(10**9, window=Window.HOUR)
        client: Client = here.client(question(model))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(1)
            clock.set(to)
        receipt = await here.receipt(client.inference_id)
        assert (receipt["ending"], receipt["evidence"]) == ("completed", "reported")
        assert await counted(here) == [(moment("2026-11-21T10:00:00"), receipt["settled_nusd"])]
        assert (await here.ask(model)).status == 200
        assert await here.store.read(verify) == []
