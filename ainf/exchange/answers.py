"""Heads and error answers: what a client reads before, or instead of, a stream."""

import re
from collections.abc import Sequence
from typing import Final

import attrs

from ainf.admission import ModelTerms
from ainf.exchange.plan import Headers, Plan
from ainf.inference.errors import CODES, MONEY_TYPE, AinfError
from ainf.protocols.base import ClientProtocol, ErrorAnswer
from ainf.routing.decision import Decision

DEFAULT_RETRY_AFTER_S = 1
DIRECT: Final = (b"x-ainf-router", b"direct")
"""What says that the client named the model that answers."""
_NAMES = 32
_NAME_CHARACTERS = 64
_NOT_IN_A_NAME = re.compile(r"[^!-+\--~]")
_STREAM_HEADERS: Headers = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


@attrs.frozen
class Reply:
    """A whole HTTP answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def retryable(code: str, billed_nusd: int) -> bool:
    """Return the retry verdict: the cause is transient and nothing was charged."""
    return CODES[code].transient and billed_nusd == 0


def error_reply(
    protocol: ClientProtocol,
    error: AinfError,
    *,
    request_id: str,
    inference_id: str | None = None,
    billed_nusd: int = 0,
    money_refusal: str = "402",
) -> Reply:
    """Return an error as an HTTP answer in the client's protocol, with the retry verdict."""
    code, status = error.code, error.status
    if error.type == MONEY_TYPE and money_refusal == "429":
        code, status = "insufficient_quota", 429
    body = protocol.error_body(
        ErrorAnswer(
            code=code,
            type=error.type,
            message=error.message,
            param=error.param,
            inference_id=inference_id,
            billed_nusd=billed_nusd,
            request_id=request_id,
            details=error.details,
        )
    )
    may_retry = retryable(error.code, billed_nusd)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *request_ids(request_id),
        (b"x-should-retry", b"true" if may_retry else b"false"),
    ]
    if may_retry:
        headers.append((b"retry-after", str(error.retry_after_s or DEFAULT_RETRY_AFTER_S).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return Reply(status, headers, body)


def audit_url(public_url: str, inference_id: str) -> str:
    """Return where the receipt of an exchange is read."""
    return f"{public_url}/v1/audit/{inference_id}"


def request_ids(request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the id of an answer, under the names that OpenAI's and Anthropic's SDKs read it by."""
    return [(b"x-request-id", request_id.encode()), (b"request-id", request_id.encode())]


def _listed(names: Sequence[str]) -> bytes:
    """Return names of a client's own fields as a header's value: whatever they hold, they stay inside it."""
    shown = [_NOT_IN_A_NAME.sub("?", name)[:_NAME_CHARACTERS] for name in names[:_NAMES]]
    return ", ".join([*shown, *(["..."] if len(names) > _NAMES else [])]).encode("ascii")


def model_headers(terms: ModelTerms, dropped: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """Return what names the model and its provider, and what the provider was not told."""
    headers = [(b"x-ainf-model", terms.name.encode()), (b"x-ainf-provider", terms.provider.encode())]
    if dropped:
        headers.append((b"x-ainf-dropped-params", _listed(dropped)))
    return headers


def exchange_headers(plan: Plan, public_url: str) -> list[tuple[bytes, bytes]]:
    """Return what every answer of an admitted exchange carries beside its ids, whoever answers it."""
    headers = [
        (b"x-ainf-inference-id", plan.inference_id.encode()),
        (b"x-ainf-agent-id", plan.key.account_name.encode()),
        (b"x-ainf-audit-url", audit_url(public_url, plan.inference_id).encode()),
    ]
    if plan.route is None:
        return [*headers, DIRECT]
    return [*headers, *routing_headers(plan.route.decision)]


def routing_headers(decision: Decision) -> list[tuple[bytes, bytes]]:
    """Return what says that an answer is routed, and by which preference where the client had one."""
    headers = [(b"x-ainf-router", decision.target.encode())]
    if decision.preference_header is not None:
        headers.append((b"x-ainf-routing-preference", decision.preference_header))
    return headers


def own_headers(plan: Plan, public_url: str, clamp_tokens: int | None) -> list[tuple[bytes, bytes]]:
    """Return the same, and who answers; streamed or not."""
    headers = [*exchange_headers(plan, public_url), *model_headers(plan.admission.terms, plan.request.dropped)]
    limit_tokens = clamp_tokens or plan.admission.limit_tokens
    if limit_tokens is not None:
        headers.append((b"x-ainf-max-tokens", str(limit_tokens).encode()))
    return headers


def stream_head(own: list[tuple[bytes, bytes]], *, is_wrapped: bool | None) -> Headers:
    """Return the head of a stream; ``is_wrapped`` is None where it is not known yet (an early head)."""
    mode = [] if is_wrapped is None else [(b"x-ainf-stream-mode", b"wrapped" if is_wrapped else b"native")]
    return [*_STREAM_HEADERS, *own, *mode]


def whole_head(own: list[tuple[bytes, bytes]], body: bytes) -> Headers:
    """Return the head of a whole JSON answer."""
    return [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *own]
