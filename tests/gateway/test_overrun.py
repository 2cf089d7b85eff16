"""What a provider bills beyond the hold: an entry of its own, counted on every cap, shown wherever somebody looks."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
import trio
from click.testing import CliRunner

from ainf.cli.main import ainf
from ainf.inference.money import format_usd
from ainf.ledger import Window
from ainf.simulator import Script, chunk, head, last_chunk
from tests.gateway.backends import FORMATS, INPUT_RATE, OUTPUT_RATE
from tests.gateway.clock import SteppedClock
from tests.gateway.dialects import DIALECTS
from tests.gateway.holds import base_of
from tests.gateway.law import check_ledger, check_transcript
from tests.gateway.live import live
from tests.gateway.world import Client, World, question, world

MONEY = "slice_tokens = 8\nmin_output_tokens = 4"
UNTOLD = "sim-hidden-reasoning-198-tokens-2"
"""It thinks more than it shows, though its model is declared to show all: only what is seen is held."""
LIMIT = 200
MANY_TOKENS = (
    b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"abcd"},"finish_reason":null}]}\n\n'
    b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":900,"completion_tokens":1}}\n\ndata: [DONE]\n\n'
)
"""An input of more tokens than its bytes could have."""

pairs = pytest.mark.parametrize(
    ("dialect", "format_"),
    [pytest.param(dialect, format_, id=f"{dialect.format}-{format_}") for dialect in DIALECTS for format_ in FORMATS],
)


async def usage(here: World, **parameters: str) -> Any:
    client = Client("/v1/usage", b"", {"authorization": f"Bearer {here.key}"}, "GET")
    client.scope["query_string"] = urlencode(parameters).encode()
    return (await here.run(client)).json()


@pytest.mark.threat(91)
@pairs
async def test_an_overrun_is_posted_and_counted(dialect, format_, tmp_path, autojump_clock):
    """The hold is settled, the rest posted beside it; receipt, metric, usage and every cap say the same amount; what
    comes next is refused until the window turns."""
    model = f"{format_}/{UNTOLD}"
    clock = SteppedClock("2026-11-21T10:59:00")
    async with world(tmp_path, model, more=MONEY, clock=clock) as here:
        base = await base_of(here, here.client(dialect.question(model, limit=LIMIT), path=dialect.path))
        await here.set_cap(limit := base + LIMIT * OUTPUT_RATE, window=Window.HOUR)
        await here.set_cap(10**12, key_id=here.key_id)
        client = await here.speak(dialect, model, limit=LIMIT)
        assert await check_transcript(here, client) == "completed"
        receipt = await here.receipt(client.inference_id)
        billed = receipt["usage"]["input_tokens"] * INPUT_RATE + receipt["usage"]["output_tokens"] * OUTPUT_RATE
        overrun = billed - receipt["held_nusd"]
        assert receipt["usage"]["output_tokens"] == LIMIT
        assert receipt["held_nusd"] == base + 8 * OUTPUT_RATE
        assert (receipt["settled_nusd"], receipt["overrun_nusd"]) == (receipt["held_nusd"], overrun)
        assert overrun > 0

        entries = await here.rows("SELECT kind, amount_nusd FROM entries ORDER BY seq")
        assert [entry for entry in entries if entry[0] == "overrun"] == [("overrun", overrun)]
        assert await here.rows("SELECT DISTINCT settled_nusd, held_nusd FROM counters") == [(billed, 0)]
        provider = FORMATS[format_][0]
        told = here.telemetry.exposition().decode()
        assert f'ainf_overrun_nusd_total{{model="{model}",provider="{provider}"}} {float(overrun)}' in told
        clock.set("2026-11-21T10:59:59")
        (row,) = [each for each in (await usage(here, by="ending"))["rows"] if each["ending"] == "completed"]
        assert (row["overrun_nusd"], row["spent_nusd"]) == (overrun, billed)
        cap = {each["window"]: each for each in (await usage(here))["caps"]}["hour"]
        assert cap["left_nusd"] == limit - billed

        refused = await here.speak(dialect, model, limit=LIMIT)
        assert refused.status == 402
        assert refused.json()["error"]["cap"]["left"] == format_usd(max(0, limit - billed))
        clock.set("2026-11-21T11:00:00")
        assert (await here.speak(dialect, model, limit=LIMIT)).status == 200
        await check_ledger(here, admitted=3)  # the first measured what is held for the input


async def test_a_cap_that_an_overrun_passed(tmp_path, autojump_clock):
    """Above its limit it has 0 USD left and admits nothing; raised above the sum, it serves again."""
    async with world(tmp_path, "sim", more=MONEY) as here:
        base = await base_of(here, here.client(question("sim", max_tokens=20)))
        await here.set_cap(limit := base + 20 * OUTPUT_RATE)
        here.simulator.set_script(Script([head(), chunk(MANY_TOKENS), last_chunk()]))
        client = await here.ask("sim", max_tokens=20)
        receipt = await here.receipt(client.inference_id)
        spent = receipt["settled_nusd"] + receipt["overrun_nusd"]
        assert spent == 900 * INPUT_RATE + OUTPUT_RATE > limit
        refused = await here.ask("sim", max_tokens=20)
        assert refused.json()["error"]["cap"]["left"] == "0"
        (cap,) = (await usage(here))["caps"]
        assert cap["left_nusd"] == limit - spent < 0
        await here.set_cap(limit + spent)
        assert (await here.ask("sim", max_tokens=20)).status == 200
        await check_ledger(here, admitted=3)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_an_operator_sees_it(stream, tmp_path):
    """On the real server, beside the running gateway: `ainf usage` marks it and says where to look."""
    async with live(tmp_path, UNTOLD, more=MONEY) as here:
        await here.ask(UNTOLD, stream=stream, max_tokens=LIMIT)
        (receipt,) = await here.receipts()

        def run(*arguments: str) -> str:
            result = CliRunner().invoke(ainf, ["usage", "--config", str(tmp_path / "ainf.toml"), *arguments])
            assert result.exit_code == 0, result.output
            return result.stdout

        shown = await trio.to_thread.run_sync(run)
        told = json.loads(await trio.to_thread.run_sync(run, "--json"))
        assert told["totals"]["overrun_nusd"] == receipt["overrun_nusd"]
        if stream:
            assert receipt["overrun_nusd"] > 0
            assert format_usd(receipt["overrun_nusd"]) in shown
            assert "! Billed beyond what was held" in shown
        else:
            assert (receipt["overrun_nusd"], "!" in shown) == (0, False)
