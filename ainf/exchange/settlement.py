"""From an exchange that ended to its records: what is known of it goes by the rule, and what comes out is an ``End``.

Pure; the rule itself is ``ainf.exchange.rule``.
"""

from collections.abc import Mapping
from typing import Any

import attrs

from ainf.exchange import rule
from ainf.exchange.attempt import Attempt
from ainf.exchange.drain import Drain
from ainf.exchange.hold import RunningHold
from ainf.exchange.plan import Plan
from ainf.exchange.rule import NOTHING, Known, Reckoning
from ainf.formats.base import Answer
from ainf.inference.events import FinishReason
from ainf.inference.moments import SECOND_US
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.request import Operation
from ainf.inference.usage import Usage
from ainf.ledger import CapState
from ainf.metering import is_believable
from ainf.store.base import AttemptResult, Closing


@attrs.frozen
class EndedAttempt:
    """An attempt that has ended, or lost against another, while its exchange went on."""

    number: int
    result: AttemptResult
    """Its own line, with its own cost."""


@attrs.frozen
class Course:
    """What befell an exchange on its way, besides the attempt that it ended with."""

    ended: tuple[EndedAttempt, ...] = ()
    """The other attempts."""
    opened: int = 1
    """How many attempts were opened in all, dialled or not."""
    first_byte_s: float | None = None
    """From the opening to the first content."""
    cap: CapState | None = None
    """What clamped its output, or would not let its hold grow."""
    drain: Drain | None = None
    no_room: CapState | None = None
    """What left nothing for another attempt."""


def reckon(verdict: Verdict, attempt: Attempt | None) -> Reckoning:
    """Return what an attempt has used and costs that this ended; nothing where there was none."""
    if attempt is None:
        return Reckoning(NOTHING, Evidence.METERED, 0)
    answer, plan, hold = attempt.pipe.answer, attempt.plan, attempt.hold
    reported = answer.usage if answer.usage is not None and _believes(answer.usage, answer, plan, hold) else None
    known = Known(
        ending=verdict.ending,
        aborted_billing=attempt.aborted_billing,
        has_head=attempt.has_head,
        may_answer=attempt.may_answer,
        has_end=answer.raw_finish_reason is not None,
        reported=reported,
        is_output_counted=not answer.is_usage_partial,
        is_usage_rejected=answer.raw_usage is not None and (reported is None or answer.is_usage_rejected),
        input_tokens=plan.admission.input_tokens_estimate,
        output_tokens=hold.tokens(hold.received),
        paid_tokens=hold.tokens(min(hold.received, hold.covered)),
        held_tokens=hold.covered_tokens,
        held_nusd=hold.held_nusd,
        price=plan.admission.terms.price,
    )
    return rule.reckon(known)


