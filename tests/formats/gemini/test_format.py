"""The Gemini format as the pipes use it: round trips, any cut, and a client of another format behind it."""

import base64
import json

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ainf.formats.base import Answer
from ainf.formats.chat.format import CHAT
from ainf.formats.format import open_pipe
from ainf.formats.gemini.format import GEMINI
from ainf.inference.conversation import (
    AnswerFormat,
    AnswerKind,
    Conversation,
    Document,
    Image,
    Message,
    Opaque,
    Reasoning,
    ReasoningAsk,
    Role,
    Text,
    ToolCall,
    ToolChoice,
    ToolDefinition,
    ToolMode,
    ToolResult,
)
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
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage
from tests.formats.gemini.support import (
    LIMITS,
    LISTENER,
    NAMES,
    answer_of,
    check_types,
    documents,
    expected,
    feed,
    fixture,
    is_ended,
    read,
    shown,
    style,
)

ENDED = [name for name in NAMES if is_ended(name)]
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
names = st.text("abcdefgh_", min_size=1, max_size=8)
signatures = st.binary(min_size=1, max_size=9).map(lambda data: base64.b64encode(data).decode())
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words
objects = st.dictionaries(names, scalars | st.lists(scalars, max_size=3), max_size=3)
arguments = objects.map(lambda told: json.dumps(told, ensure_ascii=False, separators=(",", ":")))
usages = st.builds(
    lambda cached, more, reasoning, rest: Usage(cached + more, cached, reasoning + rest, reasoning),
    *[st.integers(0, 10_000)] * 4,
)
relaxed = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


def block(index, kind, texts=(), opaque=None, **fields):
    return [
        BlockStart(index, kind, **fields),
        *(BlockDelta(index, text) for text in texts),
        BlockEnd(index, opaque),
    ]


