"""Clients that leave, stall or go half: what the provider sees of it, and when; and what is settled."""

import pytest
import trio

from ainf.simulator import Simulator
from tests.gateway.live import Live, live
from tests.gateway.live_client import RawClient, eventually, frames_so_far
from tests.gateway.world import question

STALLED = "sim-stall-after-5"
ENDLESS = "sim-endless-per-frame-200"
AT_ONCE_S = 0.1
"""How soon a provider must see what the gateway has seen."""


class Clock:
    """Notes when the gateway sees that a client has gone: the moment of the first offer of each exchange."""

    def __init__(self, here: Live):
        self.seen_at: dict[str, float] = {}
        for exchange in here.running.gateway.inflight:
            self._watch(exchange)

    def _watch(self, exchange) -> None:
        noted = exchange.arbiter._on_first

        def note(verdict) -> None:
            self.seen_at[exchange.plan.inference_id] = trio.current_time()
            noted(verdict)

        exchange.arbiter._on_first = note


async def leave_by_closing(client: RawClient) -> None:
    await client.close()


async def leave_by_reset(client: RawClient) -> None:
    client.reset()
    await trio.lowlevel.checkpoint()


async def leave_by_half(client: RawClient) -> None:
    await client.stream.send_eof()


@pytest.mark.threat(61, 62, "S9")
@pytest.mark.parametrize("leave", [leave_by_closing, leave_by_reset, leave_by_half])
@pytest.mark.parametrize(
    "model", [STALLED, "sim-stall-before-head", "sim-stall-after-head", "sim-tokens-2000-pace-1ms"]
)
async def test_the_provider_sees_at_once_that_the_client_has_left(tmp_path, model, leave, tell):
    """Closed, reset or half-closed: the provider's connection is closed in the same breath, and all is settled."""
    async with live(tmp_path, model) as here:
        client = await here.start(model)
        with trio.fail_after(5):
            await here.wait_running(1)
            await eventually(lambda: len(here.simulator.books.entries) == 1)
            if model not in {"sim-stall-before-head", "sim-stall-after-head"}:
                await client.read_until(b'content":"')
            clock = Clock(here)
            left_at = trio.current_time()
            await leave(client)
            await here.wait_settled(1)
            (receipt,) = await here.receipts()
            entry = here.entry(receipt["inference_id"])
            await eventually(lambda: entry.client_closed_at is not None)
        seen_at = clock.seen_at[receipt["inference_id"]]
        tell(
            f"gateway {1000 * (seen_at - left_at):.1f} ms, provider {1000 * (entry.client_closed_at - seen_at):.1f} ms"
        )
        assert entry.client_closed_at - seen_at <= AT_ONCE_S
        assert receipt["ending"] == "client_disconnected"
        assert receipt["finish_reason"] is None
        received = receipt["received_bytes"]
        assert receipt["usage"]["output_tokens"] == -(-received // 4)
        assert received <= entry.text_bytes
        if model == "sim-stall-before-head":
            assert receipt["settled_nusd"] == 0, "no 200 head came"
        else:
            assert receipt["settled_nusd"] > 0


@pytest.mark.threat(20, "S8")
async def test_a_client_that_takes_no_byte_is_gone_after_the_write_limit_and_its_provider_no_later(tmp_path, tell):
    """A stalled client is settled as gone after ``write_s``, its provider is closed first, and others are unharmed."""
    write_s = 0.5
    async with live(tmp_path, ENDLESS, "sim", limits=f"write_s = {write_s}", simulator=Simulator()) as here:
        await here.start(ENDLESS, max_tokens=4096)
        started_at = trio.current_time()
        with trio.fail_after(10):
            await here.wait_running(1)
            clock = Clock(here)
            assert (await here.ask("sim")).text
            await here.wait_settled(2)
            settled_at = trio.current_time()
        (receipt,) = [r for r in await here.receipts() if r["model"] == ENDLESS]
        entry = here.entry(receipt["inference_id"])
        seen_at = clock.seen_at[receipt["inference_id"]]
        tell(f"gone after {seen_at - started_at:.2f} s for write_s = {write_s}")
        assert receipt["ending"] in {"client_disconnected", "upstream_error"}
        assert receipt["ending"] == "client_disconnected"
        assert write_s <= seen_at - started_at <= 4 * write_s + 1
        assert entry.client_closed_at is not None
        assert entry.client_closed_at <= min(seen_at + AT_ONCE_S, settled_at + AT_ONCE_S)


async def test_a_stuck_client_does_not_delay_the_end_at_the_provider(tmp_path):
    """When a deadline passes while a write is stuck, the provider's connection is closed before the write is over."""
    deadline_s, write_s = 0.5, 2.0
    async with live(tmp_path, ENDLESS, limits=f"write_s = {write_s}", simulator=Simulator()) as here:
        client = await here.connect()
        deadline = f"x-ainf-deadline-ms: {int(1000 * deadline_s)}"
        await client.send(here.request(question(ENDLESS, max_tokens=4096), headers=(deadline,)))
        with trio.fail_after(10):
            await here.wait_running(1)
            clock = Clock(here)
            await eventually(lambda: bool(clock.seen_at))
            ((inference_id, seen_at),) = clock.seen_at.items()
            entry = here.entry(inference_id)
            await eventually(lambda: entry.client_closed_at is not None)
            assert entry.client_closed_at - seen_at <= AT_ONCE_S
            assert len(here.running.gateway.inflight) == 1, "the write is no longer stuck: this shows nothing"
            await here.wait_settled(1)
        (receipt,) = await here.receipts()
        assert receipt["ending"] == "deadline_exceeded"


async def test_a_client_that_reads_slowly_is_not_gone(tmp_path):
    """A client that takes a little now and then keeps its stream beyond the write limit."""
    write_s = 0.3
    model = "sim-tokens-4000-per-frame-40-unknown-fields"
    async with live(tmp_path, model, limits=f"write_s = {write_s}", simulator=Simulator()) as here:
        client = await here.start(model)
        with trio.fail_after(20):
            for _ in range(12):
                await trio.sleep(0.05)
                data = await client.stream.receive_some(2000)
                client.raw += data
            taken = await client.take()
        assert taken.whole
        assert len(taken.text) == 16_000
        assert [receipt["ending"] for receipt in await here.receipts()] == ["completed"]


async def test_clients_that_leave_while_others_stream_touch_nothing_else(tmp_path):
    """Of forty streams every second client leaves: those are settled as gone, the others end by themselves."""
    model = "sim-tokens-250-pace-5ms"
    async with live(tmp_path, model) as here:
        clients = [await here.start(model) for _ in range(40)]
        with trio.fail_after(20):
            for number, client in enumerate(clients):
                await client.read_until(b'content":"')
                if number % 2:
                    await (leave_by_closing if number % 4 == 1 else leave_by_reset)(client)
            taken = [await client.take() for client in clients[::2]]
            await here.wait_settled(40)
        assert all(one.whole and len(one.text) == 1000 for one in taken)
        endings = sorted(receipt["ending"] for receipt in await here.receipts())
        assert endings == ["client_disconnected"] * 20 + ["completed"] * 20
        with trio.fail_after(2):
            await eventually(lambda: all(entry.ended_at is not None for entry in here.simulator.books.entries))
        assert sum(entry.client_closed_at is not None for entry in here.simulator.books.entries) == 20


@pytest.mark.threat(64)
async def test_a_drain_lets_streams_go_on_and_ends_the_rest_with_their_frame(tmp_path, tell):
    """Told to stop, the gateway takes nothing new, lets streams end within ``drain_s``, and ends the rest in words."""
    short, long = "sim-tokens-40-pace-10ms", "sim-tokens-2000-pace-5ms"
    drain_s = 1.0
    async with live(tmp_path, short, long, STALLED, server=f"drain_s = {drain_s}") as here:
        clients = [await here.start(model) for model in (short, long, STALLED)]
        idle = await here.connect()
        await idle.send(here.request(b"{", keep_alive=True))
        assert (await idle.take_one()).status == 400
        for client in clients:
            await client.read_until(b'content":"')
        told_at = trio.current_time()
        here.running.stop.set()
        with pytest.raises(OSError, match="all attempts to connect"):
            await eventually_refused(here)
        assert (await idle.take()).raw == b"", "an idle connection is closed, not answered"
        taken = [await client.take() for client in clients]
        ended_s = trio.current_time() - told_at
        assert len(taken[0].text) == 160
        assert frames_so_far(taken[0].raw)[-1] == b"[DONE]"
        for one in taken[1:]:
            assert one.whole
            assert frames_so_far(one.raw)[-1] == b"[DONE]"
            error = one.chunks[-1]["error"]
            assert (error["code"], error["retryable"]) == ("shutting_down", False), "it was billed"
            assert one.chunks[-1]["choices"][0]["finish_reason"] == "error"
        endings = {receipt["model"]: receipt["ending"] for receipt in await here.receipts()}
        assert endings == {short: "completed", long: "shutdown", STALLED: "shutdown"}
        assert drain_s <= ended_s <= drain_s + 1
        tell(f"drained in {ended_s:.2f} s for drain_s = {drain_s}")


async def eventually_refused(here: Live) -> None:
    while True:
        client = await here.connect()
        await client.send(here.request(b"{}"))
        taken = await client.take()
        assert not taken.raw or taken.status == 503
        assert not taken.raw or taken.headers["x-should-retry"] == "true"


@pytest.mark.threat(64)
async def test_a_request_on_a_kept_connection_after_the_word_to_stop_is_told_to_come_again(tmp_path):
    """A request that was on its way when the drain began is refused with 503 and the verdict that a retry helps."""
    async with live(tmp_path, STALLED, server="drain_s = 0.3") as here:
        client = await here.start(STALLED)
        await client.read_until(b'content":"')
        late = await here.connect()
        request = here.request({"model": STALLED, "messages": [{"role": "user", "content": "hello"}]})
        await late.send(request[:-5])
        await trio.sleep(0.05)
        here.running.stop.set()
        await trio.sleep(0.05)
        await late.send(request[-5:])
        taken = await late.take()
        assert (taken.status, taken.headers["x-should-retry"]) == (503, "true")
        assert int(taken.headers["retry-after"]) >= 1
        await client.take()


async def test_a_drain_ends_in_time_though_a_client_takes_nothing(tmp_path, tell):
    """A client that reads nothing gets two seconds more than ``drain_s``: it cannot hold the gateway up to five."""
    drain_s = 0.3
    with trio.fail_after(drain_s + 8):
        async with live(tmp_path, ENDLESS, server=f"drain_s = {drain_s}", simulator=Simulator()) as here:
            await here.start(ENDLESS, max_tokens=4096)
            await here.wait_running(1)
            await trio.sleep(0.3)
            told_at = trio.current_time()
            here.running.stop.set()
            while here.running.server.open_connections or len(here.running.gateway.inflight):  # noqa: ASYNC110 - sockets
                await trio.sleep(0.01)
            took_s = trio.current_time() - told_at
            tell(f"stalled client: drained in {took_s:.2f} s for drain_s = {drain_s}")
            assert took_s <= drain_s + 3
            assert [receipt["ending"] for receipt in await here.receipts()] == ["shutdown"]
