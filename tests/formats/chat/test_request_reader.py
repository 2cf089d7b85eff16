import pytest

from ainf.formats.chat.request_reader import read_request, reasoning_of
from ainf.inference.conversation import (
    AnswerFormat,
    AnswerKind,
    CacheMark,
    ReasoningAsk,
    ToolChoice,
    ToolDefinition,
    ToolMode,
)
from ainf.inference.errors import DownstreamError

MESSAGES = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def read(**fields):
    return read_request({"model": "m", "messages": MESSAGES} | fields)


@pytest.mark.parametrize(
    ("fields", "attribute", "value"),
    [
        ({"max_completion_tokens": 5}, "max_output_tokens", 5),
        ({"max_tokens": 5}, "max_output_tokens", 5),
        ({"temperature": 1}, "temperature", 1),
        ({"top_p": 0.5}, "top_p", 0.5),
        ({"top_k": 4}, "top_k", 4),
        ({"stop": "a"}, "stop", ("a",)),
        ({"stop": ["a", "b"]}, "stop", ("a", "b")),
        ({"seed": -1}, "seed", -1),
        ({"frequency_penalty": 0.0}, "frequency_penalty", 0.0),
        ({"presence_penalty": -2}, "presence_penalty", -2),
        ({"parallel_tool_calls": False}, "parallel_tool_calls", False),
        ({"verbosity": "low"}, "verbosity", "low"),
        ({"user": "u"}, "user", "u"),
        ({"safety_identifier": "u"}, "user", "u"),
        ({"metadata": {"a": "b"}}, "metadata", {"a": "b"}),
        ({"store": False}, "store", False),
        ({"prompt_cache_key": "k"}, "prompt_cache_key", "k"),
        ({"reasoning_effort": "xhigh"}, "reasoning", ReasoningAsk("xhigh")),
        ({"reasoning": {"max_tokens": 5, "exclude": True}}, "reasoning", ReasoningAsk(budget_tokens=5, is_shown=False)),
        ({"reasoning": {"enabled": True}}, "reasoning", ReasoningAsk(is_adaptive=True)),
        ({"reasoning": {"enabled": False}}, "reasoning", ReasoningAsk("none")),
        ({"response_format": {"type": "text"}}, "answer_format", AnswerFormat(AnswerKind.TEXT)),
        ({"response_format": {"type": "json_object"}}, "answer_format", AnswerFormat(AnswerKind.JSON)),
        ({"response_format": {"type": "json_schema", "json_schema": {
            "name": "n", "description": "d", "schema": SCHEMA, "strict": True}}},
         "answer_format", AnswerFormat(AnswerKind.SCHEMA, "n", "d", SCHEMA, strict=True)),
        ({"tool_choice": "auto"}, "tool_choice", ToolChoice(ToolMode.AUTO)),
        ({"tool_choice": "none"}, "tool_choice", ToolChoice(ToolMode.NONE)),
        ({"tool_choice": "required"}, "tool_choice", ToolChoice(ToolMode.REQUIRED)),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice",
         ToolChoice(ToolMode.NAMED, "f")),
        ({"tool_choice": {"type": "custom", "custom": {"name": "f"}}}, "tool_choice",
         ToolChoice(ToolMode.NAMED, "f", is_custom=True)),
        ({"function_call": "none"}, "tool_choice", ToolChoice(ToolMode.NONE)),
        ({"function_call": {"name": "f"}}, "tool_choice", ToolChoice(ToolMode.NAMED, "f")),
    ],
)  # fmt: skip
def test_fields(fields, attribute, value):
    """Every field that has a place is read, and known by the name that the client used; nothing else is asked."""
    conversation, bare = read(**fields), read()
    (name,) = fields
    assert getattr(conversation, attribute) == value
    assert conversation.name_of(attribute) == name
    assert conversation.names == {"messages": "messages", attribute: name}
    assert conversation.unknown == ()
    assert getattr(bare, attribute) in {None, ()}


@pytest.mark.parametrize(
    ("tool", "definition"),
    [
        ({"type": "function", "function": {"name": "f"}}, ToolDefinition("f", "tools[0]")),
        ({"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": False}},
         ToolDefinition("f", "tools[0]", "d", SCHEMA, strict=False)),
        ({"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral"}},
         ToolDefinition("f", "tools[0]", cache=CacheMark.SHORT)),
        ({"type": "function", "function": {"name": "f", "cache_control": {"ttl": "1h"}}},
         ToolDefinition("f", "tools[0]", cache=CacheMark.LONG)),
        ({"type": "custom", "custom": {"name": "f", "description": "d"}},
         ToolDefinition("f", "tools[0]", "d", is_custom=True)),
        ({"type": "custom", "custom": {"name": "f", "format": {"type": "text"}}},
         ToolDefinition("f", "tools[0]", is_custom=True)),
        ({"type": "custom", "custom": {"name": "f", "format": {
            "type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}}},
         ToolDefinition("f", "tools[0]", is_custom=True,
                        grammar={"type": "grammar", "syntax": "lark", "definition": "start: /a/"})),
    ],
)  # fmt: skip
def test_tools(tool, definition):
    """Functions and custom tools are read, with their place in the request."""
    conversation = read(tools=[tool])
    assert (conversation.tools, conversation.name_of("tools"), conversation.unknown) == ((definition,), "tools", ())


def test_legacy_functions():
    """Deprecated functions are tools, alone or beside them."""
    functions = [{"name": "f", "parameters": SCHEMA}]
    alone = read(functions=functions)
    assert alone.tools == (ToolDefinition("f", "functions[0]", schema=SCHEMA),)
    assert (alone.name_of("tools"), alone.unknown) == ("functions", ())
    both = read(functions=functions, tools=[{"type": "function", "function": {"name": "g"}}])
    assert ([tool.name for tool in both.tools], both.unknown) == (["g", "f"], ())


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1}, {"logprobs": False}, {"top_logprobs": 0}, {"service_tier": "auto"}, {"service_tier": "default"},
        {"modalities": ["text"]},
        {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}}, {"logit_bias": {}},
        {"prediction": None}, {"tools": []}, {"functions": []}, {"stop": []}, {"metadata": {}}, {"stop": None},
        {"temperature": None}, {"max_completion_tokens": 5, "max_tokens": 5}, {"user": "u", "safety_identifier": "u"},
        {"reasoning": {}}, {"reasoning_effort": None}, {"web_search_options": None},
    ],
)  # fmt: skip
def test_what_says_nothing(fields):
    """Values that mean the default, null, nothing at all, or the same again, are no unknown fields."""
    assert read(**fields).unknown == ()


