"""The composition root: builds every part of a gateway from its configuration, joins them, and runs them to an end."""

import ctypes
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

from ainf.admission import ModelTerms
from ainf.calibration import LEAST_LOW
from ainf.config import Config, Limits, ModelConfig, ProviderConfig, RoutingConfig
from ainf.exchange.answers import error_reply
from ainf.exchange.calibrating import Calibrator, keep_calibrated
from ainf.exchange.health import Health
from ainf.exchange.inflight import Inflight, keep_progress
from ainf.exchange.instance import keep_instance
from ainf.exchange.plan import Backend, Clocks, Services
from ainf.exchange.upkeep import keep_reserves, replay
from ainf.formats.base import PipeLimits
from ainf.http.credentials import Authenticator, FailureLimit
from ainf.http.gateway import Gateway, RoutingSettings
from ainf.http.idempotency import SharedExchanges, forget_expired
from ainf.http.limits import KeyLimiter
from ainf.http.models import Model
from ainf.http.surface import build_surface
from ainf.http.targets import RoutingTarget
from ainf.inference.errors import AinfError
from ainf.inference.moments import DAY_US
from ainf.metering import MeterRatios
from ainf.protocols.registry import protocol_of_path
from ainf.providers.base import Target
from ainf.providers.registry import PROVIDERS
from ainf.routing.observed import KEPT_SIGNALS
from ainf.routing.ruleset import RatedModel, Rules, Ruleset
from ainf.server.launcher import Server
from ainf.server.limits import ServerLimits, TlsFiles
from ainf.store.parts import LeaseTerms
from ainf.store.protocol import InferenceStore
from ainf.store.reserves import ReserveTerms
from ainf.store.routing_history import recent_outcomes
from ainf.store.store import Store, end_process
from ainf.telemetry import Telemetry
from ainf.upstream.client import UpstreamClient
from ainf.upstream.limits import UpstreamLimits
from ainf.upstream.wire import Dialer

_DRAINED_WRITE_S = 2.0
"""The write limit of every connection once the drain time is over."""
_DRAINED_CLOSE_S = 2.0
"""What a settlement gets then; one that the store has not taken is left to recovery."""
_DRAINED_WAIT_S = 1.0
"""The longest that anything waits for the store then."""
_LAST_WORDS_S = 4.0
"""How long settlements and terminal frames may take after that, before connections are aborted."""
_RECALLED_US = 7 * DAY_US
"""How far back routed requests tell of their models when a process begins."""
_GIVE_BACK_BYTES = 4 << 20
"""Request bodies after whose reading free memory is given back."""
_GIVE_BACK_S = 60.0
"""Time after which it is given back also where there were fewer; it takes some milliseconds."""


