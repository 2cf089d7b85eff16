import base64
import json

import attrs
import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ainf.formats.messages.format import MESSAGES as FORMAT
from ainf.inference.conversation import (
    AnswerFormat,
    AnswerKind,
    CacheMark,
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
from ainf.inference.errors import DownstreamError

PARAMS = TypeAdapter(MessageCreateParamsNonStreaming)
HI = Message(Role.USER, (Text("Hi"),), "messages[0]")
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
TOOL = ToolDefinition("f", "tools[0]", schema=SCHEMA)
CALL = Message(Role.ASSISTANT, (ToolCall("c", "f", "{}"),), "messages[1]")
RESULT = Message(Role.USER, (ToolResult("c", (Text("r"),)),), "messages[2]")
THOUGHT = Reasoning("hm", Opaque("messages.signature", "s"))


def write(**attributes):
    return FORMAT.write_request(Conversation(**{"messages": (HI,)} | attributes))


def validate(fields):
    """Hold a request against the official client's types."""
    request = json.loads(json.dumps(fields)) | {"model": "m", "max_tokens": fields.get("max_tokens", 1)}
    PARAMS.validate_python(request)


@pytest.mark.parametrize(
    ("attributes", "fields"),
    [
        ({}, {}),
        ({"max_output_tokens": 9, "temperature": 1.0, "top_p": 0.5, "top_k": 3, "stop": ("a",), "user": "u"},
         {"max_tokens": 9, "temperature": 1.0, "top_p": 0.5, "top_k": 3, "stop_sequences": ["a"],
          "metadata": {"user_id": "u"}}),
        ({"messages": (Message(Role.SYSTEM, (Text("s"),), "x"), HI)}, {"system": [{"type": "text", "text": "s"}]}),
        ({"store": False, "frequency_penalty": 0.0, "presence_penalty": 0.0, "verbosity": "medium", "metadata": {},
          "parallel_tool_calls": True}, {}),
        ({"tools": (TOOL,)}, {"tools": [{"name": "f", "input_schema": SCHEMA}]}),
        ({"tools": (ToolDefinition("f", "p", description="d", strict=True, cache=CacheMark.LONG),)},
         {"tools": [{"name": "f", "description": "d", "strict": True,
                     "input_schema": {"type": "object", "properties": {}},
                     "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}),
        ({"answer_format": AnswerFormat(AnswerKind.TEXT)}, {}),
        ({"answer_format": AnswerFormat(AnswerKind.SCHEMA, "n", "d", SCHEMA, strict=True)},
         {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}),
        ({"answer_format": AnswerFormat(AnswerKind.SCHEMA, schema=SCHEMA), "reasoning": ReasoningAsk(effort="low")},
         {"output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
          "thinking": {"type": "adaptive"}}),
        ({"tool_choice": ToolChoice(ToolMode.AUTO), "parallel_tool_calls": False}, {}),
        ({"tool_choice": ToolChoice(ToolMode.NONE)}, {}),
        ({"tool_choice": ToolChoice(ToolMode.REQUIRED)}, {"tool_choice": {"type": "any"}}),
        ({"tool_choice": ToolChoice(ToolMode.NAMED, "f")}, {"tool_choice": {"type": "tool", "name": "f"}}),
    ],
)  # fmt: skip
def test_fields(attributes, fields):
    """Each attribute has its field, and the official client's types accept it."""
    written = write(**attributes)
    assert written.fields == {"messages": [{"role": "user", "content": "Hi"}]} | fields
    assert written.unsaid == ()
    validate(written.fields)


@pytest.mark.parametrize(
    ("choice", "parallel", "found"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(ToolMode.AUTO), None, {"type": "auto"}),
        (ToolChoice(ToolMode.REQUIRED), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice(ToolMode.NAMED, "f"), True, {"type": "tool", "name": "f"}),
        (ToolChoice(ToolMode.NONE), False, {"type": "none"}),
    ],
)
def test_tool_choice(choice, parallel, found):
    """How tools are chosen, and whether in parallel, is one object here."""
    fields = write(tools=(TOOL,), tool_choice=choice, parallel_tool_calls=parallel).fields
    assert fields.get("tool_choice") == found
    validate(fields)


@pytest.mark.parametrize(
    ("ask", "thinking", "effort"),
    [
        (ReasoningAsk(), None, None),
        (ReasoningAsk(effort="none"), {"type": "disabled"}, None),
        (ReasoningAsk(effort="minimal"), {"type": "disabled"}, None),
        (ReasoningAsk(budget_tokens=0), {"type": "disabled"}, None),
        (ReasoningAsk(effort="low", budget_tokens=0), {"type": "disabled"}, "low"),
        (ReasoningAsk(effort="xhigh"), {"type": "adaptive"}, "xhigh"),
        (ReasoningAsk(effort="low", is_shown=False), {"type": "adaptive", "display": "omitted"}, "low"),
        (ReasoningAsk(is_adaptive=True), {"type": "adaptive"}, None),
        (ReasoningAsk(is_shown=True), {"type": "adaptive", "display": "summarized"}, None),
        (ReasoningAsk(is_shown=False), None, None),
        (ReasoningAsk(budget_tokens=1024), {"type": "enabled", "budget_tokens": 1024}, None),
        (ReasoningAsk(effort="max", budget_tokens=5000, is_shown=True),
         {"type": "enabled", "budget_tokens": 5000, "display": "summarized"}, "max"),
    ],
)  # fmt: skip
def test_reasoning(ask, thinking, effort):
    """How much to think is said by thinking and effort."""
    written = write(reasoning=ask)
    assert (written.fields.get("thinking"), written.fields.get("output_config", {}).get("effort")) == (thinking, effort)
    assert written.unsaid == ()
    validate(written.fields)


@pytest.mark.parametrize(
    ("parts", "is_said"),
    [
        ((ToolCall("c", "f", "{}"),), False),
        ((Text("a"), ToolCall("c", "f", "{}")), False),
        ((Reasoning("of another", Opaque("responses", "s")), ToolCall("c", "f", "{}")), False),
        ((THOUGHT, ToolCall("c", "f", "{}")), True),
        ((Reasoning("", Opaque("messages.redacted", "d")), Text("a"), ToolCall("c", "f", "{}")), True),
        ((Text("a"),), True),
        ((Text("a"), Text("b")), True),
    ],
)
def test_budget_behind_tool_calls(parts, is_said):
    """A thinking budget is not said where the turn that goes on has no thinking, which the API would refuse."""
    turn = Message(Role.ASSISTANT, parts, "messages[1]")
    written = write(messages=(HI, turn, RESULT), reasoning=ReasoningAsk(budget_tokens=2000), tools=(TOOL,))
    assert ("thinking" in written.fields, written.unsaid) == (is_said, () if is_said else ("reasoning",))
    effort = write(messages=(HI, turn, RESULT), reasoning=ReasoningAsk(effort="low"), tools=(TOOL,))
    assert effort.unsaid == ()


@pytest.mark.parametrize(
    ("attributes", "unsaid"),
    [
        ({"temperature": 1.5}, "temperature"),
        ({"seed": 0}, "seed"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": -1.0}, "presence_penalty"),
        ({"verbosity": "low"}, "verbosity"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"store": True}, "store"),
        ({"prompt_cache_key": "k"}, "prompt_cache_key"),
        ({"answer_format": AnswerFormat(AnswerKind.JSON)}, "answer_format"),
        ({"answer_format": AnswerFormat(AnswerKind.SCHEMA)}, "answer_format"),
        ({"reasoning": ReasoningAsk(effort="extreme")}, "reasoning"),
        ({"reasoning": ReasoningAsk(budget_tokens=512)}, "reasoning"),
    ],
)
def test_unsaid(attributes, unsaid):
    """What this format has no words for is named, and nothing else is said in its place."""
    written = write(**attributes)
    assert written.unsaid == (unsaid,)
    assert written.fields == {"messages": [{"role": "user", "content": "Hi"}]}


def test_custom_tool():
    """A tool that takes free-form input is refused by its path."""
    with pytest.raises(DownstreamError) as refused:
        write(tools=(TOOL, ToolDefinition("g", "tools[1]", is_custom=True)))
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "tools[1]")


words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=8)
marks = st.sampled_from([None, None, CacheMark.SHORT, CacheMark.LONG])
base64s = st.binary(max_size=6).map(lambda data: base64.b64encode(data).decode())
texts = st.builds(Text, words, marks)
images = st.one_of(
    st.builds(Image, url=words, cache=marks),
    st.builds(Image, media_type=st.sampled_from(["image/png", "image/webp"]), data=base64s, cache=marks),
)
names = st.none() | words
documents = st.one_of(
    st.builds(Document, url=words, name=names, cache=marks),
    st.builds(Document, media_type=st.just("application/pdf"), data=base64s, name=names, cache=marks),
    st.builds(
        Document,
        media_type=st.just("text/plain"),
        data=words.map(lambda text: base64.b64encode(text.encode()).decode()),
        name=names,
        cache=marks,
    ),
)
ids = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words,
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=4,
)
objects = st.dictionaries(words, values, max_size=3)
calls = st.builds(
    ToolCall,
    ids,
    words,
    objects.map(lambda each: json.dumps(each, separators=(",", ":"), ensure_ascii=False)),
    cache=marks,
)
results = st.builds(
    ToolResult, ids, st.lists(texts | images | documents, max_size=3).map(tuple), is_error=st.booleans(), cache=marks
)
reasonings = st.one_of(
    st.builds(Reasoning, st.text(max_size=5), st.builds(Opaque, st.just("messages.signature"), words)),
    st.builds(Reasoning, st.just(""), st.builds(Opaque, st.just("messages.redacted"), words)),
)
user_parts = st.builds(
    lambda first, rest: (*first, *rest),
    st.lists(results, max_size=2),
    st.lists(texts | images | documents, min_size=1, max_size=3),
)
assistant_parts = st.lists(texts | reasonings | calls, min_size=1, max_size=4).map(tuple)
system_parts = st.lists(texts, min_size=1, max_size=2).map(tuple)
reasoning_asks = st.one_of(
    st.none(),
    st.just(ReasoningAsk(budget_tokens=0)),
    st.builds(
        ReasoningAsk,
        effort=st.sampled_from([None, "low", "max"]),
        is_shown=st.sampled_from([None, True, False]),
        is_adaptive=st.just(True),
    ),
)


@st.composite
def conversations(draw):
    """Any conversation that this format can say."""
    messages, parts = [], {Role.USER: user_parts, Role.ASSISTANT: assistant_parts, Role.SYSTEM: system_parts}
    if draw(st.booleans()):
        messages.append(Message(Role.SYSTEM, draw(system_parts), "system"))
    role = draw(st.sampled_from([Role.USER, Role.ASSISTANT]))
    for number in range(draw(st.integers(1, 5))):
        messages.append(Message(role, draw(parts[role]), f"messages[{number}]"))
        behind = {Role.USER: [Role.ASSISTANT, Role.SYSTEM], Role.SYSTEM: [Role.USER, Role.ASSISTANT]}
        role = draw(st.sampled_from(behind.get(role, [Role.USER])))
    tools = tuple(
        ToolDefinition(
            draw(words),
            f"tools[{number}]",
            description=draw(st.none() | words),
            schema=draw(objects),
            strict=draw(st.sampled_from([None, True])),
            cache=draw(marks),
        )
        for number in range(draw(st.integers(0, 2)))
    )
    modes = [None, *(ToolChoice(mode) for mode in (ToolMode.AUTO, ToolMode.REQUIRED)), ToolChoice(ToolMode.NAMED, "f")]
    choice = draw(st.sampled_from(modes)) if tools else None
    return Conversation(
        messages=tuple(messages),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=draw(st.sampled_from([None, False])) if choice else None,
        max_output_tokens=draw(st.none() | st.integers(1, 9999)),
        temperature=draw(st.none() | st.floats(0, 1)),
        top_p=draw(st.none() | st.floats(0, 1)),
        top_k=draw(st.none() | st.integers(1, 99)),
        stop=tuple(draw(st.lists(words, max_size=2))),
        reasoning=draw(reasoning_asks),
        answer_format=draw(
            st.none() | st.builds(AnswerFormat, st.just(AnswerKind.SCHEMA), schema=objects, strict=st.just(True))
        ),
        user=draw(st.none() | words),
    )


@given(conversations())
def test_round_trip(conversation):
    """What is written is read again as it was, and the official client's types accept it."""
    written = FORMAT.write_request(conversation)
    validate(written.fields)
    again = FORMAT.read_request(json.loads(json.dumps(written.fields)))
    assert attrs.evolve(again, names={}) == conversation
    assert written.unsaid == ()
