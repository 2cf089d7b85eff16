"""The story of an exchange where it could be cut short: slow clients, late watchers, what was kept, what is let go."""

import gc
import json

import pytest
import trio

from ainf.exchange import relay
from ainf.exchange.run import Exchange
from ainf.inference.outcome import Ending, Verdict
from ainf.simulator import Reset, Send, Stall, Step, Wait, chunk, head, last_chunk
from ainf.simulator.steps import Script
from ainf.sse import HEARTBEAT
from tests.gateway.dialects import DIALECTS, RESPONSES
from tests.gateway.grammar import check_grammar
from tests.gateway.hostile_rows import named
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.world import SimulatedWire, question, world


def delta(text: str) -> bytes:
    return b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n' % (
        text.encode()
    )


FINISH = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n'
DONE = b"data: [DONE]\n\n"


def script(*steps: Step) -> Script:
    return Script([head(), *steps])


async def test_a_slow_client_gets_what_came_with_the_end(tmp_path, autojump_clock):
    """The limit on reading behind the end does not run while the client takes what came with it."""
    async with world(tmp_path, "sim") as here:
        here.simulator.set_script(
            script(
                chunk(delta("one")), Wait(1), chunk(delta("two") + FINISH), Wait(3), chunk(USAGE + DONE), last_chunk()
            )
        )
        client = here.client(question("sim"))
        client.on_write = lambda writes: client.stall() if writes == 1 else None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(8)
            client._unstalled.set()
        assert client.text() == "onetwo"
        assert await check_transcript(here, client) == "completed"
        receipt = await here.receipt(client.inference_id)
        assert receipt["evidence"] == "reported", "its usage stood in the socket all the time"


async def test_a_heartbeat_that_is_stuck_loses_nothing_of_the_end(tmp_path, autojump_clock):
    """Content that waits behind a stuck heartbeat when the provider ends is still handed over before the end."""
    limits = "heartbeat_s = 5\nsilence_s = 60"
    async with world(tmp_path, "sim", limits=limits) as here:
        here.simulator.set_script(
            script(chunk(delta("one")), Wait(7), chunk(delta("two") + FINISH + USAGE + DONE), last_chunk())
        )
        client = here.client(question("sim"))
        client.on_write = lambda writes: client.stall() if writes == 1 else None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(20)  # the beat of second 5 is stuck until now
            client._unstalled.set()
        assert client.text() == "onetwo"
        assert client.writes.count(HEARTBEAT) == 1
        assert await check_transcript(here, client) == "completed"


async def test_a_cancellation_from_outside_parts_no_end_from_its_content(tmp_path, autojump_clock):
    """A handler that is cancelled while the last content waits for the client still hands it over before the end."""
    limits = "heartbeat_s = 5\nsilence_s = 60"
    async with world(tmp_path, "sim", limits=limits) as here:
        here.simulator.set_script(
            script(chunk(delta("one")), Wait(7), chunk(delta("two") + FINISH + USAGE + DONE), last_chunk())
        )
        client = here.client(question("sim"))
        client.on_write = lambda writes: client.stall() if writes == 1 else None
        scope = trio.CancelScope()

        async def request() -> None:
            with scope:
                await here.run(client)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(request)
            await trio.sleep(10)
            scope.cancel()
            await trio.sleep(2)
            client._unstalled.set()
        assert client.text() == "onetwo"
        assert await check_transcript(here, client) == "completed"
        await check_ledger(here, admitted=1)


async def test_an_end_does_not_follow_what_could_not_be_handed_over(tmp_path, autojump_clock, monkeypatch):
    """When the last content cannot be delivered in its time the connection is closed instead of ended."""
    async with world(tmp_path, "sim") as here:
        here.simulator.set_script(script(chunk(delta("one")), Wait(1), chunk(delta("two") + FINISH), last_chunk()))
        client = here.client(question("sim"))

        async def never(exchange: Exchange, data: bytes, output_bytes: int) -> None:
            if b"two" in data:
                await trio.sleep_forever()
            await exchange.speech.write(data)

        monkeypatch.setattr(relay, "hand_over", never)
        await here.run(client)
        assert client.aborted
        assert not client.ended
        assert b"[DONE]" not in client.body
        await check_ledger(here, admitted=1)


