"""Money at its end: caps and how they are told, clamps, slices and their extension, and what no hold grows to."""

import json
from typing import Any

import pytest
import trio

from ainf.exchange.run import Exchange
from ainf.inference.errors import GatewayError
from ainf.simulator import Stall, Wait, chunk, head
from ainf.simulator.steps import Script
from ainf.store import admin
from ainf.store.base import Extended, Extension
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.world import Client, World, question, world

SLICES = "slice_tokens = 8\nmin_output_tokens = 4"
OUTPUT = 2_000  # nano-dollars a token


def spent(receipt: dict[str, Any]) -> int:
    return receipt["settled_nusd"] + receipt["overrun_nusd"]


async def base_of(here: World, model: str = "sim", **fields: Any) -> int:
    """What is held for the input of a question, which is asked once for that."""
    seen: list[int] = []
    add = here.gateway.inflight.add

    def look(exchange: Exchange) -> None:
        seen.append(exchange.plan.admission.ask.base_nusd)
        add(exchange)

    here.gateway.inflight.add = look  # type: ignore[method-assign]
    await here.ask(model, **fields)
    here.gateway.inflight.add = add  # type: ignore[method-assign]
    return seen[0]


async def headroom(here: World, nusd: int) -> None:
    ((used,),) = await here.rows("SELECT coalesce(sum(settled_nusd + overrun_nusd), 0) FROM settlements")
    await here.set_cap(used + nusd)


MODES = {"extended": "spend_cap_exceeded", "strict": "length", "loud": "spend_cap_exceeded"}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_clamp_that_is_reached(mode, stream, tmp_path, autojump_clock):
    """The output is clamped to the headroom; an answer that reaches it says so in the client's way, as reported."""
    async with world(tmp_path, "sim", more=f'{SLICES}\nfinish_reasons = "{mode}"') as here:
        await headroom(here, await base_of(here, stream=stream) + 10 * OUTPUT)
        client = await here.ask(stream=stream)
        receipt = await here.receipt(client.inference_id)
        assert client.status == 200
        assert client.headers["x-ainf-max-tokens"] == "10"
        assert receipt["clamp_tokens"] == receipt["notes"]["clamp_tokens"] == 10
        assert (receipt["ending"], receipt["finish_reason"]) == ("spend_cap_exceeded", MODES[mode])
        assert receipt["evidence"] == "reported"
        assert receipt["usage"]["output_tokens"] == 10
        assert receipt["overrun_nusd"] == 0
        assert here.simulator.books.entries[-1].max_tokens == 10
        loud = [c for c in (client.chunks() if stream else [client.json()]) if c.get("error")]
        assert bool(loud) is (mode == "loud")
        if mode != "loud":
            await check_transcript(here, client)
        await check_ledger(here)


async def test_a_clamp_that_is_not_reached_is_a_plain_end(tmp_path, autojump_clock):
    """An answer that stops by itself below its clamp completes."""
    async with world(tmp_path, "sim", "sim-tokens-5", more=SLICES) as here:
        await headroom(here, await base_of(here, "sim-tokens-5") + 10 * OUTPUT)
        client = await here.ask("sim-tokens-5")
        assert client.headers["x-ainf-max-tokens"] == "10"
        assert await check_transcript(here, client) == "completed"


