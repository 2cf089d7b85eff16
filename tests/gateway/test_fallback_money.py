"""The money of attempts that failed: each is charged by itself, on the caps that cover its model."""

import json
from typing import Any

import pytest
import trio

from ainf.protocols.registry import PROTOCOLS
from ainf.simulator import chunk, head, last_chunk
from ainf.simulator.steps import Script
from ainf.store.admin import digest_of
from ainf.store.base import KeyLimits
from tests.gateway.backends import INPUT_RATE, OUTPUT_RATE
from tests.gateway.candidates import (
    LIMITS,
    Candidate,
    ask_target,
    check_routed,
    counter,
    entries,
    name_of,
    outcomes,
    target_text,
)
from tests.gateway.dialects import CHAT, DIALECTS, PROMPT
from tests.gateway.hostile_rows import named
from tests.gateway.law import check_ledger
from tests.gateway.test_funds import pay_in
from tests.gateway.told import check_failure
from tests.gateway.world import World, world

dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
streams = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
MONEY = "slice_tokens = 8\nmin_output_tokens = 4"
CHARGED = "sim-close-after-head"
"""Fails when it has taken the request on: its input is charged."""
ONE_DOLLAR = 'price = { input = "1.00", output = "2.00" }'
FIVE_DOLLARS = 'price = { input = "5.00", output = "10.00" }'


def two(first: str, second: str = "sim-tokens-7", *, more: str = "") -> str:
    return target_text(Candidate(first, more=more), Candidate(second, more=more))


async def counters(here: World) -> dict[str, int]:
    """What is settled under each cap; nothing is held."""
    rows = await here.rows("SELECT cap_id, sum(settled_nusd), sum(held_nusd) FROM counters GROUP BY cap_id")
    assert all(held == 0 for _, _, held in rows)
    return {cap_id: settled for cap_id, settled, _ in rows}


async def base_of(here: World, *, stream: bool = True, limit: int | None = None, **fields: Any) -> int:
    """What a routed request is held for beside its output; nothing is asked."""
    asked = CHAT.question("target-0", stream=stream, limit=limit, **fields)
    protocol = PROTOCOLS[CHAT.name]
    parsed = protocol.parse(asked, path=CHAT.path, body_bytes=len(json.dumps(asked)), headers={})
    record = await here.store.find_key(digest_of(here.key))
    assert record is not None
    plan = await here.gateway.plan(record, parsed, protocol, {}, trio.current_time())
    return plan.admission.ask.base_nusd


# --- what a failed attempt costs ---


@streams
@dialects
async def test_one_that_had_taken_the_request_on_is_charged_its_input(dialect, stream, tmp_path, autojump_clock):
    """By our own count, as its line explains; the sum is settled, and is the evidence of neither alone."""
    async with world(tmp_path, "sim", after=two(CHARGED)) as here:
        client = await ask_target(here, dialect=dialect, stream=stream)
        receipt = await check_routed(here, client, "fell_back", ["upstream_truncated", None])
        first, second = receipt["attempts"]
        assert (first["status"], first["evidence"], first["usage"]["output_tokens"]) == (200, "metered", 0)
        assert first["cost_nusd"] == first["usage"]["input_tokens"] * INPUT_RATE > 0
        assert (second["evidence"], second["cost_nusd"]) == ("reported", 4 * INPUT_RATE + 7 * OUTPUT_RATE)
        assert receipt["evidence"] == "metered"
        assert receipt["usage"]["input_tokens"] == first["usage"]["input_tokens"] + 4


async def test_what_it_had_told_of_its_input_counts(tmp_path, autojump_clock):
    """A provider that says at once what it has read is charged that, not our estimate."""
    after = target_text(Candidate("sim-tokens-7-close-after-0", "messages"), Candidate())
    async with world(tmp_path, "sim", after=after) as here:
        client = await ask_target(here)
        receipt = await check_routed(here, client, "fell_back", ["upstream_truncated", None])
        first = receipt["attempts"][0]
        assert (first["usage"]["input_tokens"], first["cost_nusd"]) == (4, 4 * INPUT_RATE + first_output(first))


def first_output(line: dict[str, Any]) -> int:
    return line["usage"]["output_tokens"] * OUTPUT_RATE