@pytest.mark.parametrize(
    ("fields", "unknown"),
    [
        ({"n": 2}, ("n",)),
        ({"n": True}, ("n",)),
        ({"logprobs": True, "top_logprobs": 3}, ("logprobs", "top_logprobs")),
        ({"logit_bias": {"50256": -100}}, ("logit_bias",)),
        ({"service_tier": "flex"}, ("service_tier",)),
        ({"modalities": ["text", "audio"]}, ("modalities",)),
        ({"guided_json": {"a": 1}, "min_p": 0}, ("guided_json", "min_p")),
        ({"user": "u", "safety_identifier": "v"}, ("user",)),
        ({"stream_options": {"include_usage": True, "x": 1, "y": None}}, ("stream_options.x",)),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}}, ("tool_choice",)),
        ({"response_format": {"type": "grammar", "grammar": "x"}}, ("response_format",)),
        ({"web_search_options": {"search_context_size": "low"}}, ("web_search_options",)),
        ({"web_search_options": {}}, ("web_search_options",)),
        ({"tool_choice": "auto", "function_call": "auto"}, ("function_call",)),
        ({"reasoning_effort": "low", "reasoning": {"max_tokens": 5}}, ("reasoning",)),
    ],
)
def test_unknown(fields, unknown):
    """What has no place in a conversation is listed by the client's name, and never lost."""
    assert read(**fields).unknown == unknown


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"temperature": "hot"}, "invalid_type", "temperature"),
        ({"temperature": True}, "invalid_type", "temperature"),
        ({"max_tokens": 5.5}, "invalid_type", "max_tokens"),
        ({"stop": 7}, "invalid_type", "stop"),
        ({"stop": ["a", 7]}, "invalid_type", "stop[1]"),
        ({"metadata": "x"}, "invalid_type", "metadata"),
        ({"tools": {}}, "invalid_type", "tools"),
        ({"tools": [7]}, "invalid_type", "tools[0]"),
        ({"tools": [{}]}, "missing_field", "tools[0].type"),
        ({"tools": [{"type": "web_search"}]}, "unsupported_parameter", "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "missing_field", "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "missing_field", "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "x": 1}}]}, "unsupported_parameter",
         "tools[0].function.x"),
        ({"tools": [{"type": "custom", "custom": {"name": "f", "format": {"type": "grammar"}}}]}, "missing_field",
         "tools[0].custom.format.grammar"),
        ({"functions": [{}]}, "missing_field", "functions[0].name"),
        ({"tool_choice": "maybe"}, "invalid_value", "tool_choice"),
        ({"tool_choice": {}}, "missing_field", "tool_choice.type"),
        ({"tool_choice": {"type": "web_search"}}, "unsupported_parameter", "tool_choice.type"),
        ({"tool_choice": {"type": "function", "function": {}}}, "missing_field", "tool_choice.function.name"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}, "x": 1}}, "unsupported_parameter",
         "tool_choice.x"),
        ({"tool_choice": {"type": "custom", "custom": {"name": "f", "x": 1}}}, "unsupported_parameter",
         "tool_choice.custom.x"),
        ({"function_call": "maybe"}, "invalid_value", "function_call"),
        ({"function_call": {"name": "f", "x": 1}}, "unsupported_parameter", "function_call.x"),
        ({"response_format": {}}, "missing_field", "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "missing_field", "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": 7}}}, "invalid_type",
         "response_format.json_schema.schema"),
        ({"reasoning_effort": "lots"}, "invalid_value", "reasoning_effort"),
        ({"reasoning": {"effort": "lots"}}, "invalid_value", "reasoning.effort"),
        ({"reasoning": {"magic": 1}}, "unsupported_parameter", "reasoning.magic"),
        ({"messages": "x"}, "invalid_type", "messages"),
    ],
)  # fmt: skip
def test_refusals(fields, code, param):
    """What is wrong, or could be said in no other format, is refused by its path."""
    with pytest.raises(DownstreamError) as caught:
        read(**fields)
    assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize(
    "fields",
    [{}, {"reasoning_effort": 7}, {"reasoning": "high"}, {"reasoning": {"effort": [], "max_tokens": True}},
     {"reasoning": {"max_tokens": -1, "exclude": "no"}}, {"reasoning": {}}],
)  # fmt: skip
def test_no_ask(fields):
    """What says nothing of reasoning, or says it in a wrong type, asks nothing and never fails."""
    assert reasoning_of(fields) is None
