"""One connection, contained: whatever happens on it ends here.

hypercorn's own class lets any exception of a connection end the whole server, writes without a time limit, and stops
reading while it waits for the application. This subclass keeps its place in hypercorn's machinery and replaces what it
does with the socket. One task reads, always; requests run beside it; a single cancel scope around the reader carries
whichever clock runs.
"""

import enum
import math
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

import attrs
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState

from ainf.inference.errors import AinfError
from ainf.server.application import AppTasks, ClientConnection
from ainf.server.edge import ErrorAnswer
from ainf.server.forwarded import TrustedProxies
from ainf.server.limits import ServerLimits
from ainf.server.protocol import GuardedProtocol
from ainf.server.transport import SocketTransport

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]


@attrs.frozen(kw_only=True)
class ConnectionSettings:
    """What all connections of a server share."""

    app: AsgiApp
    config: Config
    context: WorkerContext
    limits: ServerLimits
    tls: ssl.SSLContext | None
    trusted_proxies: TrustedProxies
    error_answer: ErrorAnswer
    on_error: Callable[[BaseException], None]
    on_refusal: Callable[[AinfError], None]


class Phase(enum.Enum):
    """What a connection waits for from its client."""

    REQUEST = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()
    NOTHING = enum.auto()
    """A request runs; bytes may come, but are not due."""
    GOODBYE = enum.auto()
    """We are done; what still comes is dropped."""