async def test_a_stuck_heartbeat_delays_no_deadline(tmp_path, autojump_clock, monkeypatch):
    """A client that takes no heartbeat does not keep the provider's socket open beyond the deadline."""
    async with world(tmp_path, "sim", limits="heartbeat_s = 5\nexchange_s = 8\nsilence_s = 60") as here:
        here.simulator.set_script(script(chunk(delta("one")), Stall()))
        client = here.client(question("sim"))
        client.on_write = lambda writes: client.stall() if writes == 1 else None
        began = trio.current_time()
        closed_at: list[float] = []
        close = SimulatedWire.take

        def take(self: SimulatedWire, max_bytes: int) -> bytes:
            closed_at.append(trio.current_time() - began)
            return close(self, max_bytes)

        monkeypatch.setattr(SimulatedWire, "take", take)
        await here.run(client)
        assert closed_at[0] < 8.5
        receipt = await here.receipt(client.inference_id)
        assert receipt["ending"] == "deadline_exceeded"
        await check_ledger(here, admitted=1)


async def test_waiting_behind_a_heartbeat_is_the_clients_time(tmp_path, autojump_clock):
    """A provider is not called silent while its content waits for a client that takes no heartbeat."""
    async with world(tmp_path, "sim", limits="heartbeat_s = 2\nsilence_s = 3") as here:
        here.simulator.set_script(
            script(
                chunk(delta("one")), Wait(2.5), chunk(delta("two")), Wait(0.1), chunk(delta("three")),
                Wait(0.1), chunk(FINISH + USAGE + DONE), last_chunk(),
            )
        )  # fmt: skip
        client = here.client(question("sim"))
        client.on_write = lambda writes: client.stall() if writes == 1 else None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(15)
            client._unstalled.set()
        assert client.text() == "onetwothree"
        assert await check_transcript(here, client) == "completed"


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_the_request_is_dropped_at_the_commit_point(dialect, tmp_path, autojump_clock):
    """While a stream runs on, relayed or translated, nothing in memory holds what the client had asked."""
    async with world(tmp_path, "sim") as here:
        marker = "remember-me-" * 9
        later = [Wait(5), chunk(delta("two") + FINISH + USAGE + DONE), last_chunk()]
        here.simulator.set_script(script(chunk(delta("one")), *later))
        client = here.client(dialect.ask("sim", True, marker, None), path=dialect.path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(2)
            here.simulator.books.clear()
            (exchange,) = here.gateway.inflight
            assert exchange.plan.request.fields == {}
            gc.collect()
            held = [found for found in gc.get_objects() if _holds(found, marker)]
            assert held == []
        assert await check_transcript(here, client) == "completed"


def _holds(found: object, marker: str) -> bool:
    """Whether a container of the program (not of this test) holds the marker, as text or as bytes.

    The collector knows no containers that hold nothing but text, so those are looked into from what holds them.
    """
    if isinstance(found, dict):
        values = list(found.values())
    elif isinstance(found, list | tuple | set):
        values = list(found)
    else:
        return False
    for value in values:
        if isinstance(value, str) and marker in value and value is not marker:
            return True
        if isinstance(value, bytes | bytearray) and marker.encode() in value:
            return True
        if not gc.is_tracked(value) and _holds(value, marker):
            return True
    return False


@pytest.mark.parametrize("source", ["client", "shutdown", "killed"])
async def test_an_ending_that_comes_before_the_opening_dials_nothing(source, tmp_path, autojump_clock):
    """What ends an exchange while it is being opened is settled at zero, and no provider hears of it."""
    async with world(tmp_path, "sim") as here:
        await here.ask()  # leaves a connection on which a request could be written without waiting
        client = here.client(question("sim"))
        opened = here.store.open_inference

        async def open_inference(opening):
            (exchange,) = here.gateway.inflight
            if source == "client":
                exchange.client_gone()
                client.leave()
            elif source == "shutdown":
                here.gateway.inflight.shut_down(2.0)
            else:
                exchange.offer(Verdict(Ending.TERMINATED, "killed", "An operator ended the request."))
            return await opened(opening)

        here.store.open_inference = open_inference
        await here.run(client)
        assert len(here.simulator.books.entries) == 1
        settled = await here.rows("SELECT settled_nusd, overrun_nusd FROM settlements ORDER BY inference_id")
        assert settled[1] == (0, 0)
        await check_ledger(here, admitted=2)
        if source != "client":
            assert client.status == 503
            assert client.headers["x-should-retry"] == ("true" if source == "shutdown" else "false")


async def test_only_the_first_offer_wins(tmp_path, autojump_clock):
    """Offers behind the first are told no, and change nothing."""
    async with world(tmp_path, "sim-tokens-50-pace-20ms") as here:
        client = here.client(question("sim-tokens-50-pace-20ms"))
        answers: list[bool] = []

        def offer(writes: int) -> None:
            if writes == 3:
                (exchange,) = here.gateway.inflight
                answers.append(exchange.offer(Verdict(Ending.TERMINATED, "killed", "Killed.")))
                answers.append(exchange.offer(Verdict(Ending.SHUTDOWN, "shutting_down", "Stopping.")))
                exchange.client_gone()

        client.on_write = offer
        await here.run(client)
        assert answers == [True, False]
        assert await check_transcript(here, client) == "terminated"
        await check_provider(here)


async def test_a_prelude_without_content_is_bounded(tmp_path, autojump_clock):
    """A provider that says only what comes before content is cut off at the limit, before any head."""
    role = b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}\n\n'
    async with world(tmp_path, "sim", limits="prelude_bytes = 2000") as here:
        here.simulator.set_script(script(*[chunk(role)] * 60, Stall()))
        client = await here.ask()
        assert client.status == 502
        assert client.json()["error"]["code"] == "upstream_protocol"
        assert await check_transcript(here, client) == "upstream_error"