@st.composite
def event_streams(draw):
    """Draw a grammatical stream that the Gemini wire can carry: its blocks follow one another.

    Neighbours of one kind are parted by a signature; a signature without text belongs to the block behind it.
    """
    events, index, last, has_called = [MessageStart(draw(names), draw(names))], 0, None, False
    for kind in draw(st.lists(st.sampled_from(["text", "reasoning", "call"]), max_size=6)):
        signature = draw(st.none() | signatures)
        if kind == "reasoning":
            if last == "open reasoning":
                continue
            opaque = signature and Opaque("gemini", signature)
            events += block(index, BlockKind.REASONING, draw(st.lists(words, min_size=1, max_size=3)), opaque)
            last = "reasoning" if signature else "open reasoning"
        else:
            if kind == "text" and last == "text" and not signature:
                continue
            if signature:
                events += block(index, BlockKind.REASONING, (), Opaque(f"gemini.{kind}", signature))
                index += 1
            if kind == "text":
                events += block(index, BlockKind.TEXT, draw(st.lists(words, min_size=1, max_size=3)))
            else:
                events += block(index, BlockKind.TOOL_CALL, [draw(arguments)], call_id=draw(names), name=draw(names))
                has_called = True
            last = kind
        index += 1
    reason = draw(st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY", "OTHER"]))
    finish = {
        "STOP": FinishReason.TOOL_CALLS if has_called else FinishReason.STOP,
        "MAX_TOKENS": FinishReason.LENGTH,
        "SAFETY": FinishReason.CONTENT_FILTER,
        "OTHER": FinishReason.OTHER,
    }[reason]
    return [*events, UsageUpdate(draw(usages)), MessageEnd(finish, reason)]


def merged(events):
    """Return what a stream says: head, blocks in order with their deltas joined, the last usage, the end."""
    blocks, rest, usage = {}, [], None
    for event in events:
        match event:
            case BlockStart():
                blocks[event.index] = [event, "", None]
            case BlockDelta():
                blocks[event.index][1] += event.text
            case BlockEnd():
                blocks[event.index][2] = event.opaque
            case UsageUpdate():
                usage = event.usage
            case _:
                rest.append(event)
    return rest, [(attrs.evolve(start, index=0), *told) for start, *told in blocks.values()], usage


def completed(usage):
    return Outcome(Verdict(Ending.COMPLETED), None, usage, Evidence.REPORTED, 0)


@relaxed
@given(event_streams(), st.booleans())
def test_stream_round_trip(events, is_translated):
    """Any events -> a stream that the SDK takes -> the same events, whoever says the reason."""
    usage = merged(events)[2]
    writer = GEMINI.stream_writer(LISTENER, Answer(), LIMITS, is_translated=is_translated)
    data = writer.send(events) + writer.close(completed(usage), style())
    for document in documents(data):
        check_types(document)
    found = merged(read(GEMINI.stream_reader(LIMITS, Answer()), data))
    if is_translated:
        events = [attrs.evolve(events[0], model="asked-for"), *events[1:]]
    assert found == merged(events)


@relaxed
@given(event_streams())
def test_answer_round_trip(events):
    """Any events -> a whole answer that the SDK takes -> the same events."""
    start, usage = events[0], merged(events)[2]
    answer = Answer(response_id=start.response_id, model=start.model)
    writer = GEMINI.answer_writer(LISTENER, answer, LIMITS, is_translated=False)
    assert writer.send(events) == b""
    body = writer.close(completed(usage), style())
    check_types(json.loads(body))
    assert merged(read(GEMINI.answer_reader(LIMITS, Answer()), body)) == merged(events)


@st.composite
def conversations(draw):
    """Draw a conversation that the Gemini wire can carry as it is: roles take turns, calls precede results."""
    number, messages, called = 0, [], []
    instruction = draw(st.none() | words)
    if instruction:
        messages.append(Message(Role.SYSTEM, (Text(instruction),), "systemInstruction"))
    for turn in range(draw(st.integers(1, 4))):
        at = f"contents[{turn}]"
        if turn % 2:
            parts = []
            for kind in draw(st.lists(st.sampled_from(["text", "thought", "call"]), min_size=1, max_size=4)):
                signature = draw(st.none() | signatures)
                if kind == "thought":
                    parts.append(Reasoning(draw(words), signature and Opaque("gemini", signature)))
                    continue
                # The first call of a turn that goes on is always signed, so that no placeholder takes the place.
                if signature or kind == "call":
                    parts.append(Reasoning("", Opaque(f"gemini.{kind}", signature or "AAAA")))
                if kind == "call":
                    call = ToolCall(f"c-{number}", draw(names), draw(arguments))
                    number += 1
                    called.append(call)
                    parts.append(call)
                else:
                    parts.append(Text(draw(words)))
            messages.append(Message(Role.ASSISTANT, tuple(parts), at))
            continue
        parts = [
            ToolResult(
                call.call_id, draw(st.sampled_from([(), (Text("ok"),), (Text("ok"), IMAGE)])), draw(st.booleans())
            )
            for call in called
        ]
        called = []
        parts += draw(st.lists(st.builds(Text, words) | st.sampled_from([IMAGE, LINK, PDF]), min_size=1, max_size=3))
        messages.append(Message(Role.USER, tuple(parts), at))
    return Conversation(messages=tuple(messages), **draw(settings_of_requests()))


IMAGE = Image(media_type="image/png", data="AA==")
LINK = Image(url="https://example.com/a", media_type="image/png")
PDF = Document(media_type="application/pdf", data="AA==")


def settings_of_requests():
    """Draw what is asked beside the messages."""
    tool = st.builds(
        ToolDefinition,
        name=names,
        path=st.just(""),
        description=st.none() | words,
        schema=st.none() | objects,
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "tools": st.lists(tool, min_size=1, max_size=2).map(
                lambda tools: tuple(
                    attrs.evolve(each, path=f"tools[0].functionDeclarations[{n}]") for n, each in enumerate(tools)
                )
            ),
            "tool_choice": st.sampled_from([ToolChoice(ToolMode.REQUIRED), ToolChoice(ToolMode.NAMED, "f")]),
            "max_output_tokens": st.integers(1, 9999),
            "temperature": st.floats(0, 2),
            "top_p": st.floats(0, 1),
            "top_k": st.integers(1, 99),
            "stop": st.lists(words, min_size=1, max_size=2).map(tuple),
            "seed": st.integers(0, 99),
            "frequency_penalty": st.floats(-2, 2),
            "presence_penalty": st.floats(-2, 2),
            "reasoning": st.sampled_from([
                ReasoningAsk("low"), ReasoningAsk(budget_tokens=0), ReasoningAsk("xhigh", is_shown=True),
                ReasoningAsk(is_adaptive=True), ReasoningAsk(budget_tokens=99, is_shown=False),
            ]),
            "answer_format": st.sampled_from([
                AnswerFormat(AnswerKind.TEXT), AnswerFormat(AnswerKind.JSON),
                AnswerFormat(AnswerKind.SCHEMA, name="T", schema={"title": "T", "type": "object"}),
            ]),
        },
    )  # fmt: skip


