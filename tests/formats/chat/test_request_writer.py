import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

from ainf.formats.chat.request_reader import read_request
from ainf.formats.chat.request_writer import write_request
from ainf.inference.conversation import (
    AnswerFormat,
    AnswerKind,
    Conversation,
    Document,
    Image,
    Message,
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

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}
TOOLS = (
    ToolDefinition("f", "tools[0]", "d", SCHEMA, strict=True),
    ToolDefinition("g", "tools[1]"),
    ToolDefinition("h", "tools[2]", "d", is_custom=True, grammar=GRAMMAR),
)
FULL = Conversation(
    messages=(
        Message(Role.SYSTEM, (Text("s"),), "messages[0]"),
        Message(Role.DEVELOPER, (Text("d1"), Text("d2")), "messages[1]", "boss"),
        Message(
            Role.USER,
            (
                Text("u"),
                Image(url="https://x", detail="high"),
                Image(media_type="image/png", data="iVBO"),
                Document(media_type="application/pdf", data="JVBERg==", name="a.pdf"),
            ),
            "messages[2]",
            "ann",
        ),
        Message(
            Role.ASSISTANT,
            (Text("a"), Refusal("r"), ToolCall("c1", "f", "{}"), ToolCall("c2", "h", "x", is_custom=True)),
            "messages[3]",
        ),
        Message(
            Role.USER, (ToolResult("c1", (Text("1"),)), ToolResult("c2", (Text("2"),), is_custom=True)), "messages[4]"
        ),
    ),
    tools=TOOLS,
    tool_choice=ToolChoice(ToolMode.NAMED, "h", is_custom=True),
    parallel_tool_calls=False,
    max_output_tokens=5,
    temperature=0.5,
    top_p=0.25,
    stop=("a", "b"),
    seed=7,
    frequency_penalty=1.5,
    presence_penalty=-1.0,
    reasoning=ReasoningAsk("low"),
    answer_format=AnswerFormat(AnswerKind.SCHEMA, "n", "d", SCHEMA, strict=True),
    verbosity="low",
    user="u",
    metadata={"a": "b"},
    store=True,
    prompt_cache_key="k",
    names={
        "messages": "messages", "tools": "tools", "tool_choice": "tool_choice",
        "parallel_tool_calls": "parallel_tool_calls", "max_output_tokens": "max_completion_tokens",
        "temperature": "temperature", "top_p": "top_p", "stop": "stop", "seed": "seed",
        "frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty",
        "reasoning": "reasoning_effort", "answer_format": "response_format", "verbosity": "verbosity", "user": "user",
        "metadata": "metadata", "store": "store", "prompt_cache_key": "prompt_cache_key",
    },
)  # fmt: skip


def asked(**attributes):
    return write_request(Conversation(messages=(), **attributes))


def test_all_of_it_comes_back():
    """A conversation that the wire can say is read back as it was written, with nothing unsaid."""
    written = write_request(FULL)
    assert written.unsaid == ()
    assert read_request(written.fields) == FULL


def test_the_sdk_would_send_it():
    """The request is one by the SDK's own types."""
    adapter = TypeAdapter(CompletionCreateParamsNonStreaming)
    request = adapter.validate_python(write_request(FULL).fields | {"model": "m"})
    exhaust(request)


def exhaust(value):
    """Go through the SDK's lazy iterables, which check their items only then."""
    if isinstance(value, dict):
        for child in value.values():
            exhaust(child)
    elif not isinstance(value, str) and hasattr(value, "__iter__"):
        for child in value:
            exhaust(child)


@pytest.mark.parametrize(
    ("ask", "effort", "unsaid"),
    [
        (ReasoningAsk("high"), "high", ()),
        (ReasoningAsk("none"), "none", ()),
        (ReasoningAsk(budget_tokens=0), "none", ()),
        (ReasoningAsk("none", is_shown=False), "none", ()),
        (ReasoningAsk("high", budget_tokens=9), "high", ()),
        (ReasoningAsk("high", is_shown=True), "high", ()),
        (ReasoningAsk("high", is_shown=False), "high", ("reasoning",)),
        (ReasoningAsk(budget_tokens=9), None, ("reasoning",)),
        (ReasoningAsk(is_adaptive=True), None, ()),
    ],
)
def test_reasoning(ask, effort, unsaid):
    """An effort is said; a budget alone, or hiding what was thought, is not to be said here."""
    written = asked(reasoning=ask)
    assert (written.fields.get("reasoning_effort"), written.unsaid) == (effort, unsaid)


def test_top_k_is_not_said():
    """What many servers pass over in silence is not said to any."""
    assert asked(top_k=3).unsaid == ("top_k",)


@pytest.mark.parametrize(
    ("shape", "fields"),
    [
        (AnswerFormat(AnswerKind.TEXT), {"type": "text"}),
        (AnswerFormat(AnswerKind.JSON), {"type": "json_object"}),
        (AnswerFormat(AnswerKind.SCHEMA, schema=SCHEMA),
         {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}),
    ],
)  # fmt: skip
def test_answer_format(shape, fields):
    """The answer's shape is said; a schema has a name, since the wire requires one."""
    assert asked(answer_format=shape).fields["response_format"] == fields


@pytest.mark.parametrize(
    ("mode", "with_tools", "without"),
    [(ToolMode.AUTO, "auto", None), (ToolMode.NONE, "none", None), (ToolMode.REQUIRED, "required", "required")],
)
def test_choosing_without_tools(mode, with_tools, without):
    """Without tools only what cannot be met is said, so that the provider refuses it."""
    choice = ToolChoice(mode)
    assert asked(tools=TOOLS, tool_choice=choice, parallel_tool_calls=True).fields["tool_choice"] == with_tools
    fields = asked(tool_choice=choice, parallel_tool_calls=True).fields
    assert fields.get("tool_choice") == without
    assert "parallel_tool_calls" not in fields


def test_grammar():
    """A grammar stands one level deeper than a conversation keeps it."""
    (tool,) = asked(tools=TOOLS[2:]).fields["tools"]
    assert tool["custom"]["format"] == {
        "type": "grammar",
        "grammar": {"syntax": "lark", "definition": "start: /a/"},
    }


def test_nothing_asked_is_nothing_said():
    """What was not asked, and what means the default, is left out."""
    assert asked(store=False).fields == {"messages": []}
