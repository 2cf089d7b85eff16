"""The cancellation suite of idempotency keys: at every step of an exchange, or of one of its readers, something ends.

Kinds of exchange x sources of an end x every step k, as in ``test_cancellation``. Two clients ask under one key. Each
time the law is checked over both transcripts and the whole database, and that the key is left as it should be: what was
told to an end that is not to be asked again is told again, anything else is a new exchange.
"""

from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from ainf.http.idempotency import SharedExchanges
from ainf.inference.outcome import Ending, Verdict
from tests.extent import FULL, SEED, STRIDE
from tests.gateway.backends import FORMATS
from tests.gateway.capture import Captured, check_let_go
from tests.gateway.causes import SlowStore
from tests.gateway.dialects import CHAT, DIALECTS, MESSAGES, RESPONSES, Dialect
from tests.gateway.keyed import keyed
from tests.gateway.kinds import TARGET, target_of
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.steps import AtStep, deterministic
from tests.gateway.world import Client, World, world

pytestmark = pytest.mark.law


@attrs.frozen
class Kind:
    """A kind of exchange, and who reads it how."""

    name: str
    model: str
    streams: tuple[bool, bool] = (True, True)
    second_after_s: float = 0.03
    cap_nusd: int | None = None
    slow_store: bool = False
    limit: int = 1 << 20
    stalls: bool = False
    dialect: Dialect = CHAT
    candidates: tuple[str, ...] = ()
    """Where the model is a target: how its models behave, in the order in which they are tried."""


KINDS = [
    Kind("streams", "sim-tokens-20-pace-5ms"),
    Kind("wholes", "sim-tokens-20-delay-1s", (False, False)),
    Kind("stream-read-whole", "sim-tokens-20-pace-5ms", (True, False)),
    Kind("whole-read-as-stream", "sim-tokens-20-delay-12s", (False, True)),
    Kind("at-once", "sim-tokens-20-pace-5ms", second_after_s=0),
    Kind("behind-the-end", "sim-tokens-20-pace-5ms", second_after_s=5),
    Kind("early-head", "sim-tokens-4-delay-12s"),
    Kind("small-buffer", "sim-tokens-40-pace-5ms", limit=2_000),
    Kind("small-buffer-stalled", "sim-tokens-40-pace-5ms", limit=2_000, stalls=True),
    Kind("slow-store", "sim-tokens-12-pace-5ms", slow_store=True),
    Kind("capped", "sim-tokens-60-pace-5ms", cap_nusd=140_000),
    Kind("errors", "sim-tokens-9-error-after-3"),
    Kind("refuses", "sim-error-503", (False, True)),
    Kind("refused-opening", "sim", cap_nusd=1),
    Kind("messages", "messages/sim-tokens-12-pace-5ms", (True, False), dialect=MESSAGES),
    Kind("responses", "responses/sim-tokens-12-pace-5ms", (True, False), dialect=RESPONSES),
    Kind("routed", TARGET, candidates=("sim-tokens-12-pace-5ms", "sim")),
    Kind("falls-back", TARGET, (True, False), candidates=("sim-error-500", "sim-tokens-9-pace-5ms"), dialect=MESSAGES),
    Kind("all-fail", TARGET, (False, True), candidates=("sim-error-500", "sim-error-500-delay-50ms")),
    Kind("routed-refused-opening", TARGET, cap_nusd=1, candidates=("sim", "sim")),
]


def combined(dialect: Dialect, *, stream: bool, is_same: bool, is_routed: bool) -> Kind:
    """A kind that is read in the mode in which it was asked, and in the other."""
    format_ = next(name for name in FORMATS if (name == dialect.format) is is_same)
    model = f"{format_}/sim-tokens-6-pace-5ms"
    words = [dialect.format, format_, "stream" if stream else "whole", *(["routed"] if is_routed else [])]
    asked = TARGET if is_routed else model
    candidates = (model, "sim") if is_routed else ()
    return Kind("-".join(words), asked, (stream, not stream), dialect=dialect, candidates=candidates)


