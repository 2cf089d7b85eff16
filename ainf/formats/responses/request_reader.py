"""From a Responses request to a conversation. Source: ``openai.types.responses.ResponseCreateParams``."""

from collections.abc import Mapping
from typing import Any, Final

from ainf.formats.fields import (
    objects,
    optional,
    path_of,
    refuse_others,
    required,
    says_something,
    unknown_stream_options,
    unsupported,
    wrong_value,
)
from ainf.formats.responses.input_reader import read_cache_mark, read_input
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
)

# The first name that is sent stands; a second one that says something else has no place of its own.
_SIMPLE: Final[Mapping[str, tuple[tuple[str, ...], type]]] = {
    "parallel_tool_calls": (("parallel_tool_calls",), bool),
    "max_output_tokens": (("max_output_tokens",), int),
    "temperature": (("temperature",), float),
    "top_p": (("top_p",), float),
    "user": (("safety_identifier", "user"), str),
    "metadata": (("metadata",), dict),
    "store": (("store",), bool),
    "prompt_cache_key": (("prompt_cache_key",), str),
}

_ELSEWHERE: Final = frozenset({"model", "stream", "stream_options"})
"""What the way to the provider says again by itself, and padding of the stream, which concerns no model."""

ENCRYPTED_REASONING: Final = "reasoning.encrypted_content"

