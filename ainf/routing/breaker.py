"""Which models are let rest because they failed: a circuit breaker for each. Pure: time comes in, in seconds.

A breaker is *closed* while its model may be asked. Failures one after the other open it, and so does one that says when
to come again; while it is *open* its model rests. Then it is *half-open*: one request, the *probe*, is let through, and
how that ends closes it or opens it anew.

Strategy: a breaker counts its *turns*: it opened, it closed, a probe was given up. Who asks a model is told the turn,
and says it again when telling how that went. So what was begun before the breaker opened, and ends much later, neither
closes it, nor passes for the probe, nor opens again what has recovered since.
"""

from enum import StrEnum
from typing import Final

MOST_TIMES: Final = 8
"""Each probe that fails doubles the rest that follows, up to so many times the first."""
LEAST_RETRY_S: Final = 1
MOST_RETRY_S: Final = 300
"""A provider that names a longer wait is asked again after this."""


class BreakerState(StrEnum):
    """What a breaker lets through."""

    CLOSED = "closed"
    """All."""
    OPEN = "open"
    """None."""
    HALF_OPEN = "half_open"
    """One at a time: the probe."""


class Breaker:
    """The breaker of one model at one provider."""

    __slots__ = ("_failed", "_failures", "_is_probed", "_open_s", "_rests_until", "_times", "_turn")

    def __init__(self, failures: int, open_s: float) -> None:
        """Begin closed.

        Args:
            failures: so many, one after the other, open it; at least 1.
            open_s: how long it is open at first.
        """
        self._failures = failures
        self._open_s = open_s
        self._failed = 0
        self._rests_until: float | None = None  # None: it is closed
        self._times = 1
        self._is_probed = False
        self._turn = 1

    def adopt(self, failures: int, open_s: float) -> None:
        """Go by other settings from the next failure on; what is open stays so as long as it would have."""
        self._failures = failures
        self._open_s = open_s

    def state(self, now: float) -> BreakerState:
        """Return what it is at a moment."""
        if self._rests_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._rests_until else BreakerState.HALF_OPEN

    def may_try(self, now: float) -> bool:
        """Whether its model may be asked: ``begin`` would give leave."""
        return self._rests_until is None or (now >= self._rests_until and not self._is_probed)

    def rests_s(self, now: float) -> float | None:
        """Return in how many seconds its model may be asked again; None: it may be asked.

        While a probe is under way nobody knows: then it is as long as its first rest.
        """
        if self._rests_until is None:
            return None
        if now < self._rests_until:
            return self._rests_until - now
        return self._open_s if self._is_probed else None

    def begin(self, now: float) -> int | None:
        """Take leave to ask the model: the turn, to be said again when it is told how that went; None: it rests.

        Where this is the probe, nobody else gets leave before it has ended; so each leave must be followed by a word of
        how it ended. ``gave_up`` in a ``finally`` does no harm after another one.
        """
        if not self.may_try(now):
            return None
        self._is_probed = self._rests_until is not None
        return self._turn

    def succeeded(self, turn: int) -> None:
        """Note that the provider answered: the failures before are forgotten, and a probe closes it."""
        if turn != self._turn:
            return
        self._failed = 0
        if self._rests_until is not None:
            self._rests_until = None
            self._times = 1
            self._end_turn()

    def failed(self, turn: int, now: float, *, retry_after_s: int | None = None) -> bool:
        """Note that the provider failed; return whether it opened by this.

        Args:
            turn: as ``begin`` gave it.
            now: the moment.
            retry_after_s: how long the provider wants to be left alone: it is opened for that long (at least
                ``LEAST_RETRY_S``, at most ``MOST_RETRY_S``), however many failures there were.
        """
        rest_s = None if retry_after_s is None else float(min(max(retry_after_s, LEAST_RETRY_S), MOST_RETRY_S))
        if turn != self._turn:
            return rest_s is not None and self._asked_to_wait(now + rest_s)
        if self._rests_until is not None:
            self._times = min(self._times * 2, MOST_TIMES)
            self._open(max(now + (rest_s or self._open_s * self._times), self._rests_until))
            return True
        self._failed += 1
        if rest_s is None and self._failed < self._failures:
            return False
        self._open(now + (rest_s or self._open_s))
        return True

    def gave_up(self, turn: int) -> None:
        """Note that a request ended without a word about the provider: its client left, or another one was faster."""
        if turn == self._turn and self._is_probed:
            self._end_turn()

    def _asked_to_wait(self, until: float) -> bool:
        """Take the word of a request that was begun before the last turn; return whether it opened by this."""
        if self._rests_until is None:
            self._open(until)
            return True
        # A probe that is under way goes on: its end will be later news.
        self._rests_until = max(self._rests_until, until)
        return False

    def _open(self, until: float) -> None:
        self._rests_until = until
        self._end_turn()

    def _end_turn(self) -> None:
        self._turn += 1
        self._is_probed = False


class Breakers:
    """The breakers of all models, made when they are first asked for."""

    def __init__(self, failures: int, open_s: float) -> None:
        """Begin with none; the settings are those of ``Breaker``."""
        self._failures = failures
        self._open_s = open_s
        self._breakers: dict[tuple[str, str], Breaker] = {}

    def of(self, provider: str, model: str) -> Breaker:
        """Return the breaker of a model at a provider."""
        breaker = self._breakers.get((provider, model))
        if breaker is None:
            breaker = self._breakers[provider, model] = Breaker(self._failures, self._open_s)
        return breaker

    def adopt(self, failures: int, open_s: float) -> None:
        """Go by other settings; what was learnt of each model is kept."""
        self._failures = failures
        self._open_s = open_s
        for breaker in self._breakers.values():
            breaker.adopt(failures, open_s)
