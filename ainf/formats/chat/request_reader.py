"""From a chat request to a conversation.

Source: OpenAI's API reference, "create chat completion", with the deprecated fields that clients still send
(``functions``, ``function_call``, ``max_tokens``, ``user``); ``top_k`` is that of compatible servers (vLLM, Together),
``reasoning`` OpenRouter's.
"""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from ainf.formats.chat.message_reader import MessagesReader, read_cache_mark
from ainf.formats.fields import (
    objects,
    optional,
    path_of,
    refuse_others,
    required,
    says_something,
    unknown_stream_options,
    unsupported,
    wrong_type,
    wrong_value,
)
from ainf.inference.conversation import (
    AnswerFormat,
    AnswerKind,
    Conversation,
    ReasoningAsk,
    ToolChoice,
    ToolDefinition,
    ToolMode,
)

# The first name that is sent stands; a second one that says something else has no place of its own.
_SIMPLE: Final[Mapping[str, tuple[tuple[str, ...], tuple[type, ...]]]] = {
    "max_output_tokens": (("max_completion_tokens", "max_tokens"), (int,)),
    "temperature": (("temperature",), (float,)),
    "top_p": (("top_p",), (float,)),
    "top_k": (("top_k",), (int,)),
    "seed": (("seed",), (int,)),
    "frequency_penalty": (("frequency_penalty",), (float,)),
    "presence_penalty": (("presence_penalty",), (float,)),
    "parallel_tool_calls": (("parallel_tool_calls",), (bool,)),
    "verbosity": (("verbosity",), (str,)),
    "user": (("safety_identifier", "user"), (str,)),
    "metadata": (("metadata",), (dict,)),
    "store": (("store",), (bool,)),
    "prompt_cache_key": (("prompt_cache_key",), (str,)),
}

_ELSEWHERE: Final = frozenset({"model", "stream", "stream_options"})
"""What the way to the provider says again by itself."""

_DEFAULTS: Final[Mapping[str, tuple[Any, ...]]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
}
"""Values that mean what leaving the field out means."""

_ASKED_BY_BEING_THERE: Final = frozenset({"web_search_options"})
"""Fields whose empty object is no absence: it asks for something with everything as usual."""

_EFFORTS: Final = (None, "none", "minimal", "low", "medium", "high", "xhigh", "max")
_EFFORT_WORDS: Final = ", ".join(f'"{effort}"' for effort in _EFFORTS if effort)
_NAMED: Final = frozenset({"name"})
_MODES: Final = {"none": ToolMode.NONE, "auto": ToolMode.AUTO, "required": ToolMode.REQUIRED}


def read_request(fields: Mapping[str, Any]) -> Conversation:
    """Return what a request asks. See ``Format.read_request``."""
    reader = _FieldsReader(fields)
    messages = MessagesReader().read(objects(fields, "messages"))
    reader.read_simple()
    reader.read_stop()
    reader.read_tools()
    reader.read_tool_choice()
    reader.read_answer_format()
    reader.read_reasoning()
    unknown = [name for name, value in fields.items() if reader.is_unknown(name, value)]
    unknown += unknown_stream_options(fields)
    return Conversation(messages=messages, names=reader.names, unknown=tuple(unknown), **reader.values)


def reasoning_of(fields: Mapping[str, Any]) -> ReasoningAsk | None:
    """Return how much a request asks the model to think. See ``Format.reasoning_of``."""
    effort, reasoning = fields.get("reasoning_effort"), fields.get("reasoning")
    if isinstance(effort, str):
        return ReasoningAsk(effort)
    if not isinstance(reasoning, dict):
        return None
    effort, budget, hidden = reasoning.get("effort"), reasoning.get("max_tokens"), reasoning.get("exclude")
    ask = ReasoningAsk(
        effort=effort if isinstance(effort, str) else None,
        budget_tokens=budget if type(budget) is int and budget >= 0 else None,
        is_shown=not hidden if isinstance(hidden, bool) else None,
        is_adaptive=reasoning.get("enabled") is True,
    )
    if reasoning.get("enabled") is False:
        ask = attrs.evolve(ask, effort="none")
    return ask if ask != ReasoningAsk() else None


