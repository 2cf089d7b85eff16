"""How an exchange ended, and the arbiter that lets exactly one ending win."""

from collections.abc import Callable
from enum import StrEnum

import attrs

from ainf.inference.usage import Usage


class Ending(StrEnum):
    """Why an exchange ended. ``rejected`` is never an exchange's: it names requests that were not admitted."""

    COMPLETED = "completed"
    SPEND_CAP_EXCEEDED = "spend_cap_exceeded"
    CLIENT_DISCONNECTED = "client_disconnected"
    UPSTREAM_ERROR = "upstream_error"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    SHUTDOWN = "shutdown"
    TERMINATED = "terminated"
    INTERNAL_ERROR = "internal_error"
    ABANDONED = "abandoned"


class Evidence(StrEnum):
    """How well a settlement is founded."""

    REPORTED = "reported"
    """The provider's own usage."""
    METERED = "metered"
    """Our count of what arrived."""
    NONE = "none"
    """Neither could be had: the whole hold was taken, with an alarm."""


@attrs.frozen
class Verdict:
    """An ending with its cause: what is offered to the arbiter."""

    ending: Ending
    code: str | None = None
    """A code of ``errors.CODES`` for endings that the client is told as an error."""
    message: str | None = None
    """What the client is told beside the code; holds nothing internal."""
    retry_after_s: int | None = None
    param: str | None = None


@attrs.frozen
class Outcome:
    """Everything that the encoder, the ledger and the audit trail need to know about an end."""

    verdict: Verdict
    finish_reason: str | None
    """What the client is told: the provider's reason, or the ending's own."""
    usage: Usage
    """Of the attempt that answered; what others used before it is no matter of the client's, only what all cost."""
    evidence: Evidence
    billed_nusd: int
    """What the client is charged: settled plus overrun."""

    @property
    def ending(self) -> Ending:
        """The ending that won."""
        return self.verdict.ending


class OutcomeArbiter:
    """The one place where an ending is decided: the first offer wins, every later one is told no.

    ``on_first`` runs synchronously inside the winning offer, before it returns, so that the provider's socket is closed
    and the pump cancelled before anything is awaited (L7). It must not raise.
    """

    __slots__ = ("_on_first", "verdict")

    def __init__(self, on_first: Callable[[Verdict], None]) -> None:
        self._on_first = on_first
        self.verdict: Verdict | None = None

    def offer(self, verdict: Verdict) -> bool:
        """Offer an ending; return whether it is the one."""
        if self.verdict is not None:
            return False
        self.verdict = verdict
        # Let go of it first: what it belongs to holds this arbiter, and a cycle would wait for the garbage collector.
        on_first, self._on_first = self._on_first, _never_again
        on_first(verdict)
        return True


def _never_again(verdict: Verdict) -> None:
    raise AssertionError(f"a second ending won: {verdict}")
