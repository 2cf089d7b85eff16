"""Anthropic's Messages API: requests in, ``message`` objects out; ``messages_stream`` tells them as events.

Wire format: https://platform.claude.com/docs/en/api/messages and .../messages-count-tokens, errors
https://platform.claude.com/docs/en/api/errors, the version header https://platform.claude.com/docs/en/api/versioning
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from ainf.simulator.answer import Answer, Ask, Task, Tool
from ainf.simulator.behaviour import Usage
from ainf.simulator.http import Request
from ainf.simulator.reading import Fields, bearer_token, first_property, text_bytes, tokens
from ainf.simulator.wire import ErrorBody, RefusedError, Voice
from ainf.simulator.wires.messages_stream import MessagesVoice, content_of, envelope, error_object, stop
from ainf.simulator.wires.silent import SilentVoice

_encode = msgspec.json.encode
_WRONG_TYPES: Final[Mapping[type, str]] = MappingProxyType({
    bool: "Input should be a valid boolean",
    int: "Input should be a valid integer",
    list: "Input should be a valid list",
    dict: "Input should be an object",
})


class _AnthropicWire:
    """The common part of Anthropic's endpoints."""

    request_id_header = "request-id"
    overloaded_status = 529
    done_frame = b""
    broken_frame = b'event: content_block_delta\ndata: {"type": "content_block_delta", "delta": {"text": \n\n'
    key_refused = ErrorBody(401, "invalid x-api-key", "authentication_error")

    def key(self, headers: Mapping[str, str]) -> str | None:
        """Return ``x-api-key``, or the bearer token that newer SDKs send; see ``Wire.key``."""
        return headers.get("x-api-key") or bearer_token(headers)

    def failed_document(self, answer: Answer, error: ErrorBody) -> bytes:
        """Return the error's body; see ``Wire.failed_document``."""
        del answer
        return self.error_document(error)

    def error_document(self, error: ErrorBody) -> bytes:
        """Return an error's body; see ``Wire.error_document``."""
        return _encode({"type": "error", "error": error_object(error)})


class MessagesWire(_AnthropicWire):
    """``POST /v1/messages``."""

    paths = ("/v1/messages",)

    def read(self, request: Request, fields: object) -> Ask:
        """Return what the request asks for; see ``Wire.read``."""
        typed = _fields(request, fields)
        return Ask(
            model=_model(typed),
            stream=typed.get("stream", bool, default=False),
            include_usage=False,
            max_tokens=_max_tokens(typed),
            input_tokens=_input_tokens(typed),
            tools=_tools(typed),
            may_call=not _forbids_calls(typed),
            habit=Usage.IN_FINISH,
        )

    def voice(self, answer: Answer) -> Voice:
        """Return what tells the answer; see ``Wire.voice``."""
        return MessagesVoice(answer)

    def document(self, answer: Answer) -> bytes:
        """Return the whole answer; see ``Wire.document``."""
        blocks = MessagesVoice(answer).said(answer.beats)
        content = [content_of(block, answer) for block in blocks]
        return _encode(envelope(answer, content=content, counts=answer.counts, **stop(answer)))


class MessagesCountWire(_AnthropicWire):
    """``POST /v1/messages/count_tokens``."""

    paths = ("/v1/messages/count_tokens",)

    def read(self, request: Request, fields: object) -> Ask:
        """Return what the request asks for; see ``Wire.read``."""
        typed = _fields(request, fields)
        return Ask(
            model=_model(typed),
            stream=False,
            include_usage=False,
            max_tokens=None,
            input_tokens=_input_tokens(typed),
            tools=_tools(typed),
            task=Task.COUNT,
        )

    def voice(self, answer: Answer) -> Voice:
        """Return a voice that tells nothing: a count is no stream."""
        del answer
        return SilentVoice(self)

    def document(self, answer: Answer) -> bytes:
        """Return the count; see ``Wire.document``."""
        return _encode({"input_tokens": answer.counts.input} if answer.counts else {})


def _refused(message: str) -> RefusedError:
    return RefusedError(ErrorBody(400, message, "invalid_request_error"))


def _wrong_type(name: str, kind: type) -> RefusedError:
    return _refused(f"{name}: {_WRONG_TYPES[kind]}")


def _fields(request: Request, fields: object) -> Fields:
    if not request.headers.get("anthropic-version"):
        raise _refused("anthropic-version: header is required")
    if not isinstance(fields, dict):
        raise _refused("The request body is not valid JSON: expected an object.")
    return Fields(fields, _wrong_type)


def _model(fields: Fields) -> str:
    model = fields.values.get("model")
    if not isinstance(model, str) or not model:
        raise _refused("model: Field required" if model is None else "model: Input should be a valid string")
    return model


def _max_tokens(fields: Fields) -> int:
    limit = fields.get("max_tokens", int, default=None)
    if limit is None:
        raise _refused("max_tokens: Field required")
    if limit < 1:
        raise _refused("max_tokens: Input should be greater than or equal to 1")
    thinking = fields.get("thinking", dict, default={})
    budget = Fields(thinking, _wrong_type).get("budget_tokens", int, default=0)
    if budget >= limit:
        raise _refused("`max_tokens` must be greater than `thinking.budget_tokens`.")
    return limit


def _messages(fields: Fields) -> list[dict[str, Any]]:
    messages: list[Any] = fields.get("messages", list, default=[])
    if not messages:
        raise _refused("messages: at least one message is required")
    for index, message in enumerate(messages):
        at = f"messages.{index}"
        if not isinstance(message, dict):
            raise _refused(f"{at}: Input should be an object")
        _check_role(message.get("role"), messages[index - 1] if index else None, f"{at}.role")
        if not isinstance(message.get("content"), str | list):
            raise _refused(f"{at}.content: Input should be a valid string or list")
    return messages


def _check_role(role: Any, before: Mapping[str, Any] | None, at: str) -> None:  # noqa: ANN401 - any JSON value
    """Check who speaks: a system message stands right behind a user's, as "mid-conversation system messages" says."""
    if role not in ("user", "assistant", "system"):
        raise _refused(f"{at}: Input should be 'user', 'assistant' or 'system'")
    if role == "system" and (before is None or before["role"] != "user"):
        raise _refused(f"{at}: a system message must follow a user message")


def _input_tokens(fields: Fields) -> int:
    """Return the tokens of all text: the system's, the messages', and what tools gave."""
    said = sum(_content_bytes(message["content"]) for message in _messages(fields))
    return tokens(text_bytes(fields.values.get("system")) + said)


def _content_bytes(content: str | list[Any]) -> int:
    given = _tool_results(content)
    return text_bytes(content) + sum(text_bytes(result.get("content")) for result in given)


def _tool_results(content: str | list[Any]) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return []
    return [part for part in content if isinstance(part, dict) and part.get("type") == "tool_result"]


def _forbids_calls(fields: Fields) -> bool:
    choice = fields.get("tool_choice", dict, default={})
    said = [message["content"] for message in _messages(fields) if message["role"] != "system"]
    return choice.get("type") == "none" or bool(_tool_results(said[-1]))


def _tools(fields: Fields) -> tuple[Tool, ...]:
    """Return the tools that the client runs; those of the server have a type of their own and are never called."""
    tools = []
    for index, tool in enumerate(fields.get("tools", list, default=[])):
        match tool:
            case {"name": str(name), "input_schema": {**schema}}:
                tools.append(Tool(name, first_property(schema)))
            case {"type": str(kind), "name": str()} if kind != "custom":
                continue
            case _:
                raise _refused(f"tools.{index}: Input should be a tool with name and input_schema")
    return tuple(tools)
