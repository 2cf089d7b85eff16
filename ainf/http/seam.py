"""The seam between Quart and an exchange: a stream is spoken over the raw ASGI ``send``, inside the handler.

A middleware around ``app.asgi_app`` puts a ``Seam`` into the scope of each request. A handler that runs an exchange
attaches it: from then on a disconnect is offered to the exchange instead of cancelling the handler, and the dummy
answer that the handler returns to Quart is dropped. Nothing inside Quart is overridden: its internals differ between
the versions that Python 3.11 and 3.13 resolve to.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio
from quart import wrappers

from ainf.exchange.answers import Reply
from ainf.exchange.plan import Headers

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

SCOPE_KEY = "ainf.seam"


class _NeverRaisedError(Exception):
    """Stands in for an exception that this Quart does not have."""


# Quart 0.23 raises it out of the application when a client leaves between the handler's return and the answer's start.
_ClientLeft: type[Exception] = getattr(wrappers, "ClientDisconnectedError", _NeverRaisedError)


class Connection(Protocol):
    """What the server offers of the connection that a request came on."""

    def abort(self) -> None:
        """Close it at once."""
        ...


class Seam:
    """One request's way to its client, past Quart; it is an exchange's ``Downstream``."""

    def __init__(self, receive: Receive, send: Send, connection: Connection | None) -> None:
        self._receive = receive
        self._send = send
        self._connection = connection
        self._on_gone: Callable[[], None] | None = None
        self.more_headers: Callable[[], Headers] = _no_headers
        """What the head says besides, whichever it is; asked for when it goes out."""
        self._spoken = False
        self._finished = False

    def attach(self, on_gone: Callable[[], None]) -> None:
        """From now on tell ``on_gone`` when the client leaves, instead of cancelling the handler."""
        self._on_gone = on_gone

    def detach(self) -> None:
        """Give the request back to Quart: nothing was said, and nothing will be."""
        assert not self._spoken
        self._on_gone = None

    def release(self) -> None:
        """The exchange has ended: let go of it (a cycle would wait for the garbage collector), tell nobody."""
        self._on_gone = _tell_nobody

    async def start(self, status: int, headers: Headers) -> None:
        """Give the head."""
        self._spoken = True
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *self.more_headers()]})

    async def write(self, data: bytes) -> None:
        """Give more of the body; whole, whatever is cancelled meanwhile (the server's writes are not interruptible)."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def beat(self, data: bytes) -> None:
        """Give a sign of life."""
        await self.write(data)

    async def finish(self, data: bytes) -> None:
        """Give the last of the body."""
        self._finished = True
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def reply(self, reply: Reply) -> None:
        """Give a whole answer; cancelled on the way, the connection is closed, since a head alone is no answer."""
        try:
            await self.start(reply.status, reply.headers)
            await self.finish(reply.body)
        except trio.Cancelled:
            self.abort()
            raise

    def abort(self) -> None:
        """Close the connection at once."""
        self._spoken = self._finished = True
        if self._connection is not None:
            self._connection.abort()

    def told(self, end: bytes) -> None:
        """Return nothing: what one client is told is not kept."""

    async def receive_for_quart(self) -> Message:
        """Hand Quart what the client sends; a disconnect during an exchange is the exchange's, not Quart's."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and self._on_gone is not None:
            if not self._finished:  # our own end is followed by a disconnect too
                self._on_gone()
            await trio.sleep_forever()  # Quart must not hear of it; it ends this task when the handler is done
        return message

    async def send_for_quart(self, message: Message) -> None:
        """Pass Quart's answer on, unless the client was answered already."""
        if not self._spoken:
            await self._send(message)


def _no_headers() -> Headers:
    return ()


def _tell_nobody() -> None:
    """The client may leave now."""


def seam_middleware(app: AsgiApp) -> AsgiApp:
    """Wrap an ASGI application so that each HTTP request's scope holds its ``Seam``."""

    async def with_seam(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        seam = Seam(receive, send, scope.get("ainf.connection"))
        try:
            await app({**scope, SCOPE_KEY: seam}, seam.receive_for_quart, seam.send_for_quart)
        except* _ClientLeft:
            pass  # there is nobody to answer

    return with_seam
