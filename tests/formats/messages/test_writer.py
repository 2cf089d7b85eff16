import json

import attrs
import pytest
from anthropic.types import Message
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.base import Answer
from ainf.formats.messages.format import MESSAGES
from ainf.formats.pipe import EventPipe
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
    StreamGrammar,
    UsageUpdate,
)
from ainf.inference.outcome import Ending
from tests.formats.messages.support import (
    CAPPED,
    COMPLETED,
    ENDED,
    FAILED,
    LIMITS,
    LISTENER,
    USAGE,
    WHOLE_NAMES,
    client_message,
    documents,
    expected,
    feed,
    fixture,
    kinds,
    outcome,
    shown,
    style,
    whole_fixture,
)

SIGNATURE = Opaque("messages.signature", "sig")
REDACTED = Opaque("messages.redacted", "data")
FOREIGN = Opaque("responses", "secret")
EVENTS = [
    MessageStart("id-1", "m-1"),
    BlockStart(0, BlockKind.REASONING),
    BlockDelta(0, "hm"),
    BlockEnd(0, SIGNATURE),
    BlockStart(1, BlockKind.TEXT),
    BlockDelta(1, "Hi "),
    BlockDelta(1, "\u2028"),
    BlockEnd(1),
    BlockStart(2, BlockKind.TOOL_CALL, "call_a", "f"),
    BlockStart(5, BlockKind.TOOL_CALL, None, "g"),
    BlockDelta(5, '{"b":'),
    BlockDelta(2, '{"a":1.0}'),
    BlockDelta(5, "2}"),
    BlockEnd(2),
    BlockEnd(5),
    BlockStart(6, BlockKind.REFUSAL),
    BlockDelta(6, "No."),
    BlockEnd(6),
    UsageUpdate(USAGE),
    MessageEnd(FinishReason.TOOL_CALLS, "tool_calls"),
]


def own():
    return Answer(response_id="id-1", model="m-1")


def stream_writer(*, is_translated=True, answer=None):
    return MESSAGES.stream_writer(LISTENER, answer or own(), LIMITS, is_translated=is_translated)


def answer_writer(*, is_translated=True, limits=LIMITS):
    return MESSAGES.answer_writer(LISTENER, own(), limits, is_translated=is_translated)


def written(events, **options):
    writer = stream_writer(**options)
    return writer.send(events) + writer.close(COMPLETED, style())


def whole(events, **options):
    writer = answer_writer(**options)
    assert writer.send(events) == b""
    return json.loads(writer.close(COMPLETED, style()))


def check_content(message):
    thinking, text, first, second, refusal = message.content
    assert (thinking.thinking, thinking.signature) == ("hm", "sig")
    assert (text.text, refusal.text) == ("Hi \u2028", "No.")
    assert (first.id, first.name, first.input) == ("call_a", "f", {"a": 1.0})
    assert (second.id, second.name, second.input) == ("toolu_inf_1_5", "g", {"b": 2})
    assert (message.id, message.model, message.stop_reason) == ("msg_inf_1", "asked-for", "tool_use")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (6, 7)
    assert (message.usage.cache_read_input_tokens, message.usage.cache_creation_input_tokens) == (2, 4)
    assert message.usage.output_tokens_details.thinking_tokens == 1


def test_stream():
    """Events become a stream of which the official client makes the whole message, with the right usage."""
    stream = written(EVENTS)
    check_content(client_message(stream))
    starts = [document["index"] for document in documents(stream) if document["type"] == "content_block_start"]
    assert starts == [0, 1, 2, 3, 4]


def test_answer():
    """Events become one answer that the official client accepts."""
    check_content(Message.model_validate(whole(EVENTS), strict=True))


def test_start():
    """A stream begins with the usage that is known by then."""
    begin = documents(stream_writer(answer=Answer(usage=USAGE)).send(EVENTS[:1]))[0]["message"]
    assert (begin["usage"]["input_tokens"], begin["stop_reason"], begin["content"]) == (6, None, [])


