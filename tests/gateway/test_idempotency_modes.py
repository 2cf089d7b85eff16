"""An answer under an idempotency key, asked for in the other mode than it was told in; and what a client waits with."""

import attrs
import pytest
import trio

from ainf.sse import HEARTBEAT
from tests.gateway.dialects import DIALECTS
from tests.gateway.keyed import (
    SLOW,
    SlowClosing,
    ask,
    calls,
    comparable,
    error_code,
    keyed,
    same,
    state_of,
)
from tests.gateway.law import check_ledger, check_transcript
from tests.gateway.world import question, world

# --- modes ---


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
@pytest.mark.parametrize("behaviour", ["sim-tokens-12-reasoning-3", "sim-parallel-tools-tokens-6", "sim-refusal"])
@pytest.mark.parametrize("when", ["attached", "replayed"])
@pytest.mark.parametrize("stream", [True, False])
async def test_the_other_mode_says_the_same(dialect, behaviour, when, stream, tmp_path, autojump_clock):
    """A stream asked for whole, and a whole answer asked for as a stream, say the same, with the settled usage."""
    fields = {"tools": [dialect.tool]} if "tools" in behaviour else {}
    model = f"{dialect.format}/{behaviour}"
    async with world(tmp_path, model) as here:
        first = keyed(here, model, stream=stream, dialect=dialect, **fields)
        other = keyed(here, model, stream=not stream, dialect=dialect, **fields)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, first)
            if when == "replayed":
                await trio.sleep(5)
                assert first.ended
            nursery.start_soon(here.run, other)
        assert (first.is_streamed, other.is_streamed) == (stream, not stream)
        assert await check_transcript(here, first) == "completed"
        assert await check_transcript(here, other) == "completed"
        assert comparable(other) == comparable(first)
        assert other.inference_id == first.inference_id
        if when == "replayed":  # else whoever was opened first made the mode
            assert other.headers["x-ainf-stream-mode"] == ("native" if stream else "wrapped")
            assert other.headers["x-ainf-idempotent-replay"] == "true"
        assert calls(here) == 1
        await check_ledger(here, admitted=1)


@pytest.mark.parametrize("behaviour", ["sim-tokens-8", "sim-tokens-8-no-usage"])
async def test_usage_is_right_where_the_stream_did_not_tell_it(behaviour, tmp_path, autojump_clock):
    """A chat stream told without its usage chunk is told whole with what was settled."""
    async with world(tmp_path, behaviour) as here:
        first = await ask(here, behaviour, stream_options={"include_usage": False})
        assert first.said().input_tokens is None
        whole = await ask(here, behaviour, stream=False)
        usage = (await here.receipt(first.inference_id))["usage"]
        assert (whole.said().input_tokens, whole.said().output_tokens) == (
            usage["input_tokens"],
            usage["output_tokens"],
        )
        assert usage["output_tokens"]


async def test_the_firsts_usage_chunk_stands(tmp_path, autojump_clock):
    """In the same mode the bytes are the same, also where `include_usage` is another."""
    async with world(tmp_path, "sim") as here:
        first = await ask(here, "sim", stream_options={"include_usage": False})
        second = await ask(here, "sim", stream_options={"include_usage": True})
        same(first, second)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
@pytest.mark.parametrize("finish_reasons", ["extended", "strict", "loud"])
async def test_a_capped_stream_is_told_whole(dialect, finish_reasons, tmp_path, autojump_clock):
    """A stream that a cap cut is told whole as far as it came, with the cap's reason; told loudly, it is not."""
    model = f"{dialect.format}/sim-tokens-60-pace-5ms"
    more = f'slice_tokens = 8\nmin_output_tokens = 4\nfinish_reasons = "{finish_reasons}"'
    async with world(tmp_path, model, more=more) as here:
        await here.set_cap(140_000)
        first = await ask(here, model, dialect=dialect)
        assert (await here.receipt(first.inference_id))["ending"] == "spend_cap_exceeded"
        assert await state_of(here) == "kept"
        again = await ask(here, model, dialect=dialect)
        same(first, again)
        whole = await ask(here, model, dialect=dialect, stream=False)
        if finish_reasons == "loud" and dialect.format != "messages":
            assert (whole.status, error_code(whole)) == (409, "idempotency_completed")
            return
        assert await check_transcript(here, whole) == "spend_cap_exceeded"
        assert whole.said().text == first.said().text
        assert whole.said().reason == first.said().reason
        await check_ledger(here, admitted=1)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
