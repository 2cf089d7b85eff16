"""The face of this room: a client for each provider, and a call for each attempt."""

import trio

from ainf.inference.errors import UpstreamError
from ainf.upstream.connect import Connector
from ainf.upstream.connection import Connection
from ainf.upstream.limits import UpstreamLimits
from ainf.upstream.pool import Pool
from ainf.upstream.proxy import Proxy
from ainf.upstream.request import UpstreamRequest, request_head
from ainf.upstream.response import UpstreamHead
from ainf.upstream.tls import tls_context
from ainf.upstream.wire import Dialer, Wire, tcp_dialer


class UpstreamAborted(UpstreamError):  # noqa: N818 - it names an ending of ours, not a fault
    """The call was ended by our own side (``abort``, ``aclose``, an earlier failure): nothing new to report."""

    def __init__(self) -> None:
        super().__init__("upstream_error", "The call to the provider was ended by the gateway.")


class UpstreamClient:
    """Calls to one provider, over connections that are kept.

    The environment is not asked: no proxy variables, no ``.netrc``. There are no redirects, cookies or content
    codings, and only HTTP/1.1, whose closing a provider notices.

    Args:
        limits: see there.
        ca_file: a PEM file of the authorities to trust, instead of the bundled public ones.
        proxy: ``http://[user:password@]host[:port]``, for all calls.
        dialer: connects to a host and port; TCP unless a test brings its own.

    Raises:
        OSError: ``ca_file`` cannot be used.
        ValueError: ``proxy`` is not such a URL.
    """

    def __init__(
        self,
        *,
        limits: UpstreamLimits,
        ca_file: str | None = None,
        proxy: str | None = None,
        dialer: Dialer | None = None,
    ) -> None:
        self.limits = limits
        self.pool = Pool(limits)
        self.proxy = None if proxy is None else Proxy.from_url(proxy)
        self.connector = Connector(dialer or tcp_dialer(limits), tls_context(ca_file), self.proxy, limits)

    def call(self, request: UpstreamRequest) -> "UpstreamCall":
        """Return a call that has not begun. Does no I/O.

        Raises:
            ValueError: the URL or a header cannot be sent.
        """
        return UpstreamCall(self, request)

    def close(self) -> None:
        """Close the connections that wait. Those in use are closed when their calls end."""
        self.pool.close()


