"""What a dead process left open: closed once, at its last durable progress."""

from functools import partial

import attrs
import msgspec
import pytest

from ainf.inference.usage import Usage
from ainf.store import recovery
from ainf.store.base import Progress
from tests.store.records import (
    DEARER,
    PRICE,
    START,
    closing,
    counter,
    entries,
    events,
    later,
    limited,
    opening,
    seeded,
    strand,
)


async def test_without_progress_the_estimated_input_is_settled(store):
    """Nobody knows whether the provider was called: the estimate of the input is taken, with the attempt on record."""
    await store.write(seeded(account_cap=1_000))
    await store.open_inference(opening())
    await store.write(strand)
    assert await store.recover(START + 9) == ["inf-000001"]
    assert await store.read(entries) == [("hold", 50), ("settle", 11), ("release", 39)]
    row = await store.read(
        lambda tx: tx.one("SELECT ending, evidence, input_tokens, settled_at, epoch, output_bytes FROM settlements")
    )
    assert row == ("abandoned", "metered", 11, START + 9, 1, 0)
    assert await store.read(
        lambda tx: tx.execute("SELECT number, upstream_model, provider, price_version, cost_nusd, status FROM attempts")
    ) == [(1, "gpt-2026", "openai", PRICE.version, 11, None)]
    assert await store.read(lambda tx: counter(tx, "cap-org")) == (11, 0)


async def test_the_last_progress_is_settled(store):
    """Usage, cost and delivered bytes are those of the last durable tick."""
    await store.write(seeded())
    await store.open_inference(opening())
    usage = Usage(input_tokens=9, output_tokens=21, cache_write_tokens=8, long_cache_write_tokens=3)
    await store.record_progress([Progress("inf-000001", Usage(), 1, 1)])
    await store.record_progress([Progress("inf-000001", usage, 30, 120)])
    await store.write(strand)
    await store.recover(START + 9)
    (body,) = [msgspec.json.decode(text) for text in await store.read(lambda tx: events(tx, "inference.closed"))]
    assert body["usage"] == body["attempts"][0]["usage"] == attrs.asdict(usage)
    assert await store.read(
        lambda tx: tx.one("SELECT output_tokens, cache_write_tokens, long_cache_write_tokens FROM settlements")
    ) == (21, 8, 3)
    assert (body["settled_nusd"], body["output_bytes"], body["ending"]) == (30, 120, "abandoned")
    assert body["attempts"][0]["ended_at"] == START + 500


async def test_recovery_leaves_the_living_alone(store):
    """Only what other epochs opened is closed."""
    await store.write(seeded())
    await store.open_inference(opening(1))
    await store.write(strand)
    await store.open_inference(opening(2))
    assert await store.recover(START) == ["inf-000001"]
    assert await store.read(lambda tx: tx.execute("SELECT inference_id FROM holds")) == [("inf-000002",)]


async def test_recovery_run_again_changes_nothing(store):
    """Once each, however often it is run and wherever it stopped the first time."""
    await store.write(seeded())
    for number in range(1, 6):
        await store.open_inference(opening(number))
    await store.write(strand)
    await store.write(partial(recovery.fence_dead, at=START))
    for number in (1, 2):
        await store.write(lambda tx, n=number: recovery.abandon(tx, f"inf-{n:06d}", START))
    assert await store.recover(START) == ["inf-000003", "inf-000004", "inf-000005"]
    assert await store.recover(START) == []
    assert await store.write(lambda tx: recovery.abandon(tx, "inf-000001", START)) is None
    assert await store.read(lambda tx: tx.execute("SELECT count(*) FROM settlements")) == [(5,)]
    assert len(await store.read(lambda tx: events(tx, "inference.closed"))) == 5


async def test_more_than_a_batch_is_recovered(store):
    """However many were left, all are closed."""
    await store.write(seeded())
    await store.write(lambda tx: [open_in(tx, number) for number in range(450)])
    await store.write(strand)
    assert len(await store.recover(START)) == 450
    assert await store.read(lambda tx: tx.execute("SELECT count(*) FROM holds")) == [(0,)]


async def test_a_fence_does_not_read_the_chain_that_it_closes(store):
    """Of a process that ran for long it is very long, and nobody else writes meanwhile: its last event is looked up."""
    plan = await store.read(
        lambda tx: [row[3] for row in tx.execute("EXPLAIN QUERY PLAN " + recovery._DEAD, (2, True, "", 0, 0))]
    )
    assert plan == [
        "SEARCH p USING INTEGER PRIMARY KEY (rowid=?)",
        "LIST SUBQUERY 2",
        "SCAN holds USING COVERING INDEX holds_by_epoch",
        "CORRELATED SCALAR SUBQUERY 1",
        "SEARCH e USING COVERING INDEX sqlite_autoindex_audit_events_1 (epoch=?)",
    ]


