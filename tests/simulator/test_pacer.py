import pytest
import trio

from ainf.simulator.pacer import GATHER_S, Pacer


@pytest.fixture
async def pacer(nursery):
    pacer = Pacer()
    nursery.start_soon(pacer.run)
    await trio.testing.wait_all_tasks_blocked()
    return pacer


async def test_sleepers_wake_when_due(pacer, autojump_clock):
    """Each sleeper wakes at its time, whatever the order in which they lay down, at most the gathering time late."""
    began, woke = trio.current_time(), {}

    async def sleep(seconds):
        await pacer.sleep_until(began + seconds)
        woke[seconds] = trio.current_time() - began

    async with trio.open_nursery() as sleepers:
        for seconds in (5.0, 1.0, 3.0, 1.0005, 1.0):
            sleepers.start_soon(sleep, seconds)

    assert list(woke) == [1.0, 1.0005, 3.0, 5.0]
    for seconds, at in woke.items():
        assert seconds <= at <= seconds + GATHER_S + 1e-9


async def test_a_time_that_has_passed_is_a_checkpoint(pacer, autojump_clock):
    """Sleeping until the past returns at once, as a checkpoint."""
    with trio.testing.assert_checkpoints():
        await pacer.sleep_until(trio.current_time() - 1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await pacer.sleep_until(trio.current_time() - 1)
    assert scope.cancelled_caught


async def test_a_cancelled_sleeper_is_not_woken(pacer, autojump_clock):
    """Cancellation ends a sleep at once, and the time that was due does no harm."""
    began = trio.current_time()
    with trio.move_on_after(1):
        await pacer.sleep_until(began + 2)
    assert trio.current_time() - began == pytest.approx(1)
    await trio.sleep(5)
    await pacer.sleep_until(began + 8)
    assert trio.current_time() - began == pytest.approx(8)


async def test_an_earlier_sleeper_shortens_the_timer(pacer, autojump_clock):
    """One that comes later but is due earlier does not wait for the first."""
    began = trio.current_time()
    async with trio.open_nursery() as sleepers:
        sleepers.start_soon(pacer.sleep_until, began + 100)
        await trio.sleep(1)
        await pacer.sleep_until(began + 2)
        assert trio.current_time() - began == pytest.approx(2)
        sleepers.cancel_scope.cancel()
