"""OpenAI chat completions, as clients speak it.

Source: OpenAI's API reference, "create chat completion". Fields that we interpret are checked by type; all others ride
along untouched. Null counts as absent, as the reference has it for optional fields.
"""

from collections.abc import Mapping
from typing import Any, Final

from ainf.formats.fields import objects, optional
from ainf.formats.loose import dump_loosely, load_loosely
from ainf.inference.errors import DownstreamError
from ainf.inference.request import InferenceRequest
from ainf.protocols.base import ErrorAnswer
from ainf.protocols.chat_input import measure_messages
from ainf.protocols.checks import messages_of, model_name, refuse_nul, token_limit
from ainf.protocols.generation import GenerationDefaults
from ainf.protocols.input_size import fields_bytes
from ainf.protocols.openai_errors import openai_error

LIMIT_FIELDS: Final = ("max_completion_tokens", "max_tokens")
"""The names of the output limit; the second is deprecated and means the same."""

_INPUT_FIELDS = ("tools", "functions", "response_format", "tool_choice", "function_call", "prediction")
"""What the model is known to read beside the messages."""


class ChatCompletions(GenerationDefaults):
    """The protocol of ``/v1/chat/completions`` and ``/v1/inference``."""

    name = "chat_completions"
    format = "chat"

    def parse(
        self, fields: dict[str, Any], *, path: str, body_bytes: int, headers: Mapping[bytes, bytes]
    ) -> InferenceRequest:
        """Check a decoded body. See ``ClientProtocol.parse``."""
        model = model_name(fields)
        measured = measure_messages(messages_of(fields))
        stream = bool(optional(fields, "stream", bool))
        options = optional(fields, "stream_options", dict) or {}
        include_usage = bool(optional(options, "include_usage", bool, at="stream_options"))
        if optional(fields, "n", int) not in {None, 1}:
            raise DownstreamError("unsupported_parameter", "One choice a request: leave `n` out or send 1.", param="n")
        tools = [*objects(fields, "tools"), *objects(fields, "functions")]
        optional(fields, "tool_choice", str, dict)
        optional(fields, "function_call", str, dict)
        optional(fields, "response_format", dict)
        refuse_nul(optional(fields, "user", str), "user")
        refuse_nul(optional(fields, "metadata", dict), "metadata")
        input_bytes = measured.text_bytes + fields_bytes(fields, _INPUT_FIELDS)
        return InferenceRequest(
            protocol=self.name,
            path=path,
            model=model,
            stream=stream,
            include_usage=stream and include_usage,
            max_output_tokens=_output_limit(fields),
            input_bytes=input_bytes,
            bound_bytes=measured.bound_bytes(input_bytes, body_bytes),
            attachment_count=measured.attachments,
            attachments=measured.attachment_kinds,
            has_tools=bool(tools),
            fields=fields,
        )

    def error_body(self, answer: ErrorAnswer) -> bytes:
        """Return OpenAI's error object. See ``ClientProtocol.error_body``."""
        return openai_error(answer)

    def finish_json(self, body: bytes, extra: Mapping[str, Any]) -> bytes:
        """Return a whole answer with ``content`` (the text) and ``extra`` added. See ``ClientProtocol.finish_json``."""
        document = load_loosely(body)
        assert document is not None, "a whole answer that is no JSON object"
        return dump_loosely(document | {"content": _text_of(document)} | dict(extra))


def _output_limit(fields: Mapping[str, Any]) -> int | None:
    limit: int | None = None
    for name in LIMIT_FIELDS:
        value = token_limit(fields, name)
        if value is None:
            continue
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
