"""Models that failed so often that they are let rest: not asked by routed requests, and tried again one at a time."""

import json
from typing import Any

import pytest
import trio

from ainf.simulator import whole
from ainf.simulator.steps import Script
from tests.gateway.candidates import (
    LIMITS,
    Candidate,
    ask_target,
    check_routed,
    counter,
    outcomes,
    target_text,
)
from tests.gateway.dialects import CHAT, DIALECTS
from tests.gateway.law import check_ledger
from tests.gateway.world import Client, World, world

dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
streams = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


def asked(here: World) -> list[str | None]:
    """The models that the simulator was asked for."""
    return [entry.model for entry in here.simulator.books.entries]


def rests(client: dict[str, Any]) -> list[str]:
    """The models that were at rest when a request was decided, by its receipt."""
    return [one["model"] for one in client["routing"]["candidates"] if one.get("fell") == "resting"]


async def fail(here: World, times: int, *, model: str = "target-0", status: int = 500) -> list[Client]:
    """Let the first call of each of so many requests fail."""
    clients = []
    for _ in range(times):
        here.simulator.set_script(Script([whole(status, "application/json", b"{}")]))
        clients.append(await here.speak(CHAT, model))
    return clients


def pair(first: str = "sim-tokens-5", second: str = "sim-tokens-7", more: str = "") -> str:
    return more + target_text(Candidate(first), Candidate(second))


async def test_five_failures_let_a_model_rest(tmp_path, autojump_clock):
    """The next routed request does not dial it: the second model is its first choice, and its record says why."""
    async with world(tmp_path, "sim", after=pair()) as here:
        for client in await fail(here, 5):
            await check_routed(here, client, "fell_back", ["upstream_error", None])
        client = await ask_target(here)
        receipt = await here.receipt(client.inference_id)
        assert (receipt["model"], receipt["routing"]["status"]) == ("target-2", "succeeded")
        assert rests(receipt) == ["target-1"]
        assert list(receipt["routing"]["ranked"]) == ["target-2"]
        assert len(receipt["attempts"]) == 1
        assert asked(here)[-1] == "sim-tokens-7"
        assert counter(here, "breaker_opened", provider="sim", model="target-1") == 1
        await check_ledger(here, admitted=6)


@pytest.mark.parametrize("times", [4, 5])
async def test_it_is_the_fifth_in_a_row(times, tmp_path, autojump_clock):
    """An answer in between begins the count anew."""
    async with world(tmp_path, "sim", after=pair()) as here:
        await fail(here, 4)
        assert (await here.receipt((await ask_target(here)).inference_id))["model"] == "target-1"
        await fail(here, times)
        assert (await here.receipt((await ask_target(here)).inference_id))["model"] == (
            "target-2" if times == 5 else "target-1"
        )


@pytest.mark.parametrize("status", [400, 422])
async def test_refusals_of_requests_let_nobody_rest(status, tmp_path, autojump_clock):
    """What is wrong with a request says nothing of the model."""
    async with world(tmp_path, "sim", after=pair()) as here:
        for client in await fail(here, 7, status=status):
            assert client.status == 400
        assert (await here.receipt((await ask_target(here)).inference_id))["model"] == "target-1"


async def test_a_model_that_its_provider_does_not_know_rests(tmp_path, autojump_clock):
    """A name that is wrong in the configuration is not asked for again and again."""
    async with world(tmp_path, "sim", after=pair("no-such-model")) as here:
        for _ in range(5):
            await check_routed(here, await ask_target(here), "fell_back", ["upstream_error", None])
        assert rests(await here.receipt((await ask_target(here)).inference_id)) == ["target-1"]


async def test_a_pinned_request_reaches_a_model_that_rests(tmp_path, autojump_clock):
    """Who names the model is not refused for what others met; but its failures count, and its answers too."""
    async with world(tmp_path, "sim", after=pair()) as here:
        await fail(here, 5, model="target-1")
        assert rests(await here.receipt((await ask_target(here)).inference_id)) == ["target-1"]
        client = await here.speak(CHAT, "target-1")
        assert (client.status, asked(here)[-1]) == (200, "sim-tokens-5")
        assert rests(await here.receipt((await ask_target(here)).inference_id)) == ["target-1"], "it was no probe"
        await trio.sleep(10)
        assert (await here.speak(CHAT, "target-1")).status == 200
        assert rests(await here.receipt((await ask_target(here)).inference_id)) == []
        await check_ledger(here)


async def test_after_its_rest_one_request_tries_it(tmp_path, autojump_clock):
    """Of two at once exactly one is let through; when that is answered, all are."""
    async with world(tmp_path, "sim", after=pair("sim-delay-1s-tokens-5", "sim-delay-1s-tokens-7")) as here:
        await fail(here, 5)
        await trio.sleep(10)
        clients = await both(here)
        assert sorted(asked(here)[-2:]) == ["sim-delay-1s-tokens-5", "sim-delay-1s-tokens-7"]
        models = sorted([(await here.receipt(client.inference_id))["model"] for client in clients])
        assert models == ["target-1", "target-2"]
        for client in await both(here):
            assert (await here.receipt(client.inference_id))["model"] == "target-1"
        await check_ledger(here)


async def both(here: World) -> list[Client]:
    """Ask twice at once."""
    clients = [here.client(CHAT.question("target-0")) for _ in range(2)]
    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(here.run, client)
    return clients


