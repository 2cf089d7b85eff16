"""Which price a request costs: the one in force when it is admitted, and the tier that its prompt reaches."""

from ainf.pricing import parse_price
from tests.gateway.clock import SteppedClock, moment
from tests.gateway.world import world

DATED = """price = [
    { input = "1", output = "2" },
    { from = 2027-01-01, input = "3", output = "7" },
]"""
OLD, NEW = parse_price({"input": "1", "output": "2"}), parse_price({"input": "3", "output": "7"})
SLOW = "sim-tokens-200-pace-50ms"


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
