"""A recital: one client is told a shared exchange's answer, at its own pace and in its own mode."""

import attrs
import pytest
import trio

from ainf.exchange.shared import SharedExchange
from ainf.http.recital import Recital
from ainf.http.seam import Seam
from ainf.inference.errors import DownstreamError, GatewayError
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage
from ainf.sse import HEARTBEAT
from tests.gateway.keyed import plan_of
from tests.gateway.world import Client, World, world

COMPLETED = Outcome(Verdict(Ending.COMPLETED), "stop", Usage(input_tokens=1, output_tokens=1), Evidence.METERED, 5)
FAILED = Outcome(Verdict(Ending.UPSTREAM_ERROR, "upstream_timeout"), "error", Usage(), Evidence.METERED, 0)
SSE = [(b"content-type", b"text/event-stream"), (b"x-ainf-model", b"sim")]
JSON = [(b"content-type", b"application/json"), (b"x-ainf-model", b"sim")]


@attrs.define
class Told:
    """A client, what it is told of, and who tells it. The exchange itself does not run: the test speaks for it."""

    client: Client
    shared: SharedExchange
    recital: Recital

    def open(self) -> None:
        """Commit the opening."""
        self.shared.exchange.own_headers = [(b"x-ainf-model", b"sim")]


async def told(here: World, *, stream: bool = True, shared_stream: bool = True) -> Told:
    shared = SharedExchange(
        await plan_of(here, "sim", stream=shared_stream), here.gateway.services, limit=1 << 20, linger_s=30
    )
    client = Client("/v1/chat/completions", b"", {})
    seam = Seam(client.receive, client.send, client)
    plan = await plan_of(here, "sim", stream=stream)
    return Told(client, shared, Recital(seam, plan, shared, here.gateway.services))


async def test_it_is_told_as_it_was_said(tmp_path, autojump_clock):
    """The head, then what is there, then what comes; the request is forgotten with the first of it."""
    async with world(tmp_path, "sim") as here, trio.open_nursery() as nursery:
        one = await told(here)
        assert one.recital._plan.request.fields
        nursery.start_soon(one.recital.tell)
        await one.shared.transcript.start(200, SSE)
        await one.shared.transcript.write(b"data: a\n\n")
        await trio.sleep(1)
        assert one.client.body == b"data: a\n\n"
        assert not one.recital._plan.request.fields
        await one.shared.transcript.finish(b"data: b\n\n")
        await trio.sleep(1)
        assert (one.client.status, one.client.ended) == (200, True)
        assert one.client.writes == [b"data: a\n\n", b"data: b\n\n"]


async def test_heartbeats_begin_with_an_opening(tmp_path, autojump_clock):
    """Before it nothing is said, for it may be refused; then the early head, then a beat in every silence."""
    async with world(tmp_path, "sim", limits="early_head_s = 2\nheartbeat_s = 5") as here:
        one = await told(here)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.recital.tell)
            await trio.sleep(5)
            assert one.client.status is None
            one.open()
            await trio.sleep(2)
            assert (one.client.status, one.client.writes) == (200, [HEARTBEAT])
            assert one.client.is_streamed
            await trio.sleep(5)
            assert one.client.writes == [HEARTBEAT] * 2
            await one.shared.transcript.start(200, SSE)
            await one.shared.transcript.write(b"data: a\n\n")
            await trio.sleep(6)
            assert one.client.writes == [HEARTBEAT] * 2 + [b"data: a\n\n", HEARTBEAT]
            await one.shared.transcript.finish(b"")
        assert one.client.ended


async def test_a_head_that_is_known_is_the_one_that_is_given(tmp_path, autojump_clock):
    """An early head of the exchange's own is passed on."""
    async with world(tmp_path, "sim", limits="early_head_s = 2") as here:
        one = await told(here)
        one.open()
        await one.shared.transcript.start(200, [*SSE, (b"x-known", b"1")])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.recital.tell)
            await trio.sleep(3)
            assert one.client.headers["x-known"] == "1"
            await one.shared.transcript.finish(b"")


