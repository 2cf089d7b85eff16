"""Silent burn through the whole gateway: the planted burn is found, each once, and nothing else of the traffic beside.

Planted is what this gateway was made for: a provider that answers 200 with nothing in it, and a client that reads that
as a failure, asks again three times, and is billed each time. And a stream that breaks off, is billed, and asked again.
"""

from typing import Any

import trio
from prometheus_client.parser import text_string_to_metric_families

from ainf.store.burn_report import BurnReport, burn_report
from ainf.store.period import Period
from ainf.store.usage import Whose
from tests.gateway.clock import SteppedClock
from tests.gateway.law import check_ledger
from tests.gateway.world import Client, World, question, world

EMPTY, EMPTY_STREAM = "sim-tokens-0", "sim-empty-stream"
CUT = "sim-tokens-40-reset-after-12"
FAILING = "sim-error-503"
SLOW = "sim-tokens-10-pace-1s"
NOON = "2026-11-21T12:00:00"
SOUND = ("sim", "messages/sim-tools", "responses/sim-reasoning-5", "gemini/sim", "sim-refusal", "sim-json-for-sse")
VECTORS = """
[models.vectors]
provider = "sim"
upstream_model = "sim"
kind = "embeddings"
max_output_tokens = 1
price = { input = "1.00", output = "0" }
"""


async def found(here: World, **options: bool) -> BurnReport:
    return await here.store.read(lambda tx: burn_report(tx, Whose(), Period(0, 1 << 62), **options))


def told(report: BurnReport) -> dict[str, str]:
    return {each.inference_id: each.kind for body in report.bodies for each in body.exchanges}


def counted(here: World) -> dict[str, tuple[float, float]]:
    """What the metrics say: kind -> (exchanges, nano-dollars)."""
    families = text_string_to_metric_families(here.telemetry.exposition().decode())
    samples = {(s.name, s.labels.get("kind")): s.value for family in families for s in family.samples}
    kinds = [kind for name, kind in samples if name == "ainf_burn_total"]
    return {str(kind): (samples["ainf_burn_total", kind], samples["ainf_burnt_nusd_total", kind]) for kind in kinds}


async def same(here: World, model: str, prompt: str, **fields: Any) -> Client:
    """Ask one thing."""
    body = question(model, messages=[{"role": "user", "content": prompt}], **fields)
    return await here.run(here.client(body))


async def plant(here: World) -> dict[str, str]:
    """The incident, for each way to answer with nothing, and streams that break off; return what must be found."""
    planted = {}
    for model in (EMPTY, EMPTY_STREAM):
        for stream in (True, False):
            for _ in range(4):
                client = await same(here, model, f"the incident, stream={stream}", stream=stream)
                planted[client.inference_id] = "empty"
                await trio.sleep(1)
    for tries in (2, 4):
        asked = [await same(here, CUT, f"a long story, {tries}") for _ in range(tries)]
        planted |= {client.inference_id: "failed" for client in asked[:-1]}
    first, _ = await same(here, "sim", "what is it"), await same(here, "sim", "what is it")
    planted[first.inference_id] = "repeated"
    return planted


