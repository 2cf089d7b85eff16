"""A shared exchange: it belongs to no client, and ends for want of them only after a while."""

import json
from typing import Any

import attrs
import pytest
import trio

from ainf.exchange.shared import SharedExchange
from ainf.inference.errors import SpendError
from tests.gateway.keyed import SLOW, SlowClosing, plan_of
from tests.gateway.law import check_ledger, check_provider
from tests.gateway.world import World, world


async def shared_of(here: World, linger_s: float = 30.0, limit: int = 1 << 20) -> SharedExchange:
    return SharedExchange(await plan_of(here, SLOW), here.gateway.services, limit=limit, linger_s=linger_s)


async def ending_of(here: World, shared: SharedExchange) -> str:
    return (await here.receipt(shared.exchange.plan.inference_id))["ending"]


async def test_with_a_reader_it_runs_to_its_end(tmp_path, autojump_clock):
    """However long that is, and whether or not the reader takes anything."""
    async with world(tmp_path, SLOW) as here:
        shared = await shared_of(here, linger_s=0)
        shared.transcript.attach()
        await shared.run()
        assert (shared.transcript.ended, shared.refusal, shared.is_left) == (True, None, False)
        assert shared.exchange.outcome.ending == "completed"
        assert await ending_of(here, shared) == "completed"


@pytest.mark.parametrize("linger_s", [0.0, 0.5, 1.0])
async def test_without_a_reader_it_ends_when_the_time_is_over(linger_s, tmp_path, autojump_clock):
    """As a client that has gone; what it then could say is said to nobody."""
    async with world(tmp_path, SLOW) as here:
        shared = await shared_of(here, linger_s)
        before = trio.current_time()
        await shared.run()
        assert trio.current_time() == pytest.approx(before + linger_s)
        assert (shared.transcript.aborted, shared.is_left) == (True, True)
        assert await ending_of(here, shared) == "client_disconnected"
        await check_ledger(here, admitted=1)
        await check_provider(here)


async def test_a_refused_opening_is_remembered_and_raised_by_nobody(tmp_path, autojump_clock):
    """Whoever waits is told; the task that ran it is none of a client's."""
    async with world(tmp_path, SLOW) as here:
        await here.set_cap(1)
        shared = await shared_of(here)
        await shared.run()
        assert isinstance(shared.refusal, SpendError)
        assert shared.transcript.aborted
        await check_ledger(here, admitted=0)


async def test_a_bug_is_logged_and_told_as_one(tmp_path, autojump_clock):
    """It must not end the nursery that all shared exchanges run in."""
    async with world(tmp_path, SLOW) as here:

        class Broken(SlowClosing):
            async def open_inference(self, opening: Any) -> Any:
                raise ZeroDivisionError

        here.gateway.services = attrs.evolve(here.gateway.services, store=Broken(here.store, 0))
        shared = await shared_of(here)
        await shared.run()
        assert shared.refusal.code == "internal_error"
        assert json.loads(here.log.getvalue().splitlines()[-1])["where"] == "shared"


async def test_cancelled_it_ends_as_shutdown(tmp_path, autojump_clock):
    """Settled, with its readers told in words."""
    async with world(tmp_path, SLOW) as here:
        shared = await shared_of(here)
        reader = shared.transcript.attach()
        with trio.move_on_after(1):
            await shared.run()
        assert shared.transcript.ended
        assert b"shutting_down" in await reader.receive()
        assert await ending_of(here, shared) == "shutdown"
        await check_ledger(here, admitted=1)