@relaxed
@given(conversations())
def test_request_round_trip(conversation):
    """Any conversation -> a request -> the same conversation, with nothing left unsaid or unknown."""
    written = GEMINI.write_request(conversation)
    found = GEMINI.read_request(json.loads(json.dumps(written.fields)))
    assert (written.unsaid, found.unknown) == ((), ())
    assert attrs.evolve(found, names={}) == conversation
    assert GEMINI.reasoning_of(written.fields) == conversation.reasoning


def through(client, data, listener, size=None):
    pipe = open_pipe(client, GEMINI, listener, LIMITS)
    readings = feed(pipe, data, size)
    usage = pipe.answer.usage or Usage()
    return shown(readings) + pipe.close(completed(usage), style()), readings, pipe


@pytest.mark.threat(110)
@pytest.mark.parametrize("name", ENDED)
@pytest.mark.parametrize("size", [None, 1])
def test_a_chat_client_gets_it_all(name, size):
    """A client of another format gets text, thoughts, calls and usage as they come, natively."""
    want = expected(name)
    data, readings, pipe = through(CHAT, fixture(name), LISTENER, size)
    assert not pipe.is_wrapped
    assert data.endswith(b"data: [DONE]\n\n")
    chunks = [json.loads(line[6:]) for line in data.splitlines() if line.startswith(b"data: {")]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == want["text"]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == want["reasoning"]
    calls = [call for delta in deltas for call in delta.get("tool_calls") or ()]
    assert "".join(call["function"]["arguments"] for call in calls) == "".join(each[2] for each in want["calls"])
    assert [call["id"] for call in calls if call.get("id")] == [each[0] for each in want["calls"]]
    assert chunks[-1]["usage"]["prompt_tokens"] == want["usage"][0]
    assert sum(reading.output_bytes for reading in readings) > 0


@pytest.mark.parametrize("client", [CHAT, GEMINI])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", ENDED)
@relaxed
@given(cuts=st.lists(st.integers(1, 200), max_size=20))
def test_any_cut(client, stream, name, cuts):
    """Whatever is asked for and by whom, any cut of a stream gives the client the same bytes."""
    listener, data = attrs.evolve(LISTENER, stream=stream), fixture(name)
    whole, _, _ = through(client, data, listener)
    pipe, readings, at = open_pipe(client, GEMINI, listener, LIMITS), [], 0
    for cut in cuts:
        readings.append(pipe.receive(data[at : at + cut]))
        at += cut
    readings += feed(pipe, data[at:])
    assert shown(readings) + pipe.close(completed(pipe.answer.usage or Usage()), style()) == whole


@pytest.mark.parametrize("body", [answer_of(), b"[" + answer_of() + b"]"])
def test_a_whole_answer_for_a_stream(body):
    """JSON where a stream was asked for, also the array of a stream without SSE, is wrapped into a stream."""
    for client in (CHAT, GEMINI):
        data, _, pipe = through(client, body, LISTENER)
        assert pipe.is_wrapped
        assert b"Hi" in data
    assert check_types(documents(data)[-1]).candidates[0].finish_reason == "STOP"


def test_collect_and_relay():
    """Equal formats hand on the bytes."""
    body = answer_of()
    assert through(GEMINI, body, attrs.evolve(LISTENER, stream=False))[0] == body
    assert through(GEMINI, fixture("text"), LISTENER)[0] == fixture("text")
