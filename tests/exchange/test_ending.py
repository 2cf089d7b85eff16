"""Concluding: whatever goes wrong on the way, what is open is settled, and what is said is true."""

import json

import attrs
import pytest
import trio

from ainf.exchange import ending as concluding
from ainf.exchange import words
from ainf.exchange.calibrating import Calibrator
from ainf.exchange.health import Health
from ainf.inference.errors import GatewayError
from ainf.inference.money import format_usd
from ainf.store.base import Closing, Settlement
from tests.gateway.away import stranded
from tests.gateway.candidates import LIMITS, Candidate, target_text
from tests.gateway.keyed import keyed
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.world import World, question, world


class OddStore:
    """The world's store, whose closings fail as told: an exception per call, then none."""

    def __init__(self, world: World, *failures: Exception):
        self._store = world.store
        self.failures = list(failures)
        self.closings: list[Closing] = []
        world.gateway.services = attrs.evolve(world.gateway.services, store=self)

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    async def close_inference(self, closing: Closing) -> Settlement:
        self.closings.append(closing)
        if self.failures:
            raise self.failures.pop(0)
        return await self._store.close_inference(closing)


def defects(here: World) -> list[dict]:
    lines = [json.loads(line) for line in here.log.getvalue().splitlines()]
    return [line for line in lines if line["event"] == "defect"]


def exchange_line(here: World) -> dict:
    lines = [json.loads(line) for line in here.log.getvalue().splitlines()]
    (line,) = [line for line in lines if line["event"] == "exchange"]
    return line


async def test_a_close_that_the_store_refuses_is_tried_again(tmp_path, autojump_clock):
    """A store that is away for a moment costs the client nothing: its terminal frame comes a little later."""
    async with world(tmp_path, "sim") as here:
        away = GatewayError("store_unavailable", "away")
        store = OddStore(here, away, away, away)
        client = await here.ask()
        assert await check_transcript(here, client) == "completed"
        assert len(store.closings) == 4
        await check_ledger(here, admitted=1)


async def test_a_close_that_the_store_refuses_for_good_ends_without_a_word(tmp_path, autojump_clock):
    """Where nothing durable can be written the connection closes without a terminal frame; later it is settled."""
    async with world(tmp_path, "sim") as here:
        OddStore(here, *[GatewayError("store_unavailable", "away")] * 1_000)
        client = await here.ask()
        assert client.aborted
        assert not client.ended
        assert b"[DONE]" not in client.body
        assert client.finish_reasons() == []
        assert exchange_line(here)["settled_nusd"] is None
        assert b"ainf_unsettled_total 1.0" in here.telemetry.exposition()
        await here.store.write(lambda _: None)
        assert (await here.receipt(client.inference_id))["ending"] == "completed"
        await check_ledger(here, admitted=1)


async def test_a_close_that_the_store_refuses_for_good_is_spooled(tmp_path, autojump_clock):
    """Behind the time that the database has, once, and with all that a replay needs; then the client is told."""
    async with stranded(tmp_path, "sim") as (here, store):
        began = trio.current_time()
        client = await here.ask()
        assert 10 <= trio.current_time() - began < 11
        assert await check_transcript(here, client) == "completed"
        record = await store.reserves.find(client.inference_id)
        assert record is not None
        last = store.closings[-1]
        assert attrs.evolve(record.closing, at=last.at, attempts=last.attempts) == last
        assert exchange_line(here)["settled_nusd"] == record.closing.cost_nusd
        ((held, opened_at, account),) = await here.rows(
            "SELECT h.held_nusd, i.opened_at, i.account_id FROM holds AS h JOIN inferences AS i USING (inference_id)"
        )
        assert (record.held_nusd, record.opened_at, record.account_id) == (held, opened_at, account)


async def test_a_blind_end_is_spooled_too(tmp_path, autojump_clock, monkeypatch):
    """What it cost is not known, and the database is away: the whole hold, when that is back."""

    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(concluding, "end_of", broken)
    async with stranded(tmp_path, "sim") as (here, store):
        client = await here.ask()
        store.is_away = False
        assert (await here.store.replay_spool()).settled == 1
        receipt = await here.receipt(client.inference_id)
        assert (receipt["evidence"], receipt["settled_nusd"]) == ("none", receipt["held_nusd"])
        await check_ledger(here, admitted=1)


