"""Chat completions, as OpenAI's API speaks it: requests in, ``chat.completion`` and ``chat.completion.chunk`` out.

Wire format: https://platform.openai.com/docs/api-reference/chat (objects "The chat completion object" and "The chat
completion chunk object"); visible reasoning is ``reasoning_content``, as DeepSeek, vLLM and xAI send it.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

import msgspec

from ainf.simulator.answer import TOKEN_BYTES, Answer, Ask, Beat, BeatKind, Counts, Tool
from ainf.simulator.wire import ErrorBody, RefusedError

_T = TypeVar("_T")
_D = TypeVar("_D")

_encode = msgspec.json.encode
_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})

_LIES: Final[Mapping[str, Callable[[int], Any]]] = MappingProxyType({
    "negative": lambda count: -count - 1,
    "huge": lambda _: msgspec.Raw(b"1" + b"0" * 30),
    "float": lambda count: count + 0.5,
    "string": str,
    "absurd": lambda count: count + 1_000_000_000,
    "null": lambda _: None,
    "bool": lambda _: True,
    "list": lambda count: [count],
    "zero": lambda _: 0,
    "nan": lambda _: msgspec.Raw(b"NaN"),
})


class ChatWire:
    """The chat completions format."""

    path = "/v1/chat/completions"
    done_frame = b"data: [DONE]\n\n"

    def read(self, fields: object) -> Ask:
        """Return what the request asks for; see ``Wire.read``."""
        if not isinstance(fields, dict):
            raise _refused("We could not parse the JSON body of your request.")
        model = fields.get("model")
        if not isinstance(model, str) or not model:
            raise _refused("you must provide a model parameter", "model")
        stream = _field(fields, "stream", bool, default=False)
        options = _field(fields, "stream_options", dict, default={})
        if options and not stream:
            raise _refused("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
        if _field(fields, "n", int, default=1) != 1:
            raise _refused("This model answers with one choice.", "n")
        messages = _messages(fields)
        return Ask(
            model=model,
            stream=stream,
            include_usage=_field(options, "include_usage", bool, default=False),
            max_tokens=_max_tokens(fields),
            input_tokens=-(-sum(_content_bytes(message) for message in messages) // TOKEN_BYTES),
            tools=_tools(fields),
            may_call=fields.get("tool_choice") != "none" and messages[-1]["role"] != "tool",
        )

    def frame(self, beat: Beat, answer: Answer) -> bytes:
        """Return a beat's frame; see ``Wire.frame``."""
        match beat.kind:
            case BeatKind.HIDDEN:
                return b""
            case BeatKind.DONE:
                return self.done_frame
            case BeatKind.USAGE:
                choices = []
            case _:
                reason = answer.finish_reason if beat.kind is BeatKind.FINISH else None
                choices = [{"index": 0, "delta": _delta(beat, answer), "logprobs": None, "finish_reason": reason}]
        chunk: dict[str, Any] = _envelope(answer, "chat.completion.chunk")
        chunk["choices"] = choices
        if beat.counts is not None:
            chunk["usage"] = _usage(beat.counts, answer.usage_lie)
        elif answer.include_usage:
            chunk["usage"] = None
        return b"data: " + _encode(chunk) + b"\n\n"

    def document(self, answer: Answer) -> bytes:
        """Return the whole answer; see ``Wire.document``."""
        document = _envelope(answer, "chat.completion")
        choice = {"index": 0, "message": _message(answer), "logprobs": None, "finish_reason": answer.finish_reason}
        document["choices"] = [choice]
        if answer.counts is not None:
            document["usage"] = _usage(answer.counts, answer.usage_lie)
        return _encode(document)

    def error_document(self, error: ErrorBody) -> bytes:
        """Return an error's body; see ``Wire.error_document``."""
        return _encode({"error": _error(error)})

    def error_frame(self, error: ErrorBody, *, as_string: bool = False, as_event: bool = False) -> bytes:
        """Return an error in the stream; see ``Wire.error_frame``."""
        prefix = b"event: error\n" if as_event else b""
        return prefix + b"data: " + _encode({"error": error.message if as_string else _error(error)}) + b"\n\n"


def _envelope(answer: Answer, kind: str) -> dict[str, Any]:
    envelope: dict[str, Any] = {
        "id": f"chatcmpl-sim-{answer.number:08d}",
        "object": kind,
        "created": answer.created,
        "model": answer.model,
        "system_fingerprint": "fp_simulator",
    }
    if answer.unknown_fields:
        envelope["x_unknown"] = {"nested": [1, {"deep": None}], "text": "data: [DONE]\n\n"}
    return envelope


