"""OpenAI chat completions, as clients speak it.

Source: OpenAI's API reference, "create chat completion". Fields that we interpret are checked by type; all others ride
along untouched. Null counts as absent, as the reference has it for optional fields.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ainf.formats.base import Listener, Pipe, PipeLimits
from ainf.formats.format import open_pipe
from ainf.formats.loose import dump_loosely, load_loosely
from ainf.formats.registry import FORMATS
from ainf.inference.errors import DownstreamError
from ainf.inference.money import format_usd
from ainf.inference.request import InferenceRequest, Operation
from ainf.protocols.base import ErrorAnswer
from ainf.protocols.chat_input import measure_messages
from ainf.protocols.checks import model_name, optional, refuse_nul

LIMIT_FIELDS: Final = ("max_completion_tokens", "max_tokens")
"""The names of the output limit; the second is deprecated and means the same."""

_MOST_TOKENS = (1 << 31) - 1
_INPUT_FIELDS = ("tools", "functions", "response_format", "tool_choice", "function_call", "prediction")
"""What the model is known to read beside the messages."""


class ChatCompletions:
    """The protocol of ``/v1/chat/completions`` and ``/v1/inference``."""

    name = "chat_completions"
    format = "chat"
    operation = Operation.GENERATE

    def parse(
        self, fields: dict[str, Any], *, path: str, body_bytes: int, headers: Mapping[bytes, bytes]
    ) -> InferenceRequest:
        """Check a decoded body. See ``ClientProtocol.parse``."""
        model = model_name(fields)
        measured = measure_messages(_messages(fields))
        stream = bool(optional(fields, "stream", bool))
        options = optional(fields, "stream_options", dict) or {}
        include_usage = bool(optional(options, "include_usage", bool, within="stream_options"))
        if optional(fields, "n", int) not in {None, 1}:
            raise DownstreamError("unsupported_parameter", "One choice a request: leave `n` out or send 1.", param="n")
        tools = [*(_objects(fields, "tools") or ()), *(_objects(fields, "functions") or ())]
        optional(fields, "tool_choice", str, dict)
        optional(fields, "function_call", str, dict)
        optional(fields, "response_format", dict)
        refuse_nul(optional(fields, "user", str), "user")
        refuse_nul(optional(fields, "metadata", dict), "metadata")
        beside = {name: fields[name] for name in _INPUT_FIELDS if fields.get(name) is not None}
        input_bytes = measured.text_bytes + (len(msgspec.json.encode(beside)) if beside else 0)
        return InferenceRequest(
            protocol=self.name,
            path=path,
            model=model,
            stream=stream,
            include_usage=stream and include_usage,
            max_output_tokens=_output_limit(fields),
            input_bytes=input_bytes,
            # Our JSON of a number may be longer than the client's.
            bound_bytes=max(input_bytes, body_bytes - measured.payload_bytes),
            attachment_count=measured.attachments,
            has_tools=bool(tools),
            fields=fields,
        )

    def error_body(self, answer: ErrorAnswer) -> bytes:
        """Return OpenAI's error object, with what was billed. See ``ClientProtocol.error_body``."""
        error: dict[str, Any] = {
            "message": answer.message,
            "type": answer.type,
            "code": answer.code,
            "param": answer.param,
            "billed": format_usd(answer.billed_nusd),
            "request_id": answer.request_id,
        }
        if answer.inference_id is not None:
            error["inference_id"] = answer.inference_id
        return msgspec.json.encode({"error": error})

    def echo(self, request: InferenceRequest) -> Mapping[str, Any]:
        """Return nothing: chat answers repeat nothing. See ``ClientProtocol.echo``."""
        return {}

    def open_pipe(self, listener: Listener, provider_format: str, limits: PipeLimits) -> Pipe:
        """Return the pipe for a client. See ``ClientProtocol.open_pipe``."""
        return open_pipe(FORMATS[self.format], FORMATS[provider_format], listener, limits)

    def finish_json(self, body: bytes, extra: Mapping[str, Any]) -> bytes:
        """Return a whole answer with ``content`` (the text) and ``extra`` added. See ``ClientProtocol.finish_json``."""
        document = load_loosely(body)
        assert document is not None, "a whole answer that is no JSON object"
        return dump_loosely(document | {"content": _text_of(document)} | dict(extra))


def _messages(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = _objects(fields, "messages")
    if messages is None:
        raise DownstreamError("missing_field", "`messages` is required.", param="messages")
    if not messages:
        raise DownstreamError("invalid_value", "`messages` must not be empty.", param="messages")
    return messages


def _objects(fields: Mapping[str, Any], name: str) -> list[dict[str, Any]] | None:
    """Return a list of objects; None where it is absent."""
    values: list[Any] | None = optional(fields, name, list)
    for number, value in enumerate(values or ()):
        if not isinstance(value, dict):
            param = f"{name}[{number}]"
            raise DownstreamError("invalid_type", f"`{param}` must be an object.", param=param)
    return values


def _output_limit(fields: Mapping[str, Any]) -> int | None:
    limit: int | None = None
    for name in LIMIT_FIELDS:
        value: int | None = optional(fields, name, int)
        if value is None:
            continue
        if not 1 <= value <= _MOST_TOKENS:
            raise DownstreamError("invalid_value", f"`{name}` must be from 1 to {_MOST_TOKENS}.", param=name)
        if limit is not None and value != limit:
            names = " and ".join(f"`{field}`" for field in LIMIT_FIELDS)
            raise DownstreamError("invalid_value", f"Send one of {names}: they disagree.", param=name)
        limit = value
    return limit


def _text_of(document: Mapping[str, Any]) -> str | None:
    """Return the text of an answer; None where it has none (tool calls stay in ``choices``)."""
    match document:
        case {"choices": [{"message": {"content": str() as text}}, *_]}:
            return text
        case _:
            return None
