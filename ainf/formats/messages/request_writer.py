"""From a conversation to a Messages request.

Source: Anthropic's API reference, "Create a Message", and its guides on tool use (results stand right behind the calls,
first in the user's turn), extended thinking (a budget is at least 1,024 tokens; a turn that goes on behind tool results
must begin with its thinking) and system messages in mid-conversation (right behind a user's turn only).
"""

from typing import Any, Final

from ainf.formats.fields import unsupported
from ainf.formats.messages.request_turns import cache_fields, written_turns
from ainf.inference.conversation import (
    AnswerFormat,
    AnswerKind,
    Conversation,
    ReasoningAsk,
    ToolDefinition,
    ToolMode,
    Written,
)

_LEAST_BUDGET: Final = 1024
_EFFORTS: Final = frozenset({"low", "medium", "high", "xhigh", "max"})
_NO_EFFORTS: Final = frozenset({"none", "minimal"})
"""Efforts that this format says by switching thinking off."""
_MOST_TEMPERATURE: Final = 1.0
_MODES: Final = {
    ToolMode.AUTO: "auto",
    ToolMode.REQUIRED: "any",
    ToolMode.NAMED: "tool",
    ToolMode.NONE: "none",
}
_THINKING_BLOCKS: Final = frozenset({"thinking", "redacted_thinking"})


def write_request(conversation: Conversation) -> Written:
    """Return a request that asks what a conversation does. See ``Format.write_request``."""
    system, turns = written_turns(conversation.messages)
    fields: dict[str, Any] = {"system": system, "messages": turns} if system else {"messages": turns}
    if conversation.tools:
        fields["tools"] = [_tool(tool) for tool in conversation.tools]
    fields |= _tool_choice(conversation)
    unsaid = [*_write_numbers(conversation, fields), *_unsayable(conversation)]
    if conversation.reasoning is not None and not _write_reasoning(conversation.reasoning, turns, fields):
        unsaid.append("reasoning")
    if conversation.answer_format is not None and not _write_answer_format(conversation.answer_format, fields):
        unsaid.append("answer_format")
    return Written(fields, tuple(unsaid))


def _write_numbers(conversation: Conversation, fields: dict[str, Any]) -> list[str]:
    """Write what is said by one value; return what cannot be said."""
    unsaid = []
    temperature = conversation.temperature
    if temperature is not None and temperature > _MOST_TEMPERATURE:
        temperature = None
        unsaid.append("temperature")
    said = {
        "max_tokens": conversation.max_output_tokens,
        "temperature": temperature,
        "top_p": conversation.top_p,
        "top_k": conversation.top_k,
        "stop_sequences": list(conversation.stop) or None,
        "metadata": None if conversation.user is None else {"user_id": conversation.user},
    }
    fields |= {name: value for name, value in said.items() if value is not None}
    return unsaid


def _unsayable(conversation: Conversation) -> list[str]:
    """Return the attributes that ask for something that this format has no words for."""
    asked = {
        "seed": conversation.seed is not None,
        "frequency_penalty": bool(conversation.frequency_penalty),
        "presence_penalty": bool(conversation.presence_penalty),
        "verbosity": conversation.verbosity not in {None, "medium"},
        "metadata": bool(conversation.metadata),
        "store": bool(conversation.store),
        "prompt_cache_key": conversation.prompt_cache_key is not None,
    }
    return [name for name, is_asked in asked.items() if is_asked]


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    if tool.is_custom:
        raise unsupported(tool.path, "the format of this model's provider has no custom tools, only functions")
    schema = {"type": "object", "properties": {}} if tool.schema is None else dict(tool.schema)
    fields: dict[str, Any] = {"name": tool.name, "input_schema": schema} | cache_fields(tool.cache)
    if tool.description is not None:
        fields["description"] = tool.description
    if tool.strict:
        fields["strict"] = True
    return fields


def _tool_choice(conversation: Conversation) -> dict[str, Any]:
    """Return how tools are to be chosen.

    Without tools there is nothing to choose, unless something must be called: that is the provider's to refuse.
    """
    choice = conversation.tool_choice
    mode = ToolMode.AUTO if choice is None else choice.mode
    if not conversation.tools and mode in {ToolMode.AUTO, ToolMode.NONE}:
        return {}
    is_serial = conversation.parallel_tool_calls is False and mode is not ToolMode.NONE
    if choice is None and not is_serial:
        return {}
    fields: dict[str, Any] = {"type": _MODES[mode]}
    if choice is not None and choice.name is not None:
        fields["name"] = choice.name
    if is_serial:
        fields["disable_parallel_tool_use"] = True
    return {"tool_choice": fields}


def _write_reasoning(ask: ReasoningAsk, turns: list[dict[str, Any]], fields: dict[str, Any]) -> bool:
    """Write how much the model shall think; return whether it could be said."""
    is_off = ask.budget_tokens == 0 or ask.effort in _NO_EFFORTS
    if ask.effort is not None and ask.effort not in _EFFORTS | _NO_EFFORTS:
        return False
    if ask.budget_tokens and not is_off and (ask.budget_tokens < _LEAST_BUDGET or _lacks_thinking(turns)):
        return False
    thinking = {"type": "disabled"} if is_off else _thinking(ask)
    if thinking is not None:
        fields["thinking"] = thinking
    if ask.effort in _EFFORTS:
        fields["output_config"] = {"effort": ask.effort}
    return True


def _thinking(ask: ReasoningAsk) -> dict[str, Any] | None:
    """Return the thinking that is asked for; None where nothing but to hide it is, which says nothing of its own."""
    thinking: dict[str, Any]
    if ask.budget_tokens:
        thinking = {"type": "enabled", "budget_tokens": ask.budget_tokens}
    elif ask.is_adaptive or ask.effort is not None or ask.is_shown:
        thinking = {"type": "adaptive"}
    else:
        return None
    if ask.is_shown is not None:
        thinking["display"] = "summarized" if ask.is_shown else "omitted"
    return thinking


def _lacks_thinking(turns: list[dict[str, Any]]) -> bool:
    """Whether the last assistant's turn called tools and does not begin with its thinking, as a budget demands."""
    for turn in reversed(turns):
        if turn["role"] == "assistant" and isinstance(turn["content"], list):
            kinds = [block["type"] for block in turn["content"]]
            return "tool_use" in kinds and kinds[0] not in _THINKING_BLOCKS
        if turn["role"] == "assistant":
            return False
    return False


def _write_answer_format(wanted: AnswerFormat, fields: dict[str, Any]) -> bool:
    """Write what shape the answer must have; return whether it could be said. JSON without a schema cannot."""
    if wanted.kind is AnswerKind.TEXT:
        return True
    if wanted.kind is AnswerKind.JSON or wanted.schema is None:
        return False
    config = fields.setdefault("output_config", {})
    config["format"] = {"type": "json_schema", "schema": dict(wanted.schema)}
    return True