async def test_no_heartbeats_in_a_whole_answer(tmp_path, autojump_clock):
    """There is nothing to beat in."""
    async with world(tmp_path, "sim", limits="early_head_s = 1\nheartbeat_s = 1") as here:
        one = await told(here, stream=False, shared_stream=False)
        one.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.recital.tell)
            await trio.sleep(20)
            assert one.client.status is None
            await one.shared.transcript.start(200, JSON)
            await one.shared.transcript.finish(b"{}")
        assert one.client.writes == [b"{}"]


async def test_a_failure_that_comes_at_once_is_no_beats_head(tmp_path, autojump_clock):
    """Between a failure's head and its body no early head is given."""
    async with world(tmp_path, "sim", limits="early_head_s = 1") as here:
        one = await told(here)
        one.open()
        await one.shared.transcript.start(502, JSON)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.recital.tell)
            await trio.sleep(3)
            assert one.client.status is None
            await one.shared.transcript.finish(b'{"error":{}}')
        assert (one.client.status, one.client.body) == (502, b'{"error":{}}')


async def test_a_failure_behind_an_early_head_is_told_in_the_stream(tmp_path, autojump_clock):
    """The status can be told no more; what failed is said by the settled outcome."""
    async with world(tmp_path, "sim", limits="early_head_s = 1") as here:
        one = await told(here)
        one.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.recital.tell)
            await trio.sleep(2)
            one.shared.exchange.outcome = FAILED
            await one.shared.transcript.start(502, JSON)
            await one.shared.transcript.finish(b'{"error":{}}')
        assert (one.client.status, one.client.ended) == (200, True)
        said = one.client.said()
        assert (said.error["code"], said.terminals) == ("upstream_timeout", 1)


@pytest.mark.parametrize("refusal", [GatewayError("store_unavailable", "away"), DownstreamError("rate_limited", "x")])
async def test_a_refused_opening_is_raised(refusal, tmp_path, autojump_clock):
    """Nothing was said: the request is answered as any that is refused."""
    async with world(tmp_path, "sim") as here:
        one = await told(here)
        one.shared.refusal = refusal
        one.shared.transcript.abort()
        with pytest.raises(type(refusal)):
            await one.recital.tell()
        assert (one.client.status, one.client.aborted) == (None, False)


@pytest.mark.parametrize("when", ["nothing said", "in the middle", "retold"])
async def test_where_no_end_is_said_the_connection_closes_without_one(when, tmp_path, autojump_clock):
    """Whatever was told before."""
    async with world(tmp_path, "sim") as here:
        one = await told(here, stream=when != "retold")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.recital.tell)
            if when != "nothing said":
                await one.shared.transcript.start(200, SSE)
                await one.shared.transcript.write(b"data: a\n\n")
            await trio.sleep(1)
            one.shared.transcript.abort()
        assert one.client.aborted
        assert not one.client.ended


@pytest.mark.parametrize("spoken", [True, False])
async def test_what_cannot_be_retold(spoken, tmp_path, autojump_clock):
    """It is refused by name; behind an early head the connection closes without an end."""
    async with world(tmp_path, "sim", limits="early_head_s = 1") as here:
        one = await told(here, shared_stream=False)
        if spoken:
            one.open()
        one.shared.exchange.outcome = COMPLETED
        async with trio.open_nursery() as nursery:

            async def say() -> None:
                await trio.sleep(5)
                await one.shared.transcript.start(200, JSON)
                await one.shared.transcript.finish(b'{"neither": 1}')

            nursery.start_soon(say)
            if spoken:
                await one.recital.tell()
                assert one.client.aborted
                assert not one.client.ended
            else:
                with pytest.raises(DownstreamError) as caught:
                    await one.recital.tell()
                assert caught.value.code == "idempotency_completed"
                assert one.client.status is None


async def test_it_reads_until_it_is_closed(tmp_path, autojump_clock):
    """The exchange waits for it no more then."""
    async with world(tmp_path, "sim") as here:
        one = await told(here)
        assert one.shared.transcript.reader_count == 1
        one.recital.close()
        one.recital.close()
        assert one.shared.transcript.reader_count == 0
