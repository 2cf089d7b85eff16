"""Clients and their calls, over memory and over real sockets."""

import attrs
import pytest
import trio
import trio.testing

from ainf.inference.errors import UpstreamError
from ainf.upstream.client import UpstreamAborted, UpstreamCall, UpstreamClient
from ainf.upstream.request import UpstreamRequest
from tests.upstream.loopback import Authority, read_request, request_to, serving
from tests.upstream.memory import CHUNKED, END, LIMITS, OK, REQUEST, MemoryNetwork, MemoryWire, answering, chunk


def make_client(network: MemoryNetwork, **limits) -> UpstreamClient:
    return UpstreamClient(limits=attrs.evolve(LIMITS, **limits), dialer=network)


async def read_all(call: UpstreamCall) -> list[bytes]:
    reads = []
    while data := await call.receive():
        reads.append(data)
    return reads


async def ask(client: UpstreamClient) -> UpstreamCall:
    """Make one whole call and give its connection back."""
    call = client.call(REQUEST)
    await call.start()
    await read_all(call)
    await call.aclose()
    return call


def places_taken(client: UpstreamClient) -> int:
    places = client.call(REQUEST)._lane.places
    return places.max_value - places.value


async def test_a_streamed_answer(nursery):
    """Head, one result for each read, a clean end."""
    network = MemoryNetwork(nursery, answering(CHUNKED + chunk(b"a"), chunk(b"b") + chunk(b"c"), END))
    call = make_client(network).call(REQUEST)
    assert not call.connected
    head = await call.start()
    assert call.head is head
    assert head.status == 200
    assert head.content_type == b"text/event-stream"
    assert await read_all(call) == [b"a", b"bc"]
    assert await call.receive() == b""
    assert (call.connected, call.reused, call.redials) == (True, False, 0)
    assert network.wires[0].sent.endswith(b"content-length: 15\r\n\r\n" + REQUEST.body)
    assert call._request_body == b""
    await call.aclose()


async def test_connections_are_kept_and_used_again(nursery):
    """Calls one after the other share one connection, however many others are active."""
    network = MemoryNetwork(nursery, answering(OK))
    client = make_client(network)
    active = [client.call(REQUEST) for _ in range(30)]
    for call in active:
        await call.start()
    assert len(network.wires) == 30
    for expected in (False, True, True):
        assert (await ask(client)).reused is expected
    assert len(network.wires) == 31
    for call in active:
        await call.aclose()
    assert client.call(REQUEST)._lane.idle == 31
    assert places_taken(client) == 0


async def test_an_answer_that_is_not_read_to_its_end_costs_its_connection(nursery):
    """Closing in the middle closes the wire; closing again changes nothing."""
    network = MemoryNetwork(nursery, answering(CHUNKED + chunk(b"a")))
    client = make_client(network)
    call = client.call(REQUEST)
    await call.start()
    await call.aclose()
    await call.aclose()
    assert network.wires[0].closed
    assert places_taken(client) == 0
    with pytest.raises(UpstreamAborted):
        await call.receive()


async def test_reading_the_tail_gives_the_connection_back(nursery):
    """Who reads on behind the provider's evidence of an end keeps the connection."""
    network = MemoryNetwork(nursery)
    client = make_client(network)
    call = client.call(REQUEST)
    nursery.start_soon(call.start)
    await trio.testing.wait_all_tasks_blocked()
    network.wires[0].say(CHUNKED + chunk(b"data: [DONE]\n\n"))
    await trio.testing.wait_all_tasks_blocked()
    assert await call.receive() == b"data: [DONE]\n\n"
    network.wires[0].say(END)
    assert await call.receive() == b""
    await call.aclose()
    assert client.call(REQUEST)._lane.idle == 1
    call.abort()
    assert not network.wires[0].closed


async def test_connections_grow_old(nursery, mock_clock):
    """After ``idle_s`` a connection is not used again."""
    network = MemoryNetwork(nursery, answering(OK))
    client = make_client(network, idle_s=5)
    await ask(client)
    mock_clock.jump(4.9)
    assert (await ask(client)).reused
    mock_clock.jump(5)
    assert not (await ask(client)).reused
    assert network.wires[0].closed


