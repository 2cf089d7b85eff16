"""What a store is made of: who may have a database beside whom, and who waits for whom."""

import pytest
import trio

from ainf.store.parts import LOCK_WAIT_S, LeaseTerms, soon
from ainf.store.sqlite import LockedError
from tests.store.records import START
from tests.store.test_leases import Uptime, gateway


async def test_one_for_itself_and_one_that_shares(tmp_path):
    """They do not go together, whoever comes first; two that share do, once the first has recovered."""
    path, uptime = tmp_path / "a.db", Uptime()
    async with gateway(path, uptime, is_shared=False), trio.open_nursery() as nursery:
        nursery.start_soon(_is_locked_out, path, uptime)
    async with gateway(path, uptime) as one:
        with trio.move_on_after(0.2) as waited:
            async with gateway(path, uptime):
                pass
        assert waited.cancelled_caught
        await one.recover(START)
        async with gateway(path, uptime) as other:
            await other.recover(START)
        with pytest.raises(LockedError, match=r"store\.shared"):
            async with gateway(path, uptime, is_shared=False):
                pass


async def _is_locked_out(path, uptime) -> None:
    with trio.move_on_after(0.2) as waited:
        async with gateway(path, uptime):
            pass
    assert waited.cancelled_caught


async def test_soon_takes_what_is_free_in_time(autojump_clock):
    """At once, or after a while; never later than it may."""
    refusals = [True, True]

    def take() -> str:
        if refusals and refusals.pop():
            raise LockedError("taken")
        return "mine"

    assert await soon(take, LOCK_WAIT_S) == "mine"
    assert 0 < trio.current_time() < LOCK_WAIT_S
    refusals[:] = [True]
    with pytest.raises(LockedError):
        await soon(take, 0)


def test_processes_that_share_have_one_clock():
    """That of the machine; a process that has a database for itself needs to know no other."""
    lease = LeaseTerms(is_shared=True).lease("gateway", lambda: START)
    assert lease.uptime.boot == LeaseTerms(is_shared=True).lease("gateway", lambda: START).uptime.boot != ""
    assert LeaseTerms().lease("gateway", lambda: START).uptime.boot == ""
