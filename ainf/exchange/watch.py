"""The watcher of an exchange's clocks: it may beat, start the head early, give a silent attempt up, or offer an ending.

Clocks: the whole exchange; the first meaningful event of a stream; silence between meaningful events
(comments, pings and empty deltas do not count). Silence is the provider's only while we are waiting for it: the time in
which a slow client holds us up is the write limit's business.
"""

import math
from typing import Protocol

import attrs
import trio

from ainf.exchange.plan import Clocks, Headers
from ainf.exchange.speech import Speech
from ainf.inference.errors import UpstreamError
from ainf.inference.outcome import Ending, OutcomeArbiter, Verdict

_LATE = Verdict(Ending.DEADLINE_EXCEEDED, "deadline_exceeded", "The request ran into its deadline.")
_LEAST_S = 0.01
"""Between two looks at the clocks."""


@attrs.frozen
class Limits:
    """The limits of one exchange."""

    exchange_s: float
    is_stream: bool
    """Whether the client is given a stream; in a whole answer there is nothing to beat in."""


@attrs.frozen
class Patience:
    """The limits of one attempt, in seconds."""

    first_byte_s: float
    silence_s: float
    is_streamed: bool
    """Whether the provider is asked for a stream; a whole answer of its has only the exchange clock."""


class Watched(Protocol):
    """An attempt that is watched while another may be tried in its place."""

    def give_up(self, error: UpstreamError) -> None:
        """End it, for this reason, without ending its exchange."""
        ...


@attrs.define(eq=False)
class _Wait:
    """The waiting for one attempt."""

    patience: Patience
    may_fall_back: bool
    """Whether its silence ends nothing but itself."""
    since: float
    """When it said something meaningful, or began."""
    held_up_then: float
    """For how long the client had held us up by then."""
    has_event: bool = False


class ClockWatcher:
    """Watches one exchange; the pump tells it of attempts by ``begin``, and of their meaningful events by ``touch``."""

    def __init__(self, arbiter: OutcomeArbiter, speech: Speech, limits: Limits, clocks: Clocks, head: Headers) -> None:
        self._arbiter = arbiter
        self._speech = speech
        self._limits = limits
        self._clocks = clocks
        self._head = head
        self._started = trio.current_time()
        self._waits: dict[Watched, _Wait] = {}
        self._nap = trio.CancelScope()

    def begin(self, attempt: Watched, patience: Patience, *, may_fall_back: bool) -> None:
        """Wait for an attempt too; where others may be tried for it, its silence does not end the exchange."""
        self._waits[attempt] = _Wait(patience, may_fall_back, trio.current_time(), self._speech.held_up_s)
        self._nap.cancel()  # it may be due sooner than what is waited for

    def commit(self, attempt: Watched) -> None:
        """Note that an attempt passed the commit point: it alone is waited for, and its silence ends the exchange."""
        wait = self._waits[attempt]
        wait.may_fall_back = False
        self._waits = {attempt: wait}

    def end(self, attempt: Watched) -> None:
        """Wait for an attempt no longer."""
        self._waits.pop(attempt, None)

    def touch(self, attempt: Watched) -> None:
        """Note a meaningful event of an attempt, if it is waited for."""
        wait = self._waits.get(attempt)
        if wait is None:
            return
        wait.since = trio.current_time()
        wait.held_up_then = self._speech.held_up_s
        wait.has_event = True

    async def run(self, nursery: trio.Nursery) -> None:
        """Watch until cancelled or an ending was found; beats run in ``nursery``, so that none delays an ending."""
        while self._arbiter.verdict is None:
            now = trio.current_time()
            if now >= self._exchange_due():
                self._arbiter.offer(_LATE)
                return
            if now >= self._silence_due():
                self._break_silence()
                continue
            if now >= self._beat_due():
                nursery.start_soon(self._speech.beat, self._head)
            with trio.CancelScope(deadline=max(self._next_due(), trio.current_time() + _LEAST_S)) as self._nap:
                await trio.sleep_forever()

    def _next_due(self) -> float:
        due = self._exchange_due()
        if self._limits.is_stream:
            # What happens from now on, a first event or the head, makes nothing due sooner than this.
            patience = min((wait.patience.silence_s for wait in self._waits.values()), default=math.inf)
            soonest = trio.current_time() + min(patience, self._clocks.heartbeat_s)
            due = min(due, self._silence_due(), self._beat_due(), soonest)
        return due

    def _break_silence(self) -> None:
        """Give up what is waited for in vain, or the exchange."""
        now = trio.current_time()
        for attempt, wait in [each for each in self._waits.items() if self._due(each[1]) <= now]:
            waited = "did not begin to answer" if not wait.has_event else "was silent for too long"
            message = f"The provider {waited}."
            self.end(attempt)
            if wait.may_fall_back:
                attempt.give_up(UpstreamError("upstream_timeout", message))
            else:
                self._arbiter.offer(Verdict(Ending.UPSTREAM_ERROR, "upstream_timeout", message))

    def _exchange_due(self) -> float:
        return self._started + self._limits.exchange_s

    def _silence_due(self) -> float:
        return min(map(self._due, self._waits.values()), default=math.inf)

    def _due(self, wait: _Wait) -> float:
        patience = wait.patience
        if not patience.is_streamed:
            return math.inf
        if self._speech.is_writing:
            return trio.current_time() + patience.silence_s
        held_up = self._speech.held_up_s - wait.held_up_then
        return wait.since + held_up + (patience.silence_s if wait.has_event else patience.first_byte_s)

    def _beat_due(self) -> float:
        if not self._limits.is_stream:
            return math.inf
        if self._speech.is_busy:
            return trio.current_time() + self._clocks.heartbeat_s
        if not self._speech.started:
            return self._started + self._clocks.early_head_s
        return self._speech.last_said + self._clocks.heartbeat_s
