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

CLOCKS = Clocks(
    early_head_s=10, heartbeat_s=15, tail_s=2, close_s=10, spool_s=2, speak_s=25, prelude_bytes=1000, keep_answer_s=60
)
LIMITS = Limits(exchange_s=100, is_stream=True)
PATIENCE = Patience(first_byte_s=30, silence_s=20, is_streamed=True)
UNSTREAMED = Patience(first_byte_s=30, silence_s=20, is_streamed=False)


@attrs.define(eq=False)
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
    asked: Asked

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
    asked = Asked()
    watcher.begin(asked, patience, may_fall_back=False)
    return Watched(arbiter, speech, wire, watcher, trio.current_time(), asked)


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
            here.watcher.touch(here.asked)

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
            here.watcher.touch(here.asked)
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
            here.watcher.touch(here.asked)
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


@pytest.fixture
async def waiting():
    """A watcher at work that waits for nothing yet; it may fall back."""
    here = watched()
    here.watcher.end(here.asked)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.watcher.run, nursery)
        yield here
        nursery.cancel_scope.cancel()


def begin(here: Watched, **patience: float) -> Asked:
    asked = Asked()
    here.watcher.begin(asked, attrs.evolve(PATIENCE, **patience), may_fall_back=True)
    return asked


async def test_an_attempt_that_may_be_replaced_is_given_up_alone(waiting, autojump_clock):
    """Its silence ends it and not the exchange; the next one has all of its own time, also where that is shorter."""
    first = begin(waiting)
    await trio.sleep(31)
    assert first.failure is not None
    assert first.failure.code == "upstream_timeout"
    assert first.given_up_at == pytest.approx(waiting.began + 30, abs=0.05)
    await trio.sleep(9)
    second = begin(waiting, first_byte_s=3)
    await trio.sleep(4)
    assert second.given_up_at == pytest.approx(waiting.began + 43, abs=0.05)
    assert waiting.arbiter.verdict is None


async def test_two_attempts_have_each_their_own_clock(waiting, autojump_clock):
    """What one says breaks no silence of the other, and one whose answer comes whole keeps the other from nothing."""
    first, whole = begin(waiting), begin(waiting, is_streamed=False)
    await trio.sleep(10)
    second = begin(waiting, first_byte_s=25, silence_s=6)
    await trio.sleep(15)
    waiting.watcher.touch(second)
    waiting.watcher.touch(whole)
    await trio.sleep(100)
    assert first.given_up_at == pytest.approx(waiting.began + 30, abs=0.05)
    assert second.given_up_at == pytest.approx(waiting.began + 31, abs=0.05)
    assert whole.given_up_at is None
    assert "did not begin" in first.failure.message
    assert "was silent" in second.failure.message


async def test_what_is_over_is_waited_for_no_longer(waiting, autojump_clock):
    """An attempt that ended otherwise is not given up, nor brought back by what it says late."""
    first = begin(waiting)
    waiting.watcher.end(first)
    waiting.watcher.end(first)
    waiting.watcher.touch(first)
    await trio.sleep(99)
    assert first.given_up_at is None


@pytest.mark.parametrize("leads", [0, 1])
async def test_behind_the_commit_point_silence_ends_the_exchange(leads, autojump_clock):
    """What has begun to answer is not replaced; it is waited for by its own limits, and nothing else any more."""
    here = watched()
    here.watcher.end(here.asked)
    both = begin(here, first_byte_s=5), begin(here, first_byte_s=5, silence_s=7)
    here.watcher.touch(both[leads])
    here.watcher.commit(both[leads])
    async with trio.open_nursery() as nursery:
        assert await here.until_the_end(nursery) == pytest.approx((20, 7)[leads], abs=0.05)
        nursery.cancel_scope.cancel()
    assert (both[0].failure, both[1].failure) == (None, None)
    assert here.arbiter.verdict is not None
    assert here.arbiter.verdict.code == "upstream_timeout"
