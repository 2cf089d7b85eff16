"""Metrics and logs: what an operator sees of a gateway without asking its ledger.

Metrics carry no account, key or user text as a label: their number is bounded by the configuration. Logs are one JSON
object a line; nothing of a request's or answer's content and no secret is ever handed to them.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO, cast

import attrs
import msgspec
import structlog
import trio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ainf.inference.errors import GatewayError

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)


class ExchangeRecord(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An exchange that has ended, for metrics and its one log line."""

    inference_id: str
    account: str
    key_id: str
    protocol: str
    path: str
    stream: bool
    model: str
    provider: str
    ending: str
    code: str | None
    finish_reason: str | None
    evidence: str
    input_tokens: int
    output_tokens: int
    held_nusd: int
    settled_nusd: int | None
    """None where the settlement is not known to be durable; recovery will settle it."""
    overrun_nusd: int
    first_byte_s: float | None
    duration_s: float
    notes: Mapping[str, Any] = msgspec.field(default_factory=dict)
    retry_of: str | None = None
    """The earlier exchange that it asked again."""
    burnt_nusd: Mapping[str, int] = msgspec.field(default_factory=dict)
    """What became known as burnt with it, by kind: its own charge, or that of the one that it asked again."""
    router: str = "direct"
    """The routing target that it was chosen from, by its canonical name; "direct" where its model was pinned."""
    attempts: int = 1
    """Calls to providers that were opened, the first with the exchange."""