class _FieldsReader:
    """Reads the fields beside the messages, and keeps count of those that found a place."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.values: dict[str, Any] = {}
        self.names: dict[str, str] = {"messages": "messages"}
        self._fields = fields
        self._placed: set[str] = {"messages"}
        self._unplaced: set[str] = set()

    def is_unknown(self, name: str, value: Any) -> bool:  # noqa: ANN401 - any JSON value
        """Whether a field says something that found no place."""
        if name in self._unplaced or (name in _ASKED_BY_BEING_THERE and isinstance(value, dict)):
            return True
        if name in _ELSEWHERE or name in self._placed or not says_something(value):
            return False
        if name in _DEFAULTS:
            return not any(value == default and type(value) is type(default) for default in _DEFAULTS[name])
        return not self._is_repeated(name, value)

    def read_simple(self) -> None:
        """Read the fields that are one value."""
        for attribute, (names, types) in _SIMPLE.items():
            for name in names:
                value = optional(self._fields, name, *types)
                if value is not None and attribute not in self.values and says_something(value):
                    self._place(attribute, name, value)

    def read_stop(self) -> None:
        """Read ``stop``: one sequence, or a list of them."""
        stop = optional(self._fields, "stop", str, list)
        sequences = [stop] if isinstance(stop, str) else stop or []
        for number, sequence in enumerate(sequences):
            if not isinstance(sequence, str):
                raise wrong_type(path_of("stop", number), str)
        if sequences:
            self._place("stop", "stop", tuple(sequences))

    def read_tools(self) -> None:
        """Read ``tools`` and the deprecated ``functions``."""
        tools = [_read_tool(tool, path_of("tools", n)) for n, tool in enumerate(objects(self._fields, "tools"))]
        for number, function in enumerate(objects(self._fields, "functions")):
            tools.append(_read_function(function, path_of("functions", number), function))
        if tools:
            self._place("tools", "tools" if self._fields.get("tools") else "functions", tuple(tools))
            self._placed.add("functions")

    def read_tool_choice(self) -> None:
        """Read ``tool_choice`` or the deprecated ``function_call``."""
        choice = optional(self._fields, "tool_choice", str, dict)
        if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
            self._unplaced.add("tool_choice")
        elif choice is not None:
            self._place("tool_choice", "tool_choice", _read_choice(choice))
        legacy = optional(self._fields, "function_call", str, dict)
        if legacy is not None and choice is None:
            self._place("tool_choice", "function_call", _read_legacy_choice(legacy))

    def read_answer_format(self) -> None:
        """Read ``response_format``."""
        shape = optional(self._fields, "response_format", dict)
        if shape is None:
            return
        match required(shape, "type", str, at="response_format"):
            case "text":
                read = AnswerFormat(AnswerKind.TEXT)
            case "json_object":
                read = AnswerFormat(AnswerKind.JSON)
            case "json_schema":
                at = "response_format.json_schema"
                schema = required(shape, "json_schema", dict, at="response_format")
                refuse_others(schema, frozenset({"name", "description", "schema", "strict"}), at)
                read = AnswerFormat(
                    AnswerKind.SCHEMA,
                    name=optional(schema, "name", str, at=at),
                    description=optional(schema, "description", str, at=at),
                    schema=optional(schema, "schema", dict, at=at),
                    strict=optional(schema, "strict", bool, at=at),
                )
            case _:
                self._unplaced.add("response_format")
                return
        self._place("answer_format", "response_format", read)

    def read_reasoning(self) -> None:
        """Read ``reasoning_effort``, or ``reasoning``."""
        effort, reasoning = optional(self._fields, "reasoning_effort", str), optional(self._fields, "reasoning", dict)
        if effort is None and reasoning is not None:
            refuse_others(reasoning, frozenset({"effort", "max_tokens", "exclude", "enabled"}), "reasoning")
        ask = reasoning_of(self._fields)
        if ask is None:
            return
        if ask.effort not in _EFFORTS:
            raise wrong_value("reasoning.effort" if effort is None else "reasoning_effort", f"one of {_EFFORT_WORDS}")
        self._place("reasoning", "reasoning" if effort is None else "reasoning_effort", ask)

    def _place(self, attribute: str, name: str, value: Any) -> None:  # noqa: ANN401 - of the attribute's type
        self.values[attribute] = value
        self.names[attribute] = name
        self._placed.add(name)

    def _is_repeated(self, name: str, value: Any) -> bool:  # noqa: ANN401 - any JSON value
        """Whether a field says again what its other name said."""
        return any(name in names and self.values.get(each) == value for each, (names, _) in _SIMPLE.items())


def _read_tool(tool: Mapping[str, Any], at: str) -> ToolDefinition:
    match required(tool, "type", str, at=at):
        case "function":
            refuse_others(tool, frozenset({"type", "function", "cache_control"}), at)
            return _read_function(required(tool, "function", dict, at=at), path_of(at, "function"), tool, path=at)
        case "custom":
            refuse_others(tool, frozenset({"type", "custom", "cache_control"}), at)
            return _read_custom(required(tool, "custom", dict, at=at), tool, at)
        case _:
            raise unsupported(path_of(at, "type"), "tools that a provider runs itself belong to that provider")


def _read_function(
    function: Mapping[str, Any], at: str, tool: Mapping[str, Any], *, path: str | None = None
) -> ToolDefinition:
    refuse_others(function, frozenset({"name", "description", "parameters", "strict", "cache_control"}), at)
    return ToolDefinition(
        name=required(function, "name", str, at=at),
        path=path or at,
        description=optional(function, "description", str, at=at),
        schema=optional(function, "parameters", dict, at=at),
        strict=optional(function, "strict", bool, at=at),
        cache=read_cache_mark(tool, path or at) or read_cache_mark(function, at),
    )


def _read_custom(custom: Mapping[str, Any], tool: Mapping[str, Any], path: str) -> ToolDefinition:
    at = path_of(path, "custom")
    refuse_others(custom, frozenset({"name", "description", "format"}), at)
    shape = optional(custom, "format", dict, at=at)
    grammar: dict[str, Any] | None = None
    if shape is not None and shape.get("type") != "text":
        # The responses format has the same two fields one level up; that is the form that a conversation keeps.
        grammar = {"type": "grammar", **required(shape, "grammar", dict, at=path_of(at, "format"))}
    return ToolDefinition(
        name=required(custom, "name", str, at=at),
        path=path,
        description=optional(custom, "description", str, at=at),
        is_custom=True,
        grammar=grammar,
        cache=read_cache_mark(tool, path),
    )


def _read_choice(choice: str | Mapping[str, Any]) -> ToolChoice:
    if isinstance(choice, str):
        if choice not in _MODES:
            raise wrong_value("tool_choice", '"none", "auto", "required" or an object')
        return ToolChoice(_MODES[choice])
    kind = required(choice, "type", str, at="tool_choice")
    if kind not in {"function", "custom"}:
        raise unsupported("tool_choice.type", "tools that a provider runs itself belong to that provider")
    refuse_others(choice, frozenset({"type", kind}), "tool_choice")
    named, at = required(choice, kind, dict, at="tool_choice"), path_of("tool_choice", kind)
    name = required(named, "name", str, at=at)
    refuse_others(named, _NAMED, at)
    return ToolChoice(ToolMode.NAMED, name, is_custom=kind == "custom")


def _read_legacy_choice(choice: str | Mapping[str, Any]) -> ToolChoice:
    if isinstance(choice, str):
        if choice not in {"none", "auto"}:
            raise wrong_value("function_call", '"none", "auto" or an object')
        return ToolChoice(_MODES[choice])
    name = required(choice, "name", str, at="function_call")
    refuse_others(choice, _NAMED, "function_call")
    return ToolChoice(ToolMode.NAMED, name)