async def test_a_prelude_over_its_bound_behind_an_early_head(tmp_path, autojump_clock):
    """What was over the bound is not shown, and what is shown is ended: the answer begins once."""
    begun = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [], "usage": None}
    created = named("response.created", sequence_number=0, response=begun | {"status": "in_progress"})
    async with world(tmp_path, "responses/sim", limits="prelude_bytes = 100\nearly_head_s = 1") as here:
        here.simulator.set_script(script(Wait(2), chunk(created), Stall()))
        client = await here.speak(RESPONSES, "responses/sim")
        assert await check_transcript(here, client) == "upstream_error"
        check_grammar(RESPONSES, client.payloads())


async def test_the_kept_prelude_travels_with_the_head(tmp_path, autojump_clock):
    """What a provider sends before content reaches the client, in order, with the first content."""
    role = b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}\n\n'
    async with world(tmp_path, "sim") as here:
        here.simulator.set_script(
            script(chunk(b": hello\n\n"), chunk(role), Wait(3), chunk(delta("x") + FINISH + DONE), last_chunk())
        )
        client = await here.ask()
        assert client.writes[0] == b": hello\n\n" + role
        assert client.text() == "x"
        assert await check_transcript(here, client) == "completed"


async def test_a_defect_in_the_pump_is_an_internal_error(tmp_path, autojump_clock, monkeypatch):
    """A bug while a stream runs: it is settled, the client is told, the log names the place and not the text."""
    async with world(tmp_path, "sim-tokens-50-pace-20ms") as here:
        calls = 0

        def broken(self: Exchange, attempt: object) -> None:
            nonlocal calls
            calls += 1
            if calls == 5:
                raise KeyError("secret text of an exception")

        monkeypatch.setattr(Exchange, "notice", broken)
        client = await here.ask("sim-tokens-50-pace-20ms")
        assert await check_transcript(here, client) == "internal_error"
        assert "secret text" not in here.log.getvalue()
        (defect,) = [json.loads(line) for line in here.log.getvalue().splitlines() if '"defect"' in line]
        assert defect["error"] == "KeyError"
        await check_ledger(here, admitted=1)
        await check_provider(here)


@pytest.mark.threat(98)
async def test_a_reset_behind_the_evidence_is_still_a_success(tmp_path, autojump_clock):
    """Evidence seen, then a reset: completed, at our count where the usage was lost."""
    async with world(tmp_path, "sim") as here:
        here.simulator.set_script(script(chunk(delta("abcd") + FINISH), Wait(0.5), Reset()))
        client = await here.ask()
        assert await check_transcript(here, client) == "completed"
        receipt = await here.receipt(client.inference_id)
        assert receipt["evidence"] == "metered"
        assert receipt["usage"]["output_tokens"] == 1


@pytest.mark.threat(98)
async def test_the_rest_of_the_body_is_waited_for_only_so_long(tmp_path, autojump_clock):
    """A provider that hangs behind its end costs the client ``tail_s`` and no more; its socket is closed."""
    async with world(tmp_path, "sim", limits="tail_s = 2") as here:
        here.simulator.set_script(script(chunk(delta("x") + FINISH), Stall()))
        began = trio.current_time()
        client = await here.ask()
        assert 2 <= trio.current_time() - began < 2.5
        assert await check_transcript(here, client) == "completed"
        await check_provider(here)


async def test_comments_behind_the_end_do_not_prolong_it(tmp_path, autojump_clock):
    """The limit on the rest of the body is a total, whatever the provider drips."""
    async with world(tmp_path, "sim", limits="tail_s = 2") as here:
        drip = [step for _ in range(100) for step in (Send(chunk(b": x\n\n").data), Wait(0.5))]
        here.simulator.set_script(script(chunk(delta("x") + FINISH), *drip))
        began = trio.current_time()
        client = await here.ask()
        assert 2 <= trio.current_time() - began < 3
        assert await check_transcript(here, client) == "completed"


