"""Anthropic's Messages, as clients speak it. What is asked stands in ``messages_request``."""

from collections.abc import Mapping
from typing import Any

from ainf.formats.fields import required
from ainf.inference.request import InferenceRequest
from ainf.protocols.anthropic_errors import anthropic_error
from ainf.protocols.base import ErrorAnswer
from ainf.protocols.generation import GenerationDefaults
from ainf.protocols.messages_request import read_request


class Messages(GenerationDefaults):
    """The protocol of ``/v1/messages``."""

    name = "messages"
    format = "messages"

    def parse(
        self, fields: dict[str, Any], *, path: str, body_bytes: int, headers: Mapping[bytes, bytes]
    ) -> InferenceRequest:
        """Check a decoded body. See ``ClientProtocol.parse``."""
        required(fields, "max_tokens", int)
        return read_request(fields, self.operation, path=path, body_bytes=body_bytes, headers=headers)

    def error_body(self, answer: ErrorAnswer) -> bytes:
        """Return Anthropic's error document. See ``ClientProtocol.error_body``."""
        return anthropic_error(answer)
