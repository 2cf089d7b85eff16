"""Pairs of causes: while an exchange ends for one reason something else befalls it, and the law still holds.

Causes are what ends an exchange from outside, and what befalls its store. The first comes at any moment of a request
(a step of its tasks, or a batch of the store's writer), the second at a moment behind it; both are drawn by a seed,
which is printed, over all kinds of requests. Situations that ask for it are met on purpose. Behind each pair the
process ends, another one recovers, and the whole database is checked. CI runs a part; ``make law`` runs all.
"""

import random
from collections.abc import Callable
from functools import partial
from itertools import count, product
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio
import trio.testing

from ainf.app import wall_clock
from ainf.store import admin
from tests.extent import FULL, SEED
from tests.gateway.causes import SOURCES, Source
from tests.gateway.failing import FAILURES, Machine
from tests.gateway.kinds import KINDS, Kind, Stage
from tests.gateway.steps import Moment, Moments, deterministic, reseed
from tests.gateway.trial import Trial, premises, reproducible

PAIRS = 40 if FULL else 2
"""Pairs of each kind of request."""
TIMES = 4 if FULL else 1
"""How often each situation is met with each cause."""
TRIES = 4

pytestmark = pytest.mark.law

NEVER: Final = 1 << 30
STORE: Final = {
    "store_away": "busy for ever",
    "store_full": "full",
    "store_late": "answered late",
    "store_lost": "all disks full",
}
"""What befalls the store, and how it is called there."""
UNTOLD: Final = {"cancelled", "client_stalls", "process_killed", "store_lost"}
"""What may keep a client from being told an end that has not left."""
CAUSES: Final = [*SOURCES, "client_stalls", "key_revoked", "revocation_seen", *STORE, "process_killed"]


class Cause(Source):
    """Something that befalls a trial."""

    def __init__(self, trial: Trial):
        super().__init__(trial.here, trial.clients[-1], trial.scope)
        self._below = trial.machine

    def client_stalls(self) -> None:
        self.client.stall()

    def key_revoked(self) -> None:
        self._below.soon(partial(admin.revoke_key, key_id=self.here.key_id, at=wall_clock()))

    def revocation_seen(self) -> None:
        for exchange in self.here.gateway.inflight:
            self.here.gateway.inflight.revoke(exchange.plan.inference_id)

    def _fail(self, name: str) -> None:
        (failure,) = [failure for failure in FAILURES if failure.name == name]
        self._below.fault.arm(failure, 1)

    def store_away(self) -> None:
        self._fail(STORE["store_away"])

    def store_full(self) -> None:
        self._fail(STORE["store_full"])

    def store_late(self) -> None:
        self._fail(STORE["store_late"])

    def store_lost(self) -> None:
        self._fail(STORE["store_lost"])

    def process_killed(self) -> None:
        self._below.kill()


@attrs.frozen
class Situation:
    """Where a second cause comes on purpose."""

    name: str
    kind: str
    first: str | None
    """None: the exchange ends, or goes on, by itself."""
    during: str = ""
    """At which moments the second comes; empty: at all behind the first."""


SITUATIONS: Final = [
    Situation("before-a-refused-extension", "capped", None, "before extend_hold"),
    Situation("behind-a-refused-extension", "capped", None, "after extend_hold"),
    Situation("before-settling", "stream", None, "before close_inference"),
    Situation("settled-and-not-told", "stream", None, "after close_inference"),
    Situation("settling-whole", "slow-store-whole", None, "before close_inference"),
    Situation("in-the-opening", "slow-store", None, "before open_inference"),
    Situation("open-and-not-told", "slow-store", None, "after open_inference"),
    Situation("opening-a-fallback", "routed-falls-back-slowly", None, "before open_attempt"),
    Situation("fallback-open-and-not-told", "routed-falls-back-slowly", None, "after open_attempt"),
    Situation("opening-a-rival", "routed-rival-slowly", None, "before open_attempt"),
    Situation("rejecting", "routed-rejected", None, "before note_unrouted"),
    Situation("draining-for-nobody", "drained-gone", "client_gone"),
    Situation("draining-behind-a-cap", "drained-slow-store", "cap"),
    Situation("concluding-a-shutdown", "slow-store", "shutdown"),
    Situation("settling-a-shutdown", "slow-store", "shutdown", "before close_inference"),
    Situation("settling-for-nobody", "stream", "client_gone", "before close_inference"),
    Situation("settling-what-is-cancelled", "slow-store", "cancelled", "before close_inference"),
    Situation("settling-in-a-lost-store", "stream", "store_away"),
]


