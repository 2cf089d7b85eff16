"""The way to the commit point: one candidate after the other, until one brings content or its provider's own end.

Until then the client has been given nothing but, perhaps, a head and heartbeats, so another may still answer. Each
attempt after the first is opened in the ledger before its dial: what was held for those that ended shrinks to what they
cost, and what the next one needs is set aside. Where hedging is on, a second attempt may run beside a first one that is
late; the first to pass the commit point leads, and the other is closed before anything else happens.
"""

from typing import TYPE_CHECKING, Final

import attrs
import trio

from ainf.exchange.attempt import Attempt
from ainf.exchange.hold import KeyRevokedError, RunningHold
from ainf.exchange.plan import Plan, Services
from ainf.exchange.settlement import EndedAttempt, reckon
from ainf.formats.base import Reading
from ainf.inference.errors import AinfError, GatewayError, RoutingError, UpstreamError
from ainf.inference.outcome import Ending, Verdict
from ainf.store import base

if TYPE_CHECKING:
    from ainf.exchange.run import Exchange

FALLS_BACK: Final = frozenset({
    "upstream_unreachable", "upstream_error", "upstream_overloaded", "upstream_auth", "upstream_protocol",
    "upstream_truncated", "upstream_timeout", "context_length_exceeded",
})  # fmt: skip
"""Failures that another model need not share. A request that a provider calls invalid or filters is not tried again."""

REVOKED: Final = Verdict(Ending.TERMINATED, "key_revoked", "The key was revoked.")
LOST: Final = Verdict(Ending.UPSTREAM_ERROR, None, "Another model was faster.")


async def reach_content(exchange: "Exchange") -> tuple[Attempt, Reading]:
    """Return the attempt that answers, and the reading with which it passes the commit point.

    Cancelled, it leaves what was opened to the exchange's end.

    Raises:
        AinfError: nobody answers: the failure of the only one that may be asked, or ``all_candidates_failed``; or
            ``store_unavailable``.
        KeyRevokedError: another attempt was to be opened, and the key is no longer valid.
    """
    attempt = exchange.begin_attempt(exchange.plan, exchange.hold)
    while True:
        try:
            delay_s = _hedge_after_s(exchange, attempt)
            if delay_s is not None:
                return await _race(exchange, attempt, delay_s)
            return attempt, await lead(exchange, attempt)
        except UpstreamError as error:
            failure = error if exchange.attempt is None else exchange.note_failure(exchange.attempt, error)
        failure.with_traceback(None)  # which holds everything that it passed, and that holds it
        attempt = await _fall_back(exchange, failure)


async def lead(exchange: "Exchange", attempt: Attempt) -> Reading:
    """Bring an attempt to the commit point; what its provider says before is kept with it.

    Raises:
        UpstreamError: it failed before, or another one was faster.
    """
    if attempt.turn is None and attempt.plan.route is not None:
        raise UpstreamError("upstream_overloaded", "The model has just been let rest.")
    await trio.lowlevel.checkpoint_if_cancelled()  # an ending that came first dials nothing
    await attempt.dial()
    answer, kept = attempt.pipe.answer, 0
    while True:
        reading = await attempt.read()
        if reading.is_meaningful:
            exchange.watcher.touch(attempt)
        if reading.is_content or answer.raw_finish_reason is not None:
            exchange.take_lead(attempt, reading)
            return reading
        if reading.data:
            kept += len(reading.data)
            attempt.prelude.append(reading.data)
        if answer.error is not None:
            raise _as_failure(answer.error)
        assert not attempt.body_ended, "an answer ends with evidence or an error"
        if kept > exchange.services.clocks.prelude_bytes:
            raise UpstreamError("upstream_protocol", "The provider sent too much before any content.")


def _as_failure(error: AinfError) -> UpstreamError:
    """Return what a provider says in its answer, as what it is before there is any."""
    return UpstreamError(error.code, error.message, param=error.param, retry_after_s=error.retry_after_s)


async def _fall_back(exchange: "Exchange", failure: UpstreamError) -> Attempt:
    """Return the next attempt, opened; the one that failed is over.

    Raises:
        AinfError: there is none, or none that there is money for.
        KeyRevokedError: it may not be opened.
    """
    route, model = exchange.plan.route, exchange.plan.admission.terms.name
    if route is None or failure.code not in FALLS_BACK or exchange.arbiter.verdict is not None:
        raise failure
    if exchange.attempt is not None:
        await retire(exchange, exchange.attempt, Verdict(Ending.UPSTREAM_ERROR, failure.code))
    plan = route.next(exchange.spent_nusd)
    hold = None if plan is None else await _open(exchange, plan)
    if plan is None or hold is None:
        raise _all_failed(exchange, failure)
    exchange.services.telemetry.fell_back(model, failure.code)
    return exchange.begin_attempt(plan, hold)


