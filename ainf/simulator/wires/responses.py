"""OpenAI's Responses API: requests in, ``response`` objects out; ``responses_stream`` tells them as events.

Wire format: https://platform.openai.com/docs/api-reference/responses
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from ainf.simulator.answer import Answer, Ask, Tool
from ainf.simulator.behaviour import Usage
from ainf.simulator.http import Request
from ainf.simulator.reading import Fields, first_property, text_bytes, tokens, utf8_bytes
from ainf.simulator.wire import ErrorBody, RefusedError, Voice
from ainf.simulator.wires.openai import OpenAIWire, encode, fields_of, model_of, refused, wrong_type
from ainf.simulator.wires.responses_stream import ResponsesVoice, ended, failed, response_id, response_object

_ROLES: Final = frozenset({"system", "developer", "user", "assistant"})
_MAX_REMEMBERED: Final = 10_000
_JSON_TYPES: Final[Mapping[type, str]] = MappingProxyType({
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
})
_ECHOED: Final[Mapping[str, object]] = MappingProxyType({
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
})
"""What a response repeats of its request, and what stands there for what is left out."""


class ResponsesWire(OpenAIWire):
    """``POST /v1/responses``. Remembers which responses it made, so that a request may go on from one."""

    paths = ("/v1/responses",)
    broken_frame = b'event: response.output_text.delta\ndata: {"type": "response.output_text.delta", "delta": \n\n'

    def __init__(self) -> None:
        self._made: dict[str, int] = {}

    def read(self, request: Request, fields: object) -> Ask:
        """Return what the request asks for; see ``Wire.read``."""
        del request
        values = fields_of(fields)
        typed = Fields(values, wrong_type)
        model = model_of(values)
        instructions = _instructions(values)
        items = _items(values.get("input"))
        return Ask(
            model=model,
            stream=typed.get("stream", bool, default=False),
            include_usage=False,
            max_tokens=_max_tokens(typed),
            input_tokens=self._tokens_before(typed)
            + tokens(utf8_bytes(instructions) + sum(_item_bytes(item) for item in items)),
            tools=_tools(typed),
            may_call=values.get("tool_choice") != "none" and items[-1].get("type") != "function_call_output",
            habit=Usage.IN_FINISH,
            echo=_echo(typed),
        )

    def voice(self, answer: Answer) -> Voice:
        """Return what tells the answer; see ``Wire.voice``."""
        voice = ResponsesVoice(answer)
        self._remember(voice)
        return voice

    def document(self, answer: Answer) -> bytes:
        """Return the whole answer; see ``Wire.document``."""
        voice = ResponsesVoice(answer)
        self._remember(voice)
        voice.said(answer.beats)
        return encode(response_object(voice, counts=answer.counts, **ended(answer)))

    def failed_document(self, answer: Answer, error: ErrorBody) -> bytes:
        """Return a response that failed; see ``Wire.failed_document``."""
        return encode(response_object(ResponsesVoice(answer), counts=None, **failed(error)))

    def _tokens_before(self, fields: Fields) -> int:
        """Return the tokens of the response that the request goes on from, input and output."""
        previous = fields.get("previous_response_id", str, default=None)
        if previous is None:
            return 0
        if previous not in self._made:
            message = f"Previous response with id '{previous}' not found."
            raise refused(message, "previous_response_id", "previous_response_not_found")
        return self._made[previous]

    def _remember(self, voice: ResponsesVoice) -> None:
        if not voice.echo["store"]:
            return
        if len(self._made) >= _MAX_REMEMBERED:
            del self._made[next(iter(self._made))]
        beats = voice.answer.beats
        # An endless answer is remembered without its output.
        said = sum(beat.tokens for beat in beats) if isinstance(beats, list) else 0
        self._made[response_id(voice.answer)] = voice.answer.ask.input_tokens + said


def _instead(name: str, expected: str, value: object) -> RefusedError:
    got = _JSON_TYPES.get(type(value), "null")
    message = f"Invalid type for '{name}': expected {expected}, but got {got} instead."
    return refused(message, name, "invalid_type")


def _instructions(values: Mapping[str, Any]) -> str | None:
    instructions = values.get("instructions")
    if instructions is not None and not isinstance(instructions, str):
        raise _instead("instructions", "a string", instructions)
    return instructions


def _items(value: object) -> list[dict[str, Any]]:
    if value is None or value == []:
        raise refused("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list):
        raise _instead("input", "one of a string or an array", value)
    for index, item in enumerate(value):
        _require_item(item, f"input[{index}]")
    return value


def _require_item(item: object, at: str) -> None:
    if not isinstance(item, dict):
        raise _instead(at, "an object", item)
    match item.get("type", "message"):
        case "message":
            role = item.get("role")
            if not isinstance(role, str) or role not in _ROLES:
                raise refused(f"Invalid value for '{at}.role'.", f"{at}.role", "invalid_value")
            _require(item, "content", (str, list), at)
        case "function_call":
            for name in ("call_id", "name", "arguments"):
                _require(item, name, (str,), at)
        case "function_call_output":
            _require(item, "call_id", (str,), at)
            _require(item, "output", (str, list), at)
        case str():
            return
        case _:
            raise refused(f"Invalid value for '{at}.type'.", f"{at}.type", "invalid_value")


def _require(item: Mapping[str, Any], name: str, kinds: tuple[type, ...], at: str) -> None:
    if item.get(name) is None:
        raise refused(f"Missing required parameter: '{at}.{name}'.", f"{at}.{name}", "missing_required_parameter")
    if not isinstance(item[name], kinds):
        raise _instead(f"{at}.{name}", " or ".join(_JSON_TYPES[kind] for kind in kinds), item[name])


def _item_bytes(item: Mapping[str, Any]) -> int:
    """Return the bytes of a message's text, or of what a tool gave."""
    return text_bytes(item.get("content")) + text_bytes(item.get("output"))


def _max_tokens(fields: Fields) -> int | None:
    limit = fields.get("max_output_tokens", int, default=None)
    if limit is not None and limit < 1:
        message = f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 1, but got {limit}."
        raise refused(message, "max_output_tokens", "integer_below_min_value")
    return limit


def _tools(fields: Fields) -> tuple[Tool, ...]:
    """Return the functions that the client runs; other tools are OpenAI's and are never called."""
    tools = []
    for index, tool in enumerate(fields.get("tools", list, default=[])):
        match tool:
            case {"type": "function", "name": str(name), **rest}:
                tools.append(Tool(name, first_property(rest.get("parameters"))))
            case {"type": str(kind)} if kind != "function":
                continue
            case _:
                raise refused(f"Missing required parameter: 'tools[{index}].name'.", f"tools[{index}].name")
    return tuple(tools)


def _echo(fields: Fields) -> bytes:
    echo = {name: _given(fields.values.get(name), default) for name, default in _ECHOED.items()}
    echo["tools"] = [_echoed_tool(tool) for tool in fields.get("tools", list, default=[])]
    echo["include"] = fields.get("include", list, default=[])
    return encode(echo)


def _given(value: object, default: object) -> object:
    return default if value is None else value


def _echoed_tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    if tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": True, **tool}
