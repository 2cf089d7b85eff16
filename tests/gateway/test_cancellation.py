"""The cancellation suite: at every step of an exchange something ends it, and the law still holds.

Kinds of request x sources of an end x every step k. CI runs every tenth step, from a seed that it prints; ``make law``
runs all. The law is checked over the whole database after each kind, and over the transcript after each run.
"""

from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from tests.extent import SEED, STRIDE
from tests.gateway.capture import Captured, check_let_go
from tests.gateway.causes import SOURCES, SlowStore, Source
from tests.gateway.dialects import DIALECTS
from tests.gateway.kinds import KINDS, Kind, asking, stage
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.steps import AtStep, deterministic
from tests.gateway.world import Client, World

pytestmark = pytest.mark.law


def test_every_combination_is_among_the_kinds():
    """Each protocol, streamed and whole, with a provider of its own format and of another, pinned and routed: 24."""
    combinations = set(product((dialect.format for dialect in DIALECTS), *[(False, True)] * 3))
    assert len(combinations) == 24
    assert combinations - {kind.combination for kind in KINDS} == set()


async def run_at_step(here: World, kind: Kind, source: str, at: int) -> tuple[Client, AtStep]:
    """Run one request with ``source`` acting just before its step ``at``."""
    client = asking(here, kind)
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


async def enumerate_steps(kind: Kind, source: str, tmp_path: Path, counts: Counter[str]) -> None:
    async with stage(kind, tmp_path) as ready:
        here = ready.here
        if kind.slow_store:
            here.gateway.services = attrs.evolve(here.gateway.services, store=SlowStore(here.store))
        at, answered, captured = SEED % STRIDE, True, Captured(here)
        while answered:
            await ready.set()
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


@pytest.mark.threat(61, "S9")
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