async def normal_traffic(here: World) -> None:
    """Much that looks like it and is no burn."""
    for model in SOUND:
        for stream in (True, False):
            await same(here, model, f"sound, stream={stream}", stream=stream)
    # what failed, and was not charged
    for _ in range(3):
        assert (await same(here, FAILING, "patience")).status == 503
    # parallel samples of one body, one of which is left, and one that fails
    async with trio.open_nursery() as nursery:
        for number in range(5):
            body = question(SLOW, messages=[{"role": "user", "content": "samples"}])
            client = here.client(body)
            nursery.start_soon(here.run, client)
            if number == 2:
                nursery.start_soon(leave_after, client, 7)
            await trio.sleep(0.2)
    # one answer that is told again and again
    for _ in range(3):
        body = question("sim", messages=[{"role": "user", "content": "once"}])
        assert (await here.run(here.client(body, idempotency_key="once"))).status == 200
    # the same of others
    for number, name in enumerate(("beside", "below")):
        await here.new_account(name, "agents" if name == "below" else None)
        here.key = await here.new_key(name, key_id=f"k000002{number}")
        await same(here, "sim", "everybody asks this")
    here.key = await here.new_key("agents", key_id="k0000031")
    await same(here, "sim", "everybody asks this")
    # what brings nothing that is visible, and should not; what costs nothing
    for text in ("one", "two"):
        body = {"model": "vectors", "input": text}
        assert (await here.run(here.client(body, path="/v1/embeddings"))).status == 200
    body = {"model": "messages/sim-tools", "messages": [{"role": "user", "content": "count"}], "max_tokens": 9}
    for counts in (True, True, False, True):
        path = "/v1/messages/count_tokens" if counts else "/v1/messages"
        assert (await here.run(here.client(body, path=path))).status == 200


async def leave_after(client: Client, seconds: float) -> None:
    await trio.sleep(seconds)
    client.leave()


async def test_the_planted_burn_is_found_and_nothing_else(tmp_path, autojump_clock):
    """Each planted exchange with its kind, once; the metrics say the same, in number and to the nano-dollar."""
    models = (EMPTY, EMPTY_STREAM, CUT, FAILING, SLOW, *SOUND)
    async with world(tmp_path, *models, after=VECTORS, clock=SteppedClock(NOON)) as here:
        key = here.key
        await normal_traffic(here)
        await trio.sleep(3600)
        here.key = key
        planted = await plant(here)
        await trio.sleep(3600)
        await normal_again(here)
        report = await found(here)
        assert told(report) == planted
        receipts = {inference_id: await here.receipt(inference_id) for inference_id in planted}
        charged = {id_: receipt["settled_nusd"] + receipt["overrun_nusd"] for id_, receipt in receipts.items()}
        assert report.charged_nusd == sum(charged.values())
        assert counted(here) == {
            kind: (len(ids), sum(charged[id_] for id_ in ids))
            for kind in ("empty", "failed", "repeated")
            if (ids := [id_ for id_ in planted if planted[id_] == kind])
        }
        assert told(await found(here, only_empty=True)) == {i: kind for i, kind in planted.items() if kind == "empty"}
        assert {burner.account for burner in report.burners} == {"agents"}
        await check_ledger(here, admitted=await admitted(here))


async def normal_again(here: World) -> None:
    """The same bodies an hour later: somebody asks every morning."""
    for model in SOUND:
        await same(here, model, "sound, stream=True")
    await same(here, "sim", "what is it")


async def admitted(here: World) -> int:
    ((count,),) = await here.rows("SELECT count(*) FROM inferences")
    return count


async def test_the_receipts_of_a_chain(tmp_path, autojump_clock):
    """Each retry names what it asked again, and an empty one says so."""
    async with world(tmp_path, EMPTY, clock=SteppedClock(NOON)) as here:
        ids = []
        for _ in range(3):
            ids.append((await same(here, EMPTY, "again")).inference_id)
            await trio.sleep(1)
        receipts = [await here.receipt(inference_id) for inference_id in ids]
        assert [receipt["retry_of"] for receipt in receipts] == [None, *ids[:2]]
        assert all(receipt["is_empty"] and receipt["settled_nusd"] for receipt in receipts)


async def test_a_client_that_leaves_and_asks_again(tmp_path, autojump_clock):
    """What it left was billed and of no use: it failed, though the new request may come before its settlement."""
    async with world(tmp_path, SLOW, clock=SteppedClock(NOON)) as here:
        body = question(SLOW, messages=[{"role": "user", "content": "hurry"}])
        left, again = here.client(body), here.client(body, x_stainless_retry_count="1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, left)
            await trio.sleep(3.5)
            left.leave()
            nursery.start_soon(here.run, again)
        assert told(await found(here)) == {left.inference_id: "failed"}
