"""Closings: settlement, entries, counters and audit event, once, over every store."""

import attrs
import msgspec
import pytest

from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.store.base import Settlement
from ainf.store.verify import verify
from tests.store.records import (
    COST,
    DEARER,
    PRICE,
    START,
    closing,
    closing_of,
    counter,
    entries,
    events,
    later,
    opening,
    seeded,
    strand,
)


@pytest.mark.parametrize(
    ("cost", "settled", "released", "overrun", "posted"),
    [
        (28, 28, 22, 0, [("settle", 28), ("release", 22)]),
        (50, 50, 0, 0, [("settle", 50)]),
        (61, 50, 0, 11, [("settle", 50), ("overrun", 11)]),
        (0, 0, 50, 0, [("settle", 0), ("release", 50)]),
        (None, 50, 0, 0, [("settle", 50)]),
    ],
)
async def test_a_closing_divides_the_hold(store, cost, settled, released, overrun, posted):
    """Entries, counters and settlement say the same, and nothing is held any more."""
    await store.write(seeded(account_cap=1_000))
    await store.open_inference(opening())
    settlement = await store.close_inference(closing(cost_nusd=cost))
    assert attrs.astuple(settlement)[:6] == ("inf-000001", Ending.COMPLETED, 50, settled, released, overrun)
    assert await store.read(entries) == [("hold", 50), *posted]
    assert await store.read(lambda tx: counter(tx, "cap-org")) == (settled + overrun, 0)
    assert await store.read(lambda tx: tx.execute("SELECT count(*) FROM holds")) == [(0,)]
    row = await store.read(lambda tx: tx.one("SELECT settled_nusd, overrun_nusd, ending, epoch FROM settlements"))
    assert row == (settled, overrun, "completed", 1)


async def test_the_closing_event_tells_everything(store):
    """An auditor needs nothing but the event; it is linked to the one before it."""
    await store.write(seeded())
    await store.open_inference(opening())
    settlement = await store.close_inference(closing(notes={"clamped": True}))
    (body,) = [msgspec.json.decode(text) for text in await store.read(lambda tx: events(tx, "inference.closed"))]
    assert body["inference_id"] == "inf-000001"
    assert body["account"] == "team"
    assert body["account_path"] == ["acct-org", "acct-team"]
    assert body["labels"] == {"run": "seven"}
    assert body["usage"] == {
        "input_tokens": 10, "cached_input_tokens": 2, "output_tokens": 20, "reasoning_tokens": 3,
        "cache_write_tokens": 4, "long_cache_write_tokens": 1, "audio_input_tokens": 0, "audio_output_tokens": 0,
    }  # fmt: skip
    assert (body["held_nusd"], body["settled_nusd"], body["released_nusd"]) == (50, COST, 50 - COST)
    assert body["attempts"][0]["raw_usage"] == '{"prompt_tokens":10}'
    assert body["price_version"] == PRICE.version
    assert body["notes"] == {"clamped": True}
    assert body["fingerprint"] == (b"f" * 16).hex()
    assert body["attempts"][0]["usage"] == body["usage"]
    row = await store.read(lambda tx: tx.one("SELECT hash, prev_hash FROM audit_events WHERE inference_id IS NOT NULL"))
    assert row == (settlement.hash, settlement.prev_hash)


async def test_every_attempt_has_its_line(store):
    """Attempts are numbered from 1 in the order in which they were made, each with its own cost and provider."""
    await store.write(seeded())
    await store.open_inference(opening())
    await store.open_attempt(later(2, (1, 0)))
    first, second = closing_of(0, 28).attempts
    first = attrs.evolve(first, status=503, error_code="upstream_error")
    await store.close_inference(closing_of(0, 28, attempts=(first, attrs.evolve(second, redials=1))))
    rows = await store.read(
        lambda tx: tx.execute("SELECT number, provider, status, error_code, redials FROM attempts ORDER BY number")
    )
    assert rows == [(1, "openai", 503, "upstream_error", 0), (2, "anthropic", 200, None, 1)]


@pytest.mark.parametrize(
    ("served", "model"), [(None, "claude"), (2, "claude"), (1, "gpt")], ids=["the last", "the second", "the first"]
)
async def test_the_event_names_what_answered(store, served, model):
    """Where two ran at once, that may be the first."""
    await store.write(seeded())
    await store.open_inference(opening())
    await store.open_attempt(later(2))
    await store.close_inference(closing_of(28, 5, served=served))
    (body,) = [msgspec.json.decode(text) for text in await store.read(lambda tx: events(tx, "inference.closed"))]
    provider, price = {"claude": ("anthropic", DEARER), "gpt": ("openai", PRICE)}[model]
    assert (body["model"], body["provider"], body["price_version"]) == (model, provider, price.version)
    assert [line["cost_nusd"] for line in body["attempts"]] == [28, 5]


