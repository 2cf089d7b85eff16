"""What is held of a request before it is dialled, and that nothing is shown beyond it, through a whole gateway."""

import base64
from typing import Any

import pytest

from ainf.exchange.run import Exchange
from ainf.metering import tokens_of
from ainf.pricing import parse_price
from ainf.simulator import Script, chunk, head, last_chunk
from tests.gateway.backends import INPUT_RATE, OUTPUT_RATE
from tests.gateway.dialects import CHAT, DIALECTS, MESSAGES, RESPONSES, Dialect
from tests.gateway.law import check_ledger, check_transcript
from tests.gateway.test_calibration import teach
from tests.gateway.world import World, question, world

MONEY = "slice_tokens = 8\nmin_output_tokens = 4"
PLAIN = 'price = { input = "1", output = "2" }'
IMAGE_TOKENS = 1600


def with_pictures(dialect: Dialect, data: str, number: int) -> dict[str, Any]:
    """A question with so many pictures in the body."""
    url = f"data:image/png;base64,{data}"
    part: dict[str, Any] = {
        CHAT.format: {"type": "image_url", "image_url": {"url": url}},
        MESSAGES.format: {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}},
        RESPONSES.format: {"type": "input_image", "image_url": url, "detail": "auto"},
    }[dialect.format]
    text = {"type": "input_text" if dialect is RESPONSES else "text", "text": "What is this?"}
    field = "input" if dialect is RESPONSES else "messages"
    return {field: [{"role": "user", "content": [text, *[part] * number]}]}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_a_picture_is_held_for_as_a_picture(dialect, tmp_path, autojump_clock):
    """However many bytes it has, each is held at `image_tokens`; the text of the body is not taken for it."""
    model = f"{dialect.format}/sim"
    async with world(tmp_path, model, more=f"slice_tokens = 64\n{PLAIN}") as here:
        held = []
        for size, number in ((3_000, 1), (300_000, 1), (3_000, 3)):
            data = base64.b64encode(bytes(size)).decode()
            client = await here.speak(dialect, model, limit=40, **with_pictures(dialect, data, number))
            assert await check_transcript(here, client) == "completed"
            held.append((await here.receipt(client.inference_id))["held_nusd"])
        assert abs(held[0] - held[1]) <= 2 * INPUT_RATE
        assert held[0] >= IMAGE_TOKENS * INPUT_RATE
        # Two pictures more, with the few bytes of JSON around each.
        assert 0 <= held[2] - held[0] - 2 * IMAGE_TOKENS * INPUT_RATE < 200 * INPUT_RATE
        await check_ledger(here)


TIERED = 'price = { input = "1", output = "2", tiers = [{ above = 1000, input = "3", output = "7" }] }'


async def test_the_tier_that_was_reached_is_billed(tmp_path, autojump_clock):
    """Held at the dearer tier, which the bound of the input reaches, and settled at the one that was reported."""
    async with world(tmp_path, "sim", more=f"{MONEY}\n{TIERED}") as here:
        text = "word " * 500  # at least two bytes a token: at most 1,250 tokens
        client = await here.ask(messages=[{"role": "user", "content": text}], max_tokens=40)
        receipt = await here.receipt(client.inference_id)
        usage = receipt["usage"]
        assert usage["input_tokens"] <= 1000
        assert receipt["settled_nusd"] == usage["input_tokens"] * 1000 + usage["output_tokens"] * 2000
        assert receipt["held_nusd"] >= 1250 * 3000 + 8 * 7000
        assert (
            receipt["price_version"]
            == parse_price({
                "input": "1",
                "output": "2",
                "tiers": [{"above": 1000, "input": "3", "output": "7"}],
            }).version
        )
        await check_ledger(here)


async def test_a_tier_that_was_not_expected_is_overrun(tmp_path, autojump_clock):
    """An input that is reported above the tier, though its bytes are not, costs the tier: the rest is overrun."""
    frames = (
        b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"abcd"},"finish_reason":null}]}\n\n'
        b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":1001,"completion_tokens":1}}\n\ndata: [DONE]\n\n'
    )
    async with world(tmp_path, "sim", more=f"{MONEY}\n{TIERED}") as here:
        here.simulator.set_script(Script([head(), chunk(frames), last_chunk()]))
        receipt = await here.receipt((await here.ask(max_tokens=40)).inference_id)
        assert receipt["settled_nusd"] + receipt["overrun_nusd"] == 1001 * 3000 + 7000
        assert receipt["overrun_nusd"] > 0
        await check_ledger(here)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_a_free_model_knows_no_money(dialect, stream, tmp_path, autojump_clock):
    """A cap without a cent refuses, clamps and cuts nothing of it; it is counted, and has its receipt, all the same."""
    model = f"{dialect.format}/sim-tokens-300"
    async with world(tmp_path, model, more=f'{MONEY}\nprice = "free"') as here:
        await here.set_cap(0)
        client = await here.speak(dialect, model, stream=stream)
        assert await check_transcript(here, client) == "completed"
        assert "x-ainf-max-tokens" not in client.headers
        receipt = await here.receipt(client.inference_id)
        assert (receipt["held_nusd"], receipt["settled_nusd"], receipt["overrun_nusd"]) == (0, 0, 0)
        assert (receipt["usage"]["output_tokens"], receipt["evidence"]) == (300, "reported")
        (row,) = (await here.get("/v1/usage")).json()["rows"]
        assert (row["exchanges"], row["output_tokens"], row["spent_nusd"]) == (1, 300, 0)
        await check_ledger(here, admitted=1)


@pytest.mark.parametrize("per_frame", [1, 3])
async def test_chinese_is_inside_the_hold(per_frame, tmp_path, autojump_clock):
    """Characters of three bytes, counted by a ratio that was learnt of them: whatever was written was paid for before,
    and only whole characters are."""
    teacher = "sim-text-chinese-tokens-200"
    endless = f"sim-text-chinese-endless-per-frame-{per_frame}"
    async with world(tmp_path, teacher, endless, more=MONEY) as here:
        await teach(here, teacher, 60)
        learnt = here.gateway.models[teacher].terms.ratios
        assert learnt.mean != 4000
        here.gateway.recalibrate({endless: learnt})
        client = here.client(question(endless, max_tokens=400))
        client.on_write = lambda _: inside.append(_is_paid(here))
        inside: list[bool] = []
        ((spent,),) = await here.rows("SELECT sum(settled_nusd) FROM settlements")
        await here.set_cap(spent + 600 * OUTPUT_RATE)
        await here.run(client)
        receipt = await here.receipt(client.inference_id)
        assert receipt["ending"] == "spend_cap_exceeded"
        assert receipt["clamp_tokens"] is None
        assert len(inside) > 20
        assert all(inside)
        assert "\ufffd" not in client.text()
        seen = len(client.text().encode())
        assert seen == receipt["output_bytes"]
        assert tokens_of(seen, learnt.mean) <= receipt["usage"]["output_tokens"]
        assert receipt["overrun_nusd"] == 0
        await check_ledger(here)


def _is_paid(here: World) -> bool:
    """Whether what the running exchange has handed over costs no more than it holds, by our own count of it."""
    (exchange,) = here.gateway.inflight
    assert isinstance(exchange, Exchange)
    hold = exchange.hold
    ask, ratio = exchange.plan.admission.ask, exchange.plan.admission.terms.ratios.mean
    return ask.base_nusd + tokens_of(hold.delivered, ratio) * OUTPUT_RATE <= hold.held_nusd
