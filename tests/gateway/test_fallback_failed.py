"""When all of a request's models have failed, or another may not be opened: what the client is told, and may do."""

import pytest
import trio

from ainf.inference.errors import GatewayError
from ainf.store import admin
from ainf.store.base import AttemptOpening
from tests.gateway.candidates import (
    LIMITS,
    Candidate,
    Order,
    ask_target,
    before_opening,
    check_routed,
    counter,
    entries,
    target_text,
)
from tests.gateway.dialects import CHAT, DIALECTS
from tests.gateway.told import check_failure
from tests.gateway.world import world

dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
streams = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


def pair(first: str, second: str = "sim-tokens-7", format_: str = "chat") -> str:
    return target_text(Candidate(first, format_), Candidate(second, format_))


# --- when all have failed ---


@streams
@dialects
async def test_when_all_have_failed(dialect, stream, tmp_path, autojump_clock):
    """503 with a word on the last one; a retry may help, for nothing was charged."""
    async with world(tmp_path, "sim", after=pair("sim-error-500", "sim-error-401")) as here:
        client = await ask_target(here, dialect=dialect, stream=stream)
        receipt = await check_routed(here, client, "failed", ["upstream_error", "upstream_auth"])
        check_failure(client, receipt, "all_candidates_failed", in_stream=False)
        assert client.headers["retry-after"] == "1"
        assert client.json()["error"]["message"].endswith("The provider refused the gateway's own account.")
        assert client.headers["x-ainf-model"] == "target-2"


@streams
async def test_what_was_charged_is_not_asked_again(stream, tmp_path, autojump_clock):
    """Where one of them had taken the request on, no SDK is told to retry."""
    async with world(tmp_path, "sim", after=pair("sim-close-after-head", "sim-error-500")) as here:
        client = await ask_target(here, stream=stream)
        receipt = await check_routed(here, client, "failed", ["upstream_truncated", "upstream_error"])
        assert receipt["settled_nusd"] > 0
        check_failure(client, receipt, "all_candidates_failed", in_stream=False)
        assert client.headers["x-should-retry"] == "false"


async def test_the_last_ones_word_on_waiting_is_passed_on(tmp_path, autojump_clock):
    """A client is told how long the model wants to be left alone that was its last hope."""
    async with world(tmp_path, "sim", after=pair("sim-error-500", "sim-error-429-retry-after-7")) as here:
        client = await ask_target(here)
        await check_routed(here, client, "failed", ["upstream_error", "upstream_overloaded"])
        assert (client.status, client.headers["retry-after"]) == (503, "7")


@dialects
async def test_behind_an_early_head_it_is_told_in_the_stream(dialect, tmp_path, autojump_clock):
    """A client that was given a head is given an error frame, and nothing of any model before it."""
    limits = LIMITS + "\nearly_head_s = 2\nheartbeat_s = 3"
    after = pair("sim-stall-after-head", "sim-stall-before-head", dialect.format)
    async with world(tmp_path, "sim", limits=limits, after=after) as here:
        client = await ask_target(here, dialect=dialect)
        receipt = await check_routed(here, client, "failed", ["upstream_timeout"] * 2)
        check_failure(client, receipt, "all_candidates_failed", in_stream=True)
        assert not {"x-ainf-model", "x-ainf-provider", "x-ainf-stream-mode"} & client.headers.keys()


@pytest.mark.parametrize("attempts", [1, 2, 3, 4])
async def test_no_more_are_tried_than_may_be(attempts, tmp_path, autojump_clock):
    """``routing.attempts`` limits the models that one request is tried at; by default they are three."""
    after = target_text(*[Candidate("sim-error-500")] * 5)
    if attempts != 3:
        after = f"[routing]\nattempts = {attempts}\n{after}"
    async with world(tmp_path, "sim", after=after) as here:
        client = await ask_target(here)
        receipt = await check_routed(here, client, "failed", ["upstream_error"] * attempts)
        check_failure(client, receipt, "all_candidates_failed", in_stream=False)


async def test_the_third_may_answer(tmp_path, autojump_clock):
    """Two that failed, each with its own cost, stand before it; the sum is settled."""
    after = target_text(Candidate("sim-close-after-head"), Candidate("sim-error-500"), Candidate())
    async with world(tmp_path, "sim", after=after) as here:
        order = Order(here)
        client = await ask_target(here)
        receipt = await check_routed(here, client, "fell_back", ["upstream_truncated", "upstream_error", None])
        assert order.steps == ["asked", "opened 2", "asked", "opened 3", "asked"]
        assert [line["cost_nusd"] > 0 for line in receipt["attempts"]] == [True, False, True]
        assert client.status == 200
        assert len(entries(here, client)) == 3
        for model, code in (("target-1", "upstream_truncated"), ("target-2", "upstream_error")):
            assert counter(here, "fallbacks", from_model=model, code=code) == 1


# --- what may not be opened ---


@streams
async def test_a_key_that_is_revoked_meanwhile(stream, tmp_path, autojump_clock):
    """Nothing more is dialled for it: the exchange ends as terminated."""
    async with world(tmp_path, "sim", after=pair("sim-delay-1s-error-500")) as here:
        client = here.client(CHAT.question("target-0", stream=stream))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(0.5)
            await here.store.write(lambda tx: admin.revoke_key(tx, key_id=here.key_id, at=here.clock()))
        receipt = await check_routed(here, client, "terminated", ["upstream_error"])
        check_failure(client, receipt, "key_revoked", in_stream=False)
        assert len(here.simulator.books.entries) == 1


@streams
async def test_a_store_that_is_away_meanwhile(stream, tmp_path, autojump_clock):
    """Nothing is dialled that is not held for: the exchange ends as terminated."""
    async with world(tmp_path, "sim", after=pair("sim-error-500")) as here:

        def away(_: AttemptOpening) -> None:
            raise GatewayError("store_unavailable", "The ledger cannot be written.")

        before_opening(here, away)
        client = await ask_target(here, stream=stream)
        receipt = await check_routed(here, client, "terminated", ["upstream_error"])
        check_failure(client, receipt, "store_unavailable", in_stream=False)
        assert len(here.simulator.books.entries) == 1


@streams
async def test_another_that_nobody_can_pay_for(stream, tmp_path, autojump_clock):
    """It is not tried: the first one's failure is all that there is, with a note of the cap that left nothing."""
    async with world(tmp_path, "sim", after=pair("sim-error-500")) as here:
        await here.set_cap(1, model="target-2")
        client = await ask_target(here, stream=stream)
        receipt = await check_routed(here, client, "failed", ["upstream_error"])
        check_failure(client, receipt, "all_candidates_failed", in_stream=False)
        assert receipt["notes"]["no_room_for_another"] == "cap_agents_target-2"
        assert counter(here, "fallbacks", from_model="target-1", code="upstream_error") == 0
        assert len(here.simulator.books.entries) == 1
