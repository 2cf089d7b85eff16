import pytest
from google.genai.types import GenerationConfig, ThinkingLevel

from ainf.formats.gemini.request_reader import read_request, reasoning_of
from ainf.inference.conversation import (
    AnswerFormat,
    AnswerKind,
    Message,
    ReasoningAsk,
    Role,
    Text,
    ToolChoice,
    ToolDefinition,
    ToolMode,
)
from ainf.inference.errors import DownstreamError

HI = [{"role": "user", "parts": [{"text": "Hi"}]}]
SCHEMA = {"type": "object", "properties": {"a_b": {"type": "string"}}}


def read(**fields):
    return read_request({"contents": HI} | fields)


def config(**fields):
    return read(generationConfig=fields)


def test_all():
    """A request in either spelling says the same, with the names that the client's fields have."""
    camel = {
        "contents": HI,
        "systemInstruction": {"parts": [{"text": "Be kind."}]},
        "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": SCHEMA}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {
            "maxOutputTokens": 9, "temperature": 1, "topP": 0.5, "topK": 40.0, "seed": 3, "stopSequences": ["x"],
            "frequencyPenalty": 0.1, "presencePenalty": 0.2, "candidateCount": 1, "responseLogprobs": False,
            "responseModalities": ["TEXT"], "thinkingConfig": {"thinkingLevel": "low", "includeThoughts": True},
            "responseMimeType": "application/json", "responseJsonSchema": SCHEMA,
        },
    }  # fmt: skip
    GenerationConfig.model_validate(camel["generationConfig"])
    snake = {
        "contents": HI,
        "system_instruction": camel["systemInstruction"],
        "tools": [{"function_declarations": [{"name": "f", "description": "d", "parameters_json_schema": SCHEMA}]}],
        "tool_config": {"function_calling_config": {"mode": "any", "allowed_function_names": ["f"]}},
        "generation_config": {
            "max_output_tokens": 9, "temperature": 1, "top_p": 0.5, "top_k": 40, "seed": 3, "stop_sequences": ["x"],
            "frequency_penalty": 0.1, "presence_penalty": 0.2,
            "thinking_config": {"thinking_level": "LOW", "include_thoughts": True},
            "response_mime_type": "application/json", "response_json_schema": SCHEMA,
        },
    }  # fmt: skip
    conversation = read_request(camel)
    assert read_request(snake) == conversation
    assert conversation.messages == (
        Message(Role.SYSTEM, (Text("Be kind."),), "systemInstruction"),
        Message(Role.USER, (Text("Hi"),), "contents[0]"),
    )
    assert conversation.tools == (
        ToolDefinition("f", "tools[0].functionDeclarations[0]", description="d", schema=SCHEMA),
    )
    assert conversation.tool_choice == ToolChoice(ToolMode.NAMED, "f")
    numbers = (conversation.max_output_tokens, conversation.temperature, conversation.top_p, conversation.top_k)
    assert (*numbers, conversation.seed, conversation.stop) == (9, 1, 0.5, 40, 3, ("x",))
    assert (conversation.frequency_penalty, conversation.presence_penalty) == (0.1, 0.2)
    assert conversation.reasoning == ReasoningAsk("low", is_shown=True)
    assert conversation.answer_format == AnswerFormat(AnswerKind.SCHEMA, schema=SCHEMA)
    assert conversation.unknown == ()
    assert conversation.name_of("stop") == "generationConfig.stopSequences"


def test_nothing_asked():
    """A bare request asks for nothing beside its messages; null and empty say nothing."""
    bare = read_request({"contents": HI})
    nothing = {"tools": [], "toolConfig": None, "generationConfig": {}, "safetySettings": [], "model": "m"}
    assert read_request({"contents": HI} | nothing) == bare
    assert (bare.tools, bare.tool_choice, bare.reasoning, bare.unknown) == ((), None, None, ())


@pytest.mark.parametrize(
    ("fields", "unknown"),
    [
        ({"safetySettings": [{"category": "X"}], "cachedContent": "c"}, ("safetySettings", "cachedContent")),
        ({"generationConfig": {"responseModalities": ["IMAGE"], "candidateCount": 2}},
         ("generationConfig.responseModalities", "generationConfig.candidateCount")),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}}, ("generationConfig.responseMimeType",)),
        ({"generationConfig": {"thinkingConfig": {"x": 1}}}, ("generationConfig.thinkingConfig.x",)),
        ({"toolConfig": {"retrievalConfig": {"languageCode": "de"}}}, ("toolConfig.retrievalConfig",)),
        ({"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}}},
         ("toolConfig.functionCallingConfig.allowedFunctionNames",)),
        ({"toolConfig": {"functionCallingConfig": {"streamFunctionCallArguments": True}}},
         ("toolConfig.functionCallingConfig.streamFunctionCallArguments",)),
    ],
)  # fmt: skip
def test_unknown(fields, unknown):
    """Fields without a place in a conversation are named by their paths."""
    assert read(**fields).unknown == unknown


