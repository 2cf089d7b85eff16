"""An exchange with an idempotency key: it belongs to no request, but to all that bear the key.

It speaks to a transcript, runs in a task of the gateway's own, and ends because its clients have gone only when nobody
has read the transcript for a while.
"""

import trio

from ainf.exchange.plan import Plan, Services
from ainf.exchange.run import Exchange
from ainf.exchange.transcript import Transcript
from ainf.inference.errors import AinfError, GatewayError
from ainf.inference.outcome import Ending


class SharedExchange:
    """An exchange and what it says, for any number of readers.

    Args:
        plan: of the request that made it.
        services: the process's.
        limit: the most bytes of the answer that are kept.
        linger_s: how long it goes on while nobody reads.
    """

    def __init__(self, plan: Plan, services: Services, *, limit: int, linger_s: float) -> None:
        self.transcript = Transcript(limit)
        self.exchange = Exchange(plan, services, self.transcript)
        self.refusal: AinfError | None = None
        """Why the opening was refused."""
        self.gone = trio.Event()
        """Nobody finds it any more."""
        self._services = services
        self._linger_s = linger_s

    @property
    def is_left(self) -> bool:
        """Whether it ends without an answer: because nobody was there, or nothing could be said."""
        verdict = self.exchange.arbiter.verdict
        return self.transcript.aborted or (verdict is not None and verdict.ending is Ending.CLIENT_DISCONNECTED)

    async def run(self) -> None:
        """Run the exchange to its end. Nothing but cancellation leaves; then it ends as ``shutdown``, settled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._leave_when_unread)
                await self._run()
                nursery.cancel_scope.cancel()
        finally:
            self.transcript.abort()  # changes nothing where it has ended

    async def _run(self) -> None:
        try:
            await self.exchange.run()
        except AinfError as error:
            self.refusal = error.with_traceback(None)  # which holds everything that it passed
        except Exception as defect:  # noqa: BLE001 - a bug in one exchange must not end the others
            self._services.telemetry.defect("shared", defect, inference_id=self.exchange.plan.inference_id)
            self.refusal = GatewayError("internal_error", "The gateway failed.")

    async def _leave_when_unread(self) -> None:
        while True:
            await self.transcript.wait_unread()
            with trio.move_on_after(self._linger_s):
                await self.transcript.wait_read()
            if not self.transcript.reader_count:
                self.exchange.client_gone()
                return
