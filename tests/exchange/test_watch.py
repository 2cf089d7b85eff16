"""The clocks of one exchange."""

import attrs
import pytest
import trio

from ainf.exchange.plan import Clocks
from ainf.exchange.speech import Speech
from ainf.exchange.watch import ClockWatcher, Limits, Patience
from ainf.inference.errors import UpstreamError
from ainf.inference.outcome import Ending, OutcomeArbiter, Verdict
from ainf.sse import HEARTBEAT
from tests.exchange.test_speech import HEAD, Wire

CLOCKS = Clocks(early_head_s=10, heartbeat_s=15, tail_s=2, close_s=10, speak_s=25, prelude_bytes=1000, keep_answer_s=60)
LIMITS = Limits(exchange_s=100, is_stream=True)
PATIENCE = Patience(first_byte_s=30, silence_s=20, is_streamed=True)
UNSTREAMED = Patience(first_byte_s=30, silence_s=20, is_streamed=False)


@attrs.define
class Asked:
    """An attempt; notes why it was given up."""

    failure: UpstreamError | None = None
    given_up_at: float | None = None

    def give_up(self, error: UpstreamError) -> None:
        self.failure, self.given_up_at = error, trio.current_time()


@attrs.define
class Watched:
    arbiter: OutcomeArbiter
    speech: Speech
    wire: Wire
    watcher: ClockWatcher
    began: float

    @property
    def now(self) -> float:
        return trio.current_time() - self.began

    async def until_the_end(self, nursery: trio.Nursery) -> float:
        await self.watcher.run(nursery)
        return self.now


def watched(limits: Limits = LIMITS, patience: Patience = PATIENCE, *, takes_s: float = 0.0) -> Watched:
    wire = Wire(takes_s)
    arbiter, speech = OutcomeArbiter(lambda _: None), Speech(wire)
    watcher = ClockWatcher(arbiter, speech, limits, CLOCKS, HEAD)
    watcher.begin(Asked(), patience, may_fall_back=False)
    return Watched(arbiter, speech, wire, watcher, trio.current_time())


@pytest.mark.parametrize(
    ("limits", "patience", "touched_at", "ended_at", "code"),
    [
        (LIMITS, PATIENCE, [], 30, "upstream_timeout"),
        (LIMITS, PATIENCE, [3], 23, "upstream_timeout"),
        (LIMITS, PATIENCE, [3, 13, 29], 49, "upstream_timeout"),
        (LIMITS, PATIENCE, list(range(1, 100, 10)), 100, "deadline_exceeded"),
        (attrs.evolve(LIMITS, exchange_s=5), PATIENCE, [], 5, "deadline_exceeded"),
        (LIMITS, attrs.evolve(PATIENCE, silence_s=1), [0.5], 1.5, "upstream_timeout"),
        (LIMITS, attrs.evolve(PATIENCE, first_byte_s=2), [], 2, "upstream_timeout"),
        (attrs.evolve(LIMITS, is_stream=False), UNSTREAMED, [], 100, "deadline_exceeded"),
        (attrs.evolve(LIMITS, is_stream=False), UNSTREAMED, [3], 100, "deadline_exceeded"),
    ],
)
async def test_when_it_ends(limits, patience, touched_at, ended_at, code, autojump_clock):
    """Each clock ends the exchange on time, whichever is the shortest and whatever came before."""
    here = watched(limits, patience)

    async def touch() -> None:
        for at in touched_at:
            await trio.sleep_until(here.began + at)
            here.watcher.touch()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(touch)
        assert await here.until_the_end(nursery) == pytest.approx(ended_at, abs=0.05)
        nursery.cancel_scope.cancel()
    verdict = here.arbiter.verdict
    assert verdict is not None
    assert verdict.code == code
    assert verdict.ending is (Ending.UPSTREAM_ERROR if code == "upstream_timeout" else Ending.DEADLINE_EXCEEDED)