@pytest.mark.parametrize(
    ("mode", "names", "choice"),
    [
        ("AUTO", None, ToolChoice(ToolMode.AUTO)),
        ("NONE", None, ToolChoice(ToolMode.NONE)),
        ("ANY", None, ToolChoice(ToolMode.REQUIRED)),
        ("ANY", ["f"], ToolChoice(ToolMode.NAMED, "f")),
        (None, None, None),
    ],
)
def test_tool_choice(mode, names, choice):
    """The modes are our modes."""
    calling = {"mode": mode, "allowedFunctionNames": names}
    assert read(toolConfig={"functionCallingConfig": calling}).tool_choice == choice


def test_validated():
    """Calls that are bound to their schemas are what strict tools ask for."""
    conversation = read(
        tools=[{"functionDeclarations": [{"name": "f"}]}], toolConfig={"functionCallingConfig": {"mode": "VALIDATED"}}
    )
    assert conversation.tool_choice == ToolChoice(ToolMode.AUTO)
    assert conversation.tools[0].strict is True


def test_own_schemas():
    """The API's own schema objects are read as JSON schema."""
    own = {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}, "title": "T"}
    found = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "title": "T"}
    conversation = read(
        tools=[{"functionDeclarations": [{"name": "f", "parameters": own}]}],
        generationConfig={"responseMimeType": "application/json", "responseSchema": own},
    )
    assert conversation.tools[0].schema == found
    assert conversation.answer_format == AnswerFormat(AnswerKind.SCHEMA, name="T", schema=found)


@pytest.mark.parametrize(
    ("mime_type", "kind"), [("application/json", AnswerKind.JSON), ("text/plain", AnswerKind.TEXT)]
)
def test_answer_format(mime_type, kind):
    """A media type alone asks for JSON or text."""
    assert config(responseMimeType=mime_type).answer_format == AnswerFormat(kind)


@pytest.mark.parametrize(
    ("thinking", "ask"),
    [
        ({}, None),
        ({"thinkingBudget": 0}, ReasoningAsk(budget_tokens=0)),
        ({"thinkingBudget": -1}, ReasoningAsk(is_adaptive=True)),
        ({"thinkingBudget": 512, "includeThoughts": False}, ReasoningAsk(budget_tokens=512, is_shown=False)),
        *(({"thinkingLevel": level.value}, ReasoningAsk(level.value.lower())) for level in list(ThinkingLevel)[1:]),
    ],
)
def test_reasoning(thinking, ask):
    """Every level and budget of the SDK's types is understood, by the reader and by whoever asks beforehand."""
    fields = {"generationConfig": {"thinkingConfig": thinking}}
    assert reasoning_of(fields) == ask
    assert read(**fields).reasoning == ask


@pytest.mark.parametrize("value", [None, 7, "x", [], True])
def test_reasoning_never_raises(value):
    """What has a wrong type says nothing."""
    for fields in ({"generationConfig": value}, {"generationConfig": {"thinkingConfig": value}}):
        assert reasoning_of(fields) is None
    told = {"thinkingLevel": value, "thinkingBudget": value, "includeThoughts": None}
    assert reasoning_of({"generationConfig": {"thinkingConfig": told}}) in {None, ReasoningAsk(budget_tokens=7)}


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"contents": 7}, "invalid_type", "contents"),
        ({"systemInstruction": "a"}, "invalid_type", "systemInstruction"),
        ({"tools": [{"googleSearch": {"x": 1}}]}, "unsupported_parameter", "tools[0].googleSearch"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "missing_field", "tools[0].functionDeclarations[0].name"),
        ({"tools": [{"functionDeclarations": [{"name": "f", "behavior": "NON_BLOCKING"}]}]}, "unsupported_parameter",
         "tools[0].functionDeclarations[0].behavior"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "X"}}}, "invalid_value",
         "toolConfig.functionCallingConfig.mode"),
        ({"generationConfig": {"maxOutputTokens": "9"}}, "invalid_type", "generationConfig.maxOutputTokens"),
        ({"generationConfig": {"topK": 1.5}}, "invalid_type", "generationConfig.topK"),
        ({"generationConfig": {"stopSequences": [7]}}, "invalid_type", "generationConfig.stopSequences[0]"),
        ({"generationConfig": {"thinkingConfig": {"thinkingLevel": "HUGE"}}}, "invalid_value",
         "generationConfig.thinkingConfig.thinkingLevel"),
        ({"generationConfig": {"thinkingConfig": {"thinkingBudget": -2}}}, "invalid_value",
         "generationConfig.thinkingConfig.thinkingBudget"),
        ({"generationConfig": {"thinkingConfig": {"includeThoughts": 1}}}, "invalid_type",
         "generationConfig.thinkingConfig.includeThoughts"),
    ],
)  # fmt: skip
def test_refused(fields, code, param):
    """Wrong types and values are refused by their paths, and tools that a provider runs itself."""
    with pytest.raises(DownstreamError) as caught:
        read(**fields)
    assert (caught.value.code, caught.value.param) == (code, param)
