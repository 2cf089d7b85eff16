"""Each row of docs/settlement.md through a whole gateway: the ledger has the amount that the table says."""

import attrs
import pytest
import trio

from ainf.exchange.situations import EXAMPLE, Abort, Case, Situation, cases
from ainf.inference.outcome import Ending, Verdict
from ainf.simulator import Reset, Step, Wait, chunk, head, last_chunk
from ainf.simulator.steps import Script, whole
from tests.gateway.backends import OUTPUT_RATE
from tests.gateway.holds import base_of
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.world import Client, SimulatedWire, World, question, world

WORDS = "Count to te"
"""So long that the messages of the question are estimated at the example's input."""
ENDS_AT_S = 1.15
"""Ten tokens come in a second, the first at once."""


@attrs.frozen
class Speech:
    """How a provider's format says what the example needs."""

    before: bytes
    token: bytes
    finish: bytes
    """With the reason: stop, or a limit."""
    done: bytes


CHAT = Speech(
    b"",
    b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"abcd"},"finish_reason":null}]}\n\n',
    b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"%s"}]}\n\n',
    b"data: [DONE]\n\n",
)
CHAT_USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d}}\n\n'
MESSAGES = Speech(
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant",'
    b'"model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":%d,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n' % EXAMPLE.reported_input,
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"abcd"}}\n\n',
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"%s"}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
)
REASONS = {CHAT: (b"stop", b"length"), MESSAGES: (b"end_turn", b"max_tokens")}


def speech_of(case: Case) -> Speech:
    return MESSAGES if case.situation is Situation.INPUT_ONLY else CHAT


def is_clamped(case: Case) -> bool:
    return case.is_capped and case.abort is Abort.NONE


def script_of(case: Case) -> Script:
    """What the provider would do if nobody hung up."""
    speech = speech_of(case)
    if case.situation is Situation.NO_HEAD:
        return Script([whole(500, "application/json", b"{}")])
    if case.situation is Situation.SENT:
        return Script([Wait(60), head()])
    tokens = EXAMPLE.fitting if is_clamped(case) else EXAMPLE.whole
    steps: list[Step] = [head(), *([chunk(speech.before)] if speech.before else [])]
    for at in range(tokens):
        if case.ending is Ending.UPSTREAM_ERROR and at == EXAMPLE.arrived:
            return Script([*steps, Reset()])
        steps += [chunk(speech.token), Wait(0.1)]
    reason = REASONS[speech][1 if is_clamped(case) else 0]
    usage = {
        Situation.REPORTED: CHAT_USAGE % (EXAMPLE.reported_input, case.reported_output),
        Situation.REJECTED: CHAT_USAGE % (EXAMPLE.reported_input, -1),
    }
    end = speech.finish % reason + usage.get(case.situation, b"") + speech.done
    return Script([*steps, chunk(end), last_chunk()])


def settings_of(case: Case) -> str:
    slice_tokens = EXAMPLE.fitting if case.is_capped else EXAMPLE.held
    read_s = {Abort.READ_CUT: 0.75 if case.is_capped else 0.8, Abort.READ_OUT: 30}.get(case.abort, 10)
    return (
        f'aborted_billing = "{case.policy}"\nabort_read_s = {read_s}\n'
        f"slice_tokens = {slice_tokens}\nmin_output_tokens = 4"
    )


async def take_nothing(wire: SimulatedWire, data: bytes) -> None:
    """A provider that does not take the request."""
    await trio.sleep_forever()


async def run_case(here: World, case: Case, model: str, monkeypatch: pytest.MonkeyPatch) -> Client:
    asked = question(model) | {"messages": [{"role": "user", "content": WORDS}]}
    if case.is_capped:
        base = await base_of(here, here.client(asked))
        await here.set_cap(base + EXAMPLE.fitting * OUTPUT_RATE)
    here.simulator.set_script(script_of(case))
    client = here.client(asked)
    is_ours = case.abort is not Abort.NONE
    if is_ours and case.situation is Situation.NO_HEAD:
        monkeypatch.setattr(SimulatedWire, "send_all", take_nothing)
    if is_ours and case.is_over and case.abort is not Abort.READ_OUT:
        # The provider's end is to stand in the socket when ours comes: the client holds us up before it.
        client.on_write = lambda writes: client.stall() if writes == 5 else None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.run, client)
        await trio.sleep(5 if client.on_write is not None else ENDS_AT_S)
        for exchange in here.gateway.inflight if is_ours else ():
            if case.ending is not Ending.SPEND_CAP_EXCEEDED or client.on_write is not None:
                exchange.offer(Verdict(case.ending, case.code or _CODES.get(case.ending)))
        if case.ending is Ending.CLIENT_DISCONNECTED:
            client.leave()
        client._unstalled.set()
    return client


_CODES = {
    ending: ending.value for ending in (Ending.DEADLINE_EXCEEDED, Ending.INTERNAL_ERROR, Ending.SPEND_CAP_EXCEEDED)
} | {Ending.SHUTDOWN: "shutting_down"}


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: f"{case.ending}-{case.situation}-{case.abort}")
async def test_the_ledger_has_what_the_table_says(case, tmp_path, autojump_clock, monkeypatch):
    """Usage, evidence and amount of the row, in the settlement and on the attempt's line."""
    model = "messages/sim" if speech_of(case) is MESSAGES else "sim"
    async with world(tmp_path, model, more=settings_of(case)) as here:
        client = await run_case(here, case, model, monkeypatch)
        ((inference_id,),) = await here.rows("SELECT max(inference_id) FROM inferences")
        receipt = await here.receipt(inference_id)
        reckoning = case.reckoning()
        usage = receipt["usage"]
        assert receipt["ending"] == case.ending
        assert receipt["evidence"] == reckoning.evidence
        assert usage["input_tokens"] == reckoning.usage.input_tokens
        assert usage["output_tokens"] == reckoning.usage.output_tokens
        assert receipt["settled_nusd"] + receipt["overrun_nusd"] == reckoning.cost_nusd
        (attempt,) = receipt["attempts"]
        assert attempt["cost_nusd"] == reckoning.cost_nusd
        assert attempt["aborted_billing"] == case.known().aborted_billing
        await check_transcript(here, client)
        await check_provider(here)
        await check_ledger(here)
