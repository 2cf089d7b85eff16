"""What is written is read back, over all formats and every pair of them."""

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.base import Answer
from ainf.formats.format import open_pipe
from ainf.formats.registry import FORMATS
from ainf.formats.translate import translate_fields
from ainf.inference.conversation import (
    AnswerFormat,
    AnswerKind,
    Conversation,
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
from ainf.inference.errors import DownstreamError, UpstreamError
from ainf.inference.events import (
    BlockDelta,
    BlockEnd,
    BlockKind,
    BlockStart,
    FinishReason,
    MessageEnd,
    MessageStart,
)
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage
from tests.event_streams import (
    ANSWERS,
    LIMITS,
    STYLE,
    as_told,
    completed,
    counts,
    event_streams,
    joined,
    listener,
    read,
    said,
    usage_in,
)

HAS_REFUSALS = {"chat", "responses"}
"""Formats that tell a refusal from text."""
HAS_CUSTOM_TOOLS = ["chat", "responses"]
"""Formats with tools that take free-form input."""
CUTS = st.lists(st.integers(1, 90), max_size=30)


def written(name, events, *, stream, is_translated, answer=None):
    """Return the bytes of an answer that is written from events."""
    start = events[0]
    answer = answer or Answer(response_id=start.response_id, model=start.model)
    make = FORMATS[name].stream_writer if stream else FORMATS[name].answer_writer
    writer = make(listener(stream=stream), answer, LIMITS, is_translated=is_translated)
    data = b"".join(writer.send([event]) for event in events)
    return data + writer.close(completed(usage_in(events)), STYLE)


def read_back(name, data, cuts=(), *, stream):
    """Return the events of an answer, and what was learnt of it."""
    make = FORMATS[name].stream_reader if stream else FORMATS[name].answer_reader
    reader = make(LIMITS, Answer())
    return read(reader, data, cuts), reader.answer


@pytest.mark.parametrize("name", FORMATS)
@given(event_streams(), CUTS)
def test_stream(name, events, cuts):
    """A stream written from events is read back as the same events, deltas merged, at any cut of its bytes."""
    found, answer = read_back(name, written(name, events, stream=True, is_translated=True), cuts, stream=True)
    has_refusals = name in HAS_REFUSALS
    assert said(found, has_refusals=has_refusals) == said(as_told(name, events), has_refusals=has_refusals)
    assert counts(usage_in(found)) == counts(usage_in(events))
    assert (answer.error, answer.opaque_frames, answer.is_usage_rejected) == (None, 0, False)


@pytest.mark.parametrize("name", FORMATS)
@given(event_streams())
def test_answer(name, events):
    """A whole answer written from events is read back as the same answer."""
    found, answer = read_back(name, written(name, events, stream=False, is_translated=True), stream=False)
    (runs, *rest), (wanted_runs, *wanted_rest) = (
        said(stream, has_refusals=name in HAS_REFUSALS) for stream in (found, as_told(name, events))
    )
    assert (joined(runs), rest) == (joined(wanted_runs), wanted_rest)
    assert counts(usage_in(found)) == counts(usage_in(events))
    assert (answer.error, answer.opaque_frames, answer.is_usage_rejected) == (None, 0, False)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("stream", [True, False])
@given(event_streams())
def test_own_words(name, stream, events):
    """What a format's own words say goes through its reader and writer unchanged: names, raw reason, usage."""
    first, answer = read_back(name, written(name, events, stream=stream, is_translated=True), stream=stream)
    data = written(name, first, stream=stream, is_translated=False, answer=answer)
    second, again = read_back(name, data, stream=stream)
    assert said(second) == said(first)
    assert second[0] == first[0]
    assert usage_in(second) == usage_in(first)
    assert (again.response_id, again.model, again.raw_finish_reason, again.finish) == (
        answer.response_id,
        answer.model,
        answer.raw_finish_reason,
        answer.finish,
    )


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("stream", [True, False])
@given(event_streams())
def test_call_ids(name, stream, events):
    """A call keeps its id, by which its result will find it."""
    found, _ = read_back(name, written(name, events, stream=stream, is_translated=True), stream=stream)
    ids = [event.call_id for event in events if isinstance(event, BlockStart) and event.kind is BlockKind.TOOL_CALL]
    assert ids == [event.call_id for event in found if isinstance(event, BlockStart) and event.call_id is not None]


def translated(client, provider, data, *, stream, size=None):
    """Return what a client gets of a provider's answer, and what was learnt of it."""
    pipe = open_pipe(FORMATS[client], FORMATS[provider], listener(stream=stream), LIMITS)
    size = size or max(len(data), 1)
    readings = [pipe.receive(data[at : at + size]) for at in range(0, len(data), size)]
    try:
        readings.append(pipe.receive_eof())
    except UpstreamError as error:  # as whoever relays takes it
        pipe.answer.error = error
    if pipe.answer.error is None:
        outcome = completed(pipe.answer.usage)
    else:
        verdict = Verdict(Ending.UPSTREAM_ERROR, pipe.answer.error.code, pipe.answer.error.message)
        outcome = Outcome(verdict, None, Usage(), Evidence.METERED, 0)
    return b"".join(reading.data for reading in readings), outcome, pipe


@pytest.mark.parametrize("name", HAS_CUSTOM_TOOLS)
@pytest.mark.parametrize("stream", [True, False])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9), max_size=3))
def test_custom_calls(name, stream, pieces):
    """The free-form input of a custom tool's call is no JSON, and comes back as it was."""
    events = [
        MessageStart("a", "b"),
        BlockStart(0, BlockKind.CUSTOM_TOOL_CALL, "call_1", "f"),
        *(BlockDelta(0, piece) for piece in pieces),
        BlockEnd(0),
        MessageEnd(FinishReason.TOOL_CALLS, "tool_calls"),
    ]
    found, _ = read_back(name, written(name, events, stream=stream, is_translated=True), stream=stream)
    assert said(found) == said(events)