class GuardedConnection(TCPServer):
    """A client's connection.

    Args:
        settings: shared with the server's other connections.
        transport: the accepted socket.
        peer: the address at its other end.
    """

    def __init__(self, settings: ConnectionSettings, transport: SocketTransport, peer: str) -> None:
        if settings.tls is None:
            stream: trio.abc.Stream = transport
        else:
            stream = trio.SSLStream(transport, settings.tls, server_side=True, https_compatible=True)
        super().__init__(
            cast("AppWrapper", settings.app),
            settings.config,
            settings.context,
            ConnectionState({}),
            cast("trio.SSLStream[trio.SocketStream]", stream),
        )
        self.settings = settings
        self.transport = transport
        self.peer = peer
        self.phase = Phase.REQUEST
        self.draining = False
        self._behind_proxy = peer in settings.trusted_proxies
        self._body_began_at = 0.0
        self._patience = trio.CancelScope(deadline=trio.current_time() + settings.limits.idle_s)
        self._http: GuardedProtocol | None = None

    # --- the connection's life ---

    async def run(self) -> None:
        """Serve until the client or the server closes, and until every request's application has returned.

        No exception but cancellation leaves: others go to ``on_error``. Cancelled, it aborts the connection.
        """
        try:
            if await self._handshake():
                async with trio.open_nursery() as nursery:
                    self._http = GuardedProtocol(self, AppTasks(self, nursery))
                    await self._read_data()
            self.transport.close()
        except* Exception as errors:  # noqa: BLE001 - one bad connection must not touch another
            self.report(errors)
        finally:
            self.transport.abort()
            self._http = None  # they hold each other: else both would lie about until the garbage collector comes

    def report(self, errors: BaseExceptionGroup[Exception]) -> None:
        """Hand an unexpected failure on; a single one without its group."""
        error: BaseException = errors
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        self.settings.on_error(error)

    async def _handshake(self) -> bool:
        if self.settings.tls is None:
            return True
        with trio.move_on_after(self.settings.limits.header_s):
            try:
                await self.stream.do_handshake()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
            return not self.transport.closed
        return False

    async def _read_data(self) -> None:
        http = self._http
        assert http is not None
        try:
            await self._read_until_gone(http)
            if self._patience.cancelled_caught and self.phase in {Phase.HEAD, Phase.BODY}:
                self._patience = trio.CancelScope()
                await http.time_out()
                await self._read_until_gone(http)
            if self.phase in {Phase.REQUEST, Phase.GOODBYE}:
                self.transport.close()
        finally:
            # Now, and not when the applications have returned: one of them may be waiting for this client to read.
            self.transport.abort()
        self.phase = Phase.GOODBYE
        await http.handle(Closed())

    async def _read_until_gone(self, http: GuardedProtocol) -> None:
        with self._patience:
            while await self._pass_on(http):
                pass

    async def _pass_on(self, http: GuardedProtocol) -> bool:
        """Hand over what one read brings; in a frame of its own, so that no long wait keeps the last of a body."""
        data = await self._receive()
        if data and self.phase is not Phase.GOODBYE:
            await http.handle(RawData(data))
        return bool(data)

    async def _receive(self) -> bytes:
        try:
            return bytes(await self.stream.receive_some())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    @property
    def closing(self) -> bool:
        """Whether nothing is read as a request any more."""
        return self.phase is Phase.GOODBYE

    # --- what the protocol says ---

    def expect_request(self) -> None:
        """The connection is idle."""
        self._wait_for(Phase.REQUEST, self.settings.limits.idle_s)

    def expect_head(self) -> None:
        """A request has begun."""
        self._wait_for(Phase.HEAD, self.settings.limits.header_s)

    def expect_body(self, received_bytes: int) -> None:
        """The body is not complete; it has come so far."""
        limits = self.settings.limits
        if self.phase is not Phase.BODY:
            self._body_began_at = trio.current_time()
        allowed = min(limits.body_s, limits.body_grace_s + received_bytes / limits.body_min_bytes_per_s)
        self._wait_for(Phase.BODY, self._body_began_at + allowed - trio.current_time())

    def expect_nothing(self) -> None:
        """The request is complete: the client may be silent as long as it likes."""
        self._wait_for(Phase.NOTHING, math.inf)

    def finish(self) -> None:
        """No request will be read any more: send our FIN, and drop what comes until the client closes too."""
        self.transport.shutdown_write()
        self._wait_for(Phase.GOODBYE, self.settings.limits.linger_s)

    def _wait_for(self, phase: Phase, seconds: float) -> None:
        if self.phase is not Phase.GOODBYE:
            self.phase = phase
            self._patience.deadline = trio.current_time() + seconds

    def client_of(self, headers: list[tuple[bytes, bytes]]) -> tuple[str, int]:
        """The client's address as far as the trusted proxies vouch for it; the port is 0 behind a proxy."""
        if self._behind_proxy:
            return self.settings.trusted_proxies.client_of(self.peer, headers), 0
        return self.peer, 0

    def client_connection(self) -> ClientConnection:
        """The handle for the request that begins now."""
        assert self._http is not None
        return ClientConnection(self, self._http.request_number)

    async def write(self, data: bytes) -> None:
        """Write all of ``data``, after those who wrote before. Not cancelled; bounded by the write limit.

        A client that has gone is no error here: the reader tells the application.
        """
        lock = self.send_lock
        if lock.locked():
            with trio.CancelScope(shield=True):
                await lock.acquire()
        else:
            lock.acquire_nowait()
        try:
            if self.settings.tls is None:
                await self.transport.send_all(data)
            else:
                with trio.CancelScope(shield=True):
                    await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.transport.close()
            # An application that only writes must not keep the reader from telling it.
            await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            lock.release()

    async def protocol_send(self, event: Event) -> None:
        """Write or close, as hypercorn's protocol asks for it."""
        if isinstance(event, RawData):
            await self.write(event.data)
        elif isinstance(event, Closed):
            self.finish()

    # --- what the server says ---

    def drain(self) -> None:
        """Take no further request. Idle: closed at once; one that has only just come gets ``linger_s`` to ask."""
        self.draining = True
        if self.phase is Phase.REQUEST:
            if self._http is not None and self._http.request_number:
                self.transport.close()
            else:
                self._patience.deadline = min(
                    self._patience.deadline, trio.current_time() + self.settings.limits.linger_s
                )

    def abort(self) -> None:
        """End the connection at once: reset it, unless all was said; then the kernel still delivers the last of it."""
        if self.phase is Phase.GOODBYE:
            self.transport.close()
        else:
            self.transport.abort()

    def abort_request(self, number: int) -> None:
        """Reset the connection, if that request is still being answered."""
        if self._http is not None and self._http.request_number == number and self._http.stream is not None:
            self.transport.abort()
