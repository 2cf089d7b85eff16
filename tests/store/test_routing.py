"""What is recorded of routing, over every store: one decision and one outcome, or neither."""

import hashlib

import attrs
import msgspec
import pytest

from ainf.inference.errors import GatewayError, SpendError
from ainf.inference.outcome import Ending
from ainf.store.base import Unrouted
from tests.store.faults import faulty_store, full
from tests.store.records import (
    ASK,
    DEARER,
    KEY,
    PRICE,
    ROUTING,
    START,
    closing,
    closing_of,
    events,
    later,
    opening,
    seeded,
    strand,
)

OUTCOME = "inference_id, status, code, model, provider, attempts, first_byte_us, cost_nusd, decision"
UNROUTED = Unrouted(
    at=START,
    key_id=KEY,
    account_id="acct-team",
    path="/v1/messages",
    stream=True,
    requested_model="ainf-auto",
    routing=ROUTING,
    status="rejected_floor",
    code="no_candidate",
)


async def rows(store, sql):
    return await store.read(lambda tx: tx.execute(sql))


async def counts(store):
    """Return how many decisions, outcomes and rulesets there are."""
    tables = ("routing_decisions", "routing_outcomes", "rulesets")
    return tuple([(await rows(store, f"SELECT count(*) FROM {table}"))[0][0] for table in tables])


async def closed_event(store):
    (body,) = [msgspec.json.decode(text) for text in await store.read(lambda tx: events(tx, "inference.closed"))]
    return body


async def test_a_routed_opening_records_its_decision(store):
    """With what it was decided by, each by its content and once, and the prices of all candidates."""
    await store.write(seeded())
    opened = await store.open_inference(opening(routing=ROUTING, requested_model="ainf-auto"))
    assert opened.is_captured
    assert (await store.open_inference(opening(2, routing=ROUTING))).is_captured
    decision = ("ainf-inference", ROUTING.ruleset, ROUTING.decision)
    assert await rows(store, "SELECT * FROM routing_decisions") == [
        ("inf-000001", *decision),
        ("inf-000002", *decision),
    ]
    assert await rows(store, "SELECT * FROM rulesets") == [(ROUTING.ruleset, ROUTING.ruleset_body)]
    assert {row[0] for row in await rows(store, "SELECT price_version FROM prices")} == {PRICE.version, DEARER.version}
    assert await counts(store) == (2, 0, 1)


async def test_a_pinned_exchange_records_nothing(store):
    """Neither decision nor outcome; its closing event says that it went straight to its model."""
    await store.write(seeded())
    assert not (await store.open_inference(opening())).is_captured
    assert not (await store.close_inference(closing())).is_captured
    assert not (await store.close_inference(closing())).is_captured
    assert await counts(store) == (0, 0, 0)
    body = await closed_event(store)
    assert body["router"] == "direct"
    assert "routing" not in body


async def test_a_closing_records_the_outcome(store):
    """What was asked, what answered and what it cost; the event names the decision by its digest."""
    await store.write(seeded())
    await store.open_inference(opening(routing=ROUTING, requested_model="ainf-auto"))
    settlement = await store.close_inference(closing_of(61, first_byte_us=1234))
    assert settlement.is_captured
    assert await rows(store, f"SELECT {OUTCOME} FROM routing_outcomes") == [
        ("inf-000001", "succeeded", None, "gpt", "openai", 1, 1234, 61, None)
    ]
    columns = "at, key_id, account_id, path, stream, requested_model, target, ruleset"
    assert await rows(store, f"SELECT {columns} FROM routing_outcomes") == [
        (START + 101, KEY, "acct-team", "/v1/chat/completions", 1, "ainf-auto", "ainf-inference", ROUTING.ruleset)
    ]
    body = await closed_event(store)
    assert (body["router"], body["requested_model"], body["model"]) == ("ainf-inference", "ainf-auto", "gpt")
    assert body["routing"] == {
        "status": "succeeded",
        "served": 1,
        "ruleset": ROUTING.ruleset,
        "decision_sha256": hashlib.sha256(ROUTING.decision.encode()).hexdigest(),
    }