def wall_clock() -> int:
    """Return microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def new_id(prefix: str) -> str:
    """Return an id that sorts by time: 56 bits of microseconds, 72 of chance."""
    return f"{prefix}_{wall_clock():014x}{secrets.token_hex(9)}"


@attrs.define
class RunningGateway:
    """A gateway that listens."""

    config: Config
    """The one in force."""
    gateway: Gateway
    server: Server
    store: Store
    stop: trio.Event
    """Set it to drain and end."""
    patience: trio.CancelScope
    """The time that running streams get while draining; cancel it to end them at once."""

    @property
    def url(self) -> str:
        """Where it listens (the first of its addresses)."""
        scheme = "https" if self.config.server.tls_cert else "http"
        return f"{scheme}://{self.server.bound[0]}"


@asynccontextmanager
async def running_gateway(
    config: Config, telemetry: Telemetry, *, on_fatal: Callable[[BaseException], None] = end_process
) -> AsyncIterator[RunningGateway]:
    """Run a gateway around a block: recovered and listening inside it, drained and closed behind it.

    Cancelled, it ends its exchanges as ``shutdown`` and aborts its connections; their settlements are still made.

    Args:
        config: a checked configuration.
        telemetry: where its metrics and logs go.
        on_fatal: told when the store can no longer keep its promise; the process must end then.
    """
    async with Store.open(
        config.store.url,
        now=wall_clock,
        kind="gateway",
        wait_s=config.store.wait_s,
        on_fatal=on_fatal,
        terms=LeaseTerms(config.store.lease_s, is_shared=config.store.shared),
        reserves=ReserveTerms(config.store.spool, config.store.ballast_bytes),
    ) as store:
        await replay(store, telemetry)
        recovered = await store.recover(wall_clock())
        telemetry.recovered(len(recovered))
        telemetry.log.info("recovered", count=len(recovered))
        gateway = build_gateway(config, telemetry, store)
        await recall_calibration(gateway, store)
        await recall_outcomes(gateway, store, wall_clock())
        server = _build_server(config, gateway)
        running = RunningGateway(config, gateway, server, store, trio.Event(), trio.CancelScope())
        try:
            async with trio.open_nursery() as background:
                await _start_keepers(background, running)
                async with trio.open_nursery() as nursery:
                    await nursery.start(server.run)
                    _name_by_bound_port(running)
                    nursery.start_soon(_drain_when_told, running)
                    telemetry.log.info("listening", bound=list(server.bound), public_url=config.server.public_url)
                    yield running
                    running.stop.set()
                background.cancel_scope.cancel()
        finally:
            _close_clients(gateway)
        telemetry.log.info("stopped")


async def _start_keepers(nursery: trio.Nursery, running: RunningGateway) -> None:
    """Start what goes on beside the requests, until the nursery is cancelled."""
    config, gateway, store = running.config, running.gateway, running.store
    calibrator, inflight, telemetry = gateway.services.calibrator, gateway.inflight, gateway.services.telemetry
    tick_s, beat_s = config.limits.progress_s, config.store.heartbeat_s
    start = nursery.start_soon
    start(keep_progress, inflight, store, telemetry, tick_s, name="progress")
    start(keep_instance, inflight, store, telemetry, wall_clock, beat_s, name="instance")
    start(keep_reserves, store, telemetry, beat_s, name="reserves")
    start(forget_expired, store, telemetry, wall_clock, name="forgetting")
    await nursery.start(gateway.shared.run, name="shared exchanges")
    start(keep_calibrated, calibrator, store, telemetry, gateway.recalibrate, name="calibration")
    start(_give_memory_back, gateway, tick_s, name="memory")
    start(_close_old_connections, gateway, config.limits.upstream_idle_s, name="connections")


async def recall_calibration(gateway: Gateway, store: Store) -> None:
    """Meter by what an earlier process has learnt of the models.

    Raises:
        GatewayError: ``store_unavailable``.
    """
    calibrator = gateway.services.calibrator
    calibrator.adopt(await store.calibrations())
    gateway.recalibrate(calibrator.changed_ratios())


async def recall_outcomes(gateway: Gateway, store: Store, now: int) -> None:
    """Know models by what became of the requests that earlier processes routed to them.

    Raises:
        GatewayError: ``store_unavailable``.
    """
    history = await store.read(partial(recent_outcomes, since=now - _RECALLED_US, most=KEPT_SIGNALS))
    gateway.services.health.recall(history)


def apply_config(running: RunningGateway, config: Config) -> None:
    """Put another configuration in force: providers, models, targets and routing.

    What runs goes on with the terms of its admission. What was learnt of models that stay the same is kept, as are the
    connections to providers that do. Of the other tables nothing is taken over; ``config.change.needs_restart`` tells.

    Args:
        running: the gateway.
        config: a checked configuration.
    """
    gateway, old = running.gateway, running.config
    services = gateway.services
    backends = {
        name: gateway.backends[name] if old.providers.get(name) == settings else backend_of(config, settings)
        for name, settings in config.providers.items()
    }
    models = models_of(config, backends, services.wall_clock())
    targets = targets_of(config)
    unused = [backend for name, backend in gateway.backends.items() if backends.get(name) is not backend]
    gateway.backends, gateway.models, gateway.targets = backends, models, targets
    gateway.routing = routing_settings(config.routing)
    services.health.adopt(config.routing.breaker_failures, config.routing.breaker_open_s)
    services.calibrator.serve(model.terms for model in models.values())
    gateway.recalibrate(services.calibrator.changed_ratios())
    running.config = config
    for backend in unused:
        backend.client.close()


def _close_clients(gateway: Gateway) -> None:
    """Close the connections to providers that wait for a next call."""
    for backend in gateway.backends.values():
        backend.client.close()


async def _close_old_connections(gateway: Gateway, every_s: float) -> None:
    """Close the connections to providers that wait in vain: after a rush there may be no call that would find them."""
    while True:
        await trio.sleep(every_s)
        for backend in gateway.backends.values():
            backend.client.pool.close_old(trio.current_time())


async def _give_memory_back(gateway: Gateway, every_s: float) -> None:
    """Give free memory back to the system: after every so many bytes of forgotten request bodies, and now and then.

    glibc keeps what is free below anything that is in use: a stream that began with 100 KB then costs three times as
    much as it needs, and small ones leave some MiB of holes in a quarter of an hour. Other C libraries have no such
    call, and are left alone.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    given_back, at = 0, trio.current_time()
    while trim is not None:
        await trio.sleep(every_s)
        bytes_since, seconds_since = gateway.body_bytes - given_back, trio.current_time() - at
        if bytes_since >= _GIVE_BACK_BYTES or (bytes_since and seconds_since >= _GIVE_BACK_S):
            given_back, at = gateway.body_bytes, trio.current_time()
            trim(0)


