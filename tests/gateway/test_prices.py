"""Which price a request costs: the one in force when it is admitted, and the tier that its prompt reaches."""

from ainf.config.bundled import bundled_price
from ainf.inference.usage import Usage
from ainf.pricing import cost, parse_price
from ainf.simulator import Script, chunk, head, last_chunk
from tests.gateway.clock import SteppedClock, moment
from tests.gateway.law import check_ledger
from tests.gateway.world import world

DATED = """price = [
    { input = "1", output = "2" },
    { from = 2027-01-01, input = "3", output = "7" },
]"""
OLD, NEW = parse_price({"input": "1", "output": "2"}), parse_price({"input": "3", "output": "7"})
SLOW = "sim-tokens-200-pace-50ms"


BUNDLED = """
[providers.openai]
format = "openai"
base_url = "http://provider.test/v1"
api_key_env = "SIM_KEY"
[models."gpt-6-sol"]
provider = "openai"
max_output_tokens = 4096
"""
ANSWER = (
    b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"abcd"},"finish_reason":null}]}\n\n'
    b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":90,"completion_tokens":30,"prompt_tokens_details":'
    b'{"cached_tokens":60},"completion_tokens_details":{"reasoning_tokens":20}}}\n\ndata: [DONE]\n\n'
)


async def test_a_model_without_a_price_of_its_own_costs_what_is_bundled(tmp_path, autojump_clock):
    """Nothing but its name is configured: it is held, settled and shown at the price that `ainf prices` lists."""
    async with world(tmp_path, after=BUNDLED) as here:
        here.simulator.set_script(Script([head(), chunk(ANSWER), last_chunk()]))
        receipt = await here.receipt((await here.ask("gpt-6-sol")).inference_id)
        price = bundled_price("openai", "gpt-6-sol").prices.at(here.clock())
        assert receipt["price_version"] == price.version
        usage = Usage(input_tokens=90, cached_input_tokens=60, output_tokens=30, reasoning_tokens=20)
        assert receipt["settled_nusd"] == cost(price, usage) > 0
        assert receipt["held_nusd"] > receipt["settled_nusd"]
        await check_ledger(here, admitted=1)


async def test_a_price_begins_by_itself(tmp_path, autojump_clock):
    """No reload is needed: what is admitted before midnight costs the old price, what comes after it the new one."""
    async with world(tmp_path, SLOW, more=DATED, clock=SteppedClock("2026-12-31T23:59:55")) as here:
        across = await here.ask(SLOW)
        assert here.clock() > moment("2027-01-01T00:00:00")
        after = await here.ask(SLOW)
        receipts = [await here.receipt(client.inference_id) for client in (across, after)]
    assert [receipt["price_version"] for receipt in receipts] == [OLD.version, NEW.version]
    for receipt, (read, written) in zip(receipts, [(1_000, 2_000), (3_000, 7_000)], strict=True):
        usage = receipt["usage"]
        assert receipt["settled_nusd"] == usage["input_tokens"] * read + usage["output_tokens"] * written


async def test_a_long_prompt_costs_its_tier(tmp_path, autojump_clock):
    """A prompt that reaches the tier is held and settled at its rates, one that does not is not."""
    price = 'price = { input = "1", output = "2", tiers = [{ above = 1000, input = "3", output = "7" }] }'
    async with world(tmp_path, "sim", more=price) as here:
        short = await here.ask()
        long = await here.ask(messages=[{"role": "user", "content": "word " * 8000}])
        receipts = [await here.receipt(client.inference_id) for client in (short, long)]
        held = [receipt["held_nusd"] for receipt in receipts]
    for receipt, (read, written) in zip(receipts, [(1_000, 2_000), (3_000, 7_000)], strict=True):
        usage = receipt["usage"]
        assert receipt["settled_nusd"] == usage["input_tokens"] * read + usage["output_tokens"] * written
        assert receipt["overrun_nusd"] == 0
    assert receipts[0]["usage"]["input_tokens"] <= 1000 < receipts[1]["usage"]["input_tokens"]
    assert held[1] > 3 * held[0]


async def test_sound_is_refused_by_name_where_it_has_no_rate(tmp_path, autojump_clock):
    """A part that the model shall hear is refused where it stands; with a rate for it, it goes on."""
    heard = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is said?"}, heard]}]
    async with world(tmp_path, "sim", more='price = { input = "1", output = "2" }') as here:
        refused = await here.ask(messages=messages)
    assert refused.status == 400
    assert refused.json()["error"]["param"] == "messages[0].content[1].type"
    async with world(tmp_path, "sim", more='price = { input = "1", output = "2", audio_input = "8" }') as here:
        client = await here.ask(messages=messages)
        receipt = await here.receipt(client.inference_id)
    assert client.status == 200
    assert receipt["held_nusd"] >= 1600 * 8_000
