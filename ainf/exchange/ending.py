"""The end of an exchange: let go of the provider, settle, then speak. The only call site of each.

Everything here runs shielded, for what ended the exchange may also be cancelling its task; so every wait is bounded.
"""

from typing import TYPE_CHECKING

import trio

from ainf.exchange.answers import audit_url, error_reply, retryable, stream_head, whole_head
from ainf.exchange.settlement import End, blind_end, end_of
from ainf.formats.base import EndingStyle
from ainf.inference.errors import AinfError, GatewayError, UpstreamError
from ainf.inference.money import format_usd
from ainf.inference.outcome import Ending, Outcome, Verdict
from ainf.store.base import Settlement
from ainf.telemetry import ExchangeRecord

if TYPE_CHECKING:
    from ainf.exchange.run import Exchange

_RETRY_S = 0.05
_MICROSECONDS = 1_000_000


async def conclude(exchange: "Exchange") -> None:
    """End an exchange whose arbiter has spoken. Cancellation does not interrupt it; its waits are bounded.

    A defect on the way is logged and stops nothing: what is open is settled, and a client that cannot be told how it
    ended is told nothing.
    """
    verdict = exchange.arbiter.verdict
    assert verdict is not None
    clocks, telemetry = exchange.services.clocks, exchange.services.telemetry
    settlement = None
    with trio.CancelScope(shield=True, deadline=trio.current_time() + exchange.close_s) as exchange.closing:
        await _let_go(exchange)
        end = _end(exchange, verdict)
        end, settlement = await _settle(exchange, end)
    exchange.used_tokens = end.outcome.usage.input_tokens + end.outcome.usage.output_tokens
    with trio.CancelScope(shield=True, deadline=trio.current_time() + clocks.speak_s):
        try:
            await _speak(exchange, end, settlement)
        except Exception as defect:  # noqa: BLE001 - it is settled; what cannot be said is left unsaid
            telemetry.defect("speaking", defect, inference_id=exchange.plan.inference_id)
            exchange.speech.abort()
    exchange.services.calibrator.note(end)
    telemetry.exchange_ended(_record(exchange, end, settlement))


async def _let_go(exchange: "Exchange") -> None:
    """Give the provider's connection back, or meter what its socket still held when it was closed. Never waits."""
    attempt = exchange.attempt
    if attempt is None:
        return
    if exchange.body_ended:
        await attempt.call.aclose()
        return
    attempt.call.abort()
    residue = await attempt.call.residue()
    attempt.notice_late_head()
    if residue and attempt.has_head and attempt.pipe.answer.raw_finish_reason is None:
        try:
            reading = attempt.pipe.receive(residue)
            exchange.hold.received += reading.output_bytes
            exchange.residue += reading.data
        except UpstreamError:
            return  # it is closed already, and counted as far as it could be read
        except Exception as defect:  # noqa: BLE001 - whatever it is, the exchange must be settled
            exchange.services.telemetry.defect("residue", defect, inference_id=exchange.plan.inference_id)


def _end(exchange: "Exchange", verdict: Verdict) -> End:
    plan, hold, course = exchange.plan, exchange.hold, exchange.course()
    try:
        return end_of(plan, verdict, exchange.attempt, hold, course)
    except Exception as defect:  # noqa: BLE001 - whatever it is, the exchange must be settled
        exchange.services.telemetry.defect("reckoning", defect, inference_id=plan.inference_id)
        return blind_end(plan, verdict, exchange.attempt, hold, course)


async def _settle(exchange: "Exchange", end: End) -> tuple[End, Settlement | None]:
    """Make the settlement durable; None where the store did not take it in time: then recovery will.

    An end that the store cannot write (a defect) is settled blindly: the whole hold, evidence ``none``.
    """
    services, plan = exchange.services, exchange.plan
    while True:
        try:
            return end, await services.store.close_inference(end.closing(services.wall_clock()))
        except GatewayError:
            await trio.sleep(_RETRY_S)
        except Exception as defect:  # noqa: BLE001 - as above
            services.telemetry.defect("settling", defect, inference_id=plan.inference_id)
            if end.is_blind:
                return end, None
            end = blind_end(plan, end.outcome.verdict, exchange.attempt, exchange.hold, end.course)


