"""Answers that we break off at a provider that goes on and bills them: they are read on, within limits, in silence."""

from typing import Any

import pytest
import trio

from ainf.inference.money import format_usd
from ainf.inference.outcome import Ending, Verdict
from ainf.simulator import Reset, Send, Stall, Step, Wait, chunk, head, last_chunk
from ainf.simulator.steps import Script, whole
from ainf.upstream.connect import Connector
from tests.gateway.backends import INPUT_RATE, OUTPUT_RATE
from tests.gateway.holds import base_of
from tests.gateway.keyed import keyed
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.world import Client, SimulatedWire, World, question, world

DRAIN = 'aborted_billing = "drain"\nabort_read_s = 4\nslice_tokens = 40\nmin_output_tokens = 4'
TOKEN = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"abcd"},"finish_reason":null}]}\n\n'
FINISH = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":33,"total_tokens":40}}\n\n'
DONE = b"data: [DONE]\n\n"
REPORTED = 7 * INPUT_RATE + 33 * OUTPUT_RATE


def paced(frames: int, *end: Step, tokens: int = 1) -> Script:
    """So many frames, ten a second; then how it ends."""
    return Script([head(), *[step for _ in range(frames) for step in (chunk(TOKEN * tokens), Wait(0.1))], *end])


WITH_USAGE = (chunk(FINISH + USAGE + DONE), last_chunk())

VERDICTS = {
    "deadline": Verdict(Ending.DEADLINE_EXCEEDED, "deadline_exceeded", "Late."),
    "killed": Verdict(Ending.TERMINATED, "killed", "Killed."),
    "revoked": Verdict(Ending.TERMINATED, "key_revoked", "Revoked."),
    "cap": Verdict(Ending.SPEND_CAP_EXCEEDED, "spend_cap_exceeded", "Used up."),
    "gone": Verdict(Ending.CLIENT_DISCONNECTED),
    "shutdown": Verdict(Ending.SHUTDOWN, "shutting_down", "Down."),
    "store": Verdict(Ending.TERMINATED, "store_unavailable", "Away."),
    "defect": Verdict(Ending.INTERNAL_ERROR, "internal_error", "A bug."),
}
READ_ON = {"deadline", "killed", "revoked", "cap", "gone"}


async def end_after(here: World, client: Client, seconds: float, source: str) -> None:
    """Run the client's request, and let the source end it that much later."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.run, client)
        await trio.sleep(seconds)
        if source == "gone":
            client.leave()
            return
        (exchange,) = here.gateway.inflight
        exchange.offer(VERDICTS[source])


async def the_receipt(here: World) -> dict[str, Any]:
    ((inference_id,),) = await here.rows("SELECT inference_id FROM inferences")
    return await here.receipt(inference_id)


async def check_all(here: World, client: Client) -> None:
    await check_transcript(here, client)
    await check_provider(here)
    await check_ledger(here, admitted=1)


@pytest.mark.parametrize("source", VERDICTS)
async def test_what_is_read_on(source, tmp_path, autojump_clock):
    """An ending that leaves us time reads the answer on and bills what is reported; the others close at once."""
    async with world(tmp_path, "sim", more=DRAIN) as here:
        here.simulator.set_script(paced(30, *WITH_USAGE))
        client = here.client(question("sim"))
        began = trio.current_time()
        await end_after(here, client, 1.15, source)
        took = trio.current_time() - began
        receipt = await the_receipt(here)
        (attempt,) = receipt["attempts"]
        assert receipt["ending"] == VERDICTS[source].ending
        assert client.text() == "abcd" * 12, "nothing that was read on is shown"
        if source in READ_ON:
            assert took == pytest.approx(3.0)
            assert (receipt["evidence"], attempt["aborted_billing"]) == ("reported", "drain")
            assert receipt["settled_nusd"] + receipt["overrun_nusd"] == REPORTED
            assert receipt["notes"]["drained_bytes"] == 18 * 4
            assert receipt["notes"]["drained_ms"] == pytest.approx(1850)
            assert "drain_cut_by" not in receipt["notes"]
            assert here.simulator.books.entries[0].end == "completed"
        else:
            assert took == pytest.approx(1.15)
            assert (receipt["evidence"], attempt["aborted_billing"]) == ("metered", "delivered")
            assert receipt["usage"]["output_tokens"] == 12
            assert "drained_bytes" not in receipt["notes"]
        await check_all(here, client)


@pytest.mark.parametrize("policy", ["delivered", "held"])
async def test_other_policies_close_at_once(policy, tmp_path, autojump_clock):
    """Where nothing is to be learnt the first ending closes the provider's socket; the receipt says how it counts."""
    more = DRAIN.replace("drain", policy)
    async with world(tmp_path, "sim", more=more) as here:
        here.simulator.set_script(paced(30, *WITH_USAGE))
        client = here.client(question("sim"))
        await end_after(here, client, 1.15, "gone")
        (attempt,) = (await the_receipt(here))["attempts"]
        assert attempt["aborted_billing"] == policy
        assert attempt["usage"]["output_tokens"] == {"delivered": 12, "held": 40}[policy]
        await check_all(here, client)


