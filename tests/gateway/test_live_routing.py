"""Routing on real sockets: the SDKs as they come name a target; providers fail and are late; a process is killed."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from ainf.app import wall_clock
from ainf.store.verify import verify
from tests.gateway.backends import model_table
from tests.gateway.live import Live, check_law, live
from tests.gateway.live_client import eventually
from tests.gateway.live_sdks import SDKS
from tests.gateway.process import Deployment, deployment

NAMES = ("ainf-inference", "ainf-mithril", "ainf-auto", "ainf/auto")
MODES = ("whole", "stream")
OF_CHEAP, OF_FINE = 30, 40
FLEET = "".join((
    model_table("cheap", "sim", f"sim-tokens-{OF_CHEAP}", "quality = 0.55"),
    model_table("fine", "messages", f"sim-tokens-{OF_FINE}", 'quality = 0.9\nprice = { input = "3", output = "15" }'),
    '[targets.ainf-inference]\nmodels = ["cheap", "fine"]\n',
))  # fmt: skip

sdks = pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)


async def do(here: Live, sdk: type[Any], deed: Callable[[Any], Any]) -> Any:
    """Do something with an SDK that tries once, in a thread of its own."""

    def doing() -> Any:
        talker = sdk(here.url, here.key)
        with talker.client:
            return deed(talker)

    return await trio.to_thread.run_sync(doing)


async def outcomes(here: Live) -> list[tuple[Any, ...]]:
    return await here.rows("SELECT status, model, attempts FROM routing_outcomes ORDER BY outcome_id")


@sdks
async def test_every_name_of_a_target_in_both_modes(tmp_path, sdk):
    """Canonical name and aliases, whole and streamed: the cheapest model answers, and the capture says so."""
    async with live(tmp_path, after=FLEET) as here:
        for name in NAMES:
            for mode in MODES:
                answer = await do(here, sdk, lambda talker, mode=mode, name=name: getattr(talker, mode)(name))
                assert (answer.reason, len(answer.text)) == (sdk.stop, 4 * OF_CHEAP)
                assert answer.output_tokens == OF_CHEAP
        receipts = await here.receipts()
        asked = [(receipt["requested_model"], receipt["router"], receipt["model"]) for receipt in receipts]
        assert asked == [(name, "ainf-inference", "cheap") for name in NAMES for _ in MODES]
        assert await outcomes(here) == [("succeeded", "cheap", 1)] * 8
        metrics = (await here.get("/metrics")).body.decode()
        assert all(f'ainf_alias_hits_total{{alias="{name}"}} 2.0' in metrics for name in NAMES)
        assert "ainf_dispatch_without_capture_total 0.0" in metrics


HINTS = {
    "a tier": ({"min_quality": "frontier"}, "fine"),
    "a number": ({"min_quality": 0.56}, "fine"),
    "a promise": ({"max_cost": "0.05"}, "cheap"),
    "the dial": ({"routing_preference": "quality"}, "fine"),
    "the dial, against a floor": ({"routing_preference": "quality", "min_quality": "good"}, "cheap"),
}


@sdks
async def test_hints_ride_in_the_body(tmp_path, sdk):
    """``extra_body`` takes a hint past the SDK, in both modes."""
    async with live(tmp_path, after=f"[routing]\npreference_live = true\n{FLEET}") as here:
        for hint, model in HINTS.values():
            for mode in MODES:
                asked = {"extra_body": {"routing_hint": hint}}
                answer = await do(
                    here, sdk, lambda talker, mode=mode, asked=asked: getattr(talker, mode)(NAMES[0], **asked)
                )
                assert len(answer.text) == 4 * (OF_CHEAP if model == "cheap" else OF_FINE)
        assert [model for _, model, _ in await outcomes(here)] == [model for _, model in HINTS.values() for _ in MODES]


@pytest.mark.parametrize(
    ("hint", "status", "code", "param"),
    [
        ({"min_quality": 2}, 400, "invalid_value", "routing_hint.min_quality"),
        ({"min_quality": 0.95}, 422, "no_candidate", "routing_hint.min_quality"),
        ({"max_cost": "0.000001"}, 422, "no_candidate", "routing_hint.max_cost"),
    ],
)
@sdks
async def test_a_refusal_is_the_sdks_own_error(tmp_path, sdk, hint, status, code, param):
    """What cannot be chosen, or is no hint, is refused before anything is dialled, streamed or not alike."""
    async with live(tmp_path, after=FLEET) as here:
        for mode in MODES:
            with pytest.raises(sdk.error) as refused:
                await do(
                    here,
                    sdk,
                    lambda talker, mode=mode: getattr(talker, mode)(NAMES[3], extra_body={"routing_hint": hint}),
                )
            assert refused.value.status_code == status
            assert refused.value.response.headers["x-should-retry"] == "false"
            error = refused.value.response.json()["error"]
            assert (error["code"], error["param"]) == (code, param)
        assert not here.simulator.books.entries
        assert len(await outcomes(here)) == (0 if status == 400 else 2)


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def falling(port: int) -> str:
    """A target whose first model's provider refuses connections, and whose second one is out of order."""
    provider = f'[providers.gone]\nformat = "openai-compatible"\nbase_url = "http://127.0.0.1:{port}/v1"\n'
    models = (("a", "gone", "sim"), ("b", "messages", "sim-error-500"), ("c", "responses", f"sim-tokens-{OF_FINE}"))
    tables = "".join(model_table(*model) for model in models)
    return f'{provider}{tables}[targets.ainf-inference]\nmodels = ["a", "b", "c"]\n'