@dialects
async def test_a_whole_answer_that_came_in_part_is_charged_what_came(dialect, tmp_path, autojump_clock):
    """Half a document is no answer, but its provider made it: the second one's is told, both are paid."""
    after = target_text(Candidate("sim-tokens-40-close-after-20", dialect.format), Candidate())
    async with world(tmp_path, "sim", after=after) as here:
        client = await ask_target(here, dialect=dialect, stream=False)
        receipt = await check_routed(here, client, "fell_back", ["upstream_truncated", None])
        first, second = receipt["attempts"]
        assert first["cost_nusd"] >= first["usage"]["input_tokens"] * INPUT_RATE > 0
        assert receipt["settled_nusd"] == first["cost_nusd"] + second["cost_nusd"]
        assert len(client.said().text) == 7 * 4


@pytest.mark.parametrize("billing", ["delivered", "drain", "held"])
async def test_a_silent_one_is_charged_what_a_pinned_one_is(billing, tmp_path, autojump_clock):
    """Whatever its provider bills for what it breaks off itself: silence is its failure, not our ending."""
    more = f'aborted_billing = "{billing}"'
    after = two("sim-tokens-7-stall-after-0", more=more)
    async with world(tmp_path, "sim", limits=LIMITS, after=after) as here:
        client = await ask_target(here)
        first = (await check_routed(here, client, "fell_back", ["upstream_timeout", None]))["attempts"][0]
        pinned = await here.receipt((await ask_target(here, target=name_of("target-0", 1))).inference_id)
        assert first["cost_nusd"] == pinned["settled_nusd"] > 0
        assert first["aborted_billing"] is None


async def test_an_error_with_a_count_is_charged_by_it(tmp_path, autojump_clock):
    """A response that failed at once tells its usage; that is no end, but its input is known."""
    counts = {"input_tokens": 9, "output_tokens": 0, "total_tokens": 9}
    counts |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    error = {"code": "server_error", "message": "No."}
    response = {"id": "resp_1", "object": "response", "status": "failed", "output": [], "usage": counts, "error": error}
    failed = named("response.failed", sequence_number=1, response=response)
    async with world(tmp_path, "sim", after=target_text(Candidate("sim", "responses"), Candidate())) as here:
        here.simulator.set_script(Script([head(), chunk(failed), last_chunk()]))
        client = await ask_target(here)
        first = (await check_routed(here, client, "fell_back", ["upstream_error", None]))["attempts"][0]
        assert (first["usage"]["input_tokens"], first["cost_nusd"]) == (9, 9 * INPUT_RATE)


# --- caps ---


@streams
async def test_each_model_counts_on_its_own_caps(stream, tmp_path, autojump_clock):
    """What a model costs counts on the caps of that model and of none; never on those of another."""
    async with world(tmp_path, "sim", after=two(CHARGED)) as here:
        for model in ("*", "target-1", "target-2", "target-3"):
            await here.set_cap(10**9, model=model)
        client = await ask_target(here, stream=stream)
        receipt = await check_routed(here, client, "fell_back", ["upstream_truncated", None])
        first, second = (line["cost_nusd"] for line in receipt["attempts"])
        assert await counters(here) == {
            "cap_agents": first + second, "cap_agents_target-1": first, "cap_agents_target-2": second,
            "cap_agents_target-3": 0,
        }  # fmt: skip


@streams
async def test_the_second_may_have_what_the_first_leaves(stream, tmp_path, autojump_clock):
    """A cap with room for one answer pays for the second one's, when the first has cost nothing."""
    async with world(tmp_path, "sim", after=two("sim-error-500", more=MONEY)) as here:
        await here.set_cap(await base_of(here, stream=stream, limit=7) + 7 * OUTPUT_RATE)
        client = await ask_target(here, stream=stream, limit=7)
        receipt = await check_routed(here, client, "fell_back", ["upstream_error", None])
        assert not {"clamp_tokens", "clamped_by"} & receipt["notes"].keys()


