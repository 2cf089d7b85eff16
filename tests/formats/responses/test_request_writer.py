import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.responses.request_reader import read_request
from ainf.formats.responses.request_writer import write_request
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
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolChoice,
    ToolDefinition,
    ToolMode,
    ToolResult,
)

HI = (Message(Role.USER, (Text("Hi"),), "messages[0]"),)


def write(**said):
    return write_request(Conversation(**({"messages": HI} | said)))


def test_least():
    """A conversation without wishes is stored nowhere."""
    written = write()
    assert (written.fields, written.unsaid) == (
        {
            "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
            "store": False,
        },
        (),
    )
    assert write(store=True).fields["store"] is True


def test_instructions():
    """A first system message that is one text is the instructions; any other keeps its place."""
    system = Message(Role.SYSTEM, (Text("Be."),), "m")
    assert write(messages=(system, *HI)).fields["instructions"] == "Be."
    for messages in ((*HI, system), (Message(Role.SYSTEM, (Text("a"), Text("b")), "m"), *HI)):
        fields = write(messages=messages).fields
        assert "instructions" not in fields
        assert [item["role"] for item in fields["input"]] == [message.role.value for message in messages]


def test_unsaid():
    """What the API has no field for is named."""
    written = write(top_k=3, stop=("a",), seed=0, frequency_penalty=-0.5, presence_penalty=1.0)
    assert written.unsaid == ("top_k", "stop", "seed", "frequency_penalty", "presence_penalty")
    assert set(written.fields) == {"input", "store"}


def test_penalties_of_nothing():
    """A penalty of 0, which clients send by default, asks for nothing."""
    assert write(frequency_penalty=0.0, presence_penalty=0).unsaid == ()


@pytest.mark.parametrize(
    ("ask", "said", "unsaid"),
    [
        (ReasoningAsk("high"), {"effort": "high"}, ()),
        (ReasoningAsk("high", is_shown=True), {"effort": "high", "summary": "auto"}, ()),
        (ReasoningAsk("low", budget_tokens=500), {"effort": "low"}, ()),
        (ReasoningAsk(budget_tokens=0), {"effort": "none"}, ()),
        (ReasoningAsk(budget_tokens=5000, is_shown=True), {"summary": "auto"}, ("reasoning",)),
        (ReasoningAsk(is_adaptive=True), None, ()),
        (ReasoningAsk("low", is_shown=False), {"effort": "low"}, ()),
    ],
)
def test_reasoning(ask, said, unsaid):
    """Effort and showing are said, a budget alone cannot be; thoughts come in the form that can be sent back."""
    written = write(reasoning=ask)
    assert (written.fields.get("reasoning"), written.unsaid) == (said, unsaid)
    assert written.fields["include"] == ["reasoning.encrypted_content"]


def test_tools():
    """A function is strict only where it shall be; a choice needs tools, unless it demands one."""
    tools = (ToolDefinition("f", "tools[0]"), ToolDefinition("g", "tools[1]", "G.", is_custom=True))
    assert write(tools=tools, tool_choice=ToolChoice(ToolMode.AUTO)).fields["tools"] == [
        {"type": "function", "name": "f", "parameters": None, "strict": False},
        {"type": "custom", "name": "g", "description": "G."},
    ]
    assert "tool_choice" not in write(tool_choice=ToolChoice(ToolMode.AUTO)).fields
    assert write(tool_choice=ToolChoice(ToolMode.NAMED, "f")).fields["tool_choice"] == {"type": "function", "name": "f"}


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
texts = words.map(Text)
images = st.one_of(
    st.builds(Image, url=st.just("https://x/y"), detail=st.sampled_from(["low", "auto"])),
    st.builds(Image, media_type=st.just("image/png"), data=st.just("AAAA"), detail=st.just("high")),
)
files = st.one_of(
    st.builds(Document, url=st.just("https://x/y"), name=st.none() | words),
    st.builds(Document, media_type=st.just("application/pdf"), data=st.just("AAAA"), name=words),
)
results = st.builds(
    ToolResult, words, st.lists(st.one_of(texts, images, files), max_size=3).map(tuple), is_custom=st.booleans()
)
thoughts = st.builds(Reasoning, st.just("") | words, words.map(lambda data: Opaque("responses", f"rs_1:{data}")))
calls = st.builds(ToolCall, words, words, st.text(max_size=5), is_custom=st.booleans())
turns = {
    Role.USER: st.one_of(texts, images, files, results),
    Role.ASSISTANT: st.one_of(texts, words.map(Refusal), thoughts, calls),
    Role.SYSTEM: texts,
    Role.DEVELOPER: texts,
}


@st.composite
def conversations(draw):
    messages, last = [], None
    for _ in range(draw(st.integers(0, 5))):
        role = draw(st.sampled_from([role for role in Role if role is not last or role is Role.SYSTEM]))
        messages.append(Message(role, tuple(draw(st.lists(turns[role], min_size=1, max_size=4))), ""))
        last = role
    tools = [
        ToolDefinition(
            name, f"tools[{number}]", draw(st.none() | words), {"type": "object"}, strict=draw(st.booleans())
        )
        for number, name in enumerate(draw(st.lists(words, max_size=2)))
    ]
    schema = AnswerFormat(AnswerKind.SCHEMA, "n", draw(st.none() | words), {"type": "object"}, strict=True)
    return Conversation(
        messages=tuple(messages),
        tools=tuple(tools),
        tool_choice=draw(st.sampled_from([None, ToolChoice(ToolMode.NAMED, "f"), ToolChoice(ToolMode.REQUIRED)])),
        parallel_tool_calls=draw(st.none() | st.booleans()),
        max_output_tokens=draw(st.none() | st.integers(1, 9)),
        temperature=draw(st.none() | st.floats(0, 2)),
        top_p=draw(st.none() | st.floats(0, 1)),
        reasoning=draw(st.sampled_from([None, ReasoningAsk("low"), ReasoningAsk("high", is_shown=True)])),
        answer_format=draw(
            st.sampled_from([None, AnswerFormat(AnswerKind.TEXT), AnswerFormat(AnswerKind.JSON), schema])
        ),
        verbosity=draw(st.none() | words),
        user=draw(st.none() | words),
        metadata=draw(st.none() | st.just({"a": "b"})),
        store=draw(st.booleans()),
        prompt_cache_key=draw(st.none() | words),
    )


@given(conversations())
def test_round_trip(conversation):
    """What is written is read again as the same conversation, with nothing unknown and nothing unsaid."""
    written = write_request(conversation)
    back = read_request(written.fields)
    pathless = attrs.evolve(back, messages=tuple(attrs.evolve(message, path="") for message in back.messages), names={})
    assert (pathless, written.unsaid) == (conversation, ())
    assert write_request(back).fields == written.fields