async def test_an_early_head_then_beats(autojump_clock):
    """Before any content: the head after ``early_head_s``, a beat every ``heartbeat_s``."""
    here = watched(LIMITS, attrs.evolve(PATIENCE, first_byte_s=50))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.watcher.run, nursery)
        await trio.sleep(9.9)
        assert here.wire.said == []
        await trio.sleep(0.2)
        assert here.wire.said == [200, HEARTBEAT]
        await trio.sleep(30)
        assert here.wire.said == [200, *[HEARTBEAT] * 3]
        nursery.cancel_scope.cancel()


async def test_beats_only_in_silence(autojump_clock):
    """Whatever the pump says puts the next beat off."""
    here = watched()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.watcher.run, nursery)
        await here.speech.start(200, HEAD)
        for _ in range(6):
            here.watcher.touch()
            await here.speech.write(b"a")
            await trio.sleep(14)
        assert HEARTBEAT not in here.wire.said
        await trio.sleep(2)
        assert here.wire.said[-1] == HEARTBEAT
        nursery.cancel_scope.cancel()


async def test_a_beat_that_is_stuck_holds_no_clock_up(autojump_clock):
    """Limits hold while a client takes its time over a heartbeat."""
    here = watched(attrs.evolve(LIMITS, exchange_s=16), attrs.evolve(PATIENCE, first_byte_s=90), takes_s=60)
    async with trio.open_nursery() as nursery:
        assert await here.until_the_end(nursery) == pytest.approx(16, abs=0.05)


async def test_the_clients_time_is_no_silence(autojump_clock):
    """While the pump is held up by the client, and for as long, the provider's clock stands."""
    here = watched(attrs.evolve(LIMITS, exchange_s=500), takes_s=40)
    async with trio.open_nursery() as nursery:

        async def pump() -> None:
            here.watcher.touch()
            await here.speech.write(b"a")

        nursery.start_soon(pump)
        assert await here.until_the_end(nursery) == pytest.approx(60, abs=0.05)


async def test_it_stops_when_something_else_has_ended_it(autojump_clock):
    """After a verdict it neither beats nor offers."""
    here = watched()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.watcher.run, nursery)
        await trio.sleep(5)
        here.arbiter.offer(Verdict(Ending.COMPLETED))
        await trio.sleep(200)
    assert here.wire.said == []


async def test_it_wakes_rarely(autojump_clock):
    """A thousand idle streams must cost nothing: it wakes for what is due, not to look."""
    here = watched(attrs.evolve(LIMITS, exchange_s=1000), attrs.evolve(PATIENCE, first_byte_s=1000), takes_s=300)
    wakes = 0
    next_due = here.watcher._next_due

    def counted() -> float:
        nonlocal wakes
        wakes += 1
        return next_due()

    here.watcher._next_due = counted  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        await here.until_the_end(nursery)
        nursery.cancel_scope.cancel()
    assert wakes <= 2 * 1000 / CLOCKS.heartbeat_s


async def test_an_attempt_that_may_be_replaced_is_given_up_alone(autojump_clock):
    """Its silence ends it and not the exchange; the next one has all of its own time, also where that is shorter."""
    here = watched()
    first, second = Asked(), Asked()
    here.watcher.begin(first, PATIENCE, may_fall_back=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.watcher.run, nursery)
        await trio.sleep(31)
        assert first.failure is not None
        assert first.failure.code == "upstream_timeout"
        assert first.given_up_at == pytest.approx(here.began + 30, abs=0.05)
        await trio.sleep(9)
        here.watcher.begin(second, attrs.evolve(PATIENCE, first_byte_s=3), may_fall_back=True)
        await trio.sleep(4)
        assert second.given_up_at == pytest.approx(here.began + 43, abs=0.05)
        assert here.arbiter.verdict is None
        nursery.cancel_scope.cancel()


async def test_behind_the_commit_point_silence_ends_the_exchange(autojump_clock):
    """What has begun to answer is not replaced."""
    here = watched()
    asked = Asked()
    here.watcher.begin(asked, PATIENCE, may_fall_back=True)
    here.watcher.touch()
    here.watcher.commit()
    async with trio.open_nursery() as nursery:
        assert await here.until_the_end(nursery) == pytest.approx(20, abs=0.05)
        nursery.cancel_scope.cancel()
    assert asked.failure is None
    assert here.arbiter.verdict is not None
    assert here.arbiter.verdict.code == "upstream_timeout"
