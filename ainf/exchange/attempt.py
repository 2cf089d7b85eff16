"""One call to one provider inside an exchange, and what the ledger is told of it."""

import trio

from ainf.exchange.hold import RunningHold
from ainf.exchange.plan import Plan
from ainf.formats.base import Pipe, Reading
from ainf.inference.errors import UpstreamError
from ainf.inference.outcome import Evidence
from ainf.inference.usage import Usage
from ainf.store.base import AttemptResult
from ainf.upstream.client import UpstreamCall
from ainf.upstream.request import UpstreamRequest
from ainf.upstream.response import UpstreamHead

_ID_BYTES = 200
_REQUEST_ID_HEADERS = (b"x-request-id", b"request-id")


class Attempt:
    """A call to a provider; owned by the exchange, which closes it at its first ending.

    Args:
        plan: whom is asked what.
        pipe: from there to the client.
        hold: what is set aside for it.
        started_at: microseconds since 1970 UTC.
        number: from 1.
    """

    def __init__(self, plan: Plan, pipe: Pipe, hold: RunningHold, *, started_at: int, number: int = 1) -> None:
        self.plan = plan
        self.pipe = pipe
        self.hold = hold
        self.number = number
        self.started_at = started_at
        self.started_at_s = trio.current_time()
        self.prelude: list[bytes] = []
        """What came before any content: it is given with that, or with the end."""
        self.residue = b""
        """What the pipe made of bytes that came behind the ending, or as the socket closed; nobody is given it."""
        self.failure: UpstreamError | None = None
        """Why the exchange gave it up to try another; None while it did not."""
        self.body_ended = False
        """Whether the body came to its clean end."""
        self.turn: int | None = None
        """The leave to ask, of the model's breaker; None where it rests, or was told how this went."""
        self.status: int | None = None
        self.error_code: str | None = None
        self.aborted_billing: str | None = None
        """How it is reckoned because we broke it off; None while it was not."""
        self._provider_request_id: str | None = None
        limit_tokens = hold.clamp_tokens or plan.admission.limit_tokens
        wire = plan.backend.provider.write_request(plan.request, plan.target, limit_tokens)
        request = UpstreamRequest(
            wire.url,
            # One object for all requests of a backend: its bytes are kept by it.
            plan.backend.headers + wire.headers if wire.headers else plan.backend.headers,
            wire.body,
            request_id=plan.inference_id,
        )
        self.call: UpstreamCall = plan.backend.client.call(request)

    @property
    def has_head(self) -> bool:
        """Whether the provider took the request on: from then on it may bill."""
        return self.status == 200

    @property
    def may_answer(self) -> bool:
        """Whether the provider has the whole request, and has neither answered nor failed so far."""
        return self.call.sent and self.status is None and self.error_code is None

    async def dial(self) -> None:
        """Send the request and read the head of the answer.

        Raises:
            UpstreamError: there was none, or it is not a 200; nothing of the provider's own words leaks.
        """
        await self._take_head(await self.call.start())

    async def await_head(self) -> None:
        """Go on waiting for the head where ``dial`` was cancelled; nothing is left to wait for where it came.

        Raises:
            UpstreamError: as ``dial``.
        """
        if self.status is None:
            await self._take_head(await self.call.receive_head())

    async def _take_head(self, head: UpstreamHead) -> None:
        self._notice_head(head)
        if head.status != 200:
            body = await self.call.read_error_body()
            raise self._refusal(head.status, dict(head.headers), body)

    def notice_late_head(self) -> None:
        """Take a head that was refused, or stood in the socket at an abort: the provider had taken the request on."""
        if self.status is None:
            if self.call.head is not None:
                self._notice_head(self.call.head)
            self.status = self.call.status

    def _notice_head(self, head: UpstreamHead) -> None:
        self.status = head.status
        for name in _REQUEST_ID_HEADERS:
            if value := head.get(name):
                self._provider_request_id = value[:_ID_BYTES].decode("ascii", "replace")
                break

    def _refusal(self, status: int, headers: dict[bytes, bytes], body: bytes) -> UpstreamError:
        if 200 <= status < 400:
            # 204, redirects and the rest are no answers to an inference; a redirect is never followed.
            return UpstreamError("upstream_protocol", f"The provider answered with status {status}.")
        if status == 404 and self.plan.route is not None and self.plan.request.previous_response_id is None:
            # Whoever named no model cannot have named a wrong one.
            return UpstreamError("upstream_error", "The provider does not know the model.")
        return self.plan.backend.provider.read_error(status, headers, body)

    async def read(self) -> Reading:
        """Return what one read of the answer brought, counted; the last one brings the clean end of the body.

        Raises:
            UpstreamError: it broke off, or is not of the provider's format.
        """
        if data := await self.call.receive():
            reading = self.pipe.receive(data)
        else:
            self.body_ended = True
            reading = self.pipe.receive_eof()
        self.hold.received += reading.output_bytes
        return reading

    def take_residue(self, reading: Reading) -> None:
        """Count what came when nobody was to be given it any more."""
        self.hold.received += reading.output_bytes
        self.residue += reading.data

    def give_up(self, error: UpstreamError) -> None:
        """End it now, for another is to be tried: whoever waits for it finds the reason in ``failure``."""
        self.failure = error
        self.call.abort()

    def result(self, ended_at: int, usage: Usage, evidence: Evidence, cost_nusd: int) -> AttemptResult:
        """Return the attempt's own line in the ledger."""
        terms, answer = self.plan.admission.terms, self.pipe.answer
        return AttemptResult(
            model=terms.name,
            upstream_model=terms.upstream_model,
            provider=terms.provider,
            price_version=terms.price.version,
            started_at=self.started_at,
            ended_at=ended_at,
            status=self.status,
            error_code=self.error_code,
            provider_request_id=self._provider_request_id,
            response_id=answer.response_id,
            raw_usage=answer.raw_usage,
            raw_finish_reason=answer.raw_finish_reason,
            usage=usage,
            evidence=evidence,
            cost_nusd=cost_nusd,
            redials=self.call.redials,
            aborted_billing=self.aborted_billing,
        )
