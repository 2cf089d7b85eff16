"""The end of an exchange: let go of the provider, compose, settle, then speak. The only call site of each.

To settle is to have the closing committed or, where the database does not take it in time, kept in the spool.

Everything here runs shielded, for what ended the exchange may also be cancelling its task; so every wait is bounded.
"""

from typing import TYPE_CHECKING

import attrs
import trio

from ainf.exchange.dispatch import LOST, let_go, note_ended
from ainf.exchange.settlement import End, blind_end, end_of
from ainf.exchange.words import Words, kept_answer, last_words, may_retry
from ainf.inference.errors import GatewayError
from ainf.inference.moments import SECOND_US
from ainf.inference.outcome import Ending, Verdict
from ainf.routing.outcome import status_of
from ainf.store.base import Closing, Settlement
from ainf.store.spooled import SpooledClosing
from ainf.telemetry import ExchangeRecord

if TYPE_CHECKING:
    from ainf.exchange.run import Exchange

_RETRY_S = 0.05


@attrs.define
class _Draft:
    """What is to be settled, as far as it is known to be fit for it."""

    end: End
    words: Words | None
    """The last ones, where they must be in the settlement's transaction, because they are told again; else None."""
    keeps: bool
    """Whether the answer is to be kept with it."""
    is_fit: bool = True
    """Whether the store can write it at all, as far as is known."""


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
        # Words that are told again must be in the settlement's transaction; others can wait for how it was settled.
        words = _composed(exchange, end) if exchange.plan.claim is not None else None
        draft = _Draft(end, words, keeps=words is not None)
        settlement = await _settle(exchange, draft)
    end = draft.end
    if settlement is None and draft.is_fit:
        settlement = await _spool(exchange, draft)
        if settlement is None:
            # Nobody is told an end; it is settled as soon as the database can be written.
            exchange.services.store.owe(_closing(exchange, draft, keeps=draft.keeps))
    exchange.outcome = end.outcome
    exchange.used_tokens = end.usage.input_tokens + end.usage.output_tokens
    with trio.CancelScope(shield=True, deadline=trio.current_time() + clocks.speak_s):
        try:
            await _speak(exchange, end, settlement, words)
        except Exception as defect:  # noqa: BLE001 - it is settled; what cannot be said is left unsaid
            telemetry.defect("speaking", defect, inference_id=exchange.plan.inference_id)
            exchange.speech.abort()
    _learn(exchange, end, settlement)
    _give_leave_back(exchange)
    _tell_routing(exchange, end, settlement)
    telemetry.exchange_ended(_record(exchange, end, settlement))


async def _let_go(exchange: "Exchange") -> None:
    """Let go of the providers. Never waits."""
    for attempt in (exchange.rival, exchange.attempt):
        if attempt is not None:
            try:
                await let_go(exchange.services, attempt)
            except Exception as defect:  # noqa: BLE001 - whatever it is, the exchange must be settled
                exchange.services.telemetry.defect("letting_go", defect, inference_id=attempt.plan.inference_id)


def _learn(exchange: "Exchange", end: End, settlement: Settlement | None) -> None:
    """Let be learnt from an end what can be."""
    services = exchange.services
    try:
        services.calibrator.note(end)
        services.health.note(end, settlement)
    except Exception as defect:  # noqa: BLE001 - the exchange is over, and must be counted out
        services.telemetry.defect("learning", defect, inference_id=exchange.plan.inference_id)


def _give_leave_back(exchange: "Exchange") -> None:
    """Let others ask the models that were asked here, also where the end is blind, and nothing was learnt of it."""
    for attempt in (exchange.rival, exchange.attempt):
        if attempt is not None:
            exchange.services.health.gave_up(attempt)


def _end(exchange: "Exchange", verdict: Verdict) -> End:
    plan, hold = exchange.plan, exchange.hold
    try:
        if exchange.rival is not None:
            note_ended(exchange, exchange.rival, LOST)
        return end_of(plan, verdict, exchange.attempt, hold, exchange.course())
    except Exception as defect:  # noqa: BLE001 - whatever it is, the exchange must be settled
        exchange.services.telemetry.defect("reckoning", defect, inference_id=plan.inference_id)
        return blind_end(plan, verdict, exchange.attempt, hold, exchange.course())


async def _settle(exchange: "Exchange", draft: _Draft) -> Settlement | None:
    """Have the settlement committed; None where the store cannot write it. Goes on trying until it is cancelled.

    An answer that cannot be kept beside it (the disk is too full for it, or a defect) is left out. An end that the
    store cannot write (a defect) is settled blindly: the whole hold, evidence ``none``.
    """
    services, plan = exchange.services, exchange.plan
    since, keeps = trio.current_time(), draft.keeps
    while True:
        try:
            return await services.store.close_inference(_closing(exchange, draft, keeps=keeps))
        except GatewayError:
            await trio.sleep(_RETRY_S)
            keeps = keeps and _left_s(exchange) > trio.current_time() - since
        except Exception as defect:  # noqa: BLE001 - as above
            services.telemetry.defect("settling", defect, inference_id=plan.inference_id)
            if keeps:
                keeps = draft.keeps = False
            elif draft.end.is_blind:
                draft.is_fit = False
                return None
            else:
                end = draft.end
                draft.end = blind_end(plan, end.outcome.verdict, exchange.attempt, exchange.hold, end.course)


