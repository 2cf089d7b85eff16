"""``usage.cost`` in the answers of a key that wants it: every protocol and provider format, whole and streamed."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest

from ainf.inference.money import format_usd
from tests.gateway.backends import FORMATS, OUTPUT_RATE
from tests.gateway.dialects import CHAT, DIALECTS, RESPONSES
from tests.gateway.law import check_ledger
from tests.gateway.world import Client, World, world

MONEY = "slice_tokens = 8\nmin_output_tokens = 4"
_COST = re.compile(rb',"cost":([0-9.]+)')

pairs = pytest.mark.parametrize(
    ("dialect", "format_"),
    [pytest.param(dialect, format_, id=f"{dialect.format}-{format_}") for dialect in DIALECTS for format_ in FORMATS],
)
streams = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


async def tell(here: World) -> None:
    """Ask with a key that is told what its answers cost, from now on."""
    here.key = await here.new_key("agents", key_id="k0telling", inject_cost=True)


def usages(client: Client) -> list[dict[str, Any]]:
    """Every usage object that an answer tells, with exact numbers."""
    texts = client.payloads() if client.is_streamed else [client.body]
    documents = [json.loads(text, parse_float=Decimal) for text in texts if text != b"[DONE]"]
    told = [each.get("usage") or (each.get("response") or {}).get("usage") for each in documents]
    return [usage for usage in told if usage]


async def billed(here: World, client: Client) -> int:
    receipt = await here.receipt(client.inference_id)
    return int(receipt["settled_nusd"] + receipt["overrun_nusd"])


async def check_told(here: World, client: Client) -> None:
    """The usage that is told last says what the receipt does, digit for digit, and no other does."""
    *others, last = usages(client)
    assert all("cost" not in usage for usage in others)
    amount = await billed(here, client)
    assert amount > 0
    assert last["cost"] == Decimal(amount) / 10**9
    assert re.findall(rb'"cost":([0-9.]+)', client.body) == [format_usd(amount).encode()]


@streams
@pairs
async def test_an_answer_tells_what_it_cost(stream, dialect, format_, tmp_path, autojump_clock):
    """As the receipt has it; and a provider's answer wrapped into a stream does too."""
    model, wrapped = f"{format_}/sim-tokens-30-cached-3", f"{format_}/sim-tokens-30-json-for-sse"
    async with world(tmp_path, model, wrapped) as here:
        await tell(here)
        for each in (model, wrapped):
            client = await here.speak(dialect, each, stream=stream)
            assert (await here.receipt(client.inference_id))["ending"] == "completed"
            await check_told(here, client)
        await check_ledger(here)


@streams
@pairs
async def test_an_answer_that_a_cap_ended_tells_what_it_cost(stream, dialect, format_, tmp_path, autojump_clock):
    """Clamped and reached, or (a stream) cut: an ending that tells usage tells the cost."""
    clamped, cut = f"{format_}/sim-tokens-500", f"{format_}/sim-tokens-500-unlimited-pace-5ms"
    for model in (clamped, cut) if stream else (clamped,):
        async with world(tmp_path, model, more=MONEY) as here:
            await tell(here)
            await here.set_cap(100 * OUTPUT_RATE)
            client = await here.speak(dialect, model, stream=stream)
            assert (await here.receipt(client.inference_id))["ending"] == "spend_cap_exceeded"
            await check_told(here, client)
            await check_ledger(here)


@streams
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_nothing_else_of_a_relayed_answer_changes(stream, dialect, tmp_path, autojump_clock):
    """Take the cost out, and it is what a key that is not told gets, byte for byte."""
    model = f"{dialect.format}/sim-tokens-30-crlf" if stream else f"{dialect.format}/sim-tokens-30"
    async with world(tmp_path, model) as here:
        await tell(here)
        told = await here.speak(dialect, model, stream=stream)
        written = here.simulator.books.entries[-1].written
        assert written is not None
        body = bytes(written).partition(b"\r\n\r\n")[2]
        ends = told.writes[-1] if stream else told.body
        before = b"".join(told.writes[:-1])
        assert _dechunked(body).startswith(before)
        kept = _normal(_COST.sub(b"", ends))
        assert kept == _normal(_dechunked(body)[len(before) :])


