"""The schemas of answers, held against what the gateway's own writers make."""

import json

import pytest

from ainf.formats.base import Answer, EndingStyle, Listener, PipeLimits
from ainf.formats.cost import tell_cost
from ainf.formats.embeddings.writer import write_embeddings, write_vector
from ainf.formats.registry import FORMATS
from ainf.http.openapi.streams import EVENT_OF
from ainf.inference.conversation import Opaque
from ainf.inference.events import BlockDelta, BlockEnd, BlockKind, BlockStart, FinishReason, MessageEnd, MessageStart
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage
from ainf.protocols.registry import PROTOCOLS
from ainf.sse import EventStreamReader
from tests.gateway.described import described

DESCRIBED = described()
WHOLE = {"chat": "ChatCompletion", "messages": "Message", "responses": "Response"}

USAGE = Usage(9, 3, 12, 5, 4, 1, 2, 3)
LISTENER = Listener(stream=True, include_usage=True, model="m", inference_id="inf_1", created=1_793_000_000)
LIMITS = PipeLimits(10_000, 10_000, 100_000)
BLOCKS = (
    MessageStart("answer_1", "vendor-model"),
    BlockStart(0, BlockKind.REASONING), BlockDelta(0, "hm"), BlockEnd(0, Opaque("messages.signature", "c2ln")),
    BlockStart(1, BlockKind.TEXT), BlockDelta(1, "By the river."), BlockEnd(1),
    BlockStart(2, BlockKind.TOOL_CALL, "call_1", "weather"), BlockDelta(2, '{"place":"mill"}'), BlockEnd(2),
    BlockStart(3, BlockKind.REFUSAL), BlockDelta(3, "No."), BlockEnd(3),
)  # fmt: skip

ENDS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    "odd_reason": FinishReason.OTHER,
}

formats = pytest.mark.parametrize("format_", WHOLE)
modes = pytest.mark.parametrize("mode", ["extended", "strict", "loud"])


def outcome(ending: Ending, code: str | None = None) -> Outcome:
    return Outcome(Verdict(ending, code), "stop", USAGE, Evidence.REPORTED, billed_nusd=12_500)


def style(mode: str = "extended") -> EndingStyle:
    return EndingStyle(mode, "inf_1", 1_793_000_000, "m", retryable=False)


def written(maker: str, format_: str, ended: Outcome, mode: str = "extended", end: MessageEnd | None = None) -> bytes:
    writer = getattr(FORMATS[format_], maker)(LISTENER, Answer(), LIMITS, is_translated=True)
    said = writer.send([*BLOCKS, *([end] if end else [])])
    return said + writer.close(ended, style(mode))


def whole_faults(name: str, body: bytes) -> list[str]:
    return DESCRIBED.faults(f"#/components/schemas/{name}", json.loads(body))


def stream_faults(format_: str, body: bytes) -> list[str]:
    payloads = EventStreamReader(max_line_bytes=100_000, max_event_bytes=100_000).receive(body).payloads
    assert len(payloads) > 5
    at = f"#/components/schemas/{EVENT_OF[format_]}"
    return [fault for each in payloads if each != b"[DONE]" for fault in DESCRIBED.faults(at, json.loads(each))]


@formats
@pytest.mark.parametrize("raw", ENDS)
def test_answers_that_come_to_their_end(format_, raw):
    """With every kind of block and every reason, streamed and whole, and with their cost told."""
    end, ended = MessageEnd(ENDS[raw], raw), outcome(Ending.COMPLETED)
    body = written("answer_writer", format_, ended, end=end)
    assert whole_faults(WHOLE[format_], body) == []
    assert whole_faults(WHOLE[format_], tell_cost(body, 12_500, is_stream=False)) == []
    stream = written("stream_writer", format_, ended, end=end)
    assert stream_faults(format_, stream) == []
    assert stream_faults(format_, tell_cost(stream, 12_500, is_stream=True)) == []


@formats
@modes
def test_answers_that_a_cap_cuts(format_, mode):
    """In each way to be told of it, streamed and whole."""
    ended = outcome(Ending.SPEND_CAP_EXCEEDED, "spend_cap_exceeded")
    assert whole_faults(WHOLE[format_], written("answer_writer", format_, ended, mode)) == []
    assert stream_faults(format_, written("stream_writer", format_, ended, mode)) == []


@formats
@pytest.mark.parametrize("code", ["upstream_truncated", "deadline_exceeded", "shutting_down", "killed", None])
def test_streams_that_fail(format_, code):
    """Whatever it is that ended them."""
    assert stream_faults(format_, written("stream_writer", format_, outcome(Ending.TERMINATED, code))) == []


@pytest.mark.parametrize("blocks", [BLOCKS, BLOCKS[:1]], ids=["text", "nothing"])
def test_inference_answers(blocks):
    """A chat completion with the text, or null, the cost and the receipt; without them it is none."""
    writer = FORMATS["chat"].answer_writer(LISTENER, Answer(), LIMITS, is_translated=True)
    writer.send([*blocks, MessageEnd(FinishReason.STOP, "stop")])
    body = writer.close(outcome(Ending.COMPLETED), style())
    told = {"cost": "0.0000125", "audit_url": "http://gateway.test/v1/audit/inf_1"}
    assert whole_faults("InferenceAnswer", PROTOCOLS["chat_completions"].finish_json(body, told)) == []
    assert whole_faults("InferenceAnswer", body) != []


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings(encoding):
    """In both encodings."""
    body = write_embeddings([write_vector([0.5, -0.25], encoding)], "m", USAGE)
    assert whole_faults("Embeddings", body) == []
    assert whole_faults("Embeddings", body.replace(b'"data"', b'"date"')) != []


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("ChatCompletion", b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[]}'),
        ("ChatCompletion", b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m"}'),
        ("ChatChunk", b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0}]}'),
        ("MessagesEvent", b'{"type":"content_block_stop"}'),
        ("MessagesEvent", b'{"type":"message_delta","delta":{}}'),
        ("MessagesEvent", b'{"index":0}'),
        ("ResponsesEvent", b'{"type":"response.completed","sequence_number":1}'),
        ("ResponsesEvent", b'{"type":"response.output_text.delta","sequence_number":1,"output_index":0}'),
        ("TokenCount", b'{"input_tokens":-1}'),
        ("Response", b'{"id":"r","object":"response","created_at":1,"status":"done","model":"m","output":[]}'),
    ],
)
def test_what_is_no_answer(name, body):
    """What lacks a part of its format, or says what the format has no word for."""
    assert whole_faults(name, body) != []
