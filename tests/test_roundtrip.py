"""Any grammatical event stream -> writer -> reader of the same format -> the same answer, deltas merged.

Of all grammatical streams, those that the chat wire can carry: pieces of text, reasoning and refusal stand one block
after another, neighbours of different kinds; tool calls may be interleaved and stay open until the end.
"""

import attrs
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.base import Answer, EndingStyle, PipeLimits
from ainf.formats.chat.reader import ChatAnswerReader, ChatStreamReader
from ainf.formats.chat.writer import ChatAnswerWriter, ChatStreamWriter
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
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage

LIMITS = PipeLimits(line=1 << 20, event=1 << 20, answer=1 << 20)
STYLE = EndingStyle(finish_reasons="extended", inference_id="i", created=1, model="m", retryable=False)
TEXT_KINDS = [BlockKind.TEXT, BlockKind.REASONING, BlockKind.REFUSAL]
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
names = st.text("abcdefgh_", min_size=1, max_size=8)
ends = st.sampled_from([
    MessageEnd(FinishReason.STOP, "stop"),
    MessageEnd(FinishReason.LENGTH, "length"),
    MessageEnd(FinishReason.TOOL_CALLS, "tool_calls"),
    MessageEnd(FinishReason.CONTENT_FILTER, "content_filter"),
    MessageEnd(FinishReason.OTHER, "weird"),
])
usages = st.builds(
    lambda cached, more, reasoning, rest: Usage(cached + more, cached, reasoning + rest, reasoning),
    *[st.integers(0, 10_000)] * 4,
)


@st.composite
def event_streams(draw):
    """Draw a grammatical stream that the chat wire can carry."""
    events = [MessageStart(draw(names), draw(names))]
    index, kind = 0, None
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from([other for other in TEXT_KINDS if other is not kind]))
        events.append(BlockStart(index, kind))
        events += [BlockDelta(index, piece) for piece in draw(st.lists(words, min_size=1, max_size=4))]
        events.append(BlockEnd(index))
        index += 1
    calls = [
        BlockStart(index + n, BlockKind.TOOL_CALL, f"call_{n}", draw(names)) for n in range(draw(st.integers(0, 3)))
    ]
    events += calls
    for call in draw(st.lists(st.sampled_from(calls), max_size=8)) if calls else ():
        events.append(BlockDelta(call.index, draw(words)))
    events += [BlockEnd(call.index) for call in calls]
    return [*events, UsageUpdate(draw(usages)), draw(ends)]


def merged(events):
    """Return what a stream says: head, blocks in order with their deltas joined, usage, end; and check its grammar."""
    grammar, blocks, rest = StreamGrammar(), {}, []
    for event in events:
        grammar.advance(event)
        match event:
            case BlockStart():
                blocks[event.index] = [event.kind, event.call_id, event.name, ""]
            case BlockDelta():
                blocks[event.index][3] += event.text
            case MessageStart() | MessageEnd() | UsageUpdate():
                rest.append(event)
    assert grammar.ended
    return list(blocks.values()), sorted(rest, key=lambda event: type(event).__name__)


def outcome_of(events):
    usage = next(event.usage for event in events if isinstance(event, UsageUpdate))
    return Outcome(Verdict(Ending.COMPLETED), None, usage, Evidence.REPORTED, 0)


def read(reader, data, cuts):
    events, at = [], 0
    for cut in cuts:
        events += reader.receive(data[at : at + cut])
        at += cut
    return [*events, *reader.receive(data[at:]), *reader.receive_eof()]


@given(event_streams(), st.lists(st.integers(1, 90), max_size=30))
def test_stream(events, cuts):
    """A chat stream written from events is read back as the same events, at any cut of its bytes."""
    writer = ChatStreamWriter(include_usage=True, answer=Answer())
    data = writer.send(events) + writer.close(outcome_of(events), STYLE)
    assert merged(read(ChatStreamReader(limits=LIMITS), data, cuts)) == merged(events)


@given(event_streams())
def test_answer(events):
    """A whole chat answer written from events is read back as the same answer, with each kind of text joined."""
    start = events[0]
    writer = ChatAnswerWriter(answer=Answer(response_id=start.response_id, model=start.model), limit=1 << 20)
    assert writer.send(events) == b""
    data = writer.close(outcome_of(events), STYLE)
    assert by_kind(read(ChatAnswerReader(limits=LIMITS), data, [])) == by_kind(events)


def by_kind(events):
    """Return what a stream says where the order of different kinds of text is lost, as in a whole answer."""
    blocks, rest = merged(events)
    texts = {kind: "".join(block[3] for block in blocks if block[0] is kind) for kind in TEXT_KINDS}
    return texts, [block for block in blocks if block[0] is BlockKind.TOOL_CALL], rest


def test_the_check_can_fail():
    """A delta that is lost on the way is noticed."""
    start = [MessageStart("a", "b"), BlockStart(0, BlockKind.TEXT), BlockDelta(0, "x"), BlockEnd(0)]
    end = [MessageEnd(FinishReason.STOP, "stop")]
    changed = [attrs.evolve(event, text="y") if isinstance(event, BlockDelta) else event for event in start]
    assert merged(start + end) != merged(changed + end)