def test_same_format_keeps_names():
    """A stream that is made of an answer of the same format keeps its names and its raw stop reason."""
    events = [*EVENTS[:1], MessageEnd(FinishReason.OTHER, "pause_turn")]
    for message in (
        client_message(written(events, is_translated=False)),
        Message(**whole(events, is_translated=False)),
    ):
        assert (message.id, message.model, message.stop_reason) == ("id-1", "m-1", "pause_turn")


@pytest.mark.parametrize(
    ("end", "word", "sequence"),
    [
        (MessageEnd(FinishReason.STOP, "stop"), "end_turn", None),
        (MessageEnd(FinishReason.STOP, "stop", "END"), "stop_sequence", "END"),
        (MessageEnd(FinishReason.LENGTH, "length"), "max_tokens", None),
        (MessageEnd(FinishReason.LENGTH, "length", "END"), "max_tokens", None),
        (MessageEnd(FinishReason.TOOL_CALLS, "tool_calls"), "tool_use", None),
        (MessageEnd(FinishReason.CONTENT_FILTER, "SAFETY"), "refusal", None),
        (MessageEnd(FinishReason.OTHER, "mystery"), "other", None),
    ],
)
def test_stop_reasons(end, word, sequence):
    """A translated stop reason is this format's word for ours; what nobody knows is no normal end."""
    events = [*EVENTS[:1], end]
    message = client_message(written(events), is_standard=word != "other")
    assert (message.stop_reason, message.stop_sequence) == (word, sequence)
    document = whole(events)
    assert (document["stop_reason"], document["stop_sequence"]) == (word, sequence)


@pytest.mark.parametrize(
    ("text", "opaque", "block"),
    [
        ("a", SIGNATURE, {"type": "thinking", "thinking": "a", "signature": "sig"}),
        ("", SIGNATURE, {"type": "thinking", "thinking": "", "signature": "sig"}),
        ("", REDACTED, {"type": "redacted_thinking", "data": "data"}),
        ("", FOREIGN, {"type": "redacted_thinking", "data": "ainf.responses:secret"}),
        ("a", FOREIGN, {"type": "thinking", "thinking": "a", "signature": "ainf.responses:secret"}),
        ("a", REDACTED, {"type": "thinking", "thinking": "a", "signature": "ainf.messages.redacted:data"}),
        ("a", None, {"type": "thinking", "thinking": "a", "signature": ""}),
        ("", None, {"type": "thinking", "thinking": "", "signature": ""}),
    ],
)
def test_opaque(text, opaque, block):
    """What a provider wants back stands where this wire has a place for it: its own as it is, another's sealed."""
    events = [MessageStart(), BlockStart(0, BlockKind.REASONING), *([BlockDelta(0, text)] if text else [])]
    events += [BlockEnd(0, opaque), MessageEnd(FinishReason.STOP, "stop")]
    assert client_message(written(events)).content[0].model_dump() == block
    assert whole(events)["content"] == [block]


@pytest.mark.parametrize(("reason", "word"), [(FinishReason.STOP, "refusal"), (FinishReason.LENGTH, "max_tokens")])
def test_a_refusal_has_a_reason_of_its_own(reason, word):
    """Other formats end a refusal as any answer: here it must not look like one, unless it was cut besides."""
    events = [
        MessageStart(), BlockStart(0, BlockKind.REFUSAL), BlockDelta(0, "No."), BlockEnd(0), MessageEnd(reason, "stop"),
    ]  # fmt: skip
    assert whole(events)["stop_reason"] == word
    assert f'"stop_reason":"{word}"'.encode() in written(events)