@pytest.mark.parametrize("finish_reasons", ["extended", "strict", "loud"])
async def test_a_clamped_whole_answer_is_told_as_a_stream(dialect, finish_reasons, tmp_path, autojump_clock):
    """A whole answer that reached the clamp is told as a stream that a cap ended; told loudly, it is not."""
    model = f"{dialect.format}/sim-tokens-60"
    more = f'min_output_tokens = 4\nfinish_reasons = "{finish_reasons}"'
    async with world(tmp_path, model, more=more) as here:
        await here.set_cap(140_000)
        first = await ask(here, model, dialect=dialect, stream=False)
        assert (await here.receipt(first.inference_id))["ending"] == "spend_cap_exceeded"
        same(first, await ask(here, model, dialect=dialect, stream=False))
        streamed = await ask(here, model, dialect=dialect)
        if finish_reasons == "loud":
            assert first.json()["error"]["code"] in {"spend_cap_exceeded", "insufficient_quota"}
            assert (streamed.status, error_code(streamed)) == (409, "idempotency_completed")
            assert streamed.headers["x-should-retry"] == "false"
            return
        assert await check_transcript(here, first) == "spend_cap_exceeded"
        assert await check_transcript(here, streamed) == "spend_cap_exceeded"
        assert streamed.said().text == first.said().text
        assert streamed.headers["x-ainf-idempotent-replay"] == "true"


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_a_stream_that_failed_is_told_whole_as_a_status(dialect, tmp_path, autojump_clock):
    """What failed in a stream, and was billed, has the status that it would have had, and is not asked again."""
    model = f"{dialect.format}/sim-tokens-30-error-after-9"
    async with world(tmp_path, model) as here:
        first = await ask(here, model, dialect=dialect)
        assert await check_transcript(here, first) == "upstream_error"
        whole = await ask(here, model, dialect=dialect, stream=False)
        assert await check_transcript(here, whole) == "upstream_error"
        assert whole.status in {502, 503}
        assert whole.headers["x-should-retry"] == "false"
        assert calls(here) == 1
        await check_ledger(here, admitted=1)


async def test_our_own_fields_are_told_again(tmp_path, autojump_clock):
    """What `/v1/inference` adds to a whole answer stands in it, whichever way it came about."""
    async with world(tmp_path, "sim") as here:
        asked = {path: question("sim", stream=path == "stream") for path in ("stream", "whole")}
        told = [
            await here.run(here.client(asked[mode], path="/v1/inference", idempotency_key=key))
            for key, modes in (("a", ("whole", "whole")), ("b", ("stream", "whole")))
            for mode in modes
        ]
        wholes = [client.json() for client in told if not client.is_streamed]
        assert len(wholes) == 3
        for whole in wholes:
            assert whole["content"]
            assert float(whole["cost"]) > 0
            assert whole["audit_url"].endswith(told[0].inference_id) == (whole is not wholes[-1])


