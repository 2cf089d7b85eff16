"""What a vendor is to us: its facts, how its requests are written, and what its refusals mean."""

from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from ainf.inference.errors import UpstreamError
from ainf.inference.request import InferenceRequest, Operation
from ainf.inference.secret import HeaderValue, Secret
from ainf.providers.fields import Coverage


@attrs.frozen(kw_only=True)
class Facts:
    """What a vendor declares of itself; each fact has its source in the vendor's file, and a setting overrides it."""

    base_url: str | None = None
    """Where it is, with its version prefix; None where every installation has its own address."""
    needs_key: bool = True
    """Whether it takes no request without a credential."""
    streams: bool = True
    tools: bool = True
    reports_usage: bool = True
    """Whether every whole answer and every stream to its end tells its usage."""
    aborted_billing: str = "delivered"
    """How it bills an answer whose reader has left: "delivered" (what it had sent), or on to the end; then all output
    that was held is settled ("held"), or the gateway reads on to learn what that is ("drain")."""
    hidden_reasoning: str = "never"
    """When it bills output that it does not show: "never", "asked" (when the request asks it to think), "always"."""
    shows_reasoning: bool = False
    """Whether thoughts that it bills may be in its answers though the request does not ask to see them."""
    caches_unasked: bool = False
    """Whether it writes input to its cache without being asked: where that has a rate, every request is held at it."""
    betas: frozenset[str] = frozenset()
    """What requests may opt into by an ``anthropic-beta`` header; all else in that header is left out, and named."""
    max_tokens_field: str = "max_completion_tokens"
    """The field that it takes an output limit in (chat format)."""


@attrs.frozen
class Target:
    """Where and as what a request goes: one model of one configured provider."""

    provider: str
    upstream_model: str
    base_url: str
    """Without a trailing slash."""
    max_tokens_field: str
    """The name of the output limit that this vendor wants, where the client gave none (chat format)."""
    max_output_tokens: int
    """The model's own limit, for formats that require one in every request."""
    streams: bool = True
    """Whether it is asked for a stream where the client wants one; if not, its whole answer is wrapped."""
    reports_usage: bool = True
    """Whether a stream is asked to tell its usage (chat format)."""


@attrs.frozen
class WireRequest:
    """A request as it goes upstream; credentials are added by whoever holds them."""

    url: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Beside those that every request to the vendor carries."""


class Provider(Protocol):
    """One vendor. Pure: it knows no key, no clock and no connection."""

    @property
    def name(self) -> str:
        """As in the configuration's ``format``: "openai", "anthropic", ..."""
        ...

    @property
    def facts(self) -> Facts:
        """What it declares of itself."""
        ...

    @property
    def formats(self) -> Mapping[Operation, str]:
        """What it can do, and the wire format of each: ``Operation.GENERATE`` -> "chat"."""
        ...

    def credential(self, secret: Secret) -> tuple[tuple[bytes, HeaderValue], ...]:
        """Return the headers that authenticate us to this vendor, and all else that each request to it carries."""
        ...

    def unsaid(self, fields: Mapping[str, Any], operation: Operation) -> tuple[str, ...]:
        """Return the names of fields, in this vendor's format, that ask for something and that it cannot be told.

        ``check`` refuses them; a setting may leave them out before.
        """
        ...

    def check(self, request: InferenceRequest, coverage: Coverage) -> None:
        """Refuse by name the fields that would change price, model or host here (before anything is reserved).

        Args:
            request: with its fields in this vendor's format.
            coverage: takes what is asked for that has a rate of its own, as far as the model's price covers it.

        Raises:
            DownstreamError: ``unsupported_parameter``.
        """
        ...

    def write_request(self, request: InferenceRequest, target: Target, max_output_tokens: int | None) -> WireRequest:
        """Return the request for this vendor; ``max_output_tokens`` replaces the client's own limit where not None.

        ``request`` has passed ``check``; its fields are in this vendor's format.
        """
        ...

    def read_error(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> UpstreamError:
        """Return what a refusal means, sanitised: allow-listed fields, our own words for 5xx, bounded retry-after."""
        ...
