"""Everything that can go wrong, by name: one table of codes, and the errors that carry them.

The class of an error says whose fault it is, its code what happened, and the code's row in ``CODES`` the HTTP status,
the OpenAI-style ``type`` and whether the cause is transient. Whether a *retry* can help is decided with the bill at
hand: only when the cause is transient and nothing was charged. Bugs are assertions, not errors of these classes.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs


@attrs.frozen
class ErrorCode:
    """One row of the table of codes."""

    status: int
    type: str
    meaning: str
    """What happened and what to do, in one sentence (README's table)."""
    transient: bool = attrs.field(default=False, kw_only=True)


_REQUEST = "invalid_request_error"
_AUTH = "authentication_error"
MONEY_TYPE: Final = "insufficient_quota"
"""The type of every refusal for money."""
_UPSTREAM = "upstream_error"
_SERVER = "server_error"

CODES: Final[Mapping[str, ErrorCode]] = MappingProxyType({
    # --- the request ---
    "invalid_json": ErrorCode(400, _REQUEST, "The body is not one JSON object; the position is given."),
    "invalid_encoding": ErrorCode(400, _REQUEST, "The body is not UTF-8 without a byte order mark."),
    "invalid_unicode": ErrorCode(400, _REQUEST, "A string holds a lone surrogate or a NUL."),
    "number_out_of_range": ErrorCode(400, _REQUEST, "A number is outside 64-bit integers or finite doubles."),
    "too_deep": ErrorCode(400, _REQUEST, "The body is nested deeper than 100 levels."),
    "invalid_type": ErrorCode(400, _REQUEST, "A field has the wrong type; `param` names it."),
    "invalid_value": ErrorCode(400, _REQUEST, "A field has a value outside its range; `param` names it."),
    "missing_field": ErrorCode(400, _REQUEST, "A required field is missing; `param` names it."),
    "unsupported_parameter": ErrorCode(
        400, _REQUEST, "The gateway cannot honour this field or value; `param` names it. Leave it out."
    ),
    "bad_request": ErrorCode(400, _REQUEST, "The HTTP request is malformed or ambiguous."),
    "upstream_rejected": ErrorCode(
        400, _REQUEST, "The provider refused the request as invalid; its reason is in the message."
    ),
    "context_length_exceeded": ErrorCode(
        400, _REQUEST, "The request does not fit the model's context window; the provider's words are in the message."
    ),
    "content_filter": ErrorCode(
        400, _REQUEST, "The provider's content filter refused the request; its words are in the message."
    ),
    "ambiguous_credentials": ErrorCode(401, _AUTH, "More than one credential was sent; send one."),
    "invalid_api_key": ErrorCode(
        401, _AUTH, "The key is missing, unknown, revoked or expired, or its account is closed."
    ),
    "not_permitted": ErrorCode(403, "permission_error", "The key has no right to this model or endpoint."),
    "not_found": ErrorCode(404, _REQUEST, "There is nothing at this path or under this id."),
    "model_not_found": ErrorCode(404, _REQUEST, "No such model is configured; GET /v1/models lists them."),
    "method_not_allowed": ErrorCode(405, _REQUEST, "The path exists, with another method."),
    "request_timeout": ErrorCode(408, _REQUEST, "The request did not arrive in time.", transient=True),
    "request_too_large": ErrorCode(413, _REQUEST, "The body is over `limits.body_bytes`."),
    "uri_too_long": ErrorCode(414, _REQUEST, "The request target is over `limits.target_bytes`."),
    "unsupported_media_type": ErrorCode(415, _REQUEST, "Send application/json, without content-encoding."),
    "headers_too_large": ErrorCode(431, _REQUEST, "The header block is over its limits."),
    "tools_not_supported": ErrorCode(422, _REQUEST, "The model takes no tools; leave them out or use another model."),
    "operation_not_supported": ErrorCode(
        422, _REQUEST, "The model's provider cannot do what this endpoint is for; use another model."
    ),
    "no_candidate": ErrorCode(
        422,
        _REQUEST,
        "No model of the routing target can do what is asked, clears the quality floor and costs little enough; "
        "`routing` says how many fell at what.",
    ),
    "streaming_not_supported": ErrorCode(501, _REQUEST, "The model does not stream; send `stream: false`."),
    # --- money ---
    "spend_cap_exceeded": ErrorCode(
        402,
        MONEY_TYPE,
        "A cap on the key or an account above it is used up; `cap` names it, what is left and when it resets.",
    ),
    "insufficient_funds": ErrorCode(
        402, MONEY_TYPE, "The prepaid balance that pays for the key is used up; top it up."
    ),
    # --- one answer for one idempotency key ---
    "idempotency_in_progress": ErrorCode(
        409,
        "idempotency_error",
        "The request with this `Idempotency-Key` runs, and cannot be joined from here; ask again for its answer.",
        transient=True,
    ),
    "idempotency_completed": ErrorCode(
        409,
        "idempotency_error",
        "The request with this `Idempotency-Key` was answered and billed, but the answer was too large to be kept, or "
        "cannot be told in this mode; the message names its receipt.",
    ),
    "idempotency_mismatch": ErrorCode(
        422, "idempotency_error", "This `Idempotency-Key` was used with another body; use a new one."
    ),
    # --- the gateway's own state ---
    "rate_limited": ErrorCode(
        429,
        "rate_limit_error",
        "The key is at its limit of requests or tokens per minute or of streams at once, or too many authentications "
        "from this address have failed; `retry-after` says how long to wait.",
        transient=True,
    ),
    "overloaded": ErrorCode(503, _SERVER, "The gateway is at its limit of running requests.", transient=True),
    "shutting_down": ErrorCode(
        503, _SERVER, "The gateway is stopping; ask again, another process answers.", transient=True
    ),
    "store_unavailable": ErrorCode(
        503, _SERVER, "The ledger cannot be written; nothing was sent upstream.", transient=True
    ),
    "key_revoked": ErrorCode(401, _AUTH, "The key was revoked while the request ran."),
    "killed": ErrorCode(503, _SERVER, "An operator ended the request."),
    "internal_error": ErrorCode(500, _SERVER, "A defect of the gateway; report the inference id."),
    "deadline_exceeded": ErrorCode(
        504, "timeout_error", "The request's or the gateway's deadline passed.", transient=True
    ),
    # --- the provider ---
    "upstream_unreachable": ErrorCode(502, _UPSTREAM, "No connection to the provider could be made.", transient=True),
    "upstream_error": ErrorCode(502, _UPSTREAM, "The provider failed or reported an error.", transient=True),
    "upstream_overloaded": ErrorCode(503, _UPSTREAM, "The provider is overloaded or limits our rate.", transient=True),
    "upstream_auth": ErrorCode(502, _UPSTREAM, "The provider refused the gateway's own credentials."),
    "upstream_protocol": ErrorCode(
        502, _UPSTREAM, "The provider's answer is not of its format, or over a limit.", transient=True
    ),
    "upstream_truncated": ErrorCode(502, _UPSTREAM, "The provider's answer broke off before its end.", transient=True),
    "all_candidates_failed": ErrorCode(
        503,
        _UPSTREAM,
        "Every model of the routing target that may be tried failed, or is let rest since it failed so often of late.",
        transient=True,
    ),
    "upstream_timeout": ErrorCode(504, _UPSTREAM, "The provider was silent for too long.", transient=True),
})


_NO_DETAILS: Final[Mapping[str, Any]] = MappingProxyType({})


class AinfError(Exception):
    """An expected failure, told to the client.

    Attributes:
        code: a key of ``CODES``.
        message: what is wrong and what to do; shown to the client, so it holds nothing internal.
        param: the request field at fault, if one is.
        retry_after_s: how long to wait before asking again, if known (whole seconds, 1 to 60).
        details: what a program may want to know besides, by name, as JSON has it; shown to the client beside the
            message, so its names are not those of other parts of an error.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        details: Mapping[str, Any] = _NO_DETAILS,
    ) -> None:
        super().__init__(code, message)
        assert code in CODES, code
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.details = details

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    @property
    def status(self) -> int:
        """The HTTP status that this error has before a head was sent."""
        return CODES[self.code].status

    @property
    def type(self) -> str:
        """The OpenAI-style error type."""
        return CODES[self.code].type

    @property
    def transient(self) -> bool:
        """Whether the cause may be gone soon (a retry helps only if nothing was charged either)."""
        return CODES[self.code].transient


class DownstreamError(AinfError):
    """The client's fault: the request cannot be admitted as it stands."""


class SpendError(AinfError):
    """The money's word: a cap or balance refuses."""


class RoutingError(AinfError):
    """The routing's word: none of a target's models can be chosen, or all that were tried failed."""


class UpstreamError(AinfError):
    """The provider's fault, or the way to it."""


class GatewayError(AinfError):
    """Ours: overload, shutdown, a store that is away."""
