"""What the routes share: the gateway as one process composes it, and the way from a request to an exchange."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import msgspec

from ainf.admission import KeyRights, ModelTerms, Reads, admit, check_rights, permits
from ainf.exchange.inflight import Inflight
from ainf.exchange.plan import Backend, Plan, Services
from ainf.exchange.run import Exchange
from ainf.formats.base import Listener
from ainf.formats.foreign import without_foreign
from ainf.formats.registry import FORMATS
from ainf.formats.translate import drop_fields, translate_fields
from ainf.http.credentials import Authenticator
from ainf.http.idempotency import SharedExchanges
from ainf.http.limits import KeyLimiter
from ainf.inference.conversation import CacheMark
from ainf.inference.errors import DownstreamError, GatewayError
from ainf.inference.moments import SECOND_US
from ainf.inference.request import InferenceRequest, Operation
from ainf.metering import MeterRatios
from ainf.pricing import FREE, PriceSchedule
from ainf.protocols.base import ClientProtocol
from ainf.protocols.checks import unknown_model
from ainf.protocols.registry import PROTOCOLS
from ainf.providers.base import Target
from ainf.providers.fields import Coverage
from ainf.store.base import Claim, KeyRecord

_LABELS = 10
_LABEL_BYTES = 64
_IDEMPOTENCY_KEY_BYTES = 255
_NOT_IN_FINGERPRINT = ("stream", "stream_options")


@attrs.frozen
class Model:
    """A configured model with the backend that serves it."""

    terms: ModelTerms
    """At the price that is in force, or was when it was last looked at."""
    prices: PriceSchedule
    backend: Backend
    target: Target
    may_drop: frozenset[str] = frozenset()
    """Fields that may be left out where the provider's format cannot say them."""

    def at(self, now: int) -> "Model":
        """Return the model at the price in force; ``now`` is in microseconds since 1970 UTC."""
        price = self.prices.at(now)
        return self if price is self.terms.price else attrs.evolve(self, terms=attrs.evolve(self.terms, price=price))


