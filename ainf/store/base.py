"""What the store takes and gives: the records of an exchange's two transactions.

Times are whole microseconds since 1970 UTC, brought by the caller; amounts are NanoUSD.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from ainf.inference.outcome import Ending, Evidence, Outcome
from ainf.inference.usage import Usage
from ainf.ledger import CapState, HoldAsk
from ainf.pricing import Price

if TYPE_CHECKING:
    pass

T = TypeVar("T")


@attrs.frozen
class KeyLimits:
    """How much a key may ask for at a time; None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """Input and output together."""
    concurrent_streams: int | None = None
    """Exchanges that run at once, streamed or not."""


@attrs.frozen
class KeyRecord:
    """A key as authentication needs it. The secret itself is never stored: ``digest`` is its SHA-256."""

    key_id: str
    account_id: str
    account_name: str
    models: tuple[str, ...] | None
    """Allowed model names, or None for all."""
    endpoints: tuple[str, ...] | None
    """Allowed request paths, or None for all."""
    expires_at: int | None
    revoked_at: int | None
    """When it was revoked, or an account on its path closed, whichever was first."""
    finish_reasons: str
    """How a cap shows in an ending: "extended", "strict" or "loud"."""
    money_refusal: str
    """The status of a money refusal: "402" or "429"."""
    limits: KeyLimits = KeyLimits()
    inject_cost: bool = False
    """Whether its answers tell their cost in their usage."""


@attrs.frozen
class Claim:
    """The use of an idempotency key: until it is freed or expires, the same key and path name one exchange."""

    idempotency_key: str
    fingerprint: bytes
    """Of the body, without what only says how the answer is to be told (stream or not)."""


@attrs.frozen
class KeptAnswer:
    """What was told under an idempotency key, to be told again."""

    status: int
    stream: bool
    headers: tuple[tuple[str, str], ...]
    body: bytes
    """All of it: prelude, content and terminal group; in the client's format."""


@attrs.frozen
class FoundClaim:
    """What is known of an idempotency key that was used before."""

    inference_id: str
    fingerprint: bytes
    state: str
    """"running" (in whatever process), "kept", "too_large", or "freed": it ended without an answer."""
    answer: KeptAnswer | None
    """What was told, where it is "kept"."""
    outcome: Outcome | None
    """How it ended, as it was settled; None while it runs."""


@attrs.frozen
class AttemptPlan:
    """A call to a provider, as it is known before the dial."""

    model: str
    """The configured name."""
    upstream_model: str
    provider: str
    price: Price


@attrs.frozen
class RoutingRecord:
    """What was decided for a request that named a routing target."""

    target: str
    """The canonical name."""
    ruleset: str
    """The hash of ``ruleset_body``."""
    ruleset_body: str
    """What was decided by, as canonical JSON; stored once."""
    decision: str
    """What was asked, the candidates with their scores, and why which was chosen, as canonical JSON."""
    prices: tuple[Price, ...] = ()
    """Of the candidates, so that what they would have cost can be told for ever."""


@attrs.frozen
class Opening:
    """Everything that an admitted exchange writes before its first dial."""

    inference_id: str
    at: int
    key_id: str
    protocol: str
    path: str
    stream: bool
    requested_model: str
    attempt: AttemptPlan
    ask: HoldAsk
    input_bytes: int
    input_tokens_estimate: int
    """Our count of the input, for settlements without reported usage."""
    fingerprint: bytes
    """Keyed digest of the request body, for the search after silent retries; the content itself is never stored."""
    sdk_retry_count: int | None
    labels: Mapping[str, str] = attrs.field(factory=dict)
    claim: Claim | None = None
    routing: RoutingRecord | None = None
    """None: its model is pinned."""


@attrs.frozen
class Opened:
    """A committed opening."""

    account_id: str
    account_name: str
    held_nusd: int
    clamp_tokens: int | None
    """The output limit to send upstream, where the worst case did not fit."""
    clamped_by: CapState | None = None
    """The cap or balance that it did not fit under."""
    is_captured: bool = False
    """Whether a routing decision was written with it."""
    epoch: int = 0
    """In which it was opened."""


@attrs.frozen
class EndedAttempt:
    """An attempt that ended while its exchange goes on: what is held for it shrinks, or grows, to its cost."""

    number: int
    """From 1."""
    cost_nusd: int


@attrs.frozen
class AttemptOpening:
    """Another call to a provider inside an open exchange, before its dial."""

    inference_id: str
    at: int
    number: int
    """From 2 on, without a gap."""
    attempt: AttemptPlan
    ask: HoldAsk
    input_tokens_estimate: int
    ended: tuple[EndedAttempt, ...] = ()
    """The attempts that ended since the last one was opened; those that are not named go on beside it."""
    spare_nusd: int = 0
    """What its caps must leave besides, for those that go on."""


@attrs.frozen
class AttemptOpened:
    """The answer to it: what is held for the new attempt, or why nothing is. A refusal has changed nothing."""

    held_nusd: int | None
    """For this attempt alone; None: refused."""
    clamp_tokens: int | None = None
    clamped_by: CapState | None = None
    key_revoked: bool = False
    """The key was revoked or its account closed meanwhile: the exchange must end."""
    refused_by: CapState | None = None
    """The cap or balance under which not even the least fitted."""


