"""What the application receives, what it may do to its client, and how it fails."""

import trio

from ainf.server.application import Inbox


async def test_inbox(autojump_clock):
    """Messages come in order, a cancelled receive loses none, and a disconnect is said once."""
    inbox = Inbox()
    with trio.move_on_after(1) as scope:
        await inbox.receive()
    assert scope.cancelled_caught
    for body in (b"a", b"b"):
        await inbox.put({"type": "http.request", "body": body, "more_body": True})
    await inbox.put({"type": "http.disconnect"})
    assert [(await inbox.receive()).get("body") for _ in range(3)] == [b"a", b"b", None]
    with trio.move_on_after(1) as scope:
        await inbox.receive()
    assert scope.cancelled_caught


async def test_abort_from_the_request(serve):
    """``scope["ainf.connection"].abort()`` resets the client at once; after the response it does nothing."""
    bench = await serve()
    wire = await bench.connect()
    await wire.get("/hello")
    await wire.answer()
    await bench.running(0)
    bench.app.scopes[0]["ainf.connection"].abort()
    await wire.get("/abort")
    await bench.running()
    bench.app.scopes[0]["ainf.connection"].abort()
    await trio.sleep(0.03)
    assert not bench.app.gone.is_set()
    bench.app.go_on.set()
    assert not (await wire.until_closed(0.5)).endswith(b"0\r\n\r\n")
    await bench.sees_client_go()


async def test_app_failures(serve):
    """An application that fails or returns before its answer makes a JSON 500, or a cut once it began."""
    bench = await serve()
    assert (await bench.ask("/boom")).code == "internal_error"
    assert (await bench.ask("/nothing")).code == "internal_error"
    wire = await bench.connect()
    await wire.get("/late")
    cut = await wire.until_closed()
    assert b"0123456789" in cut
    assert not cut.endswith(b"0\r\n\r\n")
    assert [type(error) for error in bench.errors] == [KeyError, KeyError]
    assert bench.app.running == 0
