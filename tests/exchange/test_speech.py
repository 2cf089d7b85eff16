"""What is said to one client: in order, a head first, beats between frames, one end."""

import attrs
import pytest
import trio

from ainf.exchange.speech import Speech
from ainf.sse import HEARTBEAT

HEAD = ((b"content-type", b"text/event-stream"),)


@attrs.define
class Wire:
    """A client that takes a while for everything, and sees what begins before the last has ended."""

    takes_s: float = 1.0
    said: list[object] = attrs.field(factory=list)
    busy: bool = False

    async def _take(self, what: object) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        assert not self.busy, "two speakers at once"
        self.busy = True
        with trio.CancelScope(shield=True):
            await trio.sleep(self.takes_s)
        self.said.append(what)
        self.busy = False

    async def start(self, status: int, headers: object) -> None:
        await self._take(status)

    async def write(self, data: bytes) -> None:
        await self._take(data)

    async def beat(self, data: bytes) -> None:
        await self._take(data)

    async def finish(self, data: bytes) -> None:
        await self._take((data, "end"))

    def abort(self) -> None:
        self.said.append("abort")

    def told(self, end: bytes) -> bytes | None:
        return b"told" + end


async def test_in_order(autojump_clock):
    """Head, frames, end."""
    wire = Wire()
    speech = Speech(wire)
    await speech.start(200, HEAD)
    await speech.start(200, HEAD)
    await speech.write(b"a")
    await speech.finish(b"z")
    assert wire.said == [200, b"a", (b"z", "end")]
    assert speech.started
    assert speech.finished


async def test_a_beat_before_the_head_starts_it(autojump_clock):
    """The early head comes once, whoever gives it."""
    wire = Wire()
    speech = Speech(wire)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(speech.beat, HEAD)
        await trio.sleep(0.5)
        await speech.start(200, HEAD)
        await speech.write(b"a")
    assert wire.said == [200, HEARTBEAT, b"a"]


@pytest.mark.parametrize("first", ["beat", "write"])
async def test_one_speaker_at_a_time(first, autojump_clock):
    """A frame waits for a beat under way; a beat is left out while a frame is under way."""
    wire = Wire()
    speech = Speech(wire)
    await speech.start(200, HEAD)
    async with trio.open_nursery() as nursery:
        if first == "beat":
            nursery.start_soon(speech.beat, HEAD)
            await trio.sleep(0.5)
            nursery.start_soon(speech.write, b"a")
        else:
            nursery.start_soon(speech.write, b"a")
            await trio.sleep(0.5)
            nursery.start_soon(speech.beat, HEAD)
    assert wire.said == ([200, HEARTBEAT, b"a"] if first == "beat" else [200, b"a"])


async def test_no_beat_behind_the_end(autojump_clock):
    """After the end, or an abort, nothing is said."""
    for end in ("finish", "abort"):
        wire = Wire()
        speech = Speech(wire)
        await speech.start(200, HEAD)
        if end == "finish":
            await speech.finish(b"z")
        else:
            speech.abort()
        await speech.beat(HEAD)
        assert HEARTBEAT not in wire.said
        assert speech.finished


async def test_no_second_end(autojump_clock):
    """Two ends are a bug."""
    speech = Speech(Wire())
    await speech.start(200, HEAD)
    await speech.finish(b"z")
    with pytest.raises(AssertionError):
        await speech.finish(b"z")


async def test_the_clients_time_is_counted(autojump_clock):
    """All that the pump waits for the client counts, also behind a beat; and it shows as writing."""
    speech = Speech(Wire(takes_s=2))
    await speech.start(200, HEAD)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(speech.beat, HEAD)
        await trio.sleep(0.5)
        assert speech.is_busy
        assert not speech.is_writing
        nursery.start_soon(speech.write, b"a")
        await trio.sleep(0.5)
        assert speech.is_writing
    assert speech.held_up_s == pytest.approx(3.5)
    assert speech.last_said == trio.current_time()
    assert not speech.is_busy


async def test_a_cancelled_beat_leaves_the_way_free(autojump_clock):
    """When the watcher is cancelled in the middle of a beat, the pump can still speak."""
    wire = Wire()
    speech = Speech(wire)
    await speech.start(200, HEAD)
    with trio.move_on_after(0.5):
        await speech.beat(HEAD)
    await speech.write(b"a")
    assert wire.said[-1] == b"a"


@pytest.mark.parametrize("first", ["beat", "start"])
async def test_a_head_that_was_cancelled_before_it_was_given_can_still_be_given(first, autojump_clock):
    """Cancelled at the very moment of the head, nothing was started: the end has its own status."""
    wire = Wire()
    speech = Speech(wire)
    with trio.CancelScope() as scope:
        scope.cancel()
        await (speech.beat(HEAD) if first == "beat" else speech.start(200, HEAD))
    assert not speech.started
    assert not speech.is_busy
    await speech.start(504, HEAD)
    await speech.finish(b"z")
    assert wire.said == [504, (b"z", "end")]
