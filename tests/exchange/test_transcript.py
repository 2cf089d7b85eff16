"""A transcript: many read what one says, each from the beginning and at its own pace, within a bound."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from ainf.exchange.transcript import Transcript, TranscriptReader


async def read_all(reader: TranscriptReader, told: list[bytes]) -> None:
    while True:
        told.append(await reader.receive())
        if reader.is_over:
            return


async def test_what_was_said_before_is_read_at_once(autojump_clock):
    """A reader that comes late gets the whole beginning in one piece, then what comes."""
    transcript, told = Transcript(100), []
    await transcript.start(200, [(b"a", b"b")])
    for piece in (b"one ", b"two "):
        await transcript.write(piece)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_all, transcript.attach(), told)
        await wait_all_tasks_blocked()
        assert told == [b"one two "]
        await transcript.write(b"three ")
        await wait_all_tasks_blocked()
        await transcript.finish(b"end")
    assert told == [b"one two ", b"three ", b"end"]
    assert transcript.head == (200, ((b"a", b"b"),))
    assert transcript.ended


async def test_what_was_said_before_a_piece(autojump_clock):
    """It can be had while all is kept: not once a part of it was dropped, nor behind an abort."""
    transcript = Transcript(8)
    reader = transcript.attach()
    for piece in (b"one ", b"two "):
        await transcript.write(piece)
    assert [transcript.said_before(number) for number in range(3)] == [b"", b"one ", b"one two "]
    await reader.receive()
    await transcript.write(b"three ")
    assert transcript.said_before(2) is None
    short = Transcript(8)
    await short.write(b"one ")
    short.abort()
    assert short.said_before(1) is None


async def test_the_end_alone_is_read_with_the_last_piece(autojump_clock):
    """An empty end ends what was read before; a reader behind the end gets everything and the end at once."""
    transcript = Transcript(100)
    await transcript.write(b"all")
    early = transcript.attach()
    assert await early.receive() == b"all"
    assert not early.is_over
    await transcript.finish(b"")
    assert early.is_over
    late = transcript.attach()
    assert await late.receive() == b"all"
    assert late.is_over


async def test_heartbeats_are_not_kept(autojump_clock):
    """A sign of life is no part of the answer."""
    transcript = Transcript(100)
    await transcript.beat(b": beat\n\n")
    await transcript.finish(b"x")
    assert transcript.told(b"") == b"x"


async def test_an_abort_is_told_to_all(autojump_clock):
    """Readers come to an end without one, the writer is let go, and nothing is said any more."""
    transcript, told = Transcript(4), []
    reader = transcript.attach()
    await transcript.write(b"123456")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transcript.write, b"held up")
        await wait_all_tasks_blocked()
        transcript.abort()
    await transcript.write(b"x")
    told.append(await reader.receive())
    assert (told, transcript.aborted, transcript.ended, reader.is_over) == ([b""], True, False, False)
    reader.close()


async def test_an_end_cannot_be_aborted(autojump_clock):
    """What was said to its end stays said."""
    transcript = Transcript(4)
    await transcript.finish(b"x")
    transcript.abort()
    assert not transcript.aborted
    assert await transcript.attach().receive() == b"x"


async def test_the_whole_answer_is_told_again_within_the_limit(autojump_clock):
    """Its last words count too."""
    transcript = Transcript(6)
    await transcript.write(b"1234")
    assert transcript.told(b"56") == b"123456"
    assert transcript.told(b"567") is None
    await transcript.write(b"56")
    assert transcript.is_whole
    await transcript.write(b"7")
    assert not transcript.is_whole
    assert transcript.told(b"") is None


async def test_beyond_the_limit_nobody_new_begins(autojump_clock):
    """The beginning is gone, for nobody read it."""
    transcript = Transcript(4)
    await transcript.write(b"12345")
    with pytest.raises(AssertionError):
        transcript.attach()
    assert transcript._pieces == []


async def test_without_a_limit_reached_nobody_is_waited_for(autojump_clock):
    """Inside the limit a reader that takes nothing holds nobody up."""
    transcript = Transcript(100)
    transcript.attach()
    with trio.fail_after(1):
        for _ in range(100):
            await transcript.write(b"x")


async def test_the_writer_waits_for_the_slowest(autojump_clock):
    """Beyond the limit it goes on when the slowest reader is near enough, or has left."""
    transcript = Transcript(4)
    slow, quick = transcript.attach(), transcript.attach()
    await transcript.write(b"123456")
    assert await quick.receive() == b"123456"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transcript.write, b"789")
        await wait_all_tasks_blocked()
        assert transcript.next_number == 1
        assert await slow.receive() == b"123456"  # in hand: not yet passed
        await wait_all_tasks_blocked()
        assert transcript.next_number == 1
        slow.close()
        nursery.start_soon(quick.receive)
    assert transcript._pieces == [b"789"]  # the front is dropped


async def test_what_nobody_reads_is_not_kept(autojump_clock):
    """Beyond the limit, and with the last reader gone, the exchange goes on and nothing piles up."""
    transcript = Transcript(4)
    reader = transcript.attach()
    await transcript.write(b"12345")
    assert len(transcript._pieces) == 1
    reader.close()
    for _ in range(1000):
        await transcript.write(b"x")
    assert transcript._pieces == []


async def test_a_cancelled_write_has_handed_nothing_over(autojump_clock):
    """As the exchange needs it: what it could not hand over it takes back."""
    transcript = Transcript(4)
    reader = transcript.attach()
    await transcript.write(b"12345")
    with trio.move_on_after(1):
        await transcript.write(b"lost")
    assert transcript.next_number == 1
    with trio.CancelScope() as scope:
        scope.cancel()
        await Transcript(4).write(b"x")
    assert scope.cancelled_caught
    reader.close()


async def test_a_cancelled_receive_has_lost_nothing(autojump_clock):
    """The next one gives what it would have given."""
    transcript = Transcript(100)
    reader = transcript.attach()
    await transcript.write(b"one")
    assert await reader.receive() == b"one"
    with trio.move_on_after(1):
        await reader.receive()
    await transcript.write(b"two")
    assert await reader.receive() == b"two"


async def test_who_reads_is_known(autojump_clock):
    """Waiting for somebody, and for nobody."""
    transcript, seen = Transcript(4), []

    async def watch() -> None:
        for wait in (transcript.wait_read, transcript.wait_unread, transcript.wait_read):
            await wait()
            seen.append(transcript.reader_count)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await wait_all_tasks_blocked()
        assert seen == []
        first, second = transcript.attach(), transcript.attach()
        await wait_all_tasks_blocked()
        first.close()
        first.close()
        await wait_all_tasks_blocked()
        assert len(seen) == 1
        second.close()
        await wait_all_tasks_blocked()
        assert seen[1:] == [0]
        transcript.attach()
    assert seen == [2, 0, 1]


@given(
    pieces=st.lists(st.binary(max_size=8), max_size=20),
    limit=st.integers(0, 40),
    paces=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 2)), max_size=4),
)
def test_everyone_reads_everything(pieces, limit, paces):
    """Whatever the bound and the paces, each reader gets all bytes in order, and what is kept stays within bounds."""

    async def run() -> None:
        transcript, told = Transcript(limit), []

        async def read(begins_s: float, pace_s: float) -> None:
            await trio.sleep(begins_s)
            if not transcript.is_whole:
                return
            reader, mine = transcript.attach(), []
            told.append(mine)
            while not reader.is_over:
                mine.append(await reader.receive())
                await trio.sleep(pace_s)
            reader.close()

        async with trio.open_nursery() as nursery:
            for pace in paces:
                nursery.start_soon(read, *pace)
            for piece in pieces:
                await trio.sleep(0.1)
                await transcript.write(piece)
                assert sum(map(len, transcript._pieces)) <= limit + 2 * 8
            await transcript.finish(b"end")
        assert all(b"".join(mine) == b"".join(pieces) + b"end" for mine in told)

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