@attrs.frozen
class Progress:
    """How far a running exchange has come: what a crash would be settled at."""

    inference_id: str
    usage: Usage
    cost_nusd: int
    """Of the attempt that answers; those that ended before are known."""
    output_bytes: int
    """Visible output bytes that were handed to the client."""
    attempt: int = 1
    """The number of the attempt that answers."""


@attrs.frozen
class Extension:
    """More money for a running exchange."""

    inference_id: str
    at: int
    want_nusd: int
    least_nusd: int
    """Less than this is of no use: then grant nothing."""
    progress: Progress | None = None
    """How far it has come; made durable with what is granted."""
    attempt: int = 1
    """For which attempt."""


@attrs.frozen
class Extended:
    """The answer to an extension: what was added (0: refused)."""

    granted_nusd: int
    key_revoked: bool = False
    """The key was revoked or its account closed meanwhile: nothing was granted and the exchange must end."""
    refused_by: CapState | None = None
    """The cap or balance because of which less was granted than was wanted."""


@attrs.frozen
class AttemptResult:
    """A call to a provider, as it ended."""

    model: str
    upstream_model: str
    provider: str
    price_version: str
    started_at: int
    ended_at: int
    status: int | None
    """The provider's HTTP status; None where no head came."""
    error_code: str | None
    provider_request_id: str | None
    response_id: str | None
    raw_usage: str | None
    """The provider's usage object as JSON text, believed or not."""
    raw_finish_reason: str | None
    usage: Usage
    evidence: Evidence
    cost_nusd: int
    redials: int = 0
    aborted_billing: str | None = None
    """How it was reckoned where we broke it off ("delivered", "drain", "held"); None where it ended by itself."""


@attrs.frozen
class Closing:
    """Everything that the end of an exchange writes."""

    inference_id: str
    at: int
    ending: Ending
    error_code: str | None
    finish_reason: str | None
    """What the client was told."""
    usage: Usage
    evidence: Evidence
    cost_nusd: int | None
    """None where it cannot be computed: then the whole hold is settled."""
    output_bytes: int
    """Visible output bytes that were handed to the client before the terminal frame."""
    received_bytes: int
    """Visible output bytes that came from the provider, the whole of an answer that is handed over with its end too."""
    attempts: tuple[AttemptResult, ...]
    notes: Mapping[str, Any] = attrs.field(factory=dict)
    """What an auditor should know besides: usage that was not believed, broken frames, a clamp, ..."""
    brought_vectors: bool = False
    """Embeddings came: what was asked for, though nothing of it is visible output."""
    answer: KeptAnswer | None = None
    """What is told under the exchange's idempotency key, where it has one and the answer is kept."""
    frees_claim: bool = True
    """Whether its idempotency key, if it has one, may be used again at once; else it names this answer."""
    claim_expires_at: int | None = None
    """When its idempotency key is forgotten; None for a day after the end."""
    charges: tuple[int, ...] = ()
    """What each attempt costs, by number: their sum is ``cost_nusd``. Empty where there was but one, or it is None."""
    served: int | None = None
    """The number of the attempt whose answer the client got; None: the last one's, if any."""
    first_byte_us: int | None = None
    """From the opening to the first content; None where there was none."""


@attrs.frozen
class Settlement:
    """A committed closing."""

    inference_id: str
    ending: Ending
    held_nusd: int
    settled_nusd: int
    released_nusd: int
    overrun_nusd: int
    hash: str | None
    """None while it waits in the spool, in no audit chain yet."""
    prev_hash: str | None
    retry_of: str | None = None
    """The earlier exchange of the same account and body, minutes before, that this one asked again."""
    is_empty: bool = False
    """It is charged, and nothing came."""
    burnt_nusd: Mapping[str, int] = attrs.field(factory=dict)
    """What became known as burnt with this closing, by its kind (see ``burn``): each exchange is told once."""
    is_captured: bool = False
    """Whether a routing outcome was written with it."""


@attrs.frozen
class StoredResponse:
    """A completed exchange that a provider may go on from, by the response id that it gave."""

    provider: str
    model: str
    """The configured name."""
    upstream_model: str
    input_tokens: int
    """Of the attempt that gave it; with the output, what going on from it is read with."""
    output_tokens: int


@attrs.frozen
class Rejection:
    """A request of a known key that was not admitted."""

    key_id: str
    code: str
    path: str
    at: int


@attrs.frozen
class Unrouted:
    """A request for a routing target that was not admitted, though something was decided."""

    at: int
    key_id: str
    account_id: str
    path: str
    stream: bool
    requested_model: str
    routing: RoutingRecord
    status: str
    """"rejected_floor", ...: see ``ainf.routing``."""
    code: str
    """Of the error that the client is told."""


@attrs.frozen
class ProgressSeen:
    """What the progress tick learns about the running exchanges it wrote."""

    revoked: frozenset[str]
    """Inference ids whose key was revoked, expired or whose account was closed."""
