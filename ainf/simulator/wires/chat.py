"""Chat completions, as OpenAI's API speaks it: requests in, ``chat.completion`` and ``chat.completion.chunk`` out.

Wire format: https://platform.openai.com/docs/api-reference/chat (objects "The chat completion object" and "The chat
completion chunk object"); visible reasoning is ``reasoning_content``, as DeepSeek, vLLM and xAI send it.
"""

from typing import Any, Final

import attrs

from ainf.simulator.answer import UNKNOWN, Answer, Ask, Beat, BeatKind, Counts, Tool
from ainf.simulator.http import Request
from ainf.simulator.lies import teller
from ainf.simulator.reading import Fields, first_property, text_bytes, tokens
from ainf.simulator.wire import ErrorBody
from ainf.simulator.wires.openai import OpenAIWire, encode, error_frame, fields_of, model_of, refused, wrong_type

_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_INSTEAD_OF_CONTENT: Final = ("tool_calls", "function_call", "refusal", "audio")
"""What an assistant's message may hold where its content is null."""


class ChatWire(OpenAIWire):
    """The chat completions format."""

    paths = ("/v1/chat/completions",)
    done_frame = b"data: [DONE]\n\n"

    def read(self, request: Request, fields: object) -> Ask:
        """Return what the request asks for; see ``Wire.read``."""
        del request
        values = fields_of(fields)
        model = model_of(values)
        typed = Fields(values, wrong_type)
        stream = typed.get("stream", bool, default=False)
        options = typed.get("stream_options", dict, default={})
        if options and not stream:
            raise refused("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
        if typed.get("n", int, default=1) != 1:
            raise refused("This model answers with one choice.", "n")
        messages = _messages(typed)
        return Ask(
            model=model,
            stream=stream,
            include_usage=bool(options) and Fields(options, wrong_type).get("include_usage", bool, default=False),
            max_tokens=_max_tokens(typed),
            input_tokens=tokens(sum(text_bytes(message.get("content")) for message in messages)),
            tools=_tools(typed),
            may_call=values.get("tool_choice") != "none" and messages[-1]["role"] != "tool",
        )

    def voice(self, answer: Answer) -> "ChatVoice":
        """Return what tells the answer; see ``Wire.voice``."""
        return ChatVoice(answer)

    def document(self, answer: Answer) -> bytes:
        """Return the whole answer; see ``Wire.document``."""
        document = _envelope(answer, "chat.completion")
        choice = {"index": 0, "message": _message(answer), "logprobs": None, "finish_reason": answer.finish_reason}
        document["choices"] = [choice]
        if answer.counts is not None:
            document["usage"] = _usage(answer.counts, answer.behaviour.usage_lie)
        return encode(document)


@attrs.define
class ChatVoice:
    """Tells an answer as chunks."""

    answer: Answer
    _unsigned: bool = attrs.field(default=False, init=False)
    """Whether reasoning was produced whose opaque data is still to come."""

    def frame(self, beat: Beat) -> bytes:
        """Return a beat's frame; see ``Voice.frame``."""
        match beat.kind:
            case BeatKind.HIDDEN:
                self._unsigned = True
                return b""
            case BeatKind.DONE:
                return ChatWire.done_frame
            case BeatKind.USAGE:
                return self._chunk(beat, [])
            case BeatKind.REASONING:
                self._unsigned = True
                return self._choice(beat, _delta(beat, self.answer))
            case _:
                return self._signed() + self._choice(beat, _delta(beat, self.answer))

    def _signed(self) -> bytes:
        """Return the chunk with the opaque data of the reasoning so far, if there is any and it shall have it."""
        if not (self._unsigned and self.answer.behaviour.signature):
            return b""
        self._unsigned = False
        return self._choice(Beat(BeatKind.REASONING), {"reasoning_details": _reasoning_details(self.answer)})

    def _choice(self, beat: Beat, delta: dict[str, Any]) -> bytes:
        reason = self.answer.finish_reason if beat.kind is BeatKind.FINISH else None
        return self._chunk(beat, [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}])

    def _chunk(self, beat: Beat, choices: list[dict[str, Any]]) -> bytes:
        chunk: dict[str, Any] = _envelope(self.answer, "chat.completion.chunk")
        chunk["choices"] = choices
        if beat.counts is not None:
            chunk["usage"] = _usage(beat.counts, self.answer.behaviour.usage_lie)
        elif self.answer.ask.include_usage:
            chunk["usage"] = None
        return b"data: " + encode(chunk) + b"\n\n"

    def error_frame(self, error: ErrorBody, *, as_string: bool = False, as_event: bool = False) -> bytes:
        """Return an error in the stream; see ``Voice.error_frame``."""
        return error_frame(error, as_string=as_string, as_event=as_event)


