"""Every ending, at every moment, streamed or not: what the client reads, what is billed, and that all records agree."""

import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from ainf import app as composition
from ainf.inference.errors import CODES
from ainf.inference.money import format_usd
from ainf.inference.outcome import Ending, Verdict
from ainf.simulator import Reset, Send, Stall, Step, Wait, chunk, head, last_chunk
from ainf.simulator.steps import Script
from ainf.sse import HEARTBEAT
from ainf.store import admin
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.world import Client, World, question, world

LIMITS = "silence_s = 3\nfirst_byte_s = 4\nexchange_s = 30"
SLICES = "slice_tokens = 8\nmin_output_tokens = 4"


# --- what every ending must leave behind ---


async def check_records(here: World, inference_id: str) -> dict[str, Any]:
    """Receipt, settlement, audit event, attempt, log line and metrics agree on one exchange; return the receipt."""
    receipt = await here.receipt(inference_id)
    ((kinds, bodies),) = await here.rows(
        "SELECT count(*), max(body) FROM audit_events WHERE inference_id = ?", inference_id
    )
    assert kinds == 1
    event = json.loads(bodies)
    ((ending, code, reason, evidence, settled, overrun),) = await here.rows(
        "SELECT ending, error_code, finish_reason, evidence, settled_nusd, overrun_nusd FROM settlements"
        " WHERE inference_id = ?", inference_id,
    )  # fmt: skip
    said = [json.loads(line) for line in here.log.getvalue().splitlines()]
    (line,) = [line for line in said if line.get("inference_id") == inference_id and line["event"] == "exchange"]
    for record in (receipt, event, {**line, "error_code": line["code"]}):
        assert (record["ending"], record["error_code"], record["finish_reason"]) == (ending, code, reason)
        assert (record["evidence"], record["settled_nusd"], record["overrun_nusd"]) == (evidence, settled, overrun)
        assert record["held_nusd"] == receipt["held_nusd"]
        assert record["notes"] == receipt["notes"]
    assert receipt["held_nusd"] == settled + receipt["released_nusd"]
    assert sum(attempt["cost_nusd"] for attempt in receipt["attempts"]) == settled + overrun
    counted = [
        sample.value
        for family in text_string_to_metric_families(here.telemetry.exposition().decode())
        for sample in family.samples
        if sample.name == "ainf_exchanges_total" and sample.labels["ending"] == ending
        and sample.labels["evidence"] == evidence and sample.labels["stream"] == str(receipt["stream"]).lower()
    ]  # fmt: skip
    assert sum(counted) >= 1
    return receipt


async def only_inference(here: World) -> str:
    ((inference_id,),) = await here.rows("SELECT inference_id FROM inferences")
    return inference_id


def check_error(client: Client, receipt: dict[str, Any], code: str, *, in_stream: bool) -> None:
    """The client is told the code, the bill and a verdict on retrying that agree with the receipt."""
    billed = receipt["settled_nusd"] + receipt["overrun_nusd"]
    may_retry = CODES[code].transient and not billed
    if in_stream:
        assert client.status == 200
        (error,) = [chunk["error"] for chunk in client.chunks() if chunk.get("error")]
        assert error["retryable"] is may_retry
        assert client.payloads()[-1] == b"[DONE]"
    else:
        assert client.status == CODES[code].status
        error = client.json()["error"]
        assert client.headers["x-should-retry"] == str(may_retry).lower()
        assert ("retry-after" in client.headers) is may_retry
        assert error["request_id"] == client.headers["x-request-id"]
    assert error["code"] == code
    assert error["type"] == CODES[code].type
    assert error["billed"] == format_usd(billed)
    assert error["inference_id"] == receipt["inference_id"]
    assert client.headers["x-ainf-audit-url"] == f"http://gateway.test/v1/audit/{receipt['inference_id']}"


# --- endings that come from beside the provider ---


