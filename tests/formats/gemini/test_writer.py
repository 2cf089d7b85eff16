import json

import attrs
import pytest

from ainf.formats.base import Answer, Reading
from ainf.formats.gemini.part_writer import PartWriter
from ainf.formats.gemini.writer import GeminiAnswerWriter, GeminiStreamWriter, reason_word
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
from tests.formats.gemini.support import (
    CAPPED,
    COMPLETED,
    LIMITS,
    LISTENER,
    USAGE,
    check_types,
    documents,
    outcome,
    style,
)

EVENTS = [
    MessageStart("id-1", "m-1"),
    BlockStart(0, BlockKind.REASONING),
    BlockDelta(0, "hm"),
    BlockEnd(0),
    BlockStart(1, BlockKind.TEXT),
    BlockDelta(1, "Hi "),
    BlockDelta(1, "\u2028"),
    BlockEnd(1),
    BlockStart(2, BlockKind.TOOL_CALL, "call_a", "f"),
    BlockStart(3, BlockKind.TOOL_CALL, "call_b", "g"),
    BlockDelta(3, "{}"),
    BlockDelta(2, '{"x":'),
    BlockDelta(2, "1}"),
    BlockEnd(2),
    BlockEnd(3),
    UsageUpdate(USAGE),
    MessageEnd(FinishReason.TOOL_CALLS, "tool_use"),
]
BROKEN = [
    MessageStart(),
    BlockStart(0, BlockKind.TOOL_CALL, "c", "f"),
    BlockDelta(0, "{broken"),
    BlockEnd(0),
    MessageEnd(FinishReason.TOOL_CALLS, "tool_use"),
]


def stream_writer(*, is_translated=True, answer=None):
    return GeminiStreamWriter(LISTENER, answer or Answer(), is_translated=is_translated)


def answer_writer(limit=1000, *, is_translated=True, answer=None):
    answer = answer or Answer(response_id="id-1", model="m-1")
    return GeminiAnswerWriter(LISTENER, answer, attrs.evolve(LIMITS, answer=limit), is_translated=is_translated)


