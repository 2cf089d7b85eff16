"""Which models answer, and how soon: what exchanges tell of them, and routing asks. One for the process."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from ainf.inference.outcome import Ending, Verdict
from ainf.inference.request import Operation
from ainf.routing.breaker import Breakers, BreakerState
from ainf.routing.observed import Observed, PastAttempt, Signal, is_blamed, is_doubted, recall
from ainf.store.base import Settlement

if TYPE_CHECKING:
    from ainf.exchange.attempt import Attempt
    from ainf.exchange.settlement import End

_REMEMBERED: Final = 4096
"""Exchanges whose models are remembered."""


def _ignore(provider: str, model: str) -> None:
    """Tell nobody."""


class Health:
    """The breakers of all models, and what is known of their answers.

    Models are known by their provider's and their own configured name. Only routing minds what it says: a model that is
    pinned is asked whatever is known of it.

    Args:
        failures: so many, one after the other, let a model rest.
        open_s: for how long, at first.
        on_opened: told the provider and model that is to rest.
    """

    def __init__(
        self, failures: int = 5, open_s: float = 10.0, on_opened: Callable[[str, str], None] = _ignore
    ) -> None:
        self._breakers = Breakers(failures, open_s)
        self._observed: dict[tuple[str, str], Observed] = {}
        self._answered: OrderedDict[str, tuple[str, str]] = OrderedDict()
        """Who answered of late, by inference id: what is asked again says something of that model."""
        self._on_opened = on_opened

    def adopt(self, failures: int, open_s: float) -> None:
        """Go by other settings; what is known is kept."""
        self._breakers.adopt(failures, open_s)

    def rests_s(self, provider: str, model: str) -> float | None:
        """Return in how many seconds a model may be asked again; None: it may be asked."""
        return self._breakers.of(provider, model).rests_s(trio.current_time())

    def observed(self, provider: str, model: str) -> Observed:
        """Return what is known of a model's answers."""
        observed = self._observed.get((provider, model))
        if observed is None:
            observed = self._observed[provider, model] = Observed()
        return observed

    def recall(self, history: Iterable[PastAttempt]) -> None:
        """Take what earlier processes recorded, the newest first."""
        self._observed = recall(history)

    def begin(self, attempt: "Attempt") -> None:
        """Note that a model is about to be asked; whether it may be stands in the attempt's ``turn``."""
        attempt.turn = self._breakers.of(*_names(attempt)).begin(trio.current_time())

    def answered(self, attempt: "Attempt") -> None:
        """Note that a model has begun to answer."""
        names = _names(attempt)
        if attempt.plan.is_streamed:
            self.observed(*names).note_latency(_waited_ms(attempt))
        breaker = self._breakers.of(*names)
        if attempt.turn is not None and breaker.state(trio.current_time()) is not BreakerState.CLOSED:
            breaker.succeeded(attempt.turn)  # the others need not wait for the probe's end

    def outrun(self, attempt: "Attempt") -> None:
        """Note that another one was faster: where this one was late, nobody will know by how much, but that it was.

        Without it every late answer would go unseen that another one was asked beside, and fewer and fewer be in time.
        """
        p95_ms, waited_ms = self.observed(*_names(attempt)).p95_ms(), _waited_ms(attempt)
        if attempt.plan.is_streamed and p95_ms is not None and waited_ms >= p95_ms:
            self.observed(*_names(attempt)).note_latency(waited_ms)

    def failed(self, attempt: "Attempt", code: str, retry_after_s: int | None) -> None:
        """Note that a model failed, before it began to answer or after."""
        names = _names(attempt)
        if not is_blamed(code):
            self.gave_up(attempt)
        elif attempt.turn is not None:
            opened = self._breakers.of(*names).failed(attempt.turn, trio.current_time(), retry_after_s=retry_after_s)
            attempt.turn = None
            if opened:
                self._on_opened(*names)

    def gave_up(self, attempt: "Attempt") -> None:
        """Note that an attempt ended for reasons of ours; without effect where its model has answered or failed."""
        if attempt.turn is not None:
            self._breakers.of(*_names(attempt)).gave_up(attempt.turn)

    def late_after_s(self, provider: str, model: str) -> float | None:
        """Return after how long a model's first content is later than 19 in 20 were; None: too few are known."""
        p95_ms = self.observed(provider, model).p95_ms()
        return None if p95_ms is None else p95_ms / 1000

    def note(self, end: "End", settlement: Settlement | None) -> None:
        """Learn of an exchange that has ended."""
        if end.attempt is not None:
            self._judge(end.attempt, end.outcome.verdict)
        if end.plan.request.operation is Operation.GENERATE:  # who can count need not be able to answer
            self._learn(end, settlement)

    def _judge(self, attempt: "Attempt", verdict: Verdict) -> None:
        if verdict.ending is Ending.UPSTREAM_ERROR and verdict.code is not None:
            self.failed(attempt, verdict.code, verdict.retry_after_s)
        has_answered = attempt.hold.received > 0 or verdict.ending is Ending.COMPLETED
        if attempt.turn is not None and has_answered:
            self._breakers.of(*_names(attempt)).succeeded(attempt.turn)

    def _learn(self, end: "End", settlement: Settlement | None) -> None:
        for ended in end.course.ended:
            line = ended.result
            past = PastAttempt(provider=line.provider, model=line.model, ending=None, error_code=line.error_code)
            self.observed(line.provider, line.model).note_past(past)
        doubted = self._answered.get(settlement.retry_of or "") if settlement is not None else None
        if doubted is not None:
            self.observed(*doubted).note(Signal.ASKED_AGAIN)
        if end.attempt is None:
            return
        provider, model = names = _names(end.attempt)
        past = PastAttempt(
            provider=provider,
            model=model,
            ending=end.outcome.verdict.ending,
            error_code=end.outcome.verdict.code,
            finish=end.attempt.pipe.answer.finish,
            has_content=end.attempt.hold.received > 0,
            is_empty=settlement is not None and settlement.is_empty,
        )
        self.observed(*names).note_past(past)
        if is_doubted(msgspec.structs.replace(past, was_asked_again=True)):
            self._remember(end.plan.inference_id, names)

    def _remember(self, inference_id: str, names: tuple[str, str]) -> None:
        self._answered[inference_id] = names
        if len(self._answered) > _REMEMBERED:
            self._answered.popitem(last=False)


def _waited_ms(attempt: "Attempt") -> int:
    return round((trio.current_time() - attempt.started_at_s) * 1000)


def _names(attempt: "Attempt") -> tuple[str, str]:
    terms = attempt.plan.admission.terms
    return terms.provider, terms.name