@pytest.mark.parametrize(
    ("changes", "status", "model"),
    [
        ({}, "fell_back", "claude"),
        ({"served": 1}, "succeeded", "gpt"),
        ({"ending": Ending.UPSTREAM_ERROR, "error_code": "all_candidates_failed"}, "failed", "claude"),
        ({"ending": Ending.CLIENT_DISCONNECTED, "attempts": ()}, "cancelled", "gpt"),
    ],
    ids=["fell back", "the hedge lost", "all failed", "before any answer"],
)
async def test_the_outcome_names_the_attempt_that_answered(store, changes, status, model):
    """Or the last one that was tried; the cost is that of all."""
    await store.write(seeded())
    await store.open_inference(opening(routing=ROUTING))
    await store.open_attempt(later(2))
    await store.close_inference(closing_of(5, 30, **changes))
    provider = {"gpt": "openai", "claude": "anthropic"}[model]
    assert await rows(store, f"SELECT {OUTCOME} FROM routing_outcomes") == [
        ("inf-000001", status, changes.get("error_code"), model, provider, 2, None, 35, None)
    ]
    assert (await closed_event(store))["routing"]["status"] == status


async def test_a_repeated_closing_records_no_second_outcome(store):
    """It says that there is one."""
    await store.write(seeded())
    await store.open_inference(opening(routing=ROUTING))
    first = await store.close_inference(closing())
    assert await store.close_inference(closing(ending=Ending.SHUTDOWN)) == first
    assert await counts(store) == (1, 1, 1)


async def test_what_a_dead_process_left_has_its_outcome(store):
    """Recovery writes it, and an end that comes late does not change it."""
    await store.write(seeded())
    await store.open_inference(opening(routing=ROUTING))
    await store.open_attempt(later(2, (1, 7)))
    await store.write(strand)
    await store.recover(START)
    outcome = [("inf-000001", "abandoned", None, "claude", "anthropic", 2, None, 31, None)]
    assert await rows(store, f"SELECT {OUTCOME} FROM routing_outcomes") == outcome
    assert (await store.close_inference(closing_of(7, 30))).is_captured
    assert await rows(store, f"SELECT {OUTCOME} FROM routing_outcomes") == outcome


async def test_what_is_not_admitted_keeps_its_decision(store):
    """There is no exchange that it could stand with; nothing is charged."""
    await store.write(seeded())
    await store.note_unrouted(UNROUTED)
    await store.note_unrouted(attrs.evolve(UNROUTED, status="rejected_money", code="spend_cap_exceeded"))
    assert await rows(store, f"SELECT {OUTCOME} FROM routing_outcomes ORDER BY outcome_id") == [
        (None, "rejected_floor", "no_candidate", None, None, 0, None, 0, ROUTING.decision),
        (None, "rejected_money", "spend_cap_exceeded", None, None, 0, None, 0, ROUTING.decision),
    ]
    columns = "at, key_id, account_id, path, stream, requested_model, target, ruleset"
    assert (await rows(store, f"SELECT {columns} FROM routing_outcomes"))[0] == (
        START, KEY, "acct-team", "/v1/messages", 1, "ainf-auto", "ainf-inference", ROUTING.ruleset,
    )  # fmt: skip
    assert await counts(store) == (0, 2, 1)
    assert {row[0] for row in await rows(store, "SELECT price_version FROM prices")} == {PRICE.version, DEARER.version}


async def test_a_refused_opening_records_nothing(store):
    """Who asked says then what became of it."""
    await store.write(seeded(account_cap=1))
    with pytest.raises(SpendError):
        await store.open_inference(opening(routing=ROUTING, ask=ASK))
    assert await counts(store) == (0, 0, 0)


async def test_what_was_undone_is_recorded_again():
    """A ruleset that was remembered of a transaction that failed is stored by the next."""
    async with faulty_store() as (store, engine):
        await store.write(seeded())
        for attempt in (store.open_inference(opening(routing=ROUTING)), store.note_unrouted(UNROUTED)):
            engine.commit_faults = {engine.commits + 1: full()}
            with pytest.raises(GatewayError, match="store_unavailable"):
                await attempt
        assert await counts(store) == (0, 0, 0)
        await store.note_unrouted(UNROUTED)
        await store.open_inference(opening(routing=ROUTING))
        assert await counts(store) == (1, 1, 1)


async def test_without_its_outcome_nothing_is_settled():
    """Both are written, or neither: the closing is asked for again."""
    async with faulty_store() as (store, engine):
        await store.write(seeded())
        await store.open_inference(opening(routing=ROUTING))
        engine.statement_faults = {"INTO routing_outcomes": full()}
        with pytest.raises(GatewayError, match="store_unavailable"):
            await store.close_inference(closing())
        assert await counts(store) == (1, 0, 1)
        assert await rows(store, "SELECT count(*) FROM settlements") == [(0,)]
        engine.statement_faults = {}
        assert (await store.close_inference(closing())).is_captured
        assert await counts(store) == (1, 1, 1)
