"""One exchange, the whole story on one screen: open, pump, settle, speak.

The pump reads, meters and writes; beside it run only watchers, which can only offer an ending. The first offer wins: it
closes the provider's socket (but where its answer is to be read on) and cancels the pump before anything is awaited.
What follows has one call site: settle, then speak. Nothing here is a generator, and nothing that must happen lives
anywhere but in ``run``'s ``finally``.
"""

from functools import partial

import trio

from ainf.exchange import rule
from ainf.exchange.answers import exchange_headers, own_headers, request_ids, stream_head
from ainf.exchange.attempt import Attempt
from ainf.exchange.dispatch import REVOKED, reach_content
from ainf.exchange.drain import Drain, DrainLimits
from ainf.exchange.ending import conclude
from ainf.exchange.hold import KeyRevokedError, OutOfBoundsError, RunningHold
from ainf.exchange.plan import Downstream, Headers, Plan, Services
from ainf.exchange.relay import out_of_money, relay
from ainf.exchange.route import note_refused
from ainf.exchange.settlement import Course, EndedAttempt
from ainf.exchange.speech import Speech
from ainf.exchange.watch import ClockWatcher, Limits, Patience
from ainf.formats.base import EndingStyle, Pipe, Reading
from ainf.formats.cost import close
from ainf.inference.errors import AinfError, RoutingError, SpendError, UpstreamError
from ainf.inference.events import FinishReason
from ainf.inference.outcome import Ending, Outcome, OutcomeArbiter, Verdict
from ainf.inference.request import Operation
from ainf.ledger import CapState
from ainf.routing.outcome import RoutingStatus
from ainf.store.base import Extended, Extension, Opened, Opening, Progress
from ainf.store.batch import OUT_OF_TOUCH
from ainf.upstream.client import UpstreamAborted

_SHUTDOWN = Verdict(Ending.SHUTDOWN, "shutting_down", "The gateway is shutting down.")
_OUT_OF_BOUNDS = Verdict(
    Ending.UPSTREAM_ERROR, "upstream_protocol", "The provider produced far more than the request's output limit."
)
_DEFECT = Verdict(Ending.INTERNAL_ERROR, "internal_error", "The gateway failed; report the inference id.")
_DISOWNED = Verdict(Ending.TERMINATED, "store_unavailable", OUT_OF_TOUCH)
_CLIENT_GONE = Verdict(Ending.CLIENT_DISCONNECTED)


