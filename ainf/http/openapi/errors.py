"""Error answers: their two shapes, and which codes, under which statuses, each path can answer with."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ainf.formats.messages.frames import error_type
from ainf.formats.responses.frames import LOUD_CAP_CODE
from ainf.http.openapi import headers
from ainf.http.openapi.shapes import (
    Fields,
    Schema,
    constant,
    count,
    either,
    flag,
    mapping,
    moment,
    nullable,
    record,
    ref,
    text,
    whole,
    word,
)
from ainf.inference.errors import CODES, MONEY_TYPE
from ainf.inference.request import Operation
from ainf.ledger import Window
from ainf.protocols.registry import ENDPOINTS, protocol_of_path
from ainf.routing.candidates import Filter

QUOTA: Final = LOUD_CAP_CODE
"""What a refusal for money is called, with status 429, for clients that obey only that."""
ALL_CODES: Final = (*CODES, QUOTA)

_ANYWHERE: Final = (
    "bad_request", "request_timeout", "request_too_large", "uri_too_long", "unsupported_media_type",
    "headers_too_large", "internal_error", "overloaded",
)  # fmt: skip
"""What may be said of any request, before its path is looked at."""
_ELSEWHERE: Final = ("not_found", "method_not_allowed")
"""What is said of a path or method that there is not."""
_KEY: Final = ("ambiguous_credentials", "invalid_api_key", "rate_limited", "store_unavailable")
_PERIOD: Final = ("invalid_value", "unsupported_parameter")
_BODY: Final = (
    "invalid_json", "invalid_encoding", "invalid_unicode", "number_out_of_range", "too_deep", "invalid_type",
    "invalid_value", "missing_field", "unsupported_parameter", "unsupported_media_type", "request_too_large",
)  # fmt: skip
_RUN: Final = (
    "model_not_found", "not_permitted", "operation_not_supported", "overloaded", "shutting_down", "internal_error",
    *(code for code, row in CODES.items() if row.type == MONEY_TYPE), QUOTA, "key_revoked", "killed",
    "deadline_exceeded", "upstream_rejected", "context_length_exceeded", "content_filter", "upstream_unreachable",
    "upstream_error", "upstream_overloaded", "upstream_auth", "upstream_protocol", "upstream_truncated",
    "upstream_timeout",
)  # fmt: skip
_CLAIM: Final = tuple(code for code, row in CODES.items() if row.type == "idempotency_error")
_CHOICE: Final = ("tools_not_supported", "no_candidate", "all_candidates_failed")
"""Where a routing target may be named."""

_AFTER_ADMISSION: Final = frozenset({400, 401, 402, 429, 500, 502, 503, 504})
"""Statuses that an exchange may end with before its head."""
_ANTHROPICS: Final = frozenset({"messages", "count_tokens"})
"""Formats of Anthropic's."""


def _codes_of_endpoint(path: str) -> tuple[str, ...]:
    protocol = ENDPOINTS[path]
    codes = (*_KEY, *_BODY, *_RUN)
    match protocol.operation:
        case Operation.GENERATE:
            codes = (*codes, *_CLAIM, *_CHOICE, "streaming_not_supported")
        case Operation.EMBED:
            codes = (*codes, *_CLAIM)
        case Operation.COUNT:
            codes = (*codes, *_CHOICE)
    return (*codes, "not_found") if protocol.format == "responses" else codes


CODES_OF: Final[Mapping[str, tuple[str, ...]]] = {
    **{path: _codes_of_endpoint(path) for path in ENDPOINTS},
    "/v1/models": _KEY,
    "/v1/models/{name}": (*_KEY, "model_not_found"),
    "/v1/audit/{inference_id}": (*_KEY, "not_found"),
    "/v1/usage": (*_KEY, *_PERIOD),
    "/readyz": ("shutting_down", "overloaded", "store_unavailable"),
}
"""Path -> the codes that it answers with beside those of any request."""


def status_of(code: str) -> int:
    """Return the HTTP status of a code."""
    return 429 if code == QUOTA else CODES[code].status


def style_of(path: str) -> str:
    """Return whose words a path tells its errors in: "OpenAI" or "Anthropic"."""
    return "Anthropic" if protocol_of_path(path).format in _ANTHROPICS else "OpenAI"


def by_status(codes: Iterable[str]) -> dict[int, list[str]]:
    """Return codes by their statuses, with those of any request under a status that is among them."""
    wanted = set(codes)
    statuses = {status_of(code) for code in wanted}
    found: dict[int, list[str]] = {}
    for code in ALL_CODES:
        status = status_of(code)
        if code in wanted or (code in _ANYWHERE and status in statuses):
            found.setdefault(status, []).append(code)
    return dict(sorted(found.items()))


# --- the components ---


def _name(style: str, status: int | None) -> str:
    return f"{style}{status or 'Default'}"


def error_answers(path: str) -> dict[str, Schema]:
    """Return the error answers of a path, by status: references that say where they are fewer codes than elsewhere."""
    style = style_of(path)
    answers = {}
    for status, codes in by_status(CODES_OF.get(path, ())).items():
        is_all = codes == _codes_of_style(style)[status]
        answers[str(status)] = ref(_name(style, status), "" if is_all else _listed(codes), kind="responses")
    return answers | {"default": ref(_name(style, None), kind="responses")}


def responses() -> dict[str, Any]:
    """Return the error answers as components: one for each style and status."""
    found: dict[str, Any] = {}
    for style in ("OpenAI", "Anthropic"):
        for status, codes in _codes_of_style(style).items():
            found[_name(style, status)] = _response(style, status, codes)
        found[_name(style, None)] = _response(style, None, [*_ANYWHERE, *_ELSEWHERE])
    return found


