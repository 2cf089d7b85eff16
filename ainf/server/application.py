"""The application's side of a request: what it receives, what it may do to its client, and the task that it runs in."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

import trio
from hypercorn.config import Config
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, Scope

if TYPE_CHECKING:
    from ainf.server.guard import GuardedConnection


class Inbox:
    """What the application has to receive, in order. ``put`` never waits: the body's limits bound it.

    A disconnect comes once; after it ``receive`` waits for ever, as hypercorn's does.
    """

    __slots__ = ("_arrived", "_messages")

    def __init__(self) -> None:
        self._messages: deque[ASGIReceiveEvent] = deque()
        self._arrived = trio.lowlevel.ParkingLot()

    async def put(self, message: ASGIReceiveEvent) -> None:
        """Add a message; no checkpoint."""
        self._messages.append(message)
        self._arrived.unpark()

    async def receive(self) -> ASGIReceiveEvent:
        """The ASGI ``receive``. Cancelling it loses nothing."""
        while not self._messages:
            await self._arrived.park()
        return self._messages.popleft()


class ClientConnection:
    """What a request may do to its client, as ``scope["ainf.connection"]``.

    Attributes:
        peer: the address at the other end of the socket (a proxy's, where one stands between).
    """

    __slots__ = ("_connection", "_request", "peer")

    def __init__(self, connection: "GuardedConnection", request: int) -> None:
        self._connection = connection
        self._request = request
        self.peer = connection.peer

    def abort(self) -> None:
        """Reset the client's socket at once, without an await. Does nothing once the response has ended."""
        self._connection.abort_request(self._request)


class AppTasks:
    """hypercorn's task group for one connection: runs the application so that its failure stays here."""

    def __init__(self, connection: "GuardedConnection", nursery: trio.Nursery) -> None:
        self._connection = connection
        self._nursery = nursery

    async def spawn_app(
        self, app: AppWrapper, config: Config, scope: Scope, send: Callable[[ASGISendEvent | None], Awaitable[None]]
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start the application on a request; returns what feeds its ``receive``."""
        inbox = Inbox()
        cast("dict[str, Any]", scope)["ainf.connection"] = self._connection.client_connection()
        self._nursery.start_soon(self._run, scope, inbox, send)
        return inbox.put

    def spawn(self, function: Callable[..., Awaitable[Any]], *args: object) -> None:
        """Start a task that lives as long as the connection at most."""
        self._nursery.start_soon(function, *args)

    async def _run(self, scope: Scope, inbox: Inbox, send: Callable[[Any], Awaitable[None]]) -> None:
        try:
            await self._connection.settings.app(scope, inbox.receive, send)
        except* Exception as errors:  # noqa: BLE001 - whatever it is, it must not end the connection's siblings
            self._connection.report(errors)
        await send(None)
