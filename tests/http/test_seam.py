"""The seam: what an exchange says past Quart, and what Quart hears of the client."""

from typing import Any

import attrs
import pytest
import trio

from ainf.exchange.answers import Reply
from ainf.http.seam import SCOPE_KEY, Seam, seam_middleware


@attrs.define
class Server:
    """An ASGI server's side: messages to receive, messages sent, the connection."""

    incoming: list[dict[str, Any]] = attrs.field(factory=list)
    sent: list[dict[str, Any]] = attrs.field(factory=list)
    aborted: bool = False

    async def receive(self) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if self.incoming:
            return self.incoming.pop(0)
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(message)

    def abort(self) -> None:
        self.aborted = True

    def seam(self) -> Seam:
        return Seam(self.receive, self.send, self)


async def test_an_answer_in_pieces():
    """Head, body, end, as ASGI wants them."""
    server = Server()
    seam = server.seam()
    await seam.start(200, [(b"a", b"b")])
    await seam.write(b"x")
    await seam.finish(b"y")
    assert server.sent == [
        {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]},
        {"type": "http.response.body", "body": b"x", "more_body": True},
        {"type": "http.response.body", "body": b"y", "more_body": False},
    ]


@pytest.mark.parametrize("sent_before", [0, 1])
async def test_a_cancelled_reply_leaves_no_half_answer(sent_before):
    """Whoever cancels it, before the head or behind it, the client sees its connection close."""
    server = Server()
    with trio.CancelScope() as scope:

        async def send(message: dict[str, Any]) -> None:
            if len(server.sent) == sent_before:
                scope.cancel()
            await server.send(message)

        await Seam(server.receive, send, server).reply(Reply(402, [], b"{}"))
    assert scope.cancelled_caught
    assert (len(server.sent), server.aborted) == (sent_before, True)


@pytest.mark.parametrize("spoken", ["start", "reply", "abort", "nothing"])
async def test_quarts_answer_is_dropped_once_something_was_said(spoken):
    """The dummy that a handler returns reaches the client only where nothing else did."""
    server = Server()
    seam = server.seam()
    if spoken == "start":
        await seam.start(200, [])
    elif spoken == "reply":
        await seam.reply(Reply(400, [], b"{}"))
    elif spoken == "abort":
        seam.abort()
        assert server.aborted
    before = list(server.sent)
    await seam.send_for_quart({"type": "http.response.start", "status": 418, "headers": []})
    assert (server.sent == before) is (spoken != "nothing")


async def test_a_disconnect_before_an_exchange_is_quarts():
    """It cancels the handler, as always."""
    server = Server([{"type": "http.request", "body": b"", "more_body": False}])
    seam = server.seam()
    assert (await seam.receive_for_quart())["type"] == "http.request"
    assert (await seam.receive_for_quart())["type"] == "http.disconnect"


async def test_a_disconnect_during_an_exchange_is_the_exchanges(autojump_clock):
    """Offered once; Quart hears nothing until its handler is done."""
    told = []
    seam = Server().seam()
    seam.attach(lambda: told.append(1))
    with trio.move_on_after(5) as waited:
        await seam.receive_for_quart()
    assert waited.cancelled_caught
    assert told == [1]


async def test_the_disconnect_behind_our_own_end_is_nobodys(autojump_clock):
    """hypercorn says it after every answer: it must not look like the client's leaving."""
    told = []
    seam = Server().seam()
    seam.attach(lambda: told.append(1))
    await seam.start(200, [])
    await seam.finish(b"")
    with trio.move_on_after(5):
        await seam.receive_for_quart()
    assert told == []


async def test_after_a_refused_opening_the_request_is_quarts_again():
    """Detached, a disconnect is Quart's; detaching after speaking is a bug."""
    seam = Server().seam()
    seam.attach(lambda: None)
    seam.detach()
    assert (await seam.receive_for_quart())["type"] == "http.disconnect"
    seam.attach(lambda: None)
    await seam.start(200, [])
    with pytest.raises(AssertionError):
        seam.detach()


async def test_every_request_has_a_seam_of_its_own():
    """In its scope, over its own connection; other scopes pass untouched."""
    seen = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.append(scope.get(SCOPE_KEY))
        if scope["type"] == "http":
            scope[SCOPE_KEY].abort()

    server = Server()
    wrapped = seam_middleware(app)
    await wrapped({"type": "http", "ainf.connection": server}, server.receive, server.send)
    await wrapped({"type": "http"}, server.receive, server.send)
    await wrapped({"type": "lifespan"}, server.receive, server.send)
    assert isinstance(seen[0], Seam)
    assert seen[0] is not seen[1]
    assert seen[2] is None
    assert server.aborted