class From:
    """Who ends an exchange."""

    @staticmethod
    async def client(here: World, client: Client) -> None:
        client.leave()

    @staticmethod
    async def drain(here: World, client: Client) -> None:
        here.gateway.inflight.shut_down(2.0)

    @staticmethod
    async def operator(here: World, client: Client) -> None:
        for exchange in here.gateway.inflight:
            exchange.offer(Verdict(Ending.TERMINATED, "killed", "An operator ended the request."))

    @staticmethod
    async def revocation(here: World, client: Client) -> None:
        at = composition.wall_clock()
        await here.store.write(lambda tx: admin.revoke_key(tx, key_id=here.key_id, at=at))

    @staticmethod
    async def deadline(here: World, client: Client) -> None:
        """It comes by itself: the request brought it."""


ENDINGS: dict[Callable[..., Any], tuple[Ending, str | None]] = {
    From.client: (Ending.CLIENT_DISCONNECTED, None),
    From.drain: (Ending.SHUTDOWN, "shutting_down"),
    From.operator: (Ending.TERMINATED, "killed"),
    From.revocation: (Ending.TERMINATED, "key_revoked"),
    From.deadline: (Ending.DEADLINE_EXCEEDED, "deadline_exceeded"),
}

MOMENTS = {
    "before-head": ("sim-delay-9s", "sim-delay-9s"),
    "after-head": ("sim-stall-after-head", "sim-stall-after-head"),
    "after-content": ("sim-tokens-400-pace-20ms", "sim-stall-after-3"),
}
"""The model to ask for a stream, and for a whole answer, so that 1.5 seconds later it is that moment."""


@pytest.mark.threat(41, 61, 63, 64)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("source", ENDINGS, ids=lambda source: source.__name__)
async def test_endings_from_beside(source, moment, stream, tmp_path, autojump_clock):
    """Each of them at each moment: the right ending, billed only once the provider had taken the request on."""
    model = MOMENTS[moment][0 if stream else 1]
    ending, code = ENDINGS[source]
    async with world(tmp_path, model, limits=LIMITS, more=SLICES) as here:
        headers = {"x_ainf_deadline_ms": "1500"} if source is From.deadline else {}
        client = here.client(question(model, stream=stream), **headers)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(1.5)
            asked_at = trio.current_time()
            await source(here, client)
        assert trio.current_time() - asked_at <= 2.1, "longer than a progress tick"
        receipt = await check_records(here, await only_inference(here))
        billed = receipt["settled_nusd"] + receipt["overrun_nusd"]
        assert Ending(receipt["ending"]) is ending
        assert receipt["evidence"] == "metered"
        assert (billed > 0) is (moment != "before-head")
        assert (receipt["usage"]["output_tokens"] > 0) is (moment == "after-content" and stream)
        if code is None:
            assert client.aborted, "nothing is said to it, not even an end"
            assert b"[DONE]" not in client.body
        else:
            check_error(client, receipt, code, in_stream=stream and moment == "after-content")
        await check_transcript(here, client)
        await check_provider(here)
        await check_ledger(here, admitted=1)


# --- endings that the provider makes ---


@attrs.frozen
class Case:
    """What a provider does, and what becomes of it, for a stream and for a whole answer."""

    model: str
    stream: tuple[str, bool] | None
    """The code that a streaming client reads, and whether it is billed; None where the answer completes."""
    whole: tuple[str, bool] | None
    content: bool = False
    """Whether a streaming client had content before."""
    retry_after: str | None = None