async def test_two_that_are_opened_at_once_are_one_probe(tmp_path, autojump_clock):
    """Where both were decided before either began, the second finds it taken, and falls back undialled."""
    async with world(tmp_path, "sim", after=pair("sim-delay-1s-tokens-5", "sim-delay-1s-tokens-7")) as here:
        await fail(here, 5)
        await trio.sleep(10)
        opened, waiting = here.store.open_inference, trio.Event()

        async def together(opening: Any) -> Any:
            if waiting.statistics().tasks_waiting:
                waiting.set()
            await waiting.wait()
            return await opened(opening)

        here.store.open_inference = together  # type: ignore[method-assign]
        clients = await both(here)
        receipts = sorted([await here.receipt(client.inference_id) for client in clients], key=lambda it: it["model"])
        assert [receipt["routing"]["status"] for receipt in receipts] == ["succeeded", "fell_back"]
        line, _ = receipts[1]["attempts"]
        assert (line["model"], line["error_code"], line["status"]) == ("target-1", "upstream_overloaded", None)
        assert (line["cost_nusd"], line["usage"]["input_tokens"]) == (0, 0)
        assert sorted(asked(here)[-2:]) == ["sim-delay-1s-tokens-5", "sim-delay-1s-tokens-7"]
        assert rests(await here.receipt((await ask_target(here)).inference_id)) == []
        await check_ledger(here)


async def test_a_probe_that_fails_lets_it_rest_for_longer(tmp_path, autojump_clock):
    """Its request falls back like any other; the model rests twice as long as before."""
    async with world(tmp_path, "sim", after=pair()) as here:
        await fail(here, 5)
        await trio.sleep(10)
        (probe,) = await fail(here, 1)
        await check_routed(here, probe, "fell_back", ["upstream_error", None])
        await trio.sleep(19)
        assert rests(await here.receipt((await ask_target(here)).inference_id)) == ["target-1"]
        await trio.sleep(1.1)
        assert rests(await here.receipt((await ask_target(here)).inference_id)) == []


@pytest.mark.parametrize("ending", ["client", "blind"])
async def test_a_probe_that_says_nothing_leaves_its_place_to_another(ending, tmp_path, autojump_clock, monkeypatch):
    """Whose client left, or whose end could not even be reckoned: the next request is let through."""
    async with world(tmp_path, "sim", limits=LIMITS, after=pair("sim-delay-2s-tokens-5")) as here:
        await fail(here, 5)
        await trio.sleep(10)
        client = here.client(CHAT.question("target-0"))
        with monkeypatch.context() as broken:
            if ending == "blind":
                broken.setattr("ainf.exchange.ending.end_of", lambda *_: 1 / 0)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(here.run, client)
                await trio.sleep(1)
                client.leave()
        receipt = await here.receipt((await ask_target(here)).inference_id)
        assert (receipt["model"], rests(receipt)) == ("target-1", [])
        await check_ledger(here)


@streams
@dialects
async def test_who_is_told_to_wait_waits(dialect, stream, tmp_path, autojump_clock):
    """One 429 with a ``retry-after`` lets its model rest for that long, and no longer."""
    async with world(tmp_path, "sim", after=pair()) as here:
        limited = [whole(429, "application/json", b"{}", {"retry-after": "7"})]
        here.simulator.set_script(Script(limited))
        client = await ask_target(here, dialect=dialect, stream=stream)
        await check_routed(here, client, "fell_back", ["upstream_overloaded", None])
        await trio.sleep(6.9)
        assert rests(await here.receipt((await ask_target(here)).inference_id)) == ["target-1"]
        await trio.sleep(0.2)
        assert (await here.receipt((await ask_target(here)).inference_id))["model"] == "target-1"


@streams
@dialects
async def test_when_all_rest(dialect, stream, tmp_path, autojump_clock):
    """503 with the time until the first of them may be asked; nothing is opened, and that is on record."""
    text = target_text(Candidate("sim-error-429-retry-after-7"), Candidate("sim-error-429-retry-after-5"))
    async with world(tmp_path, "sim", after=text) as here:
        await check_routed(here, await ask_target(here), "failed", ["upstream_overloaded"] * 2)
        await trio.sleep(1.5)
        client = await ask_target(here, dialect=dialect, stream=stream)
        assert (client.status, client.json()["error"]["code"]) == (503, "all_candidates_failed")
        assert (client.headers["x-should-retry"], client.headers["retry-after"]) == ("true", "4")
        assert "x-ainf-inference-id" not in client.headers
        newest = (await outcomes(here))[-1]
        assert (newest["inference_id"], newest["status"]) == (None, "rejected_unavailable")
        fell = {one["model"]: one["fell"] for one in json.loads(newest["decision"])["candidates"]}
        assert fell == {"target-1": "resting", "target-2": "resting"}
        assert len(here.simulator.books.entries) == 2
        await check_ledger(here, admitted=1)


async def test_one_that_comes_to_rest_meanwhile_is_passed_over(tmp_path, autojump_clock):
    """It was ranked second when the request was decided, and failed for others since: the third is tried."""
    text = target_text(Candidate("sim-delay-5s-error-500"), Candidate("sim-tokens-5"), Candidate())
    async with world(
        tmp_path, "sim", limits=LIMITS.replace("first_byte_s = 4", "first_byte_s = 9"), after=text
    ) as here:
        client = here.client(CHAT.question("target-0"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(1)
            await fail(here, 5, model="target-2")
        receipt = await here.receipt(client.inference_id)
        assert [line["model"] for line in receipt["attempts"]] == ["target-1", "target-3"]
        assert receipt["notes"]["routing_skipped"] == {"target-2": "rests"}
        assert (receipt["routing"]["status"], receipt["routing"]["served"]) == ("fell_back", 2)
        await check_ledger(here)
