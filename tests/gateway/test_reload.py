"""Another configuration comes into force while a gateway serves: what runs keeps its terms, what comes has the new."""

from pathlib import Path
from typing import Any

import pytest
import trio

from ainf import app as composition
from ainf.app import RunningGateway
from ainf.calibration import LEAST_OUTPUTS
from ainf.config import load_config
from ainf.exchange.calibrating import TICK_S
from ainf.exchange.plan import Backend
from tests.gateway.backends import model_table
from tests.gateway.candidates import Candidate, counter, target_text
from tests.gateway.capture import check_captured
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.world import Client, World, question, world

PACED = "sim-tokens-40-pace-100ms"
GATE = "\n[routing]\npreference_live = {}\n"


class Reloading:
    """A gateway in memory, and the file that it was configured by."""

    def __init__(self, here: World, folder: Path):
        self.here = here
        self.path = folder / "ainf.toml"
        nobody: Any = None  # there is no server in memory
        config = load_config(self.path, {"SIM_KEY": "sk-canary-provider-secret"})
        self.running = RunningGateway(config, here.gateway, nobody, here.store, trio.Event(), trio.CancelScope())

    def reload(self, text: str) -> None:
        """Put another text in force, as the command does."""
        self.path.write_text(text)
        composition.apply_config(self.running, load_config(self.path, {"SIM_KEY": "sk-canary-provider-secret"}))

    def change(self, *changes: tuple[str, str]) -> None:
        """Put the same text in force with these changes, each of which must be of something."""
        text = self.path.read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        self.reload(text)

    def remove(self, model: str) -> None:
        """Put the same text in force without a model."""
        before, _, after = self.path.read_text().partition(f'[models."{model}"]')
        assert after, model
        self.reload(before + "\n[".join(["", *after.split("\n[")[1:]]))


