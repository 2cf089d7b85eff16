"""Idempotency keys when a process, its store or a key ends in the middle: who is told what, and if the key is free."""

import json
from typing import Any

import attrs
import pytest
import trio

from ainf.exchange.transcript import Transcript
from ainf.inference.errors import GatewayError
from ainf.inference.outcome import Evidence
from ainf.store.base import Closing, Settlement
from tests.gateway.keyed import (
    SLOW,
    SlowClosing,
    another_process,
    ask,
    error_code,
    keyed,
    same,
    state_of,
)
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.world import world
from tests.store.records import strand

# --- other processes, and the end of this one ---


@pytest.mark.threat(59)
async def test_another_process_answers_409_while_it_runs_and_tells_it_when_it_has_ended(tmp_path, autojump_clock):
    """A stream cannot be joined from elsewhere; what was settled can be told by anyone over the same store."""
    async with world(tmp_path, SLOW) as here, trio.open_nursery() as nursery:
        there = another_process(here)
        await nursery.start(there.gateway.shared.run)
        first = keyed(here)
        nursery.start_soon(here.run, first)
        await trio.sleep(1)
        early = await ask(there)
        assert (early.status, error_code(early)) == (409, "idempotency_in_progress")
        assert (early.headers["x-should-retry"], early.headers["retry-after"]) == ("true", "1")
        await trio.sleep(5)
        same(first, await ask(there))
        assert (await ask(there, stream=False)).said().text == first.said().text
        await check_ledger(here, admitted=1)
        nursery.cancel_scope.cancel()


async def test_an_end_that_was_settled_and_not_said_is_told_by_the_next_process(tmp_path, autojump_clock, monkeypatch):
    """A process that dies between the settlement and the last words has kept the whole answer."""
    async with world(tmp_path, SLOW) as here, trio.open_nursery() as nursery:

        async def die(self: Transcript, data: bytes) -> None:
            await trio.sleep_forever()

        monkeypatch.setattr(Transcript, "finish", die)
        first = keyed(here)
        nursery.start_soon(here.run, first)
        await trio.sleep(5)
        assert not first.ended
        monkeypatch.undo()
        there = another_process(here)
        await nursery.start(there.gateway.shared.run)
        second = await ask(there)
        assert await check_transcript(here, second) == "completed"
        assert second.body.startswith(first.body)
        nursery.cancel_scope.cancel()


