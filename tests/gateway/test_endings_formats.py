"""Every ending over every protocol and provider format: told in the client's own words, and all records agree."""

from collections.abc import Callable
from typing import Any

import pytest
import trio

from ainf.inference.outcome import Ending
from tests.gateway.backends import FORMATS
from tests.gateway.dialects import DIALECTS, Dialect
from tests.gateway.grammar import check_grammar
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.leaks import check_no_leak
from tests.gateway.test_endings import CASES, ENDINGS, LIMITS, MOMENTS, SLICES, Case, From, check_records
from tests.gateway.told import check_failure
from tests.gateway.world import Client, World, world

pairs = pytest.mark.parametrize(
    ("dialect", "format_"),
    [pytest.param(dialect, format_, id=f"{dialect.format}-{format_}") for dialect in DIALECTS for format_ in FORMATS],
)


async def newest_inference(here: World) -> str:
    ((inference_id,),) = await here.rows("SELECT inference_id FROM inferences ORDER BY inference_id DESC LIMIT 1")
    return inference_id


# --- endings that come from beside the provider ---


async def end_from_beside(here: World, dialect: Dialect, model: str, source: Any, *, stream: bool) -> Client:
    """Ask, and end the exchange from beside 1.5 seconds later."""
    headers = {"x_ainf_deadline_ms": "1500"} if source is From.deadline else {}
    client = here.client(dialect.question(model, stream=stream), path=dialect.path, **headers)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.run, client)
        await trio.sleep(1.5)
        asked_at = trio.current_time()
        await source(here, client)
    assert trio.current_time() - asked_at <= 2.1, "longer than a progress tick"
    return client


async def check_end_from_beside(
    here: World, client: Client, moment: str, ending: Ending, code: str | None, *, stream: bool
) -> None:
    receipt = await check_records(here, await newest_inference(here))
    assert Ending(receipt["ending"]) is ending
    assert receipt["evidence"] == "metered"
    assert (receipt["settled_nusd"] + receipt["overrun_nusd"] > 0) is (moment != "before-head")
    has_content = moment == "after-content" and stream
    assert (receipt["usage"]["output_tokens"] > 0) is has_content
    if code is None:
        assert client.aborted, "nothing is said to it, not even an end"
        assert not client.is_streamed or client.dialect.read_stream(client.payloads()).terminals == 0
    else:
        check_failure(client, receipt, code, in_stream=has_content)
        if has_content:
            check_grammar(client.dialect, client.payloads())
            assert client.said().text
    await check_transcript(here, client)
    check_no_leak(here, client)


@pytest.mark.threat(41, 61, 63, 64)
@pairs
@pytest.mark.parametrize("source", ENDINGS, ids=lambda source: source.__name__)
async def test_endings_from_beside(source: Callable[..., Any], dialect, format_, tmp_path, autojump_clock):
    """Each of them, before and after the head and the content, streamed and whole: told once, settled once."""
    ending, code = ENDINGS[source]
    models = sorted({f"{format_}/{model}" for both in MOMENTS.values() for model in both})
    async with world(tmp_path, *models, limits=LIMITS, more=SLICES) as here:
        for moment, (streamed, whole) in MOMENTS.items():
            for model, stream in ((streamed, True), (whole, False)):
                here.key_id = f"k{len(here.simulator.books.entries) + 1:07}"
                here.key = await here.new_key("agents", key_id=here.key_id)
                client = await end_from_beside(here, dialect, f"{format_}/{model}", source, stream=stream)
                await check_end_from_beside(here, client, moment, ending, code, stream=stream)
                await check_provider(here)
        await check_ledger(here, admitted=2 * len(MOMENTS))


# --- endings that the provider makes ---

# What fails before there is an answer is no format's business; a done marker without evidence is a thing of chat alone.
OF_NO_FORMAT = {
    "sim-not-http", "sim-close-before-head", "sim-reset-before-head", "sim-stall-before-head", "sim-redirect-302",
    "sim-status-204", "sim-done-only",
}  # fmt: skip
BOTH = [case for case in CASES if case.model not in OF_NO_FORMAT] + [
    Case("sim-reasoning-3", None, None),
    Case("sim-parallel-tools", None, None),
    Case("sim-error-404", ("upstream_rejected", False), ("upstream_rejected", False)),
    Case("sim-overloaded", ("upstream_overloaded", False), ("upstream_overloaded", False), retry_after="1"),
]
STREAMS = [
    *BOTH,
    Case("sim-tokens-9-close-after-finish", None, None),
    Case("sim-tokens-9-stall-after-finish", None, None),
    Case("sim-tokens-9-error-string-after-3", ("upstream_error", True), None, content=True),
    Case("sim-tokens-9-stall-mid-after-3", ("upstream_timeout", True), None, content=True),
    Case("sim-tokens-9-cut-json-after-3", ("upstream_truncated", True), None, content=True),
]


async def check_case(here: World, dialect: Dialect, format_: str, case: Case, *, stream: bool) -> None:
    fields = {"tools": [dialect.tool]} if "tools" in case.model else {}
    client = await here.speak(dialect, f"{format_}/{case.model}", stream=stream, **fields)
    receipt = await check_records(here, client.inference_id)
    expected = case.stream if stream else case.whole
    if expected is None:
        assert receipt["ending"] == "completed"
        assert client.status == 200
        assert receipt["attempts"][0]["raw_finish_reason"]
        said = client.said()
        assert said.text or said.calls or said.refusal
    else:
        code, billed = expected
        if format_ == "responses" and "-error-" in case.model and billed:
            code = "upstream_error"  # in its streams the format has one word for all that fails at the server
        assert (receipt["settled_nusd"] > 0) is billed
        check_failure(client, receipt, code, in_stream=stream and case.content)
        assert receipt["attempts"][0]["error_code"] in {code, None}
        if case.retry_after is not None:
            assert client.headers["retry-after"] == case.retry_after
    assert receipt["overrun_nusd"] == 0
    if client.is_streamed:
        check_grammar(dialect, client.payloads())
    await check_transcript(here, client)
    check_no_leak(here, client)
    await check_provider(here)
    await check_ledger(here, admitted=1)


@pytest.mark.threat(97)
@pairs
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_endings_of_the_provider(stream, dialect, format_, tmp_path, autojump_clock):
    """Whatever a provider does: a success with evidence, or one error with the right code, bill and retry verdict."""
    for case in STREAMS if stream else BOTH:
        try:
            async with world(tmp_path, f"{format_}/{case.model}", limits=LIMITS) as here:
                await check_case(here, dialect, format_, case, stream=stream)
        except Exception as failure:
            failure.add_note(f"the case is {case.model}")
            raise
