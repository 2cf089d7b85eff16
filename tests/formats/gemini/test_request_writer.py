import pytest
from google.genai.types import FunctionDeclaration, GenerationConfig, ToolConfig

from ainf.formats.gemini.request_writer import write_request
from ainf.inference.conversation import (
    AnswerFormat,
    AnswerKind,
    CacheMark,
    Conversation,
    Message,
    ReasoningAsk,
    Role,
    Text,
    ToolChoice,
    ToolDefinition,
    ToolMode,
)
from ainf.inference.errors import DownstreamError

HI = (Message(Role.USER, (Text("Hi", CacheMark.SHORT),), "messages[0]"),)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
TOOL = ToolDefinition("f", "tools[0]", description="d", schema=SCHEMA, cache=CacheMark.LONG)


def write(**attributes):
    return write_request(Conversation(messages=HI, **attributes))


def config(**attributes):
    return write(**attributes).fields.get("generationConfig")


def test_bare():
    """What is not asked is not said; marks of what to cache are no part of this wire."""
    written = write()
    assert written.fields == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    assert written.unsaid == ()


def test_all():
    """Every attribute has its field, and the SDK's types take them."""
    written = write(
        max_output_tokens=9, temperature=1.5, top_p=0.5, top_k=40, stop=("x", "y"), seed=3, frequency_penalty=0.1,
        presence_penalty=0.2, tools=(TOOL,), tool_choice=ToolChoice(ToolMode.NAMED, "f"), parallel_tool_calls=True,
        store=False, reasoning=ReasoningAsk("low", is_shown=True),
        answer_format=AnswerFormat(AnswerKind.SCHEMA, name="n", description="d", schema=SCHEMA, strict=True),
    )  # fmt: skip
    told = written.fields["generationConfig"]
    assert told == {
        "maxOutputTokens": 9, "temperature": 1.5, "topP": 0.5, "topK": 40, "stopSequences": ["x", "y"], "seed": 3,
        "frequencyPenalty": 0.1, "presencePenalty": 0.2, "responseMimeType": "application/json",
        "responseJsonSchema": {"title": "n", "description": "d"} | SCHEMA,
        "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
    }  # fmt: skip
    GenerationConfig.model_validate(told)
    (declaration,) = written.fields["tools"][0]["functionDeclarations"]
    assert declaration == {"name": "f", "description": "d", "parametersJsonSchema": SCHEMA}
    FunctionDeclaration.model_validate(declaration)
    assert written.fields["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}
    ToolConfig.model_validate(written.fields["toolConfig"])
    assert written.unsaid == ()


@pytest.mark.parametrize(
    ("attributes", "unsaid"),
    [
        ({"parallel_tool_calls": False, "tools": (TOOL,)}, ("parallel_tool_calls",)),
        ({"parallel_tool_calls": False}, ()),
        ({"verbosity": "low", "user": "u", "metadata": {"a": "b"}, "prompt_cache_key": "k"},
         ("verbosity", "user", "metadata", "prompt_cache_key")),
        ({"verbosity": "medium"}, ()),
        ({"store": True}, ("store",)),
        ({"store": False}, ()),
        ({"reasoning": ReasoningAsk("enormous")}, ("reasoning",)),
    ],
)  # fmt: skip
def test_unsaid(attributes, unsaid):
    """What the API cannot be told is named."""
    assert write(**attributes).unsaid == unsaid


@pytest.mark.parametrize(
    ("ask", "thinking"),
    [
        (ReasoningAsk("none"), {"thinkingBudget": 0}),
        (ReasoningAsk("minimal"), {"thinkingLevel": "MINIMAL"}),
        (ReasoningAsk("medium"), {"thinkingLevel": "MEDIUM"}),
        (ReasoningAsk("high", is_adaptive=True), {"thinkingLevel": "HIGH"}),
        (ReasoningAsk("xhigh"), {"thinkingLevel": "XHIGH"}),
        (ReasoningAsk("max"), {"thinkingLevel": "XHIGH"}),
        (ReasoningAsk("high", budget_tokens=512), {"thinkingBudget": 512}),
        (ReasoningAsk(budget_tokens=0), {"thinkingBudget": 0}),
        (ReasoningAsk(is_adaptive=True, is_shown=False), {"thinkingBudget": -1, "includeThoughts": False}),
        (ReasoningAsk(is_shown=True), {"includeThoughts": True}),
    ],
)
def test_thinking(ask, thinking):
    """A budget or a level, never both, in words of the API's types."""
    told = config(reasoning=ask)
    assert told == {"thinkingConfig": thinking}
    GenerationConfig.model_validate(told)


def test_thinking_that_says_nothing():
    """An ask for nothing is not said."""
    assert config(reasoning=ReasoningAsk()) is None


@pytest.mark.parametrize(
    ("choice", "tools", "calling"),
    [
        (None, (TOOL,), None),
        (ToolChoice(ToolMode.AUTO), (TOOL,), {"mode": "AUTO"}),
        (ToolChoice(ToolMode.NONE), (TOOL,), {"mode": "NONE"}),
        (ToolChoice(ToolMode.REQUIRED), (TOOL,), {"mode": "ANY"}),
        (ToolChoice(ToolMode.AUTO), (), None),
        (ToolChoice(ToolMode.NONE), (), None),
        (ToolChoice(ToolMode.REQUIRED), (), {"mode": "ANY"}),
        (None, (TOOL, ToolDefinition("g", "x", strict=True)), {"mode": "VALIDATED"}),
        (ToolChoice(ToolMode.AUTO), (ToolDefinition("g", "x", strict=True),), {"mode": "VALIDATED"}),
        (ToolChoice(ToolMode.NONE), (ToolDefinition("g", "x", strict=True),), {"mode": "NONE"}),
        (ToolChoice(ToolMode.AUTO), (ToolDefinition("g", "x", strict=False),), {"mode": "AUTO"}),
    ],
)
def test_tool_choice(choice, tools, calling):
    """How tools are chosen; strict ones bind the calls to their schemas."""
    fields = write(tools=tools, tool_choice=choice).fields
    assert fields.get("toolConfig") == (None if calling is None else {"functionCallingConfig": calling})
    ToolConfig.model_validate(fields.get("toolConfig") or {})


def test_tool_without_arguments():
    """A function that takes nothing has no schema."""
    fields = write(tools=(ToolDefinition("f", "x"),)).fields
    assert fields["tools"] == [{"functionDeclarations": [{"name": "f"}]}]


def test_custom_tool():
    """A tool of free-form input is refused by its path."""
    with pytest.raises(DownstreamError) as caught:
        write(tools=(TOOL, ToolDefinition("g", "tools[1]", is_custom=True)))
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "tools[1]")


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        (AnswerFormat(AnswerKind.TEXT), {"responseMimeType": "text/plain"}),
        (AnswerFormat(AnswerKind.JSON), {"responseMimeType": "application/json"}),
        (AnswerFormat(AnswerKind.SCHEMA, name="n", schema={"title": "T"}),
         {"responseMimeType": "application/json", "responseJsonSchema": {"title": "T"}}),
    ],
)  # fmt: skip
def test_answer_format(shape, told):
    """The shape of the answer is its media type and schema; what the schema says of itself stands."""
    assert config(answer_format=shape) == told