_DEFAULTS: Final[Mapping[str, tuple[Any, ...]]] = {
    "background": (False,),
    "include": ([ENCRYPTED_REASONING],),
    "service_tier": ("auto", "default"),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
"""Values that mean what leaving the field out means. Encrypted reasoning is what we hand over in any case."""

_EFFORTS: Final = (None, "none", "minimal", "low", "medium", "high", "xhigh", "max")
_SUMMARIES: Final = (None, "auto", "concise", "detailed")
_MODES: Final = {"none": ToolMode.NONE, "auto": ToolMode.AUTO, "required": ToolMode.REQUIRED}
_PROVIDERS_TOOL: Final = "tools that a provider runs itself belong to that provider"


def read_request(fields: Mapping[str, Any]) -> Conversation:
    """Return what a request asks. See ``Format.read_request``."""
    reader = _FieldsReader(fields)
    reader.read_messages()
    reader.read_simple()
    reader.read_tools()
    reader.read_tool_choice()
    reader.read_text()
    reader.read_reasoning()
    unknown = [name for name, value in fields.items() if reader.is_unknown(name, value)]
    unknown += unknown_stream_options(fields)
    return Conversation(names=reader.names, unknown=(*unknown, *reader.unknown), **reader.values)


def reasoning_of(fields: Mapping[str, Any]) -> ReasoningAsk | None:
    """Return how much a request asks the model to think. See ``Format.reasoning_of``."""
    reasoning = fields.get("reasoning")
    if not isinstance(reasoning, dict):
        return None
    effort, summary = reasoning.get("effort"), reasoning.get("summary") or reasoning.get("generate_summary")
    ask = ReasoningAsk(effort=effort if isinstance(effort, str) else None, is_shown=True if summary else None)
    return ask if ask != ReasoningAsk() else None


class _FieldsReader:
    """Reads the fields of one request, and keeps count of those that found a place."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.values: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        self.unknown: list[str] = []
        """Paths inside fields that found a place otherwise."""
        self._fields = fields
        self._placed: set[str] = set()

    def is_unknown(self, name: str, value: Any) -> bool:  # noqa: ANN401 - any JSON value
        """Whether a field says something that found no place."""
        if name in _ELSEWHERE or name in self._placed or not says_something(value):
            return False
        if name in _DEFAULTS:
            return not any(value == default and type(value) is type(default) for default in _DEFAULTS[name])
        return not self._is_repeated(name, value)

    def read_messages(self) -> None:
        """Read ``instructions`` and ``input``."""
        messages: list[Message] = []
        instructions = optional(self._fields, "instructions", str)
        self._placed.add("instructions")
        if instructions:
            messages.append(Message(Role.SYSTEM, (Text(instructions),), "instructions"))
        said = required(self._fields, "input", str, list) if self._fields.get("prompt") is None else self._input()
        if isinstance(said, str):
            messages.append(Message(Role.USER, (Text(said),), "input"))
        else:
            messages.extend(read_input(objects(self._fields, "input")))
        self._place("messages", "input", tuple(messages))

    def _input(self) -> str | list[Any]:
        """Return the input of a request that may have none, since it names a prompt that its provider keeps."""
        said: str | list[Any] | None = optional(self._fields, "input", str, list)
        return [] if said is None else said

    def read_simple(self) -> None:
        """Read the fields that are one value."""
        for attribute, (names, kind) in _SIMPLE.items():
            for name in names:
                value = optional(self._fields, name, kind)
                if value is not None and attribute not in self.values and says_something(value):
                    self._place(attribute, name, value)

    def read_tools(self) -> None:
        """Read ``tools``."""
        tools = tuple(_read_tool(tool, path_of("tools", n)) for n, tool in enumerate(objects(self._fields, "tools")))
        if tools:
            self._place("tools", "tools", tools)

    def read_tool_choice(self) -> None:
        """Read ``tool_choice``. A choice among some of the tools has no place."""
        choice = optional(self._fields, "tool_choice", str, dict)
        if isinstance(choice, str):
            if choice not in _MODES:
                raise wrong_value("tool_choice", '"none", "auto", "required" or an object')
            self._place("tool_choice", "tool_choice", ToolChoice(_MODES[choice]))
        elif choice is not None and choice.get("type") != "allowed_tools":
            kind = required(choice, "type", str, at="tool_choice")
            if kind not in {"function", "custom"}:
                raise unsupported("tool_choice.type", _PROVIDERS_TOOL)
            name = required(choice, "name", str, at="tool_choice")
            refuse_others(choice, frozenset({"type", "name"}), "tool_choice")
            self._place("tool_choice", "tool_choice", ToolChoice(ToolMode.NAMED, name, is_custom=kind == "custom"))

    def read_text(self) -> None:
        """Read ``text``: the shape of the answer, and how much of it."""
        text = optional(self._fields, "text", dict)
        self._placed.add("text")
        if text is None:
            return
        self.unknown += [
            path_of("text", name)
            for name, value in text.items()
            if name not in {"format", "verbosity"} and says_something(value)
        ]
        verbosity = optional(text, "verbosity", str, at="text")
        if verbosity is not None:
            self._place("verbosity", "text.verbosity", verbosity)
        shape = optional(text, "format", dict, at="text")
        if shape:
            read = _read_answer_format(shape)
            if read is None:
                self.unknown.append("text.format")
            else:
                self._place("answer_format", "text.format", read)

    def read_reasoning(self) -> None:
        """Read ``reasoning``."""
        reasoning = optional(self._fields, "reasoning", dict)
        self._placed.add("reasoning")
        if reasoning is None:
            return
        defaults = {"context": "auto", "mode": "standard"}
        self.unknown += [
            path_of("reasoning", name)
            for name, value in reasoning.items()
            if name not in {"effort", "summary", "generate_summary"} and says_something(value)
            and defaults.get(name) != value
        ]  # fmt: skip
        if optional(reasoning, "effort", str, at="reasoning") not in _EFFORTS:
            raise wrong_value("reasoning.effort", "one of the API's efforts")
        for name in ("summary", "generate_summary"):
            if optional(reasoning, name, str, at="reasoning") not in _SUMMARIES:
                raise wrong_value(path_of("reasoning", name), '"auto", "concise" or "detailed"')
        ask = reasoning_of(self._fields)
        if ask is not None:
            self._place("reasoning", "reasoning", ask)
            self.names["reasoning_shown"] = "reasoning.summary"

    def _place(self, attribute: str, name: str, value: Any) -> None:  # noqa: ANN401 - of the attribute's type
        self.values[attribute] = value
        self.names[attribute] = name
        self._placed.add(name)

    def _is_repeated(self, name: str, value: Any) -> bool:  # noqa: ANN401 - any JSON value
        """Whether a field says again what its other name said."""
        return any(name in names and self.values.get(each) == value for each, (names, _) in _SIMPLE.items())


def _read_tool(tool: Mapping[str, Any], at: str) -> ToolDefinition:
    kind = required(tool, "type", str, at=at)
    if kind not in {"function", "custom"}:
        raise unsupported(path_of(at, "type"), _PROVIDERS_TOOL)
    own = {"parameters", "strict"} if kind == "function" else {"format"}
    common = {"type", "name", "description", "prompt_cache_breakpoint"}
    # What is false asks for nothing: neither to run beside the answer, nor to be loaded later.
    told = {name: value for name, value in tool.items() if value is not False or name in own}
    refuse_others(told, frozenset(common | own), at)
    name, description = required(tool, "name", str, at=at), optional(tool, "description", str, at=at)
    cache = read_cache_mark(tool, at)
    if kind == "function":
        return ToolDefinition(
            name=name,
            path=at,
            description=description,
            schema=optional(tool, "parameters", dict, at=at),
            strict=optional(tool, "strict", bool, at=at),
            cache=cache,
        )
    shape = optional(tool, "format", dict, at=at)
    grammar = None if shape is None or shape.get("type") == "text" else shape
    return ToolDefinition(name=name, path=at, description=description, is_custom=True, grammar=grammar, cache=cache)


def _read_answer_format(shape: Mapping[str, Any]) -> AnswerFormat | None:
    match required(shape, "type", str, at="text.format"):
        case "text":
            return AnswerFormat(AnswerKind.TEXT)
        case "json_object":
            return AnswerFormat(AnswerKind.JSON)
        case "json_schema":
            at = "text.format"
            refuse_others(shape, frozenset({"type", "name", "description", "schema", "strict"}), at)
            return AnswerFormat(
                AnswerKind.SCHEMA,
                name=optional(shape, "name", str, at=at),
                description=optional(shape, "description", str, at=at),
                schema=optional(shape, "schema", dict, at=at),
                strict=optional(shape, "strict", bool, at=at),
            )
        case _:
            return None