CASES = [
    Case("sim", None, None),
    Case("sim-json-for-sse", None, None),
    Case("sim-sse-for-json", None, None),
    Case("sim-no-done", None, None),
    Case("sim-no-usage", None, None),
    Case("sim-tools", None, None),
    Case("sim-refusal", None, None),
    Case("sim-error-400", ("upstream_rejected", False), ("upstream_rejected", False)),
    Case("sim-error-401", ("upstream_auth", False), ("upstream_auth", False)),
    Case("sim-error-402", ("upstream_auth", False), ("upstream_auth", False)),
    Case("sim-error-403", ("upstream_auth", False), ("upstream_auth", False)),
    Case("sim-error-429", ("upstream_overloaded", False), ("upstream_overloaded", False), retry_after="2"),
    Case("sim-error-500", ("upstream_error", False), ("upstream_error", False), retry_after="1"),
    Case("sim-error-503", ("upstream_overloaded", False), ("upstream_overloaded", False), retry_after="1"),
    Case("sim-redirect-302", ("upstream_protocol", False), ("upstream_protocol", False)),
    Case("sim-status-204", ("upstream_protocol", False), ("upstream_protocol", False)),
    Case("sim-not-http", ("upstream_protocol", False), ("upstream_protocol", False)),
    Case("sim-close-before-head", ("upstream_error", False), ("upstream_error", False)),
    Case("sim-reset-before-head", ("upstream_error", False), ("upstream_error", False)),
    Case("sim-stall-before-head", ("upstream_timeout", False), ("deadline_exceeded", False)),
    Case("sim-stall-after-head", ("upstream_timeout", True), ("deadline_exceeded", True)),
    Case("sim-eof-after-head", ("upstream_protocol", True), ("upstream_protocol", True)),
    Case("sim-empty-stream", ("upstream_protocol", True), ("upstream_protocol", True)),
    Case("sim-html-200", ("upstream_protocol", True), ("upstream_protocol", True)),
    Case("sim-error-first", ("upstream_overloaded", True), ("upstream_overloaded", True)),
    Case("sim-stall-after-3", ("upstream_timeout", True), ("deadline_exceeded", True), content=True),
    Case("sim-eof-after-3", ("upstream_truncated", True), ("upstream_truncated", True), content=True),
    Case("sim-cut-chunk-after-3", ("upstream_truncated", True), ("upstream_truncated", True), content=True),
    Case("sim-error-after-3", ("upstream_overloaded", True), ("upstream_overloaded", True), content=True),
    Case("sim-done-only", ("upstream_truncated", True), None, content=True),
]


@pytest.mark.threat(74, 95, 96, 97, 100, 101, 113, 115, 116)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.model)
async def test_endings_of_the_provider(case, stream, tmp_path, autojump_clock):
    """Whatever a provider does: a success with evidence, or one error with the right code, bill and retry verdict."""
    async with world(tmp_path, case.model, limits=LIMITS) as here:
        client = await here.ask(case.model, stream=stream)
        receipt = await check_records(here, client.inference_id)
        expected = case.stream if stream else case.whole
        if expected is None:
            assert receipt["ending"] == "completed"
            assert client.status == 200
            assert receipt["attempts"][0]["raw_finish_reason"] == receipt["finish_reason"]
        else:
            code, billed = expected
            assert (receipt["settled_nusd"] > 0) is billed
            check_error(client, receipt, code, in_stream=stream and case.content)
            assert receipt["attempts"][0]["error_code"] in {code, None}
            if case.retry_after is not None:
                assert client.headers["retry-after"] == case.retry_after
        assert receipt["overrun_nusd"] == 0
        await check_transcript(here, client)
        await check_provider(here)
        await check_ledger(here, admitted=1)


# --- the early head, heartbeats, clocks ---


def delta(text: str) -> bytes:
    return (
        b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"'
        + text.encode() + b'"},"finish_reason":null}]}\n\n'
    )  # fmt: skip


END = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


async def played(tmp_path, *steps: Step, limits: str = LIMITS, **fields: Any) -> tuple[Client, dict[str, Any], float]:
    """Play steps as the provider's answer to a stream; return the client, its receipt, and how long it took."""
    async with world(tmp_path, "sim", limits=limits) as here:
        here.simulator.set_script(Script(list(steps)))
        began = trio.current_time()
        client = await here.run(here.client(question("sim", **fields)))
        lasted = trio.current_time() - began
        await check_transcript(here, client)
        await check_ledger(here, admitted=1)
        return client, await here.receipt(client.inference_id), lasted


