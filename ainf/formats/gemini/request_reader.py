"""From a Gemini request to a conversation. Source: the Gemini API reference, "models.generateContent"."""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from ainf.formats.fields import (
    objects,
    optional,
    path_of,
    refuse_others,
    required,
    says_something,
    wrong_type,
    wrong_value,
)
from ainf.formats.gemini.content_reader import ContentsReader, in_camel_case, read_instruction
from ainf.formats.gemini.schema import json_schema_of
from ainf.inference.conversation import (
    AnswerFormat,
    AnswerKind,
    Conversation,
    ReasoningAsk,
    ToolChoice,
    ToolDefinition,
    ToolMode,
)

_CONFIG: Final = "generationConfig"
_SIMPLE: Final[Mapping[str, tuple[str, type]]] = {
    "max_output_tokens": ("maxOutputTokens", int),
    "temperature": ("temperature", float),
    "top_p": ("topP", float),
    "seed": ("seed", int),
    "frequency_penalty": ("frequencyPenalty", float),
    "presence_penalty": ("presencePenalty", float),
}
_DEFAULTS: Final[Mapping[str, tuple[Any, ...]]] = {
    "candidateCount": (1,),
    "responseLogprobs": (False,),
    "responseModalities": (["TEXT"],),
}
"""Values of the generation config that mean what leaving the field out means."""

_TOP: Final = frozenset({"contents", "systemInstruction", "tools", "toolConfig", _CONFIG})
_ELSEWHERE: Final = frozenset({"model", "stream"})
"""What the way to the provider says again by itself."""

_JSON: Final = "application/json"
_MIME_TYPES: Final = {"text/plain": AnswerKind.TEXT, _JSON: AnswerKind.JSON}
_LEVELS: Final = {
    "THINKING_LEVEL_UNSPECIFIED": None,
    "MINIMAL": "minimal",
    "LOW": "low",
    "MEDIUM": "medium",
    "HIGH": "high",
    "XHIGH": "xhigh",
}
_MODES: Final = {
    "MODE_UNSPECIFIED": ToolMode.AUTO,
    "AUTO": ToolMode.AUTO,
    "VALIDATED": ToolMode.AUTO,
    "NONE": ToolMode.NONE,
    "ANY": ToolMode.REQUIRED,
}
_AUTOMATIC: Final = -1


def read_request(fields: Mapping[str, Any]) -> Conversation:
    """Return what a request asks. See ``Format.read_request``."""
    reader = _FieldsReader(in_camel_case(fields))
    reader.read_messages()
    reader.read_tools()
    reader.read_tool_config()
    reader.read_config()
    reader.read_rest()
    return Conversation(names=reader.names, unknown=tuple(reader.unknown), **reader.values)


def reasoning_of(fields: Mapping[str, Any]) -> ReasoningAsk | None:
    """Return how much a request asks the model to think. See ``Format.reasoning_of``."""
    config = _object(_object(in_camel_case(fields), _CONFIG), "thinkingConfig")
    level, budget, shown = config.get("thinkingLevel"), config.get("thinkingBudget"), config.get("includeThoughts")
    ask = ReasoningAsk(
        effort=_LEVELS.get(level.upper()) if isinstance(level, str) else None,
        budget_tokens=budget if type(budget) is int and budget >= 0 else None,
        is_shown=shown if isinstance(shown, bool) else None,
        is_adaptive=type(budget) is int and budget == _AUTOMATIC,
    )
    return ask if ask != ReasoningAsk() else None