async def test_an_answer_that_ends_by_itself_was_not_broken_off(tmp_path, autojump_clock):
    """Its attempt says nothing of abort billing."""
    async with world(tmp_path, "sim", more=DRAIN) as here:
        client = await here.ask()
        (attempt,) = (await here.receipt(client.inference_id))["attempts"]
        assert attempt["aborted_billing"] is None


@pytest.mark.parametrize(
    ("more", "script", "cut_by", "tokens"),
    [
        ("", paced(90, *WITH_USAGE), "time", 12 + 40),
        ('abort_read_usd = "0.000008"', paced(90, *WITH_USAGE, tokens=3), "money", None),
        ("", paced(15, Stall()), "time", 15),
        ("", paced(15, Reset()), None, 15),
        ("", paced(15, Send(b"zz\r\n")), None, 15),
        ("", paced(15, chunk(FINISH), Stall()), None, 15),
    ],
    ids=["time", "money", "silence", "reset", "garbage", "no-usage"],
)
async def test_how_far_it_is_read_on(more, script, cut_by, tokens, tmp_path, autojump_clock):
    """Seconds and money bound it, and the provider's own end; what came until then is metered."""
    async with world(tmp_path, "sim", more=f"{DRAIN}\n{more}") as here:
        here.simulator.set_script(script)
        client = here.client(question("sim"))
        await end_after(here, client, 1.15, "gone")
        receipt = await the_receipt(here)
        assert receipt["notes"].get("drain_cut_by") == cut_by
        assert receipt["evidence"] == "metered"
        if tokens is None:
            assert 0 < receipt["overrun_nusd"] - 8_000 <= 3 * OUTPUT_RATE, "a frame over what may be spent"
        else:
            assert receipt["usage"]["output_tokens"] == tokens
        await check_all(here, client)


async def test_what_is_kept_of_it_is_bounded(tmp_path, autojump_clock):
    """A model that costs nothing is no reason to keep an endless answer in memory."""
    more = DRAIN + '\nprice = "free"'
    async with world(tmp_path, "sim", more=more, limits="answer_bytes = 2000") as here:
        here.simulator.set_script(paced(90, *WITH_USAGE))
        client = here.client(question("sim"))
        await end_after(here, client, 1.15, "deadline")
        receipt = await the_receipt(here)
        assert receipt["notes"]["drain_cut_by"] == "size"
        assert receipt["notes"]["drained_bytes"] * len(TOKEN) // 4 <= 2000 + len(TOKEN)
        await check_all(here, client)


async def test_what_it_costs_beyond_its_hold_is_overrun(tmp_path, autojump_clock):
    """Cut at its cap, an answer that the provider bills to the end is billed to the end: the hold, and overrun."""
    model = "sim-tokens-60-unlimited-pace-50ms"
    more = DRAIN.replace("slice_tokens = 40", "slice_tokens = 8")
    async with world(tmp_path, model, more=more) as here:
        await here.set_cap(await base_of(here, here.client(question(model))) + 10 * OUTPUT_RATE)
        client = await here.ask(model)
        receipt = await here.receipt(client.inference_id)
        assert receipt["ending"] == "spend_cap_exceeded"
        assert receipt["evidence"] == "reported"
        entry = here.simulator.books.entries[-1]
        billed = entry.billed_input_tokens * INPUT_RATE + entry.billed_output_tokens * OUTPUT_RATE
        assert entry.billed_output_tokens == 60
        assert receipt["settled_nusd"] + receipt["overrun_nusd"] == billed
        assert receipt["overrun_nusd"] == billed - receipt["held_nusd"]
        assert len(client.text()) // 4 < 60
        assert receipt["notes"]["cap_id"] == "cap_agents"
        await check_transcript(here, client)
        await check_provider(here)
        await check_ledger(here)