async def test_a_failure_behind_an_early_head_travels_in_the_stream(tmp_path, autojump_clock):
    """After ``early_head_s`` the client has a head and heartbeats; what fails then is told in the stream."""
    limits = "early_head_s = 2\nheartbeat_s = 3\nfirst_byte_s = 12"
    client, receipt, lasted = await played(tmp_path, Stall(), limits=limits)
    assert client.status == 200
    assert client.writes[:-1] == [HEARTBEAT] * 4  # at 2, 5, 8 and 11 seconds
    assert 12 <= lasted < 12.5
    assert "x-ainf-stream-mode" not in client.headers
    check_error(client, receipt, "upstream_timeout", in_stream=True)


async def test_an_answer_behind_an_early_head_is_whole(tmp_path, autojump_clock):
    """The stream goes on behind the heartbeats as if there had been none."""
    client, receipt, _ = await played(
        tmp_path, Wait(5), head(), chunk(delta("x")), chunk(END), last_chunk(), limits="early_head_s = 2"
    )
    assert client.body == HEARTBEAT + delta("x") + END
    assert receipt["ending"] == "completed"


async def test_no_heartbeat_stands_inside_a_frame(tmp_path, autojump_clock):
    """Half a frame waits at the gateway; heartbeats go on between frames."""
    frame = delta("abc")
    client, _, _ = await played(
        tmp_path, head(), chunk(delta("x") + frame[:30]), Wait(50), chunk(frame[30:]), chunk(END), last_chunk(),
        limits="heartbeat_s = 15\nsilence_s = 100",
    )  # fmt: skip
    assert client.body == delta("x") + HEARTBEAT * 3 + frame + END


async def test_a_whole_answer_has_no_heartbeats(tmp_path, autojump_clock):
    """A client that wants JSON gets one head and one body, however long it takes."""
    async with world(tmp_path, "sim-delay-100s", limits="exchange_s = 200") as here:
        client = await here.ask("sim-delay-100s", stream=False)
        assert client.status == 200
        assert len(client.writes) == 1


NOISE = {
    "comments": b": ping\n\n",
    "empty deltas": b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":null}]}\n\n',
    "no choices": b'data: {"id":"c","choices":[]}\n\n',
    "named pings": b"event: ping\ndata: {}\n\n",
    "half a frame": b"data: {",
}


@pytest.mark.threat(76)
@pytest.mark.parametrize("noise", [name for name in NOISE if name != "half a frame"])
@pytest.mark.parametrize(("before", "limit"), [([], 4), ([chunk(delta("x"))], 3)], ids=["first_byte_s", "silence_s"])
async def test_noise_is_silence(noise, before, limit, tmp_path, autojump_clock):
    """Neither comments, pings nor empty deltas put off the first-byte limit or the silence limit."""
    steps = [step for _ in range(200) for step in (chunk(NOISE[noise]), Wait(0.5))]
    client, receipt, lasted = await played(tmp_path, head(), *before, *steps)
    assert receipt["error_code"] == "upstream_timeout"
    assert limit <= lasted < limit + 0.6
    check_error(client, receipt, "upstream_timeout", in_stream=bool(before))


async def test_every_meaningful_event_puts_silence_off(tmp_path, autojump_clock):
    """A slow provider that keeps speaking is left alone until the exchange clock ends it."""
    steps = [step for _ in range(100) for step in (chunk(delta("x")), Wait(2.9))]
    client, receipt, lasted = await played(tmp_path, head(), *steps)
    assert receipt["ending"] == "deadline_exceeded"
    assert 30 <= lasted < 30.5
    assert len(client.text()) == 11


async def test_a_slow_clients_time_is_not_the_providers_silence(tmp_path, autojump_clock):
    """A client that takes nothing for longer than ``silence_s`` does not make the provider a silent one."""
    async with world(tmp_path, "sim", limits=LIMITS) as here:
        here.simulator.set_script(Script([head(), *[chunk(delta("x"))] * 3, Wait(2), chunk(END), last_chunk()]))
        client = here.client(question("sim"))
        client.on_write = lambda writes: client.stall() if writes == 1 else None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(12)
            client._unstalled.set()
        assert await check_transcript(here, client) == "completed"