REPLAYS = {
    "chat": lambda body: {"messages": [body["choices"][0]["message"]]},
    "messages": lambda body: {"max_tokens": 9, "messages": [{"role": "assistant", "content": body["content"]}]},
    "responses": lambda body: {"input": body["output"]},
    "gemini": lambda body: {"contents": [body["candidates"][0]["content"]]},
}
"""How a client of each format sends an answer back when the conversation goes on."""

OPAQUES = [
    Opaque("chat", '{"type":"reasoning.encrypted","data":"c2VjcmV0"}'),
    Opaque("messages.signature", "c2VjcmV0"),
    Opaque("messages.redacted", "c2VjcmV0"),
    Opaque("responses", "rs_1:c2VjcmV0"),
    Opaque("gemini.call", "c2VjcmV0"),
]


@pytest.mark.parametrize("client", FORMATS)
@pytest.mark.parametrize("opaque", OPAQUES, ids=lambda opaque: opaque.source)
def test_what_a_provider_wants_back_comes_back(client, opaque):
    """Opaque data survives the way to any client and back, and is its own provider's again."""
    events = [
        MessageStart("a", "b"),
        BlockStart(0, BlockKind.REASONING),
        BlockEnd(0, opaque),
        BlockStart(1, BlockKind.TOOL_CALL, "call_1", "f"),
        BlockDelta(1, '{"a":1}'),
        BlockEnd(1),
        MessageEnd(FinishReason.TOOL_CALLS, "tool_calls"),
    ]
    body = json.loads(written(client, events, stream=False, is_translated=True))
    conversation = FORMATS[client].read_request(REPLAYS[client](body))
    parts = [part for message in conversation.messages for part in message.parts]
    assert [part.opaque for part in parts if isinstance(part, Reasoning)] == [opaque]
    assert [(part.name, part.call_id) for part in parts if isinstance(part, ToolCall)] == [("f", "call_1")]
    home = FORMATS[opaque.source.partition(".")[0]]
    assert "c2VjcmV0" in json.dumps(home.write_request(conversation).fields)
    for other in FORMATS.values():
        if other is not home:
            assert "c2VjcmV0" not in json.dumps(other.write_request(conversation).fields)


