"""A meter that has learnt, through a whole gateway: what teaches it, when it counts by that, and that caps hold."""

import json
from io import StringIO
from typing import Any

import attrs
import pytest
import trio

from ainf.app import RunningGateway, running_gateway
from ainf.calibration import LEAST_OUTPUTS
from ainf.exchange.calibrating import SAVE_S, TICK_S
from ainf.inference.outcome import Ending
from ainf.metering import MeterRatios, tokens_of
from ainf.simulator.passages import TextKind, passage_texts
from ainf.telemetry import Telemetry
from tests.gateway.dialects import DIALECTS
from tests.gateway.law import check_ledger, check_provider
from tests.gateway.live import live
from tests.gateway.world import Client, World, question, world

A_TICK_S = TICK_S + 1
FRAME_BYTES = 32
"""No three tokens of these texts have more."""
TEXT = "sim-text-{}-tokens-200"
SLICES = 'slice_tokens = 32\nmin_output_tokens = 4\nmetering = "configured"'
MODEL = """
[models."{name}"]
provider = "sim"
upstream_model = "{upstream_model}"
price = {{ input = "1.00", output = "2.00" }}
max_output_tokens = 4096
{more}
"""


def model_text(name: str, upstream_model: str, more: str = "") -> str:
    return MODEL.format(name=name, upstream_model=upstream_model, more=more)


async def teach(here: World, model: str, times: int = LEAST_OUTPUTS) -> None:
    """Ask a model often enough, with passages as input, and let it come into force."""
    texts = passage_texts(TextKind.JSON)
    for number in range(times):
        asked = {"role": "user", "content": texts[number % len(texts)]}
        client = await here.ask(model, stream=number % 2 == 0, messages=[asked])
        assert (await here.receipt(client.inference_id))["evidence"] == "reported"
    await trio.sleep(A_TICK_S)


def ratios_of(here: World | RunningGateway, model: str) -> MeterRatios:
    return here.gateway.models[model].terms.ratios


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("format_", ["", "messages/", "responses/", "gemini/"])
async def test_every_wire_teaches_the_same(dialect, format_, tmp_path, autojump_clock):
    """Whatever the client and the provider speak, streamed or whole, an answer teaches its text's bytes a token."""
    model = f"{format_}sim-text-chinese-passage-3-tokens-60"
    async with world(tmp_path, model) as here:
        for stream in (True, False):
            await here.speak(dialect, model, stream=stream)
        known = here.gateway.services.calibrator.known(model)
    text = passage_texts(TextKind.CHINESE)[3]
    said = here.simulator.books.entries[0].text_bytes

    assert text.encode()[:said].decode()
    assert (known.output.numerator, known.output.denominator) == (2 * said, 2 * 60)
    assert known.input.samples == 2


async def test_what_was_learnt_comes_into_force_at_a_tick(tmp_path, autojump_clock):
    """Exchanges that are admitted before it keep their ratios; later ones are metered by what was learnt."""
    name = TEXT.format("json")
    async with world(tmp_path, name) as here:
        for _ in range(LEAST_OUTPUTS):
            await here.ask(name)
        assert ratios_of(here, name).mean == 4000
        await trio.sleep(A_TICK_S)
        learnt = ratios_of(here, name)
        known = here.gateway.services.calibrator.known(name)
        assert learnt.mean == known.output.mean
        assert 2000 < learnt.mean < 3200
        await here.ask(name)
        # How far it was off is measured by the ratio that the exchange was admitted with.
        *earlier, last = here.simulator.books.entries
        metered = sum(tokens_of(entry.text_bytes, 4000) for entry in earlier) + tokens_of(last.text_bytes, learnt.mean)
        assert here.gateway.services.calibrator.known(name).output_error.numerator == metered
        await check_ledger(here)


async def test_a_broken_off_answer_is_counted_by_what_was_learnt(tmp_path, autojump_clock):
    """Half an answer of JSON is settled near its true tokens, where four bytes a token miss a third of them."""
    learnt, broken = "json", "json-broken"
    models = model_text(learnt, TEXT.format("json")) + model_text(
        broken, TEXT.format("json") + "-stall-after-150", 'silence_s = 5\nmetering = "configured"'
    )
    async with world(tmp_path, after=models) as here:
        await teach(here, learnt)
        errors = []
        for ratios in (ratios_of(here, broken), ratios_of(here, learnt)):
            here.gateway.recalibrate({broken: ratios})
            counted = 0
            for _ in range(10):
                client = await here.ask(broken)
                receipt = await here.receipt(client.inference_id)
                assert (receipt["ending"], receipt["evidence"]) == ("upstream_error", "metered")
                counted += receipt["usage"]["output_tokens"]
            errors.append(counted / 1500 - 1)
        assert errors[0] < -0.25
        assert abs(errors[1]) < 0.1
        await check_ledger(here)


@pytest.mark.parametrize(("metering", "mean", "low"), [("configured", 4000, 2000), ("strict", 4000, 1000)])
async def test_a_model_that_is_not_to_learn(metering, mean, low, tmp_path, autojump_clock):
    """It stays as configured, a strict one with a byte a token as the bound; its errors are known all the same."""
    name = TEXT.format("english")
    async with world(tmp_path, name, more=f'metering = "{metering}"') as here:
        await teach(here, name, 60)
        assert (ratios_of(here, name).mean, ratios_of(here, name).low) == (mean, low)
        assert here.gateway.services.calibrator.known(name).output_error.samples == 60


