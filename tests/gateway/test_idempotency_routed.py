"""Idempotency keys of requests for a target: what is there already is told, whoever might be asked by now."""

import pytest
import trio

from tests.gateway.candidates import LIMITS, Candidate, outcomes, target_text
from tests.gateway.dialects import DIALECTS
from tests.gateway.keyed import SLOW, ask, calls, error_code, keyed, same, state_of
from tests.gateway.law import check_ledger, check_provider
from tests.gateway.test_reload import Reloading
from tests.gateway.world import World, world

TARGET = "target-0"


def let_rest(here: World, rest_s: int = 200) -> None:
    """Every model of the target has just asked to be left alone."""
    health, now = here.gateway.services.health, trio.current_time()
    for model in here.gateway.targets[TARGET].models:
        breaker = health._breakers.of(here.gateway.models[model].terms.provider, model)
        breaker.failed(breaker.begin(now) or 0, now, retry_after_s=rest_s)


@pytest.mark.parametrize("again", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
async def test_what_was_answered_is_told_while_all_models_rest(dialect, again, tmp_path, autojump_clock):
    """The answer is kept: nobody has to be asked for it, and nothing was refused."""
    async with world(tmp_path, "sim", limits=LIMITS, after=target_text(Candidate(), Candidate())) as here:
        first = await ask(here, TARGET, dialect=dialect)
        let_rest(here)
        second = await ask(here, TARGET, dialect=dialect, stream=again)
        assert (second.status, second.headers["x-ainf-idempotent-replay"]) == (200, "true")
        assert (second.inference_id, second.said().text) == (first.inference_id, first.said().text)
        assert second.headers["x-ainf-model"] == first.headers["x-ainf-model"] == "target-1"
        assert [row["status"] for row in await outcomes(here)] == ["succeeded"]
        await check_ledger(here, admitted=1)


async def test_what_was_answered_is_told_when_no_model_would_do(tmp_path, autojump_clock):
    """A floor that has been raised meanwhile says nothing of an answer that was given and billed."""
    async with world(tmp_path, "sim", limits=LIMITS, after=target_text(Candidate())) as here:
        first = await ask(here, TARGET)
        Reloading(here, tmp_path).change(('[targets."target-0"]', '[targets."target-0"]\nmin_quality = 0.9'))
        same(first, await ask(here, TARGET))
        other = await ask(here, TARGET, key="k-2")
        assert (other.status, error_code(other)) == (422, "no_candidate")
        assert [row["status"] for row in await outcomes(here)] == ["succeeded", "rejected_floor"]
        await check_ledger(here, admitted=1)


async def test_the_answer_of_a_probe_is_joined(tmp_path, autojump_clock):
    """While the one model is being probed no other request may ask it; who bears the probe's key need not."""
    async with world(tmp_path, "sim", limits=LIMITS, after=target_text(Candidate(SLOW))) as here:
        let_rest(here, 5)
        await trio.sleep(6)
        first, second, other = keyed(here, TARGET), keyed(here, TARGET), keyed(here, TARGET, key="k-2")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, first)
            await trio.sleep(0.01)
            nursery.start_soon(here.run, second)
            nursery.start_soon(here.run, other)
        same(first, second)
        assert (first.status, other.status, error_code(other)) == (200, 503, "all_candidates_failed")
        assert calls(here) == 1
        assert sorted(row["status"] for row in await outcomes(here)) == ["rejected_unavailable", "succeeded"]
        await check_ledger(here, admitted=1)
        await check_provider(here)


async def test_nothing_is_there_to_be_told(tmp_path, autojump_clock):
    """A new key changes nothing of a refusal: it is recorded once, opens nothing, and claims nothing."""
    async with world(tmp_path, "sim", limits=LIMITS, after=target_text(Candidate())) as here:
        let_rest(here)
        refused = await ask(here, TARGET)
        assert (refused.status, error_code(refused)) == (503, "all_candidates_failed")
        assert refused.headers["retry-after"] == "60"
        assert [(row["status"], row["inference_id"]) for row in await outcomes(here)] == [
            ("rejected_unavailable", None)
        ]
        assert await state_of(here) is None
        await check_ledger(here, admitted=0)
        await trio.sleep(200)
        assert (await ask(here, TARGET)).status == 200
        await check_ledger(here, admitted=1)


async def test_another_body_is_told_so_while_all_models_rest(tmp_path, autojump_clock):
    """A key that was used with another body is refused by that, whoever rests."""
    async with world(tmp_path, "sim", limits=LIMITS, after=target_text(Candidate())) as here:
        await ask(here, TARGET)
        let_rest(here)
        other = await ask(here, TARGET, routing_hint={"task_type": "code"})
        assert (other.status, error_code(other)) == (422, "idempotency_mismatch")
        await check_ledger(here, admitted=1)
