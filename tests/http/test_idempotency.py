"""Shared exchanges, known by key, path and idempotency key: who shares which, who is waited for, what is forgotten."""

import gc
import weakref

import attrs
import pytest
import trio

from ainf.http.idempotency import SharedExchanges, forget_expired
from ainf.inference.errors import GatewayError
from ainf.store.claims import in_progress
from tests.gateway.keyed import SLOW, SlowClosing, ask, error_code, keyed, same, state_of
from tests.gateway.law import check_ledger
from tests.gateway.world import question, world

MINUTE = 60_000_000


async def test_there_are_only_those_that_run(tmp_path, autojump_clock):
    """Each key has one while it runs, and nothing is left of it."""
    async with world(tmp_path, SLOW) as here, trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(here.run, keyed(here, key=f"k-{number % 3}"))
        await trio.sleep(1)
        assert (len(here.gateway.shared), len(here.gateway.inflight)) == (3, 3)
        await trio.sleep(10)
        assert (len(here.gateway.shared), len(here.gateway.inflight)) == (0, 0)


async def test_nobody_is_left_untold(tmp_path, autojump_clock):
    """The end of the process waits for slow readers too, whose exchange has ended."""
    async with world(tmp_path, SLOW) as here:
        with trio.fail_after(0.1):
            await here.gateway.shared.wait_told()
        slow = keyed(here)
        slow.on_write = lambda writes: slow.stall() if writes == 3 else None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, slow)
            await trio.sleep(10)
            assert len(here.gateway.inflight) == 0
            with trio.move_on_after(1) as waited:
                await here.gateway.shared.wait_told()
            assert waited.cancelled_caught
            slow._unstalled.set()
            await here.gateway.shared.wait_told()
            assert slow.ended


