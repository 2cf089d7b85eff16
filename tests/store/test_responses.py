"""Responses that a provider keeps: found by their id for the account that got them, and nobody else; every store."""

import attrs
import pytest

from ainf.audit import Head
from ainf.inference.errors import GatewayError
from ainf.inference.outcome import Ending
from ainf.inference.usage import Usage
from ainf.store.admin import create_account, create_key
from ainf.store.base import StoredResponse
from ainf.store.responses import _RESPONSE
from ainf.store.rights import KeyRights
from ainf.store.sqlite import SQLiteEngine
from ainf.store.store import Store
from ainf.store.transaction import Transaction
from tests.store.records import ROUTING, START, USAGE, closing, closing_of, later, opening, seed, strand

TEAM, ORG, OTHER = "acct-team", "acct-org", "acct-other"
FOUND = StoredResponse("openai", "gpt", "gpt-2026", input_tokens=10, output_tokens=20)


def books(tx):
    """Make a key each for an account, the one above it, and one that is neither (an operation)."""
    seed(tx)
    create_account(tx, account_id=OTHER, name="other", parent=None, at=START)
    for name, account in (("key00002", "org"), ("key00003", "other")):
        create_key(tx, key_id=name, digest=name.encode(), account=account, rights=KeyRights(), at=START)


async def settle(store, number=1, response_id="resp-1", key_id="key00001", usage=USAGE, **changes):
    """Open and settle an exchange whose one attempt gave a response id."""
    await store.open_inference(opening(number, key_id=key_id))
    attempts = tuple(attrs.evolve(line, response_id=response_id, usage=usage) for line in closing(number).attempts)
    await store.close_inference(closing(number, attempts=attempts, usage=usage, **changes))


async def test_a_completed_exchange_is_found(store):
    """By the id that the provider gave: who served it, under which names, and the tokens of that."""
    await store.write(books)
    await settle(store)
    assert await store.find_response("resp-1", TEAM) == FOUND


async def test_what_never_was_is_not_found(store):
    """An id of nothing, and an exchange whose provider gave no id."""
    await store.write(books)
    await settle(store, response_id=None)
    for unknown in ("resp-1", "", "None"):
        assert await store.find_response(unknown, TEAM) is None


@pytest.mark.parametrize("account", [ORG, OTHER, "acct-none", ""])
async def test_another_account_sees_nothing(store, account):
    """Neither the account above nor any other: as if the response had never been."""
    await store.write(books)
    await settle(store)
    assert await store.find_response("resp-1", account) is None


async def test_an_account_below_is_another_account(store):
    """What the account above got is not for those below it."""
    await store.write(books)
    await settle(store, key_id="key00002")
    assert await store.find_response("resp-1", TEAM) is None
    assert await store.find_response("resp-1", ORG) == FOUND


@pytest.mark.parametrize("ending", [ending for ending in Ending if ending is not Ending.COMPLETED])
async def test_only_what_was_completed_counts(store, ending):
    """A provider does not keep what was broken off, and nobody may go on from it."""
    await store.write(books)
    await settle(store, ending=ending)
    assert await store.find_response("resp-1", TEAM) is None


async def test_an_exchange_that_runs_is_not_found(store):
    """Only its end says which response it gave."""
    await store.write(books)
    await store.open_inference(opening())
    assert await store.find_response("chatcmpl-1", TEAM) is None
    await store.close_inference(closing())
    assert await store.find_response("chatcmpl-1", TEAM) == FOUND


async def test_what_was_abandoned_is_not_found(store):
    """What a dead process left gave nothing that anyone knows of."""
    await store.write(books)
    await store.open_inference(opening())
    await store.write(strand)
    await store.recover(START + 9)
    assert await store.find_response("chatcmpl-1", TEAM) is None


async def test_the_newest_counts(store):
    """Where a provider gave an id twice, the exchange that was settled last is the one; of two at once, the later."""
    await store.write(books)
    for number, (at, tokens) in enumerate([(10, 1), (30, 2), (20, 3)], 1):
        await settle(store, number, at=START + at, usage=Usage(input_tokens=tokens))
    assert (await store.find_response("resp-1", TEAM)).input_tokens == 2
    await settle(store, 4, at=START + 30, usage=Usage(input_tokens=4))
    assert (await store.find_response("resp-1", TEAM)).input_tokens == 4
    await settle(store, 5, at=START + 90, key_id="key00003", usage=Usage(input_tokens=5))
    assert (await store.find_response("resp-1", TEAM)).input_tokens == 4


@pytest.mark.parametrize("served", [1, 2])
async def test_only_the_attempt_that_answered_counts(store, served):
    both = [
        StoredResponse("openai", "gpt", "gpt-2026", 1, 2),
        StoredResponse("anthropic", "claude", "claude-2026", 3, 4),
    ]
    await store.write(books)
    await store.open_inference(opening(routing=ROUTING))
    await store.open_attempt(later())
    usages = (Usage(input_tokens=1, output_tokens=2), Usage(input_tokens=3, output_tokens=4))
    lines = tuple(
        attrs.evolve(line, response_id=f"resp-{number}", usage=usage)
        for number, (line, usage) in enumerate(zip(closing_of(10, 20).attempts, usages, strict=True), 1)
    )
    await store.close_inference(closing_of(10, 20, attempts=lines, served=served, usage=usages[0] + usages[1]))
    found = [await store.find_response(f"resp-{number}", TEAM) for number in (1, 2)]
    both = [
        StoredResponse("openai", "gpt", "gpt-2026", 1, 2),
        StoredResponse("anthropic", "claude", "claude-2026", 3, 4),
    ]
    assert found == [response if number == served else None for number, response in enumerate(both, 1)]


async def test_text_that_no_database_takes_finds_nothing(store):
    """Whatever a client sends as an id is looked up or not found, never an error."""
    await store.write(books)
    await settle(store)
    for odd in ("resp-1\0", "' OR 1 = 1 --", "%", "r" * 100_000, "é☃"):
        assert await store.find_response(odd, TEAM) is None


async def test_a_store_that_is_away_says_so(tmp_path):
    """It is not taken for a response that never was."""
    async with Store.open(f"sqlite:{tmp_path / 'ainf.db'}", now=lambda: START) as store:
        (tmp_path / "ainf.db").rename(tmp_path / "moved.db")
        with pytest.raises(GatewayError, match="store_unavailable"):
            await store.find_response("resp-1", TEAM)


def test_the_index_is_used(tmp_path):
    """A look-up costs the same however many exchanges there are: it reads no table from end to end."""
    engine = SQLiteEngine.open(str(tmp_path / "ainf.db"))
    plan = Transaction(engine, Head(0)).execute(f"EXPLAIN QUERY PLAN {_RESPONSE}", ("resp-1", TEAM, "completed"))
    engine.close()
    steps = [row[3] for row in plan]
    assert any("attempts_by_response (response_id=?)" in step for step in steps)
    assert not any(step.startswith("SCAN") for step in steps)