async def test_what_the_store_cannot_write_is_not_spooled(tmp_path, autojump_clock):
    """It would not be able to write it later either: nothing is said, and recovery settles."""
    async with stranded(tmp_path, "sim") as (here, store):
        OddStore(here, OverflowError(), OverflowError())
        client = await here.ask()
        assert client.aborted
        assert store.reserves.waiting == 0


async def test_an_answer_that_broke_the_closing_is_not_spooled(tmp_path, autojump_clock):
    """What could not be kept beside the settlement for a defect is left out of the spool as well."""
    async with stranded(tmp_path, "sim") as (here, store):
        away = GatewayError("store_unavailable", "away")
        OddStore(here, OverflowError("the answer"), *[away] * 1_000)
        client = await here.run(keyed(here, "sim"))
        assert await check_transcript(here, client) == "completed"
        record = await store.reserves.find(client.inference_id)
        assert record is not None
        assert (record.closing.answer, record.closing.frees_claim) == (None, False)


async def test_a_defect_on_the_way_into_the_spool_ends_without_a_word(tmp_path, autojump_clock, monkeypatch):
    """It is logged, and what is open is left to recovery."""

    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(concluding, "_to_spool", broken)
    async with stranded(tmp_path, "sim") as (here, _):
        client = await here.ask()
        assert client.aborted
        assert [defect["where"] for defect in defects(here)] == ["spooling"]


async def test_an_end_that_the_store_cannot_write_takes_the_whole_hold(tmp_path, autojump_clock):
    """A closing that no store can take is settled blindly, once: the hold, evidence none, an alarm."""
    async with world(tmp_path, "sim") as here:
        store = OddStore(here, OverflowError("too large for 64 bits"))
        client = await here.ask()
        assert await check_transcript(here, client) == "completed"
        receipt = await here.receipt(client.inference_id)
        assert receipt["evidence"] == "none"
        assert receipt["settled_nusd"] == receipt["held_nusd"]
        assert len(store.closings) == 2
        assert [defect["where"] for defect in defects(here)] == ["settling"]
        assert b"ainf_unevidenced_total 1.0" in here.telemetry.exposition()
        await check_ledger(here, admitted=1)


async def test_an_end_that_cannot_be_written_at_all_is_left_to_recovery(tmp_path, autojump_clock):
    """If the blind settlement cannot be written either, nothing is said."""
    async with world(tmp_path, "sim") as here:
        OddStore(here, OverflowError(), OverflowError())
        client = await here.ask()
        assert client.aborted
        assert not client.ended
        assert await here.rows("SELECT count(*) FROM holds") == [(1,)]


async def test_a_cost_that_cannot_be_reckoned_takes_the_whole_hold(tmp_path, autojump_clock, monkeypatch):
    """A defect in the arithmetic does not leave a hold open."""

    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(concluding, "end_of", broken)
    async with world(tmp_path, "sim") as here:
        client = await here.ask()
        receipt = await here.receipt(client.inference_id)
        assert receipt["evidence"] == "none"
        assert receipt["settled_nusd"] == receipt["held_nusd"]
        assert [defect["where"] for defect in defects(here)] == ["reckoning"]
        await check_ledger(here, admitted=1)


async def test_what_earlier_attempts_cost_is_told_with_it(tmp_path, autojump_clock, monkeypatch):
    """Of several attempts the last one takes its whole hold, and the others what they cost."""

    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(concluding, "end_of", broken)
    target = target_text(Candidate("sim-eof-after-head"), Candidate("sim-tokens-7"))
    async with world(tmp_path, "sim", limits=LIMITS, after=target) as here:
        client = await here.run(here.client(question("target-0", stream=False), path="/v1/inference"))
        receipt = await here.receipt(client.inference_id)
        assert receipt["evidence"] == "none"
        assert client.json()["cost"] == format_usd(receipt["settled_nusd"] + receipt["overrun_nusd"])
        assert exchange_line(here)["settled_nusd"] == receipt["settled_nusd"]
        await check_ledger(here, admitted=1)


