import pytest

from ainf.formats.messages.format import MESSAGES as FORMAT
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

HELLO = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
SCHEMA = {"type": "object", "properties": {}}
TOOL = {"name": "f", "input_schema": SCHEMA}


def read(**fields):
    return FORMAT.read_request(HELLO | fields)


def test_least():
    """The least request asks for its messages and its limit, and for nothing else."""
    conversation = read(stream=True)
    assert conversation == Conversation(
        messages=(Message(Role.USER, (Text("Hi"),), "messages[0]"),), max_output_tokens=9, names=conversation.names
    )


def test_messages():
    """System prompts stand where they stand, each message with its path."""
    messages = [*HELLO["messages"], {"role": "system", "content": "b"}, {"role": "assistant", "content": "c"}]
    conversation = read(system=[{"type": "text", "text": "a"}], messages=messages)
    assert [(message.role, message.parts[0].text, message.path) for message in conversation.messages] == [
        ("system", "a", "system"),
        ("user", "Hi", "messages[0]"),
        ("system", "b", "messages[1]"),
        ("assistant", "c", "messages[2]"),
    ]
    assert read(system="a").messages[0] == Message(Role.SYSTEM, (Text("a"),), "system")


@pytest.mark.parametrize("nothing", [None, "", []])
def test_no_system(nothing):
    """An empty system prompt is none."""
    assert len(read(system=nothing).messages) == 1


@pytest.mark.parametrize(
    ("fields", "attribute", "found"),
    [
        ({"temperature": 0.5}, "temperature", 0.5),
        ({"temperature": 1}, "temperature", 1),
        ({"top_p": 0.5}, "top_p", 0.5),
        ({"top_k": 5}, "top_k", 5),
        ({"stop_sequences": ["a", "b"]}, "stop", ("a", "b")),
        ({"metadata": {"user_id": "u"}}, "user", "u"),
        ({"metadata": {}}, "user", None),
        ({"tool_choice": {"type": "auto"}}, "tool_choice", ToolChoice(ToolMode.AUTO)),
        ({"tool_choice": {"type": "any"}}, "tool_choice", ToolChoice(ToolMode.REQUIRED)),
        ({"tool_choice": {"type": "none"}}, "tool_choice", ToolChoice(ToolMode.NONE)),
        ({"tool_choice": {"type": "tool", "name": "f"}}, "tool_choice", ToolChoice(ToolMode.NAMED, "f")),
        ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, "parallel_tool_calls", False),
        ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": False}}, "parallel_tool_calls", None),
        ({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, "answer_format",
         AnswerFormat(AnswerKind.SCHEMA, schema=SCHEMA, strict=True)),
        ({"tools": [TOOL]}, "tools", (ToolDefinition("f", "tools[0]", schema=SCHEMA),)),
        ({"tools": [TOOL | {"type": "custom", "description": "d", "strict": True, "eager_input_streaming": True,
                            "defer_loading": False, "allowed_callers": ["direct"], "input_examples": [],
                            "cache_control": {"type": "ephemeral"}}]}, "tools",
         (ToolDefinition("f", "tools[0]", description="d", schema=SCHEMA, strict=True, cache=CacheMark.SHORT),)),
    ],
)  # fmt: skip
def test_fields(fields, attribute, found):
    """Each field that another format can say has its place, and none is named as unknown."""
    conversation = read(**fields)
    assert getattr(conversation, attribute) == found
    assert conversation.unknown == ()


@pytest.mark.parametrize(
    ("fields", "ask", "name"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, ReasoningAsk(budget_tokens=2048), "thinking"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048, "display": "omitted"}},
         ReasoningAsk(budget_tokens=2048, is_shown=False), "thinking"),
        ({"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "max"}},
         ReasoningAsk(effort="max", is_adaptive=True, is_shown=True), "thinking"),
        ({"thinking": {"type": "disabled"}}, ReasoningAsk(budget_tokens=0), "thinking"),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
         ReasoningAsk(effort="low", budget_tokens=0), "thinking"),
        ({"output_config": {"effort": "high"}}, ReasoningAsk(effort="high"), "output_config.effort"),
        ({}, None, "output_config.effort"),
    ],
)  # fmt: skip
def test_reasoning(fields, ask, name):
    """How much to think is read from thinking and effort alike."""
    conversation = read(**fields)
    assert (conversation.reasoning, conversation.unknown) == (ask, ())
    assert conversation.name_of("reasoning") == name
    assert FORMAT.reasoning_of(HELLO | fields) == ask