# --- waiting ---


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
@pytest.mark.parametrize("begun", [True, False], ids=["begun", "not begun"])
async def test_a_deadline_of_ones_own(dialect, begun, tmp_path, autojump_clock):
    """Who joins waits no longer than it says, and is told so in its protocol; the exchange goes on, billed once."""
    model = f"{dialect.format}/sim-tokens-40-pace-100ms"
    async with world(tmp_path, model) as here:
        first, hasty = keyed(here, model, dialect=dialect), keyed(here, model, dialect=dialect, stream=begun)
        hasty.scope["headers"].append((b"x-ainf-deadline-ms", b"1000"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, first)
            await trio.sleep(1)
            nursery.start_soon(here.run, hasty)
            await trio.sleep(1.01)
            assert hasty.ended
        assert await check_transcript(here, first) == "completed"
        if begun:
            said = hasty.said()
            assert (said.terminals, said.ends_with_terminal, said.error["code"]) == (1, True, "deadline_exceeded")
            assert said.error["retryable"]
            assert len(said.text.split()) in range(15, 25)
            assert first.said().text.startswith(said.text)
        else:
            assert (hasty.status, error_code(hasty)) == (504, "deadline_exceeded")
            assert hasty.headers["x-should-retry"] == "true"
        again = await ask(here, model, dialect=dialect)
        same(first, again)
        await check_ledger(here, admitted=1)


async def test_a_deadline_that_passes_while_only_heartbeats_came(tmp_path, autojump_clock):
    """The stream that has a head and nothing else ends as the failure that it is."""
    model = "sim-tokens-4-delay-40s"
    async with world(tmp_path, model) as here:
        whole, hasty = keyed(here, model, stream=False), keyed(here, model)
        hasty.scope["headers"].append((b"x-ainf-deadline-ms", b"20000"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, whole)
            await trio.sleep(1)
            nursery.start_soon(here.run, hasty)
        assert hasty.body.startswith(HEARTBEAT)
        said = hasty.said()
        assert (said.text, said.terminals, said.error["code"]) == ("", 1, "deadline_exceeded")
        assert await check_transcript(here, whole) == "completed"


async def test_a_deadline_behind_what_is_kept_closes_the_connection(tmp_path, autojump_clock):
    """What was told is gone, so how a stream would end behind it is not known."""
    model = "sim-tokens-60-pace-50ms"
    async with world(tmp_path, model, limits="idempotency_bytes = 2048") as here:
        first, hasty = keyed(here, model), keyed(here, model)
        hasty.scope["headers"].append((b"x-ainf-deadline-ms", b"2000"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, first)
            await trio.sleep(0.1)
            nursery.start_soon(here.run, hasty)
        assert hasty.aborted
        assert not hasty.ended
        assert await check_transcript(here, first) == "completed"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_deadline_that_all_have_is_the_exchanges(stream, tmp_path, autojump_clock):
    """It ends for all who read as it is settled, also for who came a moment later."""
    async with world(tmp_path, SLOW) as here:
        here.gateway.services = attrs.evolve(here.gateway.services, store=SlowClosing(here.store, 1.0))
        clients = [keyed(here, stream=stream) for _ in range(3)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                client.scope["headers"].append((b"x-ainf-deadline-ms", b"1000"))
                nursery.start_soon(here.run, client)
                await trio.sleep(0.01)
        for client in clients:
            assert await check_transcript(here, client) == "deadline_exceeded"
        same(*clients)
        await check_ledger(here, admitted=1)


async def test_a_stream_is_kept_waiting_by_heartbeats(tmp_path, autojump_clock):
    """An early head, then comments; they are nobody's but the waiting client's, and are not told again."""
    model = "sim-tokens-4-delay-40s"
    async with world(tmp_path, model) as here:
        first, late = keyed(here, model), keyed(here, model)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, first)
            await trio.sleep(35)
            assert first.writes == [HEARTBEAT] * 2
            nursery.start_soon(here.run, late)
        assert await check_transcript(here, first) == "completed"
        assert HEARTBEAT not in late.body
        again = await ask(here, model)
        assert again.body == late.body == first.body.replace(HEARTBEAT, b"")


async def test_a_stream_is_kept_waiting_for_a_whole_answer(tmp_path, autojump_clock):
    """Heartbeats come also where the exchange itself has nothing to beat in."""
    model = "sim-tokens-4-delay-40s"
    async with world(tmp_path, model) as here:
        whole, streamed = keyed(here, model, stream=False), keyed(here, model)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, whole)
            await trio.sleep(1)
            nursery.start_soon(here.run, streamed)
        assert streamed.body.startswith(HEARTBEAT * 2)
        assert await check_transcript(here, streamed) == "completed"
        assert streamed.said().text == whole.said().text


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_a_failure_behind_an_early_head_is_told_in_the_stream(dialect, tmp_path, autojump_clock):
    """Who waits for a stream, of an exchange that is told whole, is told of its failure in the stream."""
    model = f"{dialect.format}/sim-error-503-delay-30s"
    async with world(tmp_path, model) as here:
        whole = keyed(here, model, stream=False, dialect=dialect)
        streamed = keyed(here, model, dialect=dialect)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, whole)
            nursery.start_soon(here.run, streamed)
        assert whole.status == 503
        assert streamed.body.startswith(HEARTBEAT)
        assert await check_transcript(here, streamed) == "upstream_error"