def is_whole(data):
    return data.lstrip()[:1] in {b"{", b"["}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("client", "provider", "case"),
    [
        (client, *case)
        for client in FORMATS
        for case, data in ANSWERS.items()
        # A client of a format without custom tools cannot have offered one.
        if client in HAS_CUSTOM_TOOLS or b'"custom_tool_call"' not in data
    ],
)
def test_every_pair(client, provider, case, stream):
    """Whatever a provider answers, each client is told the same text, reasoning, calls, kind of end and usage."""
    data = ANSWERS[provider, case]
    prefix, outcome, pipe = translated(client, provider, data, stream=stream)
    if pipe.answer.error is not None:
        check_failure(client, prefix, outcome, pipe, stream=stream)
        return
    wanted, _ = read_back(provider, data, stream=not is_whole(data))
    found, answer = read_back(client, prefix + pipe.close(outcome, STYLE), stream=stream)
    (runs, calls, end), (wanted_runs, wanted_calls, wanted_end) = (
        said(found), said(wanted if client == provider else as_told(client, wanted)),
    )  # fmt: skip
    assert joined(runs) == joined(wanted_runs)
    assert (calls, end) == (wanted_calls, wanted_end)
    assert counts(usage_in(found)) == counts(usage_in(wanted))
    assert (answer.error, answer.opaque_frames) == (None, 0)
    if stream:
        assert runs == wanted_runs


def check_failure(client, prefix, outcome, pipe, *, stream):
    """A provider's error in its stream ends the client's stream as one, behind what came before."""
    assert pipe.answer.raw_finish_reason is None
    if stream:
        found, answer = read_back(client, prefix + pipe.close(outcome, STYLE), stream=True)
        assert answer.error is not None
        assert answer.raw_finish_reason is None
        assert not [event for event in found if isinstance(event, MessageEnd)]


PNG = Image(media_type="image/png", data="iVBORw0KGgo=")
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
DIALOGUE = (
    Message(Role.SYSTEM, (Text("Be brief."),), "messages[0]"),
    Message(Role.USER, (Text("What is this?"), PNG, Image(url="https://example.com/a.png")), "messages[1]"),
    Message(
        Role.ASSISTANT, (Text("I look."), ToolCall("call_1", "f", '{"a":"é"}'), ToolCall("call_2", "g", "{}")), "2"
    ),
    Message(Role.USER, (ToolResult("call_1", (Text("red"),)), ToolResult("call_2", (Text("blue"),))), "messages[3]"),
    Message(Role.ASSISTANT, (Text("Red and blue."),), "messages[4]"),
    Message(Role.USER, (Text("Sure?"),), "messages[5]"),
)
BASE = Conversation(messages=DIALOGUE, max_output_tokens=9)
TOOLS = (ToolDefinition("f", "tools[0]", "Does f.", SCHEMA), ToolDefinition("g", "tools[1]", "Does g."))
ATTRIBUTES = {
    "tools": TOOLS,
    "tool_choice": ToolChoice(ToolMode.REQUIRED),
    "parallel_tool_calls": False,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 3,
    "stop": ("END", "STOP"),
    "seed": 7,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "reasoning": ReasoningAsk("low"),
    "answer_format": AnswerFormat(AnswerKind.SCHEMA, "shape", schema=SCHEMA),
    "verbosity": "low",
    "user": "someone",
    "metadata": {"a": "b"},
    "store": True,
    "prompt_cache_key": "key",
}

UNSAID = {
    "chat": {"top_k"},
    "messages": {
        "seed", "frequency_penalty", "presence_penalty", "verbosity", "metadata", "store", "prompt_cache_key",
    },
    "responses": {"top_k", "stop", "seed", "frequency_penalty", "presence_penalty"},
    "gemini": {"parallel_tool_calls", "verbosity", "user", "metadata", "store", "prompt_cache_key"},
}  # fmt: skip
"""What each format cannot say."""


