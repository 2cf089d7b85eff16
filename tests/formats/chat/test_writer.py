import json

import attrs
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from ainf.formats.base import Answer
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
    return CHAT.stream_writer(listener(include_usage=True), Answer(created=5), is_translated=is_translated)


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