def _delta(beat: Beat, answer: Answer) -> dict[str, Any]:
    match beat.kind:
        case BeatKind.START:
            return {"role": "assistant", "content": "", "refusal": None}
        case BeatKind.REASONING:
            return {"reasoning_content": beat.text}
        case BeatKind.REFUSAL:
            return {"refusal": beat.text}
        case BeatKind.TOOL_START:
            call = {"index": beat.call, "id": answer.call_id(beat.call), "type": "function"}
            return {"tool_calls": [{**call, "function": {"name": beat.text, "arguments": ""}}]}
        case BeatKind.TOOL_ARGUMENTS:
            return {"tool_calls": [{"index": beat.call, "function": {"arguments": beat.text}}]}
        case _:
            return {"content": beat.text} if beat.text else {}


def _message(answer: Answer) -> dict[str, Any]:
    said: dict[BeatKind, str] = {}
    calls: dict[int, dict[str, str]] = {}
    for beat in answer.beats:
        if beat.kind is BeatKind.TOOL_START:
            calls[beat.call] = {"name": beat.text, "arguments": ""}
        elif beat.kind is BeatKind.TOOL_ARGUMENTS:
            calls[beat.call]["arguments"] += beat.text
        else:
            kind = BeatKind.TEXT if beat.kind is BeatKind.FINISH else beat.kind
            said[kind] = said.get(kind, "") + beat.text
    message: dict[str, Any] = {
        "role": "assistant",
        "content": said.get(BeatKind.TEXT) or None,
        "refusal": said.get(BeatKind.REFUSAL),
        "annotations": [],
    }
    if BeatKind.REASONING in said:
        message["reasoning_content"] = said[BeatKind.REASONING]
    if calls:
        message["tool_calls"] = [
            {"id": answer.call_id(call), "type": "function", "function": function} for call, function in calls.items()
        ]
    return message


def _usage(counts: Counts, lie: str | None) -> dict[str, Any]:
    tell = _LIES[lie] if lie else int
    return {
        "prompt_tokens": tell(counts.input),
        "completion_tokens": tell(counts.output),
        "total_tokens": tell(counts.input + counts.output),
        "prompt_tokens_details": {"cached_tokens": counts.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": counts.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _error(error: ErrorBody) -> dict[str, Any]:
    return {"message": error.message, "type": error.type, "param": error.param, "code": error.code}


def _refused(message: str, param: str | None = None) -> RefusedError:
    return RefusedError(400, ErrorBody(message, "invalid_request_error", param=param))


def _field(fields: Mapping[str, Any], name: str, kind: type[_T], *, default: _D) -> _T | _D:
    """Return a field of the right type; null counts as left out."""
    value = fields.get(name)
    if value is None:
        return default
    if type(value) is not kind:
        raise _refused(f"Invalid type for '{name}': expected {kind.__name__}.", name)
    return value


def _max_tokens(fields: dict[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        limit = _field(fields, name, int, default=None)
        if limit is not None:
            if limit < 1:
                raise _refused(f"Invalid value for '{name}': it must be at least 1.", name)
            return limit
    return None


def _messages(fields: dict[str, Any]) -> list[dict[str, Any]]:
    messages: list[Any] = _field(fields, "messages", list, default=[])
    if not messages:
        raise _refused("Missing required parameter: 'messages'.", "messages")
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str) or role not in _ROLES:
            raise _refused(f"Invalid value for '{at}.role'.", f"{at}.role")
        if not isinstance(message.get("content"), str | list) and not message.get("tool_calls"):
            raise _refused(f"Invalid type for '{at}.content'.", f"{at}.content")
        if role == "tool" and not isinstance(message.get("tool_call_id"), str):
            raise _refused(f"Missing required parameter: '{at}.tool_call_id'.", f"{at}.tool_call_id")
    return messages


def _content_bytes(message: dict[str, Any]) -> int:
    """Return the bytes of a message's text; parts that are no text count nothing."""
    content = message.get("content") or ""
    parts = [{"text": content}] if isinstance(content, str) else content
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts if isinstance(text, str))


def _tools(fields: dict[str, Any]) -> tuple[Tool, ...]:
    tools = []
    for index, tool in enumerate(_field(fields, "tools", list, default=[])):
        match tool:
            case {"type": "function", "function": {"name": str(name), **rest}}:
                tools.append(Tool(name, _first_property(rest.get("parameters"))))
            case _:
                raise _refused(f"Invalid value for 'tools[{index}]'.", f"tools[{index}]")
    return tuple(tools)


def _first_property(schema: object) -> str:
    match schema:
        case {"properties": {**properties}} if properties:
            return str(next(iter(properties)))
        case _:
            return "text"
