"""From an ending to its numbers: what was used, how well that is founded, what it costs. Pure arithmetic, one place.

The rules: a provider that ended by its own evidence is settled at its reported usage, if that can be true; everything
else at our count of what it sent, once it had taken the request on with a 200 head; before that at zero. A stream
that ran out of money is settled inside its hold. Where a provider goes on, and bills, when we break off (as its
terms say), all output that was held counts as used.
"""

import attrs

from ainf.exchange.attempt import Attempt
from ainf.exchange.hold import RunningHold
from ainf.exchange.plan import Plan
from ainf.formats.base import Answer
from ainf.inference.events import FinishReason
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.request import Operation
from ainf.inference.usage import Usage
from ainf.metering import is_believable
from ainf.pricing import cost
from ainf.store.base import Closing

NOTHING = Usage()

# Endings of ours, at which a provider may still be writing.
_BROKEN_OFF = frozenset({
    Ending.CLIENT_DISCONNECTED, Ending.DEADLINE_EXCEEDED, Ending.INTERNAL_ERROR, Ending.SHUTDOWN,
    Ending.SPEND_CAP_EXCEEDED, Ending.TERMINATED,
})  # fmt: skip


@attrs.frozen
class Reckoning:
    """The numbers of an end."""

    usage: Usage
    evidence: Evidence
    cost_nusd: int
    usage_rejected: bool = False
    """The provider reported usage that cannot be true."""


def reckon(plan: Plan, verdict: Verdict, attempt: Attempt | None, hold: RunningHold) -> Reckoning:
    """Return what an exchange has used and costs."""
    if attempt is None or not attempt.has_head:
        return Reckoning(NOTHING, Evidence.METERED, 0)
    answer = attempt.pipe.answer
    price = plan.admission.terms.price
    reported = answer.usage if answer.usage is not None and _believes(answer.usage, answer, plan, hold) else None
    rejected = answer.raw_usage is not None and (reported is None or answer.is_usage_rejected)
    # What was told before a word that is not believed, or before any output, says what was read and no more.
    is_doubtful = answer.is_usage_rejected or answer.is_usage_partial
    if reported is not None and answer.raw_finish_reason is not None and not is_doubtful:
        return Reckoning(reported, Evidence.REPORTED, cost(price, reported))
    is_cut = verdict.ending is Ending.SPEND_CAP_EXCEEDED
    # Cut for money: what came beyond the hold was not handed over, and is not charged.
    usage = hold.metered(min(hold.received, hold.covered) if is_cut else hold.received)
    if plan.admission.terms.aborted_billing == "held" and verdict.ending in _BROKEN_OFF:
        usage = attrs.evolve(usage, output_tokens=max(usage.output_tokens, hold.covered_tokens))
    if reported is not None:
        usage = attrs.evolve(
            usage,
            input_tokens=reported.input_tokens,
            cached_input_tokens=reported.cached_input_tokens,
            cache_write_tokens=reported.cache_write_tokens,
            long_cache_write_tokens=reported.long_cache_write_tokens,
        )
    amount = cost(price, usage)
    return Reckoning(usage, Evidence.METERED, min(amount, hold.held_nusd) if is_cut else amount, rejected)


def _believes(usage: Usage, answer: Answer, plan: Plan, hold: RunningHold) -> bool:
    # No output is how some providers say "not counted"; but a filter ends answers before there was any.
    if hold.received and not usage.output_tokens and answer.finish is not FinishReason.CONTENT_FILTER:
        return False
    metered = hold.metered(hold.received)
    return is_believable(
        usage,
        input_tokens=plan.admission.input_tokens_bound,
        attachments=plan.admission.attachment_count,
        output_tokens=max(metered.output_tokens, plan.admission.own_limit_tokens),
    )


def finish_reason_of(verdict: Verdict, answer: Answer | None, plan: Plan) -> str | None:
    """Return the reason of an end: the provider's own word, or ours for it where the client's format has others."""
    match verdict.ending:
        case Ending.COMPLETED:
            return _reason_of(answer, plan) if answer else None
        case Ending.SPEND_CAP_EXCEEDED:
            return "length" if plan.finish_reasons == "strict" else "spend_cap_exceeded"
        case Ending.CLIENT_DISCONNECTED:
            return None
        case _:
            return "error"


def _reason_of(answer: Answer, plan: Plan) -> str | None:
    if plan.is_translated and answer.finish is not None:
        return answer.finish.value
    return answer.raw_finish_reason


@attrs.frozen
class End:
    """An exchange at its end: everything that its closing, its terminal frame and its log line are made of."""

    plan: Plan
    outcome: Outcome
    hold: RunningHold
    attempt: Attempt | None
    cost_nusd: int | None
    """None where it could not be computed: the whole hold is taken."""
    usage_rejected: bool
    clamp_tokens: int | None

    def closing(self, at: int) -> Closing:
        """Return the record of this end."""
        outcome, attempt = self.outcome, self.attempt
        line = (
            (attempt.result(at, outcome.usage, outcome.evidence, outcome.billed_nusd),) if attempt is not None else ()
        )
        return Closing(
            inference_id=self.plan.inference_id,
            at=at,
            ending=outcome.ending,
            error_code=outcome.verdict.code,
            finish_reason=outcome.finish_reason,
            usage=outcome.usage,
            evidence=outcome.evidence,
            cost_nusd=self.cost_nusd,
            output_bytes=self.hold.delivered,
            received_bytes=self.hold.received,
            attempts=line,
            notes=self.notes(),
            brought_vectors=self.plan.request.operation is Operation.EMBED and outcome.ending is Ending.COMPLETED,
        )

    def notes(self) -> dict[str, int | bool]:
        """Return what an auditor should know besides; empty for a plain end."""
        notes: dict[str, int | bool] = {}
        if self.usage_rejected:
            notes["usage_rejected"] = True
        if self.clamp_tokens is not None:
            notes["clamp_tokens"] = self.clamp_tokens
        if self.attempt is not None and (opaque := self.attempt.pipe.answer.opaque_frames):
            notes["opaque_frames"] = opaque
        return notes


def end_of(
    plan: Plan, verdict: Verdict, attempt: Attempt | None, hold: RunningHold, *, clamp_tokens: int | None
) -> End:
    """Return the end that a verdict makes of an exchange."""
    reckoning = reckon(plan, verdict, attempt, hold)
    answer = attempt.pipe.answer if attempt is not None else None
    outcome = Outcome(
        verdict,
        finish_reason_of(verdict, answer, plan),
        reckoning.usage,
        reckoning.evidence,
        reckoning.cost_nusd,
    )
    return End(plan, outcome, hold, attempt, reckoning.cost_nusd, reckoning.usage_rejected, clamp_tokens)


def blind_end(
    plan: Plan, verdict: Verdict, attempt: Attempt | None, hold: RunningHold, *, clamp_tokens: int | None
) -> End:
    """Return the end of an exchange whose cost cannot be computed: the whole hold, evidence ``none``.

    The attempt has no line in the ledger then: what it says may be what could not be reckoned with.
    """
    answer = attempt.pipe.answer if attempt is not None else None
    finish_reason = finish_reason_of(verdict, answer, plan)
    outcome = Outcome(verdict, finish_reason, NOTHING, Evidence.NONE, hold.held_nusd)
    return End(plan, outcome, hold, None, None, usage_rejected=False, clamp_tokens=clamp_tokens)