async def test_a_cancellation_right_behind_the_opening_is_settled(tmp_path, autojump_clock):
    """Between the opening and the care for it there is no place at which a cancellation could come in."""
    async with world(tmp_path, "sim") as here:
        client = here.client(question("sim"))
        opened = here.store.open_inference
        scope = trio.CancelScope()

        async def open_inference(opening):
            done = await opened(opening)
            scope.cancel()
            return done

        here.store.open_inference = open_inference
        with scope:
            await here.run(client)
        assert scope.cancelled_caught or client.ended
        with trio.CancelScope(shield=True):
            assert await check_transcript(here, client) == "shutdown"
            await check_ledger(here, admitted=1)


@pytest.mark.threat(61)
@pytest.mark.parametrize("offer", ["client_gone", "shut_down"])
async def test_the_first_offer_closes_the_providers_socket_before_it_returns(offer, tmp_path, autojump_clock):
    """Not a step later, and also while the pump is stuck in a write to a client that takes nothing."""
    async with world(tmp_path, "sim-tokens-400-pace-20ms") as here:
        client = here.client(question("sim-tokens-400-pace-20ms"))
        client.on_write = lambda writes: client.stall() if writes == 3 else None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(1)
            (exchange,) = here.gateway.inflight
            assert exchange.speech.is_writing
            assert not here.wires[0].stream._closed
            if offer == "client_gone":
                exchange.client_gone()
            else:
                here.gateway.inflight.shut_down(2.0)
            assert here.wires[0].stream._closed
            client.leave()
        await check_ledger(here, admitted=1)


async def test_the_last_words_are_said_under_cancellation(tmp_path, autojump_clock):
    """A handler that is cancelled still gives the terminal frame, also where the way to the client has a checkpoint."""
    async with world(tmp_path, "sim-tokens-400-pace-20ms") as here:
        client = here.client(question("sim-tokens-400-pace-20ms"))
        send = client.send

        async def send_with_a_step(message):
            await trio.lowlevel.checkpoint()
            await send(message)

        scope = trio.CancelScope()
        client.on_write = lambda writes: scope.cancel() if writes == 3 else None
        with scope:
            await here.app(client.scope, client.receive, send_with_a_step)
        with trio.CancelScope(shield=True):
            assert await check_transcript(here, client) == "shutdown"


async def test_what_stood_in_the_socket_at_the_end_is_metered(tmp_path, autojump_clock):
    """A provider bills what it sent, so what was not read when a client left is counted, and said to be undelivered."""
    async with world(tmp_path, "sim") as here:
        here.simulator.set_script(
            script(chunk(delta("abcd")), Wait(1), chunk(delta("efgh")), Wait(1), chunk(delta("ijklmnop")), Stall())
        )
        client = here.client(question("sim"))
        client.on_write = lambda writes: client.stall() if writes == 1 else None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(3)  # the second is being written, the third stands in the socket
            client.leave()
        receipt = await here.receipt(client.inference_id)
        assert receipt["ending"] == "client_disconnected"
        assert receipt["usage"]["output_tokens"] == 4
        assert receipt["received_bytes"] - receipt["output_bytes"] == 8


async def test_what_could_not_be_written_was_not_delivered(tmp_path, autojump_clock):
    """A write that fails (a defect) ends the exchange; the receipt counts what was handed over before it."""
    async with world(tmp_path, "sim-tokens-50-pace-20ms") as here:
        client = here.client(question("sim-tokens-50-pace-20ms"))
        send = client.send

        async def broken(message):
            if len(client.writes) == 4 and message.get("more_body"):
                raise RuntimeError("a bug")
            await send(message)

        await here.app(client.scope, client.receive, broken)
        receipt = await here.receipt(client.inference_id)
        assert receipt["ending"] == "internal_error"
        assert receipt["output_bytes"] == len(client.text().encode()) > 0
        assert receipt["received_bytes"] == receipt["output_bytes"] + 4
        await check_ledger(here, admitted=1)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_connection_that_was_read_to_its_end_is_used_again(stream, tmp_path, autojump_clock):
    """One connection to the provider serves one exchange after the other."""
    async with world(tmp_path, "sim") as here:
        for _ in range(3):
            assert (await here.ask(stream=stream)).status == 200
        assert len(here.wires) == 1


async def test_a_defect_as_it_begins_leaves_no_hold(tmp_path, autojump_clock, monkeypatch):
    """What the opening granted cannot be taken: it is settled at nothing, and nobody is dialled."""

    def broken(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(Exchange, "new_hold", broken)
    async with world(tmp_path, "sim") as here:
        client = await here.ask()
        assert (client.status, client.json()["error"]["code"]) == (500, "internal_error")
        assert list(here.simulator.books.entries) == []
        assert await here.rows("SELECT ending, settled_nusd FROM settlements") == [("internal_error", 0)]
        await check_ledger(here, admitted=1)