def test_stream():
    """Events become chunks that the SDK accepts; the last one has reason and usage."""
    writer = stream_writer()
    frames = documents(writer.send(EVENTS) + writer.close(COMPLETED, style()))
    chunks = [check_types(document) for document in frames]
    assert {(chunk.response_id, chunk.model_version) for chunk in chunks} == {("id-1", "asked-for")}
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    assert "".join(part.text for part in parts if part.text and not part.thought) == "Hi \u2028"
    assert [part.text for part in parts if part.thought] == ["hm"]
    calls = [part.function_call for part in parts if part.function_call]
    assert [(call.id, call.name, call.args) for call in calls] == [("call_a", "f", {"x": 1}), ("call_b", "g", {})]
    assert [chunk.candidates[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    last = chunks[-1]
    assert last.candidates[0].finish_reason == "STOP"
    usage = last.usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count) == (12, 6, 1)


def test_answer():
    """Events become one answer that the SDK accepts, with its pieces joined."""
    writer = answer_writer()
    assert writer.send(EVENTS) == b""
    document = json.loads(writer.close(COMPLETED, style()))
    check_types(document)
    assert document["candidates"][0] == {
        "content": {
            "role": "model",
            "parts": [
                {"text": "hm", "thought": True},
                {"text": "Hi \u2028"},
                {"functionCall": {"id": "call_a", "name": "f", "args": {"x": 1}}},
                {"functionCall": {"id": "call_b", "name": "g", "args": {}}},
            ],
        },
        "finishReason": "STOP",
        "index": 0,
    }
    assert (document["responseId"], document["modelVersion"]) == ("id-1", "asked-for")
    assert document["usageMetadata"]["candidatesTokenCount"] == 6


@pytest.mark.parametrize(
    ("end", "same", "translated"),
    [
        (MessageEnd(FinishReason.STOP, "end_turn"), "end_turn", "STOP"),
        (MessageEnd(FinishReason.TOOL_CALLS, "tool_use"), "tool_use", "STOP"),
        (MessageEnd(FinishReason.LENGTH, "max_tokens"), "max_tokens", "MAX_TOKENS"),
        (MessageEnd(FinishReason.CONTENT_FILTER, "refusal"), "refusal", "SAFETY"),
        (MessageEnd(FinishReason.OTHER, "pause_turn"), "pause_turn", "OTHER"),
    ],
)
def test_reasons(end, same, translated):
    """The same format keeps the raw reason and the model; another one gets our words, never a stop for an unknown."""
    for is_translated, reason, model in ((False, same, "m"), (True, translated, "asked-for")):
        writer = stream_writer(is_translated=is_translated)
        (frame,) = documents(writer.send([MessageStart("i", "m"), end]) + writer.close(COMPLETED, style()))
        assert (frame["candidates"][0]["finishReason"], frame["modelVersion"]) == (reason, model)
        whole = answer_writer(is_translated=is_translated, answer=Answer(response_id="i", model="m"))
        whole.send([MessageStart("i", "m"), end])
        document = json.loads(whole.close(COMPLETED, style()))
        assert (document["candidates"][0]["finishReason"], document["modelVersion"]) == (reason, model)


@pytest.mark.parametrize("make", [stream_writer, answer_writer])
def test_call_that_cannot_be_written(make):
    """An answer that lacks a call has not just stopped."""
    writer = make()
    data = writer.send(BROKEN) + writer.close(COMPLETED, style())
    (document,) = documents(data) or [json.loads(data)]
    assert document["candidates"][0]["finishReason"] == "MALFORMED_FUNCTION_CALL"


def test_cut_call_at_the_limit():
    """A call that the limit cut is left out, and the limit is the reason."""
    parts = PartWriter(shows_refusals=True)
    for event in BROKEN[1:4]:
        parts.send(event)
    assert parts.is_broken
    assert reason_word(MessageEnd(FinishReason.LENGTH, "max_tokens"), parts, is_translated=True) == "MAX_TOKENS"


@pytest.mark.parametrize("make", [stream_writer, answer_writer])
def test_blocked_prompt(make):
    """A prompt that Gemini blocked is told in Gemini's own way, without our words beside it."""
    blocked = [
        MessageStart("i", "m"),
        BlockStart(0, BlockKind.REFUSAL),
        BlockDelta(0, "The provider blocked the prompt (SAFETY)."),
        BlockEnd(0),
        MessageEnd(FinishReason.CONTENT_FILTER, "promptFeedback:SAFETY"),
    ]
    writer = make(is_translated=False)
    data = writer.send(blocked) + writer.close(COMPLETED, style())
    (document,) = documents(data) or [json.loads(data)]
    assert document["promptFeedback"] == {"blockReason": "SAFETY"}
    assert "candidates" not in document
    check_types(document)


def test_endings():
    """A failure is told as an error, a cap in the client's mode, and a client that left nothing."""
    writer = stream_writer()
    begun = writer.send(EVENTS[:6])
    failed = outcome(Ending.UPSTREAM_ERROR, "upstream_truncated")
    assert documents(begun + writer.close(failed, style()))[-1]["error"]["code"] == 502
    (finish,) = documents(writer.close(CAPPED, style("strict")))
    assert (finish["candidates"][0]["finishReason"], finish["responseId"]) == ("MAX_TOKENS", "id-1")
    assert writer.close(outcome(Ending.CLIENT_DISCONNECTED), style()) == b""
    with pytest.raises(AssertionError, match="without evidence"):
        writer.close(COMPLETED, style())


def test_ending_before_anything():
    """An ending that is the first frame carries names of ours."""
    (finish,) = documents(stream_writer().close(CAPPED, style("loud")))
    assert (finish["responseId"], finish["modelVersion"]) == ("inf-1", "asked-for")
    assert finish["error"]["status"] == "RESOURCE_EXHAUSTED"


def test_half_a_call_is_not_ended():
    """A call that an ending cut is never handed on as if it were whole."""
    writer = stream_writer()
    begun = writer.send(EVENTS[:13])
    told = documents(begun + writer.close(CAPPED, style()))
    assert not [part for document in told for part in document["candidates"][0]["content"]["parts"]
                if "functionCall" in part]  # fmt: skip


def test_split():
    """A reading is cut between chunks, and what was sent may be taken back."""
    writer = stream_writer()
    data = writer.send(EVENTS[:7])
    reading = Reading(data, 2 + 3 + 3, is_content=True, is_meaningful=True)
    piece, rest = writer.split(reading, 5)
    assert (piece.output_bytes, rest.output_bytes) == (5, 3)
    assert piece.data + rest.data == data
    writer.rewind([rest.data])
    assert len(documents(writer.close(CAPPED, style()))) == 1


def test_capped_answer():
    """A whole answer that was clamped carries the cap's reason."""
    writer = answer_writer()
    writer.send(EVENTS)
    document = json.loads(writer.close(CAPPED, style("loud")))
    assert document["candidates"][0]["finishReason"] == "SPEND_CAP_EXCEEDED"
    assert document["error"]["code"] == 402


def test_answer_is_bounded():
    """A whole answer is held to its limit."""
    with pytest.raises(UpstreamError, match="upstream_protocol"):
        answer_writer(limit=3).send(EVENTS)


def test_answer_gives_nothing_before_its_end():
    """A whole answer has nothing that could be cut or taken back."""
    writer, reading = answer_writer(), Reading(b"", 3, is_content=False, is_meaningful=True)
    piece, rest = writer.split(reading, 0)
    writer.rewind([])
    assert (piece.data, piece.output_bytes, rest) == (b"", 0, reading)
