"""The cancellation suite: at every step of an exchange something ends it, and the law still holds.

Kinds of request x sources of an end x every step k. CI runs every tenth step, from a seed that it prints; ``make law``
runs all. The law is checked over the whole database after each kind, and over the transcript after each run.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from ainf.inference.outcome import Ending, Verdict
from ainf.routing.observed import LEAST_LATENCIES, PastAttempt
from ainf.store.base import AttemptOpened, AttemptOpening, Closing, Extended, Extension, Opened, Opening, Settlement
from tests.gateway.backends import FORMATS
from tests.gateway.candidates import Candidate, target_text
from tests.gateway.capture import Captured, check_let_go
from tests.gateway.dialects import CHAT, DIALECTS, MESSAGES, RESPONSES, Dialect
from tests.gateway.holds import base_of
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.steps import AtStep, deterministic
from tests.gateway.world import Client, World, world

FULL = os.environ.get("AINF_LAW") == "full"
SEED = int(os.environ.get("AINF_SEED", random.SystemRandom().randrange(1_000_000)))
STRIDE = 1 if FULL else 10

pytestmark = pytest.mark.law


@attrs.frozen
class Kind:
    """A kind of request: which model it asks, how, and over which store."""

    name: str
    model: str
    stream: bool = True
    room_nusd: int | None = None
    """What a cap leaves for output."""
    slow_store: bool = False
    more: str = "slice_tokens = 8\nmin_output_tokens = 4"
    limits: str = "silence_s = 3\nexchange_s = 30"
    fields: dict[str, Any] = attrs.field(factory=dict)
    dialect: Dialect = CHAT
    leaves_at_write: int | None = None
    """The client leaves by itself then: what happens at a later step finds an exchange that has ended already."""
    candidates: tuple[str, ...] = ()
    """Where the model is a target: how its models behave, in the order in which they are tried."""
    comes_to: str = ""
    """What becomes of it then, undisturbed: the outcome's status, and how many attempts were opened."""
    late_after_ms: int | None = None
    """When a second candidate runs beside the first; None: never."""
    probes: bool = False
    """Whether the candidates have failed before, and are tried again for the first time."""


def pair_kinds(dialect: Dialect, format_: str) -> list[Kind]:
    """The kinds of one protocol over one provider format."""

    def kind(name: str, behaviour: str, *, stream: bool = True, room_nusd: int | None = None) -> Kind:
        fields = {"tools": [dialect.tool]} if "tools" in behaviour else {}
        model = f"{format_}/{behaviour}"
        return Kind(f"{dialect.format}-{format_}-{name}", model, stream, room_nusd, fields=fields, dialect=dialect)

    return [
        kind("stream", "sim-tokens-20-reasoning-4-pace-5ms"),
        kind("whole", "sim-tokens-20", stream=False),
        kind("tools", "sim-parallel-tools-tokens-6"),
        kind("capped", "sim-tokens-60-pace-5ms", room_nusd=30_000),
        kind("errors", "sim-tokens-9-error-after-3"),
        kind("early-head", "sim-tokens-4-delay-12s"),
    ]


TARGET = "target-0"
LATE = "sim-tokens-6-delay-2s"


def routed(name: str, comes_to: str, *candidates: str, **how: Any) -> Kind:
    """A kind that asks a target."""
    return Kind(f"routed-{name}", TARGET, candidates=candidates, comes_to=comes_to, **how)