def _believes(usage: Usage, answer: Answer, plan: Plan, hold: RunningHold) -> bool:
    # Nothing is how some providers say "not counted": of the input on the way, of the output in the end (but a filter
    # ends answers before there was any).
    if answer.raw_finish_reason is None or answer.is_usage_partial:
        is_counted = usage.input_tokens > 0
    else:
        is_counted = not hold.received or usage.output_tokens > 0 or answer.finish is FinishReason.CONTENT_FILTER
    if not is_counted:
        return False
    return is_believable(
        usage,
        input_tokens=plan.admission.input_tokens_bound,
        attachments=plan.admission.attachment_count,
        output_tokens=max(hold.tokens(hold.received), plan.admission.own_limit_tokens),
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
    reckoning: Reckoning | None
    """Its last attempt's numbers; None where they could not be computed: the whole hold is taken."""
    course: Course
    usage: Usage
    """Of all its attempts, as it is settled; the client is told that of the one that answered, as its provider says."""

    @property
    def is_blind(self) -> bool:
        """Whether its cost is not known."""
        return self.reckoning is None

    def closing(self, at: int) -> Closing:
        """Return the record of this end."""
        outcome, reckoning = self.outcome, self.reckoning
        lines = self._lines(at)
        return Closing(
            inference_id=self.plan.inference_id,
            at=at,
            ending=outcome.ending,
            error_code=outcome.verdict.code,
            finish_reason=outcome.finish_reason,
            usage=self.usage,
            evidence=outcome.evidence,
            cost_nusd=None if reckoning is None else outcome.billed_nusd,
            output_bytes=self.hold.delivered,
            received_bytes=self.hold.received,
            attempts=tuple(line for _, line in sorted(lines.items())),
            charges=self._charges(lines),
            served=None if self.attempt is None else self.attempt.number,
            first_byte_us=None if self.course.first_byte_s is None else round(self.course.first_byte_s * SECOND_US),
            notes=self.notes(),
            brought_vectors=self.plan.request.operation is Operation.EMBED and outcome.ending is Ending.COMPLETED,
        )

    def _lines(self, at: int) -> dict[int, AttemptResult]:
        """Return the lines of the attempts that have one, by number; none where what they say cannot be relied on."""
        if self.reckoning is None:
            return {}
        lines = {ended.number: ended.result for ended in self.course.ended}
        if self.attempt is not None:
            reckoning = self.reckoning
            own = self.attempt.result(at, reckoning.usage, reckoning.evidence, reckoning.cost_nusd)
            lines[self.attempt.number] = own
        return lines

    def _charges(self, lines: Mapping[int, AttemptResult]) -> tuple[int, ...]:
        """Return what each attempt costs; one that was opened and never dialled costs nothing."""
        if self.course.opened == 1 or self.reckoning is None:
            return ()
        return tuple(lines[number].cost_nusd if number in lines else 0 for number in range(1, self.course.opened + 1))

    def notes(self) -> dict[str, Any]:
        """Return what an auditor should know besides; empty for a plain end."""
        notes: dict[str, Any] = {}
        course, cap = self.course, self.course.cap
        if self.reckoning is not None and self.reckoning.usage_rejected:
            notes["usage_rejected"] = True
        if self.hold.clamp_tokens is not None:
            notes["clamp_tokens"] = self.hold.clamp_tokens
        if self.hold.clamped_by is not None:
            notes["clamped_by"] = self.hold.clamped_by.cap_id
        if cap is not None and self.outcome.ending is Ending.SPEND_CAP_EXCEEDED:
            notes |= {"cap_id": cap.cap_id, "window": cap.window}
        if course.drain is not None:
            notes |= course.drain.notes()
        if self.plan.route is not None and self.plan.route.skipped:
            notes["routing_skipped"] = dict(self.plan.route.skipped)
        if course.no_room is not None:
            notes["no_room_for_another"] = course.no_room.cap_id
        if self.attempt is not None:
            notes |= _notes_of(self.attempt.pipe.answer, self.plan)
        return notes


def _notes_of(answer: Answer, plan: Plan) -> dict[str, Any]:
    """Return what an auditor should know of an answer itself."""
    notes: dict[str, Any] = {}
    if answer.opaque_frames:
        notes["opaque_frames"] = answer.opaque_frames
    if answer.model is not None and answer.model != plan.admission.terms.upstream_model:
        notes["answered_as"] = answer.model  # often a dated version; but it may be another model than was asked for
    return notes


def end_of(plan: Plan, verdict: Verdict, attempt: Attempt | None, hold: RunningHold, course: Course) -> End:
    """Return the end that a verdict makes of an exchange: the sum of its attempts.

    ``plan`` and ``hold`` are the attempt's, or those of the one that was to be dialled next.
    """
    reckoning = reckon(verdict, attempt)
    usage, evidence, amount = reckoning.usage, reckoning.evidence, reckoning.cost_nusd
    for ended in course.ended:
        line = ended.result
        usage, amount = line.usage + usage, line.cost_nusd + amount
        if line.cost_nusd and line.evidence is not Evidence.REPORTED:
            evidence = line.evidence
    answer = attempt.pipe.answer if attempt is not None else None
    outcome = Outcome(verdict, finish_reason_of(verdict, answer, plan), reckoning.usage, evidence, amount)
    return End(plan, outcome, hold, attempt, reckoning, course, usage)


def blind_end(plan: Plan, verdict: Verdict, attempt: Attempt | None, hold: RunningHold, course: Course) -> End:
    """Return the end of an exchange whose cost cannot be computed: the whole hold, evidence ``none``.

    Its attempts have no lines in the ledger then: what they say may be what could not be reckoned with.
    """
    answer = attempt.pipe.answer if attempt is not None else None
    finish_reason = finish_reason_of(verdict, answer, plan)
    spent_nusd = sum(ended.result.cost_nusd for ended in course.ended)
    outcome = Outcome(verdict, finish_reason, NOTHING, Evidence.NONE, spent_nusd + hold.held_nusd)
    return End(plan, outcome, hold, None, None, course, NOTHING)