async def test_what_was_learnt_is_durable(tmp_path, autojump_clock):
    """Within a minute and a tick it is in the store, from which another process would begin."""
    name = TEXT.format("code")
    async with world(tmp_path, name) as here:
        await teach(here, name)
        assert await here.store.calibrations() == {}
        await trio.sleep(SAVE_S)
        kept = await here.store.calibrations()
        assert kept == {name: here.gateway.services.calibrator.known(name)}
        assert kept[name].output.samples == LEAST_OUTPUTS


async def test_the_bound_of_an_input_is_learnt(tmp_path, autojump_clock):
    """Less is held for English once it is known, and never less than what was reported for any of these requests."""
    name = TEXT.format("english")
    async with world(tmp_path, name) as here:
        texts = passage_texts(TextKind.ENGLISH)

        async def ask(number: int) -> tuple[int, int]:
            asked = {"role": "user", "content": texts[number % len(texts)]}
            bounds = []
            add = here.gateway.inflight.add
            here.gateway.inflight.add = lambda x: (bounds.append(x.plan.admission.input_tokens_bound), add(x))
            client = await here.ask(name, messages=[asked], max_tokens=20)
            here.gateway.inflight.add = add
            receipt = await here.receipt(client.inference_id)
            return bounds[0], receipt["usage"]["input_tokens"]

        before = [await ask(number) for number in range(60)]
        await trio.sleep(A_TICK_S)
        after = [await ask(number) for number in range(60)]
        assert sum(bound for bound, _ in after) < 0.6 * sum(bound for bound, _ in before)
        assert [bound for bound, tokens in after if bound < tokens] == []


def spent(receipt: dict[str, Any]) -> int:
    return receipt["settled_nusd"] + receipt["overrun_nusd"]


@pytest.mark.parametrize("said", [*TextKind, "mixed"])
async def test_a_cap_is_never_passed_by_what_it_cuts(said, tmp_path, autojump_clock):
    """Streams that a cap cuts are settled inside it, whether the meter learnt of such text or of quite another; what
    their clients saw is what was settled."""
    learnt, endless = "learnt", "endless"
    models = model_text(learnt, TEXT.format("english")) + model_text(
        endless,
        f"sim-text-{said}-endless-per-frame-3",
        SLICES,
    )
    async with world(tmp_path, after=models) as here:
        await teach(here, learnt, 60)
        ratios = ratios_of(here, learnt)
        assert ratios.mean > 4400
        here.gateway.recalibrate({endless: ratios})
        for limit in (250_000, 700_000, 1_300_000):
            ((used,),) = await here.rows("SELECT coalesce(sum(settled_nusd + overrun_nusd), 0) FROM settlements")
            await here.set_cap(used + limit)
            clients = [here.client(question(endless)) for _ in range(4)]
            await _run_all(here, clients)
            admitted = [client for client in clients if "x-ainf-inference-id" in client.headers]
            receipts = [await here.receipt(client.inference_id) for client in admitted]
            cut = [r for r in receipts if r["ending"] == Ending.SPEND_CAP_EXCEEDED]
            assert cut
            assert len(cut) == len(receipts)
            assert limit // 2 < sum(map(spent, cut)) <= limit
            assert sum(receipt["overrun_nusd"] for receipt in cut) == 0
            for client, receipt in zip(admitted, receipts, strict=True):
                seen = len(client.text().encode())
                # What is settled is what was seen, and less than the frame that did not fit any more.
                settled = receipt["usage"]["output_tokens"]
                assert tokens_of(seen, ratios.mean) <= settled <= tokens_of(seen + FRAME_BYTES, ratios.mean)
        await check_provider(here)
        await check_ledger(here)


async def _run_all(here: World, clients: list[Client]) -> None:
    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(here.run, client)


async def test_what_was_learnt_is_no_metadata_of_requests(tmp_path, autojump_clock):
    """What is kept of a model is counts: no text, no key, no account."""
    name = TEXT.format("english")
    async with world(tmp_path, name) as here:
        await teach(here, name)
        await trio.sleep(SAVE_S)
        ((body,),) = await here.rows("SELECT body FROM calibrations")
    assert set(json.loads(body)) == {
        "provider", "upstream_model", "output", "input", "bound", "output_error", "input_error", "shortfall",
    }  # fmt: skip


async def test_what_was_learnt_outlives_the_process(tmp_path):
    """What is new is saved when a gateway stops, and the next one counts by it from its first request on."""
    name = TEXT.format("json") + "-burst"
    async with live(tmp_path, name) as here:
        for _ in range(LEAST_OUTPUTS):
            await here.ask(name)
        learnt = here.running.gateway.services.calibrator.known(name).ratios(ratios_of(here.running, name))
        config = here.running.config
    assert learnt.mean != 4000
    async with running_gateway(config, Telemetry(StringIO())) as again:
        assert ratios_of(again, name) == learnt
    changed = attrs.evolve(config.models[name], upstream_model="sim-text-english")
    async with running_gateway(attrs.evolve(config, models={name: changed}), Telemetry(StringIO())) as other:
        assert ratios_of(other, name).mean == 4000
