"""HTTP/1.1 on a wire, from the client's side: one request, its answer, then the next."""

import trio

from ainf.inference.errors import UpstreamError
from ainf.upstream.limits import UpstreamLimits
from ainf.upstream.response import ResponseReader, UpstreamHead
from ainf.upstream.wire import Wire


class Connection:
    """A wire and the reader of its answers. One call at a time owns it.

    Its methods raise ``UpstreamError`` for what the provider does, and ``trio.ClosedResourceError`` once it is closed.
    Cancelled in ``send``, it must be closed. Cancelled while it receives, it has lost nothing and may be read on.
    """

    __slots__ = ("_cut_short", "_limits", "_reader", "_wire", "idle_since")

    def __init__(self, wire: Wire, limits: UpstreamLimits) -> None:
        self._wire = wire
        self._limits = limits
        self._reader = ResponseReader(header_bytes=limits.header_bytes)
        self._cut_short = False
        self.idle_since = 0.0

    @property
    def head(self) -> UpstreamHead | None:
        """The head of the answer, once it is read."""
        return self._reader.head

    @property
    def status(self) -> int | None:
        """The status of the answer, also where its head was refused."""
        return self._reader.status

    @property
    def is_complete(self) -> bool:
        """Whether all of the answer has come."""
        return self._reader.complete

    @property
    def is_reusable(self) -> bool:
        """Whether the answer was read to its end and another request may follow."""
        return self._reader.reusable and not self._cut_short

    @property
    def is_quiet(self) -> bool:
        """Whether it stayed open and silent while nobody used it."""
        return self._wire.is_quiet()

    @property
    def was_stale(self) -> bool:
        """Whether the provider had closed it before any byte of the request could reach it."""
        return not self._reader.touched and not self._wire.may_have_arrived()

    async def send(self, request: bytes) -> bool:
        """Send a whole request; return whether the wire took all of it.

        A provider that refuses early closes before it has read everything. Its answer may still be here, so breaking
        is no error yet: ``receive_head`` finds the answer, or says what happened.
        """
        self._reader.begin()
        try:
            await self._wire.send_all(request)
        except trio.BrokenResourceError:
            self._cut_short = True
        return not self._cut_short

    async def receive_head(self) -> UpstreamHead:
        """Wait for the head of the answer; informational ones are read over."""
        reader = self._reader
        while reader.head is None:
            if reader.failure is not None:
                raise reader.failure
            await self._read()
        return reader.head

    async def receive_body(self) -> bytes:
        """Return all the body bytes of one read; ``b""`` at the end of the body, then without waiting."""
        reader = self._reader
        while True:
            if body := reader.take_body():
                return body
            if reader.complete:
                return b""
            if reader.failure is not None:
                raise reader.failure
            await self._read()

    def abort(self) -> None:
        """Close at once, keeping what had arrived. Idempotent."""
        # The kernel counts its overhead too and doubles SO_RCVBUF for it, so that twice the setting can be payload.
        data = self._wire.take(2 * self._limits.receive_buffer_bytes)
        if data:
            self._reader.receive(data)

    def residue(self) -> bytes:
        """Return the body bytes that came before the abort and were not handed out; once."""
        return self._reader.take_body() if self._reader.head is not None else b""

    def close(self) -> None:
        """Close at once. Idempotent."""
        self._wire.close()

    async def _read(self) -> None:
        try:
            data = await self._wire.receive_some(self._limits.read_bytes)
        except trio.BrokenResourceError as exc:
            # A broken body is a truncated one, however it broke off.
            code = "upstream_error" if self._reader.head is None else "upstream_truncated"
            raise UpstreamError(code, "The provider broke the connection.") from exc
        if data:
            self._reader.receive(data)
        else:
            self._reader.receive_eof()
