"""The last words of an exchange: how its client is told of the end, in its own protocol and mode.

They are composed once, for one outcome, and say what that outcome is settled at.
"""

from typing import TYPE_CHECKING

import attrs

from ainf.exchange.answers import audit_url, error_reply, retryable, stream_head, whole_head
from ainf.exchange.plan import Headers, Plan
from ainf.formats.base import EndingStyle
from ainf.inference.errors import CODES, AinfError
from ainf.inference.moments import SECOND_US
from ainf.inference.money import format_usd
from ainf.inference.outcome import Ending, Outcome, Verdict
from ainf.store.base import KeptAnswer

if TYPE_CHECKING:
    from ainf.exchange.run import Exchange

_FAILED = "The gateway failed; report the inference id."


@attrs.frozen
class Words:
    """What is said at an end."""

    outcome: Outcome
    """What they tell of."""
    head: tuple[int, Headers] | None
    """None where a head was given already."""
    body: bytes


def last_words(exchange: "Exchange", outcome: Outcome) -> Words:
    """Return what is said to a client that is still there; it takes the rest of the answer out of the pipe."""
    speech, plan, attempt = exchange.speech, exchange.plan, exchange.attempt
    if speech.started:
        return Words(outcome, None, _terminal(exchange, outcome))
    if attempt is None or attempt.pipe.answer.raw_finish_reason is None or not is_answered(outcome):
        reply = error_reply(
            plan.protocol,
            error_of(outcome.verdict),
            request_id=plan.inference_id,
            inference_id=plan.inference_id,
            billed_nusd=outcome.billed_nusd,
            money_refusal=plan.money_refusal,
        )
        return Words(outcome, (reply.status, [*reply.headers, *exchange.own_headers]), reply.body)
    body = _terminal(exchange, outcome)
    if plan.request.stream:
        return Words(outcome, (200, stream_head(exchange.head, is_wrapped=attempt.pipe.is_wrapped)), body)
    body = shaped(plan, body, outcome, exchange.services.public_url, plan.inference_id)
    own = [*exchange.head, stream_mode(is_wrapped=attempt.pipe.is_wrapped)]
    return Words(outcome, (200, whole_head(own, body)), body)


def kept_answer(exchange: "Exchange", words: Words) -> KeptAnswer | None:
    """Return all that is told with these words, to be told again; None where it is too large, or is not kept."""
    speech = exchange.speech
    body, head = speech.told(words.body), words.head or speech.head
    if body is None or head is None:
        return None
    status, headers = head
    named = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
    return KeptAnswer(status, exchange.plan.request.stream, named, body)


def may_retry(outcome: Outcome) -> bool:
    """Return the retry verdict of an outcome."""
    code = outcome.verdict.code
    return code is not None and retryable(code, outcome.billed_nusd)


def is_answered(outcome: Outcome) -> bool:
    """Whether the ending is one that a whole answer can be given for."""
    return outcome.ending in {Ending.COMPLETED, Ending.SPEND_CAP_EXCEEDED}


def error_of(verdict: Verdict) -> AinfError:
    """Return an ending as the error that it is told as before a head was sent."""
    code = verdict.code or "internal_error"
    message = verdict.message or (CODES[code].meaning if verdict.code else _FAILED)
    return AinfError(code, message, param=verdict.param, retry_after_s=verdict.retry_after_s)


def style_of(plan: Plan, outcome: Outcome, inference_id: str, at: int) -> EndingStyle:
    """Return how a client wants to be told of an ending, at a time in microseconds."""
    return EndingStyle(
        finish_reasons=plan.finish_reasons,
        inference_id=inference_id,
        created=at // SECOND_US,
        model=plan.admission.terms.name,
        retryable=may_retry(outcome),
        tells_cost=plan.key.inject_cost,
    )


def stream_mode(*, is_wrapped: bool) -> tuple[bytes, bytes]:
    """Return the header that says whether a stream was made of a whole answer."""
    return (b"x-ainf-stream-mode", b"wrapped" if is_wrapped else b"native")


def shaped(plan: Plan, body: bytes, outcome: Outcome, public_url: str, inference_id: str) -> bytes:
    """Return a whole answer with the fields of ours that its path has."""
    if not plan.inference_shape:
        return body
    told = {"cost": format_usd(outcome.billed_nusd), "audit_url": audit_url(public_url, inference_id)}
    return plan.protocol.finish_json(body, told)


def _terminal(exchange: "Exchange", outcome: Outcome) -> bytes:
    plan, services, attempt = exchange.plan, exchange.services, exchange.attempt
    pipe = attempt.pipe if attempt is not None else plan.open_pipe(services.pipe_limits)
    style = style_of(plan, outcome, plan.inference_id, services.wall_clock())
    return exchange.last_words(pipe, outcome, style)