COMBINED = [
    combined(dialect, stream=stream, is_same=is_same, is_routed=is_routed)
    for dialect, stream, is_same, is_routed in product(DIALECTS, *[(True, False)] * 3)
]
"""Each protocol, streamed and whole, with a provider of its own format and of another, pinned and routed: 24."""


@attrs.define
class Run:
    """One exchange with its clients, and what may happen to them: ``act`` is one of the sources' methods."""

    here: World
    clients: list[Client]
    scopes: list[trio.CancelScope] = attrs.field(factory=lambda: [trio.CancelScope(), trio.CancelScope()])
    home: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def first_leaves(self) -> None:
        self.clients[0].leave()

    def both_leave(self) -> None:
        for client in self.clients:
            client.leave()

    def first_cancelled(self) -> None:
        self.scopes[0].cancel()

    def second_cancelled(self) -> None:
        self.scopes[1].cancel()

    def exchange_cancelled(self) -> None:
        self.home.cancel()

    def all_cancelled(self) -> None:
        for scope in (*self.scopes, self.home):
            scope.cancel()

    def shutdown(self) -> None:
        self.here.gateway.inflight.shut_down(2.0)

    def deadline(self) -> None:
        for exchange in self.here.gateway.inflight:
            exchange.offer(Verdict(Ending.DEADLINE_EXCEEDED, "deadline_exceeded", "The deadline passed."))

    def provider_reset(self) -> None:
        for wire in self.here.wires:
            wire.stream._outgoing.broken = wire.stream._incoming.broken = True
            wire.stream._incoming.notify()


SOURCES = [
    ("reader", "first_leaves"), ("reader", "both_leave"), ("reader", "first_cancelled"),
    ("second", "second_cancelled"), ("second", "first_cancelled"), ("second", "all_cancelled"),
    ("exchange", "both_leave"), ("exchange", "exchange_cancelled"), ("exchange", "all_cancelled"),
    ("exchange", "shutdown"), ("exchange", "deadline"), ("exchange", "provider_reset"),
]  # fmt: skip
"""Whose steps are counted, and what happens at the k-th."""
THIRD = SOURCES if FULL else SOURCES[SEED % 3 :: 3]
"""The sources that the combinations meet in CI."""
ROWS = [
    pytest.param(kind, *source, id="-".join((kind.name, *source)))
    for kinds, sources in ((KINDS, SOURCES), (COMBINED, THIRD))
    for kind in kinds
    for source in sources
]


async def run_at_step(here: World, kind: Kind, whose: str, source: str, at: int) -> tuple[Run, bool]:
    """Run an exchange with ``source`` acting just before step ``at`` of one of its tasks; return whether it did."""
    clients = [
        keyed(here, kind.model, stream=stream, dialect=kind.dialect, key=f"{whose}-{source}-{at}")
        for stream in kind.streams
    ]
    if kind.stalls:
        clients[0].on_write = lambda writes: clients[0].stall() if writes == 2 else None
    run = Run(here, clients)
    watchers: list[AtStep] = []

    def watch(who: str) -> None:
        if who == whose:
            watchers.append(AtStep(trio.lowlevel.current_task(), at, getattr(run, source)))
            trio.lowlevel.add_instrument(watchers[0])

    async def home(task_status: trio.TaskStatus[None]) -> None:
        shared = here.gateway.shared = SharedExchanges(limit=kind.limit, linger_s=1)
        watch("exchange")
        with run.home:
            await shared.run(task_status)

    async def request(number: int) -> None:
        await trio.sleep(kind.second_after_s * number)
        watch(("reader", "second")[number])
        with run.scopes[number]:
            await here.run(clients[number])

    async with trio.open_nursery() as nursery:
        await nursery.start(home)
        async with trio.open_nursery() as requests:
            for number in range(2):
                requests.start_soon(request, number)
        await here.gateway.inflight.wait_empty()
        for watcher in watchers:
            trio.lowlevel.remove_instrument(watcher)
        assert len(here.gateway.shared) == 0
        nursery.cancel_scope.cancel()
    return run, any(watcher.acted for watcher in watchers)