ROUTED = [
    routed("stream", "succeeded 1", "sim-tokens-20-pace-5ms", "sim"),
    routed("whole", "succeeded 1", "sim-tokens-20", "sim", stream=False),
    routed("falls-back", "fell_back 2", "sim-error-500", "messages/sim-tokens-9-pace-5ms"),
    routed("falls-back-whole", "fell_back 2", "sim-error-500", "sim-tokens-9", stream=False, dialect=MESSAGES),
    routed(
        "falls-back-in-band", "fell_back 2", "responses/sim-error-first", "sim-tokens-9-pace-5ms", dialect=RESPONSES
    ),
    routed(
        "falls-back-late", "fell_back 2", "sim-stall-after-head", "sim", limits="first_byte_s = 11\nexchange_s = 30"
    ),
    routed("falls-back-slowly", "fell_back 2", "sim-error-500", "sim-tokens-4", slow_store=True),
    routed("falls-back-capped", "capped 2", "sim-error-500", "sim-tokens-60-pace-5ms", room_nusd=30_000),
    routed("all-fail", "failed 3", "sim-error-500", "sim-close-after-head", "sim-overloaded"),
    routed("fails-in-content", "failed 1", "sim-tokens-9-reset-after-3", "sim", dialect=MESSAGES),
    routed("rival-wins", "fell_back 2", LATE, "sim-tokens-6-pace-5ms", late_after_ms=100),
    routed("rival-loses", "succeeded 2", "sim-tokens-6-delay-150ms", LATE, late_after_ms=100, dialect=RESPONSES),
    routed("rival-translated", "fell_back 2", f"messages/{LATE}", "sim", late_after_ms=100, dialect=RESPONSES),
    routed("rivals-fail", "fell_back 3", "sim-error-500-delay-200ms", "sim-error-500", "sim", late_after_ms=100),
    routed("rival-slowly", "succeeded 2", "sim-delay-300ms", "sim", late_after_ms=100, slow_store=True),
    routed("probe", "succeeded 1", "sim-tokens-6-pace-5ms", "sim", probes=True),
    routed("probe-fails", "fell_back 2", "sim-error-500", "sim-tokens-4", probes=True),
    routed("rejected", "rejected_floor 0", "sim", fields={"routing_hint": {"min_quality": 1}}),
    routed("rejected-money", "rejected_money 0", "sim", room_nusd=0),
]
"""The kinds of requests for a target."""

DRAINED = 'slice_tokens = 8\nmin_output_tokens = 4\naborted_billing = "drain"\nabort_read_s = 2'

KINDS = [
    Kind("stream", "sim-tokens-30-pace-5ms"),
    Kind("whole", "sim-tokens-30", stream=False),
    Kind("burst", "sim-tokens-30-burst", fields={"stream_options": {"include_usage": True}}),
    Kind("tools", "sim-parallel-tools-tokens-6"),
    Kind("wrapped", "sim-tokens-6-json-for-sse"),
    Kind("collected", "sim-tokens-6-sse-for-json", stream=False),
    Kind("slow-store", "sim-tokens-12-pace-5ms", slow_store=True),
    Kind("slow-store-whole", "sim-tokens-12", stream=False, slow_store=True),
    Kind("capped", "sim-tokens-60-pace-5ms", room_nusd=30_000),
    Kind("clamped-whole", "sim-tokens-60", stream=False, room_nusd=30_000),
    Kind("early-head", "sim-tokens-6-delay-12s"),
    Kind("late-usage", "sim-tokens-6-stall-after-finish"),
    Kind("resets", "sim-tokens-9-reset-after-3"),
    Kind("stalls", "sim-tokens-9-stall-after-3"),
    Kind("truncates", "sim-tokens-9-eof-after-3"),
    Kind("errors", "sim-tokens-9-error-after-3"),
    Kind("refuses", "sim-error-500"),
    Kind("refuses-whole", "sim-error-429", stream=False),
    Kind("drained", "sim-tokens-20-pace-5ms-bills-on", more=DRAINED),
    Kind("drained-whole", "sim-tokens-20-pace-5ms-bills-on", stream=False, more=DRAINED),
    Kind("drained-whole-late", "sim-tokens-6-delay-2s-bills-on", stream=False, more=DRAINED, limits="exchange_s = 1"),
    Kind("drained-early-head", "sim-tokens-6-delay-12s-bills-on", more=DRAINED, limits="exchange_s = 11"),
    Kind("held-whole", "sim-tokens-6-bills-on", stream=False, more=DRAINED.replace("drain", "held")),
    Kind("drained-gone", "sim-tokens-20-pace-5ms-bills-on", more=DRAINED, leaves_at_write=3),
    Kind("drained-stalls", "sim-tokens-20-pace-5ms-stall-after-9", more=DRAINED, leaves_at_write=3),
    Kind("drained-capped", "sim-tokens-60-unlimited-pace-5ms-bills-on", room_nusd=30_000, more=DRAINED),
    Kind("drained-slow-store", "sim-tokens-20-pace-5ms-bills-on", slow_store=True, more=DRAINED, leaves_at_write=3),
    Kind("drained-translated", "messages/sim-tokens-20-reasoning-4-pace-5ms-bills-on", more=DRAINED, dialect=RESPONSES),
    *(kind for dialect in DIALECTS for format_ in FORMATS for kind in pair_kinds(dialect, format_)),
    *ROUTED,
]


