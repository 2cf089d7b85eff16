"""An answer told in the other mode: a whole one as a stream, a stream as a whole one, a failure in place of either.

What was told is in the client's own format, so its protocol's own pipe reads it, as if a provider had said it: that
pipe looks at the first byte and makes the one of the other. How the exchange ended and what it used is taken from its
settlement, so that the usage is right also where a stream did not tell it.
"""

import attrs

from ainf.exchange.answers import Reply, audit_url, error_reply, request_ids, stream_head, whole_head
from ainf.exchange.plan import Headers, Plan, Services
from ainf.exchange.words import error_of, is_answered, shaped, stream_mode, style_of
from ainf.formats.base import PipeLimits
from ainf.formats.cost import close
from ainf.inference.errors import AinfError, DownstreamError
from ainf.inference.outcome import Outcome

_MODE = b"x-ainf-stream-mode"


class Retelling:
    """Takes an answer as it was told in one mode, and gives it in the one that a plan asks for.

    Args:
        plan: of the request that asks for the answer.
        services: the process's.
        inference_id: of the exchange whose answer it is.
        own: what its answers carry beside their ids.
    """

    def __init__(self, plan: Plan, services: Services, inference_id: str, own: Headers) -> None:
        self._plan = plan
        self._services = services
        self._inference_id = inference_id
        self._own = [(name, value) for name, value in own if name.startswith(b"x-ainf-") and name != _MODE]
        # What was told is bounded already; no part of it is larger than a whole answer.
        size = services.pipe_limits.answer
        listener = attrs.evolve(plan.listener, inference_id=inference_id)
        self._pipe = plan.protocol.open_pipe(listener, plan.protocol.format, PipeLimits(size, size, size))
        self._told: list[bytes] = []
        self._any = False
        self._is_readable = True

    def receive(self, data: bytes) -> None:
        """Take the next part of what was told."""
        self._any |= bool(data)
        if self._is_readable:
            try:
                self._told.append(self._pipe.receive(data).data)
            except AinfError:
                self._is_readable = False

    def reply(self, outcome: Outcome) -> Reply:
        """Return the answer, now that all of it was taken; what was taken of a failure is left out.

        Raises:
            DownstreamError: ``idempotency_completed``: it cannot be told in the other mode.
        """
        if is_answered(outcome) and self._any:
            body = self._answer(outcome)
        elif self._plan.request.stream:
            body = b"".join(self._told) + self.end(outcome)
        else:
            return self._failure(outcome)
        own = [*request_ids(self._inference_id), *self._own]
        is_wrapped = self._pipe.is_wrapped
        if self._plan.request.stream:
            return Reply(200, list(stream_head(own, is_wrapped=is_wrapped)), body)
        body = shaped(self._plan, body, outcome, self._services.public_url, self._inference_id)
        return Reply(200, list(whole_head([*own, stream_mode(is_wrapped=is_wrapped)], body)), body)

    def _answer(self, outcome: Outcome) -> bytes:
        if self._is_readable:
            try:
                self._told.append(self._pipe.receive_eof().data)
            except AinfError:
                self._is_readable = False
        # Beside an error (a cap that is told loudly) the end is not seen.
        if not self._is_readable or self._pipe.answer.raw_finish_reason is None:
            raise completed(self._inference_id, self._services.public_url)
        return b"".join(self._told) + self.end(outcome)

    def end(self, outcome: Outcome) -> bytes:
        """Return what ends the answer behind all that was taken; once."""
        at = self._services.wall_clock()
        style = style_of(self._plan, outcome, self._inference_id, at)
        return close(self._pipe, outcome, style, is_stream=self._plan.request.stream)

    def _failure(self, outcome: Outcome) -> Reply:
        reply = error_reply(
            self._plan.protocol,
            error_of(outcome.verdict),
            request_id=self._inference_id,
            inference_id=self._inference_id,
            billed_nusd=outcome.billed_nusd,
            money_refusal=self._plan.money_refusal,
        )
        return attrs.evolve(reply, headers=[*reply.headers, *self._own])


def completed(inference_id: str, public_url: str) -> DownstreamError:
    """Return the refusal of a request whose answer was given and billed, and cannot be told again."""
    url = audit_url(public_url, inference_id)
    return DownstreamError(
        "idempotency_completed",
        "The request with this `Idempotency-Key` was answered and billed, and its answer cannot be told again. See its "
        f"receipt ({url}), or send another key to have it answered once more.",
        param="idempotency-key",
        details={"audit_url": url},
    )