async def test_an_exchange_that_is_told_nothing_durable_frees_nothing_and_says_nothing(tmp_path, autojump_clock):
    """Where the settlement is lost all connections close without an end; recovery frees the key."""
    async with world(tmp_path, SLOW) as here:

        class Lost(SlowClosing):
            async def close_inference(self, closing: Closing) -> Settlement:
                raise GatewayError("store_unavailable", "away")

            def owe(self, closing: Closing) -> None:
                """Die before it can be settled."""

        here.gateway.services = attrs.evolve(here.gateway.services, store=Lost(here.store, 0))
        clients = [keyed(here), keyed(here)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(here.run, client)
        for client in clients:
            assert client.aborted
            assert not client.ended
            assert b"[DONE]" not in client.body
        assert await state_of(here) == "running"
        await here.rows("SELECT 1")
        await here.store.write(strand)
        here.gateway.services = attrs.evolve(here.gateway.services, store=here.store)
        assert error_code(await ask(here)) == "idempotency_in_progress"
        await here.store.recover(here.gateway.services.wall_clock())
        assert await state_of(here) == "freed"
        assert await check_transcript(here, await ask(here)) == "completed"


async def test_words_that_were_kept_are_not_said_of_another_settlement(tmp_path, autojump_clock):
    """Where the end can only be settled blindly, no stale amount is told: the connection closes, the key is free."""
    async with world(tmp_path, SLOW) as here:

        class Blind(SlowClosing):
            async def close_inference(self, closing: Closing) -> Settlement:
                if closing.evidence is not Evidence.NONE:
                    raise OverflowError("too large for 64 bits")
                return await self._store.close_inference(closing)

        here.gateway.services = attrs.evolve(here.gateway.services, store=Blind(here.store, 0))
        first = await ask(here)
        assert first.aborted
        assert not first.ended
        assert await state_of(here) == "freed"
        assert (await here.receipt(first.inference_id))["evidence"] == "none"
        await check_ledger(here, admitted=1)


@pytest.mark.parametrize(
    "error",
    [OverflowError("a defect"), GatewayError("store_unavailable", "full")],
    ids=lambda error: type(error).__name__,
)
async def test_an_answer_that_cannot_be_kept_is_told_all_the_same(error, tmp_path, autojump_clock):
    """A disk that is too full for the answer, and not for its settlement, costs nobody the answer that is there."""
    async with world(tmp_path, SLOW) as here:

        class Full(SlowClosing):
            async def close_inference(self, closing: Closing) -> Settlement:
                if closing.answer is not None:
                    raise error
                return await self._store.close_inference(closing)

        here.gateway.services = attrs.evolve(here.gateway.services, store=Full(here.store, 0))
        first = await ask(here)
        assert await check_transcript(here, first) == "completed"
        assert first.ended
        assert await state_of(here) == "too_large"
        assert (await here.receipt(first.inference_id))["evidence"] == "reported"
        assert error_code(await ask(here)) == "idempotency_completed"
        await check_ledger(here, admitted=1)


async def test_an_answer_is_kept_also_where_the_store_was_away_for_a_moment(tmp_path, autojump_clock):
    """It is not given up before half of the time for a settlement has gone."""
    async with world(tmp_path, SLOW) as here:

        class Away(SlowClosing):
            async def close_inference(self, closing: Closing) -> Settlement:
                if trio.current_time() < 3:
                    raise GatewayError("store_unavailable", "away")
                return await self._store.close_inference(closing)

        here.gateway.services = attrs.evolve(here.gateway.services, store=Away(here.store, 0))
        same(await ask(here), await ask(here))
        assert await state_of(here) == "kept"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_shutdown_is_told_to_all_who_read(stream, tmp_path, autojump_clock):
    """The drain ends a shared exchange as any other, and waits until its readers were told."""
    async with world(tmp_path, SLOW) as here:
        clients = [keyed(here, stream=stream), keyed(here, stream=not stream)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(here.run, client)
            await trio.sleep(1)
            here.gateway.inflight.shut_down(2.0)
            await here.gateway.inflight.wait_empty()
            await here.gateway.shared.wait_told()
            assert all(client.ended for client in clients)
        for client in clients:
            assert await check_transcript(here, client) == "shutdown"
        await check_ledger(here, admitted=1)


async def test_the_end_of_the_process_settles_what_nobody_reads(tmp_path, autojump_clock):
    """Cancelled, shared exchanges end as shutdown; connections close."""
    async with world(tmp_path, SLOW) as here:
        there = another_process(here)
        client = keyed(there)
        async with trio.open_nursery() as nursery:
            await nursery.start(there.gateway.shared.run)
            nursery.start_soon(there.run, client)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert client.aborted
        assert (await here.receipt(client.inference_id))["ending"] == "shutdown"
        await check_ledger(here, admitted=1)
        await check_provider(here)


async def test_a_revoked_key_ends_what_runs_under_it(tmp_path, autojump_clock):
    """As any other exchange; and nothing is told again to who has no right to it any more."""
    async with world(tmp_path, "sim-tokens-400-pace-50ms") as here:
        clients = [keyed(here, "sim-tokens-400-pace-50ms") for _ in range(2)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(here.run, client)
            await trio.sleep(1)
            await here.store.write(lambda tx: tx.execute("UPDATE keys SET revoked_at = 1"))
        for client in clients:
            assert await check_transcript(here, client) == "terminated"
        assert (await ask(here, "sim-tokens-400-pace-50ms")).status == 401
        await check_ledger(here, admitted=1)


async def test_a_defect_of_one_exchange_is_its_own(tmp_path, autojump_clock):
    """A bug in an opening is told as one, and the next request is answered."""
    async with world(tmp_path, "sim") as here:

        class Broken(SlowClosing):
            async def open_inference(self, opening: Any) -> Any:
                raise AssertionError("a bug")

        services = here.gateway.services
        here.gateway.services = attrs.evolve(services, store=Broken(here.store, 0))
        client = await ask(here, "sim")
        assert (client.status, error_code(client)) == (500, "internal_error")
        here.gateway.services = services
        assert await check_transcript(here, await ask(here, "sim")) == "completed"
        assert [json.loads(line)["where"] for line in here.log.getvalue().splitlines() if '"defect"' in line] == [
            "shared"
        ]
