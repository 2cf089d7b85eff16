"""Reading an answer on behind an ending of ours, where its provider goes on to the end and bills that.

Strategy: the ending has won and the pump is cancelled, but the socket stays open: a drain is the one exception to the
first ending closing it. Nothing that is read reaches the client; it is metered like the rest, until the provider's own
end and usage, or a limit. Whoever began it closes the socket behind it, as behind any other ending.
"""

from typing import Any

import attrs
import trio

from ainf.exchange.attempt import Attempt
from ainf.inference.errors import UpstreamError


@attrs.frozen
class DrainLimits:
    """How far an answer is read on."""

    read_s: float
    nusd: int
    """What it may cost by our count beyond what is held when it begins, in nano-dollars."""
    size: int
    """The most bytes that are kept of what the client is not given."""
    tail_s: float
    """The longest wait for usage and end of body behind the provider's evidence of an end."""


class Drain:
    """One answer that is read on. ``run`` is called once.

    Attributes:
        unsaid: what the pipe made of it for the client, who is given none of it.
        cut_by: what ended it before the provider did: "time", "money", "size", "stop" (also where it never ran); None
            where nothing did.
    """

    def __init__(self, attempt: Attempt, limits: DrainLimits) -> None:
        self._attempt = attempt
        self._hold = hold = attempt.hold
        self._limits = limits
        self._scope = trio.CancelScope()
        self._began = trio.current_time()
        self._ended = self._began
        self._received_before = hold.received
        self._most_nusd = hold.held_nusd + limits.nusd
        self._tail_began = False
        self._unsaid: list[bytes] = []
        self._unsaid_bytes = 0
        self.cut_by: str | None = "stop"

    @property
    def unsaid(self) -> bytes:
        """What the client is not given."""
        return b"".join(self._unsaid)

    def stop(self) -> None:
        """End it now, also before it runs: the process is to end."""
        self._scope.cancel()

    async def run(self) -> None:
        """Read on until the provider's end or a limit. Cancelled, it stops there and has lost nothing that came."""
        self._scope.deadline = self._began + self._limits.read_s
        try:
            with self._scope:
                self.cut_by = await self._read()
        except UpstreamError as error:
            self.cut_by = None  # it broke off by itself: what came is metered
            self._attempt.error_code = error.code
        finally:
            self._ended = trio.current_time()
        if self._scope.cancelled_caught and self._ended >= self._scope.deadline:
            self.cut_by = None if self._tail_began else "time"

    async def _read(self) -> str | None:
        attempt = self._attempt
        await attempt.await_head()
        while True:
            data = (await attempt.read()).data
            self._unsaid.append(data)
            self._unsaid_bytes += len(data)
            if attempt.body_ended or attempt.pipe.answer.error is not None:
                return None
            if attempt.pipe.answer.raw_finish_reason is not None:
                self._begin_tail()
            elif limit := self._limit_reached():
                return limit

    def _begin_tail(self) -> None:
        if not self._tail_began:
            self._tail_began = True
            self._scope.deadline = min(self._scope.deadline, trio.current_time() + self._limits.tail_s)

    def _limit_reached(self) -> str | None:
        if self._unsaid_bytes > self._limits.size:
            return "size"
        return "money" if self._hold.metered_cost(self._hold.received) > self._most_nusd else None

    def notes(self) -> dict[str, Any]:
        """Return what an auditor should know of it: visible output bytes, milliseconds, and what cut it."""
        notes: dict[str, Any] = {
            "drained_bytes": self._hold.received - self._received_before,
            "drained_ms": round((self._ended - self._began) * 1000),
        }
        if self.cut_by is not None:
            notes["drain_cut_by"] = self.cut_by
        return notes
