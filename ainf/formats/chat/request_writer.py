"""From a conversation to a chat request. Source: OpenAI's API reference, "create chat completion".

What only some servers of this format know (``top_k``) is not said: those that do not know it pass over it in silence.
"""

from typing import Any, Final

from ainf.formats.chat.message_writer import write_messages
from ainf.inference.conversation import (
    AnswerFormat,
    AnswerKind,
    Conversation,
    ReasoningAsk,
    ToolChoice,
    ToolDefinition,
    ToolMode,
    Written,
)

_SIMPLE: Final = {
    "max_output_tokens": "max_completion_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "verbosity": "verbosity",
    "user": "user",
    "metadata": "metadata",
    "prompt_cache_key": "prompt_cache_key",
}


def write_request(conversation: Conversation) -> Written:
    """Return a request that asks for a conversation. See ``Format.write_request``."""
    fields: dict[str, Any] = {"messages": write_messages(conversation.messages)}
    unsaid: list[str] = []
    for attribute, name in _SIMPLE.items():
        value = getattr(conversation, attribute)
        if value is not None:
            fields[name] = value
    if conversation.stop:
        fields["stop"] = list(conversation.stop)
    if conversation.store:
        fields["store"] = True
    if conversation.top_k is not None:
        unsaid.append("top_k")
    fields |= _tool_fields(conversation)
    if conversation.answer_format is not None:
        fields["response_format"] = _answer_format(conversation.answer_format)
    if conversation.reasoning is not None:
        effort, is_said = _effort(conversation.reasoning)
        if effort is not None:
            fields["reasoning_effort"] = effort
        if not is_said:
            unsaid.append("reasoning")
    return Written(fields, tuple(unsaid))


def _tool_fields(conversation: Conversation) -> dict[str, Any]:
    """Return the fields of tools. Without tools there is nothing to choose, and the API refuses to be told how."""
    fields: dict[str, Any] = {}
    choice = conversation.tool_choice
    if conversation.tools:
        fields["tools"] = [_tool(tool) for tool in conversation.tools]
        if conversation.parallel_tool_calls is not None:
            fields["parallel_tool_calls"] = conversation.parallel_tool_calls
    if choice is not None and (conversation.tools or choice.mode in {ToolMode.REQUIRED, ToolMode.NAMED}):
        fields["tool_choice"] = _tool_choice(choice)
    return fields


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    body: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        body["description"] = tool.description
    if tool.is_custom:
        if tool.grammar is not None:
            grammar = {name: value for name, value in tool.grammar.items() if name != "type"}
            body["format"] = {"type": "grammar", "grammar": grammar}
        return {"type": "custom", "custom": body}
    if tool.schema is not None:
        body["parameters"] = tool.schema
    if tool.strict is not None:
        body["strict"] = tool.strict
    return {"type": "function", "function": body}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode is not ToolMode.NAMED:
        return choice.mode.value
    kind = "custom" if choice.is_custom else "function"
    return {"type": kind, kind: {"name": choice.name}}


def _answer_format(shape: AnswerFormat) -> dict[str, Any]:
    match shape.kind:
        case AnswerKind.TEXT:
            return {"type": "text"}
        case AnswerKind.JSON:
            return {"type": "json_object"}
        case AnswerKind.SCHEMA:
            said = {"description": shape.description, "schema": shape.schema, "strict": shape.strict}
            schema = {name: value for name, value in said.items() if value is not None}
            return {"type": "json_schema", "json_schema": {"name": shape.name or "answer"} | schema}


def _effort(ask: ReasoningAsk) -> tuple[str | None, bool]:
    """Return the effort that says what is asked, and whether it says all of it.

    Whether thoughts are shown is the provider's affair on this wire, so asking for them adds nothing, and asking for
    none only goes together with not thinking. That a model decides by itself is what saying nothing means.
    """
    if ask.effort == "none" or ask.budget_tokens == 0:
        return "none", True
    return ask.effort, (ask.budget_tokens is None or ask.effort is not None) and ask.is_shown is not False