def _all_failed(exchange: "Exchange", last: UpstreamError) -> AinfError:
    """Return the error of a request whose candidates have all failed."""
    if {ended.result.error_code for ended in exchange.ended} == {"context_length_exceeded"}:
        return last  # the client can mend it, and nobody else
    return RoutingError(
        "all_candidates_failed",
        f"Every model that could be tried failed; the last one: {last.message}",
        retry_after_s=last.retry_after_s,
    )


async def _open(exchange: "Exchange", plan: Plan, beside: Attempt | None = None) -> RunningHold | None:
    """Open another attempt in the ledger; return what is held for it, or None where there is no money for it.

    Beside one that runs, only where there is enough for the worst of both: neither is to be cut short by the other.

    Raises:
        GatewayError: ``store_unavailable``.
        KeyRevokedError: the key is no longer valid.
    """
    ended, ask, spare_nusd = tuple(exchange.newly_ended), plan.admission.ask, 0
    if beside is not None:
        ask = attrs.evolve(ask, min_tokens=ask.worst_tokens)
        spare_nusd = beside.hold.worst_nusd - beside.hold.held_nusd
    opening = base.AttemptOpening(
        inference_id=plan.inference_id,
        at=exchange.services.wall_clock(),
        number=exchange.opened + 1,
        attempt=plan.attempt_plan,
        ask=ask,
        input_tokens_estimate=plan.admission.input_tokens_estimate,
        ended=tuple(base.EndedAttempt(ended.number, ended.result.cost_nusd) for ended in ended),
        spare_nusd=spare_nusd,
    )
    try:
        opened = await exchange.services.store.open_attempt(opening)
    except GatewayError:
        if plan.route is not None:
            plan.route.forget()  # it may yet be committed, and own its number
        raise
    if opened.key_revoked:
        raise KeyRevokedError
    if opened.held_nusd is None:
        exchange.refused_by = opened.refused_by
        return None
    exchange.opened = opening.number
    del exchange.newly_ended[: len(ended)]  # others may have ended meanwhile
    return exchange.new_hold(plan, opened.held_nusd, opened.clamp_tokens, opened.clamped_by)


async def retire(exchange: "Exchange", attempt: Attempt, verdict: Verdict) -> None:
    """Let go of an attempt whose exchange goes on, and reckon what it costs; uninterrupted, without waiting."""
    with trio.CancelScope(shield=True):
        await let_go(exchange.services, attempt)
    note_ended(exchange, attempt, verdict)


def note_ended(exchange: "Exchange", attempt: Attempt, verdict: Verdict) -> None:
    """Reckon what an attempt costs that was let go of, and take it out of its exchange."""
    reckoning = reckon(verdict, attempt)
    at = exchange.services.wall_clock()
    line = attempt.result(at, reckoning.usage, reckoning.evidence, reckoning.cost_nusd)
    ended = EndedAttempt(attempt.number, line)
    exchange.ended.append(ended)
    exchange.newly_ended.append(ended)
    attempt.hold.close()
    exchange.services.health.gave_up(attempt)
    exchange.drop(attempt)


async def let_go(services: Services, attempt: Attempt) -> None:
    """Give the provider's connection back, or meter what its socket still held when it was closed. Never waits."""
    if attempt.body_ended:
        await attempt.call.aclose()
        return
    attempt.call.abort()
    residue = await attempt.call.residue()
    attempt.notice_late_head()
    if attempt.has_head and attempt.pipe.answer.raw_finish_reason is None:
        try:
            if residue:
                attempt.take_residue(attempt.pipe.receive(residue))
            if attempt.call.is_complete and attempt.error_code is None:
                attempt.take_residue(attempt.pipe.receive_eof())
        except UpstreamError:
            return  # it is closed already, and counted as far as it could be read
        except Exception as defect:  # noqa: BLE001 - whatever it is, the exchange must be settled
            services.telemetry.defect("residue", defect, inference_id=attempt.plan.inference_id)


