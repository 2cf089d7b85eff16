"""Answers that are read on behind our ending, over every protocol and provider format: told of once, billed in full."""

import random
from typing import Final

import pytest
import trio

from ainf.inference.outcome import Ending, Verdict
from tests.extent import FULL, SEED
from tests.gateway.backends import FORMATS, INPUT_RATE, OUTPUT_RATE
from tests.gateway.dialects import DIALECTS, Dialect, Said
from tests.gateway.grammar import check_grammar
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.told import check_failure
from tests.gateway.world import Client, World, world

DRAIN: Final = 'aborted_billing = "drain"\nabort_read_s = 30\nslice_tokens = 32\nmin_output_tokens = 4'
ENDS_AT_S: Final = 1.05
BEHAVIOURS: Final = (
    "tokens-40", "tokens-40-tools", "tokens-40-reasoning-9", "tokens-40-burst-usage-continuous",
    "tokens-40-finish-length",
)  # fmt: skip
MODES: Final = ("stream", "whole", "wrapped")
VERDICTS: Final = {
    "deadline": Verdict(Ending.DEADLINE_EXCEEDED, "deadline_exceeded", "Late."),
    "killed": Verdict(Ending.TERMINATED, "killed", "Killed."),
    "gone": Verdict(Ending.CLIENT_DISCONNECTED),
    "cap": Verdict(Ending.SPEND_CAP_EXCEEDED, "spend_cap_exceeded", "Used up."),
}

pairs = pytest.mark.parametrize(
    ("dialect", "format_"),
    [pytest.param(dialect, format_, id=f"{dialect.format}-{format_}") for dialect in DIALECTS for format_ in FORMATS],
)


async def end_in_the_middle(here: World, client: Client, source: str) -> Said:
    """Run a request, break it off, and return what its client had been told until then."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.run, client)
        await trio.sleep(ENDS_AT_S)
        before = client.dialect.read_stream(client.payloads()) if client.body else Said()
        (exchange,) = here.gateway.inflight
        exchange.offer(VERDICTS[source])
        if source == "gone":
            client.leave()
    return before


async def check_case(here: World, dialect: Dialect, model: str, source: str, *, stream: bool) -> None:
    fields = {"tools": [dialect.tool]} if "tools" in model else {}
    client = here.client(dialect.question(model, stream=stream, **fields), path=dialect.path)
    before = await end_in_the_middle(here, client, source)
    ((inference_id,),) = await here.rows("SELECT inference_id FROM inferences")
    receipt = await here.receipt(inference_id)
    (attempt,), (entry,) = receipt["attempts"], here.simulator.books.entries
    assert receipt["ending"] == VERDICTS[source].ending
    assert (receipt["evidence"], attempt["aborted_billing"], entry.end) == ("reported", "drain", "completed")
    bill = entry.billed_input_tokens * INPUT_RATE + entry.billed_output_tokens * OUTPUT_RATE
    assert receipt["settled_nusd"] + receipt["overrun_nusd"] == bill
    await check_transcript(here, client)
    await check_provider(here)
    await check_ledger(here, admitted=1)
    if source == "gone":
        assert not client.ended
        return
    if client.is_streamed:
        check_grammar(dialect, client.payloads())
        said = client.said()
        assert (said.text, said.reasoning, said.calls) == (before.text, before.reasoning, before.calls)
    if source == "cap":
        assert said.reason == dialect.cap_reason
    else:
        check_failure(client, receipt, VERDICTS[source].code or "", in_stream=stream)


@pytest.mark.law
@pairs
@pytest.mark.parametrize("mode", MODES)
async def test_what_is_read_on(mode, dialect, format_, tmp_path, autojump_clock, count_cases):
    """Whoever breaks off whatever answer: told once, without a word of what was read on, and charged as billed.

    A wrapped stream, and a whole answer, are broken off before the provider's head.
    """
    cases = [
        (behaviour, source)
        for behaviour in BEHAVIOURS
        for source in VERDICTS
        if (mode, source) != ("whole", "cap")  # that can only be clamped
    ]
    chosen = cases if FULL else random.Random(f"{SEED} {mode} {dialect.format} {format_}").sample(cases, 2)
    count_cases(f"answers that are read on, AINF_SEED={SEED}", len(chosen))
    more = DRAIN + ('\nstreaming = "wrap"' if mode == "wrapped" else "")
    for behaviour, source in chosen:
        model = f"{format_}/sim-{behaviour}-pace-50ms-bills-on"
        try:
            async with world(tmp_path, model, more=more, limits="early_head_s = 0.5") as here:
                await check_case(here, dialect, model, source, stream=mode != "whole")
        except Exception as failure:
            failure.add_note(f"the case is {behaviour}, {source}")
            raise