async def test_the_client_is_told_which_cap_it_was(tmp_path, autojump_clock):
    """An answer that a cap cut names the cap, its limit and its window, in the records too."""
    model = "sim-tokens-400-unlimited-pace-5ms"
    async with world(tmp_path, model, more='slice_tokens = 8\nmin_output_tokens = 4\nfinish_reasons = "loud"') as here:
        limit = await base_of(here, here.client(question(model))) + 10 * OUTPUT_RATE
        await here.set_cap(limit)
        client = await here.ask(model)
        (error,) = [each["error"] for each in client.chunks() if each.get("error")]
        assert error["message"] == f"The lifetime cap of account agents ({format_usd(limit)} USD) is used up."
        receipt = await here.receipt(client.inference_id)
        assert (receipt["notes"]["cap_id"], receipt["notes"]["window"]) == ("cap_agents", "lifetime")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("how", ["hurry", "cancelled"])
async def test_nothing_else_waits_for_it(how, stream, tmp_path, autojump_clock):
    """The end of the process, or of the task, ends the reading on at once; what came is settled."""
    async with world(tmp_path, "sim", more=DRAIN) as here:
        here.simulator.set_script(paced(90, *WITH_USAGE) if stream else Script([Wait(60), head()]))
        client = here.client(question("sim", stream=stream))
        scope = trio.CancelScope()

        async def request() -> None:
            with scope:
                await here.run(client)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(request)
            await trio.sleep(1.15)
            client.leave()
            await trio.sleep(1)
            assert len(here.gateway.inflight) == 1
            began = trio.current_time()
            if how == "hurry":
                here.gateway.inflight.shut_down(2.0)
            else:
                scope.cancel()
        assert trio.current_time() == began
        receipt = await the_receipt(here)
        assert receipt["ending"] == "client_disconnected"
        assert receipt["notes"]["drain_cut_by"] == "stop"
        assert receipt["usage"]["output_tokens"] == (22 if stream else 0)
        assert receipt["settled_nusd"] == INPUT + receipt["usage"]["output_tokens"] * OUTPUT_RATE
        await check_all(here, client)


@pytest.mark.parametrize("moment", ["before-head", "stuck-client", "prelude"])
async def test_wherever_it_was_broken_off(moment, tmp_path, autojump_clock):
    """Also before the provider has answered it is read on; what a stuck client did not take is not shown."""
    async with world(tmp_path, "sim", more=DRAIN) as here:
        first = (Wait(3), head()) if moment == "before-head" else (head(),)
        wait = [Wait(3)] if moment == "prelude" else []
        here.simulator.set_script(Script([*first, *wait, *paced(30, *WITH_USAGE).next_answer()[1:]]))  # type: ignore[index]
        client = here.client(question("sim"))
        if moment == "stuck-client":
            client.on_write = lambda writes: client.stall() if writes == 3 else None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(1.15)
            (exchange,) = here.gateway.inflight
            exchange.offer(VERDICTS["deadline"])
            await trio.sleep(3.5)
            client._unstalled.set()
        receipt = await the_receipt(here)
        assert receipt["ending"] == "deadline_exceeded"
        if moment == "before-head":
            assert receipt["notes"]["drain_cut_by"] == "time"
            assert receipt["usage"]["output_tokens"] == 22
            assert client.status == 504
            assert client.headers["x-should-retry"] == "false"
        elif moment == "stuck-client":
            assert receipt["evidence"] == "reported"
            assert len(client.text()) // 4 in {3, 4}
        else:
            assert receipt["notes"]["drain_cut_by"] == "time"
            assert client.status == 504
        await check_all(here, client)


WHOLE = (
    b'{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"abcdabcd"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":33}}'
)
INPUT = 11 * INPUT_RATE
"""As it is estimated."""


