import json

import attrs
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from ainf.formats.base import Answer
from ainf.inference.conversation import Opaque
from ainf.inference.errors import UpstreamError
from ainf.inference.events import (
    BlockDelta,
    BlockEnd,
    BlockKind,
    BlockStart,
    FinishReason,
    MessageEnd,
    MessageStart,
    UsageUpdate,
)
from ainf.inference.outcome import Ending
from tests.formats.chat.support import CAPPED, CHAT, COMPLETED, LIMITS, USAGE, documents, listener, outcome, style

EVENTS = [
    MessageStart("id-1", "m-1"),
    BlockStart(0, BlockKind.TEXT),
    BlockDelta(0, "Hi "),
    BlockDelta(0, "\u2028"),
    BlockEnd(0),
    BlockStart(1, BlockKind.TOOL_CALL, "call_a", "f"),
    BlockStart(2, BlockKind.TOOL_CALL, "call_b", "g"),
    BlockDelta(2, "{}"),
    BlockDelta(1, "[]"),
    BlockEnd(1),
    BlockEnd(2),
    UsageUpdate(USAGE),
    MessageEnd(FinishReason.TOOL_CALLS, "tool_calls"),
]


def stream_writer(*, is_translated=False):
    return CHAT.stream_writer(listener(include_usage=True), Answer(created=5), LIMITS, is_translated=is_translated)


def answer_writer(answer=None, *, limit=1000):
    limits = attrs.evolve(LIMITS, answer=limit)
    return CHAT.answer_writer(listener(stream=False), answer or Answer(), limits, is_translated=False)


def test_stream():
    """Events become chunks that the SDK accepts, with tool calls numbered among themselves."""
    writer = stream_writer()
    chunks = [
        ChatCompletionChunk.model_validate(frame, strict=True)
        for frame in documents(writer.send(EVENTS) + writer.close(COMPLETED, style()))
    ]
    *deltas, finish, usage = chunks
    assert {(chunk.id, chunk.model, chunk.created) for chunk in chunks} == {("id-1", "m-1", 5)}
    assert "".join(chunk.choices[0].delta.content or "" for chunk in deltas) == "Hi \u2028"
    calls = [call for chunk in deltas for call in chunk.choices[0].delta.tool_calls or ()]
    assert [(call.index, call.id, call.function.name, call.function.arguments) for call in calls] == [
        (0, "call_a", "f", ""),
        (1, "call_b", "g", ""),
        (1, None, None, "{}"),
        (0, None, None, "[]"),
    ]
    assert finish.choices[0].finish_reason == "tool_calls"
    assert (usage.choices, usage.usage.prompt_tokens) == ([], USAGE.input_tokens)


def test_answer():
    """Events become one answer that the SDK accepts."""
    writer = answer_writer(Answer(response_id="id-1", model="m-1"))
    assert writer.send(EVENTS) == b""
    answer = ChatCompletion.model_validate(json.loads(writer.close(COMPLETED, style())), strict=True)
    message = answer.choices[0].message
    assert (message.content, answer.choices[0].finish_reason) == ("Hi \u2028", "tool_calls")
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls] == [
        ("call_a", "f", "[]"),
        ("call_b", "g", "{}"),
    ]
    assert answer.usage.completion_tokens == USAGE.output_tokens
    assert (answer.id, answer.created) == ("id-1", 1800000000)


@pytest.mark.parametrize(
    ("end", "same", "translated"),
    [
        (MessageEnd(FinishReason.STOP, "end_turn"), "end_turn", "stop"),
        (MessageEnd(FinishReason.TOOL_CALLS, "function_call"), "function_call", "tool_calls"),
        (MessageEnd(FinishReason.OTHER, "pause_turn"), "pause_turn", "other"),
    ],
)
def test_reasons(end, same, translated):
    """The same format keeps the raw reason; another one gets our word, never a stop for an unknown one."""
    for is_translated, reason, model in ((False, same, "m"), (True, translated, "asked-for")):
        writer = stream_writer(is_translated=is_translated)
        frames = documents(writer.send([MessageStart("i", "m"), end]) + writer.close(COMPLETED, style()))
        assert frames[1]["choices"][0]["finish_reason"] == reason
        assert {frame["model"] for frame in frames} == {model}