@attrs.define
class Gateway:
    """Everything that the routes need. ``draining`` is set once, when the process is told to stop."""

    services: Services
    models: Mapping[str, Model]
    authenticator: Authenticator
    inflight: Inflight
    limits: KeyLimiter
    new_inference_id: Callable[[], str]
    new_request_id: Callable[[], str]
    running_limit: int
    shared: SharedExchanges
    """Those that run under an idempotency key."""
    draining: bool = False
    body_bytes: int = 0
    """Request bodies that were read, in all."""

    def begin(self, exchange: Exchange) -> None:
        """Count an exchange in that is about to run; ``end`` must follow.

        Raises:
            DownstreamError: ``rate_limited``: its key has no room for it.
            GatewayError: ``overloaded``: the gateway has none.
        """
        self._check_room()
        self.limits.begin(exchange.plan.key, _counted_tokens(exchange.plan))
        self.inflight.add(exchange)

    def end(self, exchange: Exchange) -> None:
        """Count an exchange out that has ended."""
        self.inflight.remove(exchange)
        self.limits.end(exchange.plan.key, _counted_tokens(exchange.plan), exchange.used_tokens)

    def recalibrate(self, ratios: Mapping[str, MeterRatios]) -> None:
        """Admit what comes from now on by other ratios, by model; what runs keeps those of its admission."""
        changed = {
            name: attrs.evolve(model, terms=attrs.evolve(model.terms, ratios=ratios[name]))
            for name, model in self.models.items()
            if name in ratios
        }
        self.models = {**self.models, **changed}

    def check_open(self, *, may_join: bool = False) -> None:
        """Refuse new inferences when the gateway is stopping or full.

        Args:
            may_join: it may turn out to want no exchange of its own; then whether there is room is left to ``begin``.

        Raises:
            GatewayError: ``shutting_down``, ``overloaded``.
        """
        if self.draining:
            raise GatewayError("shutting_down", "The gateway is shutting down; ask again.", retry_after_s=1)
        if not may_join:
            self._check_room()

    def _check_room(self) -> None:
        if len(self.inflight) >= self.running_limit:
            raise GatewayError("overloaded", "The gateway is at its limit of running requests.", retry_after_s=1)

    async def plan(
        self,
        key: KeyRecord,
        request: InferenceRequest,
        protocol: ClientProtocol,
        headers: Mapping[bytes, bytes],
        arrived_at: float,
    ) -> Plan:
        """Return the plan of a request that may be opened; ``arrived_at`` is trio's time of its head.

        Raises:
            DownstreamError: its model, its fields or its headers cannot be honoured.
            GatewayError: ``store_unavailable``, where it goes on from a stored response.
        """
        model = self.model_for(key, request)
        provider_format = _format_for(model, request)
        digest = fingerprint(key.account_id, request)
        listener = self._listener(request, protocol)
        stored_tokens = await self._stored_tokens(key, request, model, provider_format)
        request, cache_write = prepared(request, model, protocol, provider_format)
        reasoning = None
        if request.operation is Operation.GENERATE:
            reasoning = FORMATS[provider_format].reasoning_of(request.fields)
        terms = model.terms if request.operation is not Operation.COUNT else attrs.evolve(model.terms, price=FREE)
        return Plan(
            inference_id=listener.inference_id,
            key=key,
            request=request,
            protocol=protocol,
            admission=admit(request, terms, Reads(reasoning, cache_write, stored_tokens)),
            backend=model.backend,
            target=model.target,
            provider_format=provider_format,
            listener=listener,
            fingerprint=digest,
            claim=_claim(headers, digest) if request.operation is not Operation.COUNT else None,
            deadline_at=arrived_at + _deadline_s(headers, model.terms.exchange_s),
            sdk_retry_count=_retry_count(headers),
            labels=_labels(headers),
        )

    def model_for(self, key: KeyRecord, request: InferenceRequest) -> Model:
        """Return the model that a request names, at the price in force.

        Raises:
            DownstreamError: ``model_not_found``; ``not_permitted``: the key has no right to it, or to the endpoint;
                ``operation_not_supported``: it is not for that.
        """
        model = self.models.get(request.model)
        if model is None:
            raise unknown_model(request.model)
        check_rights(KeyRights(key.models, key.endpoints), request.path, request.model)
        if (request.operation is Operation.EMBED) != (model.terms.kind == "embeddings"):
            raise _not_for_this(model, request.path)
        return model.at(self.services.wall_clock())

    def _listener(self, request: InferenceRequest, protocol: ClientProtocol) -> Listener:
        return Listener(
            stream=request.stream,
            include_usage=request.include_usage,
            model=request.model,
            inference_id=self.new_inference_id(),
            created=self.services.wall_clock() // SECOND_US,
            echo=protocol.echo(request),
        )

    async def _stored_tokens(
        self, key: KeyRecord, request: InferenceRequest, model: Model, provider_format: str
    ) -> int:
        """Return how many tokens the model reads of a stored response; it must be this account's and provider's."""
        response_id = request.previous_response_id
        if response_id is None:
            return 0
        if provider_format != "responses":
            raise DownstreamError(
                "unsupported_parameter",
                "`previous_response_id` is not supported: this model's provider stores no responses.",
                param="previous_response_id",
            )
        stored = await self.services.store.find_response(response_id, key.account_id)
        if stored is None or stored.provider != model.terms.provider:
            raise DownstreamError(
                "not_found",
                "There is no such stored response of this account at the model's provider.",
                param="previous_response_id",
            )
        return stored.input_tokens + stored.output_tokens

    def visible_models(self, key: KeyRecord) -> list[Model]:
        """Return the models that a key may use."""
        return [model for name, model in self.models.items() if permits(key.models, name)]


def prepared(
    request: InferenceRequest, model: Model, protocol: ClientProtocol, provider_format: str
) -> tuple[InferenceRequest, CacheMark | None]:
    """Return a request in its provider's words, and what it asks to be written to the provider's cache.

    It is checked for what would change price, model or host.

    Raises:
        DownstreamError: ``unsupported_parameter``, and what reading it for another format finds wrong.
    """
    provider, operation = model.backend.provider, request.operation
    fields: Mapping[str, Any]
    if operation is Operation.GENERATE and provider_format != protocol.format:
        fields, dropped = translate_fields(
            request.fields,
            FORMATS[protocol.format],
            FORMATS[provider_format],
            model.may_drop,
            beyond=lambda written: provider.unsaid(written, operation),
        )
    else:
        own = without_foreign(request.fields, provider_format)
        fields, dropped = drop_fields(own, provider.unsaid(own, operation), model.may_drop)
    if fields is not request.fields:
        request = attrs.evolve(request, fields=fields, dropped=dropped)
    coverage = Coverage(model.terms.price, caches_unasked=provider.facts.caches_unasked)
    provider.check(request, coverage)
    if left_out := [beta for beta in request.betas if beta not in provider.facts.betas]:
        request = attrs.evolve(request, dropped=(*request.dropped, *left_out))
    return request, coverage.cache_write