@pytest.mark.threat(57)
@pytest.mark.parametrize("refusal", ["402", "429"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_refusal_of_money(stream, refusal, tmp_path, autojump_clock):
    """Below ``min_output_tokens`` nothing is dialled; the answer is never worth a retry, whichever its status."""
    async with world(tmp_path, "sim", more=f'{SLICES}\nmoney_refusal = "{refusal}"') as here:
        await headroom(here, await base_of(here, stream=stream) + 4 * OUTPUT - 1)
        dialled = len(here.simulator.books.entries)
        client = await here.ask(stream=stream)
        assert client.status == int(refusal)
        code = "spend_cap_exceeded" if refusal == "402" else "insufficient_quota"
        assert client.json()["error"]["code"] == code
        assert client.headers["x-should-retry"] == "false"
        assert "retry-after" not in client.headers
        assert len(here.simulator.books.entries) == dialled
        await check_ledger(here, admitted=1)


async def test_a_key_says_how_money_is_refused(tmp_path, autojump_clock):
    """``money_refusal`` and ``finish_reasons`` are the key's where the model says nothing."""
    async with world(tmp_path, "sim", more=SLICES) as here:
        base = await base_of(here)
        await headroom(here, 1)
        here.key = await here.new_key("agents", key_id="k0000429", money_refusal="429", finish_reasons="strict")
        client = await here.ask()
        assert client.status == 429
        await headroom(here, base + 10 * OUTPUT)
        client = await here.ask()
        assert (await here.receipt(client.inference_id))["finish_reason"] == "length"


@pytest.mark.threat(56)
async def test_a_stream_that_ignores_its_clamp_is_cut_inside_its_hold(tmp_path, autojump_clock):
    """A provider that runs on past the clamp is closed at once; what passed the hold is neither shown nor charged."""
    model = "sim-tokens-400-unlimited-pace-5ms"
    async with world(tmp_path, "sim", model, more=SLICES) as here:
        base = await base_of(here, model)
        await headroom(here, base + 20 * OUTPUT)
        client = await here.ask(model)
        receipt = await here.receipt(client.inference_id)
        assert await check_transcript(here, client) == "spend_cap_exceeded"
        assert receipt["evidence"] == "metered"
        assert receipt["overrun_nusd"] == 0
        assert spent(receipt) <= receipt["held_nusd"] <= base + 20 * OUTPUT
        assert receipt["usage"]["output_tokens"] >= 20
        assert receipt["output_bytes"] == len(client.text().encode())
        assert receipt["usage"]["output_tokens"] * 4 >= receipt["output_bytes"]
        assert here.simulator.books.entries[-1].output_tokens < 40
        await check_provider(here)
        await check_ledger(here)


@pytest.mark.threat(52)
async def test_a_stream_is_held_in_slices(tmp_path, autojump_clock):
    """A visible stream holds one slice and asks for the next when half of it is left; a whole answer holds all."""
    model = "sim-tokens-40-pace-20ms"
    async with world(tmp_path, model, more=SLICES) as here:
        asked: list[tuple[int, int]] = []
        extend = here.store.extend_hold

        async def extend_hold(extension: Extension) -> Extended:
            (exchange,) = here.gateway.inflight
            asked.append((exchange.hold.received // 4, extension.want_nusd))
            return await extend(extension)

        here.store.extend_hold = extend_hold
        client = await here.ask(model, max_tokens=64)
        assert [want for _, want in asked] == [8 * OUTPUT] * len(asked)
        assert [at for at, _ in asked][:4] == [4, 12, 20, 28]
        assert await check_transcript(here, client) == "completed"
        asked.clear()
        whole = await here.ask(model, stream=False, max_tokens=64)
        assert asked == []
        receipt, streamed = await here.receipt(whole.inference_id), await here.receipt(client.inference_id)
        assert receipt["held_nusd"] > streamed["held_nusd"]
        assert spent(receipt) == spent(streamed)


async def test_hidden_reasoning_is_held_whole(tmp_path, autojump_clock):
    """A model that bills what it does not show is never held in slices."""
    async with world(tmp_path, "sim", more=f'{SLICES}\nhidden_reasoning = "always"') as here:
        client = await here.ask(max_tokens=64)
        receipt = await here.receipt(client.inference_id)
        assert receipt["held_nusd"] >= 64 * OUTPUT


async def test_a_refused_extension_ends_nothing_by_itself(tmp_path, autojump_clock):
    """Refused ahead of time, an extension is asked for again when the hold is used up, and the stream goes on."""
    model = "sim-tokens-30-pace-20ms"
    async with world(tmp_path, model, more=SLICES) as here:
        extend, refused = here.store.extend_hold, 0

        async def extend_hold(extension: Extension) -> Extended:
            nonlocal refused
            if refused < 1:
                refused += 1
                return Extended(0)
            return await extend(extension)

        here.store.extend_hold = extend_hold
        client = await here.ask(model)
        assert refused == 1
        assert await check_transcript(here, client) == "completed"
        await check_ledger(here, admitted=1)


@pytest.mark.threat(57)
async def test_a_cap_lowered_below_what_is_held(tmp_path, autojump_clock):
    """The stream goes on inside what it holds, is not extended, and is cut there."""
    model = "sim-tokens-100-pace-20ms"
    async with world(tmp_path, model, more=SLICES) as here:
        client = here.client(question(model))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(0.3)
            await here.set_cap(1)
        receipt = await here.receipt(client.inference_id)
        assert await check_transcript(here, client) == "spend_cap_exceeded"
        assert spent(receipt) <= receipt["held_nusd"]
        assert receipt["overrun_nusd"] == 0


@pytest.mark.parametrize("away_s", [3, 100])
async def test_a_store_that_is_away_for_an_extension(away_s, tmp_path, autojump_clock):
    """A stream goes on inside its hold while the store is away, and is terminated when that is used up."""
    model = "sim-tokens-60-pace-20ms"
    async with world(tmp_path, model, more=SLICES) as here:
        extend, back_at = here.store.extend_hold, trio.current_time() + away_s

        async def extend_hold(extension: Extension) -> Extended:
            if trio.current_time() < back_at:
                await trio.sleep(1)
                raise GatewayError("store_unavailable", "The ledger cannot be written now.")
            return await extend(extension)

        here.store.extend_hold = extend_hold
        client = await here.ask(model)
        receipt = await here.receipt(client.inference_id)
        assert (receipt["ending"], receipt["error_code"]) == ("terminated", "store_unavailable")
        assert client.text(), "what the hold paid for was handed over"
        assert spent(receipt) >= receipt["held_nusd"] - 2 * OUTPUT
        await check_transcript(here, client)
        await check_ledger(here, admitted=1)


@pytest.mark.threat(80)
async def test_no_hold_grows_beyond_one_and_a_half_times_the_limit(tmp_path, autojump_clock):
    """A provider that runs past 1.5 times the client's own limit is out of bounds, not out of money."""
    model = "sim-endless-pace-1ms"
    async with world(tmp_path, model, more="slice_tokens = 64") as here:
        base = await base_of(here, model, max_tokens=200)
        client = await here.ask(model, max_tokens=200)
        receipt = await here.receipt(client.inference_id)
        assert (receipt["ending"], receipt["error_code"]) == ("upstream_error", "upstream_protocol")
        assert receipt["held_nusd"] <= base + (300 + 64) * OUTPUT
        assert receipt["usage"]["output_tokens"] >= 300
        assert len(client.text()) // 4 <= 364
        await check_transcript(here, client)
        await check_provider(here)


@pytest.mark.threat(41, "C16")
async def test_a_key_revoked_ends_at_the_next_extension_too(tmp_path, autojump_clock):
    """Whichever sees the revocation first, extension or progress tick, ends the stream."""
    model = "sim-tokens-100-pace-20ms"
    async with world(tmp_path, model, more=SLICES, limits="progress_s = 1000") as here:
        client = here.client(question(model))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(0.3)
            await here.store.write(lambda tx: admin.revoke_key(tx, key_id=here.key_id, at=1))
        receipt = await here.receipt(client.inference_id)
        assert receipt["error_code"] == "key_revoked"
        assert len(client.text()) // 4 < 40
        await check_transcript(here, client)


async def test_progress_is_durable_at_every_tick(tmp_path, autojump_clock):
    """What a crash would be settled at is never more than a tick behind what arrived."""
    async with world(tmp_path, "sim", limits="progress_s = 2\nsilence_s = 60") as here:
        text = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"abcd"},"finish_reason":null}]}\n\n'
        here.simulator.set_script(Script([head(), chunk(text), Wait(3), chunk(text), Stall()]))
        client = here.client(question("sim"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(2.5)
            receipt = await here.receipt(await _open_one(here))
            assert (receipt["state"], receipt["usage"]["output_tokens"], receipt["output_bytes"]) == ("open", 1, 4)
            await trio.sleep(3)
            receipt = await here.receipt(await _open_one(here))
            assert receipt["usage"]["output_tokens"] == 2
            client.leave()


async def _open_one(here: World) -> str:
    ((inference_id,),) = await here.rows("SELECT inference_id FROM holds")
    return inference_id


@pytest.mark.threat(54)
@pytest.mark.parametrize("asked", [True, False, None])
async def test_usage_is_shown_only_where_it_was_asked_for(asked, tmp_path, autojump_clock):
    """The usage chunk is always asked of the provider, and passed on only to a client that asked."""
    options = {} if asked is None else {"stream_options": {"include_usage": asked}}
    async with world(tmp_path, "sim") as here:
        client = await here.ask(**options)
        shown = [c for c in client.chunks() if c.get("usage")]
        assert len(shown) == (1 if asked else 0)
        assert (await here.receipt(client.inference_id))["evidence"] == "reported"


async def test_the_inference_shape(tmp_path, autojump_clock):
    """``/v1/inference`` answers as chat does, with the text, the cost and the receipt's address beside it."""
    async with world(tmp_path, "sim") as here:
        client = await here.run(here.client(question("sim", stream=False), path="/v1/inference"))
        answer = client.json()
        receipt = await here.receipt(client.inference_id)
        assert answer["content"] == answer["choices"][0]["message"]["content"]
        assert round(float(answer["cost"]) * 1e9) == spent(receipt)
        assert answer["audit_url"] == client.headers["x-ainf-audit-url"]
        assert receipt["path"] == "/v1/inference"
        plain = (await here.ask(stream=False)).json()
        assert {"content", "cost", "audit_url"}.isdisjoint(plain)
        streamed = await here.run(here.client(question("sim"), path="/v1/inference"))
        assert await check_transcript(here, streamed) == "completed"


async def test_what_is_recorded_of_a_request(tmp_path, autojump_clock):
    """Labels, the SDK's retry count, and one fingerprint for the same body, streamed or not."""
    async with world(tmp_path, "sim") as here:
        headers = {"x_ainf_labels": "run=17, user=ann", "x_stainless_retry_count": "2"}
        clients = [await here.run(here.client(question("sim", stream=stream), **headers)) for stream in (True, False)]
        other = await here.ask(temperature=1)
        rows = await here.rows("SELECT fingerprint, sdk_retry_count, labels FROM inferences ORDER BY inference_id")
        assert rows[0] == rows[1]
        assert rows[0][1] == 2
        assert json.loads(rows[0][2]) == {"run": "17", "user": "ann"}
        assert rows[2][0] != rows[0][0]
        assert rows[2][1] is None
        assert (await here.receipt(clients[0].inference_id))["labels"] == {"run": "17", "user": "ann"}
        assert other.status == 200


async def test_a_defect_in_an_extension_parts_no_answer_from_its_end(tmp_path, autojump_clock):
    """What came with the provider's own end cannot be handed over: the end is not told either, but settled as it is."""
    model = "sim-tokens-60-burst"
    async with world(tmp_path, model, more=SLICES) as here:

        async def extend_hold(extension: Extension) -> Extended:
            raise RuntimeError(extension)

        here.store.extend_hold = extend_hold
        client = await here.ask(model)
        assert (client.aborted, client.ended, client.body) == (True, False, b"")
        receipt = await here.receipt(client.inference_id)
        assert (receipt["ending"], receipt["evidence"]) == ("completed", "reported")
        await check_transcript(here, client)
        await check_ledger(here, admitted=1)


async def test_an_extension_under_way_when_the_client_leaves(tmp_path, autojump_clock):
    """A hold that grows while its exchange ends is closed with all that it grew by."""
    model = "sim-tokens-60-pace-20ms"
    async with world(tmp_path, model, more=SLICES) as here:
        extend = here.store.extend_hold
        client: Client = here.client(question(model))

        async def extend_hold(extension: Extension) -> Extended:
            client.leave()
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
                return await extend(extension)

        here.store.extend_hold = extend_hold
        await here.run(client)
        receipt = await here.receipt(client.inference_id)
        assert receipt["ending"] == "client_disconnected"
        await check_ledger(here, admitted=1)
