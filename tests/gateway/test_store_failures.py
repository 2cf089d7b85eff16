"""Every call of the store fails, one after the other, in every way, and the law still holds.

Kinds of request x failures x every call N of the engine beneath the store. CI takes a sample, by a seed that it prints;
``make law`` takes all. After each the process ends, another one recovers, and the whole database is checked, with what
every client saw and what the provider ran.
"""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping
from functools import partial
from itertools import count
from math import inf
from pathlib import Path
from typing import TypeAlias

import pytest
import trio
import trio.testing

from ainf.app import wall_clock
from ainf.calibration import Calibration
from ainf.inference.errors import GatewayError
from ainf.inference.moments import DAY_US
from ainf.store.admin import digest_of
from ainf.store.base import Rejection
from ainf.store.store import Store
from tests.extent import FULL, SEED
from tests.gateway.failing import FAILURES, READS, Failure, Machine
from tests.gateway.kinds import KINDS, PLAIN, ROUTED, Kind, Stage
from tests.gateway.law import check_ledger
from tests.gateway.steps import deterministic, reseed
from tests.gateway.trial import Trial, premises, reproducible
from tests.gateway.world import World

SAMPLE = 4
"""How many calls of each kind of request fail in CI."""
RUNS = 25
"""How many requests one database sees: then the next one is new, and it is quickly checked as a whole."""

COMBINED = list({kind.combination: kind for kind in reversed(KINDS)}.values())
"""One kind of each combination."""
LONG = PLAIN[0]
BUSY_FOR_EVER = next(failure for failure in FAILURES if failure.name == "busy for ever")
THOROUGH = [*PLAIN, *ROUTED, *COMBINED]
"""The kinds of which every call fails; of the others it is every fourth."""

pytestmark = pytest.mark.law


Cases: TypeAlias = Generator[tuple[Failure, int], bool, None]
"""Which call fails next, and how; is told whether the last one was reached."""


def every_case(stride: int) -> Cases:
    """All calls, of each failure those that are its own; or every so manieth of them, by the seed."""
    for failure in FAILURES:
        at = 1 + SEED % stride
        while (yield failure, at):
            at += stride


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

    def __init__(self, kind: Kind, *, stride: int, is_keyed: bool = False):
        self.ran = 0
        self.failed: Counter[str] = Counter()
        self._kind = kind
        self._stride = stride
        self._is_keyed = is_keyed
        self._refusals: list[tuple[int, str]] = []
        self._keys = count()

    async def run(self, tmp_path: Path) -> None:
        """Run all cases, or a sample; one database is not used for too many, so that it is quickly checked."""
        cases: Cases | None = None
        case: tuple[Failure, int] | None = None
        while cases is None or case is not None:
            async with premises(self._kind, tmp_path) as (below, ready):
                await self._undisturbed(below, ready)  # what is written once for all is there now
                if cases is None:
                    calls = await self._undisturbed(below, ready)
                    chance = random.Random(f"{SEED}-{self._kind.name}")
                    cases = every_case(self._stride) if FULL else some_cases(calls, chance)
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
        below.fault.heal()
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
            is_told = failure.passes or READS.issuperset(below.fault.acted_at)
            await below.restart()
            await trial.check(
                refusals=self._refusals,
                defects=failure.is_defect,
                told=is_told,
                undone=is_told and failure.pause_s < inf,
            )
            return is_reached


def run(enumeration: Enumeration, tmp_path: Path) -> None:
    with deterministic(SEED):
        trio.run(enumeration.run, tmp_path, clock=trio.testing.MockClock(autojump_threshold=0))
    assert enumeration.ran


@pytest.mark.threat(68, 70)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_law_at_every_call(kind: Kind, tmp_path: Path, count_cases: Callable[[str, int], None]):
    """Whichever call of the store fails, however: one settlement, and an end is told only if that is durable."""
    enumeration = Enumeration(kind, stride=1 if kind in THOROUGH else 4)
    run(enumeration, tmp_path)
    count_cases(f"store calls failed, {len(KINDS)} kinds x {len(FAILURES)} failures, AINF_SEED={SEED}", enumeration.ran)
    asked = {"note_unrouted"} if "rejected" in kind.name else {"open_inference", "close_inference"}
    assert asked <= enumeration.failed.keys() or not FULL


