"""Anthropic's count of a request's tokens, as clients ask for it. Source: their API reference, "count tokens"."""

from collections.abc import Mapping
from typing import Any

import attrs

from ainf.formats.base import Answer, Listener, Pipe, PipeLimits
from ainf.formats.collected import Collected
from ainf.formats.count_tokens import CountTokensJudge
from ainf.inference.request import InferenceRequest, Operation
from ainf.protocols.anthropic_errors import anthropic_error
from ainf.protocols.base import ErrorAnswer
from ainf.protocols.checks import refuse_stream
from ainf.protocols.generation import GenerationDefaults
from ainf.protocols.messages_request import read_request


class CountTokens(GenerationDefaults):
    """The protocol of ``/v1/messages/count_tokens``."""

    name = "count_tokens"
    format = "count_tokens"
    operation = Operation.COUNT

    def parse(
        self, fields: dict[str, Any], *, path: str, body_bytes: int, headers: Mapping[bytes, bytes]
    ) -> InferenceRequest:
        """Check a decoded body. See ``ClientProtocol.parse``."""
        refuse_stream(fields)
        request = read_request(fields, self.operation, path=path, body_bytes=body_bytes, headers=headers)
        return attrs.evolve(request, protocol=self.name)

    def error_body(self, answer: ErrorAnswer) -> bytes:
        """Return Anthropic's error document. See ``ClientProtocol.error_body``."""
        return anthropic_error(answer)

    def open_pipe(self, listener: Listener, provider_format: str, limits: PipeLimits) -> Pipe:
        """Return the pipe for the count of a provider that has one. See ``ClientProtocol.open_pipe``."""
        assert provider_format == self.format, provider_format
        return Collected(CountTokensJudge(), limits, Answer())
