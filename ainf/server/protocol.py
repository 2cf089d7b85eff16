"""HTTP/1.1 on one connection: hypercorn's h11 protocol without upgrades, with our refusals and a shorter write path.

What is changed, and why (all measured on hypercorn 0.18):

- No HTTP/2 and no websocket, whatever the client asks for: each is a way to kill the whole server.
- The head is checked before a task exists for it (``ainf.server.edge``); every refusal is JSON.
- Parsing never waits. While a request runs, further bytes are kept (bounded) and the reader goes on reading, so that a
  disconnect is seen at once; hypercorn's reader sleeps in ``can_read`` instead.
- The end of a response and the return to keep-alive happen in one step without a checkpoint: Quart-Trio cancels the
  task that sends the last byte.
- The response's head leaves with the first body message, as ASGI has it; the chunks of a stream are framed here.
"""

from typing import TYPE_CHECKING, Final, cast

import h11
import trio
from hypercorn.events import Event, RawData
from hypercorn.protocol.events import Body, EndBody, Request, Response, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.typing import ASGISendEvent, ConnectionState, H11SendableEvent, TaskGroup

from ainf.inference.errors import AinfError, DownstreamError, GatewayError
from ainf.server import edge
from ainf.server.application import AppTasks

if TYPE_CHECKING:
    from ainf.server.guard import GuardedConnection

_CLOSE: Final = (b"connection", b"close")
_EVENTS_PER_TURN: Final = 256