def _hedge_after_s(exchange: "Exchange", attempt: Attempt) -> float | None:
    """Return after how long a second attempt is to run beside this one; None where none is to.

    Not where the provider bills an answer that is broken off to its end: whoever loses would be paid in full. Nor where
    the client says what the answer may cost: the loser's part is not known before. Nor for a whole answer: the first
    that comes of it is its end, and how soon that usually is depends on its length.
    """
    plan = attempt.plan
    if plan.route is None or not plan.route.hedges or plan.route.is_exhausted or not plan.is_streamed:
        return None
    if plan.admission.terms.aborted_billing != "delivered" or plan.route.decision.hint.max_cost_nusd is not None:
        return None
    return exchange.services.health.late_after_s(plan.admission.terms.provider, plan.admission.terms.name)


class _Race:
    """Two attempts on their way to the commit point, of which one leads in the end, or both fail.

    Each runs in a task of the exchange's: one that has lost is closed, which ends its task by itself; and what the
    ledger is asked meanwhile keeps nobody waiting.
    """

    def __init__(self, exchange: "Exchange", first: Attempt) -> None:
        self._exchange = exchange
        self._first = first
        self._runners = 1
        self._over = trio.Event()
        self.rival: Attempt | None = None
        """The second one, once it has begun."""
        self.winner: tuple[Attempt, Reading] | None = None
        self.failure: UpstreamError | None = None
        """Why the last of them failed."""

    async def reach_content(self, delay_s: float) -> tuple[Attempt, Reading]:
        """Bring the first to the commit point, or the second, which begins after ``delay_s``.

        Raises:
            UpstreamError: whichever ran failed.
        """
        tasks = self._exchange.nursery
        tasks.start_soon(self._run, self._first)
        with trio.move_on_after(delay_s):
            await self._over.wait()
        if not self._over.is_set():
            self._runners += 1  # while it is not there yet, the failure of the first ends nothing
            tasks.start_soon(self._run_beside)
            await self._over.wait()
        if self.winner is None:
            assert self.failure is not None
            raise self.failure
        return self.winner

    async def _run(self, attempt: Attempt) -> None:
        try:
            self.winner = attempt, await lead(self._exchange, attempt)
        except UpstreamError as error:
            if self.winner is not None:
                return  # it has lost, and was closed
            self.failure = self._exchange.note_failure(attempt, error).with_traceback(None)
            if self._runners > 1 and self._exchange.arbiter.verdict is None:
                await retire(self._exchange, attempt, Verdict(Ending.UPSTREAM_ERROR, self.failure.code))
            self._withdraw()
        else:
            self._over.set()

    async def _run_beside(self) -> None:
        try:
            self.rival = await _begin_beside(self._exchange, self._first)
        except KeyRevokedError:
            self._exchange.offer(REVOKED)
        if self.rival is None:
            self._withdraw()
        else:
            await self._run(self.rival)

    def _withdraw(self) -> None:
        self._runners -= 1
        if not self._runners:
            self._over.set()


async def _race(exchange: "Exchange", first: Attempt, delay_s: float) -> tuple[Attempt, Reading]:
    """Bring an attempt to the commit point, or a second one that begins when the first is late.

    Raises:
        UpstreamError: whichever ran failed.
    """
    race = _Race(exchange, first)
    try:
        winner = await race.reach_content(delay_s)
    finally:
        if race.rival is not None:
            has_won = race.winner is not None and race.winner[0] is race.rival
            exchange.services.telemetry.hedged("won" if has_won else "lost")
    if exchange.rival is not None:
        await retire(exchange, exchange.rival, LOST)
    return winner


async def _begin_beside(exchange: "Exchange", first: Attempt) -> Attempt | None:
    """Begin an attempt beside the one that is late; None where there is no other candidate, or no room for it.

    Raises:
        KeyRevokedError: the key is no longer valid.
    """
    route = exchange.plan.route
    assert route is not None
    plan = route.next(exchange.spent_nusd, beside=True)
    if plan is None:
        return None
    try:
        hold = await _open(exchange, plan, beside=first)
    except GatewayError:
        return None  # the store is away; the first one still holds what it needs
    if hold is None:
        route.put_back(plan)
        exchange.services.telemetry.hedged("no_room")
        return None
    if exchange.has_leader or exchange.arbiter.verdict is not None:
        return None  # while it was opened, the first one came, or an end: it is never asked, and costs nothing
    return exchange.begin_attempt(plan, hold)