class Telemetry:
    """The metrics and the log of one process."""

    def __init__(self, log_to: TextIO | None = None) -> None:
        self.registry = CollectorRegistry()
        self.log = _json_logger(_LogFile(log_to if log_to is not None else sys.stderr, self._line_lost))
        labels = ("ending", "evidence", "protocol", "model", "provider", "stream")
        self._exchanges = self._counter("exchanges", "Exchanges that ended.", labels)
        self._tokens = self._counter("tokens", "Tokens settled.", ("kind", "model", "provider"))
        self._settled = self._counter("settled_nusd", "Nano-dollars settled inside holds.", ("model", "provider"))
        self._overrun = self._counter("overrun_nusd", "Nano-dollars billed beyond holds: alarm.", ("model", "provider"))
        self._unsettled = self._counter("unsettled", "Closes nobody was told of; settled when they can be: alarm.", ())
        self._unevidenced = self._counter("unevidenced", "Settlements that took a whole hold blindly: alarm.", ())
        self._usage_rejected = self._counter(
            "usage_rejected", "Usage that a provider reported and that cannot be true: alarm.", ("model", "provider")
        )
        self._burns = _Kept(self._counter("burn", "Exchanges that were charged for nothing: alarm.", ("kind",)))
        self._burnt = _Kept(self._counter("burnt_nusd", "Nano-dollars charged for nothing: alarm.", ("kind",)))
        self._rejections = self._counter("rejections", "Requests that were not admitted.", ("code",))
        self._replays = self._counter(
            "idempotent_replays", "Requests answered by another one's exchange, running or kept.", ("kind",)
        )
        self._upstream = self._counter("upstream_errors", "Providers' failures.", ("provider", "code"))
        self._recovered = self._counter("recovered", "Exchanges of dead processes closed at start.", ())
        self._reaped = self._counter("reaped", "Exchanges of dead processes closed while this one ran.", ())
        self._fenced = self._counter("fenced", "Times that this process had been taken for dead: alarm.", ())
        self._connection_errors = self._counter("connection_errors", "Client connections that broke.", ("error",))
        self._first_byte = self._histogram("first_byte_seconds", "Opening to the client's first content.", ("model",))
        self._duration = self._histogram("exchange_seconds", "Opening to settlement.", ("model",))
        self._lost_lines = self._counter("lost_log_lines", "Log lines that could not be written: alarm.", ())
        self._running = Gauge("ainf_running", "Exchanges running now.", registry=self.registry)
        self._tasks = Gauge("ainf_tasks", "Tasks of the event loop now.", registry=self.registry)
        self._children: dict[tuple[str | bool, ...], _Children] = {}
        self._count_routing()
        self._count_reserves()

    def _count_routing(self) -> None:
        self._uncaptured = self._counter(
            "dispatch_without_capture", "Routed exchanges opened without a record of the decision: alarm.", ()
        )
        self._overcaptured = self._counter(
            "passthrough_captured", "Exchanges of pinned models that were recorded as routed: alarm.", ()
        )
        self._alias_hits = _Kept(
            self._counter("alias_hits", "Requests that named a routing target, by the name they used.", ("alias",))
        )
        self._outcomes = _Kept(self._counter("routing_outcomes", "How routed requests ended.", ("target", "status")))
        self._fallbacks = _Kept(
            self._counter("fallbacks", "Attempts that failed and were followed by another.", ("from_model", "code"))
        )
        self._hedges = _Kept(
            self._counter("hedges", "Second attempts beside a slow one: won, lost, or no room for them.", ("result",))
        )
        self._breakers = _Kept(
            self._counter("breaker_opened", "Models let rest after they failed too often.", ("provider", "model"))
        )

    def _count_reserves(self) -> None:
        self._spooled = self._counter("settlements_spooled", "Settlements kept while the database was away: alarm.", ())
        self._spool_replayed = self._counter("spool_replayed", "Settlements that the database has taken since.", ())
        self._spool_lost = self._counter("spool_lost", "Settlements kept that could not be replayed: alarm.", ())
        self._spool_waiting = Gauge("ainf_spool_waiting", "Settlements kept that wait now.", registry=self.registry)
        self._ballast = Gauge("ainf_ballast", "Whether room is kept; 0 admits nothing: alarm.", registry=self.registry)

    def _counter(self, name: str, meaning: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"ainf_{name}", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, labels: tuple[str, ...]) -> Histogram:
        return Histogram(f"ainf_{name}", meaning, labels, registry=self.registry, buckets=_SECONDS)

    def _line_lost(self) -> None:
        self._lost_lines.inc()

    def exchange_started(self) -> None:
        """Count an exchange in."""
        self._running.inc()

    def exchange_ended(self, record: ExchangeRecord) -> None:
        """Count an exchange out, and write its line."""
        self._running.dec()
        children = self._children_of(record)
        children.ended.inc()
        children.input_tokens.inc(record.input_tokens)
        children.output_tokens.inc(record.output_tokens)
        children.duration.observe(record.duration_s)
        if record.first_byte_s is not None:
            children.first_byte.observe(record.first_byte_s)
        if record.settled_nusd is None:
            self._unsettled.inc()
        else:
            children.settled.inc(record.settled_nusd)
            children.overrun.inc(record.overrun_nusd)
            if record.evidence == "none":
                self._unevidenced.inc()
        for kind, amount in record.burnt_nusd.items():
            self._burns.of(kind).inc()
            self._burnt.of(kind).inc(amount)
        if record.notes.get("usage_rejected"):
            self._usage_rejected.labels(record.model, record.provider).inc()
        if record.ending == "upstream_error":
            self._upstream.labels(record.provider, record.code or "unknown").inc()
        self.log.info("exchange", **msgspec.structs.asdict(record))

    def _children_of(self, record: ExchangeRecord) -> "_Children":
        """Return the labelled metrics of a record; kept, because finding them costs more than counting."""
        key = (record.ending, record.evidence, record.protocol, record.model, record.provider, record.stream)
        if (children := self._children.get(key)) is None:
            where = (record.model, record.provider)
            children = self._children[key] = _Children(
                ended=self._exchanges.labels(
                    record.ending, record.evidence, record.protocol, *where, str(record.stream).lower()
                ),
                input_tokens=self._tokens.labels("input", *where),
                output_tokens=self._tokens.labels("output", *where),
                settled=self._settled.labels(*where),
                overrun=self._overrun.labels(*where),
                first_byte=self._first_byte.labels(record.model),
                duration=self._duration.labels(record.model),
            )
        return children

    def rejected(self, code: str) -> None:
        """Count a request that was not admitted."""
        self._rejections.labels(code).inc()

    def replayed(self, kind: str) -> None:
        """Count a request that was answered without an exchange of its own: "attached" to one, or "replayed"."""
        self._replays.labels(kind).inc()

    def alias_hit(self, alias: str) -> None:
        """Count a request that named a routing target; ``alias`` is the configured name, canonical or not, it used."""
        self._alias_hits.of(alias).inc()

    def routed(self, target: str, status: str) -> None:
        """Count the outcome of a routed request, admitted or not; ``target`` is the canonical name."""
        self._outcomes.of(target, status).inc()

    def fell_back(self, model: str, code: str) -> None:
        """Count an attempt at a model that failed, with the code of its error, and was followed by another."""
        self._fallbacks.of(model, code).inc()

    def hedged(self, result: str) -> None:
        """Count a second attempt beside a slow one: it "won", it "lost", or there was "no_room" to hold for it."""
        self._hedges.of(result).inc()

    def breaker_opened(self, provider: str, model: str) -> None:
        """Count, and log, that a model failed so often that it is let rest."""
        self._breakers.of(provider, model).inc()
        self.log.warning("breaker_opened", provider=provider, model=model)

    def dispatched_without_capture(self) -> None:
        """Count a routed exchange that was opened without a record of its decision: a bug."""
        self._uncaptured.inc()

    def passthrough_captured(self) -> None:
        """Count an exchange of a pinned model that was recorded as routed: a bug."""
        self._overcaptured.inc()

    def recovered(self, count: int) -> None:
        """Count exchanges that recovery closed."""
        self._recovered.inc(count)

    def watch_reserves(self, waiting: Callable[[], int], has_room: Callable[[], bool]) -> None:
        """Show, whenever the metrics are read, what these say of the spool and the ballast."""
        self._spool_waiting.set_function(waiting)
        self._ballast.set_function(has_room)

    def spooled(self, inference_id: str) -> None:
        """Count, and log, a settlement that was kept because the database did not take it."""
        self._spooled.inc()
        self.log.warning("spooled", inference_id=inference_id)

    def not_spooled(self, inference_id: str, error: str) -> None:
        """Log why a settlement could not be kept."""
        self.log.error("not_spooled", inference_id=inference_id, error=error)

    def spool_replayed(self, settled: int, blind: int, lost: int) -> None:
        """Count, and log, settlements that waited and that the database has taken, and those that it never will.

        Args:
            settled: as they were told.
            blind: at the whole hold, because of a defect.
            lost: not at all.
        """
        self._spool_replayed.inc(settled + blind)
        self._unevidenced.inc(blind)
        self._spool_lost.inc(lost)
        if settled or blind or lost:
            self.log.warning("spool_replayed", settled=settled, blind=blind, lost=lost)

    def ballast(self, error: str | None) -> None:
        """Log that the ballast is in place again (None), or why it is not: then nothing is admitted."""
        if error is None:
            self.log.info("ballast_in_place")
        else:
            self.log.error("ballast_missing", error=error)

    def reaped(self, count: int) -> None:
        """Count, and log, exchanges of other processes that were closed because these are dead."""
        if count:
            self._reaped.inc(count)
            self.log.warning("reaped", count=count)

    def fenced(self, new_epoch: int, ended: int) -> None:
        """Count, and log, that this process had been taken for dead, how it goes on, and how many exchanges it lost."""
        self._fenced.inc()
        self.log.error("fenced", new_epoch=new_epoch, ended=ended)

    def connection_broke(self, error: BaseException) -> None:
        """Count a client connection that ended in an exception; it touched nothing else."""
        name = type(error).__name__
        self._connection_errors.labels(name).inc()
        self.log.warning("connection_broke", error=name)

    def defect(self, where: str, error: BaseException, **facts: str) -> None:
        """Log a bug: its kind and the places it passed, never its text, which may hold what must not be logged."""
        error = _leaf(error)
        self.log.error("defect", where=where, error=type(error).__name__, at=_places(error), **facts)

    @contextlib.contextmanager
    def tried(self, what: str, **facts: int) -> Iterator[None]:
        """Log what kept something from being done that is tried again anyway: the store's refusal, or a bug."""
        try:
            yield
        except GatewayError as error:
            self.log.warning(f"{what}_refused", code=error.code, **facts)
        except Exception as bug:  # noqa: BLE001 - whatever it is, what runs must not end for it
            self.defect(what, bug)

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        if trio.lowlevel.in_trio_run():
            self._tasks.set(trio.lowlevel.current_statistics().tasks_living)
        return generate_latest(self.registry)