async def _spool(exchange: "Exchange", draft: _Draft) -> Settlement | None:
    """Keep the closing where it waits for the database; None where that fails too, or takes too long.

    What was left to the database is not taken back: it may yet be committed, and then that is the settlement. An answer
    that was left out there, for want of time, is tried here again.
    """
    services, inference_id = exchange.services, exchange.plan.inference_id
    why = "it took too long"
    with trio.CancelScope(shield=True, deadline=trio.current_time() + exchange.spool_s):
        for keeps in (True, False) if draft.keeps else (False,):
            try:
                settlement = await services.store.spool(_to_spool(exchange, draft, keeps=keeps))
            except GatewayError as error:
                why = str(error.__cause__ or "there is no spool")
            except Exception as defect:  # noqa: BLE001 - recovery settles what cannot be kept
                services.telemetry.defect("spooling", defect, inference_id=inference_id)
                return None
            else:
                services.telemetry.spooled(inference_id)
                return settlement
    services.telemetry.not_spooled(inference_id, why)
    return None


def _to_spool(exchange: "Exchange", draft: _Draft, *, keeps: bool) -> SpooledClosing:
    plan, hold, closing = exchange.plan, exchange.hold, _closing(exchange, draft, keeps=keeps)
    served = plan.attempt_plan
    return SpooledClosing(
        closing=closing,
        held_nusd=exchange.spent_nusd + hold.held_nusd,
        opened_at=exchange.opened_at,
        key_id=plan.key.key_id,
        account_id=plan.key.account_id,
        account_name=plan.key.account_name,
        protocol=plan.protocol.name,
        path=plan.request.path,
        stream=plan.request.stream,
        requested_model=exchange.planned_first.model,
        router="direct" if plan.route is None else plan.route.decision.target,
        model=served.model,
        provider=served.provider,
        price_version=served.price.version,
        clamp_tokens=hold.clamp_tokens,
        labels=plan.labels,
    )


def _left_s(exchange: "Exchange") -> float:
    """Return how long the closing may still take."""
    assert exchange.closing is not None
    return exchange.closing.deadline - trio.current_time()


def _composed(exchange: "Exchange", end: End) -> Words | None:
    """Return the last words; None where nobody is told any, or they cannot be written (a defect)."""
    if exchange.speech.finished or end.outcome.ending is Ending.CLIENT_DISCONNECTED:
        return None
    try:
        return last_words(exchange, end.outcome)
    except Exception as defect:  # noqa: BLE001 - it must be settled; what cannot be said is left unsaid
        exchange.services.telemetry.defect("speaking", defect, inference_id=exchange.plan.inference_id)
        return None


def _closing(exchange: "Exchange", draft: _Draft, *, keeps: bool) -> Closing:
    """Return the record of an end; with the answer, where it is to be told again under its idempotency key.

    Where it would be, and ``keeps`` is not set, the key is left without one: as if it were too large.
    """
    at, end, words = exchange.services.wall_clock(), draft.end, draft.words
    closing = end.closing(at)
    if words is None or words.outcome is not end.outcome or may_retry(end.outcome):
        return closing
    expires_at = at + int(exchange.services.clocks.keep_answer_s * SECOND_US)
    answer = kept_answer(exchange, words) if keeps else None
    return attrs.evolve(closing, answer=answer, frees_claim=False, claim_expires_at=expires_at)


async def _speak(exchange: "Exchange", end: End, settlement: Settlement | None, words: Words | None) -> None:
    """Say how it ended, once; nothing to a client that is gone, and nothing at all before the settlement is durable.

    Words that were kept, and do not tell of what was settled in the end, are not said.
    """
    speech = exchange.speech
    if speech.finished:
        return  # closed already: it could not be handed what came with the end
    if settlement is not None and exchange.plan.claim is None:
        words = _composed(exchange, end)
    if settlement is None or words is None or words.outcome is not end.outcome:
        speech.abort()
        return
    if words.head is not None:
        await speech.start(*words.head)
    await speech.finish(words.body)


def _tell_routing(exchange: "Exchange", end: End, settlement: Settlement | None) -> None:
    """Count how a routed exchange came out, and what must never be: an outcome of one that is pinned."""
    telemetry, route = exchange.services.telemetry, exchange.plan.route
    if route is not None:
        served = 1 if end.attempt is None else end.attempt.number
        telemetry.routed(route.decision.target, status_of(end.outcome.ending, served))
    elif settlement is not None and settlement.is_captured:
        telemetry.passthrough_captured()


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
        input_tokens=end.usage.input_tokens,
        output_tokens=end.usage.output_tokens,
        held_nusd=settlement.held_nusd if settlement else exchange.hold.held_nusd,
        settled_nusd=settlement.settled_nusd if settlement else None,
        overrun_nusd=settlement.overrun_nusd if settlement else 0,
        first_byte_s=exchange.first_byte_s,
        duration_s=trio.current_time() - exchange.opened_at_s,
        notes=end.notes(),
        retry_of=settlement.retry_of if settlement else None,
        burnt_nusd=settlement.burnt_nusd if settlement else {},
        router="direct" if plan.route is None else plan.route.decision.target,
        attempts=exchange.opened,
    )