async def while_it_runs(here: World, client: Client, act: Any, after_s: float = 1.0) -> None:
    """Serve a client, and let ``act`` happen in the middle."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.run, client)
        await trio.sleep(after_s)
        assert len(here.gateway.inflight) == 1
        act()
    await check_transcript(here, client)


async def check_all(here: World, *, admitted: int) -> None:
    await check_provider(here)
    await check_ledger(here, admitted=admitted)
    assert '"defect"' not in here.log.getvalue()


@pytest.mark.threat(58)
@pytest.mark.parametrize("name", [PACED, "ainf-auto"], ids=["pinned", "routed"])
async def test_prices(name, tmp_path, autojump_clock):
    """What runs is settled at the price of its admission, the next request at the new one, each by its version."""
    async with world(tmp_path, PACED) as here:
        reloading, client = Reloading(here, tmp_path), here.client(question(name))
        dearer = ('input = "1.00", cached', 'input = "10.00", cached'), ('output = "2.00"', 'output = "20.00"')
        await while_it_runs(here, client, lambda: reloading.change(*dearer))
        again = await here.ask(name)
        old, new = await here.receipt(client.inference_id), await here.receipt(again.inference_id)
        assert old["usage"] == new["usage"]
        assert old["price_version"] != new["price_version"]
        assert new["settled_nusd"] == 10 * old["settled_nusd"]
        await check_all(here, admitted=2)


async def test_a_model_that_is_taken_away(tmp_path, autojump_clock):
    """Its stream goes on to its end; who names it then is told that there is none, and no target has it."""
    async with world(tmp_path, "chat/" + PACED, "gemini/sim") as here:
        reloading, client = Reloading(here, tmp_path), here.client(question("ainf-auto"))
        await while_it_runs(here, client, lambda: reloading.remove("chat/" + PACED))
        receipt = await check_captured(here, client.inference_id, "ainf-auto", "succeeded")
        assert (receipt["model"], receipt["usage"]["output_tokens"]) == ("chat/" + PACED, 40)
        gone = await here.ask("chat/" + PACED)
        assert (gone.status, gone.json()["error"]["code"]) == (404, "model_not_found")
        assert (await here.ask("ainf-auto")).headers["x-ainf-model"] == "gemini/sim"
        listed = {model["id"]: model for model in (await here.get("/v1/models")).json()["data"]}
        assert "chat/" + PACED not in listed
        assert listed["ainf-auto"]["ainf"]["models"] == ["gemini/sim"]
        await check_all(here, admitted=2)


async def test_a_fallback_to_what_is_taken_away(tmp_path, autojump_clock):
    """A request goes through the candidates of its admission, at their prices then, to the last."""
    stalls = target_text(Candidate("sim-stall-before-head", more="first_byte_s = 3"), Candidate("sim-tokens-7"))
    async with world(tmp_path, "sim", after=stalls) as here:
        reloading, client = Reloading(here, tmp_path), here.client(question("target-0"))

        def take_away() -> None:
            reloading.change(('models = ["target-1", "target-2"]', 'models = ["target-1"]'))
            reloading.remove("target-2")
            assert "target-2" not in here.gateway.models

        await while_it_runs(here, client, take_away)
        receipt = await here.receipt(client.inference_id)
        assert (receipt["routing"]["status"], receipt["model"]) == ("fell_back", "target-2")
        await check_all(here, admitted=1)


async def test_targets(tmp_path, autojump_clock):
    """Other floors, models, aliases and names decide about the next request; each decision keeps what it went by."""
    dear = model_table("dear", "sim", "sim", 'price = { input = "9.00", output = "9.00" }\nquality = 0.9')
    async with world(tmp_path, "sim", after=dear) as here:
        reloading = Reloading(here, tmp_path)
        assert (await here.ask("ainf-auto")).headers["x-ainf-model"] == "sim"
        assert (await here.ask("smart")).status == 404
        text = reloading.path.read_text()
        reloading.reload(text + '[targets.ainf-inference]\naliases = ["smart"]\nmin_quality = 0.8\n')
        assert (await here.ask("smart")).headers["x-ainf-model"] == "dear"
        assert (await here.ask("ainf-auto")).status == 404
        reloading.reload(text)
        assert (await here.ask("smart")).status == 404
        assert (await here.ask("ainf-auto")).headers["x-ainf-model"] == "sim"
        rows = await here.rows("SELECT ruleset FROM routing_decisions AS d NATURAL JOIN inferences ORDER BY opened_at")
        first, second, third = (row[0] for row in rows)
        assert first == third != second
        assert await here.rows("SELECT count(*) FROM rulesets") == [(2,)]
        await check_all(here, admitted=3)


async def test_the_gate_of_the_dial(tmp_path, autojump_clock):
    """Switched on and off between two requests; a stream that runs answers as it was decided."""
    good = model_table("good", "sim", PACED, 'price = { input = "9.00", output = "9.00" }\nquality = 0.6')
    async with world(tmp_path, PACED, after=good + GATE.format("false")) as here:
        reloading, hint = Reloading(here, tmp_path), {"routing_preference": "quality"}
        client = here.client(question("ainf-auto", routing_hint=hint))
        await while_it_runs(here, client, lambda: reloading.change(("live = false", "live = true")))
        assert (client.headers["x-ainf-model"], client.headers["x-ainf-routing-preference"]) == (PACED, "balanced")
        client = here.client(question("ainf-auto", routing_hint=hint))
        await while_it_runs(here, client, lambda: reloading.change(("live = true", "live = false")))
        assert (client.headers["x-ainf-model"], client.headers["x-ainf-routing-preference"]) == ("good", "quality")
        again = await here.ask("ainf-auto", routing_hint=hint)
        assert (again.headers["x-ainf-model"], again.headers["x-ainf-routing-preference"]) == (PACED, "balanced")
        await check_all(here, admitted=3)


async def test_how_candidates_are_tried(tmp_path, autojump_clock):
    """With one attempt allowed from now on there is no fallback; with two again there is."""
    failing = target_text(Candidate("sim-error-500"), Candidate()) + "[routing]\nattempts = 2\n"
    async with world(tmp_path, "sim", after=failing) as here:
        reloading = Reloading(here, tmp_path)
        assert (await here.ask("target-0")).status == 200
        reloading.change(("attempts = 2", "attempts = 1"))
        assert (await here.ask("target-0")).status == 503
        reloading.change(("attempts = 1", "attempts = 2"))
        assert (await here.ask("target-0")).status == 200
        await check_all(here, admitted=3)


async def test_what_is_known_of_models_that_fail(tmp_path, autojump_clock):
    """Who rests goes on to rest as long as it was told to; how many failures let the next one rest is new."""
    failing = target_text(Candidate("sim-error-500"), Candidate("sim-error-500")) + "[routing]\nbreaker_failures = 3\n"
    async with world(tmp_path, "sim", after=failing) as here:
        reloading, health = Reloading(here, tmp_path), here.gateway.services.health
        for _ in range(3):
            await here.ask("target-1")
        assert health.rests_s("sim", "target-1") == pytest.approx(10)
        reloading.change(("breaker_failures = 3", "breaker_failures = 2\nbreaker_open_s = 60"))
        assert here.gateway.services.health is health
        assert health.rests_s("sim", "target-1") == pytest.approx(10)
        for _ in range(2):
            await here.ask("target-2")
        assert health.rests_s("sim", "target-2") == pytest.approx(60)
        assert (await here.ask("target-0")).headers["retry-after"] == "10"
        assert counter(here, "breaker_opened", provider="sim", model="target-1") == 1
        await check_all(here, admitted=5)


LEARNS = "sim-text-json-tokens-60"


async def test_what_was_learnt_is_kept(tmp_path, autojump_clock):
    """A model that stays the same is metered by what was learnt of it; one that became another begins anew."""
    async with world(tmp_path, LEARNS, "sim", after=model_table("other", "sim", LEARNS)) as here:
        for name in (LEARNS, "other"):
            for number in range(LEAST_OUTPUTS):
                await here.ask(name, stream=False, user=str(number))
        await trio.sleep(TICK_S + 1)
        learnt = here.gateway.models[LEARNS].terms.ratios
        assert learnt.mean != 4000
        other = '[models.other]\nprovider = "sim"\nupstream_model = "sim-text-chinese"\n'
        other += 'max_output_tokens = 4096\nprice = { input = "1.00", output = "2.00" }\n'
        reloading = Reloading(here, tmp_path)
        reloading.remove("other")
        assert here.gateway.models[LEARNS].terms.ratios == learnt
        reloading.reload(reloading.path.read_text() + other)
        assert here.gateway.models["other"].terms.ratios.mean == 4000
        assert here.gateway.models[LEARNS].terms.ratios == learnt
        await check_all(here, admitted=2 * LEAST_OUTPUTS)


async def test_what_a_model_was_teaches_nothing_of_what_it_became(tmp_path, autojump_clock):
    """An answer that ends after its model's name has come to stand for another one is not learnt from."""
    async with world(tmp_path, PACED, after=model_table("changing", "sim", PACED)) as here:
        reloading, client = Reloading(here, tmp_path), here.client(question("changing"))
        before, _, after = reloading.path.read_text().rpartition(f'upstream_model = "{PACED}"')
        await while_it_runs(here, client, lambda: reloading.reload(f'{before}upstream_model = "sim"{after}'))
        assert here.gateway.services.calibrator.known("changing").is_empty
        await here.ask("changing")
        assert not here.gateway.services.calibrator.known("changing").is_empty
        await check_all(here, admitted=2)


def idle_at(backend: Backend) -> int:
    """How many connections wait for a next call."""
    return sum(lane.idle for lane in backend.client.pool._lanes.values())


async def test_connections_to_providers(tmp_path, autojump_clock):
    """Those to a provider that stays as it was are kept; those to one that is changed are closed when they are free."""
    async with world(tmp_path, PACED, "messages/sim") as here:
        reloading = Reloading(here, tmp_path)
        await here.ask("messages/sim")
        client = here.client(question(PACED))
        await here.ask(PACED)
        chat, messages = here.gateway.backends["sim"], here.gateway.backends["messages"]

        def change() -> None:
            before, _, after = reloading.path.read_text().partition('base_url = "http://provider.test/v1"')
            reloading.reload(f'{before}base_url = "http://elsewhere.test/v1"{after}')

        await while_it_runs(here, client, change)
        assert here.gateway.backends["messages"] is messages
        assert here.gateway.backends["sim"] is not chat
        assert (idle_at(chat), idle_at(messages)) == (0, 1)
        assert here.gateway.models[PACED].target.base_url == "http://elsewhere.test/v1"
        await check_all(here, admitted=3)
