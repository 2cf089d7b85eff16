"""From a conversation to a Responses request. Source: as ``request_reader``."""

from collections.abc import Mapping
from typing import Any, Final

from ainf.formats.responses.input_writer import write_input
from ainf.formats.responses.request_reader import ENCRYPTED_REASONING
from ainf.inference.conversation import (
    AnswerFormat,
    AnswerKind,
    Conversation,
    Message,
    ReasoningAsk,
    Role,
    Text,
    ToolChoice,
    ToolDefinition,
    ToolMode,
    Written,
)

_SIMPLE: Final = (
    "max_output_tokens", "temperature", "top_p", "parallel_tool_calls", "user", "metadata", "prompt_cache_key",
)  # fmt: skip
_UNSAYABLE: Final[Mapping[str, tuple[Any, ...]]] = {
    "top_k": (None,),
    "stop": ((),),
    "seed": (None,),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
}
"""Attributes that this format has no field for, each with the values that ask for nothing."""


def write_request(conversation: Conversation) -> Written:
    """Return a request that asks for a conversation. See ``Format.write_request``.

    Nothing is stored unless that is asked for: whoever speaks another format sends the whole conversation each time.
    So that thoughts can be sent with it, they are asked for in their encrypted form, which needs no store. Cache marks
    are not said: this format's models cache by themselves, and older ones refuse to be told where.
    """
    instructions, messages = _instructions(conversation.messages)
    fields: dict[str, Any] = {"input": write_input(messages), "store": conversation.store is True}
    if instructions is not None:
        fields["instructions"] = instructions
    for name in _SIMPLE:
        value = getattr(conversation, name)
        if value is not None:
            fields[name] = value
    unsaid = [name for name, nothing in _UNSAYABLE.items() if getattr(conversation, name) not in nothing]
    fields |= _tool_fields(conversation) | _text_fields(conversation)
    if conversation.reasoning is not None:
        said, is_said = _reasoning(conversation.reasoning)
        fields |= ({"reasoning": said} if said else {}) | {"include": [ENCRYPTED_REASONING]}
        if not is_said:
            unsaid.append("reasoning")
    return Written(fields, tuple(unsaid))


def _instructions(messages: tuple[Message, ...]) -> tuple[str | None, tuple[Message, ...]]:
    """Part a first system message that is one text from the others."""
    match messages:
        case (Message(role=Role.SYSTEM, parts=(Text(text=text),), name=None), *rest) if text:
            return text, tuple(rest)
        case _:
            return None, messages


def _tool_fields(conversation: Conversation) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if conversation.tools:
        fields["tools"] = [_tool(tool) for tool in conversation.tools]
    choice = conversation.tool_choice
    # Without tools there is nothing to choose, and nothing to be told about it.
    if choice is not None and (conversation.tools or choice.mode in {ToolMode.REQUIRED, ToolMode.NAMED}):
        fields["tool_choice"] = _tool_choice(choice)
    return fields


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    body: dict[str, Any] = {"type": "custom" if tool.is_custom else "function", "name": tool.name}
    if tool.description is not None:
        body["description"] = tool.description
    if tool.is_custom:
        return body if tool.grammar is None else body | {"format": tool.grammar}
    # Here a function is strict unless it says otherwise, and a schema that was not written for that would be changed.
    return body | {"parameters": tool.schema, "strict": tool.strict is True}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode is not ToolMode.NAMED:
        return choice.mode.value
    return {"type": "custom" if choice.is_custom else "function", "name": choice.name}


def _text_fields(conversation: Conversation) -> dict[str, Any]:
    text: dict[str, Any] = {}
    if conversation.answer_format is not None:
        text["format"] = _answer_format(conversation.answer_format)
    if conversation.verbosity is not None:
        text["verbosity"] = conversation.verbosity
    return {"text": text} if text else {}


def _answer_format(shape: AnswerFormat) -> dict[str, Any]:
    match shape.kind:
        case AnswerKind.TEXT:
            return {"type": "text"}
        case AnswerKind.JSON:
            return {"type": "json_object"}
        case AnswerKind.SCHEMA:
            said: Mapping[str, Any] = {"description": shape.description, "schema": shape.schema, "strict": shape.strict}
            told = {name: value for name, value in said.items() if value is not None}
            return {"type": "json_schema", "name": shape.name or "answer"} | told


def _reasoning(ask: ReasoningAsk) -> tuple[dict[str, Any], bool]:
    """Return what is asked of the reasoning, and whether it says all of it.

    A budget has no word here; beside an effort it adds nothing that the effort does not ask for. Thoughts are shown
    only where a summary is asked for; that a model decides by itself how much to think is what saying nothing means.
    """
    summary = {"summary": "auto"} if ask.is_shown else {}
    if ask.effort == "none" or ask.budget_tokens == 0:
        return {"effort": "none"}, True
    if ask.effort is not None:
        return {"effort": ask.effort} | summary, True
    return summary, ask.budget_tokens is None
