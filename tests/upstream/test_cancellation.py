"""Cancelled or aborted in any state, a call leaves nothing open, holds no place and spoils no later call."""

from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio
import trio.testing

from ainf.inference.errors import UpstreamError
from ainf.upstream.client import UpstreamAborted, UpstreamCall, UpstreamClient
from tests.upstream.loopback import Authority, read_request, request_to, serving
from tests.upstream.memory import (
    CHUNKED,
    END,
    LIMITS,
    OK,
    REQUEST,
    MemoryNetwork,
    MemoryWire,
    answering,
    chunk,
)  # fmt: skip

STREAM = [CHUNKED[:30], CHUNKED[30:], chunk(b"a"), chunk(b"b") + b"1\r", b"\nc\r\n", END]


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope just before the k-th step of one task: between any two of its checkpoints."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, step: int):
        self._task, self._scope, self._left = task, scope, step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            if self._left == 0:
                self._scope.cancel()
            self._left -= 1


async def whole_call(call: UpstreamCall) -> bytes:
    try:
        await call.start()
        body = b""
        while data := await call.receive():
            body += data
        return body
    finally:
        await call.aclose()


async def check_consistent(client: UpstreamClient, network: MemoryNetwork) -> None:
    """No place is held, every wire is closed or waits in the pool, and the next call gets its own answer."""
    lane = client.call(REQUEST)._lane
    assert lane.places.value == lane.places.max_value
    assert sum(not wire.closed for wire in network.wires) == lane.idle
    assert await whole_call(client.call(REQUEST)) == b"abc"