async def test_a_connection_closed_while_it_waited_is_not_tried(nursery):
    """The provider's close is seen before anything is written: no redial is needed."""
    network = MemoryNetwork(nursery, answering(OK))
    client = make_client(network)
    await ask(client)
    network.wires[0].end()
    call = await ask(client)
    assert (call.reused, call.redials) == (False, 0)


def blind(wire: MemoryWire) -> None:
    """Make a wire's close invisible until it is written to: the close is still on its way."""
    wire.is_quiet = lambda: True


@pytest.mark.parametrize("end", ["end", "reset"])
async def test_a_reused_connection_that_was_closed_already_is_replaced_once(nursery, end):
    """Nothing reached the provider, so the request may go out again; that is counted."""
    network = MemoryNetwork(nursery, answering(OK))
    client = make_client(network)
    await ask(client)
    blind(network.wires[0])
    getattr(network.wires[0], end)()
    call = await ask(client)
    assert (call.reused, call.redials) == (False, 1)
    assert network.wires[0].closed
    assert len(network.wires) == 2
    assert places_taken(client) == 0


@pytest.mark.parametrize("case", ["reached", "half a head", "fresh"])
async def test_a_request_is_never_sent_twice_otherwise(nursery, case):
    """Once a byte may have reached the provider, or on a fresh connection, the failure is the answer."""

    async def behave(wire: MemoryWire) -> None:
        if case != "fresh":
            await wire.heard(requests=1)
            wire.say(OK)
            await wire.heard(requests=2)
        else:
            await wire.heard()
        if case == "half a head":
            wire.say(b"HTTP/1.1 2")
        wire.end()

    network = MemoryNetwork(nursery, behave)
    client = make_client(network)
    if case != "fresh":
        await ask(client)
    call = client.call(REQUEST)
    with pytest.raises(UpstreamError) as caught:
        await call.start()
    assert caught.value.code == "upstream_error"
    assert call.redials == 0
    assert len(network.wires) == 1
    assert places_taken(client) == 0


async def test_a_redial_that_fails_is_the_answer(nursery):
    """One redial is all there is."""

    async def behave(wire: MemoryWire) -> None:
        await wire.heard()
        wire.say(OK) if wire is network.wires[0] else wire.end()

    network = MemoryNetwork(nursery, behave)
    client = make_client(network)
    await ask(client)
    blind(network.wires[0])
    network.wires[0].end()
    call = client.call(REQUEST)
    with pytest.raises(UpstreamError):
        await call.start()
    assert call.redials == 1
    assert len(network.wires) == 2


async def test_connecting_has_its_own_time_limit(autojump_clock):
    """A host that never answers is upstream_timeout after ``connect_s``."""

    async def never(_host, _port):
        await trio.sleep_forever()

    client = UpstreamClient(limits=LIMITS, dialer=never)
    call = client.call(REQUEST)
    with pytest.raises(UpstreamError) as caught:
        await call.start()
    assert caught.value.code == "upstream_timeout"
    assert trio.current_time() == pytest.approx(LIMITS.connect_s)
    assert not call.connected
    assert places_taken(client) == 0


async def test_a_stalled_handshake_is_within_the_same_limit(autojump_clock):
    """TCP, proxy and TLS share one clock, and the wire is closed."""
    network = MemoryNetwork()
    call = make_client(network).call(UpstreamRequest("https://provider.test/", (), b""))
    with pytest.raises(UpstreamError) as caught:
        await call.start()
    assert caught.value.code == "upstream_timeout"
    assert network.wires[0].closed


async def test_silence_behind_the_request_has_no_limit_here(autojump_clock):
    """The clocks of an answer are the exchange's."""
    network = MemoryNetwork()
    call = make_client(network).call(REQUEST)
    with trio.move_on_after(1000) as scope:
        await call.start()
    assert scope.cancelled_caught
    call.abort()
    assert network.wires[0].closed


async def test_calls_over_the_cap_wait_for_a_place(autojump_clock):
    """They go on when one is free, and are upstream_timeout after ``connect_s``."""
    async with trio.open_nursery() as nursery:
        network = MemoryNetwork(nursery, answering(OK))
        client = make_client(network, connections_per_origin=1)
        first, second, third = (client.call(REQUEST) for _ in range(3))
        await first.start()
        nursery.start_soon(second.start)
        await trio.sleep(9)
        assert second.head is None
        await read_all(first)
        await first.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert second.head is not None
        assert second.reused
        with pytest.raises(UpstreamError) as caught:
            await third.start()
        assert caught.value.code == "upstream_timeout"
        second.abort()
        assert places_taken(client) == 0
        nursery.cancel_scope.cancel()