class _Kept:
    """A counter with labels that keeps its children, because finding them costs more than counting."""

    __slots__ = ("_children", "_counter")

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._children: dict[tuple[str, ...], Counter] = {}

    def of(self, *labels: str) -> Counter:
        """Return the child with these values of its labels."""
        if (child := self._children.get(labels)) is None:
            child = self._children[labels] = self._counter.labels(*labels)
        return child


@attrs.frozen
class _Children:
    ended: Counter
    input_tokens: Counter
    output_tokens: Counter
    settled: Counter
    overrun: Counter
    first_byte: Histogram
    duration: Histogram


def _leaf(error: BaseException) -> BaseException:
    """Return the first exception in a group of them, at whatever depth."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _places(error: BaseException) -> list[str]:
    """Return the file names and lines that an exception passed, outermost first."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}:{code.co_name}")
        trace = trace.tb_next
    return places[-20:]


class _LogFile:
    """A text file that never raises: a log that cannot be written must not end what it speaks of."""

    def __init__(self, file: TextIO, on_lost: Callable[[], None]) -> None:
        self._file = file
        self._on_lost = on_lost

    def write(self, text: str) -> None:
        try:
            self._file.write(text)
        except (OSError, ValueError):  # a full disk, a pipe without a reader, a closed file
            self._on_lost()

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()


def _json_text(event: Mapping[str, Any], **_: object) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


def _json_logger(stream: _LogFile) -> structlog.typing.FilteringBoundLogger:
    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(cast("TextIO", stream)),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=_json_text),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger
