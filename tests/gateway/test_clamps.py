"""Outputs that a cap clamps: whose limit ends an answer, what thinking is left, and that the receipt names the cap."""

from typing import Any

import pytest
import trio

from ainf.ledger import Window
from tests.gateway.backends import FORMATS, INPUT_RATE, OUTPUT_RATE
from tests.gateway.dialects import CHAT, DIALECTS, MESSAGES, Dialect
from tests.gateway.holds import base_of
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.world import Client, World, world

MONEY = "slice_tokens = 4\nmin_output_tokens = 4"
ROOM = 10
"""Tokens of output that a cap leaves room for."""

pairs = pytest.mark.parametrize(
    ("dialect", "format_"),
    [pytest.param(dialect, format_, id=f"{dialect.format}-{format_}") for dialect in DIALECTS for format_ in FORMATS],
)
streams = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


async def leave_room(here: World, dialect: Dialect, model: str, tokens: int, **asked: Any) -> Client:
    """Set a cap that pays for a request's input and so many tokens of output; return its client."""
    probe = here.client(dialect.question(model, **asked), path=dialect.path)
    await here.set_cap(await base_of(here, probe) + tokens * OUTPUT_RATE, window=Window.DAY)
    return here.client(dialect.question(model, **asked), path=dialect.path)


@streams
@pytest.mark.parametrize("limit", [9, 10, 11, None], ids=["below", "equal", "above", "none"])
@pairs
async def test_whose_limit_ended_it(dialect, format_, limit, stream, tmp_path, autojump_clock):
    """The client's own limit, as long as all of it fits: a plain end; the money's, where that is the lower one."""
    model = f"{format_}/sim-tokens-30"
    async with world(tmp_path, model, more=MONEY) as here:
        client = await leave_room(here, dialect, model, ROOM, stream=stream, limit=limit)
        await here.run(client)
        receipt = await here.receipt(client.inference_id)
        is_clamped = limit is None or limit > ROOM
        tokens = ROOM if is_clamped else limit
        assert await check_transcript(here, client) == ("spend_cap_exceeded" if is_clamped else "completed")
        assert client.headers.get("x-ainf-max-tokens") == (str(ROOM) if is_clamped else None)
        assert client.said().reason == (dialect.cap_reason if is_clamped else dialect.strict_reason)
        assert (receipt["evidence"], receipt["usage"]["output_tokens"]) == ("reported", tokens)
        assert here.simulator.books.entries[-1].max_tokens == tokens
        assert receipt["overrun_nusd"] == 0
        assert receipt["clamp_tokens"] == receipt["notes"].get("clamp_tokens") == (ROOM if is_clamped else None)
        assert receipt["notes"].get("clamped_by") == ("cap_agents_day" if is_clamped else None)
        await check_ledger(here)


@pytest.mark.parametrize(
    ("model", "ending"),
    [
        ("sim-tokens-5-pace-100ms", "completed"),
        ("sim-tokens-30-pace-100ms", "spend_cap_exceeded"),
        ("sim-tokens-30-pace-100ms-error-after-5", "upstream_error"),
        ("sim-tokens-30-pace-100ms-stall-after-5", "client_disconnected"),
    ],
)
async def test_the_receipt_names_what_clamped(model, ending, tmp_path, autojump_clock):
    """Whatever the ending: the cap, which is one of those that the receipt lists, with its window."""
    async with world(tmp_path, model, more=MONEY) as here:
        await here.set_cap(10**12, window=Window.HOUR)
        client = await leave_room(here, CHAT, model, ROOM)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(2)
            client.leave()
        receipt = await here.receipt(client.inference_id)
        assert (receipt["ending"], receipt["notes"]["clamp_tokens"]) == (ending, ROOM)
        (cap,) = [each for each in receipt["caps"] if each["cap_id"] == receipt["notes"]["clamped_by"]]
        assert (cap["of"], cap["window"]) == ("account agents", "day")
        assert receipt["notes"].get("window") == ("day" if ending == "spend_cap_exceeded" else None)
        await check_ledger(here)


@streams
@pairs
async def test_hidden_reasoning_that_uses_a_clamp_up(dialect, format_, stream, tmp_path, autojump_clock):
    """Thoughts that nobody sees are held and paid for like any output: nothing is shown, and the cap is told."""
    model = f"{format_}/sim-hidden-reasoning-30-tokens-8"
    async with world(tmp_path, model, more=f'{MONEY}\nhidden_reasoning = "always"') as here:
        client = await leave_room(here, dialect, model, ROOM, stream=stream)
        await here.run(client)
        receipt = await here.receipt(client.inference_id)
        usage = receipt["usage"]
        assert receipt["ending"] == "spend_cap_exceeded"
        assert (client.said().text, client.said().reason) == ("", dialect.cap_reason)
        assert (usage["output_tokens"], usage["reasoning_tokens"]) == (ROOM, ROOM)
        assert receipt["settled_nusd"] == usage["input_tokens"] * INPUT_RATE + ROOM * OUTPUT_RATE
        assert receipt["held_nusd"] - receipt["settled_nusd"] >= 0 == receipt["overrun_nusd"]
        await check_provider(here)
        await check_ledger(here)


@streams
@pairs
async def test_hidden_reasoning_is_never_held_in_slices(dialect, format_, stream, tmp_path, autojump_clock):
    """The whole worst case is held at the opening, and no extension is asked for."""
    model = f"{format_}/sim-hidden-reasoning-5-tokens-8-pace-10ms"
    async with world(tmp_path, model, more=f'{MONEY}\nhidden_reasoning = "always"') as here:
        client = await here.speak(dialect, model, stream=stream, limit=40)
        assert await check_transcript(here, client) == "completed"
        kinds = await here.rows("SELECT kind FROM entries ORDER BY seq")
        assert [kind for (kind,) in kinds] == ["hold", "settle", "release"]
        assert (await here.receipt(client.inference_id))["held_nusd"] >= 40 * OUTPUT_RATE


@pytest.mark.parametrize(
    ("asked", "is_whole"),
    [
        ({}, False),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, True),
    ],
    ids=["unasked", "disabled", "enabled"],
)
async def test_thinking_is_held_whole_where_it_is_asked_for(asked, is_whole, tmp_path, autojump_clock):
    """Of a model that thinks unseen when it is asked to, only such a request is held for all that it may cost."""
    model = "messages/sim-tokens-2"
    async with world(tmp_path, model, more=f'{MONEY}\nhidden_reasoning = "asked"') as here:
        client = await here.speak(MESSAGES, model, limit=2000, **asked)
        held = (await here.receipt(client.inference_id))["held_nusd"]
        assert (held >= 2000 * OUTPUT_RATE) is is_whole


BUDGETS = [
    (MESSAGES, "messages", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    (MESSAGES, "gemini", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    (CHAT, "chat", {"reasoning": {"max_tokens": 1024}}),
]


@streams
@pytest.mark.parametrize(("dialect", "format_", "asked"), BUDGETS, ids=[f"{row[0].format}-{row[1]}" for row in BUDGETS])
async def test_a_clamp_leaves_room_for_thinking(dialect, format_, asked, stream, tmp_path, autojump_clock):
    """The budget and `min_output_tokens` are the least that is admitted; a token less is refused and not dialled."""
    model = f"{format_}/sim-tokens-6"
    for room, status in ((1024 + 4, 200), (1024 + 3, 402)):
        async with world(tmp_path, model, more=MONEY) as here:
            client = await leave_room(here, dialect, model, room, stream=stream, limit=4000, **asked)
            calls = len(here.simulator.books.entries)
            await here.run(client)
            await check_transcript(here, client)
            assert client.status == status
            if status == 200:
                assert client.headers["x-ainf-max-tokens"] == "1028"
                assert here.simulator.books.entries[-1].max_tokens == 1028
            else:
                assert len(here.simulator.books.entries) == calls
            await check_ledger(here)