class _FieldsReader:
    """Reads a request part by part, and keeps the names of what found no place."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.values: dict[str, Any] = {}
        self.names: dict[str, str] = {"messages": "contents"}
        self.unknown: list[str] = []
        self._fields = fields

    def read_messages(self) -> None:
        """Read ``systemInstruction`` and ``contents``."""
        messages = ContentsReader().read(objects(self._fields, "contents"))
        instruction = optional(self._fields, "systemInstruction", dict)
        if instruction is not None:
            messages = (read_instruction(instruction, "systemInstruction"), *messages)
        self.values["messages"] = messages

    def read_tools(self) -> None:
        """Read ``tools``: of those that a provider runs itself none can be said elsewhere."""
        tools: list[ToolDefinition] = []
        for number, told in enumerate(objects(self._fields, "tools")):
            at = path_of("tools", number)
            tool = in_camel_case(told)
            refuse_others(tool, frozenset({"functionDeclarations"}), at)
            for nth, declaration in enumerate(objects(tool, "functionDeclarations", at)):
                within = path_of(path_of(at, "functionDeclarations"), nth)
                tools.append(_read_tool(in_camel_case(declaration), within))
        if tools:
            self._place("tools", "tools", tuple(tools))

    def read_tool_config(self) -> None:
        """Read ``toolConfig``: how functions are to be chosen. ``VALIDATED`` binds the model to their schemas."""
        at = "toolConfig"
        config = in_camel_case(optional(self._fields, at, dict) or {})
        self._leave(config, frozenset({"functionCallingConfig"}), at)
        at = path_of(at, "functionCallingConfig")
        calling = in_camel_case(optional(config, "functionCallingConfig", dict, at="toolConfig") or {})
        self._leave(calling, frozenset({"mode", "allowedFunctionNames"}), at)
        mode = optional(calling, "mode", str, at=at)
        names = optional(calling, "allowedFunctionNames", list, at=at) or []
        if mode is None and not names:
            return
        mode = (mode or "AUTO").upper()
        if mode not in _MODES:
            raise wrong_value(path_of(at, "mode"), '"AUTO", "ANY", "NONE" or "VALIDATED"')
        choice = ToolChoice(_MODES[mode])
        if mode == "ANY" and len(names) == 1 and isinstance(names[0], str):
            choice = ToolChoice(ToolMode.NAMED, names[0])
        elif names:
            self.unknown.append(path_of(at, "allowedFunctionNames"))
        self._place("tool_choice", "toolConfig", choice)
        if mode == "VALIDATED" and "tools" in self.values:
            self.values["tools"] = tuple(attrs.evolve(tool, strict=True) for tool in self.values["tools"])

    def read_config(self) -> None:
        """Read ``generationConfig``."""
        config = in_camel_case(optional(self._fields, _CONFIG, dict) or {})
        for attribute, (name, kind) in _SIMPLE.items():
            self._place_one(attribute, name, optional(config, name, kind, at=_CONFIG))
        top_k = optional(config, "topK", float, at=_CONFIG)
        if top_k is not None and int(top_k) != top_k:
            raise wrong_type(path_of(_CONFIG, "topK"), int)
        self._place_one("top_k", "topK", None if top_k is None else int(top_k))
        stops = optional(config, "stopSequences", list, at=_CONFIG) or []
        for number, stop in enumerate(stops):
            if not isinstance(stop, str):
                raise wrong_type(path_of(path_of(_CONFIG, "stopSequences"), number), str)
        self._place_one("stop", "stopSequences", tuple(stops) or None)
        self._read_answer_format(config)
        self._read_thinking(config)
        known = {name for name, _ in _SIMPLE.values()} | {"topK", "stopSequences", "thinkingConfig"}
        known |= {"responseMimeType", "responseSchema", "responseJsonSchema"}
        known |= {name for name, defaults in _DEFAULTS.items() if config.get(name) in defaults}
        self._leave(config, frozenset(known), _CONFIG)

    def read_rest(self) -> None:
        """Name the other fields of the request."""
        self._leave(self._fields, _TOP | _ELSEWHERE, "")

    def _read_answer_format(self, config: Mapping[str, Any]) -> None:
        name = "responseMimeType"
        mime_type = optional(config, name, str, at=_CONFIG)
        schema = optional(config, "responseJsonSchema", dict, at=_CONFIG)
        own = optional(config, "responseSchema", dict, at=_CONFIG)
        if schema is None and own is not None:
            schema = json_schema_of(own)
        if schema is not None and mime_type in {None, _JSON}:
            title, description = schema.get("title"), schema.get("description")
            shape = AnswerFormat(
                AnswerKind.SCHEMA,
                name=title if isinstance(title, str) else None,
                description=description if isinstance(description, str) else None,
                schema=schema,
            )
            self._place_one("answer_format", "responseSchema" if own is not None else "responseJsonSchema", shape)
        elif mime_type in _MIME_TYPES:
            self._place_one("answer_format", name, AnswerFormat(_MIME_TYPES[mime_type]))
        elif mime_type is not None:
            self.unknown.append(path_of(_CONFIG, name))

    def _read_thinking(self, config: Mapping[str, Any]) -> None:
        at = path_of(_CONFIG, "thinkingConfig")
        thinking = in_camel_case(optional(config, "thinkingConfig", dict, at=_CONFIG) or {})
        self._leave(thinking, frozenset({"includeThoughts", "thinkingBudget", "thinkingLevel"}), at)
        optional(thinking, "includeThoughts", bool, at=at)
        budget = optional(thinking, "thinkingBudget", int, at=at)
        if budget is not None and budget < _AUTOMATIC:
            raise wrong_value(path_of(at, "thinkingBudget"), "-1 or more")
        level = optional(thinking, "thinkingLevel", str, at=at)
        if level is not None and level.upper() not in _LEVELS:
            raise wrong_value(path_of(at, "thinkingLevel"), "a level that the API knows")
        self._place_one("reasoning", "thinkingConfig", reasoning_of({_CONFIG: {"thinkingConfig": thinking}}))

    def _place(self, attribute: str, name: str, value: Any) -> None:  # noqa: ANN401 - of the attribute's type
        self.values[attribute] = value
        self.names[attribute] = name

    def _place_one(self, attribute: str, name: str, value: Any) -> None:  # noqa: ANN401 - as _place
        """Place a value of the generation config, if there is one."""
        if value is not None:
            self._place(attribute, path_of(_CONFIG, name), value)

    def _leave(self, fields: Mapping[str, Any], known: frozenset[str], at: str) -> None:
        """Keep the names of the fields that say something and are not known."""
        self.unknown += [path_of(at, name) for name in fields if name not in known and says_something(fields[name])]


def _read_tool(declaration: Mapping[str, Any], at: str) -> ToolDefinition:
    refuse_others(declaration, frozenset({"name", "description", "parameters", "parametersJsonSchema"}), at)
    schema = optional(declaration, "parametersJsonSchema", dict, at=at)
    own = optional(declaration, "parameters", dict, at=at)
    if schema is None and own is not None:
        schema = json_schema_of(own)
    return ToolDefinition(
        name=required(declaration, "name", str, at=at),
        path=at,
        description=optional(declaration, "description", str, at=at),
        schema=schema,
    )


def _object(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    return in_camel_case(value) if isinstance(value, dict) else {}
