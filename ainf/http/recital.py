"""One client that is told the answer of an exchange with an idempotency key: what its transcript holds, in its mode.

A recital begins at the beginning, goes on at its client's pace, and ends alone: that its client has gone, or takes
nothing, ends neither the exchange nor another recital.
"""

import math
from copy import copy

import trio

from ainf.exchange.plan import Headers, Plan, Services
from ainf.exchange.retelling import Retelling
from ainf.exchange.shared import SharedExchange
from ainf.http.seam import Seam
from ainf.inference.errors import DownstreamError, GatewayError
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage
from ainf.sse import HEARTBEAT

_TOO_LATE = "The request's deadline passed before the answer was there; it goes on, ask again for it."
_OVERDUE = Outcome(
    Verdict(Ending.DEADLINE_EXCEEDED, "deadline_exceeded", _TOO_LATE), "error", Usage(), Evidence.NONE, billed_nusd=0
)
"""How a recital ends whose client wants to wait no longer. It is billed nothing: the exchange goes on, for others."""


class _OverdueError(Exception):
    """The client's own deadline has passed."""


class Recital:
    """Tells one client.

    Heartbeats and the early head are a recital's own: a client that waits for a stream is kept waiting by them also
    where the exchange is told whole. None is given before the opening is committed, for until then the answer may be a
    refusal.

    The deadline of the request that made the exchange is the exchange's. Another one's is its recital's alone: where it
    has to wait beyond it, it is told so, unless the exchange is ending then.

    Args:
        seam: the way to the client; attached, so that its leaving cancels ``tell``.
        plan: of the client's own request.
        shared: whose answer it is.
        services: the process's.
    """

    def __init__(self, seam: Seam, plan: Plan, shared: SharedExchange, services: Services) -> None:
        self._seam = seam
        self._plan = plan
        self._shared = shared
        self._exchange = shared.exchange
        self._transcript = shared.transcript
        self._reader = shared.transcript.attach()
        self._services = services
        self._spoken = False
        self._relays = False
        self._last_said = trio.current_time()

    def close(self) -> None:
        """Leave the transcript; idempotent."""
        self._reader.close()

    async def tell(self) -> None:
        """Tell all of the answer; where no end of it is said, the connection is closed without one.

        Raises:
            AinfError: the opening was refused; or ``idempotency_completed``: it cannot be told in the client's mode;
                or ``deadline_exceeded``. Nothing was said.
        """
        try:
            await self._tell()
        except _OverdueError:
            await self._break_off()

    async def _tell(self) -> None:
        data = await self._next()
        refusal, head = self._shared.refusal, self._transcript.head
        if refusal is not None and not self._spoken:
            raise copy(refusal)  # one for each who waits: what is raised holds everything that it passes
        if self._transcript.aborted or head is None:
            self._seam.abort()
            return
        self._plan.forget()
        status, headers = head
        if self._is_as_asked(status):
            await self._relay(status, headers, data)
        else:
            await self._retell(status, headers, data)

    def _is_as_asked(self, status: int) -> bool:
        """Whether what is told can go on as it is."""
        if status != 200:
            return not self._spoken  # behind an early head a failure is told in the stream
        return self._exchange.plan.request.stream == self._plan.request.stream

    async def _relay(self, status: int, headers: Headers, data: bytes) -> None:
        await self._start(status, headers)
        self._relays = True
        while not self._reader.is_over:
            await self._seam.write(data)
            self._last_said = trio.current_time()
            data = await self._next()
            if self._transcript.aborted:
                self._seam.abort()
                return
        await self._seam.finish(data)

    async def _retell(self, status: int, headers: Headers, data: bytes) -> None:
        retelling = Retelling(self._plan, self._services, self._exchange.plan.inference_id, headers)
        while status == 200 and not self._transcript.aborted:
            retelling.receive(data)
            if self._reader.is_over:
                break
            data = await self._next()
        if self._transcript.aborted:
            self._seam.abort()
            return
        outcome = self._exchange.outcome
        assert outcome is not None, "it is settled before it is told of its end"
        try:
            reply = retelling.reply(outcome)
        except DownstreamError:
            if not self._spoken:
                raise
            self._seam.abort()
            return
        await self._start(reply.status, reply.headers)
        await self._seam.finish(reply.body)

    async def _break_off(self) -> None:
        """End a recital whose client waits no longer: as the failure that it is, behind all that was told."""
        if not self._spoken:
            raise GatewayError("deadline_exceeded", _TOO_LATE)
        told = self._transcript.said_before(self._reader.number) if self._relays else b""
        if told is None:
            self._seam.abort()  # how it goes on from what was told cannot be known any more
            return
        failure = Retelling(self._plan, self._services, self._exchange.plan.inference_id, ())
        failure.receive(told)
        await self._seam.finish(failure.end(_OVERDUE))

    async def _start(self, status: int, headers: Headers) -> None:
        if not self._spoken:
            self._spoken = True
            await self._seam.start(status, headers)

    async def _next(self) -> bytes:
        """Return what comes next, and keep a client that waits for a stream waiting."""
        while True:
            with trio.CancelScope(deadline=min(self._beat_due(), self._due())):
                return await self._reader.receive()
            if trio.current_time() >= self._due():
                raise _OverdueError
            if trio.current_time() >= self._beat_due():
                await self._beat()

    def _due(self) -> float:
        """Return when the client wants to wait no longer."""
        is_own = self._plan.inference_id == self._exchange.plan.inference_id
        return math.inf if is_own or self._exchange.arbiter.verdict is not None else self._plan.deadline_at

    def _beat_due(self) -> float:
        if not self._plan.request.stream:
            return math.inf
        clocks = self._services.clocks
        return self._last_said + (clocks.heartbeat_s if self._spoken else clocks.early_head_s)

    async def _beat(self) -> None:
        self._last_said = trio.current_time()
        early_head = self._exchange.early_head
        if not early_head:
            return  # not opened yet
        status, headers = self._transcript.head or (200, ())
        if status != 200:
            return  # what comes is a failure, and comes at once
        if not self._spoken:
            is_known = bool(headers) and self._is_as_asked(status)
            await self._start(200, headers if is_known else early_head)
        await self._seam.beat(HEARTBEAT)
        self._last_said = trio.current_time()
