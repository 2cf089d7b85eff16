"""The database is away when an exchange ends: it is settled all the same, told, and in the books when that is back."""

import json
import math
from typing import Any

import attrs
import pytest
import trio

from ainf import app as composition
from ainf.exchange.instance import keep_instance
from ainf.inference.outcome import Ending
from ainf.store.base import Settlement
from ainf.store.reserves import Reserves
from ainf.store.spooled import SpooledClosing
from tests.gateway.away import AWAY, fill_disk, next_process, stranded
from tests.gateway.candidates import Candidate, ask_target, target_text
from tests.gateway.described import described
from tests.gateway.dialects import DIALECTS, Dialect
from tests.gateway.keyed import SLOW, another_process, calls, error_code, keyed, same, state_of
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.world import Client, World, question

DESCRIBED = described()
AMOUNTS = ("held_nusd", "settled_nusd", "released_nusd", "overrun_nusd", "usage", "evidence", "ending", "finish_reason")


class SlowSpool:
    """A store whose spool takes its time."""

    def __init__(self, store: Any, takes_s: float) -> None:
        self._store = store
        self._takes_s = takes_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def spool(self, record: SpooledClosing) -> Settlement:
        await trio.sleep(self._takes_s)
        return await self._store.spool(record)


class Miscounting(SlowSpool):
    """A store that spools what no ledger takes: charges that do not add up."""

    async def spool(self, record: SpooledClosing) -> Settlement:
        closing = attrs.evolve(record.closing, charges=(record.closing.cost_nusd + 1,))
        return await self._store.spool(attrs.evolve(record, closing=closing))


def lines(here: World, event: str) -> list[dict[str, Any]]:
    told = [json.loads(line) for line in here.log.getvalue().splitlines()]
    return [line for line in told if line["event"] == event]


async def receipt_of(here: World, client: Client) -> dict[str, Any]:
    """What the gateway answers of a client's exchange, held against its own description."""
    answer = await here.get(f"/v1/audit/{client.inference_id}")
    DESCRIBED.check(answer)
    return answer.json()


async def recover_unaware(there: World) -> list[str]:
    """Let a process recover before it knows of the spool."""
    reserves, there.store._reserves = there.store._reserves, Reserves()
    closed = await there.store.recover(there.clock())
    there.store._reserves = reserves
    return closed