@pytest.mark.parametrize("mode", MODES)
@sdks
async def test_failures_before_content_are_not_seen(tmp_path, sdk, mode):
    """A refused connection, then a status 500: the third model's answer is the only one that the SDK sees."""
    with closed_port() as port:
        async with live(tmp_path, after=falling(port)) as here:
            answer = await do(here, sdk, lambda talker: getattr(talker, mode)(NAMES[1]))
            assert (answer.reason, len(answer.text)) == (sdk.stop, 4 * OF_FINE)
            (receipt,) = await here.receipts()
            codes = [line["error_code"] for line in receipt["attempts"]]
            assert codes == ["upstream_unreachable", "upstream_error", None]
            assert await outcomes(here) == [("fell_back", "c", 3)]


@pytest.mark.parametrize("mode", MODES)
@sdks
async def test_when_all_fail_the_sdk_is_told_that_it_may_retry(tmp_path, sdk, mode):
    """The status is 503 in both modes, and the verdict that a retry can help."""
    with closed_port() as port:
        async with live(tmp_path, after=falling(port).replace(', "c"]', "]")) as here:
            with pytest.raises(sdk.error) as failed:
                await do(here, sdk, lambda talker: getattr(talker, mode)(NAMES[0]))
            assert failed.value.status_code == 503
            assert failed.value.response.json()["error"]["code"] == "all_candidates_failed"
            assert failed.value.response.headers["x-should-retry"] == "true"
            assert await outcomes(here) == [("failed", "b", 2)]


RACING = "".join((
    "[routing]\nhedging = true\n",
    model_table("a-late", "messages", "sim-tokens-30-pace-20s"),
    model_table("b-good", "sim", f"sim-tokens-{OF_FINE}"),
    '[targets.ainf-inference]\nmodels = ["a-late", "b-good"]\n',
))  # fmt: skip


@sdks
async def test_a_late_model_is_overtaken(tmp_path, sdk):
    """The SDK has the second one's answer long before the first would have begun; the first sees the cancel at once."""
    async with live(tmp_path, after=RACING) as here:
        observed = here.running.gateway.services.health.observed("messages", "a-late")
        for _ in range(20):
            observed.note_latency(100)
        began = trio.current_time()
        answer = await do(here, sdk, lambda talker: talker.stream(NAMES[0]))
        assert trio.current_time() - began < 10
        assert (answer.reason, len(answer.text)) == (sdk.stop, 4 * OF_FINE)
        (receipt,) = await here.receipts()
        loser, winner = receipt["attempts"]
        assert loser["cost_nusd"] > 0, "its head had come: its input is billed"
        assert receipt["settled_nusd"] == loser["cost_nusd"] + winner["cost_nusd"] <= receipt["held_nusd"]
        late, good = here.simulator.books.entries
        await eventually(lambda: late.ended_at is not None)
        assert (late.end, good.end) == ("cancelled", "completed")
        assert late.client_closed_at < good.ended_at + 1
        assert await outcomes(here) == [("fell_back", "b-good", 2)]
        assert 'ainf_hedges_total{result="won"} 1.0' in (await here.get("/metrics")).body.decode()