def _envelope(answer: Answer, kind: str) -> dict[str, Any]:
    envelope: dict[str, Any] = {
        "id": f"chatcmpl-sim-{answer.number:08d}",
        "object": kind,
        "created": answer.created,
        "model": answer.ask.model,
        "system_fingerprint": "fp_simulator",
    }
    if answer.behaviour.unknown_fields:
        envelope["x_unknown"] = UNKNOWN
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
    if answer.behaviour.signature and said.keys() & {BeatKind.REASONING, BeatKind.HIDDEN}:
        message["reasoning_details"] = _reasoning_details(answer)
    if calls:
        message["tool_calls"] = [
            {"id": answer.call_id(call), "type": "function", "function": function} for call, function in calls.items()
        ]
    return message


def _reasoning_details(answer: Answer) -> list[dict[str, Any]]:
    return [{"type": "reasoning.encrypted", "data": answer.opaque, "id": None, "format": "unknown", "index": 0}]


def _usage(counts: Counts, lie: str | None) -> dict[str, Any]:
    tell = teller(lie)
    prompt_details = {"cached_tokens": counts.cached, "audio_tokens": 0}
    written = counts.cache_write + counts.long_cache_write
    if written:
        prompt_details["cache_write_tokens"] = written
    return {
        "prompt_tokens": tell(counts.input),
        "completion_tokens": tell(counts.output),
        "total_tokens": tell(counts.input + counts.output),
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": {
            "reasoning_tokens": counts.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _max_tokens(fields: Fields) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        limit = fields.get(name, int, default=None)
        if limit is not None:
            if limit < 1:
                raise refused(f"Invalid value for '{name}': it must be at least 1.", name)
            return limit
    return None


def _messages(fields: Fields) -> list[dict[str, Any]]:
    messages: list[Any] = fields.get("messages", list, default=[])
    if not messages:
        raise refused("Missing required parameter: 'messages'.", "messages")
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str) or role not in _ROLES:
            raise refused(f"Invalid value for '{at}.role'.", f"{at}.role")
        if not isinstance(message.get("content"), str | list) and not _speaks_without_content(message):
            raise refused(f"Invalid type for '{at}.content'.", f"{at}.content")
        if role == "tool" and not isinstance(message.get("tool_call_id"), str):
            raise refused(f"Missing required parameter: '{at}.tool_call_id'.", f"{at}.tool_call_id")
    return messages


def _speaks_without_content(message: dict[str, Any]) -> bool:
    return message["role"] == "assistant" and any(message.get(name) for name in _INSTEAD_OF_CONTENT)


def _tools(fields: Fields) -> tuple[Tool, ...]:
    """Return the functions; a custom tool, whose input is free-form, is taken and never called."""
    tools = []
    for index, tool in enumerate(fields.get("tools", list, default=[])):
        match tool:
            case {"type": "function", "function": {"name": str(name), **rest}}:
                tools.append(Tool(name, first_property(rest.get("parameters"))))
            case {"type": "custom", "custom": {"name": str()}}:
                pass
            case _:
                raise refused(f"Invalid value for 'tools[{index}]'.", f"tools[{index}]")
    return tuple(tools)