@pytest.mark.threat(20, "S8")
async def test_a_client_that_takes_nothing_has_left(tmp_path, autojump_clock):
    """After ``write_s`` a stalled client is gone: metered, and the provider's connection is closed."""
    async with world(tmp_path, "sim-tokens-400-pace-20ms") as here:
        client = here.client(question("sim-tokens-400-pace-20ms"))
        client.on_write = lambda writes: client.stall() if writes == 3 else None
        began = trio.current_time()
        await here.run(client)
        assert 20 <= trio.current_time() - began < 21
        receipt = await check_records(here, client.inference_id)
        assert receipt["ending"] == "client_disconnected"
        await check_provider(here)


@pytest.mark.threat(63)
@pytest.mark.parametrize(
    ("value", "lasts"), [("500", 0.5), ("1", 0.001), ("999999999", 30)], ids=["half", "least", "beyond the model's"]
)
async def test_the_clients_own_deadline(value, lasts, tmp_path, autojump_clock):
    """``x-ainf-deadline-ms`` ends an exchange earlier than the configuration, never later."""
    async with world(tmp_path, "sim-stall-before-head", limits="exchange_s = 30") as here:
        began = trio.current_time()
        client = await here.run(here.client(question("sim-stall-before-head"), x_ainf_deadline_ms=value))
        assert lasts <= trio.current_time() - began < lasts + 0.1
        assert client.json()["error"]["code"] == "deadline_exceeded" if lasts < 10 else client.chunks()


async def test_the_deadline_counts_from_the_arrival(tmp_path, autojump_clock):
    """What the store takes for the opening is the client's time too."""
    async with world(tmp_path, "sim-stall-before-head") as here:
        open_inference = here.store.open_inference

        async def slowly(opening: object) -> object:
            opened = await open_inference(opening)
            await trio.sleep(2)
            return opened

        here.store.open_inference = slowly
        began = trio.current_time()
        client = await here.run(here.client(question("sim-stall-before-head"), x_ainf_deadline_ms="3000"))
        assert 3 <= trio.current_time() - began < 3.1
        assert client.json()["error"]["code"] == "deadline_exceeded"


@pytest.mark.threat(68)
async def test_a_store_that_is_away_at_the_opening(tmp_path, autojump_clock):
    """503, worth a retry, and nothing was dialled."""
    from ainf.inference.errors import GatewayError

    async with world(tmp_path, "sim") as here:

        async def open_inference(opening: object) -> None:
            raise GatewayError("store_unavailable", "The ledger cannot be written now; ask again.", retry_after_s=1)

        here.store.open_inference = open_inference
        for stream in (True, False):
            client = await here.ask(stream=stream)
            assert client.status == 503
            assert client.json()["error"]["code"] == "store_unavailable"
            assert client.headers["x-should-retry"] == "true"
            assert "x-ainf-inference-id" not in client.headers
        assert here.wires == []
        await check_ledger(here, admitted=0)


@pytest.mark.threat(97)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("body", [b"", b'{"id":"c","choices":['], ids=["after-head", "in-body"])
async def test_a_reset_behind_the_head(body, stream, tmp_path, autojump_clock):
    """Once a 200 was read a reset is a truncation, charged for what was taken on, and not worth a retry."""
    async with world(tmp_path, "sim", limits=LIMITS) as here:
        fields = {"content-type": "application/json", "content-length": "500"}
        # What is unread at a reset is lost, so it comes a moment later.
        here.simulator.set_script(Script([head(200, fields), Send(body), Wait(0.5), Reset()]))
        client = await here.ask(stream=stream)
        receipt = await check_records(here, client.inference_id)
        assert receipt["settled_nusd"] > 0
        check_error(client, receipt, "upstream_truncated", in_stream=False)
        await check_ledger(here, admitted=1)


async def test_a_reset_tells_what_came_before_it(tmp_path, autojump_clock):
    """What the client had before an error is counted, and said to be undelivered where it was not."""
    client, receipt, _ = await played(tmp_path, head(), chunk(delta("abcdefgh")), Wait(1), Reset())
    assert client.text() == "abcdefgh"
    assert receipt["output_bytes"] == 8
    assert receipt["usage"]["output_tokens"] == 2
    assert receipt["received_bytes"] == receipt["output_bytes"]