def test_reasoning_waits_for_its_place():
    """Reasoning that has said nothing yet does not take the place of what is said meanwhile."""
    events = [MessageStart(), BlockStart(0, BlockKind.REASONING), BlockStart(1, BlockKind.TEXT), BlockDelta(1, "a")]
    events += [BlockDelta(0, "")]
    events += [BlockEnd(0, REDACTED), BlockEnd(1), MessageEnd(FinishReason.STOP, "stop")]
    text, redacted = client_message(written(events)).content
    assert (text.text, redacted.data) == ("a", "data")


@pytest.mark.parametrize("writer", [stream_writer, answer_writer])
def test_custom_tool(writer):
    """A call of a custom tool, which nobody can have offered, is the provider's error."""
    with pytest.raises(UpstreamError, match="upstream_protocol"):
        writer().send([MessageStart(), BlockStart(0, BlockKind.CUSTOM_TOOL_CALL, "c", "f")])


def test_events_that_cannot_be_written_leave_no_trace():
    """The client was not given what came with a custom tool's call, so nothing of it is ended."""
    writer = stream_writer()
    with pytest.raises(UpstreamError):
        writer.send([
            MessageStart(),
            BlockStart(0, BlockKind.TEXT),
            BlockStart(1, BlockKind.CUSTOM_TOOL_CALL, "c", "f"),
        ])
    assert [document["type"] for document in documents(writer.close(FAILED, style()))] == ["error"]


@pytest.mark.parametrize("text", ["[1]", "{oops", '"x"', '{"a":NaN}', "[" * 5000])
def test_arguments_that_are_no_object(text):
    """A whole answer says no arguments that are not the model's own: what is no object is an error."""
    call = [MessageStart(), BlockStart(0, BlockKind.TOOL_CALL, "c", "f"), BlockDelta(0, text), BlockEnd(0)]
    with pytest.raises(UpstreamError, match="no JSON object"):
        answer_writer().send([*call, MessageEnd(FinishReason.TOOL_CALLS, "tool_calls")])
    assert whole([*call, MessageEnd(FinishReason.LENGTH, "length")])["content"][0]["input"] == {}
    writer = answer_writer()
    writer.send(call[:-1])
    assert json.loads(writer.close(CAPPED, style()))["content"][0]["input"] == {}


def test_no_arguments():
    """A call without arguments has an empty input, and the digits of others stay as they are."""
    events = [MessageStart(), BlockStart(0, BlockKind.TOOL_CALL, "c", "f"), BlockEnd(0)]
    events += [BlockStart(1, BlockKind.TOOL_CALL, "d", "g"), BlockDelta(1, '{"a": 1.50}'), BlockEnd(1)]
    events += [MessageEnd(FinishReason.TOOL_CALLS, "tool_calls")]
    assert whole(events)["content"][0]["input"] == {}
    writer = answer_writer()
    writer.send(events)
    assert b'{"a": 1.50}' in writer.close(COMPLETED, style())


def test_limit():
    """A whole answer is bounded."""
    with pytest.raises(UpstreamError, match="limit"):
        answer_writer(limits=attrs.evolve(LIMITS, answer=10)).send([
            MessageStart(), BlockStart(0, BlockKind.TEXT), BlockDelta(0, "x" * 11),
        ])  # fmt: skip


@pytest.mark.parametrize("mode", ["extended", "strict", "loud"])
@pytest.mark.parametrize("count", range(len(EVENTS)))
def test_cap_anywhere(count, mode):
    """A cap after any event is one parseable end, with what is open ended first."""
    writer = stream_writer()
    stream = writer.send(EVENTS[:count]) + writer.close(CAPPED, style(mode))
    starts = kinds(stream).count("content_block_start")
    assert (kinds(stream).count("message_start"), kinds(stream).count("content_block_stop")) == (1, starts)
    if mode == "loud":
        assert kinds(stream)[-2:] == ["message_delta", "error"]
        assert documents(stream)[-1]["error"]["code"] == "spend_cap_exceeded"
    else:
        message = client_message(stream, is_standard=mode == "strict")
        assert message.stop_reason == ("max_tokens" if mode == "strict" else "spend_cap_exceeded")
        assert message.usage.input_tokens == 6


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_failure(count):
    """A failure is one error behind what was open."""
    writer = stream_writer()
    writer.send(EVENTS[:count])
    group = writer.close(FAILED, style(retryable=True))
    assert kinds(group) == [*["content_block_stop"] * (count in {3, 7}), "error"]
    assert documents(group)[-1]["error"]["retryable"] is True


