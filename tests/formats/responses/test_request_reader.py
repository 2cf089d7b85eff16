import pytest

from ainf.formats.responses.request_reader import read_request, reasoning_of
from ainf.inference.conversation import (
    AnswerFormat,
    AnswerKind,
    CacheMark,
    Message,
    ReasoningAsk,
    Role,
    Text,
    ToolChoice,
    ToolDefinition,
    ToolMode,
)
from ainf.inference.errors import DownstreamError

FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True, "description": "F."}


def read(**fields):
    return read_request({"model": "m", "input": "Hi"} | fields)


def test_everything():
    """Each field finds its place, under the client's own name for it."""
    conversation = read(
        instructions="Be.",
        tools=[FUNCTION],
        tool_choice="required",
        parallel_tool_calls=False,
        max_output_tokens=5,
        temperature=1,
        top_p=0.5,
        text={"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": False}, "verbosity": "low"},
        reasoning={"effort": "high", "summary": "auto"},
        safety_identifier="u",
        metadata={"a": "b"},
        store=True,
        prompt_cache_key="k",
    )
    assert conversation.messages == (
        Message(Role.SYSTEM, (Text("Be."),), "instructions"),
        Message(Role.USER, (Text("Hi"),), "input"),
    )
    assert conversation.tools == (
        ToolDefinition("f", "tools[0]", description="F.", schema={"type": "object"}, strict=True),
    )
    assert conversation.tool_choice == ToolChoice(ToolMode.REQUIRED)
    assert conversation.answer_format == AnswerFormat(AnswerKind.SCHEMA, "n", schema={}, strict=False)
    assert conversation.reasoning == ReasoningAsk("high", is_shown=True)
    assert (conversation.parallel_tool_calls, conversation.max_output_tokens, conversation.temperature) == (False, 5, 1)
    assert (conversation.top_p, conversation.verbosity, conversation.user) == (0.5, "low", "u")
    assert (conversation.metadata, conversation.store, conversation.prompt_cache_key) == ({"a": "b"}, True, "k")
    assert conversation.unknown == ()
    names = ("answer_format", "verbosity", "user", "messages", "max_output_tokens")
    assert [conversation.name_of(name) for name in names] == [
        "text.format", "text.verbosity", "safety_identifier", "input", "max_output_tokens",
    ]  # fmt: skip


def test_nothing_asked():
    """What is absent or null is not asked for."""
    conversation = read(temperature=None, store=None, tools=[], metadata={}, text=None, reasoning={}, instructions="")
    assert conversation.messages == (Message(Role.USER, (Text("Hi"),), "input"),)
    assert (conversation.store, conversation.reasoning, conversation.answer_format) == (None, None, None)
    assert (conversation.tools, conversation.unknown, set(conversation.names)) == ((), (), {"messages"})


@pytest.mark.parametrize(
    ("name", "harmless", "unknown"),
    [
        ("background", False, True),
        ("include", ["reasoning.encrypted_content"], ["message.output_text.logprobs"]),
        ("service_tier", "auto", "flex"),
        ("top_logprobs", 0, 5),
        ("truncation", "disabled", "auto"),
        ("stream_options", {"include_obfuscation": False}, None),
        ("previous_response_id", None, "resp_1"),
        ("conversation", None, "conv_1"),
        ("prompt", None, {"id": "pmpt_1"}),
        ("max_tool_calls", None, 3),
        ("prompt_cache_options", None, {"ttl": "12h"}),
        ("user", None, ["x"]),
        ("whatever", [], 1),
    ],
)
def test_unknown(name, harmless, unknown):
    """What has no place is named; what means the default is not."""
    assert read(**{name: harmless}).unknown == ()
    if unknown is not None and name != "user":
        assert read(**{name: unknown}).unknown == (name,)


@pytest.mark.parametrize(
    ("fields", "unknown"),
    [
        ({"text": {"format": {"type": "grammar"}}}, ("text.format",)),
        ({"text": {"x": 1}}, ("text.x",)),
        ({"reasoning": {"mode": "pro", "context": "auto"}}, ("reasoning.mode",)),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, ("tool_choice",)),
        ({"stream_options": {"include_obfuscation": True, "x": 1}}, ("stream_options.x",)),
        ({"safety_identifier": "a", "user": "b"}, ("user",)),
        ({"safety_identifier": "a", "user": "a"}, ()),
    ],
)
def test_unknown_inside(fields, unknown):
    """Parts of fields that have no place are named by their paths; what is said twice alike is said once."""
    assert read(**fields).unknown == unknown