@pytest.mark.threat(117)
@pytest.mark.parametrize(
    ("pieces", "end", "body"),
    [
        ([b'{"error":1}', b"more"], "stall", b'{"error":1}more'),
        ([b"x" * 50_000, b"y" * 50_000], "stall", b"x" * 50_000 + b"y" * 15_536),
        ([b"half"], "reset", b"half"),
        ([b"half"], "end", b"half"),
        ([], "stall", b""),
    ],
)
async def test_an_errors_body_is_read_within_limits(autojump_clock, pieces, end, body):
    """At most ``error_body_bytes`` and ``error_body_s``; whatever the provider does, what came is returned."""
    async with trio.open_nursery() as nursery:
        network = MemoryNetwork()
        call = make_client(network).call(REQUEST)
        nursery.start_soon(call.start)
        await trio.testing.wait_all_tasks_blocked()
        wire = network.wires[0]
        wire.say(CHUNKED.replace(b"200", b"500"))
        for piece in pieces:
            wire.say(chunk(piece))
        if end != "stall":
            getattr(wire, end)()
        await trio.testing.wait_all_tasks_blocked()
        before = trio.current_time()
        assert await call.read_error_body() == body
        assert trio.current_time() - before <= LIMITS.error_body_s
        await call.aclose()
        assert wire.closed


@pytest.mark.threat(117)
async def test_a_compressed_error_body_counts_as_empty(nursery):
    """We asked for identity; the status still speaks."""
    answer = b"HTTP/1.1 503 Busy\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nzz"
    call = make_client(MemoryNetwork(nursery, answering(answer))).call(REQUEST)
    assert (await call.start()).status == 503
    assert await call.read_error_body() == b""
    await call.aclose()


async def test_an_abort_ends_the_reading_of_an_errors_body(nursery):
    """Our own end is not hidden."""
    call = make_client(MemoryNetwork(nursery, answering(CHUNKED.replace(b"200", b"500")))).call(REQUEST)
    await call.start()

    async def read():
        with pytest.raises(UpstreamAborted):
            await call.read_error_body()

    async with trio.open_nursery() as inner:
        inner.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        call.abort()


async def test_a_closed_client_keeps_nothing(nursery):
    """What waits is closed at once, what is in use when its call ends."""
    network = MemoryNetwork(nursery, answering(OK))
    client = make_client(network)
    running = client.call(REQUEST)
    await running.start()
    await ask(client)
    client.close()
    assert network.wires[1].closed
    assert await read_all(running) == [b"ok"]
    await running.aclose()
    assert network.wires[0].closed


async def test_what_cannot_be_sent_is_refused_before_the_start():
    """A bad URL or header is the configuration's mistake; nothing is held for it."""
    client = make_client(MemoryNetwork())
    with pytest.raises(ValueError, match="URL"):
        client.call(UpstreamRequest("ftp://a.test", (), b""))
    with pytest.raises(ValueError, match="proxy"):
        UpstreamClient(limits=LIMITS, proxy="socks5://a.test")
    with pytest.raises(OSError, match="No such file"):
        UpstreamClient(limits=LIMITS, ca_file="/nowhere.pem")


# over real sockets


async def provide(stream) -> None:
    """Answer every request with two chunks."""
    while True:
        await read_request(stream)
        await stream.send_all(CHUNKED + chunk(b"one"))
        await trio.testing.wait_all_tasks_blocked()
        await stream.send_all(chunk(b"two") + END)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_over_loopback(tmp_path, scheme):
    """The same with sockets and TLS: stream, end, reuse, close."""
    authority = Authority(tmp_path)
    async with serving(provide, authority.server_context() if scheme == "https" else None) as port:
        client = UpstreamClient(limits=LIMITS, ca_file=authority.file)
        for reused in (False, True):
            call = client.call(request_to(port, scheme=scheme, body=b"x" * 200_000))
            assert (await call.start()).status == 200
            assert b"".join(await read_all(call)) == b"onetwo"
            await call.aclose()
            assert call.reused is reused
        client.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_abort_over_loopback(tmp_path, scheme):
    """The provider sees the end at once; what stood in our socket is the residue, decrypted and unframed."""
    authority = Authority(tmp_path)
    sent, ended = trio.Event(), trio.Event()

    async def stall(stream):
        await read_request(stream)
        await stream.send_all(CHUNKED + chunk(b"one "))
        await trio.testing.wait_all_tasks_blocked()
        for piece in (b"two ", b"three "):
            await stream.send_all(chunk(piece))
        sent.set()
        try:
            assert await stream.receive_some() == b""
        finally:
            ended.set()

    async with serving(stall, authority.server_context() if scheme == "https" else None) as port:
        client = UpstreamClient(limits=LIMITS, ca_file=authority.file)
        call = client.call(request_to(port, scheme=scheme))
        await call.start()
        first = await call.receive()
        await sent.wait()
        call.abort()
        assert first + await call.residue() == b"one two three "
        with trio.fail_after(5):
            await ended.wait()
        client.close()


