"""What an exchange is given: its plan, the services it uses, and the client it speaks to."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import attrs

from ainf.admission import Admission
from ainf.exchange.calibrating import Calibrator
from ainf.exchange.health import Health
from ainf.formats.base import Listener, Pipe, PipeLimits
from ainf.inference.request import InferenceRequest
from ainf.inference.secret import HeaderValue
from ainf.protocols.base import ClientProtocol
from ainf.providers.base import Provider, Target
from ainf.store.base import AttemptPlan, Claim, KeyRecord
from ainf.store.protocol import InferenceStore
from ainf.telemetry import Telemetry
from ainf.upstream.client import UpstreamClient

if TYPE_CHECKING:
    from ainf.exchange.route import Route

Headers = Sequence[tuple[bytes, bytes]]


class Downstream(Protocol):
    """One client's answer, spoken in order: ``start``, ``write`` ..., ``finish``.

    A call hands its bytes over whole or aborts the connection within the server's write limit. Cancellation does not
    interrupt it: a call that raises ``Cancelled`` has handed nothing over. Speaking to a client that is gone is no
    error: nothing happens. That it has gone is told to the exchange by whoever watches the connection.
    """

    async def start(self, status: int, headers: Headers) -> None:
        """Give the head; it may travel with the first bytes."""
        ...

    async def write(self, data: bytes) -> None:
        """Give more of the body."""
        ...

    async def beat(self, data: bytes) -> None:
        """Give a sign of life between two parts of the body: no part of the answer."""
        ...

    async def finish(self, data: bytes) -> None:
        """Give the last of the body and end the answer."""
        ...

    def abort(self) -> None:
        """Close the connection at once, without an end of the answer."""
        ...

    def told(self, end: bytes) -> bytes | None:
        """Return the whole body so far with ``end`` behind it, to be told again; None where it is not kept."""
        ...


@attrs.frozen
class Clocks:
    """The limits of an exchange that do not follow from its model; seconds and bytes."""

    early_head_s: float
    heartbeat_s: float
    tail_s: float
    close_s: float
    spool_s: float
    """How long a closing that the database did not take within ``close_s`` may take to be kept in the spool."""
    speak_s: float
    """The longest that the last words to a client may take; the server's write limit ends them sooner."""
    prelude_bytes: int
    keep_answer_s: float
    """How long the answer under an idempotency key is told again."""


@attrs.frozen
class Backend:
    """A configured provider, ready to be called."""

    provider: Provider
    client: UpstreamClient
    headers: tuple[tuple[bytes, HeaderValue], ...]
    """Credentials and all else that every request to it carries; one object, because its bytes are kept by it."""


@attrs.frozen
class Services:
    """What all exchanges of a process share."""

    store: InferenceStore
    telemetry: Telemetry
    clocks: Clocks
    pipe_limits: PipeLimits
    wall_clock: Callable[[], int]
    """Microseconds since 1970 UTC, for records; never for limits."""
    public_url: str
    calibrator: Calibrator = attrs.field(factory=Calibrator)
    """Learns of what has ended."""
    health: Health = attrs.field(factory=Health)
    """Knows which providers answer, and how fast."""


@attrs.frozen
class Plan:
    """One admitted request, and the model that is to answer it. Where it is routed, each candidate has a plan."""

    inference_id: str
    key: KeyRecord
    request: InferenceRequest
    protocol: ClientProtocol
    admission: Admission
    backend: Backend
    target: Target
    provider_format: str
    """The wire format in which the provider does what is asked."""
    listener: Listener
    fingerprint: bytes
    claim: Claim | None
    """The use of an idempotency key, where the client sent one."""
    deadline_at: float
    """When it must have ended, by trio's clock; counted from the request's arrival."""
    sdk_retry_count: int | None = None
    labels: Mapping[str, str] = attrs.field(factory=dict)
    route: "Route | None" = None
    """Where the candidates come from; None: the model is pinned."""
    may_open: bool = True
    """Whether an exchange may be made of it; if not, nobody may be asked, and it only serves to tell what is there
    already under its idempotency key."""
    inference_shape: bool = False
    """Whether a whole answer also carries ``content``, ``cost`` and ``audit_url`` (POST /v1/inference)."""

    def open_pipe(self, limits: PipeLimits) -> Pipe:
        """Return a new pipe from the provider to the client."""
        return self.protocol.open_pipe(self.listener, self.provider_format, limits)

    def forget(self) -> None:
        """Let go of what the client asked, and of the way to other candidates."""
        self.request.forget()
        if self.route is not None:
            self.route.forget()

    @property
    def attempt_plan(self) -> AttemptPlan:
        """What the ledger is told of the call before its dial."""
        terms = self.admission.terms
        return AttemptPlan(terms.name, terms.upstream_model, terms.provider, terms.price)

    @property
    def is_streamed(self) -> bool:
        """Whether the provider is asked for a stream; if not, the first that comes of its answer is the end."""
        return self.request.stream and self.target.streams

    @property
    def is_translated(self) -> bool:
        """Whether the provider speaks another format than the client."""
        return self.provider_format != self.protocol.format

    @property
    def finish_reasons(self) -> str:
        """How this client is told of a cap in an ending."""
        return self.admission.terms.finish_reasons or self.key.finish_reasons

    @property
    def money_refusal(self) -> str:
        """The status of a money refusal for this client."""
        return self.admission.terms.money_refusal or self.key.money_refusal
