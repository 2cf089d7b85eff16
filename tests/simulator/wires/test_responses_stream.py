import json

import pytest

from ainf.simulator import Simulator
from tests.simulator.formats import RESPONSES, TOOLS, WELL_FORMED, ask, frames, unknown_fields, whole

# The API says whether it stores; the package's type has no such field.
UNTYPED = {"store"}


@pytest.mark.parametrize("model", WELL_FORMED)
async def test_every_event_is_one_of_the_openai_package(model, autojump_clock):
    """Each event validates, is numbered in order and has its type as its name; one of them is the last."""
    taken = await ask(RESPONSES, model, functions=TOOLS)
    events = frames(RESPONSES, taken)

    assert taken.whole
    assert set().union(*map(unknown_fields, events)) <= UNTYPED
    assert [event.type for event in events] == _names(taken)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1].type in {"response.completed", "response.incomplete"}
    assert len({event.response.id for event in events if hasattr(event, "response")}) == 1


@pytest.mark.parametrize("model", WELL_FORMED)
async def test_every_document_is_a_response_of_the_openai_package(model, autojump_clock):
    """Each response validates and is the one that a stream ends with."""
    document = whole(RESPONSES, await ask(RESPONSES, model, stream=False, functions=TOOLS))
    streamed = frames(RESPONSES, await ask(RESPONSES, model, functions=TOOLS))[-1].response

    assert unknown_fields(document) <= UNTYPED
    assert document == streamed


def _names(taken):
    return [line[7:].decode() for line in taken.body.split(b"\n") if line.startswith(b"event: ")]


@pytest.mark.parametrize(
    ("model", "inner"),
    [
        ("sim-tokens-2", "content_part.added output_text.delta output_text.delta output_text.done content_part.done"),
        ("sim-refusal-tokens-1", "content_part.added refusal.delta refusal.done content_part.done"),
        ("sim-tools-tokens-1", " ".join(["function_call_arguments.delta"] * 4 + ["function_call_arguments.done"])),
        (
            "sim-reasoning-1-tokens-0",
            "reasoning_summary_part.added reasoning_summary_text.delta reasoning_summary_text.done "
            "reasoning_summary_part.done",
        ),
        (
            "sim-reasoning-1-tokens-0-raw-reasoning",
            "content_part.added reasoning_text.delta reasoning_text.done content_part.done",
        ),
        ("sim-hidden-reasoning-5-tokens-0", ""),
    ],
)
async def test_an_item_is_added_filled_and_done(model, inner):
    """Between the item's first and last event stand those of its kind, in order."""
    names = _names(await ask(RESPONSES, model, functions=TOOLS))

    expected = ["created", "in_progress", "output_item.added", *inner.split(), "output_item.done", "completed"]
    assert names == [f"response.{name}" for name in expected]


async def test_usage_can_be_counted_by_hand():
    """Four tokens came in: one from a cache, two into one; twenty-two went out, two of them reasoning."""
    model = "sim-cached-1-cache-write-1-cache-write-1h-1-reasoning-2"
    usage = frames(RESPONSES, await ask(RESPONSES, model))[-1].response.usage

    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (4, 22, 26)
    assert (usage.input_tokens_details.cached_tokens, usage.input_tokens_details.cache_write_tokens) == (1, 2)
    assert usage.input_tokens_details.cache_write_tokens_details.ttl_12h_tokens == 1
    assert usage.output_tokens_details.reasoning_tokens == 2


@pytest.mark.parametrize(
    ("model", "limit", "status", "reason"),
    [
        ("sim", None, "completed", None),
        ("sim-tools", None, "completed", None),
        ("sim", 5, "incomplete", "max_output_tokens"),
        ("sim-blocked", None, "incomplete", "content_filter"),
        ("sim-finish-unheard", None, "incomplete", "unheard"),
    ],
)
async def test_how_a_response_ends(model, limit, status, reason):
    """The last event is named for the status, and an incomplete response says why; the item cut says so too."""
    last = (await ask(RESPONSES, model, limit=limit)).chunks[-1]

    assert (last["type"], last["response"]["status"]) == (f"response.{status}", status)
    assert (last["response"]["incomplete_details"] or {"reason": None})["reason"] == reason
    if limit:
        assert last["response"]["output"][-1]["status"] == "incomplete"


@pytest.mark.parametrize(
    ("model", "include", "there"),
    [
        ("sim-reasoning-2", [], False),
        ("sim-reasoning-2", ["reasoning.encrypted_content"], True),
        ("sim-hidden-reasoning-2", ["reasoning.encrypted_content"], True),
        ("sim-reasoning-2-signature", [], True),
        ("sim-hidden-reasoning-2-signature", [], True),
    ],
)
async def test_encrypted_reasoning_comes_if_asked(model, include, there):
    """The reasoning item holds what only the provider can read if include, or the behaviour, says so."""
    item = whole(RESPONSES, await ask(RESPONSES, model, stream=False, include=include)).output[0]
    assert (item.type, item.encrypted_content is not None) == ("reasoning", there)


async def test_an_error_in_the_stream_is_a_failed_response():
    """response.failed holds what was said and the error; asked for as an event it is one named error."""
    failed = frames(RESPONSES, await ask(RESPONSES, "sim-error-after-3"))[-1]
    event = frames(RESPONSES, await ask(RESPONSES, "sim-error-event-after-3"))[-1]

    assert (failed.type, failed.response.status, failed.response.error.code) == (
        "response.failed",
        "failed",
        "server_error",
    )
    assert len(failed.response.output[0].content[0].text) == 12
    assert failed.response.usage is None
    assert (event.type, event.code) == ("error", "overloaded")


async def test_a_failed_response_may_tell_its_usage():
    """With usage told all along, so does the failure: three tokens came out before it."""
    failed = frames(RESPONSES, await ask(RESPONSES, "sim-usage-continuous-error-after-3"))[-1]
    assert failed.response.usage.output_tokens == 3


async def test_a_document_may_have_failed():
    """A JSON answer with status 200 may be a response that failed."""
    taken = await ask(RESPONSES, "sim-error-first", stream=False)
    response = whole(RESPONSES, taken)

    assert (taken.status, response.status, response.output) == (200, "failed", [])


async def test_odd_streams():
    """Two last events, none, and an item after the last one."""
    assert _names(await ask(RESPONSES, "sim-two-finishes")).count("response.completed") == 2
    assert _names(await ask(RESPONSES, "sim-done-only"))[-1] == "response.output_item.done"
    assert _names(await ask(RESPONSES, "sim-content-after-finish"))[-1] == "response.output_item.done"
    simulator = Simulator()
    taken = await ask(RESPONSES, "sim-unknown-fields", simulator=simulator)
    assert all("x_unknown" in json.loads(payload) for payload in taken.payloads)
