"""What the tests over all formats share: streams of events that every format can carry, and what a stream says."""

import json
from pathlib import Path

import attrs
from hypothesis import strategies as st

from ainf.formats.base import EndingStyle, Listener, PipeLimits
from ainf.formats.registry import FORMATS
from ainf.inference.events import (
    TOOL_KINDS,
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
STYLE = EndingStyle(finish_reasons="extended", inference_id="inf-1", created=1800000000, model="asked", retryable=False)
TEXT_KINDS = [BlockKind.TEXT, BlockKind.REASONING, BlockKind.REFUSAL]

FIXTURES = Path(__file__).parent / "fixtures"
ANSWERS = {
    (name, path.stem): path.read_bytes()
    for name in FORMATS
    for path in sorted((FIXTURES / name).glob("*"))
    if path.suffix in {".sse", ".json"} and not path.name.endswith(".expected.json")
}
"""What providers answer, by format and case."""

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
names = st.text("abcdefgh_", min_size=1, max_size=8)
usages = st.builds(
    lambda cached, more, reasoning, rest: Usage(cached + more, cached, reasoning + rest, reasoning),
    *[st.integers(0, 10_000)] * 4,
)
inputs = st.dictionaries(
    words, st.one_of(words, st.integers(-(1 << 53), 1 << 53), st.booleans(), st.none()), max_size=3
)


def read_plainly(stream: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the payloads and names of a stream's events: the standard, written down once more in the simplest way."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    payloads, names, data, name = [], [], None, b""
    for line in [*text.split(b"\n"), b""]:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if data is not None:
                payloads.append(data)
                names.append(name or b"message")
            data, name = None, b""
        elif field == b"data":
            data = value if data is None else data + b"\n" + value
        elif field == b"event":
            name = value
    return payloads, names


def listener(*, stream):
    return Listener(stream=stream, include_usage=True, model="asked", inference_id="inf-1", created=1800000000)


def completed(usage):
    return Outcome(Verdict(Ending.COMPLETED), None, usage or Usage(), Evidence.REPORTED, 0)


def pieces_of(draw, text):
    """Draw a way to part a text."""
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True) if a < b]


@st.composite
def text_blocks(draw, kinds):
    """Draw blocks of text that follow one another, neighbours of different kinds."""
    events, kind = [], None
    for index in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from([other for other in kinds if other is not kind]))
        events.append(BlockStart(index, kind))
        events += [BlockDelta(index, piece) for piece in draw(st.lists(words, min_size=1, max_size=4))]
        events.append(BlockEnd(index))
    return events


@st.composite
def call_blocks(draw, first):
    """Draw calls of functions, their arguments in pieces, one after the other or with pieces that alternate."""
    starts, pieces = [], []
    for number in range(draw(st.integers(0, 3))):
        index = first + number
        starts.append(BlockStart(index, BlockKind.TOOL_CALL, f"call_{number}", draw(names)))
        pieces.append([BlockDelta(index, piece) for piece in pieces_of(draw, json.dumps(draw(inputs)))])
    if draw(st.booleans()):
        return [
            event
            for start, deltas in zip(starts, pieces, strict=True)
            for event in (start, *deltas, BlockEnd(start.index))
        ]
    events = list(starts)
    while any(pieces):
        events.append(draw(st.sampled_from([deltas for deltas in pieces if deltas])).pop(0))
    return events + [BlockEnd(start.index) for start in starts]


@st.composite
def event_streams(draw, kinds=TEXT_KINDS):
    """Draw a grammatical stream that every format can carry: text, calls, usage and an end that fits them."""
    texts = draw(text_blocks(kinds))
    calls = draw(call_blocks(len(texts)))
    usual = FinishReason.TOOL_CALLS if calls else FinishReason.STOP
    reason = draw(st.sampled_from([usual, FinishReason.LENGTH, FinishReason.CONTENT_FILTER, FinishReason.OTHER]))
    start = MessageStart(draw(names), draw(names))
    return [start, *texts, *calls, UsageUpdate(draw(usages)), MessageEnd(reason, reason.value)]


def usage_in(events):
    """Return the last usage of a stream; None where it says none."""
    return next((event.usage for event in reversed(events) if isinstance(event, UsageUpdate)), None)


def said(events, *, has_refusals=False):
    """Return what a stream says: its text in runs of a kind, its calls, the kind of its end; and check its grammar.

    Which block a piece stood in is lost where neighbours are of one kind. Arguments are compared as the JSON that they
    are, where they are.

    Args:
        events: the stream.
        has_refusals: whether a refusal is told from text; not every format does.
    """
    grammar, runs, calls, kinds, end = StreamGrammar(), [], {}, {}, None
    for event in events:
        grammar.advance(event)
        match event:
            case BlockStart():
                is_text = event.kind is BlockKind.REFUSAL and not has_refusals
                kinds[event.index] = BlockKind.TEXT if is_text else event.kind
                if event.kind in TOOL_KINDS:
                    calls[event.index] = [event.kind, event.name, ""]
            case BlockDelta() if event.index in calls:
                calls[event.index][2] += event.text
            case BlockDelta():
                kind = kinds[event.index]
                if runs and runs[-1][0] is kind:
                    runs[-1][1] += event.text
                else:
                    runs.append([kind, event.text])
            case MessageEnd():
                end = event.reason
    return runs, [[kind, name, json_of(text)] for kind, name, text in calls.values()], end


def as_told(name, events):
    """Return events as a format tells them: to Messages clients, an answer that refuses ends as a refusal."""
    refuses = any(isinstance(event, BlockStart) and event.kind is BlockKind.REFUSAL for event in events)
    if name != "messages" or not refuses:
        return events
    return [
        attrs.evolve(event, reason=FinishReason.CONTENT_FILTER)
        if isinstance(event, MessageEnd) and event.reason is FinishReason.STOP
        else event
        for event in events
    ]


def joined(runs):
    """Return runs of text with each kind joined: a whole answer of some formats says no more."""
    return {kind: "".join(text for other, text in runs if other is kind) for kind in TEXT_KINDS}


def json_of(text):
    """Return the JSON value of a call's arguments; the text itself where it is none. No arguments are none."""
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


def counts(usage):
    """Return the counts that every format has."""
    if usage is None:
        return None
    return usage.input_tokens, usage.cached_input_tokens, usage.output_tokens, usage.reasoning_tokens


def read(reader, data, cuts=()):
    """Return all events of an answer that comes in these cuts, and to its clean end."""
    events, at = [], 0
    for cut in cuts:
        events += reader.receive(data[at : at + cut])
        at += cut
    return [*events, *reader.receive(data[at:]), *reader.receive_eof()]