async def _speak(exchange: "Exchange", end: End, settlement: Settlement | None) -> None:
    """Say how it ended, once; nothing to a client that is gone, and nothing at all before the settlement is durable."""
    speech, plan, outcome = exchange.speech, exchange.plan, end.outcome
    if speech.finished:
        return  # closed already: it could not be handed what came with the end
    if settlement is None or outcome.ending is Ending.CLIENT_DISCONNECTED:
        speech.abort()
        return
    if speech.started:
        await speech.finish(_terminal(exchange, outcome))
        return
    attempt = exchange.attempt
    if attempt is None or attempt.pipe.answer.raw_finish_reason is None or not _is_answered(outcome):
        error = _error_of(outcome.verdict)
        reply = error_reply(
            plan.protocol,
            error,
            request_id=plan.inference_id,
            inference_id=plan.inference_id,
            billed_nusd=outcome.billed_nusd,
            money_refusal=plan.money_refusal,
        )
        await speech.start(reply.status, [*reply.headers, *exchange.own_headers])
        await speech.finish(reply.body)
        return
    body = _terminal(exchange, outcome)
    if plan.request.stream:
        await speech.start(200, stream_head(exchange.head, is_wrapped=attempt.pipe.is_wrapped))
    else:
        if plan.inference_shape:
            url = audit_url(exchange.services.public_url, plan.inference_id)
            body = plan.protocol.finish_json(body, {"cost": format_usd(outcome.billed_nusd), "audit_url": url})
        own = [*exchange.head, _stream_mode(is_wrapped=attempt.pipe.is_wrapped)]
        await speech.start(200, whole_head(own, body))
    await speech.finish(body)


def _stream_mode(*, is_wrapped: bool) -> tuple[bytes, bytes]:
    return (b"x-ainf-stream-mode", b"wrapped" if is_wrapped else b"native")


def _is_answered(outcome: Outcome) -> bool:
    """Whether the ending is one that a whole answer can be given for."""
    return outcome.ending in {Ending.COMPLETED, Ending.SPEND_CAP_EXCEEDED}


def _error_of(verdict: Verdict) -> AinfError:
    return AinfError(
        verdict.code or "internal_error",
        verdict.message or "The gateway failed; report the inference id.",
        param=verdict.param,
        retry_after_s=verdict.retry_after_s,
    )


def _terminal(exchange: "Exchange", outcome: Outcome) -> bytes:
    plan = exchange.plan
    code = outcome.verdict.code
    style = EndingStyle(
        finish_reasons=plan.finish_reasons,
        inference_id=plan.inference_id,
        created=exchange.services.wall_clock() // _MICROSECONDS,
        model=plan.admission.terms.name,
        tells_cost=plan.key.inject_cost,
        retryable=code is not None and retryable(code, outcome.billed_nusd),
    )
    attempt = exchange.attempt
    pipe = attempt.pipe if attempt is not None else plan.open_pipe(exchange.services.pipe_limits)
    return exchange.last_words(pipe, outcome, style)


def _record(exchange: "Exchange", end: End, settlement: Settlement | None) -> ExchangeRecord:
    plan, outcome = exchange.plan, end.outcome
    return ExchangeRecord(
        inference_id=plan.inference_id,
        account=plan.key.account_name,
        key_id=plan.key.key_id,
        protocol=plan.protocol.name,
        path=plan.request.path,
        stream=plan.request.stream,
        model=plan.admission.terms.name,
        provider=plan.admission.terms.provider,
        ending=outcome.ending.value,
        code=outcome.verdict.code,
        finish_reason=outcome.finish_reason,
        evidence=outcome.evidence.value,
        input_tokens=outcome.usage.input_tokens,
        output_tokens=outcome.usage.output_tokens,
        held_nusd=settlement.held_nusd if settlement else exchange.hold.held_nusd,
        settled_nusd=settlement.settled_nusd if settlement else None,
        overrun_nusd=settlement.overrun_nusd if settlement else 0,
        first_byte_s=exchange.first_byte_s,
        duration_s=trio.current_time() - exchange.opened_at_s,
        notes=end.notes(),
        retry_of=settlement.retry_of if settlement else None,
        burnt_nusd=settlement.burnt_nusd if settlement else {},
    )