@pytest.mark.threat(68, 70)
@pytest.mark.parametrize("kind", COMBINED, ids=lambda kind: kind.name)
def test_law_at_every_call_under_an_idempotency_key(
    kind: Kind, tmp_path: Path, count_cases: Callable[[str, int], None]
):
    """The same, asked twice under one key: the key is kept with what was told, or free."""
    enumeration = Enumeration(kind, stride=4, is_keyed=True)
    run(enumeration, tmp_path)
    count_cases(f"store calls failed, {len(COMBINED)} kinds under a key, AINF_SEED={SEED}", enumeration.ran)


async def _key_record(store: Store) -> object:
    return await store.find_key(digest_of("none of ours"))


async def _reject(store: Store) -> object:
    store.note_rejection(Rejection("k0000000", "invalid_json", "/v1/messages", 1))
    return await store.write(lambda tx: tx.epoch)


async def _recover(store: Store) -> object:
    return await store.recover(wall_clock()), await store.replay_spool()


ERRANDS: Mapping[str, Callable[[Store, str], Awaitable[object]]] = {
    "receipt": lambda store, inference_id: store.receipt(inference_id),
    "find_key": lambda store, _: _key_record(store),
    "find_claim": lambda store, _: store.find_claim("k0000000", "/v1/chat/completions", "k-1"),
    "find_response": lambda store, _: store.find_response("resp-1", "acc_agents"),
    "forget_claims": lambda store, _: store.forget_claims(wall_clock() + 2 * DAY_US, 10),
    "calibrations": lambda store, _: store.calibrations(),
    "add_calibrations": lambda store, _: store.add_calibrations({"sim": Calibration("sim", "sim")}),
    "note_rejection": lambda store, _: _reject(store),
    "recover": lambda store, _: _recover(store),
}
"""What else is asked of the store, by name."""


async def leave(below: Machine, here: World, idempotency_key: str, what: Callable[[], None]) -> str:
    """Let something happen in the middle of an answer; return the id of its exchange."""
    trial = Trial(here, below, LONG, idempotency_key)
    trial.on_write = lambda writes: what() if writes == 3 else None
    await trial.run()
    return trial.clients[0].inference_id


class ErrandFailures:
    """The cases of one errand."""

    def __init__(self, errand: str, below: Machine, here: World):
        self._errand = errand
        self._below = below
        self._here = here
        self._inference_id = ""
        self._keys = count(1)

    async def run(self, failure: Failure) -> int:
        """Let every call fail; return how many did."""
        await self._leave_open()
        stride = 1 if FULL or self._errand != "recover" else 20
        at, failed, is_reached = 1 + SEED % stride, 0, True
        while is_reached:
            with reproducible(f"{self._errand}: {failure.name} at call {at}, AINF_SEED={SEED}"):
                is_reached = await self._case(failure, at)
            failed += is_reached
            at += stride
        return failed

    async def _case(self, failure: Failure, at: int) -> bool:
        """Return whether the call was reached that was to fail."""
        below = self._below
        below.fault.arm(failure, at)
        said = await self._run(failure)
        is_reached = bool(below.fault.acted_at)
        assert is_reached or said is None
        await below.restart()
        assert await self._run(failure) is None, "all is well"
        await check_ledger(self._here)
        if self._errand == "recover":
            receipt = await self._here.receipt(self._inference_id)
            assert receipt["ending"] != "abandoned", "what was told is undone"
            await self._leave_open()
        return is_reached

    async def _leave_open(self) -> None:
        """Let a process die in the middle of an answer, and another settle into its spool.

        Both are recovered, or neither, where that is to fail.
        """
        below = self._below
        for what in (below.kill, partial(below.fault.arm, BUSY_FOR_EVER, 1)):
            self._inference_id = await leave(below, self._here, f"k-{next(self._keys)}", what)
            await below.restart(recovers=self._errand != "recover")

    async def _run(self, failure: Failure) -> Exception | None:
        """Run the errand; return how it failed, if it did."""
        try:
            await ERRANDS[self._errand](self._below.store, self._inference_id)
        except GatewayError as error:
            if error.code != "store_unavailable":
                raise
            return error
        except RuntimeError as error:
            if not failure.is_defect:
                raise
            return error
        return None


@pytest.mark.parametrize("errand", ERRANDS)
async def test_errands_at_every_call(errand: str, tmp_path: Path, autojump_clock, count_cases):
    """Whatever else the store is asked, recovery above all: it fails as it says, and once all is well it is done."""
    failed = 0
    for failures in [[failure] for failure in FAILURES] if FULL else [FAILURES]:
        async with premises(LONG, tmp_path) as (below, ready):
            failing = ErrandFailures(errand, below, ready.here)
            failed += sum([await failing.run(failure) for failure in failures])
    count_cases("store calls failed, of errands", failed)
    assert failed > 1
