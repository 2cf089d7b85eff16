"""Idempotency keys through a whole gateway: one exchange for all who bear the same key, told to each, billed once."""

from typing import Any

import attrs
import pytest
import trio

from ainf.inference.errors import GatewayError
from tests.gateway.keyed import (
    SLOW,
    SlowClosing,
    another_process,
    ask,
    calls,
    error_code,
    keyed,
    same,
    state_of,
)
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.world import question, world

# --- attaching ---


@pytest.mark.threat(59)
@pytest.mark.parametrize("stream", [True, False])
async def test_two_at_once_are_told_one_answer(stream, tmp_path, autojump_clock):
    """Who comes while it runs reads the same bytes from the start; there is one call, one settlement."""
    async with world(tmp_path, SLOW) as here:
        first, second = keyed(here, stream=stream), keyed(here, stream=stream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, first)
            await trio.sleep(1)
            nursery.start_soon(here.run, second)
        same(first, second)
        assert await check_transcript(here, first) == "completed"
        assert await check_transcript(here, second) == "completed"
        assert "x-ainf-idempotent-replay" not in second.headers
        assert calls(here) == 1
        assert b'ainf_idempotent_replays_total{kind="attached"} 1.0' in here.telemetry.exposition()
        await check_ledger(here, admitted=1)
        await check_provider(here)
        assert (len(here.gateway.shared), len(here.gateway.inflight)) == (0, 0)