class GuardedStream(HTTPStream):
    """One request. Sends are no-ops once it is over; chunks are framed without a detour through h11."""

    protocol: "GuardedProtocol"

    async def app_send(self, message: ASGISendEvent | None) -> None:
        """The ASGI ``send``. A message is handed over whole or not at all; waiting for the client is bounded.

        Raises:
            Exception: hypercorn's and h11's, for messages that are no HTTP response.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.closed:
            if message is not None:
                await trio.lowlevel.cancel_shielded_checkpoint()
        elif message is not None and message["type"] == "http.response.body" and self.protocol.chunked:
            await self._send_chunk(message.get("body", b""), more=message.get("more_body", False))
        else:
            await super().app_send(message)

    async def _send_error_response(self, status_code: int) -> None:
        # The application returned, or failed, without an answer.
        assert status_code == 500, status_code
        await self.protocol.refuse(GatewayError("internal_error", "The gateway failed to answer."))

    async def _send_chunk(self, body: bytes, *, more: bool) -> None:
        if self.state is not ASGIHTTPState.RESPONSE:
            await super().app_send({"type": "http.response.body", "body": body, "more_body": more})
            return
        frame = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        if more:
            await self.protocol.write(frame)
            return
        self.state = ASGIHTTPState.CLOSED
        await self.protocol.write(frame + self.protocol.end_of_chunks())
        await self.send(StreamClosed(stream_id=self.stream_id))


class GuardedProtocol(H11Protocol):
    """The requests of one connection, one after the other.

    Args:
        connection: the guard, which owns the socket and the clock.
        tasks: where applications run.
    """

    def __init__(self, connection: "GuardedConnection", tasks: AppTasks) -> None:
        super().__init__(
            connection.app,
            connection.config,
            connection.context,
            cast("TaskGroup", tasks),
            ConnectionState(connection.state),
            connection.settings.tls is not None,
            None,
            connection.transport.local_address(),
            connection.protocol_send,
        )
        self.request_number = 0
        self.chunked = False
        self._guard = connection
        self._limits = connection.settings.limits
        self._raw_head: bytes | None = b""
        self._refused = False
        self._path = ""
        self._is_head = False
        self._held_head = b""
        self._is_chunked_request = False
        self._before_parsed = self._parsed = b""
        self._received_body_bytes = 0
        self._read_ahead_bytes = 0

    @property
    def _parser(self) -> h11.Connection:
        assert isinstance(self.connection, h11.Connection)  # never hypercorn's stand-in for websockets
        return self.connection

    # --- reading ---

    async def handle(self, event: Event) -> None:
        """Take bytes from the client, or the news that it has gone. Waits only to write a short answer."""
        if isinstance(event, RawData):
            if self._raw_head is not None:
                await self._receive_head(event.data)
            elif self.connection.their_state is h11.SEND_BODY:
                self._parse(event.data)
                await self._handle_events()
            else:
                self._keep_for_later(event.data)
        else:
            await super().handle(event)

    async def resume(self) -> None:
        """Read the request that came before its turn, if the client is still there."""
        if not self._guard.closing:
            await self._receive_head(b"")

    async def refuse(self, error: AinfError) -> None:
        """Answer with ``error`` if no answer has begun, tell the application that its client has gone, and finish.

        Once: what waits for its turn may be found wrong again while the first refusal is being written.
        """
        if self._refused:
            return
        self._refused = True
        if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._guard.settings.on_refusal(error)
            headers, body = self._guard.settings.error_answer(self._path, error)
            own = self.config.response_headers("h11")
            await self.write(edge.refusal(error.status, [*own, *headers], b"" if self._is_head else body))
        await self._close_stream()
        self._guard.finish()

    async def time_out(self) -> None:
        """The request did not come in time."""
        if not self._path:
            self._name_request(self._raw_head or b"")
        await self.refuse(DownstreamError("request_timeout", "The request did not arrive in time."))

    async def _receive_head(self, data: bytes) -> None:
        # An empty line before a request is skipped (RFC 9112, section 2.2).
        head = self._raw_head + data if self._raw_head else data.lstrip(b"\r\n")
        if not head:
            return
        end = head.find(edge.HEAD_END)
        try:
            edge.check_raw_head(head if end < 0 else head[: end + len(edge.HEAD_END)], self._limits)
        except DownstreamError as error:
            self._name_request(head)
            await self.refuse(error)
            return
        if end >= 0:
            self._raw_head = None
            self._parse(head)
            await self._handle_events()
        else:
            if not self._raw_head:
                self._guard.expect_head()
            self._raw_head = head

    def _name_request(self, head: bytes) -> None:
        """Note what an answer has to know of a request, from the beginning of its head, which may be anything."""
        self._path = edge.path_of(head)
        self._is_head = head.startswith(b"HEAD ")

    def _parse(self, data: bytes) -> None:
        self._before_parsed = (self._before_parsed + self._parsed[-3:])[-3:]
        self._parsed = data
        self.connection.receive_data(data)

    def _check_end_of_chunks(self) -> None:
        """Refuse chunks that end otherwise than by an empty line: h11 takes bare LF for one behind trailers."""
        end = len(self._parsed) - len(self.connection.trailing_data[0])
        if not (self._before_parsed + self._parsed[max(0, end - 4) : end]).endswith(edge.HEAD_END):
            raise edge.malformed()

    def _keep_for_later(self, data: bytes) -> None:
        self._read_ahead_bytes += len(data)
        if self._read_ahead_bytes > self._limits.read_ahead_bytes:
            self._guard.abort()
        else:
            self.connection.receive_data(data)

    async def _handle_events(self) -> None:
        events = 0
        try:
            while await self._handle_event():
                events += 1
                if not events % _EVENTS_PER_TURN:
                    # One read may hold ten thousand chunks of a byte each; the others must not wait for all of them.
                    await trio.lowlevel.cancel_shielded_checkpoint()
                if self.connection.they_are_waiting_for_100_continue:
                    await self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    self._parser.client_is_waiting_for_100_continue = False
        except h11.RemoteProtocolError:
            await self.refuse(edge.malformed())
        except DownstreamError as error:
            await self.refuse(error)

    async def _handle_event(self) -> bool:
        event = self.connection.next_event()
        if isinstance(event, h11.Request):
            self._name_request(b" ".join((event.method, event.target)))
            edge.check_request(event, self._limits)
            await self._create_stream(event)
        elif isinstance(event, h11.Data):
            self._received_body_bytes += len(event.data)
            if self._received_body_bytes > self._limits.body_bytes:
                raise edge.too_large(self._limits)
            if self.stream is not None:
                await self.stream.handle(Body(stream_id=STREAM_ID, data=event.data))
        elif isinstance(event, h11.EndOfMessage):
            if self._is_chunked_request:
                self._check_end_of_chunks()
            self._before_parsed = self._parsed = b""  # an open stream is not to keep what asked for it
            self._guard.expect_nothing()
            if self.stream is not None:
                await self.stream.handle(EndBody(stream_id=STREAM_ID))
            return False
        else:
            self._guard.expect_body(self._received_body_bytes)
            return False
        return True

    async def _create_stream(self, request: h11.Request) -> None:
        self.request_number += 1
        self._received_body_bytes = self._read_ahead_bytes = 0
        self.chunked = False
        headers = list(request.headers)
        self._is_chunked_request = any(name == b"transfer-encoding" for name, _ in headers)
        self.stream = stream = GuardedStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self._guard.client_of(headers),
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        stream.protocol = self
        await stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=headers,
                http_version=request.http_version.decode("ascii"),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )

    # --- writing ---

    async def write(self, data: bytes) -> None:
        """Write, behind the head that was held for it. Not cancelled; bounded by the write limit."""
        if self._held_head:
            data, self._held_head = self._held_head + data, b""
        if data:
            await self._guard.write(data)

    def end_of_chunks(self) -> bytes:
        """The bytes that end a chunked response; h11 takes the response as sent."""
        return self.connection.send(h11.EndOfMessage())

    async def stream_send(self, event: StreamEvent) -> None:
        """Take one event of the response from the stream."""
        if isinstance(event, Response) and (self._guard.draining or self.connection.their_state is h11.SEND_BODY):
            # No further request will be read: because we stop, or because this one's body never was.
            event.headers.append(_CLOSE)
        await super().stream_send(event)

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        data = self.connection.send(event)
        if isinstance(event, h11.Response):
            self._held_head = data
            self.chunked = not self._is_head and b"\r\ntransfer-encoding: chunked\r\n" in data.lower()
        else:
            await self.write(data)

    async def _maybe_recycle(self) -> None:
        await self._close_stream()
        self._path = ""
        both_done = self.connection.our_state is h11.DONE and self.connection.their_state is h11.DONE
        if self._guard.draining or not both_done:
            self._guard.finish()
            return
        early = self.connection.trailing_data[0]
        if early:
            # The next head needs the raw check too, so it must not stay inside h11.
            self.connection = h11.Connection(h11.SERVER, self.config.h11_max_incomplete_size)
            self._raw_head = early.lstrip(b"\r\n")
            self._guard.expect_head()
            self.task_group.spawn(self.resume)
        else:
            self.connection.start_next_cycle()
            self._raw_head = b""
            self._guard.expect_request()