class Source:
    """Something that ends an exchange, as it would from outside: ``act`` is called in the middle of everything."""

    def __init__(self, here: World, client: Client, scope: trio.CancelScope):
        self.here, self.client, self.scope = here, client, scope

    def client_gone(self) -> None:
        self.client.leave()

    def deadline(self) -> None:
        self._offer(Verdict(Ending.DEADLINE_EXCEEDED, "deadline_exceeded", "The deadline passed."))

    def shutdown(self) -> None:
        with self._breaking_off():
            self.here.gateway.inflight.shut_down(2.0)

    def cap(self) -> None:
        self._offer(Verdict(Ending.SPEND_CAP_EXCEEDED, "spend_cap_exceeded", "A cap is used up."))

    def _offer(self, verdict: Verdict) -> None:
        with self._breaking_off():
            for exchange in self.here.gateway.inflight:
                exchange.offer(verdict)

    @contextmanager
    def _breaking_off(self) -> Iterator[None]:
        """L7: what ends in the block has closed every socket to a provider behind it, but one that is read on."""
        running = [exchange for exchange in self.here.gateway.inflight if exchange.arbiter.verdict is None]
        yield
        for exchange in running:
            attempts = [attempt for attempt in (exchange.attempt, exchange.rival) if attempt is not None]
            assert exchange.drain is not None or all(attempt.call._aborted for attempt in attempts)

    def cancelled(self) -> None:
        self.scope.cancel()

    def provider_reset(self) -> None:
        for wire in self.here.wires:
            wire.stream._outgoing.broken = wire.stream._incoming.broken = True
            wire.stream._incoming.notify()


SOURCES = ["client_gone", "deadline", "shutdown", "cap", "cancelled", "provider_reset"]


class SlowStore:
    """A store whose disk is slow; like the real one, it is waited for to the end once it has begun."""

    def __init__(self, store: Any):
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def _slowly(self, operation: Callable[[], Any]) -> Any:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.2)
            done = await operation()
            await trio.sleep(0.2)
            return done

    async def open_inference(self, opening: Opening) -> Opened:
        return await self._slowly(partial(self._store.open_inference, opening))

    async def open_attempt(self, opening: AttemptOpening) -> AttemptOpened:
        return await self._slowly(partial(self._store.open_attempt, opening))

    async def extend_hold(self, extension: Extension) -> Extended:
        return await self._slowly(partial(self._store.extend_hold, extension))

    async def close_inference(self, closing: Closing) -> Settlement:
        return await self._slowly(partial(self._store.close_inference, closing))


def asking(here: World, kind: Kind) -> Client:
    asked = kind.dialect.question(kind.model, stream=kind.stream, **kind.fields)
    return here.client(asked, path=kind.dialect.path)