async def test_ten_at_once_are_one_exchange(tmp_path, autojump_clock):
    """Whoever is first opens it; the others wait for the opening and are told what it brings."""
    async with world(tmp_path, SLOW) as here:
        clients = [keyed(here, stream=number % 2 == 0) for number in range(10)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(here.run, client)
        for client in clients:
            assert await check_transcript(here, client) == "completed"
        assert len({client.inference_id for client in clients}) == 1
        assert len({client.said().text for client in clients}) == 1
        assert len({client.said().output_tokens for client in clients}) == 1
        assert calls(here) == 1
        await check_ledger(here, admitted=1)


async def test_a_client_that_left_comes_back(tmp_path, autojump_clock):
    """It gets all from the start, and what it left is neither ended nor billed again."""
    async with world(tmp_path, SLOW) as here:
        first, second = keyed(here), keyed(here)
        first.on_write = lambda writes: first.leave() if writes == 5 else None
        await here.run(first)
        await trio.sleep(0.3)
        assert len(here.gateway.inflight) == 1
        await here.run(second)
        assert second.body.startswith(first.body)
        assert await check_transcript(here, second) == "completed"
        assert len(second.said().text.split()) == 40
        assert calls(here) == 1
        await check_ledger(here, admitted=1)


@pytest.mark.threat(59)
async def test_a_client_that_left_comes_back_after_the_end(tmp_path, autojump_clock):
    """The exchange ran on to its end meanwhile: the answer is told from the store."""
    async with world(tmp_path, SLOW) as here:
        first = keyed(here)
        first.on_write = lambda writes: first.leave() if writes == 5 else None
        await here.run(first)
        await trio.sleep(10)
        assert len(here.gateway.inflight) == 0
        second = await ask(here)
        assert second.body.startswith(first.body)
        assert await check_transcript(here, second) == "completed"
        assert second.headers["x-ainf-idempotent-replay"] == "true"
        await check_ledger(here, admitted=1)


@pytest.mark.parametrize("linger_s", [0, 1])
async def test_nobody_comes_back_in_time(linger_s, tmp_path, autojump_clock):
    """After `linger_s` without a reader it ends as client_disconnected, and its key is free."""
    async with world(tmp_path, SLOW, limits=f"linger_s = {linger_s}") as here:
        first = keyed(here)
        first.on_write = lambda writes: first.leave() if writes == 5 else None
        await here.run(first)
        left_at = trio.current_time()
        await here.gateway.inflight.wait_empty()
        assert trio.current_time() == pytest.approx(left_at + linger_s)
        assert await check_transcript(here, first) == "client_disconnected"
        assert await state_of(here) == "freed"
        second = await ask(here)
        assert second.inference_id != first.inference_id
        assert await check_transcript(here, second) == "completed"
        rows = await here.rows("SELECT inference_id, retry_of FROM settlements ORDER BY inference_id")
        assert rows == [(first.inference_id, None), (second.inference_id, first.inference_id)]
        await check_ledger(here, admitted=2)
        await check_provider(here)


async def test_coming_back_in_time_stops_the_clock(tmp_path, autojump_clock):
    """The time without a reader begins anew whenever the last one leaves."""
    async with world(tmp_path, "sim-tokens-100-pace-100ms", limits="linger_s = 2") as here:
        for _ in range(4):
            client = keyed(here, "sim-tokens-100-pace-100ms")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(here.run, client)
                await trio.sleep(0.5)
                client.leave()
            await trio.sleep(1.5)
            assert len(here.gateway.inflight) == 1
        last = await ask(here, "sim-tokens-100-pace-100ms")
        assert await check_transcript(here, last) == "completed"
        await check_ledger(here, admitted=1)


async def test_whoever_comes_while_it_ends_for_want_of_readers_gets_another(tmp_path, autojump_clock):
    """An exchange that was left has no answer to tell: the next request waits for its end and opens its own."""
    async with world(tmp_path, SLOW, limits="linger_s = 0") as here:
        here.gateway.services = attrs.evolve(here.gateway.services, store=SlowClosing(here.store, 1.0))
        first, second = keyed(here), keyed(here)
        first.on_write = lambda writes: first.leave() if writes == 5 else None
        await here.run(first)
        await trio.sleep(0.5)
        await here.run(second)
        assert await check_transcript(here, second) == "completed"
        assert second.inference_id != first.inference_id
        await check_ledger(here, admitted=2)


# --- what is kept, and what is not ---


async def test_an_answer_is_told_again_whatever_is_left(tmp_path, autojump_clock):
    """A replay needs no money: it is billed already."""
    async with world(tmp_path, "sim") as here:
        first = await ask(here, "sim")
        await here.set_cap(1)
        assert (await ask(here, "sim", key="k-2")).status == 402
        second = await ask(here, "sim")
        same(first, second)
        assert second.headers["x-ainf-idempotent-replay"] == "true"
        assert await here.rows("SELECT count(*) FROM audit_events WHERE kind = 'rejected'") == [(1,)]
        assert b'ainf_idempotent_replays_total{kind="replayed"} 1.0' in here.telemetry.exposition()


async def test_a_failure_that_may_be_asked_again_frees_the_key(tmp_path, autojump_clock):
    """Transient and unbilled: the next use of the key is a new exchange, and says which one it asks again."""
    async with world(tmp_path, "sim-error-503") as here:
        first = await ask(here, "sim-error-503")
        assert (first.status, first.headers["x-should-retry"]) == (503, "true")
        assert await state_of(here) == "freed"
        await trio.sleep(20 * 60)  # beyond what is searched by the body alone
        second = await ask(here, "sim-error-503")
        rows = await here.rows("SELECT inference_id, retry_of FROM settlements ORDER BY inference_id")
        assert rows == [(first.inference_id, None), (second.inference_id, first.inference_id)]
        await check_ledger(here, admitted=2)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_failure_that_may_not_be_asked_again_is_kept(stream, tmp_path, autojump_clock):
    """It is told again as it was, in both modes: to ask again would not help."""
    async with world(tmp_path, "sim-error-400") as here:
        first = await ask(here, "sim-error-400", stream=stream)
        assert (first.status, first.headers["x-should-retry"]) == (400, "false")
        same(
            first, await ask(here, "sim-error-400", stream=stream), await ask(here, "sim-error-400", stream=not stream)
        )
        await check_ledger(here, admitted=1)


async def test_a_refused_opening_claims_nothing(tmp_path, autojump_clock):
    """Who waits for an opening is told its refusal; the key is as unused as before."""
    async with world(tmp_path, "sim") as here:
        await here.set_cap(1)
        clients = [keyed(here, "sim", stream=stream) for stream in (True, False, True)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(here.run, client)
        assert [(client.status, error_code(client)) for client in clients] == [(402, "spend_cap_exceeded")] * 3
        assert await state_of(here) is None
        await here.set_cap(10**9)
        assert await check_transcript(here, await ask(here, "sim")) == "completed"
        await check_ledger(here, admitted=1)


async def test_a_store_that_is_away_refuses_all_who_wait(tmp_path, autojump_clock):
    """Nothing is opened, nothing is claimed, and to ask again can help."""
    async with world(tmp_path, "sim") as here:

        class Away(SlowClosing):
            async def open_inference(self, opening: Any) -> Any:
                await trio.sleep(1)
                raise GatewayError("store_unavailable", "away")

        here.gateway.services = attrs.evolve(here.gateway.services, store=Away(here.store, 0))
        clients = [keyed(here, "sim"), keyed(here, "sim")]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(here.run, client)
        for client in clients:
            assert (client.status, client.headers["x-should-retry"]) == (503, "true")
        assert len(here.gateway.shared) == 0


@pytest.mark.threat(59)
@pytest.mark.parametrize("when", ["running", "ended", "elsewhere"])
async def test_another_body_is_refused(when, tmp_path, autojump_clock):
    """A key names one body, however it is streamed: another one is 422, and no retry helps."""
    async with world(tmp_path, SLOW) as here:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, here)
            await trio.sleep(0.5 if when != "ended" else 5)
            there = another_process(here) if when == "elsewhere" else here
            async with trio.open_nursery() as second:
                await second.start(there.gateway.shared.run) if when == "elsewhere" else None
                client = await there.run(keyed(there, temperature=0.5))
                second.cancel_scope.cancel()
            assert (client.status, error_code(client)) == (422, "idempotency_mismatch")
            assert client.headers["x-should-retry"] == "false"
        await check_ledger(here, admitted=1)


async def test_a_key_is_its_senders_and_its_paths(tmp_path, autojump_clock):
    """The same words from another key, or on another path, name another exchange."""
    async with world(tmp_path, "sim") as here:
        other = await here.new_key("agents")
        asked = question("sim")
        told = [
            await here.run(here.client(asked, idempotency_key="k")),
            await here.run(here.client(asked, idempotency_key="k", authorization=f"Bearer {other}")),
            await here.run(here.client(asked, idempotency_key="k", path="/v1/inference")),
        ]
        assert len({client.inference_id for client in told}) == 3
        await check_ledger(here, admitted=3)


@pytest.mark.parametrize("value", ["", "x" * 256, "a\tb", "é"])
async def test_a_key_that_is_none(value, tmp_path, autojump_clock):
    """Empty, too long or not printable ASCII: refused by name."""
    async with world(tmp_path, "sim") as here:
        client = here.client(question("sim"))
        client.scope["headers"].append((b"idempotency-key", value.encode()))
        await here.run(client)
        assert (client.status, error_code(client)) == (400, "invalid_value")
        assert client.json()["error"]["param"] == "idempotency-key"
        await check_ledger(here, admitted=0)


async def test_the_longest_key(tmp_path, autojump_clock):
    """255 characters are taken."""
    async with world(tmp_path, "sim") as here:
        assert (await ask(here, "sim", key="~" * 255)).status == 200


async def test_a_count_of_tokens_has_no_use_for_a_key(tmp_path, autojump_clock):
    """It costs nothing, so it is not claimed."""
    async with world(tmp_path, "messages/sim") as here:
        asked = {"model": "messages/sim", "messages": [{"role": "user", "content": "x"}]}
        client = await here.run(here.client(asked, path="/v1/messages/count_tokens", idempotency_key="k-1"))
        assert client.status == 200
        assert await state_of(here) is None


async def test_embeddings_are_told_again(tmp_path, autojump_clock):
    """They are as dear to ask twice as any answer."""
    async with world(tmp_path, "sim", more='kind = "embeddings"') as here:
        asked = {"model": "sim", "input": "x"}
        told = [await here.run(here.client(asked, path="/v1/embeddings", idempotency_key="k-1")) for _ in range(2)]
        same(*told)
        await check_ledger(here, admitted=1)


# --- sizes ---

SMALL = "idempotency_bytes = 2048"


async def test_an_answer_too_large_to_be_told_again(tmp_path, autojump_clock):
    """While it runs, who comes late may ask again; when it has ended, its receipt is all that there is."""
    async with world(tmp_path, SLOW, limits=SMALL) as here:
        first = keyed(here)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, first)
            await trio.sleep(1.5)
            late = await ask(here)
            assert (late.status, error_code(late)) == (409, "idempotency_in_progress")
            assert late.headers["x-should-retry"] == "true"
            assert int(late.headers["retry-after"]) >= 1
        assert await check_transcript(here, first) == "completed"
        assert len(first.body) > 2048
        assert await state_of(here) == "too_large"
        after = await ask(here)
        assert (after.status, error_code(after)) == (409, "idempotency_completed")
        assert after.headers["x-should-retry"] == "false"
        receipt = f"http://gateway.test/v1/audit/{first.inference_id}"
        assert receipt in after.json()["error"]["message"]
        assert after.json()["error"]["audit_url"] == receipt
        await check_ledger(here, admitted=1)