def test_custom_call():
    """A call of a custom tool has its own fields, in a stream and in a whole answer."""
    events = [
        MessageStart("i", "m"),
        BlockStart(0, BlockKind.CUSTOM_TOOL_CALL, "call_a", "f"),
        BlockDelta(0, "x"),
        BlockDelta(0, "y"),
        BlockEnd(0),
        BlockStart(1, BlockKind.CUSTOM_TOOL_CALL, None, "g"),
        BlockEnd(1),
        MessageEnd(FinishReason.TOOL_CALLS, "tool_calls"),
    ]
    stream, answer = stream_writer(), answer_writer()
    frames = documents(stream.send(events) + stream.close(COMPLETED, style()))
    assert [
        call for frame in frames for choice in frame["choices"] for call in choice["delta"].get("tool_calls", ())
    ] == [
        {"index": 0, "id": "call_a", "type": "custom", "custom": {"name": "f", "input": ""}},
        {"index": 0, "custom": {"input": "x"}},
        {"index": 0, "custom": {"input": "y"}},
        {"index": 1, "id": "call_1", "type": "custom", "custom": {"name": "g", "input": ""}},
    ]
    answer.send(events)
    whole = ChatCompletion.model_validate(json.loads(answer.close(COMPLETED, style())), strict=True)
    assert [(call.id, call.custom.name, call.custom.input) for call in whole.choices[0].message.tool_calls] == [
        ("call_a", "f", "xy"),
        ("call_1", "g", ""),
    ]


THOUGHTS = [
    MessageStart("i", "m"),
    BlockStart(0, BlockKind.REASONING),
    BlockDelta(0, "hm"),
    BlockEnd(0, Opaque("messages.signature", "sig")),
    BlockStart(1, BlockKind.REASONING),
    BlockEnd(1, Opaque("chat", '{"type":"reasoning.text","signature":"s","format":"f"}')),
    BlockStart(2, BlockKind.TEXT),
    BlockDelta(2, "a"),
    BlockEnd(2),
    MessageEnd(FinishReason.STOP, "end_turn", stop_sequence="STOP"),
]
DETAILS = [
    {"type": "reasoning.encrypted", "data": "ainf.messages.signature:sig", "index": 0},
    {"type": "reasoning.text", "signature": "s", "format": "f", "text": "", "index": 1},
]


def test_opaque_reasoning():
    """What a provider wants back is an entry of its own; another format's is sealed. Streams number the entries."""
    stream, answer = stream_writer(), answer_writer()
    frames = documents(stream.send(THOUGHTS) + stream.close(COMPLETED, style()))
    told = [frame["choices"][0]["delta"].get("reasoning_details") for frame in frames if frame["choices"]]
    assert [entries for entries in told if entries] == [[entry] for entry in DETAILS]
    answer.send(THOUGHTS)
    message = json.loads(answer.close(COMPLETED, style()))["choices"][0]["message"]
    assert (message["reasoning_content"], message["reasoning_details"], message["content"]) == ("hm", DETAILS, "a")


def test_the_sdk_joins_the_entries():
    """The SDK's own helper puts the pieces of a stream together to what a whole answer says."""
    writer, state = stream_writer(), ChatCompletionStreamState()
    for frame in documents(writer.send(THOUGHTS) + writer.close(COMPLETED, style())):
        for choice in frame["choices"]:
            choice["finish_reason"] = choice["finish_reason"] and "stop"
        list(state.handle_chunk(ChatCompletionChunk.model_validate(frame)))
    message = state.get_final_completion().choices[0].message
    assert (message.content, message.reasoning_content, message.reasoning_details) == ("a", "hm", DETAILS)


