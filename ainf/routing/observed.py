"""What earlier answers say of a model: how good it has proved to be, and how soon it begins. Pure.

Nothing here decides: a decision looks at it only where the operator has switched that on (``Rules.learning``).
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from ainf.inference.errors import CODES
from ainf.inference.events import FinishReason
from ainf.inference.outcome import Ending

KEPT_SIGNALS: Final = 512
"""What is older than so many others has faded: a model is as good as it was of late."""
KEPT_LATENCIES: Final = 128
LEAST_LATENCIES: Final = 20
"""With fewer, how soon a model usually begins is not known."""

_BLAMED: Final = frozenset(code for code, meaning in CODES.items() if meaning.type == "upstream_error")


class Signal(StrEnum):
    """What one answer says of the model that gave it."""

    SUCCEEDED = "succeeded"
    TRUNCATED = "truncated"
    """The answer reached its limit of tokens: a client may have set it too low, or the model have gone on too long."""
    FAILED_BEFORE = "failed_before"
    """The provider failed, and nobody has seen anything of it: another model can still answer, later than it might."""
    FAILED_AFTER = "failed_after"
    """The provider failed when the client had a part already, and no other can go on from there."""
    EMPTY = "empty"
    """It is billed, and nothing came."""
    ASKED_AGAIN = "asked_again"
    """The same was asked again within minutes: it was not what was wanted. It is told beside the answer's own signal,
    for it is known later, and so takes half of what a success gave."""


WORTHS: Final[Mapping[Signal, int]] = MappingProxyType({
    Signal.SUCCEEDED: 1000,
    Signal.TRUNCATED: 900,
    Signal.FAILED_BEFORE: 500,
    Signal.FAILED_AFTER: 0,
    Signal.EMPTY: 0,
    Signal.ASKED_AGAIN: 0,
})
"""How much of a success each is, in thousandths; none is more than one."""


class PastAttempt(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How an attempt of a routed exchange went, as far as it says something of its model."""

    provider: str
    model: str
    """The configured name."""
    ending: Ending | None
    """Why its exchange ended; None: that went on with another attempt, or another one was faster."""
    error_code: str | None
    """What it failed with; of an exchange's last attempt also what its exchange failed with."""
    finish: FinishReason | None = None
    first_content_us: int | None = None
    """From its own beginning to its first content, in a stream; None where there was none."""
    has_content: bool = False
    """Whether any came, of which the client may have seen a part."""
    is_empty: bool = False
    """It is billed, and nothing came."""
    was_asked_again: bool = False
    """The same account has asked the same again."""


def is_blamed(error_code: str) -> bool:
    """Whether an error is the provider's or the way's to it: neither the request's, nor ours."""
    return error_code in _BLAMED


def signal_of(past: PastAttempt) -> Signal | None:
    """Return what an attempt says by itself; None where it says nothing of its model.

    That is one that somebody or something else has ended (a client that left, a cap, a deadline, a shutdown, a faster
    attempt), that was refused for what was asked, or that a content filter has cut.
    """
    if past.ending is None or past.ending is Ending.UPSTREAM_ERROR:
        if past.error_code is None or not is_blamed(past.error_code):
            return None
        return Signal.FAILED_AFTER if past.has_content else Signal.FAILED_BEFORE
    if past.ending is not Ending.COMPLETED or past.finish is FinishReason.CONTENT_FILTER:
        return None
    if past.is_empty:
        return Signal.EMPTY
    return Signal.TRUNCATED if past.finish is FinishReason.LENGTH else Signal.SUCCEEDED


def is_doubted(past: PastAttempt) -> bool:
    """Whether that it was asked again says something of its own: its client had an answer, or did not wait for it.

    That what failed or was empty is asked again is no wonder, and counted as that already.
    """
    has_answer = past.ending is Ending.COMPLETED and not past.is_empty
    return past.was_asked_again and (has_answer or past.ending is Ending.CLIENT_DISCONNECTED)


class Observed:
    """What is known of one model at one provider, from its latest answers."""

    __slots__ = ("_latencies", "_signals", "_sorted_latencies", "_worth")

    def __init__(self) -> None:
        self._signals: deque[int] = deque(maxlen=KEPT_SIGNALS)
        self._worth = 0
        self._latencies: deque[int] = deque(maxlen=KEPT_LATENCIES)
        self._sorted_latencies: list[int] = []

    @property
    def observations(self) -> int:
        """How many signals are kept."""
        return len(self._signals)

    def note(self, signal: Signal) -> None:
        """Learn of an answer."""
        worth = WORTHS[signal]
        if len(self._signals) == KEPT_SIGNALS:
            self._worth -= self._signals[0]
        self._signals.append(worth)
        self._worth += worth

    def note_latency(self, latency_ms: int) -> None:
        """Learn how soon an answer began: its first content, in milliseconds from the beginning of its attempt.

        Of streams only: the first that comes of a whole answer is its end.
        """
        if len(self._latencies) == KEPT_LATENCIES:
            del self._sorted_latencies[bisect_left(self._sorted_latencies, self._latencies[0])]
        self._latencies.append(latency_ms)
        insort(self._sorted_latencies, latency_ms)

    def note_past(self, past: PastAttempt) -> None:
        """Learn all that an attempt says."""
        if (signal := signal_of(past)) is not None:
            self.note(signal)
        if is_doubted(past):
            self.note(Signal.ASKED_AGAIN)
        if past.first_content_us is not None:
            self.note_latency(past.first_content_us // 1000)

    def p50_ms(self) -> int | None:
        """Return the latency that half of the answers did not exceed; None where too few are known."""
        return self._latency_at(50)

    def p95_ms(self) -> int | None:
        """Return the same of 95 in a hundred."""
        return self._latency_at(95)

    def _latency_at(self, percent: int) -> int | None:
        count = len(self._sorted_latencies)
        if count < LEAST_LATENCIES:
            return None
        return self._sorted_latencies[-(-count * percent // 100) - 1]

    def blended(self, prior: int, weight: int) -> int:
        """Return the quality that a model is held to have in view of its answers, in thousandths, rounded down.

        That is the prior, times the mean of what its answers are worth and of ``weight`` successes that nobody has
        seen. So it is never above the prior: an answer that ends well shows that the model works, not how clever it is;
        nobody has read it. But one that does not come, or breaks off, is worth nothing however clever it would be.

        Args:
            prior: the configured quality, in thousandths.
            weight: how many observations it is worth; with 0 it is worth none as soon as there is one.
        """
        count = weight + len(self._signals)
        if not count:
            return prior
        return prior * (weight * 1000 + self._worth) // (count * 1000)


def recall(history: Iterable[PastAttempt]) -> dict[tuple[str, str], Observed]:
    """Return what a history says of each model, by provider and configured name.

    Args:
        history: newest first, as ``store.routing_history`` tells it.
    """
    known: dict[tuple[str, str], Observed] = {}
    for past in reversed(list(history)):
        known.setdefault((past.provider, past.model), Observed()).note_past(past)
    return known