@streams
async def test_what_the_first_cost_clamps_the_second(stream, tmp_path, autojump_clock):
    """Under a cap that is short, its output is limited to what is left, and who reaches that is told of the cap."""
    async with world(tmp_path, "sim", after=two(CHARGED, "sim-tokens-40", more=MONEY)) as here:
        await here.set_cap(await base_of(here, stream=stream) + 20 * OUTPUT_RATE)
        client = await ask_target(here, stream=stream)
        receipt = await check_routed(here, client, "capped", ["upstream_truncated", None])
        assert (receipt["ending"], receipt["notes"]["clamped_by"]) == ("spend_cap_exceeded", "cap_agents")
        assert receipt["notes"]["cap_id"] == "cap_agents"
        left = 20 - -(-receipt["attempts"][0]["cost_nusd"] // OUTPUT_RATE)
        assert [entry.max_tokens for entry in entries(here, client)] == [20, left]
        assert receipt["notes"]["clamp_tokens"] == left
        assert client.headers["x-ainf-max-tokens"] == str(left)
        assert receipt["overrun_nusd"] == 0


async def test_a_clamp_of_the_first_is_none_of_the_second(tmp_path, autojump_clock):
    """A cap on the first model alone neither limits nor ends the answer of the second."""
    async with world(tmp_path, "sim", after=two("sim-error-500", "sim-tokens-40", more=MONEY)) as here:
        await here.set_cap(await base_of(here) + 10 * OUTPUT_RATE, model="target-1")
        client = await ask_target(here)
        receipt = await check_routed(here, client, "fell_back", ["upstream_error", None])
        assert [entry.max_tokens for entry in entries(here, client)] == [10, None]
        assert "x-ainf-max-tokens" not in client.headers
        assert not {"clamp_tokens", "clamped_by", "cap_id"} & receipt["notes"].keys()
        assert len(client.said().text) == 40 * 4


async def test_a_clamp_of_the_second_names_its_cap(tmp_path, autojump_clock):
    """A cap on the second model alone limits its answer, and is the one that is told of."""
    async with world(tmp_path, "sim", after=two("sim-error-500", "sim-tokens-40", more=MONEY)) as here:
        await here.set_cap(await base_of(here) + 10 * OUTPUT_RATE, model="target-2")
        client = await ask_target(here)
        receipt = await check_routed(here, client, "capped", ["upstream_error", None])
        assert [entry.max_tokens for entry in entries(here, client)] == [None, 10]
        assert client.headers["x-ainf-max-tokens"] == "10"
        assert (receipt["notes"]["clamped_by"], receipt["notes"]["cap_id"]) == ("cap_agents_target-2",) * 2


async def test_the_hold_of_the_second_grows_on_its_own_caps(tmp_path, autojump_clock):
    """A stream is held for in slices, each on the caps of the model that streams; where it gives no more, it is cut."""
    async with world(tmp_path, "sim", after=two(CHARGED, "sim-tokens-60-pace-5ms", more=MONEY)) as here:
        await here.set_cap(60 * OUTPUT_RATE, model="target-2")
        await here.set_cap(10**9, model="target-1")
        client = await ask_target(here)
        receipt = await check_routed(here, client, "capped", ["upstream_truncated", None])
        settled = await counters(here)
        assert settled["cap_agents_target-2"] == receipt["attempts"][1]["cost_nusd"] <= 60 * OUTPUT_RATE
        assert settled["cap_agents_target-1"] == receipt["attempts"][0]["cost_nusd"]


async def test_a_dearer_second_that_does_not_fit(tmp_path, autojump_clock):
    """What the first model's failure leaves does not pay for the least of a dearer one: it is not asked."""
    after = target_text(
        Candidate("sim-error-500", more=f"{MONEY}\n{ONE_DOLLAR}"), Candidate(more=f"{MONEY}\n{FIVE_DOLLARS}")
    )
    async with world(tmp_path, "sim", after=after) as here:
        await here.set_cap(await base_of(here, limit=7) + 7 * OUTPUT_RATE)
        client = await ask_target(here, limit=7)
        receipt = await check_routed(here, client, "failed", ["upstream_error"])
        check_failure(client, receipt, "all_candidates_failed", in_stream=False)
        assert receipt["notes"]["no_room_for_another"] == "cap_agents"


@streams
async def test_a_balance_pays_for_all_attempts(stream, tmp_path, autojump_clock):
    """Both are taken from the one balance of the admission; what it does not leave is no exchange."""
    async with world(tmp_path, "sim", after=two(CHARGED, more=MONEY)) as here:
        await pay_in(here, await base_of(here, stream=stream, limit=7) + 15 * OUTPUT_RATE)
        client = await ask_target(here, stream=stream, limit=7)
        told = await check_routed(here, client, "fell_back", ["upstream_truncated", None])
        assert await counters(here) == {"balance_1": told["settled_nusd"]}
        client = await ask_target(here, stream=stream, limit=7)
        assert (client.status, client.json()["error"]["code"]) == (402, "insufficient_funds")
        assert [one["status"] for one in await outcomes(here)] == ["fell_back", "rejected_money"]
        assert counter(here, "routing_outcomes", status="rejected_money", target="target-0") == 1
        await check_ledger(here, admitted=1)


async def test_all_attempts_count_on_the_keys_tokens(tmp_path, autojump_clock):
    """A key's tokens a minute are those of all attempts, not only of the one that answered."""
    async with world(tmp_path, "sim", after=two(CHARGED)) as here:
        here.key = await here.new_key("agents", limits=KeyLimits(tokens_per_minute=10_000))
        client = await ask_target(here)
        receipt = await here.receipt(client.inference_id)
        left = await here.run(here.client({"model": "target-2", "messages": [{"role": "user", "content": PROMPT}]}))
        used = receipt["usage"]["input_tokens"] + receipt["usage"]["output_tokens"]
        assert used > 11 + 4
        taken = 10_000 - int(left.headers["x-ratelimit-remaining-tokens"])
        assert taken >= used


# --- max_cost ---


@streams
@pytest.mark.parametrize(("first", "code"), [("sim-error-500", "upstream_error"), (CHARGED, "upstream_truncated")])
async def test_a_promise_on_the_cost_holds_for_all_attempts(first, code, stream, tmp_path, autojump_clock):
    """What the first one cost is taken from what the second may: its output limit is cut, and both fit the promise."""
    async with world(tmp_path, "sim", after=two(first, "sim-tokens-500", more=MONEY)) as here:
        most = await base_of(here, stream=stream, limit=30, routing_hint=at_most(9 * 10**8)) + 25 * OUTPUT_RATE
        client = await ask_target(here, stream=stream, limit=30, routing_hint=at_most(most))
        receipt = await check_routed(here, client, "fell_back", [code, None])
        left = 25 - -(-receipt["attempts"][0]["cost_nusd"] // OUTPUT_RATE)
        assert [entry.max_tokens for entry in entries(here, client)] == [25, left]
        assert client.headers["x-ainf-max-tokens"] == str(left)
        assert (receipt["ending"], client.said().reason) == ("completed", "length"), "as by the client's own limit"
        assert 0 < receipt["settled_nusd"] <= most
        assert receipt["overrun_nusd"] == 0


async def test_a_promise_that_leaves_nothing_for_another(tmp_path, autojump_clock):
    """Where what is left pays for no second answer, none is asked; the receipt says why."""
    async with world(tmp_path, "sim", after=two(CHARGED, more=MONEY)) as here:
        most = await base_of(here, limit=30, routing_hint=at_most(9 * 10**8)) + 6 * OUTPUT_RATE
        client = await ask_target(here, limit=6, routing_hint=at_most(most))
        receipt = await check_routed(here, client, "failed", ["upstream_truncated"])
        check_failure(client, receipt, "all_candidates_failed", in_stream=False)
        assert receipt["notes"]["routing_skipped"] == {"target-2": "no_candidate"}
        assert receipt["settled_nusd"] <= most


def at_most(nusd: int) -> dict[str, str]:
    """A hint, always of the same length."""
    return {"max_cost": f"{nusd / 1e9:.9f}"}


async def test_a_candidate_that_cannot_be_told_what_is_asked_is_passed_over(tmp_path, autojump_clock):
    """A field that one provider's format has no word for is no failure of the request: the next one is asked."""
    after = target_text(Candidate("sim-error-500"), Candidate("sim", "gemini"), Candidate())
    async with world(tmp_path, "sim", after=after) as here:
        client = await ask_target(here, logit_bias={"17": 1})
        receipt = await here.receipt(client.inference_id)
        assert [line["model"] for line in receipt["attempts"]] == ["target-1", "target-3"]
        assert receipt["notes"]["routing_skipped"] == {"target-2": "unsupported_parameter"}
        assert (receipt["routing"]["status"], receipt["routing"]["served"]) == ("fell_back", 2)
        await check_ledger(here, admitted=1)