def test_opaque_data_is_bounded():
    """Opaque data counts to the limit of a whole answer."""
    with pytest.raises(UpstreamError, match="upstream_protocol"):
        answer_writer(limit=50).send([
            MessageStart("i", "m"), BlockStart(0, BlockKind.REASONING), BlockEnd(0, Opaque("gemini", "x" * 51)),
        ])  # fmt: skip


def test_an_empty_answer_has_empty_content():
    """Content is null only where something else is said; clients that read text find text."""
    start, end = MessageStart("i", "m"), MessageEnd(FinishReason.LENGTH, "length")
    for extra, content in (
        ([], ""),
        ([BlockStart(0, BlockKind.REASONING), BlockDelta(0, "hm"), BlockEnd(0)], ""),
        ([BlockStart(0, BlockKind.TOOL_CALL, "a", "f"), BlockEnd(0)], None),
        ([BlockStart(0, BlockKind.REFUSAL), BlockDelta(0, "no"), BlockEnd(0)], None),
    ):
        writer = answer_writer()
        writer.send([start, *extra, end])
        assert json.loads(writer.close(COMPLETED, style()))["choices"][0]["message"]["content"] == content


def test_head_where_the_provider_named_nothing():
    """Every chunk carries our id, our time and the client's name of the model, where the provider said none."""
    for is_translated in (True, False):
        writer = CHAT.stream_writer(listener(), Answer(), LIMITS, is_translated=is_translated)
        events = [MessageStart(), BlockStart(0, BlockKind.TEXT), BlockDelta(0, "a"), BlockEnd(0)]
        frames = documents(
            writer.send([*events, MessageEnd(FinishReason.STOP, "x")]) + writer.close(COMPLETED, style())
        )
        assert {(frame["id"], frame["created"], frame["model"]) for frame in frames} == {
            ("chatcmpl-inf-1", 1800000000, "asked-for")
        }


def test_legacy_call():
    """A tool call without an id is written as the legacy function call."""
    events = [
        MessageStart(),
        BlockStart(0, BlockKind.TOOL_CALL, None, "f"),
        BlockDelta(0, "{}"),
        BlockEnd(0),
        MessageEnd(FinishReason.TOOL_CALLS, "function_call"),
    ]
    writer = answer_writer(limit=100)
    writer.send(events)
    message = json.loads(writer.close(COMPLETED, style()))["choices"][0]["message"]
    assert message["function_call"] == {"name": "f", "arguments": "{}"}
    stream = stream_writer()
    frames = documents(stream.send(events) + stream.close(COMPLETED, style()))
    assert [frame["choices"][0]["delta"].get("function_call") for frame in frames[1:3]] == [
        {"name": "f", "arguments": ""},
        {"arguments": "{}"},
    ]


def test_endings():
    """A failure is told as an error, a cap in the client's mode, and a client that left nothing."""
    writer = stream_writer()
    begun = writer.send(EVENTS[:3])
    failed = outcome(Ending.UPSTREAM_ERROR, "upstream_truncated")
    assert documents(begun + writer.close(failed, style()))[-1]["error"]["code"] == "upstream_truncated"
    finish, usage = documents(writer.close(CAPPED, style("strict")))
    assert (finish["choices"][0]["finish_reason"], usage["id"]) == ("length", "id-1")
    assert writer.close(outcome(Ending.CLIENT_DISCONNECTED), style()) == b""
    with pytest.raises(AssertionError, match="without evidence"):
        writer.close(COMPLETED, style())


def test_capped_answer():
    """A whole answer that was clamped carries the cap's reason."""
    writer = answer_writer(limit=100)
    writer.send(EVENTS)
    document = json.loads(writer.close(CAPPED, style("loud")))
    assert document["choices"][0]["finish_reason"] == "spend_cap_exceeded"
    assert document["error"]["code"] == "spend_cap_exceeded"


def test_answer_is_bounded():
    """A whole answer is held to its limit."""
    writer = answer_writer(limit=3)
    with pytest.raises(UpstreamError, match="upstream_protocol"):
        writer.send(EVENTS)
