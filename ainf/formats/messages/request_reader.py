"""From a Messages request to a conversation.

Source: Anthropic's API reference, "Create a Message". What only Anthropic's models can do (tools that it runs or
defines, files that it stores, citations) is refused by its path; fields without a meaning elsewhere are named.
"""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from ainf.formats.messages.fields import FieldReader
from ainf.formats.messages.request_parts import PartReader
from ainf.inference.conversation import (
    AnswerFormat,
    AnswerKind,
    Conversation,
    Message,
    ReasoningAsk,
    Role,
    ToolChoice,
    ToolDefinition,
    ToolMode,
)
from ainf.inference.errors import DownstreamError

_NAMES: Final = {
    "max_output_tokens": "max_tokens",
    "stop": "stop_sequences",
    "user": "metadata.user_id",
    "answer_format": "output_config.format",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
}
_ROLES: Final = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}
_TOOL_MODES: Final = {
    "auto": ToolMode.AUTO,
    "any": ToolMode.REQUIRED,
    "tool": ToolMode.NAMED,
    "none": ToolMode.NONE,
}
_DISPLAYS: Final = {"summarized": True, "omitted": False, "updates": None}
"""Whether reasoning is shown; "updates" are notes between the calls of tools, which only Anthropic's models write."""
_HARMLESS: Final = {"service_tier": "auto", "speed": "standard"}
"""Fields with the value that says no more than their absence."""


def read_request(fields: Mapping[str, Any]) -> Conversation:
    """Return what a request asks. See ``Format.read_request``."""
    top = FieldReader(fields)
    for owned in ("model", "stream"):
        top.value(owned)
    parts = PartReader()
    messages = [*_system(top, parts), *_messages(top, parts)]
    tools = tuple(_tool(tool, parts) for tool in top.objects("tools"))
    tool_choice, parallel = _tool_choice(top)
    metadata, config = top.object("metadata"), top.object("output_config")
    unknown: list[str] = []
    thinking, effort = _thinking(top, unknown), _effort(config)
    conversation = Conversation(
        messages=tuple(messages),
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=parallel,
        max_output_tokens=top.integer("max_tokens"),
        temperature=top.number("temperature"),
        top_p=top.number("top_p"),
        top_k=top.integer("top_k"),
        stop=_stop(top),
        reasoning=_joined(thinking, effort),
        answer_format=_answer_format(config, unknown),
        user=None if metadata is None else metadata.text("user_id"),
        names=_NAMES
        | {
            "reasoning": "output_config.effort" if thinking is None else "thinking",
            "reasoning_shown": "thinking.display",
        },
    )
    for name, value in _HARMLESS.items():
        if top.value(name) not in (None, value):
            unknown.append(name)
    unknown += [each.path_of(name) for each in (top, metadata, config) if each is not None for name in each.unread()]
    return attrs.evolve(conversation, unknown=tuple(dict.fromkeys([*unknown, *parts.unknown])))


def reasoning_of(fields: Mapping[str, Any]) -> ReasoningAsk | None:
    """Return how much a request asks the model to think. See ``Format.reasoning_of``."""
    top = FieldReader(fields)
    try:
        thinking = _thinking(top, [])
    except DownstreamError:
        thinking = None
    try:
        effort = _effort(top.object("output_config"))
    except DownstreamError:
        effort = None
    return _joined(thinking, effort)


def _joined(thinking: ReasoningAsk | None, effort: str | None) -> ReasoningAsk | None:
    if effort is None:
        return thinking
    return attrs.evolve(thinking or ReasoningAsk(), effort=effort)


def _system(top: FieldReader, parts: PartReader) -> list[Message]:
    if top.value("system") in (None, "", []):
        return []
    return [Message(Role.SYSTEM, parts.content(top, "system", Role.SYSTEM), "system")]


def _messages(top: FieldReader, parts: PartReader) -> list[Message]:
    messages = []
    for fields in top.required_objects("messages"):
        role = _ROLES.get(fields.required_text("role"))
        if role is None:
            raise fields.invalid("role", '"user", "assistant" or "system"')
        messages.append(Message(role, parts.content(fields, "content", role), fields.path))
        fields.refuse_unread()
    return messages


def _tool(fields: FieldReader, parts: PartReader) -> ToolDefinition:
    if fields.value("type") not in (None, "custom"):
        raise fields.unsupported()
    fields.required_object("input_schema")
    tool = ToolDefinition(
        name=fields.required_text("name"),
        path=fields.path,
        description=fields.text("description"),
        schema=fields.value("input_schema"),
        strict=fields.boolean("strict"),
        cache=parts.cache(fields),
    )
    fields.value("eager_input_streaming")  # how finely a tool's input is cut; every other format cuts it finely
    for name, harmless in (("defer_loading", False), ("allowed_callers", ["direct"]), ("input_examples", [])):
        if fields.value(name) not in (None, harmless):
            raise fields.unsupported(name)
    fields.refuse_unread()
    return tool


def _tool_choice(top: FieldReader) -> tuple[ToolChoice | None, bool | None]:
    """Return how tools are to be chosen, and False where they may not be called in parallel."""
    fields = top.object("tool_choice")
    if fields is None:
        return None, None
    mode = _TOOL_MODES.get(fields.required_text("type"))
    if mode is None:
        raise fields.invalid("type", '"auto", "any", "tool" or "none"')
    name = fields.required_text("name") if mode is ToolMode.NAMED else None
    is_serial = fields.boolean("disable_parallel_tool_use")
    fields.refuse_unread()
    return ToolChoice(mode, name), False if is_serial else None


def _stop(top: FieldReader) -> tuple[str, ...]:
    sequences = top.array("stop_sequences")
    if not all(isinstance(sequence, str) for sequence in sequences):
        raise top.invalid("stop_sequences", "a list of strings")
    return tuple(sequences)


def _thinking(top: FieldReader, unknown: list[str]) -> ReasoningAsk | None:
    fields = top.object("thinking")
    if fields is None:
        return None
    kind = fields.required_text("type")
    display = fields.text("display")
    if display is not None and display not in _DISPLAYS:
        raise fields.invalid("display", '"summarized", "omitted" or "updates"')
    is_shown = None if display is None else _DISPLAYS[display]
    if display is not None and is_shown is None:
        unknown.append(fields.path_of("display"))
    budget = fields.integer("budget_tokens")
    unknown += [fields.path_of(name) for name in fields.unread()]
    if kind == "enabled":
        if budget is None or budget <= 0:
            raise fields.invalid("budget_tokens", "a positive integer")
        return ReasoningAsk(budget_tokens=budget, is_shown=is_shown)
    if kind == "adaptive":
        return ReasoningAsk(is_shown=is_shown, is_adaptive=True)
    if kind == "disabled":
        return ReasoningAsk(budget_tokens=0)
    unknown.append(fields.path)
    return None


def _effort(config: FieldReader | None) -> str | None:
    return None if config is None else config.text("effort")


def _answer_format(config: FieldReader | None, unknown: list[str]) -> AnswerFormat | None:
    fields = None if config is None else config.object("format")
    if fields is None:
        return None
    if fields.required_text("type") != "json_schema":
        raise fields.invalid("type", '"json_schema"')
    fields.required_object("schema")
    answer_format = AnswerFormat(AnswerKind.SCHEMA, schema=fields.value("schema"), strict=True)
    unknown += [fields.path_of(name) for name in fields.unread()]
    return answer_format
