"""The upkeep of the reserves: replayed and put back again and again, and told to who watches."""

import json
from contextlib import asynccontextmanager, suppress
from io import StringIO
from pathlib import Path

import pytest
import trio

from ainf.exchange.upkeep import keep_reserves, replay
from ainf.inference.errors import GatewayError
from ainf.store.spool import Replayed
from ainf.telemetry import Telemetry


class Reserves:
    def __init__(self):
        self.waiting = 0
        self.admits = True
        self.fault = None
        self.restored = 0
        self.replayed = Replayed()
        """What nobody has taken yet."""

    def take_replayed(self):
        taken, self.replayed = self.replayed, Replayed()
        return taken

    async def restore_ballast(self):
        await trio.lowlevel.checkpoint()
        self.restored += 1


class Kept:
    """A store whose replays come to what is named, one after the other, then to nothing."""

    def __init__(self, *outcomes):
        self.reserves = Reserves()
        self.outcomes = list(outcomes)

    async def replay_spool(self):
        await trio.lowlevel.checkpoint()
        outcome = self.outcomes.pop(0) if self.outcomes else Replayed()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Told:
    def __init__(self):
        self.log = StringIO()
        self.telemetry = Telemetry(self.log)

    def lines(self):
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def metric(self, name):
        return next(float(line.split()[1]) for line in self.exposed() if line.startswith(f"{name} "))

    def exposed(self):
        return self.telemetry.exposition().decode().splitlines()


@asynccontextmanager
async def kept(store, told):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_reserves, store, told.telemetry, 2.0)
        await trio.testing.wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


async def test_nothing_to_do_is_not_told(autojump_clock):
    """A round in which nothing waits and the ballast is in place leaves no line."""
    store, told = Kept(), Told()
    async with kept(store, told):
        await trio.sleep(9)
    assert store.reserves.restored == 5
    assert told.lines() == []
    assert (told.metric("ainf_ballast"), told.metric("ainf_spool_waiting")) == (1, 0)


async def test_what_the_store_refuses_is_tried_again(autojump_clock):
    """The ballast is looked after all the same."""
    store, told = Kept(GatewayError("store_unavailable", "away"), Replayed(settled=3)), Told()
    store.reserves.waiting = 3
    async with kept(store, told):
        await trio.sleep(3)
    assert store.reserves.restored == 2
    assert [(line["event"], line.get("waiting"), line.get("settled")) for line in told.lines()] == [
        ("replay_refused", 3, None),
        ("spool_replayed", None, 3),
    ]
    assert (told.metric("ainf_spool_replayed_total"), told.metric("ainf_spool_waiting")) == (3, 3)


async def test_a_defect_in_a_replay_ends_nothing(autojump_clock):
    """It is an alarm, and the next round comes."""
    store, told = Kept(AssertionError("a bug"), Replayed(settled=3)), Told()
    async with kept(store, told):
        await trio.sleep(3)
    assert store.reserves.restored == 2
    assert [line["event"] for line in told.lines()] == ["defect", "spool_replayed"]


async def test_whatever_comes_of_a_replay_is_told():
    """What was settled blindly or never can be is an alarm, and says where to look; an exception's text is not told."""
    told = Told()
    defect = AssertionError("a secret")
    replayed = Replayed(
        settled=2,
        broken=1,
        blind=[("inf-1", defect)],
        refused=[("inf-2", defect)],
        unread=[(Path("/x/a.7-0"), PermissionError(13, "denied"))],
        kept=[Path("/x/k")],
    )
    await replay(Kept(replayed), told.telemetry)
    assert [(line["event"], line["level"]) for line in told.lines()] == [
        ("spool_replayed", "warning"), ("defect", "error"), ("defect", "error"), ("spool_unread", "error"),
        ("spool_kept", "error"),
    ]  # fmt: skip
    assert (told.metric("ainf_spool_replayed_total"), told.metric("ainf_spool_lost_total")) == (3, 2)
    assert told.metric("ainf_unevidenced_total") == 1
    assert "a secret" not in told.log.getvalue()


@pytest.mark.parametrize("end", [GatewayError("store_unavailable", "away"), AssertionError("a bug"), None])
async def test_what_came_of_a_replay_that_was_broken_off_is_told(end):
    """However it ended, and be it by the end of the process: the file that it kept has its line, once."""
    store, told = Kept(end), Told()
    store.reserves.replayed = Replayed(settled=1, broken=1, kept=[Path("/x/k")])
    with trio.CancelScope() as scope, suppress(GatewayError, AssertionError):
        if end is None:
            scope.cancel()
        await replay(store, told.telemetry)
    assert [line["event"] for line in told.lines()] == ["spool_replayed", "spool_kept"]
    assert (told.metric("ainf_spool_replayed_total"), told.metric("ainf_spool_lost_total")) == (1, 1)
    assert store.reserves.take_replayed() == Replayed()


async def test_a_ballast_that_goes_and_comes_is_told_once(autojump_clock):
    """With why it is missing."""
    store, told = Kept(), Told()
    async with kept(store, told):
        store.reserves.admits, store.reserves.fault = False, "The disk is full."
        await trio.sleep(9)
        assert told.metric("ainf_ballast") == 0
        store.reserves.admits = True
        await trio.sleep(9)
    assert [(line["event"], line.get("error")) for line in told.lines()] == [
        ("ballast_missing", "The disk is full."),
        ("ballast_in_place", None),
    ]


async def test_a_thread_that_cannot_be_started_ends_nothing(autojump_clock):
    """The system has none left for a moment: the ballast is looked after in the next round."""
    store, told = Kept(), Told()
    restore, failures = store.reserves.restore_ballast, [RuntimeError("can't start new thread")]

    async def restore_ballast():
        if failures:
            raise failures.pop()
        await restore()

    store.reserves.restore_ballast = restore_ballast
    async with kept(store, told):
        await trio.sleep(3)
    assert store.reserves.restored == 1
    assert [line["event"] for line in told.lines()] == ["defect"]
