import pytest
import trio

from ainf.simulator import memory_connection


async def test_bytes_go_both_ways():
    """What one end sends the other receives, in both directions, at most max_bytes at a time."""
    one, other = memory_connection()
    await one.send_all(b"hello")
    await other.send_all(b"back")

    assert await other.receive_some(3) == b"hel"
    assert await other.receive_some() == b"lo"
    assert await one.receive_some() == b"back"


async def test_it_pushes_back(autojump_clock):
    """A sender waits while the other end's buffer is full, and goes on when there is room."""
    one, other = memory_connection(max_bytes=4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.send_all, b"123456")
        await trio.sleep(1)
        assert await other.receive_some() == b"1234"
        await trio.sleep(1)
        assert await other.receive_some() == b"56"


async def test_a_cancelled_send_has_sent_a_part(autojump_clock):
    """As with a socket, the part that fitted is on its way."""
    one, other = memory_connection(max_bytes=4)
    with trio.move_on_after(1):
        await one.send_all(b"123456")
    await one.aclose()

    assert await other.receive_some() == b"1234"
    assert await other.receive_some() == b""


async def test_close_ends_reading_and_breaks_writing():
    """After a close the peer reads the rest, then the end, and cannot send; the closed end can do nothing."""
    one, other = memory_connection()
    await one.send_all(b"last")
    await one.aclose()

    assert await other.receive_some() == b"last"
    assert await other.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await other.send_all(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await one.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await one.send_all(b"x")


async def test_reset_loses_what_was_unread():
    """After a reset the peer finds the connection broken in both directions."""
    one, other = memory_connection()
    await one.send_all(b"lost")
    one.reset()

    with pytest.raises(trio.BrokenResourceError):
        await other.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await other.send_all(b"x")


async def test_half_close_leaves_the_other_direction():
    """After send_eof the peer reads the end and may still send."""
    one, other = memory_connection()
    await one.send_eof()

    assert await other.receive_some() == b""
    await other.send_all(b"still")
    assert await one.receive_some() == b"still"


@pytest.mark.parametrize("act", ["aclose", "reset"])
async def test_waiters_wake_when_the_peer_goes(act, autojump_clock):
    """A receive and a blocked send return at once when the peer closes or resets."""
    one, other = memory_connection(max_bytes=1)
    outcomes = []

    async def receive():
        try:
            outcomes.append(await one.receive_some())
        except trio.BrokenResourceError:
            outcomes.append("broken")

    async def send():
        with pytest.raises(trio.BrokenResourceError):
            await one.send_all(b"123")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        nursery.start_soon(send)
        await trio.sleep(1)
        if act == "reset":
            other.reset()
        else:
            await other.aclose()
    assert outcomes == (["broken"] if act == "reset" else [b""])


async def test_room_can_be_awaited(autojump_clock):
    """wait_send_all_might_not_block returns when there is room."""
    one, other = memory_connection(max_bytes=2)
    await one.send_all(b"12")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.wait_send_all_might_not_block)
        await trio.sleep(1)
        assert len(nursery.child_tasks) == 1
        await other.receive_some()