class Exchange:
    """One inference from its opening to its terminal frame.

    ``offer`` may be called by anyone, at any time, from the trio thread: the connection's watcher, an operator, the
    drain. ``run`` is called once.
    """

    hold: RunningHold
    """Of the attempt, or of the one before it."""
    epoch: int = 0
    """The life of this process in which it was opened; 0 until then."""
    opened_at: int = 0
    """When it was opened, in microseconds since 1970 UTC; 0 until then."""
    watcher: ClockWatcher
    nursery: trio.Nursery
    """Its tasks while it runs; they end before it does."""
    outcome: Outcome | None = None
    """How it ended, as it was settled; None until then."""

    def __init__(self, plan: Plan, services: Services, downstream: Downstream) -> None:
        self.plan = plan
        self.planned_first = plan.request
        """Whoever made the exchange has it as long as that runs."""
        self.services = services
        self.arbiter = OutcomeArbiter(self._on_first_offer)
        self.speech = Speech(downstream)
        self.attempt: Attempt | None = None
        """The one that answers, or may; None between two, and before the first."""
        self.rival: Attempt | None = None
        """One that runs beside it: until one leads, or as the one that lost."""
        self.ended: list[EndedAttempt] = []
        """Those that are over, each with its own cost."""
        self.newly_ended: list[EndedAttempt] = []
        """Those of them that the ledger does not know of yet."""
        self.opened = 1
        """How many were opened in all."""
        self.drain: Drain | None = None
        """How it is read on behind its ending, where its provider bills what it broke off to the end."""
        self.has_leader = False
        """Whether the commit point is passed."""
        self.refused_by: CapState | None = None
        """The cap or balance that left nothing for another attempt."""
        self.hold = RunningHold.nothing(plan.admission)  # so that there is one whatever goes wrong
        self.counted_tokens = 0 if plan.request.operation is Operation.COUNT else plan.admission.input_tokens_estimate
        """What it takes of its key's tokens when it begins."""
        self.used_tokens = 0
        """Tokens of input and output, of all attempts, as they were settled; 0 until then."""
        self.opened_at_s = trio.current_time()
        self.first_byte_s: float | None = None
        self.own_headers: list[tuple[bytes, bytes]] = []
        self.close_s, self.spool_s = services.clocks.close_s, services.clocks.spool_s
        self.closing: trio.CancelScope | None = None
        """The scope in which it is being settled."""
        self._scope = trio.CancelScope()
        self.provider_ended = False
        """Whether it has, by its own word: then nothing of it is cut off any more."""
        self.in_hand: Reading | None = None
        """What is being handed over."""
        self._durable: Progress | None = None

    def offer(self, verdict: Verdict) -> bool:
        """Offer an ending; return whether it won."""
        return self.arbiter.offer(verdict)

    def hurry(self, close_s: float) -> None:
        """Settle within ``close_s``, or spool within half of that, or leave it to recovery: the process is to end."""
        self.close_s = min(self.close_s, close_s)
        self.spool_s = min(self.spool_s, close_s / 2)
        if self.drain is not None:
            self.drain.stop()
        if self.closing is not None:
            self.closing.deadline = min(self.closing.deadline, trio.current_time() + close_s)

    def disown(self, epoch: int) -> bool:
        """Offer the end to what was opened before an epoch, because others close it; return whether it took it."""
        return 0 < self.epoch < epoch and self.arbiter.offer(_DISOWNED)

    def client_gone(self) -> None:
        """Offer the client's leaving; the connection's watcher calls this."""
        self.arbiter.offer(_CLIENT_GONE)

    def _on_first_offer(self, verdict: Verdict) -> None:
        if self.provider_ended:
            return  # by its own word: what came with it is still handed over, and the rest of the body read
        try:
            if self.rival is not None:
                self._lose(self.rival)
            if self.attempt is not None:
                self._break_off(self.attempt, verdict)
        except Exception as defect:  # noqa: BLE001 - who offers an end to many must reach them all
            self.services.telemetry.defect("breaking_off", defect, inference_id=self.plan.inference_id)
        self._scope.cancel()

    def _break_off(self, attempt: Attempt, verdict: Verdict) -> None:
        """Close the provider's socket, unless it is to be read on; and note how this is reckoned."""
        policy = self.plan.admission.terms.aborted_billing
        if verdict.ending in rule.OURS:
            attempt.aborted_billing = policy
        is_answering = attempt.has_head or attempt.may_answer
        if policy == "drain" and is_answering and rule.reads_on(verdict.ending, verdict.code):
            self.drain = Drain(attempt, self._drain_limits())
            return
        if attempt.aborted_billing == "drain":
            attempt.aborted_billing = "delivered"
        attempt.call.abort()

    def _drain_limits(self) -> DrainLimits:
        terms, services = self.plan.admission.terms, self.services
        return DrainLimits(
            terms.abort_read_s, terms.abort_read_nusd, services.pipe_limits.answer, services.clocks.tail_s
        )

    async def run(self) -> None:
        """Run the exchange to its end.

        Cancelled from outside, it ends as ``shutdown``, settled like any other.

        Raises:
            AinfError: the opening was refused: nothing is open, nothing was dialled, nothing was said.
        """
        opened = await self._open()
        # No await from here to the try: what is open must reach the finally that closes it.
        try:
            self._begin(opened)
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self.nursery = nursery
                    nursery.start_soon(self.watcher.run, nursery)
                    try:
                        await self._pump()
                    except trio.Cancelled:  # said now: a store that is slow may keep other tasks for a while
                        self.arbiter.offer(_SHUTDOWN)
                        raise
                    nursery.cancel_scope.cancel()
            await self._read_on()
        except* Exception as defects:  # noqa: BLE001 - expected failures are offers; what comes here is a bug
            self.services.telemetry.defect("exchange", defects, inference_id=self.plan.inference_id)
            self.arbiter.offer(_DEFECT)
        finally:
            self.arbiter.offer(_SHUTDOWN)  # told no, unless the whole task was cancelled from outside
            await conclude(self)  # noqa: ASYNC102 - it shields itself, each part with a limit of its own
            self.hold.close()

    async def _open(self) -> Opened:
        """Open the exchange in the ledger.

        Raises:
            AinfError: it is refused. That it was routed is on record all the same, where it is a matter of money.
        """
        plan, opening = self.plan, self._opening()
        self.opened_at = opening.at
        try:
            return await self.services.store.open_inference(opening)
        except SpendError as error:
            if plan.route is None:
                raise
            refusal = error.with_traceback(None)  # which holds everything that it passed
        status = RoutingStatus.REJECTED_MONEY
        await note_refused(self.services, plan.key, plan.request, plan.route, status, refusal)
        raise refusal

    def _opening(self) -> Opening:
        plan = self.plan
        return Opening(
            inference_id=plan.inference_id,
            at=self.services.wall_clock(),
            key_id=plan.key.key_id,
            protocol=plan.protocol.name,
            path=plan.request.path,
            stream=plan.request.stream,
            requested_model=plan.request.model,
            attempt=plan.attempt_plan,
            ask=plan.admission.ask,
            input_bytes=plan.request.input_bytes,
            input_tokens_estimate=plan.admission.input_tokens_estimate,
            fingerprint=plan.fingerprint,
            claim=plan.claim,
            sdk_retry_count=plan.sdk_retry_count,
            labels=plan.labels,
            routing=None if plan.route is None else plan.route.record(),
        )

    def _begin(self, opened: Opened) -> None:
        """Take what the opening granted."""
        services, plan = self.services, self.plan
        services.telemetry.exchange_started()
        self.epoch = opened.epoch
        if plan.route is not None and not opened.is_captured:
            services.telemetry.dispatched_without_capture()
        self.hold = self.new_hold(plan, opened.held_nusd, opened.clamp_tokens, opened.clamped_by)
        self.disown(services.store.epoch)
        self._name_model()
        limits = Limits(exchange_s=plan.deadline_at - trio.current_time(), is_stream=plan.request.stream)
        self.watcher = ClockWatcher(self.arbiter, self.speech, limits, services.clocks, self.early_head)

    def new_hold(
        self, plan: Plan, held_nusd: int, clamp_tokens: int | None, clamped_by: CapState | None
    ) -> RunningHold:
        """Return the hold of the attempt that was opened last, which grows by extensions of its own."""
        return RunningHold(plan.admission, held_nusd, clamp_tokens, partial(self._extend, self.opened), clamped_by)

    def _name_model(self) -> None:
        """Say in the answer's headers who answers it, as far as is known."""
        self.own_headers = own_headers(self.plan, self.services.public_url, self.hold.clamp_tokens)

    def begin_attempt(self, plan: Plan, hold: RunningHold) -> Attempt:
        """Make the attempt opened last the exchange's, or its second beside one that runs; nothing is dialled."""
        pipe = plan.open_pipe(self.services.pipe_limits)
        attempt = Attempt(plan, pipe, hold, started_at=self.services.wall_clock(), number=self.opened)
        if self.attempt is None:
            self._adopt(attempt)
        else:
            self.rival = attempt
        terms = plan.admission.terms
        patience = Patience(terms.first_byte_s, terms.silence_s, is_streamed=plan.is_streamed)
        self.watcher.begin(attempt, patience, may_fall_back=plan.route is not None)
        self.services.health.begin(attempt)
        return attempt

    def _adopt(self, attempt: Attempt) -> None:
        self.attempt = attempt
        if attempt.plan is not self.plan:
            self.plan, self.hold = attempt.plan, attempt.hold
            self._name_model()

    def take_lead(self, attempt: Attempt, reading: Reading) -> None:
        """Let an attempt pass the commit point with a reading; a second one beside it is closed at once.

        Raises:
            UpstreamError: another one was first.
        """
        if self.has_leader:
            raise UpstreamAborted
        self.has_leader = True
        other = self.rival if attempt is self.attempt else self.attempt
        self._adopt(attempt)
        self.in_hand = reading
        self.rival = other
        if other is not None:
            self._lose(other)
            self.services.health.outrun(other)
        self.watcher.commit(attempt)
        self.services.health.answered(attempt)
        if self.plan.route is not None:
            self.plan.route.forget()

    def _lose(self, attempt: Attempt) -> None:
        """Close an attempt that ran beside the one that answers, or may."""
        attempt.aborted_billing = "delivered"
        attempt.call.abort()

    def drop(self, attempt: Attempt) -> None:
        """Let go of an attempt that is over; what ran beside it takes its place."""
        self.watcher.end(attempt)
        if attempt is self.rival:
            self.rival = None
        elif attempt is self.attempt:
            self.attempt = None
            if self.rival is not None:
                self._adopt(self.rival)
                self.rival = None

    def note_failure(self, attempt: Attempt, error: UpstreamError) -> UpstreamError:
        """Note why an attempt failed, unless it is our own end that did it; return that."""
        failure = attempt.failure or error
        if self.arbiter.verdict is None:
            attempt.error_code = failure.code
            self.services.health.failed(attempt, failure.code, failure.retry_after_s)
        return failure

    @property
    def head(self) -> list[tuple[bytes, bytes]]:
        """What the head of an answer says of it: its ids and ``own_headers``."""
        return [*request_ids(self.plan.inference_id), *self.own_headers]

    @property
    def early_head(self) -> Headers:
        """What the head of a stream says before the commit point: no model, where another one may still answer.

        Empty before the opening.
        """
        if not self.own_headers:
            return ()
        plan = self.plan
        known = self.own_headers if plan.route is None else exchange_headers(plan, self.services.public_url)
        return stream_head([*request_ids(plan.inference_id), *known], is_wrapped=None)

    @property
    def spent_nusd(self) -> int:
        """What the attempts cost that are over."""
        return sum(ended.result.cost_nusd for ended in self.ended)

    async def _pump(self) -> None:
        """Dial, read, meter and write, until the body or the exchange ends. Expected failures become offers."""
        try:
            attempt, reading = await reach_content(self)
            await relay(self, attempt, reading)
        except (UpstreamError, RoutingError) as error:
            error.with_traceback(None)  # which holds everything that it passed, and that holds it
            if self._offer_error(Ending.UPSTREAM_ERROR, error) and self.attempt is not None:
                self.attempt.error_code = error.code
        except KeyRevokedError:
            self.offer(REVOKED)
        except OutOfBoundsError:
            self.offer(_OUT_OF_BOUNDS)
        except AinfError as error:  # of the store, asked for more of the hold
            self._offer_error(Ending.TERMINATED, error)

    async def _read_on(self) -> None:
        """Read the answer on behind an ending that asks for it. Whatever ends the task ends this too, at once."""
        if self.drain is None:
            return
        try:
            await self.drain.run()
        finally:
            assert self.attempt is not None
            self.attempt.residue = self.drain.unsaid

    def course(self) -> Course:
        """Return what befell it besides its last attempt."""
        cap = self.hold.clamped_by if self.provider_ended else self.hold.refused_by
        return Course(tuple(self.ended), self.opened, self.first_byte_s, cap, self.drain, self.refused_by)

    def _offer_error(self, ending: Ending, error: AinfError) -> bool:
        return self.offer(Verdict(ending, error.code, error.message, error.retry_after_s, error.param))

    def notice(self, attempt: Attempt) -> None:
        """Act on what the last read said of the answer: an error, or the evidence of its end."""
        answer = attempt.pipe.answer
        if self.provider_ended or (answer.raw_finish_reason is None and answer.error is None):
            return
        # Either way the provider has ended by its own word: what came before it is still handed over.
        self.provider_ended = True
        if answer.raw_finish_reason is not None:
            clamp_reached = attempt.hold.clamp_tokens is not None and answer.finish is FinishReason.LENGTH
            self.offer(out_of_money(self.hold.clamped_by) if clamp_reached else Verdict(Ending.COMPLETED))
        elif answer.error is not None:
            attempt.error_code = answer.error.code
            self._offer_error(Ending.UPSTREAM_ERROR, answer.error)
            attempt.call.abort()

    def last_words(self, pipe: Pipe, outcome: Outcome, style: EndingStyle) -> bytes:
        """Return what the client is still to be given: a prelude that was kept, and the terminal group.

        What the pipe made of the residue, or of the reading that was in hand when the end came, the client never sees.
        """
        attempt, prelude = self.attempt, b""
        unsaid = b"" if self.in_hand is None else self.in_hand.data
        if attempt is not None:
            unsaid += attempt.residue
            prelude = b"".join(attempt.prelude)
            attempt.prelude.clear()
        if unsaid:
            pipe.rewind(unsaid)
        return prelude + close(pipe, outcome, style, is_stream=self.plan.request.stream)

    async def _extend(self, number: int, want: int, least: int) -> Extended:
        step = self.progress()
        extension = Extension(self.plan.inference_id, self.services.wall_clock(), want, least, step, number)
        extended = await self.services.store.extend_hold(extension)
        if extended.granted_nusd and step is not None:
            self.progress_is_durable(step)
        return extended

    async def extend_ahead(self) -> None:
        """Ask for more of the hold before it is needed."""
        try:
            await self.hold.extend_ahead()
        except KeyRevokedError:
            self.offer(REVOKED)

    def progress(self) -> Progress | None:
        """Return how far this exchange has come, if that is further than what is durable."""
        if self.attempt is None or not self.attempt.has_head:
            return None
        hold = self.attempt.hold
        step = Progress(
            self.plan.inference_id,
            hold.metered(hold.received),
            hold.metered_cost(hold.received),
            hold.delivered,
            self.attempt.number,
        )
        return None if step == self._durable else step

    def progress_is_durable(self, step: Progress) -> None:
        """Note what a crash would be settled at."""
        self._durable = step