class Pairing:
    """The pairs of one kind of request."""

    def __init__(self, kind: Kind, below: Machine, ready: Stage):
        self._kind = kind
        self._below = below
        self._ready = ready
        self._keys = count(1)
        self._chance = random.Random()
        self._counts: dict[str, int] = {}

    async def meet(self, seed: str, first: str | None, second: str, during: str = "") -> bool:
        """Run until both causes came, at moments that are drawn by a seed; return whether they did."""
        self._chance = random.Random(seed)
        if first is None:
            moments = await self._count(during)
            return moments > 0 and (await self._run(seed, second, self._draw(moments), during=during)).acted == 1
        at, within = self._draw(await self._count("")), 12
        for _ in range(TRIES):
            later = self._chance.randrange(bool(during), within)
            moments = await self._run(seed, first, at, second, later, during)
            if moments.acted == 2:
                return True
            within = max(moments.passed, 2)
        return False

    async def _count(self, during: str) -> int:
        """Return how many moments there are in a request that nothing befalls."""
        if during not in self._counts:
            self._counts[during] = (await self._run(f"{SEED}", CAUSES[0], NEVER, during=during)).passed
        return self._counts[during]

    def _draw(self, most: int) -> int:
        return self._chance.randint(1, most)

    async def _run(self, seed: str, first: str, at: int, second: str = "", later: int = 0, during: str = "") -> Moments:
        """Run one request; where there is but one cause, ``during`` is said of it."""
        what = f"{self._kind.name}: {first} at {at}, {second} {later} later ({during}), drawn by {seed}"
        with reproducible(what):
            await self._ready.set()
            reseed(seed)
            trial = Trial(self._ready.here, self._below, self._kind)
            causes = [Moment(partial(self._act, trial, first), at, "" if second else during)]
            if second:
                causes.append(Moment(partial(self._act, trial, second), later, during))
            moments = await self._watched(trial, causes)
            met = {name for name, _ in zip((first, second), range(moments.acted), strict=False)}
            has_died = self._below.death is not None
            assert has_died == ("process_killed" in met)
            await self._below.restart()
            await trial.check(refusals=None, told=not met & UNTOLD)
            if "key_revoked" in met:
                key_id = f"k{next(self._keys):07}"
                self._ready.here.key = await self._ready.here.new_key("agents", key_id=key_id)
                self._ready.here.key_id = key_id
        return moments

    async def _watched(self, trial: Trial, causes: list[Moment]) -> Moments:
        watching: list[Moments] = []

        def watch(_: Trial) -> None:
            watching.append(Moments(trio.lowlevel.current_task(), causes))
            trio.lowlevel.add_instrument(watching[0])
            self._below.on_turn = watching[0].pass_by

        trial.on_begin = watch
        await trial.run()
        trio.lowlevel.remove_instrument(watching[0])
        self._below.on_turn = lambda _: None
        return watching[0]

    def _act(self, trial: Trial, cause: str) -> None:
        getattr(Cause(trial), cause)()


async def meet_any(kind: Kind, tmp_path: Path) -> int:
    """Meet pairs of any causes; return how many."""
    met = 0
    chance = random.Random(f"{SEED}-{kind.name}")
    async with premises(kind, tmp_path) as (below, ready):
        pairing = Pairing(kind, below, ready)
        for number in range(PAIRS):
            first, second = chance.choice(CAUSES), chance.choice(CAUSES)
            met += await pairing.meet(f"{SEED}-{kind.name}-{number}", first, second)
    return met


async def meet_situation(situation: Situation, tmp_path: Path) -> int:
    """Meet a situation with every cause; return how often."""
    (kind,) = [kind for kind in KINDS if kind.name == situation.kind]
    met = 0
    async with premises(kind, tmp_path) as (below, ready):
        pairing = Pairing(kind, below, ready)
        for second, number in product(CAUSES, range(TIMES)):
            seed = f"{SEED}-{situation.name}-{second}-{number}"
            met += await pairing.meet(seed, situation.first, second, situation.during)
    return met


def run(what: Callable[[], Callable[..., object]], *args: object) -> int:
    with deterministic(SEED):
        return trio.run(what, *args, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_law_of_pairs(kind: Kind, tmp_path: Path, count_cases: Callable[[str, int], None]):
    """Whatever comes while an exchange ends: one settlement, one audit event, one terminal frame at most."""
    met = run(meet_any, kind, tmp_path)
    count_cases(f"pairs of causes, {len(KINDS)} kinds, AINF_SEED={SEED}", met)
    assert met or not FULL


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_law_in_situations(situation: Situation, tmp_path: Path, count_cases: Callable[[str, int], None]):
    """Whatever comes at the moments that matter most: the law holds."""
    met = run(meet_situation, situation, tmp_path)
    count_cases(f"pairs of causes, {len(SITUATIONS)} situations x {len(CAUSES)} causes, AINF_SEED={SEED}", met)
    assert met > len(CAUSES) * TIMES // 2
