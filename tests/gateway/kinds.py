"""The kinds of requests of the long suites over a whole gateway: what is asked, how, and of what providers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from ainf.routing.observed import LEAST_LATENCIES, PastAttempt
from tests.gateway.backends import FORMATS
from tests.gateway.candidates import Candidate, target_text
from tests.gateway.dialects import CHAT, DIALECTS, MESSAGES, RESPONSES, Dialect
from tests.gateway.holds import base_of
from tests.gateway.world import Client, World, world


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

    @property
    def combination(self) -> tuple[str, bool, bool, bool]:
        """What is common to many: protocol, streamed, provider of the same format, routed."""
        asked = self.candidates[-1] if self.comes_to.startswith("fell_back") else (*self.candidates, self.model)[0]
        answering = asked.rpartition("/")[0] or "chat"
        return self.dialect.format, self.stream, answering == self.dialect.format, bool(self.candidates)


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
    routed("translated-whole", "succeeded 1", "responses/sim-tokens-9", "sim", stream=False),
    routed("messages", "succeeded 1", "messages/sim-tokens-9-pace-5ms", "sim", dialect=MESSAGES),
    routed("messages-whole", "fell_back 2", "sim-error-500", "messages/sim-tokens-9", stream=False, dialect=MESSAGES),
    routed("responses", "fell_back 2", "sim-error-500", "responses/sim-tokens-9-pace-5ms", dialect=RESPONSES),
    routed("responses-whole", "succeeded 1", "responses/sim-tokens-9", "sim", stream=False, dialect=RESPONSES),
    routed("responses-translated", "succeeded 1", "gemini/sim-tokens-9", "sim", stream=False, dialect=RESPONSES),
    routed("rejected", "rejected_floor 0", "sim", fields={"routing_hint": {"min_quality": 1}}),
    routed("rejected-money", "rejected_money 0", "sim", room_nusd=0),
]
"""The kinds of requests for a target."""

DRAINED = 'slice_tokens = 8\nmin_output_tokens = 4\naborted_billing = "drain"\nabort_read_s = 2'

PAIRS = [kind for dialect in DIALECTS for format_ in FORMATS for kind in pair_kinds(dialect, format_)]
"""Every protocol over every provider format."""

PLAIN = [
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
]
"""What may become of a request, in one protocol."""

KINDS = [*PLAIN, *PAIRS, *ROUTED]


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


def asking(here: World, kind: Kind, **headers: str) -> Client:
    """A client that makes a request of a kind, and leaves where that says so."""
    asked = kind.dialect.question(kind.model, stream=kind.stream, **kind.fields)
    client = here.client(asked, path=kind.dialect.path, **headers)
    if kind.leaves_at_write is not None:
        client.on_write = lambda writes: client.leave() if writes == kind.leaves_at_write else None
    return client


class Stage:
    """A gateway for one kind of request, made ready for one run after the other."""

    def __init__(self, here: World, kind: Kind, base_nusd: int):
        self.here = here
        self._kind = kind
        self._base_nusd = base_nusd

    async def set(self) -> None:
        """Make ready for a run: with the same room under the cap, whatever the runs before it used."""
        if self._kind.room_nusd is not None:
            ((used,),) = await self.here.rows("SELECT coalesce(sum(settled_nusd + overrun_nusd), 0) FROM settlements")
            await self.here.set_cap(used + self._base_nusd + self._kind.room_nusd)
        await prepare(self.here, self._kind)


@asynccontextmanager
async def stage(kind: Kind, tmp_path: Path, store: Any = None) -> AsyncIterator[Stage]:
    """Run a gateway for a kind around a block, over a store of its own or the one that is given."""
    models = ("sim",) if kind.candidates else (kind.model,)
    after = target_of(kind.model, kind.candidates, kind.more, hedging=kind.late_after_ms is not None)
    async with world(tmp_path, *models, more=kind.more, limits=kind.limits, after=after, store=store) as here:
        yield Stage(here, kind, 0 if kind.room_nusd is None else await base_of(here, asking(here, kind)))
