"""What a client protocol has to offer, and the error answer that every protocol can write."""

from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from ainf.formats.base import Listener, Pipe, PipeLimits
from ainf.inference.request import InferenceRequest, Operation


@attrs.frozen
class ErrorAnswer:
    """An error as an HTTP answer before any head was sent."""

    code: str
    type: str
    message: str
    param: str | None
    inference_id: str | None
    """None where nothing was admitted."""
    billed_nusd: int
    request_id: str
    details: Mapping[str, Any] = attrs.field(factory=dict)
    """What a program may want to know besides, by name."""


class ClientProtocol(Protocol):
    """One protocol that clients speak."""

    name: str
    """As settings, records and metrics have it: "chat_completions"."""
    format: str
    """Its wire format: "chat", ..."""
    operation: Operation

    def parse(
        self, fields: dict[str, Any], *, path: str, body_bytes: int, headers: Mapping[bytes, bytes]
    ) -> InferenceRequest:
        """Check a decoded body, which came as ``body_bytes`` of JSON with these headers, and say what it asks.

        Raises:
            DownstreamError: a field is wrong, missing or cannot be honoured; ``param`` names it.
        """
        ...

    def error_body(self, answer: ErrorAnswer) -> bytes:
        """Return the JSON body of an error answer."""
        ...

    def echo(self, request: InferenceRequest) -> Mapping[str, Any]:
        """Return the fields of a request that answers of this protocol repeat, within a bound; usually none."""
        ...

    def open_pipe(self, listener: Listener, provider_format: str, limits: PipeLimits) -> Pipe:
        """Return the pipe from that provider format to this client: a relay where both are the same."""
        ...

    def finish_json(self, body: bytes, extra: Mapping[str, Any]) -> bytes:
        """Return a whole JSON answer with our own fields added (``/v1/inference``: cost, audit_url)."""
        ...
