"""The routes that run exchanges."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import msgspec
import trio
from quart import Response, request

from ainf.exchange.answers import (
    DIRECT,
    Reply,
    error_reply,
    model_headers,
    request_ids,
    routing_headers,
    whole_head,
)
from ainf.exchange.run import Exchange
from ainf.formats.json import load_json
from ainf.http.credentials import peer_of
from ainf.http.gateway import Gateway
from ainf.http.models import Model, as_answer
from ainf.http.seam import SCOPE_KEY, Seam
from ainf.inference.errors import AinfError, DownstreamError
from ainf.inference.request import InferenceRequest, Operation
from ainf.metering import input_estimate
from ainf.protocols.base import ClientProtocol
from ainf.routing.decision import Decision
from ainf.store.base import KeyRecord, Rejection

_JSON = b"application/json"


def _by_name(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers by name; of one that came several times, all values as the list that they are (RFC 9110, 5.3)."""
    joined: dict[bytes, bytes] = {}
    for name, value in headers:
        joined[name] = joined[name] + b", " + value if name in joined else value
    return joined


class InferenceRoute:
    """One path on which one protocol is spoken."""

    def __init__(self, gateway: Gateway, protocol: ClientProtocol, *, inference_shape: bool = False) -> None:
        self._gateway = gateway
        self._protocol = protocol
        self._inference_shape = inference_shape

    async def answer(self) -> Response:
        """Answer one request: admitted, it is an exchange; refused, an error in the client's protocol."""
        scope: Mapping[str, Any] = request.scope
        seam: Seam = scope[SCOPE_KEY]
        key = None
        try:
            key = await self._gateway.authenticator.authenticate(scope["headers"], peer_of(scope))
            headers = _by_name(scope["headers"])
            may_join = b"idempotency-key" in headers
            self._gateway.check_open(may_join=may_join)
            seam.more_headers = partial(self._gateway.limits.headers, key)
            self._gateway.limits.arrive(key, may_join=may_join)
            await self._infer(scope["path"], seam, key, headers)
        except AinfError as error:
            await self._refuse(seam, key, error, scope["path"])
        return Response(b"", 200)  # dropped by the seam: the client was answered

    async def _infer(self, path: str, seam: Seam, key: KeyRecord, headers: Mapping[bytes, bytes]) -> None:
        gateway, arrived_at = self._gateway, trio.current_time()
        if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != _JSON:
            raise DownstreamError("unsupported_media_type", "Send the body as application/json.")
        body = await request.get_data(cache=False, as_text=False, parse_form_data=False)
        parsed = self._protocol.parse(load_json(body), path=path, body_bytes=len(body), headers=headers)
        gateway.body_bytes += len(body)
        del body  # a long stream must not keep its request in memory
        gateway.check_open(may_join=b"idempotency-key" in headers)  # again: the body may have been long in coming
        if parsed.operation is Operation.COUNT and (reply := self._count_here(key, parsed)) is not None:
            await seam.reply(reply)
            return
        plan = await gateway.plan(
            key, parsed, self._protocol, headers, arrived_at, inference_shape=self._inference_shape
        )
        del parsed  # the plan's request is another one where it is translated, and the one that is forgotten
        try:
            if plan.claim is None:
                await self._run(seam, Exchange(plan, gateway.services, seam))
            else:
                await gateway.shared.answer(seam, plan, plan.claim, gateway)
        except AinfError as error:
            refusal = error.with_traceback(None)  # which holds everything that it passed: a cycle, with this frame
        else:
            return
        await self._refuse(seam, key, refusal, path, plan.money_refusal)

    async def _run(self, seam: Seam, exchange: Exchange) -> None:
        self._gateway.begin(exchange)
        seam.attach(exchange.client_gone)
        try:
            await exchange.run()
        except AinfError:
            seam.detach()
            raise
        else:
            seam.release()
        finally:
            self._gateway.end(exchange)

    def _count_here(self, key: KeyRecord, parsed: InferenceRequest) -> Reply | None:
        """Return our own count of a request's tokens, where the provider that would be asked first has no counter.

        None where it has one, or no model can be chosen: it is to be planned.

        Raises:
            DownstreamError: its model or its fields cannot be honoured.
        """
        choices = self._gateway.choices(key, parsed)
        for model in choices.models:
            if Operation.COUNT in model.backend.provider.formats:
                return None
            try:
                asked = as_answer(choices.request, model)
            except DownstreamError:
                if choices.decision is None:
                    raise
                continue  # another one can perhaps be told
            return self._counted(asked, model, choices.decision)
        return None

    def _counted(self, asked: InferenceRequest, model: Model, decision: Decision | None) -> Reply:
        router = [DIRECT]
        if decision is not None:
            self._gateway.services.telemetry.alias_hit(decision.requested)
            router = routing_headers(decision)
        tokens = input_estimate(asked.input_bytes, asked.attachment_count, model.terms.ratios)
        body = msgspec.json.encode({"input_tokens": tokens})
        named = model_headers(model.terms, asked.dropped)
        own = [*request_ids(self._gateway.new_request_id()), *router, *named, (b"x-ainf-evidence", b"metered")]
        return Reply(200, list(whole_head(own, body)), body)

    async def _refuse(
        self, seam: Seam, key: KeyRecord | None, error: AinfError, path: str, money_refusal: str = "402"
    ) -> None:
        """Answer a request that was not admitted; where a known key made it, the audit trail is told."""
        services = self._gateway.services
        services.telemetry.rejected(error.code)
        if key is not None:
            services.store.note_rejection(Rejection(key.key_id, error.code, path, services.wall_clock()))
        await seam.reply(
            error_reply(self._protocol, error, request_id=self._gateway.new_request_id(), money_refusal=money_refusal)
        )
