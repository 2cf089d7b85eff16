"""The headers of requests that the gateway reads, and those of its answers."""

from collections.abc import Iterable
from typing import Any, Final

from ainf.http.openapi.shapes import Schema, flag, ref, text, whole, word
from ainf.routing.hint import PREFERENCES

OPTIONAL: Final = ".optional"
"""What the name of a header's component ends with, where it stands on some of the answers only."""

_ID: Final = "^inf_[0-9a-z]+$"


def _header(description: str, schema: Schema) -> dict[str, Any]:
    return {"description": description, "schema": schema}


# --- of requests ---

IDEMPOTENCY_KEY: Final = "idempotency-key"
DEADLINE: Final = "x-ainf-deadline-ms"
LABELS: Final = "x-ainf-labels"
RETRY_COUNT: Final = "x-stainless-retry-count"
BETAS: Final = "anthropic-beta"
API_VERSION: Final = "anthropic-version"

_READ: Final = {
    IDEMPOTENCY_KEY: (
        "All requests of a key on one path that bear the same one get the answer of one exchange, which is billed "
        "once; streamed or whole, as each asks. While it runs they join it, afterwards they are told the kept answer "
        "(`x-ainf-idempotent-replay`), for a day. A failure that is worth a retry frees it. With another body: 422.",
        text(minLength=1, maxLength=255, pattern="^[ -~]*$"),
    ),
    DEADLINE: (
        "How long the client wants to wait for the whole answer, in milliseconds; then it ends as `deadline_exceeded`. "
        "The model's own limit holds where it is shorter.",
        whole(minimum=1, maximum=999_999_999),
    ),
    LABELS: (
        "Up to 10 pairs `name=value`, each part up to 64 ASCII characters, that stand in the exchange's records.",
        text(examples=["run=17, user=ann"]),
    ),
    RETRY_COUNT: (
        "How often this request was sent before, as the SDKs say it; kept in the exchange's records.",
        whole(minimum=0, maximum=9999),
    ),
    BETAS: (
        "Up to 32 names of betas, as Anthropic's API has them. Those that the gateway does not know to leave the price "
        "alone are not sent on, and named in `x-ainf-dropped-params`.",
        text(examples=["interleaved-thinking-2025-05-14"]),
    ),
    API_VERSION: ("May say anything: there is one version.", text()),
}


def parameters() -> dict[str, Any]:
    """Return the request headers as components, by name."""
    return {
        name: {"name": name, "in": "header", "description": description, "schema": schema}
        for name, (description, schema) in _READ.items()
    }


def read(*names: str) -> list[Schema]:
    """Return references to request headers."""
    return [ref(name, kind="parameters") for name in names]


# --- of answers ---

IDS: Final = ("x-request-id", "request-id")
EXCHANGE: Final = ("x-ainf-inference-id", "x-ainf-agent-id", "x-ainf-audit-url")
"""On every answer of an exchange that was admitted."""
MODE: Final = "x-ainf-stream-mode"
STREAMS: Final = ("cache-control", "x-accel-buffering")
ROUTER: Final = "x-ainf-router"
PREFERENCE: Final = "x-ainf-routing-preference"
SERVED: Final = ("x-ainf-model", "x-ainf-provider", "x-ainf-dropped-params")
LIMIT: Final = "x-ainf-max-tokens"
REPLAY: Final = "x-ainf-idempotent-replay"
EVIDENCE: Final = "x-ainf-evidence"
RETRY: Final = "x-should-retry"
RETRY_AFTER: Final = "retry-after"
CHALLENGE: Final = "www-authenticate"
ALLOW: Final = "allow"
RATES: Final = tuple(
    f"x-ratelimit-{what}-{of}" for of in ("requests", "tokens") for what in ("limit", "remaining", "reset")
)

_EARLY: Final = "; not on a stream that began before that was known."

_ALWAYS: Final = {
    "x-request-id": _header("The id of this answer: of an exchange, its inference id; else one of its own.", text()),
    "request-id": _header("The same, under the name that Anthropic's SDKs read.", text()),
    "x-ainf-inference-id": _header("The id of the exchange; its receipt is read with it.", text(pattern=_ID)),
    "x-ainf-agent-id": _header("The account that the key belongs to, which is charged.", text()),
    "x-ainf-audit-url": _header("Where the receipt is.", text(format="uri")),
    RETRY: _header(
        "Whether to ask again can help: the cause is transient and nothing was charged. OpenAI's and Anthropic's SDKs "
        "obey it before anything else.",
        flag(),
    ),
    CHALLENGE: _header("How to send a key.", text(const="Bearer")),
}
_SOMETIMES: Final = {
    "x-ainf-model": _header(f"The model that answers{_EARLY}", text()),
    "x-ainf-provider": _header(f"The provider that serves it{_EARLY}", text()),
    ROUTER: _header(
        "`direct` where the request named the model that answers; else the routing target that it was chosen from.",
        text(),
    ),
    PREFERENCE: _header(
        "The `routing_preference` that took effect, where `routing_hint` had one: `balanced` also for one that is not "
        "known, or moves nothing.",
        word(PREFERENCES),
    ),
    MODE: _header(
        f"Whether a stream comes as the provider makes it, or was made of a whole answer{_EARLY}",
        word(("native", "wrapped")),
    ),
    "cache-control": _header("On a stream: nobody between may keep or change it.", text()),
    "x-accel-buffering": _header("On a stream: a proxy shall not hold it back.", text(const="no")),
    LIMIT: _header(
        "The output limit that was sent to the provider, where what the client or the model allows did not fit under a "
        "cap, or under the hint's `max_cost`, or the client allows more than the model that was chosen can give.",
        whole(minimum=1),
    ),
    "x-ainf-dropped-params": _header(
        "Names of request fields and betas, comma-separated, that the provider was not told; `routing_hint` where the "
        "request named the model itself.",
        text(),
    ),
    REPLAY: _header("On an answer that was kept under an `Idempotency-Key`.", text(const="true")),
    EVIDENCE: _header(
        "`metered`: the gateway counted by itself, for the model's provider has no counter.", text(const="metered")
    ),
    RETRY_AFTER: _header("Seconds to wait before asking again; with `x-should-retry: true`.", whole(minimum=1)),
    ALLOW: _header("With 405: the methods that there are.", text()),
}
_RATES: Final = {
    "limit": ("The key's limit of {} per minute, where it has one.", whole(minimum=1)),
    "remaining": ("What is left of it.", whole(minimum=0)),
    "reset": ("How long until all of it is there again.", text(examples=["17ms", "1.2s", "6m0s"])),
}


def headers() -> dict[str, Any]:
    """Return the headers of answers as components, by name; those that some answers lack come twice."""
    rates = {
        f"x-ratelimit-{what}-{of}": _header(description.format(of), schema)
        for of in ("requests", "tokens")
        for what, (description, schema) in _RATES.items()
    }
    always = {name: header | {"required": True} for name, header in _ALWAYS.items()}
    optional = {
        name + OPTIONAL: _header(f"Where an exchange had been admitted. {_ALWAYS[name]['description']}",
                                 _ALWAYS[name]["schema"])
        for name in EXCHANGE
    }  # fmt: skip
    return always | _SOMETIMES | rates | optional


def told(*names: str, optional: Iterable[str] = ()) -> dict[str, Any]:
    """Return references to answer headers; ``optional`` are those that are required elsewhere, but not here."""
    return {name: ref(name, kind="headers") for name in names} | {
        name: ref(name + OPTIONAL, kind="headers") for name in optional
    }