def _dechunked(body: bytes) -> bytes:
    """The bytes of a body that came in chunks, or at once."""
    if not re.match(rb"[0-9a-f]+\r\n", body):
        return body
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        found, body = found + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return found


def _normal(ends: bytes) -> bytes:
    """With one kind of line ends: the event that is rewritten has ours."""
    return ends.replace(b"\r\n", b"\n")


@pairs
@pytest.mark.parametrize("behaviour", ["sim-tokens-30-error-after-5", "sim-error-500"])
async def test_a_failure_tells_its_bill_as_always(behaviour, dialect, format_, tmp_path, autojump_clock):
    """As ``billed`` in the error; the one failure that also tells usage, ``response.failed``, tells the cost in it."""
    model = f"{format_}/{behaviour}"
    async with world(tmp_path, model) as here:
        await tell(here)
        client = await here.speak(dialect, model)
        assert f'"billed":"{format_usd(await billed(here, client))}"'.encode() in client.body
        if dialect is RESPONSES and client.is_streamed:
            await check_told(here, client)
        else:
            assert b'"cost"' not in client.body


@pairs
async def test_a_key_that_does_not_want_it_is_not_told(dialect, format_, tmp_path, autojump_clock):
    """The answers of other keys hold no cost."""
    async with world(tmp_path, f"{format_}/sim") as here:
        for stream in (True, False):
            assert b'"cost"' not in (await here.speak(dialect, f"{format_}/sim", stream=stream)).body


async def test_a_chat_stream_that_was_not_asked_for_usage(tmp_path, autojump_clock):
    """It tells none, and so no cost."""
    async with world(tmp_path, "sim") as here:
        await tell(here)
        client = await here.speak(CHAT, "sim", stream_options={"include_usage": False})
        assert usages(client) == []
        assert b'"cost"' not in client.body


@pytest.mark.parametrize("model", ["sim-no-usage", "sim-usage-always", "sim-usage-continuous", "sim-usage-in-finish"])
async def test_whatever_the_provider_does_about_usage(model, tmp_path, autojump_clock):
    """A chat stream that was asked for usage tells the cost, in the last usage."""
    async with world(tmp_path, model) as here:
        await tell(here)
        await check_told(here, await here.speak(CHAT, model))


@streams
@pairs
async def test_an_answer_that_is_told_again_tells_it_too(stream, dialect, format_, tmp_path, autojump_clock):
    """In the mode in which it was asked for, and in the other."""
    model = f"{format_}/sim"
    async with world(tmp_path, model) as here:
        await tell(here)
        for again in (stream, stream, not stream):
            question = dialect.question(model, stream=again)
            client = await here.run(here.client(question, path=dialect.path, idempotency_key="one"))
            assert client.is_streamed is again
            await check_told(here, client)
        await check_ledger(here, admitted=1)


@pytest.mark.parametrize("format_", ["chat", "gemini"])
async def test_embeddings_tell_what_they_cost(format_, tmp_path, autojump_clock):
    """In their usage, like any other answer."""
    model = f"{format_}/sim"
    async with world(tmp_path, model, more='kind = "embeddings"') as here:
        await tell(here)
        client = await here.run(here.client({"model": model, "input": ["one text", "more"]}, path="/v1/embeddings"))
        assert client.status == 200
        await check_told(here, client)


async def test_the_inference_endpoint_tells_both(tmp_path, autojump_clock):
    """``cost`` at the top as always, and the same in the usage."""
    async with world(tmp_path, "sim") as here:
        await tell(here)
        question = {"model": "sim", "messages": [{"role": "user", "content": "?"}]}
        client = await here.run(here.client(question, path="/v1/inference"))
        body = json.loads(client.body, parse_float=str)
        assert body["cost"] == body["usage"]["cost"] == format_usd(await billed(here, client))
