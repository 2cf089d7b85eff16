"""Usage that a provider tells on the way, in an answer that breaks off: its input is known, its output is the least."""

import pytest
import trio

from ainf.inference.outcome import Ending, Verdict
from ainf.simulator import Stall, chunk, head
from ainf.simulator.steps import Script
from tests.gateway.backends import INPUT_RATE, OUTPUT_RATE
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.world import World, question, world

CHAT_TOKEN = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"abcdabcd"},"finish_reason":null}]%s}\n\n'
CHAT_USAGE = b',"usage":{"prompt_tokens":%d,"completion_tokens":%d}'
MESSAGES = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant",'
    b'"model":"m","content":[],"usage":{"input_tokens":7,"output_tokens":0}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"abcdabcd"}}\n\n'
)
ESTIMATE = 11


async def cut_after(here: World, model: str, data: bytes) -> dict:
    """Run an answer that stalls behind these frames, ended a second later; return its receipt."""
    here.simulator.set_script(Script([head(), chunk(data), Stall()]))
    client = here.client(question(model))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.run, client)
        await trio.sleep(1)
        (exchange,) = here.gateway.inflight
        exchange.offer(Verdict(Ending.TERMINATED, "killed", "Killed."))
    await check_transcript(here, client)
    await check_provider(here)
    await check_ledger(here, admitted=1)
    return await here.receipt(client.inference_id)


@pytest.mark.parametrize(
    ("model", "data", "tokens"),
    [
        ("messages/sim", MESSAGES, (7, 2)),
        ("sim", CHAT_TOKEN % (CHAT_USAGE % (7, 0)), (7, 2)),
        ("sim", CHAT_TOKEN % (CHAT_USAGE % (7, 1)), (7, 2)),
        ("sim", CHAT_TOKEN % (CHAT_USAGE % (7, 50)), (7, 50)),
        ("sim", CHAT_TOKEN % (CHAT_USAGE % (0, 0)), (ESTIMATE, 2)),
        ("sim", CHAT_TOKEN % (CHAT_USAGE % (7, -1)), (ESTIMATE, 2)),
        ("sim", CHAT_TOKEN % b"", (ESTIMATE, 2)),
    ],
    ids=["placeholder", "behind", "behind by one", "ahead", "zeros", "broken", "none"],
)
async def test_what_it_is_settled_at(model, data, tokens, tmp_path, autojump_clock):
    """The provider's count of the input, unless it is none; of the output whichever is more, its count or ours."""
    async with world(tmp_path, model) as here:
        receipt = await cut_after(here, model, data)
        usage = receipt["usage"]
        assert receipt["evidence"] == "metered"
        assert (usage["input_tokens"], usage["output_tokens"]) == tokens
        assert receipt["settled_nusd"] == tokens[0] * INPUT_RATE + tokens[1] * OUTPUT_RATE


async def test_thoughts_that_nobody_sees_are_not_given_away(tmp_path, autojump_clock):
    """A provider that tells on the way what it has thought is paid for that, although the answer broke off."""
    model = "gemini/sim-hidden-reasoning-300-tokens-40-pace-50ms"
    async with world(tmp_path, model, more='hidden_reasoning = "always"') as here:
        client = here.client(question(model))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(16)
            client.leave()
        ((inference_id,),) = await here.rows("SELECT inference_id FROM inferences")
        receipt = await here.receipt(inference_id)
        (entry,) = here.simulator.books.entries
        assert receipt["ending"] == "client_disconnected"
        assert receipt["usage"]["reasoning_tokens"] == 300
        assert 300 < receipt["usage"]["output_tokens"] <= entry.billed_output_tokens
        await check_ledger(here, admitted=1)


async def test_the_input_that_is_reported_decides_the_tier(tmp_path, autojump_clock):
    """An estimate below a tier's border, and a report above it: all of it costs the tier's rates, hold or no hold."""
    price = (
        'price = { input = "1.00", output = "2.00", '
        'tiers = [ { above = 50, input = "3.00", cached_input = "0.30", output = "5.00" } ] }'
    )
    told = MESSAGES.replace(b'"input_tokens":7', b'"input_tokens":100,"cache_read_input_tokens":20')
    async with world(tmp_path, "messages/sim", more=price) as here:
        receipt = await cut_after(here, "messages/sim", told)
        usage = receipt["usage"]
        assert (usage["input_tokens"], usage["cached_input_tokens"], usage["output_tokens"]) == (120, 20, 2)
        assert receipt["settled_nusd"] + receipt["overrun_nusd"] == 100 * 3000 + 20 * 300 + 2 * 5000
