"""From a conversation to a Gemini request. Source: the Gemini API reference, "models.generateContent".

Marks of what shall be cached say nothing here: they are a hint about price that other providers want to be given,
and Gemini caches by itself what requests have in common. The name and the description of an answer's schema go into
the schema (``title``, ``description``), which the model reads.
"""

from typing import Any, Final

from ainf.formats.fields import unsupported
from ainf.formats.gemini.content_writer import write_messages
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
    "max_output_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}
_UNSAID: Final = ("user", "metadata", "prompt_cache_key")
_USUAL_VERBOSITY: Final = (None, "medium")
_MODES: Final = {
    ToolMode.AUTO: "AUTO",
    ToolMode.NONE: "NONE",
    ToolMode.REQUIRED: "ANY",
    ToolMode.NAMED: "ANY",
}
_VALIDATED: Final = "VALIDATED"
"""``AUTO`` with calls that are bound to the functions' schemas, which is what strict tools ask for. ``ANY`` binds
them always."""

_LEVELS: Final = {
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "XHIGH",
    "max": "XHIGH",
}
_JSON: Final = "application/json"


def write_request(conversation: Conversation) -> Written:
    """Return a request that asks for a conversation. See ``Format.write_request``."""
    fields = write_messages(conversation.messages) | _tool_fields(conversation)
    config: dict[str, Any] = {}
    for attribute, name in _SIMPLE.items():
        value = getattr(conversation, attribute)
        if value is not None:
            config[name] = value
    if conversation.stop:
        config["stopSequences"] = list(conversation.stop)
    if conversation.answer_format is not None:
        config |= _answer_fields(conversation.answer_format)
    thinking, is_said = _thinking(conversation.reasoning)
    if thinking:
        config["thinkingConfig"] = thinking
    if config:
        fields["generationConfig"] = config
    return Written(fields, _unsaid(conversation, is_thinking_said=is_said))


def _unsaid(conversation: Conversation, *, is_thinking_said: bool) -> tuple[str, ...]:
    unsaid = [] if conversation.verbosity in _USUAL_VERBOSITY else ["verbosity"]
    unsaid += [attribute for attribute in _UNSAID if getattr(conversation, attribute) is not None]
    if conversation.parallel_tool_calls is False and conversation.tools:
        unsaid.append("parallel_tool_calls")
    if conversation.store:
        unsaid.append("store")
    if not is_thinking_said:
        unsaid.append("reasoning")
    return tuple(unsaid)


def _tool_fields(conversation: Conversation) -> dict[str, Any]:
    """Return the fields of tools. Without tools there is nothing to choose, unless something must be called."""
    fields: dict[str, Any] = {}
    if conversation.tools:
        fields["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in conversation.tools]}]
    calling = _calling(conversation.tool_choice, conversation.tools)
    if calling:
        fields["toolConfig"] = {"functionCallingConfig": calling}
    return fields


def _declaration(tool: ToolDefinition) -> dict[str, Any]:
    if tool.is_custom:
        raise unsupported(tool.path, "this model's provider has no tools of free-form input")
    declaration: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        declaration["description"] = tool.description
    if tool.schema is not None:
        declaration["parametersJsonSchema"] = tool.schema
    return declaration


def _calling(choice: ToolChoice | None, tools: tuple[ToolDefinition, ...]) -> dict[str, Any]:
    mode = ToolMode.AUTO if choice is None else choice.mode
    if mode is ToolMode.AUTO and any(tool.strict for tool in tools):
        return {"mode": _VALIDATED}
    if choice is None or (not tools and mode in {ToolMode.AUTO, ToolMode.NONE}):
        return {}
    named = {"allowedFunctionNames": [choice.name]} if mode is ToolMode.NAMED else {}
    return {"mode": _MODES[mode]} | named


def _answer_fields(shape: AnswerFormat) -> dict[str, Any]:
    match shape.kind:
        case AnswerKind.TEXT:
            return {"responseMimeType": "text/plain"}
        case AnswerKind.JSON:
            return {"responseMimeType": _JSON}
        case AnswerKind.SCHEMA:
            told = {"title": shape.name, "description": shape.description}
            schema = {name: value for name, value in told.items() if value is not None} | dict(shape.schema or {})
            return {"responseMimeType": _JSON, "responseJsonSchema": schema}


def _thinking(ask: ReasoningAsk | None) -> tuple[dict[str, Any], bool]:
    """Return the thinking config that says what is asked, and whether it says all of it.

    The API takes a budget or a level, not both: of the two the budget is the exact word. -1 leaves it to the model.
    """
    if ask is None:
        return {}, True
    config: dict[str, Any] = {} if ask.is_shown is None else {"includeThoughts": ask.is_shown}
    if ask.budget_tokens is not None:
        return config | {"thinkingBudget": ask.budget_tokens}, True
    if ask.effort == "none":
        return config | {"thinkingBudget": 0}, True
    if ask.effort is not None:
        level = _LEVELS.get(ask.effort)
        return config | ({} if level is None else {"thinkingLevel": level}), level is not None
    return config | ({"thinkingBudget": -1} if ask.is_adaptive else {}), True