@pytest.mark.parametrize(
    ("fields", "ask"),
    [
        ({"thinking": 7}, None),
        ({"thinking": {"type": []}, "output_config": {"effort": "low"}}, ReasoningAsk(effort="low")),
        ({"thinking": {"type": "enabled", "budget_tokens": "x"}}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}, "output_config": {"effort": 5}},
         ReasoningAsk(budget_tokens=5)),
        ({"thinking": {"type": "between_tools"}}, None),
        ({"output_config": []}, None),
    ],
)  # fmt: skip
def test_reasoning_of_never_raises(fields, ask):
    """What has a wrong type says nothing."""
    assert FORMAT.reasoning_of(fields) == ask


@pytest.mark.parametrize(
    ("fields", "unknown"),
    [
        ({"service_tier": "auto", "speed": "standard"}, ()),
        ({"service_tier": "standard_only"}, ("service_tier",)),
        ({"speed": ["fast"]}, ("speed",)),
        ({"container": "c", "mcp_servers": [], "inference_geo": None}, ("container",)),
        ({"cache_control": {"type": "ephemeral"}, "context_management": {"edits": [1]}},
         ("cache_control", "context_management")),
        ({"metadata": {"user_id": "u", "x": 1}}, ("metadata.x",)),
        ({"output_config": {"effort": "low", "task_budget": 1}}, ("output_config.task_budget",)),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}, "name": "n"}}},
         ("output_config.format.name",)),
        ({"thinking": {"type": "between_tools"}}, ("thinking",)),
        ({"thinking": {"type": "adaptive", "x": 1}}, ("thinking.x",)),
        ({"thinking": {"type": "adaptive", "display": "updates"}}, ("thinking.display",)),
        ({"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "scope": "s"}}]},
         ("cache_control.scope",)),
    ],
)  # fmt: skip
def test_unknown(fields, unknown):
    """A field that has no place elsewhere is named; one that says no more than its absence is not."""
    assert read(**fields).unknown == unknown


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"messages": None}, "missing_field", "messages"),
        ({"messages": "Hi"}, "invalid_type", "messages"),
        ({"messages": [7]}, "invalid_type", "messages[0]"),
        ({"messages": [{"content": "a"}]}, "missing_field", "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "invalid_value", "messages[0].role"),
        ({"messages": [{"role": "user", "content": "a", "name": "n"}]}, "unsupported_parameter", "messages[0].name"),
        ({"system": 7}, "invalid_type", "system"),
        ({"max_tokens": "9"}, "invalid_type", "max_tokens"),
        ({"max_tokens": True}, "invalid_type", "max_tokens"),
        ({"temperature": "1"}, "invalid_type", "temperature"),
        ({"stop_sequences": "a"}, "invalid_type", "stop_sequences"),
        ({"stop_sequences": [1]}, "invalid_value", "stop_sequences"),
        ({"metadata": "u"}, "invalid_type", "metadata"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "unsupported_parameter", "tools[0]"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "unsupported_parameter", "tools[0]"),
        ({"tools": [{"type": ["custom"]}]}, "unsupported_parameter", "tools[0]"),
        ({"tools": [TOOL, {"name": "g"}]}, "missing_field", "tools[1].input_schema"),
        ({"tools": [TOOL | {"defer_loading": True}]}, "unsupported_parameter", "tools[0].defer_loading"),
        ({"tools": [TOOL | {"allowed_callers": ["code_execution_20250825"]}]}, "unsupported_parameter",
         "tools[0].allowed_callers"),
        ({"tools": [TOOL | {"input_examples": [{}]}]}, "unsupported_parameter", "tools[0].input_examples"),
        ({"tools": [TOOL | {"new": 1}]}, "unsupported_parameter", "tools[0].new"),
        ({"tool_choice": {"type": "some"}}, "invalid_value", "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "missing_field", "tool_choice.name"),
        ({"tool_choice": "auto"}, "invalid_type", "tool_choice"),
        ({"thinking": {"type": "enabled"}}, "invalid_value", "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "invalid_value", "thinking.budget_tokens"),
        ({"thinking": {"type": "adaptive", "display": "all"}}, "invalid_value", "thinking.display"),
        ({"output_config": {"format": {"type": "xml"}}}, "invalid_value", "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "missing_field", "output_config.format.schema"),
    ],
)  # fmt: skip
def test_refusals(fields, code, param):
    """What is wrong, or cannot be said elsewhere, is refused by its path."""
    with pytest.raises(DownstreamError) as refused:
        read(**fields)
    assert (refused.value.code, refused.value.param) == (code, param)


def test_names():
    """What cannot be said is named as the client names it."""
    conversation = read()
    assert [conversation.name_of(name) for name in ("stop", "user", "seed", "max_output_tokens")] == [
        "stop_sequences", "metadata.user_id", "seed", "max_tokens",
    ]  # fmt: skip
