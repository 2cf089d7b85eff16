import json

import pytest

from ainf.simulator.wire import ErrorBody
from ainf.simulator.wires.messages_stream import error_object
from tests.simulator.client import send
from tests.simulator.formats import MESSAGES, TOOLS, WELL_FORMED, Simulator, ask, frames, unknown_fields, whole


@pytest.mark.parametrize("model", WELL_FORMED)
async def test_every_event_is_one_of_the_anthropic_package(model, autojump_clock):
    """Each event validates, has no unknown key and its type as its name; the stream has one stop reason and one end."""
    taken = await ask(MESSAGES, model, functions=TOOLS)
    events = frames(MESSAGES, taken)

    assert taken.whole
    assert not set().union(*map(unknown_fields, events))
    assert [event.type for event in events] == _names(taken)
    assert events[0].type == "message_start"
    assert [event.type for event in events].count("message_delta") == 1
    assert events[-1].type == ("message_delta" if model == "sim-no-done" else "message_stop")
    assert b"[DONE]" not in taken.body


@pytest.mark.parametrize("model", WELL_FORMED)
async def test_every_document_is_a_message_of_the_anthropic_package(model, autojump_clock):
    """Each message validates, has no unknown key, and a stop reason."""
    message = whole(MESSAGES, await ask(MESSAGES, model, stream=False, functions=TOOLS))

    assert not unknown_fields(message)
    assert message.stop_reason


def _names(taken):
    return [line[7:].decode() for line in taken.body.split(b"\n") if line.startswith(b"event: ")]


async def test_blocks_are_opened_filled_and_closed_in_order():
    """Thinking is signed before it is closed, then come the calls, each token of their arguments a delta."""
    taken = await ask(MESSAGES, "sim-reasoning-1-parallel-tools-tokens-4", functions=TOOLS)
    told = [(chunk.get("index"), chunk.get("delta", {}).get("type") or chunk["type"]) for chunk in taken.chunks]

    call = ["input_json_delta"] * 4
    assert told == [
        (None, "message_start"),
        *[(0, kind) for kind in ("content_block_start", "thinking_delta", "signature_delta", "content_block_stop")],
        *[(1, kind) for kind in ("content_block_start", *call, "content_block_stop")],
        *[(2, kind) for kind in ("content_block_start", *call, "content_block_stop")],
        (None, "message_delta"),
        (None, "message_stop"),
    ]


async def test_usage_can_be_counted_by_hand():
    """Four tokens came in: one from a cache, two into one; twenty-two went out, of which the start knows one."""
    model = "sim-cached-1-cache-write-1-cache-write-1h-1-reasoning-2"
    start, *_, delta, _ = frames(MESSAGES, await ask(MESSAGES, model))

    usage = start.message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (1, 1, 2)
    assert usage.cache_creation.ephemeral_5m_input_tokens == usage.cache_creation.ephemeral_1h_input_tokens == 1
    assert (usage.output_tokens, delta.usage.output_tokens) == (1, 22)
    assert delta.usage.output_tokens_details.thinking_tokens == 2


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("model", "limit", "reason"),
    [
        ("sim", 100, "end_turn"),
        ("sim", 5, "max_tokens"),
        ("sim-tools", 100, "tool_use"),
        ("sim-refusal", 100, "refusal"),
        ("sim-refusal", 5, "max_tokens"),
        ("sim-blocked", 100, "refusal"),
        ("sim-finish-pause_turn", 100, "pause_turn"),
    ],
)
async def test_stop_reasons(model, limit, reason, stream):
    """Each end has Anthropic's word for it; words that are none of chat's come as they are."""
    taken = await ask(MESSAGES, model, stream=stream, limit=limit)
    told = frames(MESSAGES, taken)[-2].delta if stream else whole(MESSAGES, taken)

    assert told.stop_reason == reason
    assert (told.stop_details is not None) == (reason == "refusal")


async def test_a_stream_and_a_document_say_the_same():
    """Text, thinking and arguments joined from deltas are those of the document."""
    for model in ("sim-reasoning-3", "sim-parallel-tools"):
        document = whole(MESSAGES, await ask(MESSAGES, model, stream=False, functions=TOOLS))
        deltas = [
            event.delta
            for event in frames(MESSAGES, await ask(MESSAGES, model, functions=TOOLS))
            if "delta" in event.type
        ]
        for block in document.content:
            match block.type:
                case "text":
                    assert "".join(delta.text for delta in deltas if getattr(delta, "text", "")) == block.text
                case "thinking":
                    assert "".join(getattr(delta, "thinking", "") for delta in deltas) == block.thinking
                case "tool_use":
                    assert json.dumps(block.input).replace(": ", ":") in "".join(
                        getattr(delta, "partial_json", "") for delta in deltas
                    )


async def test_a_call_that_the_limit_cuts_has_no_arguments():
    """In a stream the arguments break off; in a document nothing is left of them."""
    document = whole(MESSAGES, await ask(MESSAGES, "sim-tools", stream=False, functions=TOOLS, limit=2))
    assert (document.stop_reason, document.content[0].input) == ("max_tokens", {})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_errors_have_a_type_by_status(status, kind):
    """Anthropic's types follow from the status."""
    assert error_object(ErrorBody(status, "no", "x", "y", "z")) == {"type": kind, "message": "no"}


async def test_an_overloaded_provider_says_529():
    """The format's own status for it, before the stream and as an event in it."""
    before, within = await ask(MESSAGES, "sim-overloaded"), await ask(MESSAGES, "sim-error-after-2")

    assert before.status == 529
    assert json.loads(before.body)["error"]["type"] == within.chunks[-1]["error"]["type"] == "overloaded_error"
    assert _names(within)[-1] == "error"


async def test_odd_streams():
    """Usage told twice, two ends, text after the end, an end alone, pings: each is as many events as its name says."""
    simulator = Simulator()
    for model, name, count in [
        ("sim-usage-twice", "message_delta", 2),
        ("sim-two-finishes", "message_delta", 2),
        ("sim-done-only", "message_delta", 0),
        ("sim-done-only", "message_stop", 1),
        ("sim-content-after-finish", "content_block_start", 2),
        ("sim-data-after-done", "content_block_start", 2),
        ("sim-pings-tokens-1", "ping", 4),
    ]:
        assert _names(await send(simulator, MESSAGES.request(model))).count(name) == count