async def test_a_key_at_its_limit_shares_all_the_same(tmp_path, autojump_clock):
    """Who is told another one's answer takes no room of the key's own; who needs an exchange does."""
    async with world(tmp_path, SLOW) as here:
        await here.store.write(lambda tx: tx.execute("UPDATE keys SET concurrent_streams = 1"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, here)
            await trio.sleep(1)
            joined, own = keyed(here), keyed(here, key="k-2")
            nursery.start_soon(here.run, joined)
            await here.run(own)
            assert (own.status, error_code(own)) == (429, "rate_limited")
        assert joined.status == 200
        assert await state_of(here, "k-2") is None
        assert (await ask(here, key="k-2")).status == 200
        await check_ledger(here, admitted=2)


@pytest.mark.parametrize("limit", ["concurrent_streams = 1", "tokens_per_minute = 1"])
async def test_a_key_at_its_limit_is_told_what_is_kept(limit, tmp_path, autojump_clock):
    """Who comes back for an answer needs no room; who has none to come back for does, and claims nothing."""
    async with world(tmp_path, "sim", SLOW) as here:
        first = await ask(here, "sim")
        await here.store.write(lambda tx: tx.execute(f"UPDATE keys SET {limit}"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, here.client(question(SLOW)))
            await trio.sleep(1)
            again, other = await ask(here, "sim"), await ask(here, "sim", temperature=0.5)
            same(first, again)
            assert again.headers["x-ainf-idempotent-replay"] == "true"
            assert (other.status, error_code(other)) == (422, "idempotency_mismatch")
            new = await ask(here, "sim", key="k-2")
            assert (new.status, error_code(new)) == (429, "rate_limited")
        assert await state_of(here, "k-2") is None


async def test_a_gateway_at_its_limit_shares_and_tells_what_is_kept(tmp_path, autojump_clock):
    """Neither needs an exchange; whatever does is refused as overloaded, by the exact number of those that run."""
    async with world(tmp_path, "sim", SLOW, limits="running = 1") as here:
        first = await ask(here, "sim")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, keyed(here, key="k-3"))
            await trio.sleep(1)
            joined = keyed(here, key="k-3")
            nursery.start_soon(here.run, joined)
            same(first, await ask(here, "sim"))
            for refused in (await ask(here, "sim", key="k-2"), await here.run(here.client(question("sim")))):
                assert (refused.status, error_code(refused)) == (503, "overloaded")
                assert refused.headers["x-should-retry"] == "true"
        assert joined.status == 200
        await check_ledger(here, admitted=2)


async def test_a_body_that_comes_while_another_is_left_is_not_refused(tmp_path, autojump_clock):
    """A key that is about to be free may be used for anything."""
    async with world(tmp_path, SLOW, limits="linger_s = 0") as here:
        here.gateway.services = attrs.evolve(here.gateway.services, store=SlowClosing(here.store, 1.0))
        first = keyed(here)
        first.on_write = lambda writes: first.leave() if writes == 5 else None
        await here.run(first)
        await trio.sleep(0.5)
        second = await ask(here, temperature=0.5)
        assert (second.status, second.ended) == (200, True)
        assert second.inference_id != first.inference_id
        await check_ledger(here, admitted=2)


async def test_a_claim_that_comes_and_goes_is_not_tried_for_ever(tmp_path, autojump_clock):
    """Where the store refuses, and then knows of nothing, the client may ask again."""
    async with world(tmp_path, SLOW) as here:
        tries = []

        class Fickle(SlowClosing):
            async def open_inference(self, opening):
                tries.append(opening)
                raise in_progress()

        here.gateway.services = attrs.evolve(here.gateway.services, store=Fickle(here.store, 0))
        client = await ask(here)
        assert (client.status, error_code(client)) == (409, "idempotency_in_progress")
        assert len(tries) == 5
        await check_ledger(here, admitted=0)


async def test_a_store_that_cannot_be_read(tmp_path, autojump_clock):
    """Whether there is an answer is not known: the client may ask again."""
    async with world(tmp_path, "sim") as here:
        await ask(here, "sim")

        class Unreadable(SlowClosing):
            async def find_claim(self, *name):
                raise GatewayError("store_unavailable", "away")

        here.gateway.services = attrs.evolve(here.gateway.services, store=Unreadable(here.store, 0))
        client = await ask(here, "sim")
        assert (client.status, client.headers["x-should-retry"]) == (503, "true")


async def test_what_has_expired_is_forgotten_every_minute(tmp_path, autojump_clock):
    """In as many rounds as it takes; a store that is away is asked again a minute later."""
    async with world(tmp_path, "sim", limits="idempotency_keep_s = 90") as here:
        clock = here.gateway.services.wall_clock
        begun, at = clock(), trio.current_time()
        for number in range(3):
            await ask(here, "sim", key=f"k-{number}")

        class Away:
            calls = 0

            async def forget_claims(self, now: int, most: int) -> int:
                self.calls += 1
                if self.calls == 1:
                    raise GatewayError("store_unavailable", "away")
                return await here.store.forget_claims(now, most)

        def now() -> int:
            return begun + int((trio.current_time() - at) * 1_000_000) + MINUTE // 60

        async with trio.open_nursery() as nursery:
            nursery.start_soon(forget_expired, Away(), here.telemetry, now)
            await trio.sleep(61)
            assert "forgetting_refused" in here.log.getvalue()
            await trio.sleep(61)
            assert await here.rows("SELECT (SELECT count(*) FROM claims), (SELECT count(*) FROM answers)") == [(0, 0)]
            nursery.cancel_scope.cancel()


async def test_what_expired_while_no_gateway_ran_is_forgotten_at_once(tmp_path, autojump_clock):
    """However often it is started: nothing is kept longer because a minute never passes."""
    async with world(tmp_path, "sim") as here:
        for number in range(45):
            await ask(here, "sim", key=f"k-{number}")
        async with trio.open_nursery() as nursery:
            later = here.gateway.services.wall_clock() + 25 * 60 * MINUTE
            nursery.start_soon(forget_expired, here.store, here.telemetry, lambda: later)
            await trio.sleep(0.1)
            assert await here.rows("SELECT (SELECT count(*) FROM claims), (SELECT count(*) FROM answers)") == [(0, 0)]
            nursery.cancel_scope.cancel()


async def test_an_expired_key_names_nothing(tmp_path, autojump_clock):
    """Forgotten or not, its next use is a new exchange."""
    async with world(tmp_path, "sim") as here:
        first = await ask(here, "sim")
        await here.store.write(lambda tx: tx.execute("UPDATE claims SET expires_at = 1"))
        second = await ask(here, "sim")
        assert second.inference_id != first.inference_id
        assert "x-ainf-idempotent-replay" not in second.headers


async def test_it_has_a_home(tmp_path, autojump_clock):
    """Without the task that it runs in, nothing is shared; behind its end neither."""
    async with world(tmp_path, "sim") as here:
        homeless = SharedExchanges(limit=1, linger_s=1)
        here.gateway.shared = homeless
        refused = await ask(here, "sim")
        assert (refused.status, error_code(refused)) == (503, "shutting_down")
        async with trio.open_nursery() as nursery:
            await nursery.start(homeless.run)
            assert (await ask(here, "sim")).status == 200
            nursery.cancel_scope.cancel()
        assert homeless._nursery is None


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cancelled_request_closes_its_connection_alone(stream, tmp_path, autojump_clock):
    """The exchange goes on for whoever comes back."""
    async with world(tmp_path, SLOW) as here:
        first = keyed(here, stream=stream)
        with trio.move_on_after(1):
            await here.run(first)
        assert first.aborted
        assert not first.ended
        assert len(here.gateway.shared) == 1
        second = await ask(here, stream=stream)
        assert second.ended
        await check_ledger(here, admitted=1)


@pytest.mark.parametrize("ends", ["told", "left"])
async def test_nothing_is_left_to_the_garbage_collector(ends, tmp_path, autojump_clock):
    """What an exchange held, its transcript above all, is free as soon as it has ended and was told."""
    async with world(tmp_path, SLOW, limits="linger_s = 0") as here:
        client = keyed(here)
        if ends == "left":
            client.on_write = lambda writes: client.leave() if writes == 5 else None
        gc.collect()
        gc.disable()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(here.run, client)
                while not here.gateway.shared._running:
                    await trio.lowlevel.checkpoint()
                (shared,) = here.gateway.shared._running.values()
                seen = [weakref.ref(shared), weakref.ref(shared.transcript), weakref.ref(shared.exchange)]
                del shared
            await here.gateway.inflight.wait_empty()
            await trio.sleep(1)
            assert [found() for found in seen] == [None] * 3
        finally:
            gc.enable()
