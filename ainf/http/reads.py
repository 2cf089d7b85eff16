"""The routes that only read: models, receipts, health, metrics."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from quart import Response, request

from ainf.http.credentials import peer_of
from ainf.http.gateway import Gateway
from ainf.inference.errors import DownstreamError
from ainf.inference.moments import SECOND_US
from ainf.protocols.checks import unknown_model
from ainf.store.base import KeyRecord
from ainf.telemetry import METRICS_CONTENT_TYPE


class ReadRoutes:
    """Routes that write nothing."""

    def __init__(self, gateway: Gateway, started_at: int) -> None:
        self._gateway = gateway
        self._created = started_at // SECOND_US

    async def models(self) -> Response:
        """List what the key may name as a model, in an answer that is OpenAI's and Anthropic's at once."""
        data = list(self._visible(await self._key()))
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
        return _json({"object": "list", "data": data, "has_more": False, **ends})

    async def model(self, name: str) -> Response:
        """Show one of them, as ``models`` does."""
        for described in self._visible(await self._key()):
            if described["id"] == name:
                return _json(described)
        raise unknown_model(name)

    def _visible(self, key: KeyRecord) -> Iterator[dict[str, Any]]:
        """Yield the models that a key may use, and the routing targets, under each of their names.

        Of a target it tells the models that the key may get by it, and of the output what the roomiest of them gives.
        """
        for model in self._gateway.visible_models(key):
            terms = model.terms
            yield self._described(terms.name, terms.provider, terms.max_output_tokens, {"kind": "model"})
        for name, target, models in self._gateway.visible_targets(key):
            most = max(model.terms.max_output_tokens for model in models)
            names = [model.terms.name for model in models]
            yield self._described(name, "ainf", most, {"kind": "target", "target": target.name, "models": names})

    def _described(self, name: str, owner: str, max_tokens: int, own: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of OpenAI's model object and of Anthropic's, none with two meanings; ``ainf`` is ours."""
        return {
            "id": name,
            "object": "model",
            "created": self._created,
            "owned_by": owner,
            "type": "model",
            "display_name": name,
            "created_at": datetime.fromtimestamp(self._created, UTC).isoformat().replace("+00:00", "Z"),
            "lifecycle": "active",
            "max_tokens": max_tokens,
            "ainf": own,
        }

    async def receipt(self, inference_id: str) -> Response:
        """Show the receipt of an exchange of the key's own account; any other is as unknown as one that never was."""
        key = await self._key()
        receipt = await self._gateway.services.store.receipt(inference_id)
        if receipt is None or receipt["account_id"] != key.account_id:
            raise DownstreamError("not_found", "There is no such inference.")
        return _json(receipt)

    async def healthz(self) -> Response:
        """Say that the process runs."""
        return _json({"status": "ok"})

    async def readyz(self) -> Response:
        """Say whether new inferences are taken.

        Raises:
            GatewayError: ``shutting_down``, ``overloaded``, ``store_unavailable``.
        """
        self._gateway.check_open()
        return _json({"status": "ready", "running": len(self._gateway.inflight)})

    async def metrics(self) -> Response:
        """Give the metrics in Prometheus's text format."""
        return Response(self._gateway.services.telemetry.exposition(), content_type=METRICS_CONTENT_TYPE)

    async def _key(self) -> KeyRecord:
        return await self._gateway.authenticator.authenticate(request.scope["headers"], peer_of(request.scope))


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), content_type="application/json")
