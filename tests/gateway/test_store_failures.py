"""Every call of the store fails, one after the other, in every way, and the law still holds.

Kinds of request x failures x every call N of the engine beneath the store. CI takes a sample, by a seed that it prints;
``make law`` takes all. After each the process ends, another one recovers, and the whole database is checked, with what
every client saw and what the provider ran.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Generator
from itertools import count
from pathlib import Path
from typing import TypeAlias

import pytest
import trio
import trio.testing

from tests.gateway.failing import FAILURES, Failure, Machine, machine
from tests.gateway.kinds import KINDS, Kind, Stage, stage
from tests.gateway.steps import deterministic, reseed
from tests.gateway.trial import Trial, reproducible

FULL = os.environ.get("AINF_LAW") == "full"
SEED = int(os.environ.get("AINF_SEED", random.SystemRandom().randrange(1_000_000)))
SAMPLE = 10
"""How many calls of each kind of request fail in CI."""
RUNS = 50
"""How many requests one database sees: then the next one is new, and it is quickly checked as a whole."""

pytestmark = pytest.mark.law


Cases: TypeAlias = Generator[tuple[Failure, int], bool, None]
"""Which call fails next, and how; is told whether the last one was reached."""


def every_case() -> Cases:
    """All calls, of each failure those that are its own."""
    for failure in FAILURES:
        at = 1
        while (yield failure, at):
            at += 1


def some_cases(calls: Counter[str], chance: random.Random) -> Cases:
    """A sample of them, where a request makes so many calls."""
    counts = [(failure, sum(calls[point] for point in failure.points)) for failure in FAILURES]
    cases = [(failure, at) for failure, count in counts for at in range(1, count + 1)]
    chosen = chance.sample(cases, min(SAMPLE, len(cases)))
    while chosen:
        yield chosen.pop()


class Enumeration:
    """The cases of one kind of request.

    Attributes:
        ran: how many there were.
        failed: the operations that failed.
    """

    def __init__(self, kind: Kind, *, is_keyed: bool = False):
        self.ran = 0
        self.failed: Counter[str] = Counter()
        self._kind = kind
        self._is_keyed = is_keyed
        self._refusals: list[tuple[int, str]] = []
        self._keys = count()

    async def run(self, tmp_path: Path) -> None:
        """Run all cases, or a sample; one database is not used for too many, so that it is quickly checked."""
        cases: Cases | None = None
        case: tuple[Failure, int] | None = None
        while cases is None or case is not None:
            async with machine() as below, stage(self._kind, tmp_path, below) as ready:
                below.turn_s = 0.2 if self._kind.slow_store else 0.0
                await self._undisturbed(below, ready)  # what is written once for all is there now
                if cases is None:
                    calls = await self._undisturbed(below, ready)
                    chance = random.Random(f"{SEED}-{self._kind.name}")
                    cases = every_case() if FULL else some_cases(calls, chance)
                    case = next(cases)
                for _ in range(RUNS):
                    case = await self._next(cases, await self._case(below, ready, *case)) if case else None
                self.failed += below.fault.failed

    async def _next(self, cases: Cases, is_reached: bool) -> tuple[Failure, int] | None:
        self.ran += is_reached
        try:
            return cases.send(is_reached)
        except StopIteration:
            return None

    async def _begin(self, below: Machine, ready: Stage) -> Trial:
        await ready.set()
        await below.restart()
        reseed(SEED)
        return Trial(ready.here, below, self._kind, f"k-{next(self._keys)}" if self._is_keyed else "")

    async def _undisturbed(self, below: Machine, ready: Stage) -> Counter[str]:
        """Return how many calls a request makes; note how it is refused, if it is."""
        trial = await self._begin(below, ready)
        await trial.run()
        calls = below.fault.calls.copy()
        refused = [client for client in trial.clients if client.ended and "x-ainf-inference-id" not in client.headers]
        self._refusals = [(client.status or 0, client.json()["error"]["code"]) for client in refused]
        await trial.check(refusals=self._refusals, told=True)
        return calls

    async def _case(self, below: Machine, ready: Stage, failure: Failure, at: int) -> bool:
        """Run one case; return whether the call was reached that was to fail."""
        with reproducible(f"{self._kind.name}: {failure.name} at call {at}, AINF_SEED={SEED}"):
            trial = await self._begin(below, ready)
            below.fault.arm(failure, at)
            await trial.run()
            is_reached, has_died = bool(below.fault.acted_at), below.death is not None
            assert has_died == below.fault.has_ended_process, below.death
            is_told = not has_died and not failure.lasts and not failure.is_defect and failure.pause_s < float("inf")
            await below.restart()
            await trial.check(refusals=self._refusals, defects=failure.is_defect, told=is_told or not is_reached)
            return is_reached


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_law_at_every_call(kind: Kind, tmp_path: Path, count_cases: Callable[[str, int], None]):
    """Whichever call of the store fails, however: one settlement, and an end is told only if that is durable."""
    enumeration = Enumeration(kind)
    with deterministic(SEED):
        trio.run(enumeration.run, tmp_path, clock=trio.testing.MockClock(autojump_threshold=0))
    count_cases(f"store calls failed, {len(KINDS)} kinds x {len(FAILURES)} failures, AINF_SEED={SEED}", enumeration.ran)
    assert enumeration.ran > 1