@pytest.mark.parametrize("ending", [Ending.CLIENT_DISCONNECTED, Ending.ABANDONED])
def test_nobody_is_told(ending):
    """A client that left gets nothing."""
    assert stream_writer().close(outcome(ending), style()) == b""


@pytest.mark.parametrize("mode", ["extended", "strict", "loud"])
def test_capped_answer(mode):
    """A cap in a whole answer is told in the client's mode."""
    writer = answer_writer()
    writer.send(EVENTS[:6])
    document = json.loads(writer.close(CAPPED, style(mode)))
    assert document["stop_reason"] == ("max_tokens" if mode == "strict" else "spend_cap_exceeded")
    assert ("error" in document) == (mode == "loud")
    assert document["content"][0]["thinking"] == "hm"


@given(st.integers(0, 60))
def test_rewind_anywhere(cut):
    """Frames that were not handed over are taken back: the client sees every block that began end once."""
    writer = stream_writer()
    frames = [frame + b"\n\n" for frame in writer.send(EVENTS).split(b"\n\n")[:-1]]
    pipe = EventPipe(MESSAGES.stream_reader(LIMITS, Answer()), writer, own())
    pipe.rewind(b"".join(frames[cut:]))
    seen = kinds(b"".join(frames[:cut]) + pipe.close(CAPPED, style("strict")))
    assert seen.count("content_block_start") == seen.count("content_block_stop")
    assert (seen.count("message_start"), seen[-1]) == (1, "message_stop")


def test_split():
    """A reading is cut between frames, and its visible bytes add up."""
    answer = Answer()
    reader = MESSAGES.stream_reader(LIMITS, answer)
    pipe = EventPipe(reader, MESSAGES.stream_writer(LISTENER, answer, LIMITS, is_translated=True), answer)
    reading = pipe.receive(fixture("tools"))
    whole_size = reading.output_bytes
    for allowed in range(0, whole_size + 2, 7):
        piece, rest = pipe.split(reading, allowed)
        assert piece.data + rest.data == reading.data
        assert piece.output_bytes + rest.output_bytes == whole_size
        assert piece.output_bytes <= allowed
    assert pipe.split(reading, whole_size)[1].data == b""


@pytest.mark.parametrize("name", ENDED)
def test_through_events(name):
    """What goes through events is to the client what the provider said."""
    want, answer = expected(name), Answer()
    writer = MESSAGES.stream_writer(LISTENER, answer, LIMITS, is_translated=False)
    pipe = EventPipe(MESSAGES.stream_reader(LIMITS, answer), writer, answer)
    stream = shown(feed(pipe, fixture(name), 50))
    message = client_message(stream + pipe.close(outcome(usage=answer.usage), style()))
    assert "".join(block.text for block in message.content if block.type == "text") == want["text"]
    calls = [[block.id, block.name, block.input] for block in message.content if block.type == "tool_use"]
    assert calls == [[call_id, tool, json.loads(given)] for call_id, tool, given in want["calls"]]
    assert (message.stop_reason, message.stop_sequence) == (want["finish"], want["stop_sequence"])