@pytest.mark.parametrize(
    ("tool", "definition"),
    [
        ({"type": "function", "name": "f"}, ToolDefinition("f", "tools[0]")),
        (FUNCTION | {"async": False, "defer_loading": False, "allowed_callers": None,
                     "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}},
         ToolDefinition("f", "tools[0]", "F.", {"type": "object"}, strict=True, cache=CacheMark.LONG)),
        ({"type": "custom", "name": "f", "format": {"type": "text"}}, ToolDefinition("f", "tools[0]", is_custom=True)),
        ({"type": "custom", "name": "f", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
         ToolDefinition("f", "tools[0]", is_custom=True,
                        grammar={"type": "grammar", "syntax": "lark", "definition": "x"})),
    ],
)  # fmt: skip
def test_tools(tool, definition):
    """Tools that the client runs are read."""
    assert read(tools=[tool]).tools == (definition,)


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        ("auto", ToolChoice(ToolMode.AUTO)),
        ({"type": "function", "name": "f"}, ToolChoice(ToolMode.NAMED, "f")),
        ({"type": "custom", "name": "f"}, ToolChoice(ToolMode.NAMED, "f", is_custom=True)),
    ],
)
def test_tool_choice(choice, found):
    """A choice is read by its mode or its name."""
    assert read(tool_choice=choice).tool_choice == found


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"tool_choice": {"type": "function", "name": "f", "x": 1}}, "unsupported_parameter", "tool_choice.x"),
        ({"input": None}, "missing_field", "input"),
        ({"input": 7}, "invalid_type", "input"),
        ({"input": [7]}, "invalid_type", "input[0]"),
        ({"instructions": ["x"]}, "invalid_type", "instructions"),
        ({"user": ["x"]}, "invalid_type", "user"),
        ({"temperature": True}, "invalid_type", "temperature"),
        ({"max_output_tokens": 1.5}, "invalid_type", "max_output_tokens"),
        ({"tools": [{"type": "web_search"}]}, "unsupported_parameter", "tools[0].type"),
        ({"tools": [{"name": "f"}]}, "missing_field", "tools[0].type"),
        ({"tools": [FUNCTION | {"defer_loading": True}]}, "unsupported_parameter", "tools[0].defer_loading"),
        ({"tool_choice": "x"}, "invalid_value", "tool_choice"),
        ({"tool_choice": {"type": "mcp"}}, "unsupported_parameter", "tool_choice.type"),
        ({"tool_choice": {"type": "function"}}, "missing_field", "tool_choice.name"),
        ({"text": {"format": {}}}, None, None),
        ({"text": {"format": {"type": "json_schema", "x": 1}}}, "unsupported_parameter", "text.format.x"),
        ({"reasoning": {"effort": "most"}}, "invalid_value", "reasoning.effort"),
        ({"reasoning": {"summary": "x"}}, "invalid_value", "reasoning.summary"),
        ({"reasoning": {"effort": 7}}, "invalid_type", "reasoning.effort"),
    ],
)
def test_refusals(fields, code, param):
    """What cannot be read is refused by its path."""
    if code is None:
        assert read(**fields).answer_format is None
        return
    with pytest.raises(DownstreamError) as caught:
        read(**fields)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_a_kept_prompt_needs_no_input():
    """A request that names a prompt of its provider may have no input of its own."""
    conversation = read_request({"model": "m", "prompt": {"id": "pmpt_1"}})
    assert (conversation.messages, conversation.unknown) == ((), ("prompt",))


@pytest.mark.parametrize(
    ("fields", "ask"),
    [
        ({}, None),
        ({"reasoning": 7}, None),
        ({"reasoning": {"effort": 7}}, None),
        ({"reasoning": {"effort": "low"}}, ReasoningAsk("low")),
        ({"reasoning": {"generate_summary": "auto"}}, ReasoningAsk(is_shown=True)),
    ],
)
def test_reasoning_of(fields, ask):
    """How much a request asks to think is read without a complaint."""
    assert reasoning_of(fields) == ask