def _codes_of_style(style: str) -> dict[int, list[str]]:
    return by_status(code for path, codes in CODES_OF.items() if style_of(path) == style for code in codes)


def _response(style: str, status: int | None, codes: Iterable[str]) -> dict[str, Any]:
    described = _listed(codes)
    if status is None:
        described = f"Refused before its path was looked at, or not at this path: {described}"
    only = {"properties": {"error": {"properties": {"code": {"enum": list(codes)}}}}}
    return {
        "description": described,
        "headers": _headers(status),
        "content": {"application/json": {"schema": {"allOf": [ref(f"{style}Error"), only]}}},
    }


def _headers(status: int | None) -> dict[str, Any]:
    names = [*headers.IDS, headers.RETRY, headers.RETRY_AFTER]
    if status is None:
        return headers.told(*names, headers.ALLOW)
    if status == 401:
        names.append(headers.CHALLENGE)
    if status not in _AFTER_ADMISSION:
        return headers.told(*names, *headers.RATES)
    names += [*headers.SERVED, headers.LIMIT, headers.REPLAY, headers.ROUTER, headers.PREFERENCE]
    return headers.told(*names, *headers.RATES, optional=headers.EXCHANGE)


def _listed(codes: Iterable[str]) -> str:
    return ", ".join(f"`{code}`" for code in codes) + "."


# --- the schemas ---

_CAP: Final = record(
    {
        "kind": word(("cap", "balance")),
        "of": text("Whose it is: `account research`, `key k1`."),
        "window": word(Window, "What it counts over, as the calendar has it in UTC."),
        "model": text("The pattern of model names that it is for."),
        "limit": ref("USD"),
        "left": ref("USD"),
        "needs": ref("USD", "The least that the request needs."),
        "resets_at": nullable(moment("Null where it never does.")),
        "resets_in_s": nullable(count()),
    },
    description="With a refusal for money: the cap or balance that refused.",
)
_LIMIT: Final = record(
    {"name": word(("requests_per_minute", "tokens_per_minute", "concurrent_streams")), "value": whole(minimum=1)},
    description="With `rate_limited`: the limit of the key that was reached.",
)
_LEFT_OUT: Final = record(
    {
        "target": text("The routing target, by its canonical name."),
        "candidates": count("How many of its models the key may use."),
        "floor": {"type": "number", "description": "The quality that was asked for, from 0 to 1."},
        "fell": record({}, {name: count() for name in Filter}, "At what, how many of them were left out."),
    },
    {"least_cost": ref("USD"), "best_quality": {"type": "number"}},
    "None could be chosen.",
)
_SKIPPED: Final = record(
    {"skipped": mapping(text("The code of its refusal, or `rests`."), "By the models' names.")},
    description="Each that was chosen had to be passed over: its provider cannot be told what is asked.",
)
_ROUTING: Final = either(
    _LEFT_OUT, _SKIPPED, description="With `no_candidate`, or `all_candidates_failed` where all models rest."
)
_DETAILS: Final[Fields] = {
    "cap": ref("RefusedBy"),
    "limit": ref("ReachedLimit"),
    "routing": ref("NoCandidate"),
    "audit_url": text("With `idempotency_completed`: the receipt of what was answered.", format="uri"),
}


def _said() -> dict[str, Schema]:
    """Return the fields that an error has in every shape."""
    return {
        "message": text("What is wrong and what to do."),
        "code": ref("ErrorCode"),
        "param": nullable(text("The request field at fault, if one is.")),
        "billed": ref("USD", "What the exchange is charged."),
    }


def schemas() -> dict[str, Schema]:
    """Return the schemas of errors, by name."""
    types = word(sorted({row.type for row in CODES.values()}), "The code's type.")
    anthropics = word(
        sorted({error_type(row.status, row.type) for row in CODES.values()}), "Anthropic's type for the code's status."
    )
    inference_id = text("The exchange that failed, where one had been admitted.")
    retryable = flag("Whether to ask again can help: the cause is transient and nothing was charged.")
    request_id = text("As the header `x-request-id`.")
    return {
        "RefusedBy": _CAP,
        "ReachedLimit": _LIMIT,
        "NoCandidate": _ROUTING,
        "USD": text("US dollars, exact to a billionth.", pattern=r"^-?[0-9]+(\.[0-9]{1,9})?$", examples=["0.00125"]),
        "ErrorCode": word(ALL_CODES, _table()),
        "OpenAIError": record({
            "error": record(
                {**_said(), "type": types, "request_id": request_id}, {"inference_id": inference_id, **_DETAILS}
            )
        }),
        "AnthropicError": record({
            "type": constant("error"),
            "error": record(
                {**_said(), "type": anthropics, "inference_id": nullable(inference_id)},
                {"retryable": retryable | {"description": "In a stream: the header `x-should-retry`."}, **_DETAILS},
            ),
            "request_id": nullable(request_id),
        }),
        "StreamError": record(
            {**_said(), "type": types, "inference_id": inference_id, "retryable": retryable},
            description="How an exchange ended that was not completed, in OpenAI's streams and answers.",
        ),
    }


def _table() -> str:
    rows = [
        f"| `{code}` | {row.status} | `{row.type}` | {'yes' if row.transient else 'no'} | {row.meaning} |"
        for code, row in CODES.items()
    ]
    quota = (
        f"| `{QUOTA}` | 429 | `{MONEY_TYPE}` | no | A refusal for money, for keys or models with `money_refusal` 429; "
        "in an answer's own error, a cap that cut it, with `finish_reasons` loud. |"
    )
    head = ["What happened.\n", "| code | status | type | transient | meaning |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, quota])