@pytest.mark.parametrize(
    ("steps", "policy", "cut_by", "charged"),
    [
        ((Wait(3), whole(200, "application/json", WHOLE)), "drain", None, REPORTED),
        ((Wait(60), whole(200, "application/json", WHOLE)), "drain", "time", INPUT),
        ((Wait(3), whole(500, "application/json", b"{}")), "drain", None, 0),
        ((Wait(3), Reset()), "drain", None, 0),
        ((Wait(60), whole(200, "application/json", WHOLE)), "held", None, INPUT + 4096 * OUTPUT_RATE),
        ((Wait(60), whole(200, "application/json", WHOLE)), "delivered", None, 0),
    ],
    ids=["answered", "too-late", "refused", "reset", "held", "delivered"],
)
async def test_a_whole_answer_that_is_broken_off(steps, policy, cut_by, charged, tmp_path, autojump_clock):
    """Once its request was sent whole it costs what the policy says; a provider that fails it bills nothing."""
    async with world(tmp_path, "sim", more=DRAIN.replace("drain", policy)) as here:
        here.simulator.set_script(Script(steps))
        client = here.client(question("sim", stream=False))
        began = trio.current_time()
        await end_after(here, client, 1, "gone")
        took = trio.current_time() - began
        receipt = await the_receipt(here)
        assert receipt["settled_nusd"] + receipt["overrun_nusd"] == charged
        assert receipt["evidence"] == ("reported" if charged == REPORTED else "metered")
        assert receipt["notes"].get("drain_cut_by") == cut_by
        assert receipt["attempts"][0]["aborted_billing"] == policy
        assert took == pytest.approx({"time": 5.0, None: 3.0}[cut_by] if policy == "drain" else 1.0)
        await check_all(here, client)


@pytest.mark.parametrize("policy", ["drain", "held"])
@pytest.mark.parametrize("how", ["dial", "send"])
async def test_a_request_that_was_not_sent_whole_costs_nothing(how, policy, tmp_path, autojump_clock, monkeypatch):
    """Neither one that no connection was made for, nor one that the provider has not taken; nobody waits for it."""

    async def never(*_args: object) -> None:
        await trio.sleep_forever()

    async with world(tmp_path, "sim", more=DRAIN.replace("drain", policy)) as here:
        if how == "send":
            monkeypatch.setattr(SimulatedWire, "send_all", never)
        else:
            monkeypatch.setattr(Connector, "connect", never)
        client = here.client(question("sim", stream=False))
        await end_after(here, client, 1, "gone")
        receipt = await the_receipt(here)
        (attempt,) = receipt["attempts"]
        assert receipt["settled_nusd"] == 0
        assert attempt["aborted_billing"] == ("delivered" if policy == "drain" else "held")
        assert "drained_ms" not in receipt["notes"]
        await check_ledger(here, admitted=1)


async def test_a_connection_that_had_died_is_not_dialled_anew_behind_an_ending(tmp_path, autojump_clock, monkeypatch):
    """What waited for its head on a connection that its provider had closed is over: nothing is sent twice."""
    async with world(tmp_path, "sim", more=DRAIN) as here:
        await here.ask()
        monkeypatch.setattr(SimulatedWire, "may_have_arrived", lambda wire: False)
        here.simulator.set_script(Script([Wait(3), Reset()]))
        client = here.client(question("sim", stream=False))
        await end_after(here, client, 1, "gone")
        assert len(here.simulator.books.entries) == 2
        assert len(here.wires) == 1
        settled = await here.rows("SELECT settled_nusd, notes FROM settlements ORDER BY inference_id")
        assert settled[1][0] == 0
        await check_ledger(here, admitted=2)


async def test_a_client_that_comes_back_meanwhile(tmp_path, autojump_clock):
    """Under its idempotency key it waits for the end of what it left, and is given an answer of its own, once."""
    model = "sim-tokens-40-pace-50ms-bills-on"
    limits = "linger_s = 0.2"
    async with world(tmp_path, model, more=DRAIN, limits=limits) as here:
        first, second = keyed(here, model), keyed(here, model)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, first)
            await trio.sleep(0.5)
            first.leave()
            await trio.sleep(0.5)  # it is being read on
            await here.run(second)
        assert await check_transcript(here, second) == "completed"
        receipts = [await here.receipt(id_) for (id_,) in await here.rows("SELECT inference_id FROM inferences")]
        told = [(each["ending"], each["evidence"], each["retry_of"] is not None) for each in receipts]
        assert told == [("client_disconnected", "reported", False), ("completed", "reported", True)]
        assert receipts[0]["opened_at"] < receipts[0]["settled_at"] <= receipts[1]["opened_at"]
        await check_provider(here)
        await check_ledger(here, admitted=2)