async def test_a_close_that_crosses_the_request_is_redialled_over_loopback(monkeypatch):
    """A socket that the provider had closed unseen: the request goes out again, once, on a fresh one."""
    connections = 0

    async def once(stream):
        nonlocal connections
        connections += 1
        await read_request(stream)
        await stream.send_all(OK)

    monkeypatch.setattr("ainf.upstream.wire.SocketWire.is_quiet", lambda _: True)
    async with serving(once) as port:
        client = UpstreamClient(limits=LIMITS)
        redials = []
        for _ in range(2):
            call = client.call(request_to(port))
            await call.start()
            assert await read_all(call) == [b"ok"]
            await call.aclose()
            redials.append(call.redials)
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert redials == [0, 1]
        assert connections == 2
        client.close()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nok", 200),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok", 200),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 200),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: odd\r\n\r\n", 200),
        (b"220 smtp.test ready\r\n", None),
    ],
    ids=["encoded", "two lengths", "huge", "odd coding", "no http"],
)
async def test_a_refused_head_keeps_its_status(said, status, nursery):
    """That a provider took the request on is known, and billed, though its head cannot be taken."""
    network = MemoryNetwork(nursery, answering(said))
    client = UpstreamClient(limits=LIMITS, dialer=network)
    call = client.call(REQUEST)
    with pytest.raises(UpstreamError) as caught:
        await call.start()
    assert (caught.value.code, call.status) == ("upstream_protocol", status)


# a wait for the head that is cancelled


async def cancelled_start(call: UpstreamCall) -> None:
    """Begin a call, and cancel it when it waits."""
    async with trio.open_nursery() as starting:
        starting.start_soon(call.start)
        await trio.testing.wait_all_tasks_blocked()
        starting.cancel_scope.cancel()


async def waiting_on_a_kept_connection(network: MemoryNetwork) -> UpstreamCall:
    """Return a call whose request went out on a connection that had served another, cancelled as it waits."""
    client = UpstreamClient(limits=LIMITS, dialer=network)
    first, second = client.call(REQUEST), client.call(REQUEST)
    await cancelled_start(first)
    network.wires[0].say(OK)
    await first.receive_head()
    assert await first.receive() == b"ok"
    await first.aclose()
    await cancelled_start(second)
    assert (second.reused, second.sent) == (True, True)
    network.wires[0]._accepted = False  # it turns out not to have got the request
    return second


@pytest.mark.parametrize("fate", [MemoryWire.reset, MemoryWire.end])
async def test_a_wait_that_goes_on_sends_nothing_again(fate):
    """A connection that its provider had closed before the request came is a failure then, and counts as not sent."""
    network = MemoryNetwork()
    call = await waiting_on_a_kept_connection(network)
    fate(network.wires[0])
    with pytest.raises(UpstreamError):
        await call.receive_head()
    assert not call.sent
    assert len(network.wires) == 1


@pytest.mark.parametrize("accepted", [False, True])
async def test_an_abort_tells_whether_the_request_may_have_come(accepted):
    """Sent into a connection that nobody acknowledges is not sent."""
    network = MemoryNetwork()
    call = UpstreamClient(limits=LIMITS, dialer=network).call(REQUEST)
    await cancelled_start(call)
    network.wires[0]._accepted = accepted
    call.abort()
    network.wires[0]._accepted = True  # nobody can tell any more
    call.abort()
    assert call.sent is accepted
