"""Reading on by itself: what ends it, what it has read, what it says of that. Through a gateway: test_abort_policy."""

import math
from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio

from ainf.exchange.attempt import Attempt
from ainf.exchange.drain import Drain, DrainLimits
from ainf.exchange.hold import RunningHold
from ainf.formats.base import Answer, Reading
from ainf.inference.errors import UpstreamError
from tests.exchange.test_hold import admission, running

LIMITS = DrainLimits(read_s=5, nusd=1_000_000, size=1_000, tail_s=1.5)


@attrs.define
class FakeCall:
    """Gives its reads, a second apart; then stalls."""

    reads: list[bytes | Exception]

    async def receive(self) -> bytes:
        await trio.sleep(1 if self.reads else math.inf)
        read = self.reads.pop(0)
        if isinstance(read, Exception):
            raise read
        return read


class FakePipe:
    """Each byte is output; ``!`` is the end, ``?`` an error of the provider's."""

    def __init__(self) -> None:
        self.answer = Answer()

    def receive(self, data: bytes) -> Reading:
        if b"!" in data:
            self.answer.raw_finish_reason = "stop"
        if b"?" in data:
            self.answer.error = UpstreamError("upstream_error", "It said so.")
        return Reading(data, len(data), is_content=True, is_meaningful=True)

    def receive_eof(self) -> Reading:
        return Reading(b"", 0, is_content=False, is_meaningful=False)


@attrs.define
class FakeAttempt:
    call: FakeCall
    hold: RunningHold
    pipe: FakePipe = attrs.field(factory=FakePipe)
    error_code: str | None = None
    body_ended: bool = False

    async def await_head(self) -> None:
        await trio.lowlevel.checkpoint()

    read = Attempt.read


def drain_of(*reads: bytes | Exception, limits: DrainLimits = LIMITS) -> tuple[Drain, RunningHold]:
    hold, _ = running(admission())
    return Drain(FakeAttempt(FakeCall([*reads]), hold), limits), hold  # type: ignore[arg-type]


LOST = UpstreamError("upstream_truncated", "It broke off.")


@pytest.mark.parametrize(
    ("reads", "limits", "cut_by", "seconds", "said", "body_ended"),
    [
        ((b"ab", b"c!", b""), LIMITS, None, 3, b"abc!", True),
        ((b"ab", b"c!"), LIMITS, None, 3.5, b"abc!", False),
        ((b"ab", LOST), LIMITS, None, 2, b"ab", False),
        ((b"ab", b"c?", b"d"), LIMITS, None, 2, b"abc?", False),
        ((b"ab",), LIMITS, "time", 5, b"ab", False),
        ((b"ab", b"cd", b"ef", b""), attrs.evolve(LIMITS, size=3), "size", 2, b"abcd", False),
        ((b"abcd" * 100, b""), attrs.evolve(LIMITS, nusd=10), "money", 1, b"abcd" * 100, False),
    ],
    ids=["end", "no-eof", "broken", "error", "time", "size", "money"],
)
async def test_what_ends_it(reads, limits, cut_by, seconds, said, body_ended, autojump_clock):
    """The provider's end, with a little time for what comes behind it; its failure; or a limit, which it names."""
    drain, hold = drain_of(*reads, limits=limits)
    began = trio.current_time()
    await drain.run()
    assert trio.current_time() - began == pytest.approx(seconds)
    assert (drain.cut_by, drain.unsaid, drain._attempt.body_ended) == (cut_by, said, body_ended)
    assert hold.received == len(said)
    told = {"drained_bytes": len(said), "drained_ms": seconds * 1000}
    assert drain.notes() == told | ({} if cut_by is None else {"drain_cut_by": cut_by})


def _stop(drain: Drain, scope: trio.CancelScope) -> None:
    drain.stop()


def _cancel(drain: Drain, scope: trio.CancelScope) -> None:
    scope.cancel()


@pytest.mark.parametrize("after_s", [0, 1.5])
@pytest.mark.parametrize("end", [_stop, _cancel])
async def test_it_can_be_ended_at_any_time(
    end: Callable[[Drain, trio.CancelScope], Awaitable[None]], after_s: float, autojump_clock
):
    """Also before it runs; what was read until then stands."""
    drain, hold = drain_of(b"ab", b"cd", b"ef")
    if end is _stop and not after_s:
        drain.stop()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain.run)
        await trio.sleep(after_s)
        began = trio.current_time()
        end(drain, nursery.cancel_scope)
    assert trio.current_time() == began
    assert drain.cut_by == "stop"
    assert hold.received == (2 if after_s else 0)