async def test_a_residue_that_breaks_the_reader_is_settled_all_the_same(tmp_path, autojump_clock, monkeypatch):
    """What stood in the socket at the end may be anything, also what a reader of ours stumbles over."""
    from ainf.exchange.run import Exchange

    async with world(tmp_path, "sim-tokens-50-pace-20ms") as here:
        client = here.client({
            "model": "sim-tokens-50-pace-20ms",
            "messages": [{"role": "user", "content": "x"}],
            "stream": True,
        })
        broken = 0

        def leave(writes: int) -> None:
            nonlocal broken
            if writes == 3:
                for exchange in here.gateway.inflight:
                    assert isinstance(exchange, Exchange)
                    assert exchange.attempt is not None

                    async def residue() -> bytes:
                        return b"data: {}\n\n"

                    def receive(data: bytes) -> None:
                        nonlocal broken
                        broken += 1
                        raise AssertionError("a bug")

                    exchange.attempt.call = Aborted(exchange.attempt.call, residue)
                    exchange.attempt.pipe = Broken(exchange.attempt.pipe, receive)
                client.leave()

        client.on_write = leave
        await here.run(client)
        assert broken == 1
        assert [defect["where"] for defect in defects(here)] == ["residue"]
        await check_ledger(here, admitted=1)
        await check_provider(here)


@attrs.frozen
class Aborted:
    """A call with a residue of our choice."""

    call: object
    residue: object

    def __getattr__(self, name: str):
        return getattr(self.call, name)


@attrs.frozen
class Broken:
    """A pipe that fails when it is given more."""

    pipe: object
    receive: object

    def __getattr__(self, name: str):
        return getattr(self.pipe, name)


@pytest.mark.parametrize("stream", [True, False])
async def test_an_end_that_cannot_be_said_closes_the_connection(stream, tmp_path, autojump_clock, monkeypatch):
    """A defect in the encoder after the settlement: no half answer, one log line, and the ledger stands."""

    def broken(*args: object) -> bytes:
        raise AssertionError("a bug")

    monkeypatch.setattr(words, "_terminal", broken)
    async with world(tmp_path, "sim") as here:
        client = await here.ask(stream=stream)
        assert client.aborted
        assert not client.ended
        assert [defect["where"] for defect in defects(here)] == ["speaking"]
        assert exchange_line(here)["ending"] == "completed"
        assert b"ainf_running 0.0" in here.telemetry.exposition()
        await check_ledger(here, admitted=1)


@pytest.mark.parametrize(("place", "name"), [(Calibrator, "note"), (Health, "note"), (concluding, "let_go")])
async def test_a_defect_beside_the_end_stops_nothing(place, name, tmp_path, autojump_clock, monkeypatch):
    """Where a provider is let go of, and where something is learnt: it is settled, told, and counted out."""

    def broken(*args: object) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr(place, name, broken)
    async with world(tmp_path, "sim") as here:
        client = await here.ask()
        assert await check_transcript(here, client) == "completed"
        assert [defect["where"] for defect in defects(here)] == ["letting_go" if name == "let_go" else "learning"]
        assert exchange_line(here)["ending"] == "completed"
        assert b"ainf_running 0.0" in here.telemetry.exposition()
        await check_ledger(here, admitted=1)


@pytest.mark.parametrize("stream", [True, False])
async def test_nothing_is_said_before_the_settlement_is_durable(stream, tmp_path, autojump_clock):
    """The terminal frame leaves only after the settlement is durable, however long that takes."""
    async with world(tmp_path, "sim") as here:
        client = here.client({"model": "sim", "messages": [{"role": "user", "content": "x"}], "stream": stream})
        seen: list[bytes | None] = []

        class Slow(OddStore):
            async def close_inference(self, closing: Closing) -> Settlement:
                await trio.sleep(1)
                settlement = await super().close_inference(closing)
                await trio.sleep(1)
                seen.append(client.body if client.status is not None else None)
                return settlement

        Slow(here)
        await here.run(client)
        assert client.ended
        if stream:
            assert seen[0] is not None
            assert b"[DONE]" not in seen[0]
            assert b'"finish_reason":"stop"' not in seen[0].replace(b" ", b"")
        else:
            assert seen == [None]