def _name_by_bound_port(running: RunningGateway) -> None:
    """Where port 0 was asked for and no ``public_url`` given, links bear the port that was got."""
    gateway = running.gateway
    if gateway.services.public_url.endswith(":0"):
        gateway.services = attrs.evolve(gateway.services, public_url=running.url)


async def _drain_when_told(running: RunningGateway) -> None:
    """Drain: stop admitting, let streams go on, end the rest with their frame, then abort."""
    await running.stop.wait()
    gateway, server, limits = running.gateway, running.server, running.config.server
    gateway.draining = True
    server.stop_accepting()
    gateway.services.telemetry.log.info("draining", running=len(gateway.inflight), drain_s=limits.drain_s)
    running.patience.deadline = trio.current_time() + limits.drain_s
    with running.patience:
        await _wait_idle(gateway)
    gateway.inflight.shut_down(_DRAINED_CLOSE_S)
    running.store.hurry(_DRAINED_WAIT_S)
    server.set_write_limit(_DRAINED_WRITE_S)
    with trio.move_on_after(_LAST_WORDS_S):
        await _wait_idle(gateway)
    server.abort_connections()


async def _wait_idle(gateway: Gateway) -> None:
    """Wait until nothing runs, and nobody is told any more what ran under an idempotency key."""
    await gateway.inflight.wait_empty()
    await gateway.shared.wait_told()