async def run_at_step(here: World, kind: Kind, source: str, at: int) -> tuple[Client, AtStep]:
    """Run one request with ``source`` acting just before its step ``at``."""
    client = asking(here, kind)
    if kind.leaves_at_write is not None:
        client.on_write = lambda writes: client.leave() if writes == kind.leaves_at_write else None
    scope = trio.CancelScope()
    watcher: list[AtStep] = []

    async def request() -> None:
        act = getattr(Source(here, client, scope), source)
        watcher.append(AtStep(trio.lowlevel.current_task(), at, act))
        trio.lowlevel.add_instrument(watcher[0])
        try:
            with scope:
                await here.run(client)
        finally:
            trio.lowlevel.remove_instrument(watcher[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(request)
    return client, watcher[0]


def target_of(model: str, candidates: tuple[str, ...], more: str = "", *, hedging: bool = False) -> str:
    """The tables of a target whose models behave like this; none where there are no candidates."""
    if not candidates:
        return ""
    named = [behaviour.rpartition("/") for behaviour in candidates]
    models = [Candidate(behaviour, format_ or "chat", more=more) for format_, _, behaviour in named]
    routing = f"[routing]\nbreaker_failures = 1000000\nhedging = {str(hedging).lower()}\n"
    return target_text(*models, name=model) + routing


async def prepare(here: World, kind: Kind) -> None:
    """Let the candidates be known to begin as late as they shall, and to have failed, if they shall, before now."""
    health = here.gateway.services.health
    known = [(terms.provider, terms.name) for terms in (model.terms for model in here.gateway.models.values())]
    late_us = (kind.late_after_ms or 0) * 1000
    health.recall(
        PastAttempt(provider=provider, model=model, ending=None, error_code=None, first_content_us=late_us)
        for provider, model in known
        for _ in range(LEAST_LATENCIES if late_us else 0)
    )
    for names in known if kind.probes else ():
        breaker = health._breakers.of(*names)
        if (turn := breaker.begin(trio.current_time())) is not None:
            breaker.failed(turn, trio.current_time(), retry_after_s=1)
    if kind.probes:
        await trio.sleep(max(health.rests_s(*names) or 0 for names in known))


async def enumerate_steps(kind: Kind, source: str, tmp_path: Path, counts: Counter[str]) -> None:
    models = ("sim",) if kind.candidates else (kind.model,)
    after = target_of(kind.model, kind.candidates, kind.more, hedging=kind.late_after_ms is not None)
    async with world(tmp_path, *models, more=kind.more, limits=kind.limits, after=after) as here:
        if kind.slow_store:
            here.gateway.services = attrs.evolve(here.gateway.services, store=SlowStore(here.store))
        base = 0 if kind.room_nusd is None else await base_of(here, asking(here, kind))
        at, answered, captured = SEED % STRIDE, True, Captured(here)
        while answered:
            if kind.room_nusd is not None:  # the same room for every run, whatever the runs before it used
                ((used,),) = await here.rows("SELECT coalesce(sum(settled_nusd + overrun_nusd), 0) FROM settlements")
                await here.set_cap(used + base + kind.room_nusd)
            await prepare(here, kind)
            await captured.look()
            client, steps = await run_at_step(here, kind, source, at)
            with trio.CancelScope(shield=True):
                ending = await check_transcript(here, client)
                await check_provider(here)
                outcome = await captured.check(client, is_rejected="rejected" in kind.name)
                assert steps.acted or outcome == kind.comes_to
                check_let_go(here)
            counts[ending or ("left" if client.gone or client.status is None else "rejected")] += 1
            answered = steps.acted
            at += STRIDE
        await check_ledger(here)
        assert [line for line in here.log.getvalue().splitlines() if '"defect"' in line] == []


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_law_at_every_step(kind: Kind, source: str, tmp_path: Path, count_cases: Callable[[str, int], None]):
    """Whatever step of an exchange is interrupted, it has one settlement, one audit event, one terminal frame."""
    counts: Counter[str] = Counter()
    with deterministic(SEED):
        trio.run(
            enumerate_steps, kind, source, tmp_path, counts,
            clock=trio.testing.MockClock(autojump_threshold=0),
        )  # fmt: skip
    count_cases(f"cancellation, {len(KINDS)} kinds x {len(SOURCES)} sources, AINF_SEED={SEED}", sum(counts.values()))
    assert sum(counts.values()) > 1