async def test_one_that_cannot_be_closed_keeps_no_other_open(store, monkeypatch):
    """It is told as the defect that it is, when all that can be closed is."""
    await store.write(seeded())
    await store.write(lambda tx: [open_in(tx, number) for number in range(450)])
    await store.write(strand)
    abandon = recovery.abandon

    def broken(tx, inference_id, at):
        assert inference_id != "inf-000003", "a bug"
        return abandon(tx, inference_id, at)

    monkeypatch.setattr(recovery, "abandon", broken)
    with pytest.RaisesGroup(AssertionError):
        await store.recover(START)
    left = await store.read(lambda tx: tx.execute("SELECT inference_id FROM holds"))
    assert left == [("inf-000003",)]


def open_in(tx, number):
    from ainf.store.exchanges import open_inference

    return open_inference(tx, opening(number))


async def test_what_ended_before_the_crash_is_not_touched(store):
    """A settled exchange of a dead process stays as it is."""
    await store.write(seeded())
    await store.open_inference(opening())
    first = await store.close_inference(closing())
    await store.write(strand)
    assert await store.recover(START) == []
    assert await store.close_inference(closing()) == first


async def test_a_living_exchange_is_never_abandoned(store):
    """Neither is it listed, nor can it be closed by name: the epoch is the fence."""
    await store.write(seeded())
    await store.open_inference(opening())
    assert await store.write(partial(recovery.fence_dead, at=START)) == []
    assert await store.write(lambda tx: recovery.abandon(tx, "inf-000001", START)) is None
    assert (await store.receipt("inf-000001"))["state"] == "open"


async def running(store):
    """Open exchange 1 under a cap for each model."""
    await store.write(seeded())
    await store.write(limited(gpt=1_000, claude=1_000))
    await store.open_inference(opening())


async def abandoned(store):
    """Close what is open as another process does; return the costs of its attempts, and the sum of its input."""
    await store.write(strand)
    assert await store.recover(START + 99) == ["inf-000001"]
    lines = await store.read(lambda tx: tx.execute("SELECT number, cost_nusd FROM attempts ORDER BY number"))
    (tokens, amount) = await store.read(
        lambda tx: tx.one("SELECT input_tokens, settled_nusd + overrun_nusd FROM settlements")
    )
    assert amount == sum(cost for _, cost in lines)
    return [cost for _, cost in lines], tokens


async def test_without_progress_each_one_that_may_run_is_estimated(store):
    """Nobody knows which providers were called: the input of each is taken at its price."""
    await running(store)
    await store.open_attempt(later(2))
    assert await abandoned(store) == ([11, 24], 23)
    assert await store.read(lambda tx: (counter(tx, "gpt"), counter(tx, "claude"))) == ((11, 0), (24, 0))
    rows = await store.read(lambda tx: tx.execute("SELECT provider, price_version, started_at, ended_at FROM attempts"))
    assert rows == [
        ("openai", PRICE.version, START + 1, START + 1),
        ("anthropic", DEARER.version, START + 21, START + 21),
    ]


@pytest.mark.parametrize("cost", [0, 7, 61])
async def test_one_that_had_ended_is_settled_at_its_cost(store, cost):
    """Its cost was written down when the next one was opened."""
    await running(store)
    await store.open_attempt(later(2, (1, cost)))
    assert await abandoned(store) == ([cost, 24], 12)


@pytest.mark.parametrize(("answering", "costs", "tokens"), [(1, [30, 24], 9 + 12), (2, [11, 30], 11 + 9)])
async def test_the_one_that_answered_is_settled_at_its_progress(store, answering, costs, tokens):
    """The other of two that ran at once is estimated."""
    await running(store)
    await store.open_attempt(later(2))
    usage = Usage(input_tokens=9, output_tokens=21)
    await store.record_progress([Progress("inf-000001", usage, 30, 120, attempt=answering)])
    assert await abandoned(store) == (costs, tokens)
    (body,) = [msgspec.json.decode(text) for text in await store.read(lambda tx: events(tx, "inference.closed"))]
    assert (body["model"], body["output_bytes"]) == ({1: "gpt", 2: "claude"}[answering], 120)


async def test_progress_of_one_that_ended_is_old(store):
    """Its cost is known better, and what was opened after it answers."""
    await running(store)
    await store.record_progress([Progress("inf-000001", Usage(input_tokens=9), 30, 0)])
    await store.open_attempt(later(2, (1, 4)))
    assert await abandoned(store) == ([4, 24], 12)


async def test_each_that_ended_is_known(store):
    """Whichever of the later ones it was written down with."""
    await running(store)
    await store.open_attempt(later(2, (1, 4)))
    await store.open_attempt(later(3))
    await store.open_attempt(later(4, (3, 0), (2, 5)))
    assert await abandoned(store) == ([4, 5, 0, 24], 12)