async def test_a_clock_that_was_set_back_settles_nothing_before_it_was_opened(store):
    """Neither the settlement, nor an attempt, nor its end comes before the hold that pays for it: verify finds none."""
    await store.write(seeded())
    await store.open_inference(opening())
    await store.open_attempt(later(2, (1, 7)))
    end = closing_of(7, 28, at=START - 3600)
    early = tuple(attrs.evolve(line, started_at=START - 3600, ended_at=START - 3700) for line in end.attempts)
    await store.close_inference(attrs.evolve(end, attempts=early))
    assert await store.read(lambda tx: tx.execute("SELECT settled_at FROM settlements")) == [(START + 1,)]
    lines = await store.read(lambda tx: tx.execute("SELECT started_at, ended_at FROM attempts ORDER BY number"))
    assert lines == [(START + 1, START + 1), (START + 21, START + 21)]
    assert [found for found in await store.read(verify) if found.invariant == "I12"] == []


@pytest.mark.threat(70)
async def test_a_repeated_closing_returns_the_first(store):
    """Whatever the second one says, the settlement stays the first's and nothing is written."""
    await store.write(seeded(account_cap=1_000))
    await store.open_inference(opening())
    first = await store.close_inference(closing())
    assert await store.close_inference(closing(ending=Ending.SHUTDOWN, cost_nusd=1)) == first
    assert len(await store.read(entries)) == 3
    assert len(await store.read(lambda tx: events(tx, "inference.closed"))) == 1


async def test_a_closing_without_an_opening_is_a_bug(store):
    """It is not settled as if it were one."""
    await store.write(seeded())
    with pytest.raises(AssertionError, match="never opened"):
        await store.close_inference(closing())


async def recovered(store):
    await store.write(seeded(account_cap=1_000))
    await store.open_inference(opening())
    await store.write(strand)
    assert await store.recover(1) == ["inf-000001"]


@pytest.mark.parametrize(("cost", "difference"), [(28, 17), (4, -7)])
async def test_a_late_closing_posts_the_difference_once(store, cost, difference):
    """The settlement of recovery stays; one adjustment and its event bring the books to the true cost."""
    await recovered(store)
    late = closing(cost_nusd=cost)
    first = await store.close_inference(late)
    assert await store.close_inference(late) == first
    assert (first.ending, first.settled_nusd) == (Ending.ABANDONED, 11)
    assert await store.read(entries) == [("hold", 50), ("settle", 11), ("release", 39), ("adjustment", difference)]
    assert await store.read(lambda tx: counter(tx, "cap-org")) == (cost, 0)
    (body,) = [msgspec.json.decode(text) for text in await store.read(lambda tx: events(tx, "inference.adjusted"))]
    assert (body["adjustment_nusd"], body["ending"], body["inference_id"]) == (difference, "completed", "inf-000001")


async def test_a_late_closing_of_unknown_cost_takes_the_whole_hold(store):
    """As it would have in time: its client was told that."""
    await recovered(store)
    late = closing(cost_nusd=None, evidence=Evidence.NONE, attempts=())
    for _ in range(2):
        await store.close_inference(late)
        assert await store.read(entries) == [("hold", 50), ("settle", 11), ("release", 39), ("adjustment", 39)]
        assert await store.read(lambda tx: counter(tx, "cap-org")) == (50, 0)


@pytest.mark.parametrize("late", [closing(cost_nusd=11), closing(ending=Ending.ABANDONED)])
async def test_a_late_closing_without_a_difference_adds_nothing(store, late):
    """The same cost, or recovery run again: there is nothing to post."""
    await recovered(store)
    await store.close_inference(late)
    assert len(await store.read(entries)) == 3
    assert await store.read(lambda tx: events(tx, "inference.adjusted")) == []


async def test_a_settlement_is_returned_whole(store):
    """The repeated closing's answer equals the first's in every field."""
    await store.write(seeded())
    await store.open_inference(opening())
    usage = Usage(input_tokens=1)
    first = await store.close_inference(closing(cost_nusd=77, usage=usage, evidence=Evidence.METERED))
    assert isinstance(first, Settlement)
    assert attrs.astuple(await store.close_inference(closing())) == attrs.astuple(first)