# Strategy: a call holds up to three things: a place in its lane, the time limit of a connection attempt, and a wire
# (later: the connection on it). `abort` lets go of whatever is held, in any state, synchronously and any number of
# times; every failing method ends in it. The task that waits meanwhile is woken by its scope or by its wire, and finds
# that the call was aborted.
class UpstreamCall:
    """One request and its answer. One task uses it, any task may abort it.

    Cancelled in ``start`` before the request was sent whole, the call is aborted as by ``abort``. Cancelled later, also
    in ``receive``, it has lost nothing and may be read on (``receive_head``, ``receive``); whoever has it must then end
    it, as always, by ``abort`` or ``aclose``: a connection never goes back in the middle of an answer.

    Attributes:
        head: the answer's head, once it is read; also one that ``abort`` found in the socket.
        status: after an end: the answer's status, also where its head was refused; None where none had come.
        connected: whether a connection was had: before that the provider cannot have got any byte.
        sent: whether the request was sent whole, and not to a provider that is known to have been gone; stands after an
            end.
        reused: whether the connection had served a call before.
        redials: how often (0 or 1) a reused connection turned out to be closed already and was replaced.
    """

    __slots__ = (
        "_aborted", "_client", "_connection", "_deadline", "_lane", "_placed", "_request_body", "_request_head",
        "_request_id", "_scope", "_wire", "connected", "head", "redials", "reused", "sent", "status",
    )  # fmt: skip

    def __init__(self, client: UpstreamClient, request: UpstreamRequest) -> None:
        head = request_head(request.method, request.url, request.headers, client.proxy)
        self._client = client
        self._lane = client.pool.lane(head.origin)
        self._request_head = head
        self._request_body = request.body
        self._request_id = request.request_id
        self._deadline = 0.0
        self._placed = False
        self._scope: trio.CancelScope | None = None
        self._wire: Wire | None = None
        self._connection: Connection | None = None
        self._aborted = False
        self.head: UpstreamHead | None = None
        self.status: int | None = None
        self.connected = False
        self.sent = False
        self.reused = False
        self.redials = 0

    async def start(self) -> UpstreamHead:
        """Connect or reuse, send, and read the answer's head, whatever its status. Once.

        Raises:
            UpstreamError: ``upstream_unreachable``, ``upstream_timeout`` (``connect_s``), ``upstream_protocol``,
                ``upstream_error``, ``upstream_truncated``; ``UpstreamAborted``.
        """
        try:
            self.head = await self._start()
        except trio.Cancelled as exc:
            if not self.sent:
                self._end(exc)
            raise
        except BaseException as exc:
            self._end(exc)
            raise
        self._request_body = b""  # a stream may last for minutes
        return self.head

    async def receive_head(self) -> UpstreamHead:
        """Go on waiting for the answer's head where ``start`` was cancelled behind a request that was sent whole.

        Nothing is connected or sent any more: a connection that turns out to have been closed is a failure here.

        Raises:
            UpstreamError: as ``start``.
        """
        connection = self._connection
        if connection is None or self._aborted:
            raise UpstreamAborted
        self._request_body = b""
        try:
            self.head = await connection.receive_head()
        except trio.Cancelled:
            raise
        except BaseException as exc:
            self._end(exc)
            raise
        return self.head

    async def receive(self) -> bytes:
        """Return all body bytes that one read of the socket brought; ``b""`` at the clean end of the body.

        Raises:
            UpstreamError: ``upstream_truncated`` (also by a reset), ``upstream_protocol``;
                ``UpstreamAborted``.
        """
        connection = self._connection
        if connection is None or self._aborted:
            raise UpstreamAborted
        try:
            return await connection.receive_body()
        except trio.Cancelled:
            raise
        except BaseException as exc:
            self._end(exc)
            raise

    async def read_error_body(self) -> bytes:
        """Return what can be had of the body within ``error_body_bytes`` and ``error_body_s``.

        Never raises for what the provider does; a body with a content coding counts as empty.

        Raises:
            UpstreamAborted: our own side ended the call meanwhile.
        """
        if self.head is None or self.head.is_encoded:
            return b""
        limits = self._client.limits
        body = bytearray()
        with trio.move_on_after(limits.error_body_s):
            try:
                while len(body) < limits.error_body_bytes and (data := await self.receive()):
                    body += data
            except UpstreamAborted:
                raise
            except UpstreamError:
                pass  # the rest is lost; what came is still the provider's word
        return bytes(body[: limits.error_body_bytes])

    def abort(self) -> None:
        """End the call now, in any state and from any task. Synchronous, idempotent, never raises.

        What the socket already holds is taken without waiting (see ``residue``), then it is closed. A task that waits
        in ``start`` or ``receive`` wakes with ``UpstreamAborted``. An address that is still being connected to has
        got no request; its socket is closed by the waiting task's next step.
        """
        if self._connection is not None and not self._aborted:
            self.sent = self.sent and not self._connection.was_stale  # nobody can tell once it is closed
        self._aborted = True
        if self._scope is not None:
            self._scope.cancel(reason="the call was aborted")
        if self._connection is not None:
            self._connection.abort()
            self.head = self._connection.head
            self.status = self._connection.status
        elif self._wire is not None:
            self._wire.close()
        self._leave()

    @property
    def is_complete(self) -> bool:
        """Whether all of the answer has come, of which ``receive`` or ``residue`` may still have to tell."""
        return self._connection is not None and self._connection.is_complete

    async def residue(self) -> bytes:
        """Return the body bytes that ``abort`` found or that were not handed out before it; once.

        Never waits, never raises.
        """
        if not self._aborted or self._connection is None:
            return b""
        return self._connection.residue()

    async def aclose(self) -> None:
        """Keep the connection for the next call if the answer was read to its end, else close it.

        Idempotent; never waits, so that it also works in a cancelled scope.
        """
        if self._aborted:
            return
        connection = self._connection
        if connection is not None and connection.is_reusable:
            self._connection = self._wire = None
            self._lane.push(connection, trio.current_time())
            self._leave()
        else:
            self.abort()

    async def _start(self) -> UpstreamHead:
        assert self._connection is None
        self._check_not_aborted()
        now = trio.current_time()
        self._deadline = now + self._client.limits.connect_s
        await self._take_place()
        connection = self._lane.pop(now)
        if connection is not None:
            self.connected = self.reused = True
            self._connection = connection
            try:
                return await self._ask(connection)
            except UpstreamError:
                if not connection.was_stale:
                    raise
            connection.close()
            self._connection = None
            self.sent = self.reused = False
            self.redials += 1
        return await self._ask(await self._connect())

    async def _ask(self, connection: Connection) -> UpstreamHead:
        self.sent = await connection.send(self._request_head.with_body(self._request_body, self._request_id))
        return await connection.receive_head()

    async def _take_place(self) -> None:
        """Wait for one of the origin's places."""
        places = self._lane.places
        if places.value:
            places.acquire_nowait()
            self._placed = True
            return
        with trio.move_on_at(self._deadline) as self._scope:
            await places.acquire()
            self._placed = True
        self._check_not_aborted()
        if not self._placed:
            raise _connect_timeout()

    async def _connect(self) -> Connection:
        client = self._client
        wire: Wire | None = None
        with trio.move_on_at(self._deadline) as self._scope:
            wire = await client.connector.connect(self._lane.origin, self._adopt)
        if wire is None:
            raise _connect_timeout()
        self.connected = True
        self._connection = Connection(wire, client.limits)
        return self._connection

    def _adopt(self, wire: Wire) -> None:
        """Hold a wire, so that ``abort`` can close it."""
        self._wire = wire
        self._check_not_aborted()

    def _end(self, error: BaseException) -> None:
        """Let go of everything behind a failure; tell an abort from what it looks like on the wire."""
        aborted = self._aborted
        self.abort()
        if aborted and isinstance(error, (UpstreamError, trio.ClosedResourceError)):
            raise UpstreamAborted from None

    def _leave(self) -> None:
        if self._placed:
            self._placed = False
            self._lane.places.release()

    def _check_not_aborted(self) -> None:
        if self._aborted:
            raise UpstreamAborted


def _connect_timeout() -> UpstreamError:
    return UpstreamError("upstream_timeout", "No connection to the provider was ready in time.")
