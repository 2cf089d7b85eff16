"""OpenAI's Responses, as clients speak it.

Source: OpenAI's API reference, "create a model response". Fields that we interpret are checked by type. ``input`` and
``instructions`` are not: whatever they hold goes on, and a provider of the same format says what is wrong with it.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ainf.formats.fields import objects, optional
from ainf.inference.request import InferenceRequest
from ainf.protocols.base import ErrorAnswer
from ainf.protocols.checks import model_name, refuse_nul, token_limit
from ainf.protocols.generation import GenerationDefaults
from ainf.protocols.input_size import fields_bytes
from ainf.protocols.openai_errors import openai_error
from ainf.protocols.responses_input import measure_input

_INPUT_FIELDS = ("instructions", "tools", "tool_choice", "text", "prompt")
"""What the model is known to read beside the input."""

_REPEATED: Final = (
    "instructions", "tools", "tool_choice", "temperature", "top_p", "max_output_tokens", "metadata",
    "parallel_tool_calls", "previous_response_id", "reasoning", "store", "text", "truncation", "user",
    "safety_identifier", "prompt_cache_key", "top_logprobs", "service_tier", "max_tool_calls",
)  # fmt: skip
"""Fields of a request that its response object repeats."""
_LONG: Final = frozenset({"instructions", "tools"})
_MOST_REPEATED: Final = 8 << 10
"""Bytes of JSON. What is repeated is kept for as long as the answer lasts, and sent in several of its events."""


class Responses(GenerationDefaults):
    """The protocol of ``/v1/responses``."""

    name = "responses"
    format = "responses"

    def parse(
        self, fields: dict[str, Any], *, path: str, body_bytes: int, headers: Mapping[bytes, bytes]
    ) -> InferenceRequest:
        """Check a decoded body. See ``ClientProtocol.parse``."""
        model = model_name(fields)
        stream = bool(optional(fields, "stream", bool))
        tools = objects(fields, "tools")
        previous: str | None = optional(fields, "previous_response_id", str)
        refuse_nul(previous, "previous_response_id")
        refuse_nul(optional(fields, "user", str), "user")
        refuse_nul(optional(fields, "metadata", dict), "metadata")
        measured = measure_input(fields.get("input"))
        input_bytes = measured.text_bytes + fields_bytes(fields, _INPUT_FIELDS)
        return InferenceRequest(
            protocol=self.name,
            path=path,
            model=model,
            stream=stream,
            include_usage=False,
            max_output_tokens=token_limit(fields, "max_output_tokens"),
            input_bytes=input_bytes,
            bound_bytes=measured.bound_bytes(input_bytes, body_bytes),
            attachment_count=measured.attachments,
            attachments=measured.attachment_kinds,
            has_tools=bool(tools),
            fields=fields,
            previous_response_id=previous,
        )

    def error_body(self, answer: ErrorAnswer) -> bytes:
        """Return OpenAI's error object. See ``ClientProtocol.error_body``."""
        return openai_error(answer)

    def echo(self, request: InferenceRequest) -> Mapping[str, Any]:
        """Return what the response object repeats; the long fields, or all, are left out where that is too much."""
        repeated = {name: request.fields[name] for name in _REPEATED if request.fields.get(name) is not None}
        short = {name: value for name, value in repeated.items() if name not in _LONG}
        for fitting in (repeated, short):
            if len(msgspec.json.encode(fitting)) <= _MOST_REPEATED:
                return fitting
        return {}
