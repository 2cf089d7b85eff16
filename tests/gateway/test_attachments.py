"""Attachments cost what their bytes do not show: what the provider reports of them is what is settled."""

import base64

import pytest

from ainf.simulator import chunk, head, last_chunk
from ainf.simulator.steps import Script
from tests.gateway.law import check_ledger
from tests.gateway.world import World, world

PICTURE = "data:image/png;base64," + base64.b64encode(bytes(3_000)).decode()
ANSWER = (
    b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"abcd"},"finish_reason":null}]}\n\n'
    b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
)


async def ask(here: World, prompt_tokens: int, *parts: dict[str, object], **fields: object) -> dict[str, object]:
    """Return the receipt of a request whose provider reports so many tokens of input."""
    usage = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":1}}\n\n' % prompt_tokens
    here.simulator.set_script(Script([head(), chunk(ANSWER + usage + b"data: [DONE]\n\n"), last_chunk()]))
    content = [{"type": "text", "text": "What is this?"}, *parts]
    client = await here.ask(messages=[{"role": "user", "content": content}], **fields)
    receipt: dict[str, object] = await here.receipt(client.inference_id)
    await check_ledger(here, admitted=1)
    return receipt


@pytest.mark.parametrize(
    ("part", "prompt_tokens"),
    [
        ({"type": "image_url", "image_url": {"url": "https://x/y.png"}}, 48_169),
        ({"type": "image_url", "image_url": {"url": PICTURE}}, 48_169),
        ({"type": "file", "file": {"filename": "a.pdf", "file_data": PICTURE}}, 90_000),
        ({"type": "video_url", "video_url": {"url": "https://x/y.mp4"}}, 900_000),
    ],
)
async def test_true_usage_of_an_attachment_is_settled(part, prompt_tokens, tmp_path, autojump_clock):
    """By URL or in the body, the input that the provider reports is charged, and no alarm is raised."""
    async with world(tmp_path, "sim") as here:
        receipt = await ask(here, prompt_tokens, part)
        assert (receipt["evidence"], receipt["usage"]["input_tokens"]) == ("reported", prompt_tokens)
        assert "ainf_usage_rejected_total{" not in here.telemetry.exposition().decode()


async def test_input_in_fields_that_we_do_not_know_is_settled(tmp_path, autojump_clock):
    """What a provider reads beside the messages may be most of the input."""
    async with world(tmp_path, "sim") as here:
        receipt = await ask(here, 10_000, documents=[{"text": "word " * 8_000}])
        assert (receipt["evidence"], receipt["usage"]["input_tokens"]) == ("reported", 10_000)


@pytest.mark.threat(88)
async def test_absurd_usage_is_rejected_and_counted(tmp_path, autojump_clock):
    """A billion tokens are not charged, picture or not; the audit event says so and an alarm is counted."""
    async with world(tmp_path, "sim") as here:
        receipt = await ask(here, 1_000_000_000, {"type": "image_url", "image_url": {"url": PICTURE}})
        assert (receipt["evidence"], receipt["notes"]["usage_rejected"]) == ("metered", True)
        told = here.telemetry.exposition().decode()
        assert 'ainf_usage_rejected_total{model="sim",provider="sim"} 1.0' in told