async def check_key(here: World, kind: Kind, run: Run) -> Client:
    """Ask once more under the key: what was told and is not to be asked again is told again, else it is asked again.

    Return who asked.
    """
    (first, _), key = run.clients, dict(run.clients[0].scope["headers"])[b"idempotency-key"].decode()
    states = dict(await here.rows("SELECT inference_id, state FROM claims WHERE idempotency_key = ?", key))
    assert "running" not in states.values()
    home = SharedExchanges(limit=kind.limit, linger_s=1)
    here.gateway.shared = home
    async with trio.open_nursery() as nursery:
        await nursery.start(home.run)
        third = await here.run(keyed(here, kind.model, stream=kind.streams[0], dialect=kind.dialect, key=key))
        nursery.cancel_scope.cancel()
    if "kept" in states.values():
        assert third.inference_id in states
        assert third.headers["x-ainf-idempotent-replay"] == "true"
        if first.ended and first.headers.get("x-ainf-inference-id") == third.inference_id:
            assert third.body == first.body.replace(b": keep-alive\n\n", b"")
    elif "too_large" in states.values():
        assert third.json()["error"]["code"] == "idempotency_completed"
    else:
        assert third.headers.get("x-ainf-inference-id") not in states
    await check_transcript(here, third)
    return third


async def enumerate_steps(kind: Kind, whose: str, source: str, tmp_path: Path, counts: Counter[str]) -> None:
    more, limits = "slice_tokens = 8\nmin_output_tokens = 4", "silence_s = 30\nexchange_s = 40"
    models = ("sim",) if kind.candidates else (kind.model,)
    after = target_of(kind.model, kind.candidates, more)
    async with world(tmp_path, *models, more=more, limits=limits, after=after) as here:
        if kind.slow_store:
            here.gateway.services = attrs.evolve(here.gateway.services, store=SlowStore(here.store))
        at, acted, captured = SEED % STRIDE, True, Captured(here)
        while acted:
            if kind.cap_nusd is not None:  # the same room for every run, whatever the runs before it used
                ((used,),) = await here.rows("SELECT coalesce(sum(settled_nusd + overrun_nusd), 0) FROM settlements")
                await here.set_cap(used + kind.cap_nusd)
            await captured.look()
            run, acted = await run_at_step(here, kind, whose, source, at)
            for client in run.clients:
                ending = await check_transcript(here, client)
                counts[ending or "not admitted"] += 1
            await check_provider(here)
            third = await check_key(here, kind, run)
            is_rejected = bool(kind.candidates) and kind.cap_nusd is not None
            await captured.check(*run.clients, third, is_rejected=is_rejected)
            check_let_go(here)
            at += STRIDE
        await check_ledger(here)
        assert [line for line in here.log.getvalue().splitlines() if '"defect"' in line] == []


@pytest.mark.parametrize(("kind", "whose", "source"), ROWS)
def test_law_at_every_step(
    kind: Kind, whose: str, source: str, tmp_path: Path, count_cases: Callable[[str, int], None]
):
    """Whatever is interrupted: one settlement, one end for each who is there, and a key that is kept or free."""
    counts: Counter[str] = Counter()
    with deterministic(SEED):
        trio.run(
            enumerate_steps, kind, whose, source, tmp_path, counts,
            clock=trio.testing.MockClock(autojump_threshold=0),
        )  # fmt: skip
    count_cases(
        f"idempotency, {len(KINDS + COMBINED)} kinds x {len(SOURCES)} sources, AINF_SEED={SEED}", sum(counts.values())
    )
    assert sum(counts.values()) > 1