@pytest.mark.parametrize("name", WHOLE_NAMES)
def test_whole_answers(name):
    """A whole answer survives events, into a stream or into an answer."""
    want, answer = json.loads(whole_fixture(name)), Answer()
    events = []
    reader = MESSAGES.answer_reader(LIMITS, answer)
    reader.receive(whole_fixture(name))
    events = reader.receive_eof()
    ending = outcome(usage=answer.usage)
    stream = MESSAGES.stream_writer(LISTENER, answer, LIMITS, is_translated=False)
    message = client_message(stream.send(events) + stream.close(ending, style()))
    assert [block.model_dump(exclude_none=True) for block in message.content] == want["content"]
    writer = MESSAGES.answer_writer(LISTENER, answer, LIMITS, is_translated=False)
    writer.send(events)
    again = json.loads(writer.close(ending, style()))
    assert (again["content"], again["id"], again["stop_reason"]) == (want["content"], want["id"], want["stop_reason"])


plain_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
json_object = st.dictionaries(plain_text, plain_text | st.integers(-5, 5), max_size=3).map(json.dumps)


@st.composite
def event_sequences(draw):
    """Any legal answer that this wire can say: blocks in order or interleaved, pieces of any size."""
    waiting, sequence = [], [MessageStart("id-1", "m-1")]
    for index in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from([BlockKind.TEXT, BlockKind.REASONING, BlockKind.TOOL_CALL]))
        block, opaque = [BlockStart(index, kind)], None
        if kind is BlockKind.TOOL_CALL:
            block = [BlockStart(index, kind, f"toolu_{index}", draw(plain_text))]
            content = draw(json_object)
        else:
            content = draw(plain_text)
        if kind is BlockKind.REASONING:
            opaque = draw(st.sampled_from([None, SIGNATURE, REDACTED]))
            content = "" if opaque is REDACTED else content
        cut = draw(st.integers(0, len(content)))
        block += [BlockDelta(index, piece) for piece in (content[:cut], content[cut:]) if piece]
        waiting.append([*block, BlockEnd(index, opaque)])
    while waiting:
        number = draw(st.integers(0, min(1, len(waiting) - 1)))
        sequence.append(waiting[number].pop(0))
        waiting = [each for each in waiting if each]
    end = draw(
        st.sampled_from([
            MessageEnd(FinishReason.STOP, "end_turn"),
            MessageEnd(FinishReason.STOP, "stop_sequence", "END"),
            MessageEnd(FinishReason.LENGTH, "max_tokens"),
            MessageEnd(FinishReason.OTHER, "pause_turn"),
        ])
    )
    return [*sequence, end]


def blocks_of(events):
    """Return each block whole: what a client knows of it, whatever the pieces were."""
    blocks = {}
    for event in events:
        if isinstance(event, BlockStart):
            blocks[event.index] = [event.kind, event.call_id, event.name, "", None]
        elif isinstance(event, BlockDelta):
            blocks[event.index][3] += event.text
        elif isinstance(event, BlockEnd):
            blocks[event.index][4] = event.opaque
    return sorted(blocks.values(), key=repr)


@given(event_sequences(), st.integers(1, 80))
def test_round_trip(events, size):
    """Whatever is written is read again: the same blocks, the same end."""
    grammar = StreamGrammar()
    for event in events:
        grammar.advance(event)
    data = written(events, is_translated=False)
    client_message(data)
    reader = MESSAGES.stream_reader(LIMITS, Answer())
    again = [event for at in range(0, len(data), size) for event in reader.receive(data[at : at + size])]
    again += reader.receive_eof()
    assert (again[0], again[-1]) == (events[0], events[-1])
    assert blocks_of(again) == blocks_of(events)
    assert reader.answer.usage == USAGE


@given(event_sequences())
def test_whole_round_trip(events):
    """A whole answer that is written is read again: the same blocks in the same order, the same end."""
    data = json.dumps(whole(events, is_translated=False)).encode()
    reader = MESSAGES.answer_reader(LIMITS, Answer())
    reader.receive(data)
    again = reader.receive_eof()
    assert (again[0], again[-1]) == (events[0], events[-1])
    assert blocks_of(again) == blocks_of(events)
    assert reader.answer.usage == USAGE
