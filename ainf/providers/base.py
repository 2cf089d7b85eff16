"""What a vendor is to us: how its requests are written, and what its refusals mean."""

from collections.abc import Mapping
from typing import Protocol

import attrs

from ainf.inference.errors import UpstreamError
from ainf.inference.request import InferenceRequest


@attrs.frozen
class Target:
    """Where and as what a request goes: one model of one configured provider."""

    provider: str
    upstream_model: str
    base_url: str
    """Without a trailing slash."""
    max_tokens_field: str
    """The name of the output limit that this vendor wants, where the client gave none."""


@attrs.frozen
class WireRequest:
    """A request as it goes upstream; credentials are added by whoever holds them."""

    url: str
    body: bytes


class Provider(Protocol):
    """One vendor format."""

    name: str
    """As in the configuration's ``format``: "openai", ..."""
    format: str
    """Its wire format: "chat", ..."""

    def credential(self, secret: str) -> tuple[tuple[bytes, bytes], ...]:
        """Return the headers that authenticate us to this vendor."""
        ...

    def write_request(self, request: InferenceRequest, target: Target, max_output_tokens: int | None) -> WireRequest:
        """Return the request for this vendor; ``max_output_tokens`` replaces the client's own limit where not None.

        Raises:
            DownstreamError: ``unsupported_parameter``: a field that this vendor's price or host would follow.
        """
        ...

    def check(self, request: InferenceRequest) -> None:
        """Refuse by name the fields that would change price, model or host here (before anything is reserved).

        Raises:
            DownstreamError: ``unsupported_parameter``.
        """
        ...

    def read_error(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> UpstreamError:
        """Return what a refusal means, sanitised: allow-listed fields, our own words for 5xx, bounded retry-after."""
        ...