@pytest.mark.parametrize("reuse", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize("places", [1, 5])
async def test_cancel_at_every_step(nursery, reuse, places):
    """For k = 0, 1, 2, ... until a call runs to its end: cancelled before its k-th step, nothing leaks."""
    for step in range(200):
        network = MemoryNetwork(nursery, answering(*STREAM))
        client = UpstreamClient(limits=attrs.evolve(LIMITS, connections_per_origin=places), dialer=network)
        if reuse:
            await whole_call(client.call(REQUEST))
        call = client.call(REQUEST)
        finished = False
        with trio.CancelScope() as scope:
            instrument = CancelAtStep(trio.lowlevel.current_task(), scope, step)
            trio.lowlevel.add_instrument(instrument)
            try:
                assert await whole_call(call) == b"abc"
                finished = True
            finally:
                trio.lowlevel.remove_instrument(instrument)
        await check_consistent(client, network)
        if finished and not scope.cancel_called:
            assert step > 8
            return
    pytest.fail("the call never ran to its end")


async def test_cancel_while_waiting_for_a_place(nursery):
    """The place goes to the next in line."""
    network = MemoryNetwork(nursery, answering(*STREAM))
    client = UpstreamClient(limits=attrs.evolve(LIMITS, connections_per_origin=1), dialer=network)
    holder = client.call(REQUEST)
    await holder.start()
    results = []

    async def run():
        results.append(await whole_call(client.call(REQUEST)))

    async with trio.open_nursery() as waiting:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as cancelled:
                cancelled.start_soon(whole_call, client.call(REQUEST))
                await trio.testing.wait_all_tasks_blocked()
                waiting.start_soon(run)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        await holder.aclose()
    assert results == [b"abc"]
    await check_consistent(client, network)


async def test_a_stuck_write_can_be_cancelled():
    """A provider that takes no byte does not keep the call."""
    network = MemoryNetwork(stall_writes=True)
    client = UpstreamClient(limits=LIMITS, dialer=network)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(whole_call, client.call(REQUEST))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert network.wires[0].closed
    lane = client.call(REQUEST)._lane
    assert lane.places.value == lane.places.max_value


async def cancelled_start(call: UpstreamCall) -> None:
    """Begin a call, and cancel it when it waits."""
    async with trio.open_nursery() as starting:
        starting.start_soon(call.start)
        await trio.testing.wait_all_tasks_blocked()
        starting.cancel_scope.cancel()


async def test_a_request_that_was_sent_whole_can_still_be_answered():
    """Who is cancelled while waiting for the head can go on waiting, be cancelled again, and read the whole answer."""
    network = MemoryNetwork()
    client = UpstreamClient(limits=LIMITS, dialer=network)
    call = client.call(REQUEST)
    await cancelled_start(call)
    assert call.sent
    (wire,) = network.wires
    assert not wire.closed
    wire.say(CHUNKED[:30])
    with trio.move_on_after(0.01):
        await call.receive_head()
    wire.say(CHUNKED[30:] + chunk(b"abc") + END)
    assert (await call.receive_head()).status == 200
    assert call.head is not None
    assert [await call.receive(), await call.receive()] == [b"abc", b""]
    await call.aclose()
    assert wire.sent.count(REQUEST.body) == 1
    assert call._lane.idle == 1


async def test_a_real_socket_tells_that_the_request_came():
    """What a provider's kernel has acknowledged was sent."""
    came = trio.Event()

    async def think(stream):
        await read_request(stream)
        came.set()
        await trio.sleep_forever()

    async with serving(think) as port, trio.open_nursery() as starting:
        call = UpstreamClient(limits=LIMITS).call(request_to(port))
        starting.start_soon(call.start)
        await came.wait()
        starting.cancel_scope.cancel()
    call.abort()
    assert call.sent


async def test_a_request_that_was_not_sent_whole_is_given_up():
    """Cancelled before the wire took all of it, the call is over, and nothing is waited for."""
    network = MemoryNetwork(stall_writes=True)
    call = UpstreamClient(limits=LIMITS, dialer=network).call(REQUEST)
    await cancelled_start(call)
    assert not call.sent
    assert network.wires[0].closed
    with pytest.raises(UpstreamAborted):
        await call.receive_head()


async def test_a_redial_that_is_cancelled_had_sent_nothing(nursery):
    """What went out on a connection that its provider had closed is sent anew; until then nothing is."""
    network = MemoryNetwork(nursery, answering(OK))
    client = UpstreamClient(limits=LIMITS, dialer=network)
    await whole_call(client.call(REQUEST))
    call, network._stall_writes = client.call(REQUEST), True
    network.wires[0].end()
    network.wires[0].is_quiet = lambda: True
    await cancelled_start(call)
    assert (call.redials, call.sent, network.wires[1].closed) == (1, False, True)


async def test_a_cancelled_receive_has_lost_nothing(nursery):
    """Who is cancelled while reading can read on, or end the call and still ask what had arrived."""
    network = MemoryNetwork(nursery, answering(CHUNKED))
    call = UpstreamClient(limits=LIMITS, dialer=network).call(REQUEST)
    await call.start()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as reading:
            reading.start_soon(call.receive)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            network.wires[0].say(chunk(b"late"))
    assert not network.wires[0].closed
    assert await call.receive() == b"late"
    network.wires[0].say(chunk(b"later"))
    call.abort()
    assert network.wires[0].closed
    assert await call.residue() == b"later"


# abort


Prepare = Callable[[MemoryNetwork], Awaitable[None]]


async def _nothing(_network: MemoryNetwork) -> None:
    await trio.testing.wait_all_tasks_blocked()


async def _head(network: MemoryNetwork) -> None:
    await _nothing(network)
    network.wires[0].say(CHUNKED)
    await trio.testing.wait_all_tasks_blocked()


async def _body(network: MemoryNetwork) -> None:
    await _head(network)
    network.wires[0].say(chunk(b"x"))
    await trio.testing.wait_all_tasks_blocked()


class NeverDialled(MemoryNetwork):
    """Hangs in TCP."""

    async def __call__(self, host: str, port: int) -> MemoryWire:
        self.dialled.append((host, port))
        await trio.sleep_forever()
        raise AssertionError


@pytest.mark.parametrize(
    ("network", "scheme", "prepare"),
    [
        (NeverDialled(), "http", _nothing),
        (MemoryNetwork(), "https", _nothing),
        (MemoryNetwork(stall_writes=True), "http", _nothing),
        (MemoryNetwork(), "http", _nothing),
        (MemoryNetwork(), "http", _head),
        (MemoryNetwork(), "http", _body),
    ],
    ids=["dialling", "handshake", "sending", "waiting for the head", "waiting for the body", "mid-stream"],
)
async def test_abort_wakes_the_task_that_waits(network, scheme, prepare):
    """In every state the wire is closed before ``abort`` returns, and the waiting task gets UpstreamAborted."""
    client = UpstreamClient(limits=LIMITS, dialer=network)
    call = client.call(attrs.evolve(REQUEST, url=f"{scheme}://provider.test/"))
    woken = []

    async def run():
        try:
            await whole_call(call)
        except UpstreamAborted as exc:
            woken.append(exc)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await prepare(network)
        call.abort()
        assert all(wire.closed for wire in network.wires)
        call.abort()
    assert len(woken) == 1
    assert await call.residue() == b""
    lane = call._lane
    assert lane.places.value == lane.places.max_value
    with pytest.raises(UpstreamAborted):
        await call.receive()
    await call.aclose()


async def test_abort_while_waiting_for_a_place(nursery):
    """The waiting task wakes, and the place is not lost."""
    network = MemoryNetwork(nursery, answering(*STREAM))
    client = UpstreamClient(limits=attrs.evolve(LIMITS, connections_per_origin=1), dialer=network)
    holder, waiting = client.call(REQUEST), client.call(REQUEST)
    await holder.start()
    async with trio.open_nursery() as inner:

        async def run():
            with pytest.raises(UpstreamAborted):
                await waiting.start()

        inner.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        waiting.abort()
    await holder.aclose()
    await check_consistent(client, network)


async def test_abort_in_the_moment_in_which_the_place_is_granted(nursery):
    """The place that was granted to an aborted call goes on to the next."""
    network = MemoryNetwork(nursery, answering(*STREAM))
    client = UpstreamClient(limits=attrs.evolve(LIMITS, connections_per_origin=1), dialer=network)
    holder, waiting = client.call(REQUEST), client.call(REQUEST)
    await holder.start()
    async with trio.open_nursery() as inner:

        async def run():
            with pytest.raises(UpstreamAborted):
                await waiting.start()

        inner.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        holder.abort()
        waiting.abort()
    assert len(network.dialled) == 1
    await check_consistent(client, network)


async def test_an_aborted_call_sends_nothing_on_a_connection_that_waits(nursery):
    """Granted a place together with a connection in the moment of its abort, it does not write to it."""
    network = MemoryNetwork(nursery, answering(*STREAM))
    client = UpstreamClient(limits=attrs.evolve(LIMITS, connections_per_origin=1), dialer=network)
    holder, waiting = client.call(REQUEST), client.call(REQUEST)
    await holder.start()
    while await holder.receive():
        pass
    async with trio.open_nursery() as inner:

        async def run():
            with pytest.raises(UpstreamAborted):
                await waiting.start()

        inner.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        await holder.aclose()
        waiting.abort()
    assert network.wires[0].sent.count(REQUEST.body) == 1
    await check_consistent(client, network)


async def test_a_wire_that_comes_after_the_abort_is_closed():
    """A dial that can no longer be stopped does not leave its wire open."""
    network, dialled = MemoryNetwork(), trio.Event()

    async def dial(host: str, port: int) -> MemoryWire:
        with trio.CancelScope(shield=True):
            await dialled.wait()
            return await network(host, port)

    call = UpstreamClient(limits=LIMITS, dialer=dial).call(REQUEST)

    async def run():
        with pytest.raises(UpstreamAborted):
            await call.start()

    async with trio.open_nursery() as inner:
        inner.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        call.abort()
        dialled.set()
    assert network.wires[0].closed
    assert network.wires[0].sent == b""


async def test_abort_before_the_start():
    """Such a call never dials."""
    network = MemoryNetwork()
    call = UpstreamClient(limits=LIMITS, dialer=network).call(REQUEST)
    call.abort()
    with pytest.raises(UpstreamAborted):
        await call.start()
    assert network.dialled == []


async def test_abort_after_the_end_spoils_nothing(nursery):
    """A connection that was given back belongs to the pool."""
    network = MemoryNetwork(nursery, answering(*STREAM))
    client = UpstreamClient(limits=LIMITS, dialer=network)
    call = client.call(REQUEST)
    await whole_call(call)
    call.abort()
    assert await call.residue() == b""
    await check_consistent(client, network)
    assert len(network.wires) == 1


async def test_residue_is_what_was_not_handed_out(nursery):
    """The reader got the first part; the rest of the body in the socket is the residue, and the head is kept."""
    network = MemoryNetwork(nursery, answering(CHUNKED + chunk(b"one ")))
    call = UpstreamClient(limits=LIMITS, dialer=network).call(REQUEST)
    await call.start()
    assert await call.receive() == b"one "
    network.wires[0].say(chunk(b"two ") + chunk(b"three"))
    call.abort()
    assert await call.residue() == b"two three"
    assert await call.residue() == b""
    assert call.head is not None


async def test_residue_of_a_call_that_still_waited_for_its_head(nursery):
    """Head and body that stood in the socket are found: the exchange can tell a 200 from nothing."""
    network = MemoryNetwork(nursery)
    call = UpstreamClient(limits=LIMITS, dialer=network).call(REQUEST)

    async def run():
        with pytest.raises(UpstreamAborted):
            await call.start()

    async with trio.open_nursery() as inner:
        inner.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        network.wires[0].say(CHUNKED + chunk(b"billed"))
        call.abort()
    assert call.head is not None
    assert call.head.status == 200
    assert await call.residue() == b"billed"


async def test_a_failure_is_told_once_and_then_the_call_is_over(nursery):
    """After its own error a call is closed; asking again says that it was ended."""
    network = MemoryNetwork(nursery, answering(OK.replace(b"ok", b"o")))
    call = UpstreamClient(limits=LIMITS, dialer=network).call(REQUEST)
    await call.start()
    assert await call.receive() == b"o"
    network.wires[0].end()
    with pytest.raises(UpstreamError) as caught:
        await call.receive()
    assert caught.value.code == "upstream_truncated"
    assert network.wires[0].closed
    with pytest.raises(UpstreamAborted):
        await call.receive()


async def test_abort_in_a_tls_handshake_over_loopback(tmp_path):
    """The socket is closed at once: the provider sees it although it never answered the hello."""
    ended = trio.Event()

    async def mute(stream):
        while await stream.receive_some():
            pass
        ended.set()

    async with serving(mute) as port:
        client = UpstreamClient(limits=LIMITS, ca_file=Authority(tmp_path).file)
        call = client.call(request_to(port, scheme="https"))

        async def run():
            with pytest.raises(UpstreamAborted):
                await call.start()

        async with trio.open_nursery() as inner:
            inner.start_soon(run)
            await trio.testing.wait_all_tasks_blocked(0.05)
            call.abort()
        with trio.fail_after(5):
            await ended.wait()


async def test_aborting_many_calls_over_tls_leaves_no_socket(tmp_path):
    """Aborted from outside while they read, all calls end, and every provider's end is seen."""
    authority = Authority(tmp_path)
    ended = 0

    async def stall(stream):
        nonlocal ended
        await read_request(stream)
        await stream.send_all(CHUNKED + chunk(b"x"))
        try:
            await stream.receive_some()
        finally:
            ended += 1

    async with serving(stall, authority.server_context()) as port:
        client = UpstreamClient(limits=LIMITS, ca_file=authority.file)
        calls = [client.call(request_to(port, scheme="https")) for _ in range(10)]
        woken = []

        async def run(call: UpstreamCall):
            try:
                await whole_call(call)
            except UpstreamAborted:
                woken.append(call)

        async with trio.open_nursery() as inner:
            for call in calls:
                inner.start_soon(run, call)
            await trio.testing.wait_all_tasks_blocked(0.1)
            for call in calls:
                call.abort()
        assert len(woken) == 10
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert ended == 10