async def test_a_whole_answer_too_large_to_be_told_again(tmp_path, autojump_clock):
    """Who waits for it gets all of it; the receipt is all that there is afterwards."""
    async with world(tmp_path, "sim-tokens-900", limits=SMALL) as here:
        first, second = keyed(here, "sim-tokens-900", stream=False), keyed(here, "sim-tokens-900")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, first)
            nursery.start_soon(here.run, second)
        assert await check_transcript(here, first) == "completed"
        assert await check_transcript(here, second) == "completed"
        assert first.said().text == second.said().text
        assert error_code(await ask(here, "sim-tokens-900")) == "idempotency_completed"


async def test_a_reader_that_stalls_is_dropped_alone(tmp_path, autojump_clock):
    """It holds the others up until it has taken nothing for `write_s`; then they go on to the end."""
    async with world(tmp_path, "sim-tokens-200-pace-50ms", limits=SMALL) as here:
        slow, quick = keyed(here, "sim-tokens-200-pace-50ms"), keyed(here, "sim-tokens-200-pace-50ms")
        slow.on_write = lambda writes: slow.stall() if writes == 3 else None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, slow)
            nursery.start_soon(here.run, quick)
            await trio.sleep(10)
            assert not quick.ended
            assert len(quick.body) < 4096  # held up
        assert slow.gone
        assert await check_transcript(here, quick) == "completed"
        assert len(quick.said().text.split()) == 200
        await check_ledger(here, admitted=1)