@pytest.mark.threat(69)
@pytest.mark.parametrize("is_keyed", [False, True], ids=["", "keyed"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
async def test_an_end_is_told_and_settled(dialect: Dialect, stream, is_keyed, tmp_path, autojump_clock):
    """In every protocol and mode: the client gets its end, the receipt is there at once, and is the same afterwards."""
    async with stranded(tmp_path, "sim") as (here, store):
        if is_keyed:
            client = await here.run(keyed(here, "sim", stream=stream, dialect=dialect))
        else:
            client = await here.speak(dialect, "sim", stream=stream)
        assert await check_transcript(here, client) == Ending.COMPLETED
        before = await receipt_of(here, client)
        assert (before["state"], before["spooled"], before["hash"]) == ("settled", True, None)
        assert await here.rows("SELECT count(*) FROM settlements") == [(0,)]
        assert b"ainf_settlements_spooled_total 1.0" in here.telemetry.exposition()
        assert b"ainf_unsettled_total 0.0" in here.telemetry.exposition()
        store.is_away = False
        assert (await here.store.replay_spool()).settled == 1
        after = await receipt_of(here, client)
        assert (after["spooled"], bool(after["hash"])) == (False, True)
        assert {**before, "spooled": False, "hash": after["hash"], "prev_hash": after["prev_hash"]} == after
        assert after["notes"]["spooled_at"]
        await check_ledger(here, admitted=1)
        await check_provider(here)


async def test_nothing_is_said_before_it_is_durable(tmp_path, autojump_clock):
    """The terminal frame leaves behind the spool's disk, however long that takes within its limit."""
    async with stranded(tmp_path, "sim") as (here, store):
        client = here.client(question("sim"))
        here.gateway.services = attrs.evolve(here.gateway.services, store=SlowSpool(store, 1.9))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(11.8)  # ten seconds for the database, and nearly all that the spool takes
            assert (client.ended, b"[DONE]" in client.body) == (False, False)
        assert await check_transcript(here, client) == Ending.COMPLETED


@pytest.mark.threat(69)
@pytest.mark.parametrize("stream", [True, False])
async def test_where_nothing_can_be_kept_nothing_is_said(stream, tmp_path, autojump_clock, monkeypatch):
    """The spool's disk is full too: the connection closes without an end, and recovery settles."""
    async with stranded(tmp_path, "sim") as (here, _):
        fill_disk(monkeypatch)
        client = await here.ask(stream=stream)
        assert (client.aborted, client.ended) == (True, False)
        assert b"[DONE]" not in client.body
        (line,) = lines(here, "not_spooled")
        assert "No space left on device" in line["error"]
        assert (await receipt_of(here, client))["state"] == "open" if stream else client.status is None
        assert b"ainf_unsettled_total 1.0" in here.telemetry.exposition()
        monkeypatch.undo()
        there = await next_process(here, tmp_path)
        assert len(await there.store.recover(here.clock())) == 1
        await check_ledger(there, admitted=1)


@pytest.mark.threat(69)
async def test_what_could_be_kept_nowhere_is_settled_by_the_living(tmp_path, autojump_clock, monkeypatch):
    """As soon as the database takes it: no hold stays open, no cap stays used, and its key has the answer."""
    async with stranded(tmp_path, "sim") as (here, store), trio.open_nursery() as nursery:
        fill_disk(monkeypatch)
        first = await here.run(keyed(here, "sim"))
        assert (first.aborted, first.ended) == (True, False)
        assert await here.rows("SELECT count(*) FROM holds") == [(1,)]
        nursery.start_soon(keep_instance, here.gateway.inflight, store, here.telemetry, here.clock, 2)
        await trio.sleep(10)
        assert await here.rows("SELECT count(*) FROM settlements") == [(0,)]
        store.is_away = False
        await trio.sleep(10)
        assert (await here.receipt(first.inference_id))["ending"] == Ending.COMPLETED
        again = await here.run(keyed(here, "sim"))
        assert (again.status, again.inference_id) == (200, first.inference_id)
        assert calls(here) == 1
        await check_ledger(here, admitted=1)
        nursery.cancel_scope.cancel()


async def test_a_disk_that_hangs_keeps_a_client_no_longer_than_it_may(tmp_path, autojump_clock):
    """Ten seconds for the database, two for the spool; then the connection closes."""
    async with stranded(tmp_path, "sim") as (here, store):
        here.gateway.services = attrs.evolve(here.gateway.services, store=SlowSpool(store, math.inf))
        began = trio.current_time()
        client = await here.ask()
        assert client.aborted
        assert 12 <= trio.current_time() - began < 15
        assert [line["error"] for line in lines(here, "not_spooled")] == ["it took too long"]


async def test_a_shutdown_leaves_time_to_spool(tmp_path, autojump_clock):
    """What runs when the drain is over is spooled, and told its end, within the last words' four seconds."""
    model = "sim-tokens-500-pace-20ms"
    async with stranded(tmp_path, model) as (here, store):
        client = here.client(question(model))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(2)
            began = trio.current_time()
            here.gateway.inflight.shut_down(composition._DRAINED_CLOSE_S)
        assert trio.current_time() - began < composition._LAST_WORDS_S
        assert await check_transcript(here, client) == Ending.SHUTDOWN
        assert store.reserves.waiting == 1


async def test_a_shutdown_within_a_spooling_that_hangs(tmp_path, autojump_clock):
    """Who is to end waits for a disk no longer than the last words last."""
    model = "sim-tokens-500-pace-20ms"
    async with stranded(tmp_path, model) as (here, store):
        here.gateway.services = attrs.evolve(here.gateway.services, store=SlowSpool(store, math.inf))
        client = here.client(question(model))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(2)
            began = trio.current_time()
            here.gateway.inflight.shut_down(composition._DRAINED_CLOSE_S)
        assert trio.current_time() - began <= composition._LAST_WORDS_S - 0.5
        assert (client.ended, client.aborted) == (False, True)


async def test_a_client_that_left_is_spooled_like_any_other(tmp_path, autojump_clock):
    """Nobody is told, and what was spent is not lost."""
    model = "sim-tokens-500-pace-20ms"
    async with stranded(tmp_path, model) as (here, store):
        client = here.client(question(model))
        client.on_write = lambda writes: client.leave() if writes == 5 else None
        await here.run(client)
        assert (await here.receipt(client.inference_id))["ending"] == Ending.CLIENT_DISCONNECTED
        store.is_away = False
        assert (await here.store.replay_spool()).settled == 1
        await check_ledger(here, admitted=1)
        await check_provider(here)


@pytest.mark.threat(69)
async def test_a_process_that_died_before_the_replay(tmp_path, autojump_clock):
    """The next one settles what its client was told, before it recovers the rest: with the same receipt."""
    async with stranded(tmp_path, "sim", SLOW) as (here, _):
        client = await here.ask()
        before = await here.receipt(client.inference_id)
        running = here.client(question(SLOW))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, running)
            await trio.sleep(1)
            there = await next_process(here, tmp_path)
            assert await there.store.recover(here.clock()) == [running.inference_id]
            after = await there.receipt(client.inference_id)
            assert [before[name] for name in AMOUNTS] == [after[name] for name in AMOUNTS]
            assert await check_transcript(there, client) == Ending.COMPLETED
            await check_ledger(there, admitted=2)
            running.leave()
            nursery.cancel_scope.cancel()


async def test_what_another_process_abandoned_is_adjusted(tmp_path, autojump_clock):
    """It had recovered before it knew of the spool: the difference is posted, with its event, and the books agree."""
    async with stranded(tmp_path, "sim") as (here, _):
        client = await here.ask()
        before = await here.receipt(client.inference_id)
        there = await next_process(here, tmp_path)
        assert await recover_unaware(there) == [client.inference_id]
        assert (await there.receipt(client.inference_id))["ending"] == Ending.ABANDONED
        assert (await there.store.replay_spool()).settled == 1
        after = await there.receipt(client.inference_id)
        charged = sum(each["amount_nusd"] for each in after["adjustments"]) + after["settled_nusd"]
        assert charged + after["overrun_nusd"] == before["settled_nusd"] + before["overrun_nusd"]
        assert await there.rows("SELECT count(*) FROM audit_events WHERE kind = 'inference.adjusted'") == [(1,)]
        await check_ledger(there, admitted=1)


@pytest.mark.parametrize("is_dead", [False, True], ids=["own", "left behind"])
async def test_an_end_that_the_ledger_cannot_take_is_settled_as_that_end(is_dead, tmp_path, autojump_clock):
    """A defect: the client was told its end, so it is that and not `abandoned`; the whole hold is charged for it."""
    async with stranded(tmp_path, "sim") as (here, store):
        here.gateway.services = attrs.evolve(here.gateway.services, store=Miscounting(store, 0))
        client = await here.run(keyed(here, "sim"))
        assert await check_transcript(here, client) == Ending.COMPLETED
        there = await next_process(here, tmp_path) if is_dead else here
        replayed = await there.store.replay_spool()
        assert [(id_, str(defect)) for id_, defect in replayed.blind] == [
            (client.inference_id, "the charges do not add up to the cost")
        ]
        assert (replayed.settled, replayed.refused, len(replayed.kept)) == (0, [], int(is_dead))
        assert await there.store.recover(here.clock()) == []
        receipt = await receipt_of(there, client)
        assert (receipt["ending"], receipt["evidence"], receipt["attempts"]) == ("completed", "none", [])
        assert (receipt["settled_nusd"], receipt["hash"] is None) == (receipt["held_nusd"], False)
        again = await there.store.replay_spool()
        assert (again.blind, again.refused) == ([], [])
        assert await state_of(there) == "too_large"
        await check_ledger(there, admitted=1)


# --- idempotency keys ---


async def test_a_key_whose_end_waits_is_in_use(tmp_path, autojump_clock):
    """Who asks again is told to wait, runs nothing, and is told the answer when the database has it."""
    async with stranded(tmp_path, "sim") as (here, store):
        first = await here.run(keyed(here, "sim"))
        assert await check_transcript(here, first) == Ending.COMPLETED
        second = await here.run(keyed(here, "sim"))
        assert (second.status, second.json()["error"]["code"]) == (409, "idempotency_in_progress")
        assert second.headers["x-should-retry"] == "true"
        store.is_away = False
        await here.store.replay_spool()
        third = await here.run(keyed(here, "sim"))
        same(first, third)
        assert third.headers["x-ainf-idempotent-replay"] == "true"
        assert await state_of(here) == "kept"
        await check_ledger(here, admitted=1)


@pytest.mark.parametrize("is_used", [False, True], ids=["", "used meanwhile"])
async def test_a_key_that_recovery_freed_is_taken_back(is_used, tmp_path, autojump_clock):
    """Its client was told an answer: who asks again is told that, not billed; in the other mode, where it is on record.

    Where somebody used the key in between, it names that exchange from then on.
    """
    async with stranded(tmp_path, "sim") as (here, _), trio.open_nursery() as nursery:
        first = await here.run(keyed(here, "sim"))
        there = await next_process(here, tmp_path)
        there.gateway.services = attrs.evolve(here.gateway.services, store=there.store)
        there = another_process(there)
        await nursery.start(there.gateway.shared.run)
        assert await recover_unaware(there) == [first.inference_id]
        assert await state_of(there) == "freed"
        if is_used:
            first = await there.run(keyed(there, "sim"))
            assert await check_transcript(there, first) == Ending.COMPLETED
        assert (await there.store.replay_spool()).settled == 1
        same(first, await there.run(keyed(there, "sim")))
        other_mode = await there.run(keyed(there, "sim", stream=False))
        if is_used:
            assert (other_mode.status, other_mode.inference_id) == (200, first.inference_id)
        else:
            assert (other_mode.status, error_code(other_mode)) == (409, "idempotency_completed")
        assert calls(there) == 1 + is_used
        await check_ledger(there, admitted=1 + is_used)
        nursery.cancel_scope.cancel()


async def test_an_answer_that_does_not_fit_is_left_out(tmp_path, autojump_clock, monkeypatch):
    """The end is spooled without it: the key is known, and its answer too large to be told again."""
    async with stranded(tmp_path, "sim") as (here, store):
        fill_disk(monkeypatch, room=2_500)
        client = await here.run(keyed(here, "sim"))
        assert await check_transcript(here, client) == Ending.COMPLETED
        store.is_away = False
        await here.store.replay_spool()
        assert await state_of(here) == "too_large"
        await check_ledger(here, admitted=1)


async def test_a_database_that_cannot_be_read_either(tmp_path, autojump_clock, monkeypatch):
    """The receipt is told by what the process knows: it lacks the caps alone."""
    async with stranded(tmp_path, "sim") as (here, store):
        await here.set_cap(10**12)
        client = await here.ask()
        known = await receipt_of(here, client)

        async def away(operation):
            raise AWAY

        monkeypatch.setattr(store._reader, "read", away)
        told = await receipt_of(here, client)
        assert told == {**known, "caps": []}


async def test_many_that_end_at_once_are_all_kept(tmp_path, autojump_clock):
    """Each is told its end; the replay settles all of them."""
    async with stranded(tmp_path, "sim") as (here, store):
        clients = [here.client(question("sim")) for _ in range(20)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(here.run, client)
        for client in clients:
            assert await check_transcript(here, client) == Ending.COMPLETED
        assert store.reserves.waiting == 20
        store.is_away = False
        assert (await here.store.replay_spool()).settled == 20
        await check_ledger(here, admitted=20)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_routed_one_that_fell_back(stream, tmp_path, autojump_clock):
    """Of several attempts each is charged as it will be settled, and the outcome is written with the replay."""
    target = target_text(Candidate("sim-status-500"), Candidate())
    async with stranded(tmp_path, "sim", after=target) as (here, store):
        client = await ask_target(here, stream=stream)
        assert await check_transcript(here, client) == Ending.COMPLETED
        before = await receipt_of(here, client)
        assert len(before["attempts"]) == 2
        store.is_away = False
        assert (await here.store.replay_spool()).settled == 1
        after = await receipt_of(here, client)
        assert [before[name] for name in AMOUNTS] == [after[name] for name in AMOUNTS]
        assert after["routing"]["status"] == "fell_back"
        await check_ledger(here, admitted=1)