def build_gateway(
    config: Config,
    telemetry: Telemetry,
    store: InferenceStore,
    *,
    clock: Callable[[], int] = wall_clock,
    dialer: Dialer | None = None,
) -> Gateway:
    """Return the gateway's shared state: services, models with their backends, authentication.

    Args:
        config: a checked configuration.
        telemetry: where metrics and logs go.
        store: an open store.
        clock: microseconds since 1970 UTC, for records.
        dialer: connects to providers; TCP unless a test brings its own.
    """
    limits = config.limits
    backends = {name: backend_of(config, provider, dialer) for name, provider in config.providers.items()}
    models = models_of(config, backends, clock())
    routing = config.routing
    services = Services(
        store=store,
        telemetry=telemetry,
        clocks=Clocks(
            early_head_s=limits.early_head_s,
            heartbeat_s=limits.heartbeat_s,
            tail_s=limits.tail_s,
            close_s=config.store.close_s,
            spool_s=config.store.spool_s,
            speak_s=limits.write_s + 5.0,
            prelude_bytes=limits.prelude_bytes,
            keep_answer_s=limits.idempotency_keep_s,
        ),
        pipe_limits=PipeLimits(line=limits.sse_line_bytes, event=limits.sse_event_bytes, answer=limits.answer_bytes),
        wall_clock=clock,
        public_url=config.server.public_url,
        calibrator=Calibrator(model.terms for model in models.values()),
        health=Health(routing.breaker_failures, routing.breaker_open_s, telemetry.breaker_opened),
    )
    failures = FailureLimit(limits.auth_failures_per_minute, trio.current_time)
    return Gateway(
        services=services,
        backends=backends,
        models=models,
        targets=targets_of(config),
        routing=routing_settings(routing),
        authenticator=Authenticator(store, clock, failures),
        inflight=Inflight(),
        limits=KeyLimiter(trio.current_time),
        new_inference_id=lambda: new_id("inf"),
        new_request_id=lambda: new_id("req"),
        running_limit=limits.running,
        shared=SharedExchanges(limit=limits.idempotency_bytes, linger_s=limits.linger_s),
    )


def models_of(config: Config, backends: Mapping[str, Backend], now: int) -> dict[str, Model]:
    """Return the configured models with their backends, by name; ``now`` is in microseconds since 1970 UTC."""
    return {name: _model(config, model, backends[model.provider], now) for name, model in config.models.items()}


def targets_of(config: Config) -> dict[str, RoutingTarget]:
    """Return the routing targets by every name that clients may use."""
    targets: dict[str, RoutingTarget] = {}
    for name, ruleset in rulesets_of(config).items():
        target = RoutingTarget(ruleset)
        targets |= dict.fromkeys(config.targets[name].names, target)
    return targets


def rulesets_of(config: Config) -> dict[str, Ruleset]:
    """Return what each target chooses by, by the target's canonical name."""
    routing = config.routing
    rules = Rules(
        preference_live=routing.preference_live,
        learning=routing.learning,
        prior_weight=routing.prior_weight,
        expected_output_tokens=routing.expected_output_tokens,
    )
    return {
        name: Ruleset(name, target.min_quality_milli, [_rated(config.models[model]) for model in target.models], rules)
        for name, target in config.targets.items()
    }


def _rated(model: ModelConfig) -> RatedModel:
    return RatedModel(
        name=model.name,
        provider=model.provider,
        quality=model.quality,
        context_tokens=model.context_tokens,
        attachments=frozenset(model.attachments),
        tools=model.tools,
        streams=model.streaming != "reject",
        max_output_tokens=model.max_output_tokens,
        latency_ms=model.latency_ms,
    )


def routing_settings(routing: RoutingConfig) -> RoutingSettings:
    """Return how candidates are tried."""
    return RoutingSettings(attempts=routing.attempts, hedging=routing.hedging)


def upstream_limits(limits: Limits) -> UpstreamLimits:
    """Return what a provider may take, as the settings have it."""
    return UpstreamLimits(
        connect_s=limits.connect_s,
        header_bytes=limits.upstream_header_bytes,
        read_bytes=limits.upstream_read_bytes,
        receive_buffer_bytes=limits.upstream_receive_buffer_bytes,
        idle_s=limits.upstream_idle_s,
        connections_per_origin=limits.upstream_connections,
        dead_peer_s=limits.upstream_dead_peer_s,
        error_body_bytes=limits.error_body_bytes,
        error_body_s=limits.error_body_s,
    )