def asking(attribute):
    """Return a conversation that asks for one thing more, with the tools that it may need."""
    return attrs.evolve(BASE, **{"tools": TOOLS, attribute: ATTRIBUTES[attribute]})


def asked_of(conversation, attribute):
    """Return what a conversation asks for, as all formats know it; None where it asks for nothing."""
    value = getattr(conversation, attribute)
    match attribute:
        case "tools":
            return [(tool.name, tool.description, (tool.schema or {}).get("properties") or {}) for tool in value]
        case "answer_format":
            return None if value is None else value.kind
        case "reasoning":
            return None if value is None else value.effort
        case "store":  # what nobody keeps is what nobody asked to be kept
            return value or None
        case _:
            return None if value == () else value


def spoken(conversation):
    """Return who says what in which order; where one message ends and another of the same speaker begins is lost."""
    return [(message.role, plain(part)) for message in conversation.messages for part in message.parts]


def plain(part):
    """Return a part as all formats know it: arguments as values; an image's defaults left out."""
    match part:
        case ToolCall():
            return attrs.evolve(part, arguments=json.loads(part.arguments))
        case Image():
            media_type = part.media_type if part.url is None else None
            return attrs.evolve(part, media_type=media_type, detail=None if part.detail == "auto" else part.detail)
        case _:
            return part


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_requests(name, attribute):
    """What a format says of a conversation, its reader understands: dialogue, tools and everything that is asked."""
    conversation = asking(attribute)
    written = FORMATS[name].write_request(conversation)
    again = FORMATS[name].read_request(written.fields)
    assert spoken(again) == spoken(conversation)
    assert again.unknown == ()
    assert again.max_output_tokens == 9
    assert [(tool.name, tool.description) for tool in again.tools] == [("f", "Does f."), ("g", "Does g.")]
    assert again.tools[0].schema == SCHEMA
    assert written.unsaid == ((attribute,) if attribute in UNSAID[name] else ())
    assert asked_of(again, attribute) == (None if written.unsaid else asked_of(conversation, attribute))


@pytest.mark.parametrize("client", FORMATS)
@pytest.mark.parametrize("provider", FORMATS)
@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_requests_of_every_pair(client, provider, attribute):
    """A request means the same in the provider's format; what cannot be said is refused by the client's own name."""
    fields = FORMATS[client].write_request(asking(attribute)).fields
    asked = FORMATS[client].read_request(fields)
    lost = [asked.name_of(name) for name in FORMATS[provider].write_request(asked).unsaid]
    if lost:
        assert lost == [asked.name_of(attribute)]
        assert lost[0].partition(".")[0] in fields
        with pytest.raises(DownstreamError) as caught:
            translate_fields(fields, FORMATS[client], FORMATS[provider], ())
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", lost[0])
    told, dropped = translate_fields(fields, FORMATS[client], FORMATS[provider], lost)
    assert list(dropped) == lost
    found = FORMATS[provider].read_request(told)
    assert spoken(found) == spoken(asked)
    assert asked_of(found, attribute) == (None if lost else asked_of(asked, attribute))


def test_the_check_can_fail():
    """A delta, a call's argument or an end that is lost on the way is noticed."""
    events = [
        MessageStart("a", "b"),
        BlockStart(0, BlockKind.TEXT),
        BlockDelta(0, "x"),
        BlockEnd(0),
        BlockStart(1, BlockKind.TOOL_CALL, "c", "f"),
        BlockDelta(1, '{"a": 1}'),
        BlockEnd(1),
        MessageEnd(FinishReason.STOP, "stop"),
    ]
    for at, change in ((2, {"text": "y"}), (4, {"name": "g"}), (5, {"text": '{"a": 2}'}),
                       (7, {"reason": FinishReason.OTHER})):  # fmt: skip
        changed = [*events[:at], attrs.evolve(events[at], **change), *events[at + 1 :]]
        assert said(changed) != said(events)