STREAMS = 12
LONG = "sim-tokens-3000-pace-5ms"
KILLED = "".join((
    "[routing]\nhedging = true\n",
    model_table("fails", "messages", "sim-error-500"),
    model_table("late", "responses", "{late}"),
    model_table("late-too", "gemini", "sim-tokens-30-pace-60s"),
    model_table("long", "sim", LONG),
    '[targets.falls]\nmodels = ["fails", "long"]\n',
    '[targets.races]\nmodels = ["late", "long"]\n',
    '[targets.hangs]\nmodels = ["late", "late-too"]\n',
))  # fmt: skip


async def teach(here: Deployment) -> None:
    """Have a model answer often enough for it to be known how soon it begins; start anew with one that is late."""
    for _ in range(20):
        client = await here.ask("races")
        assert (await client.take()).status == 200
    assert await here.terminate() == 0
    text = here.config.read_text()
    here.config.write_text(text.replace('upstream_model = "sim-tokens-4"', 'upstream_model = "sim-tokens-30-pace-60s"'))
    await here.start()


async def test_a_kill_amid_fallbacks_and_hedges(tmp_path: Path, tell: Callable[[str], None]):
    """Each exchange that it cut off is settled once, with all its attempts, as ``abandoned``; the books are sound."""
    with trio.fail_after(60):
        limits = "progress_s = 0.2\nsilence_s = 120\nfirst_byte_s = 120"
        after = KILLED.replace("{late}", "sim-tokens-4")
        async with deployment(tmp_path, "sim", now=wall_clock, limits=limits, after=after) as here:
            await teach(here)
            async with trio.open_nursery() as nursery:
                for target in ("falls", "races", "hangs"):
                    for _ in range(STREAMS):
                        nursery.start_soon((await here.ask(target)).take)
                await wait_until(here, "SELECT count(*) FROM later_attempts", 3 * STREAMS)
                await wait_until(here, "SELECT count(*) FROM holds WHERE output_bytes > 0", 2 * STREAMS)
                await here.kill()
            held = dict(here.rows("SELECT inference_id, held_nusd FROM holds"))
            assert len(held) == 3 * STREAMS
            await here.start()
            check_abandoned(here, held)
            assert here.read(verify) == []
            assert (await here.command("ledger", "verify")).returncode == 0
            assert (await here.command("audit", "verify")).returncode == 0
            asked = [entry["headers"]["x-client-request-id"] for entry in await here.simulated()]
            assert await here.terminate() == 0
            check_law(here.books, asked)
            tell(f"{len(held)} routed exchanges of two attempts each, killed: all abandoned once")


async def wait_until(here: Deployment, sql: str, count: int) -> None:
    while here.rows(sql) != [(count,)]:  # noqa: ASYNC110 - another process writes it
        await trio.sleep(0.05)


def check_abandoned(here: Deployment, held: dict[str, int]) -> None:
    """Check that what was open is settled once: at what the attempts cost that ended, and came to that did not."""
    rows = here.rows("SELECT inference_id, held_nusd, settled_nusd FROM settlements WHERE ending = 'abandoned'")
    settled = {inference_id: amount for inference_id, _, amount in rows}
    assert {inference_id: amount for inference_id, amount, _ in rows} == held
    captured = here.rows("SELECT inference_id, attempts, target FROM routing_outcomes WHERE status = 'abandoned'")
    assert sorted(captured) == sorted(
        (inference_id, 2, target) for inference_id, _, target in captured if inference_id in held
    )
    assert len({inference_id for inference_id, _, _ in captured}) == len(captured) == len(held)
    targets = {inference_id: target for inference_id, _, target in captured}
    for inference_id, body in here.rows("SELECT inference_id, body FROM audit_events WHERE kind = 'inference.closed'"):
        if inference_id not in held:
            continue
        event = json.loads(body)
        assert (event["ending"], event["router"]) == ("abandoned", targets[inference_id])
        costs = [line["cost_nusd"] for line in event["attempts"]]
        assert sum(costs) == settled[inference_id]
        # A failure costs nothing; whoever was asked beside another, or is asked still, costs its input at least.
        assert [cost > 0 for cost in costs] == [targets[inference_id] != "falls", True]