def server_limits(limits: Limits) -> ServerLimits:
    """Return what a client may take, as the settings have it."""
    return ServerLimits(
        write_s=limits.write_s,
        header_s=limits.header_s,
        idle_s=limits.idle_s,
        body_s=limits.body_s,
        body_min_bytes_per_s=limits.body_min_bytes_per_s,
        body_grace_s=limits.body_grace_s,
        linger_s=limits.close_linger_s,
        body_bytes=limits.body_bytes,
        header_bytes=limits.header_bytes,
        header_lines=limits.header_lines,
        target_bytes=limits.target_bytes,
        read_ahead_bytes=limits.read_ahead_bytes,
        connections=limits.connections,
        connections_per_peer=limits.connections_per_peer,
    )


def backend_of(config: Config, settings: ProviderConfig, dialer: Dialer | None = None) -> Backend:
    """Return a configured provider, ready to be called; whoever has it closes its client."""
    provider = PROVIDERS[settings.format]
    client = UpstreamClient(
        limits=upstream_limits(config.limits),
        ca_file=str(settings.ca_file) if settings.ca_file else None,
        proxy=settings.proxy,
        dialer=dialer,
    )
    credential = provider.credential(settings.api_key) if settings.api_key is not None else ()
    return Backend(provider, client, (*credential, (b"content-type", b"application/json"), (b"user-agent", b"ainf")))


def target_of(config: Config, model: ModelConfig) -> Target:
    """Return where and as what the requests for a configured model go."""
    settings = config.providers[model.provider]
    return Target(
        provider=model.provider,
        upstream_model=model.upstream_model,
        base_url=settings.base_url,
        max_tokens_field=settings.max_tokens_field,
        max_output_tokens=model.max_output_tokens,
        streams=model.streaming == "native",
        reports_usage=model.reports_usage,
    )


def _model(config: Config, model: ModelConfig, backend: Backend, now: int) -> Model:
    terms = ModelTerms(
        name=model.name,
        provider=model.provider,
        upstream_model=model.upstream_model,
        max_output_tokens=model.max_output_tokens,
        min_output_tokens=model.min_output_tokens,
        price=model.prices.at(now),
        ratios=configured_ratios(model),
        metering=model.metering,
        slice_tokens=model.slice_tokens,
        kind=model.kind,
        hidden_reasoning=model.hidden_reasoning,
        streaming=model.streaming,
        tools=model.tools,
        aborted_billing=model.aborted_billing,
        abort_read_s=model.abort_read_s,
        abort_read_nusd=model.abort_read_nusd,
        finish_reasons=model.finish_reasons,
        money_refusal=model.money_refusal,
        first_byte_s=model.first_byte_s,
        silence_s=model.silence_s,
        exchange_s=model.exchange_s,
    )
    return Model(terms, model.prices, backend, target_of(config, model), frozenset(model.drop_params))


def configured_ratios(model: ModelConfig) -> MeterRatios:
    """Return what a model is metered by as long as nothing is learnt of it."""
    return MeterRatios(
        mean=model.bytes_per_token_milli,
        low=LEAST_LOW if model.metering == "strict" else model.input_bytes_per_token_low_milli,
        image_tokens=model.image_tokens,
    )


def _build_server(config: Config, gateway: Gateway) -> Server:
    server, limits = config.server, config.limits
    surface = build_surface(gateway, body_bytes=limits.body_bytes, started_at=wall_clock())

    def error_answer(path: str, error: AinfError) -> tuple[list[tuple[bytes, bytes]], bytes]:
        reply = error_reply(protocol_of_path(path), error, request_id=gateway.new_request_id())
        return reply.headers, reply.body

    return Server(
        surface,
        bind=[str(address) for address in server.bind],
        limits=server_limits(limits),
        tls=TlsFiles(server.tls_cert, server.tls_key) if server.tls_cert and server.tls_key else None,
        trusted_proxies=[str(network) for network in server.trusted_proxies],
        error_answer=error_answer,
        on_refusal=lambda error: gateway.services.telemetry.rejected(error.code),
        on_connection_error=gateway.services.telemetry.connection_broke,
    )
