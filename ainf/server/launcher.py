"""Listen, serve, drain: the verbs; how long to wait for what is the caller's to say."""

import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Final, cast

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext

from ainf.inference.errors import AinfError, GatewayError
from ainf.server import edge
from ainf.server.forwarded import TrustedProxies
from ainf.server.guard import AsgiApp, ConnectionSettings, GuardedConnection
from ainf.server.limits import ServerLimits, TlsFiles
from ainf.server.tls import server_context
from ainf.server.transport import SocketTransport

_BACKLOG: Final = 1024
_ACCEPTS_PER_TURN: Final = 64
_ACCEPT_RETRY_S: Final = 0.1
_RESPONSE_HEADERS_AGE_S: Final = 1.0


class Server:
    """An HTTP/1.1 server for one ASGI application.

    Args:
        app: the application. ``scope["ainf.connection"]`` is a ``ClientConnection``, ``scope["client"]`` the client as
            far as trusted proxies vouch for it.
        bind: ``host:port`` each (``[::1]:port`` for IPv6); port 0 lets the system choose.
        limits: what a client may take.
        tls: speak TLS, and nothing else, on all of them.
        trusted_proxies: networks whose ``X-Forwarded-For`` is believed.
        error_answer: makes the headers and JSON body of a refusal, in the protocol of the path.
        on_refusal: told of every refusal that the application does not see; must not raise.
        on_connection_error: told of every unexpected exception, from a connection or the application; must not raise.

    Raises:
        ValueError: a bind or network that is none.
        OSError: TLS files that cannot be read (``ssl.SSLError`` where they make no pair).
    """

    def __init__(  # noqa: PLR0913 - the parts of a server, each named
        self,
        app: AsgiApp,
        *,
        bind: Sequence[str],
        limits: ServerLimits,
        tls: TlsFiles | None,
        trusted_proxies: Sequence[str],
        error_answer: edge.ErrorAnswer,
        on_refusal: Callable[[AinfError], None] = lambda _: None,
        on_connection_error: Callable[[BaseException], None],
    ) -> None:
        self._addresses = [_address(text) for text in bind]
        self._settings = ConnectionSettings(
            app=app,
            config=_WorkerConfig(limits),
            context=WorkerContext(max_requests=None),
            limits=limits,
            tls=None if tls is None else server_context(tls),
            trusted_proxies=TrustedProxies(trusted_proxies),
            error_answer=error_answer,
            on_refusal=on_refusal,
            on_error=on_connection_error,
        )
        self._listeners: list[socket.socket] = []
        self._connections: set[GuardedConnection] = set()
        self._per_peer: Counter[str] = Counter()
        self._nursery: trio.Nursery | None = None
        self._write_s = limits.write_s
        self.bound: tuple[str, ...] = ()

    @property
    def open_connections(self) -> int:
        """Connections that are open, or whose application has not returned yet."""
        return len(self._connections)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen, report started, serve; return when nothing listens and every connection is gone.

        Runs the application's ASGI lifespan around that. Cancelled, it aborts every connection.

        Raises:
            OSError: an address cannot be bound.
            ExceptionGroup: the application refused to start or stop.
        """
        self._listeners = _listen(self._addresses)
        try:
            async with trio.open_nursery() as nursery:
                lifespan = Lifespan(ASGIWrapper(cast("Any", self._settings.app)), self._settings.config, {})
                await nursery.start(lifespan.handle_lifespan)
                await lifespan.wait_for_startup()
                await self._serve(task_status)
                await lifespan.wait_for_shutdown()
                nursery.cancel_scope.cancel()
        finally:
            for listener in self._listeners:
                listener.close()

    def stop_accepting(self) -> None:
        """Close the listeners and idle connections; let requests run, and close their connections after them.

        What the kernel has accepted already is served, not reset. Idempotent, needs no await.
        """
        for listener in self._listeners:
            self._accept_waiting(listener)
            trio.lowlevel.notify_closing(listener)
            listener.close()
        self._listeners.clear()
        for connection in tuple(self._connections):
            connection.drain()

    def set_write_limit(self, seconds: float) -> None:
        """Change ``write_s`` for every connection, open or to come; a stuck write gets that long from now."""
        self._write_s = seconds
        for connection in self._connections:
            connection.transport.set_write_limit(seconds)

    def abort_connections(self) -> None:
        """End every connection at once; their applications see a disconnect. Needs no await.

        They are reset, but for those to which all was said: what the kernel has of that, it still delivers.
        """
        for connection in tuple(self._connections):
            connection.abort()

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        self.bound = tuple(_written(listener.getsockname()) for listener in self._listeners)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for listener in self._listeners:
                nursery.start_soon(self._accept, listener)
            task_status.started()

    async def _accept(self, listener: socket.socket) -> None:
        while listener.fileno() != -1:
            try:
                await trio.lowlevel.wait_readable(listener)
            except trio.ClosedResourceError:
                return
            error = self._accept_waiting(listener)
            if error is not None:
                # Out of descriptors or memory: those who wait are served when others have gone.
                self._settings.on_error(error)
                await trio.sleep(_ACCEPT_RETRY_S)

    def _accept_waiting(self, listener: socket.socket) -> OSError | None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                sock, address = listener.accept()
            except (BlockingIOError, ConnectionError):
                return None
            except OSError as error:
                return error
            self._admit(sock, str(address[0]))
        return None

    def _admit(self, sock: socket.socket, peer: str) -> None:
        limits = self._settings.limits
        crowded = self._per_peer[peer] >= limits.connections_per_peer and peer not in self._settings.trusted_proxies
        transport = SocketTransport(sock, limits)
        if crowded or len(self._connections) >= limits.connections:
            self._turn_away(transport)
            return
        assert self._nursery is not None
        transport.set_write_limit(self._write_s)
        connection = GuardedConnection(self._settings, transport, peer)
        self._connections.add(connection)
        self._per_peer[peer] += 1
        self._nursery.start_soon(self._run_connection, connection)

    def _turn_away(self, transport: SocketTransport) -> None:
        error = GatewayError("overloaded", "Too many open connections.", retry_after_s=1)
        self._settings.on_refusal(error)
        # A TLS client can be told nothing before a handshake, which it is not worth now.
        answer = b"" if self._settings.tls else edge.refusal(error.status, *self._settings.error_answer("", error))
        transport.refuse(answer)

    async def _run_connection(self, connection: GuardedConnection) -> None:
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            self._per_peer[connection.peer] -= 1
            if not self._per_peer[connection.peer]:
                del self._per_peer[connection.peer]


class _WorkerConfig(Config):
    """hypercorn's settings as far as they still matter here; it makes the Date header once a second."""

    accesslog = None
    errorlog = None
    include_server_header = False

    def __init__(self, limits: ServerLimits) -> None:
        super().__init__()
        self.h11_max_incomplete_size = limits.header_bytes
        self._response_headers: list[tuple[bytes, bytes]] = []
        self._response_headers_until = 0.0

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """The headers that every response carries."""
        now = trio.current_time()
        if now >= self._response_headers_until or not self._response_headers:
            self._response_headers = super().response_headers(protocol)
            self._response_headers_until = now + _RESPONSE_HEADERS_AGE_S
        return self._response_headers


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _listen(addresses: Sequence[tuple[str, int]]) -> list[socket.socket]:
    with ExitStack() as undo:
        listeners = []
        for host, port in addresses:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = undo.enter_context(socket.create_server((host, port), family=family, backlog=_BACKLOG))
            listener.setblocking(False)  # noqa: FBT003 - the socket module has it so
            listeners.append(listener)
        undo.pop_all()
    return listeners


def _written(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