def as_answer(request: InferenceRequest, model: Model) -> InferenceRequest:
    """Return a request to count tokens as the provider would be asked for the answer that it announces.

    Raises:
        DownstreamError: what it announces would be refused.
    """
    announced = attrs.evolve(request, operation=Operation.GENERATE)
    checked, _ = prepared(announced, model, PROTOCOLS["messages"], _format_for(model, announced))
    return checked


def _counted_tokens(plan: Plan) -> int:
    """Return what an exchange takes of its key's tokens when it begins."""
    return 0 if plan.request.operation is Operation.COUNT else plan.admission.input_tokens_estimate


def _format_for(model: Model, request: InferenceRequest) -> str:
    provider_format = model.backend.provider.formats.get(request.operation)
    if provider_format is None:
        raise _not_for_this(model, request.path)
    return provider_format


def _not_for_this(model: Model, path: str) -> DownstreamError:
    return DownstreamError(
        "operation_not_supported",
        f"The model {model.terms.name!r} of the backend {model.terms.provider!r} is not for {path}; use another model.",
        param="model",
    )


def fingerprint(account_id: str, request: InferenceRequest) -> bytes:
    """Return the digest by which the same body of the same account is known again, streamed or not.

    Keyed by the account, so that equal bodies of different accounts cannot be told to be equal; and by what is to be
    done, for who has tokens counted before or after an answer does not ask the same again. What a header opts into says
    as much as a field of the body.
    """
    body: dict[str, Any] = {name: value for name, value in request.fields.items() if name not in _NOT_IN_FINGERPRINT}
    asked = msgspec.json.encode(body, order="deterministic")
    return hashlib.blake2b(
        asked + b"".join(b"\n" + beta.encode() for beta in sorted(request.betas)) if request.betas else asked,
        digest_size=16,
        key=account_id.encode()[:64],
        person=request.operation.encode(),
    ).digest()


def _deadline_s(headers: Mapping[bytes, bytes], longest_s: float) -> float:
    text = headers.get(b"x-ainf-deadline-ms")
    if text is None:
        return longest_s
    if not (text.isdigit() and 0 < len(text) <= 9 and int(text)):
        raise DownstreamError(
            "invalid_value",
            "`x-ainf-deadline-ms` must be a whole number of milliseconds over 0.",
            param="x-ainf-deadline-ms",
        )
    return min(longest_s, int(text) / 1000)


def _claim(headers: Mapping[bytes, bytes], digest: bytes) -> Claim | None:
    """Read ``idempotency-key``.

    Raises:
        DownstreamError: ``invalid_value``: empty, too long, or not printable.
    """
    text = headers.get(b"idempotency-key")
    if text is None:
        return None
    if not (0 < len(text) <= _IDEMPOTENCY_KEY_BYTES and text.isascii() and text.decode("ascii").isprintable()):
        raise DownstreamError(
            "invalid_value",
            f"`Idempotency-Key` must be 1 to {_IDEMPOTENCY_KEY_BYTES} printable ASCII characters.",
            param="idempotency-key",
        )
    return Claim(text.decode("ascii"), digest)


def _retry_count(headers: Mapping[bytes, bytes]) -> int | None:
    text = headers.get(b"x-stainless-retry-count", b"")
    return int(text) if text.isdigit() and len(text) <= 4 else None


def _labels(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Read ``x-ainf-labels: run=17, user=ann``.

    Raises:
        DownstreamError: ``invalid_value``: too many, too long, or not of this form.
    """
    text = headers.get(b"x-ainf-labels", b"").strip()
    if not text:
        return {}
    labels = {}
    for part in text.split(b","):
        name, found, value = (piece.strip() for piece in part.partition(b"="))
        if not (found and name and part.isascii() and max(len(name), len(value)) <= _LABEL_BYTES):
            raise _bad_labels()
        labels[name.decode()] = value.decode()
    if len(labels) > _LABELS:
        raise _bad_labels()
    return labels


def _bad_labels() -> DownstreamError:
    return DownstreamError(
        "invalid_value",
        f"`x-ainf-labels` must be at most {_LABELS} pairs `name=value`, comma-separated, each part at most "
        f"{_LABEL_BYTES} characters long.",
        param="x-ainf-labels",
    )
