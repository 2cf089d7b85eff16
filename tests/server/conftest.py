"""A small ASGI application with known habits, the real server around it, and a client that writes raw bytes."""

import contextlib
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import h11
import pytest
import trio

from ainf.inference.errors import AinfError
from ainf.server.launcher import Server
from ainf.server.limits import TlsFiles
from tests.server.limits import server_limits

FRAME = b"data: 0123456789\n\n"


_answers = itertools.count()


def error_answer(path: str, error: AinfError) -> tuple[list[tuple[bytes, bytes]], bytes]:
    request_id = f"req_{next(_answers)}"
    body = json.dumps({"path": path, "error": {"code": error.code, "type": error.type, "request_id": request_id}})
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-request-id": request_id,
        "x-should-retry": str(error.transient).lower(),
    }
    return [(name.encode(), value.encode()) for name, value in headers.items()], body.encode()


class Habits:
    """The application: what it does is chosen by the path; what happened to it is written down."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.scopes: list[dict[str, Any]] = []
        self.running = 0
        self.sent_bytes = 0
        self.go_on = trio.Event()
        self.gone = trio.Event()
        self.gone_at = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        self.paths.append(scope["path"])
        self.scopes.append(scope)
        self.running += 1
        try:
            await getattr(self, scope["path"].strip("/"))(scope, receive, send)
        finally:
            self.running -= 1

    async def hello(self, scope: Any, receive: Any, send: Any) -> None:
        self.bodies.append(await self._body(receive))
        await self._answer(send, b'{"hello": "world"}')

    async def client(self, scope: Any, receive: Any, send: Any) -> None:
        await self._answer(send, json.dumps(scope["client"][0]).encode())

    async def wait(self, scope: Any, receive: Any, send: Any) -> None:
        async with self._while_there(receive):
            await self.go_on.wait()
            await self._answer(send, b'{"waited": true}')

    async def ticks(self, scope: Any, receive: Any, send: Any) -> None:
        async with self._while_there(receive):
            await self._start(send)
            while not self.go_on.is_set():
                await send({"type": "http.response.body", "body": FRAME, "more_body": True})
                await trio.sleep(0.01)
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})

    async def waits_for_the_end(self, scope: Any, receive: Any, send: Any) -> None:
        await self._start(send)
        while (await receive())["type"] != "http.disconnect":
            pass

    async def silent(self, scope: Any, receive: Any, send: Any) -> None:
        async with self._while_there(receive):
            await self._start(send)
            await send({"type": "http.response.body", "body": FRAME, "more_body": True})
            await trio.sleep_forever()

    async def flood(self, scope: Any, receive: Any, send: Any) -> None:
        async with self._while_there(receive):
            await self._start(send)
            while not self.go_on.is_set():
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
                self.sent_bytes += 65536
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def abort(self, scope: Any, receive: Any, send: Any) -> None:
        async with self._while_there(receive):
            await self._start(send)
            await send({"type": "http.response.body", "body": FRAME, "more_body": True})
            await self.go_on.wait()
            scope["ainf.connection"].abort()
            await trio.sleep_forever()

    async def deaf(self, scope: Any, receive: Any, send: Any) -> None:
        await self._answer(send, b"{}")

    async def boom(self, scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("boom")

    async def late(self, scope: Any, receive: Any, send: Any) -> None:
        await self._start(send)
        await send({"type": "http.response.body", "body": FRAME, "more_body": True})
        raise KeyError("late")

    async def nothing(self, scope: Any, receive: Any, send: Any) -> None:
        return

    async def _start(self, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _answer(self, send: Any, body: bytes) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _body(self, receive: Any) -> bytes:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self._note_gone()
                return body
            body += message["body"]
            more = message["more_body"]
        return body

    @contextlib.asynccontextmanager
    async def _while_there(self, receive: Any) -> AsyncIterator[None]:
        """Cancel the block when the client leaves, as Quart-Trio does with a handler."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, receive, nursery.cancel_scope)
            yield
            nursery.cancel_scope.cancel()

    async def _watch(self, receive: Any, scope: trio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._note_gone()
        scope.cancel()

    def _note_gone(self) -> None:
        self.gone_at = trio.current_time()
        self.gone.set()


@attrs.define
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


class Wire:
    """A client's connection: raw bytes out, h11 (its client side) in, so that framing is judged by another than us."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.parser = h11.Connection(h11.CLIENT)
        self.parser.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
        self.parser.send(h11.EndOfMessage())

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def get(self, path: str, *headers: str) -> None:
        await self.send("\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *headers, "", ""]).encode())

    async def event(self) -> Any:
        while (event := self.parser.next_event()) is h11.NEED_DATA:
            self.parser.receive_data(await self.stream.receive_some())
        return event

    async def answer(self) -> Answer:
        with trio.fail_after(5):
            head, body = await self.event(), b""
            while not isinstance(event := await self.event(), h11.EndOfMessage):
                body += event.data
        if self.parser.our_state is h11.DONE and self.parser.their_state is h11.DONE:
            self.parser.start_next_cycle()
            self.parser.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
            self.parser.send(h11.EndOfMessage())
        return Answer(head.status_code, {name.decode(): value.decode() for name, value in head.headers}, body)

    async def until_closed(self, within_s: float = 5) -> bytes:
        """What comes until the server closes or resets; fails when it does neither in time."""
        data = b""
        with trio.fail_after(within_s):
            try:
                while part := await self.stream.receive_some():
                    data += part
            except trio.BrokenResourceError:
                pass
        return data

    async def close(self) -> None:
        await trio.aclose_forcefully(self.stream)


class Bench:
    """A running server, its application, and connections to it."""

    def __init__(self, server: Server, app: Any, errors: list[BaseException], tls: ssl.SSLContext | None) -> None:
        self.server = server
        self.app = app
        self.errors = errors
        self.refusals: list[str] = []
        self.returned = trio.Event()
        self._tls = tls
        self._wires: list[Wire] = []

    @property
    def port(self) -> int:
        return int(self.server.bound[0].rpartition(":")[2])

    async def connect(self, *, plain: bool = False) -> Wire:
        stream: Any = await trio.open_tcp_stream("127.0.0.1", self.port)
        if self._tls is not None and not plain:
            stream = trio.SSLStream(stream, self._tls, server_hostname="localhost", https_compatible=True)
            await stream.do_handshake()
        self._wires.append(wire := Wire(stream))
        return wire

    async def ask(self, path: str) -> Answer:
        wire = await self.connect()
        await wire.get(path, "Connection: close")
        answer = await wire.answer()
        await wire.close()
        return answer

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        await self.server.run(task_status=task_status)
        self.returned.set()

    async def running(self, requests: int = 1) -> None:
        """Wait until the application is busy with that many requests."""
        with trio.fail_after(2):
            while self.app.running != requests:  # noqa: ASYNC110 - the application has no event for each number
                await trio.sleep(0.002)

    async def sees_client_go(self, within_s: float = 0.2) -> None:
        """The application must see its client go, and the connection must end with it."""
        with trio.fail_after(within_s):
            await self.app.gone.wait()
        await self.empties()

    async def empties(self) -> None:
        """Every connection must end, and its application with it, without an unexpected error."""
        with trio.fail_after(1):
            while self.server.open_connections:  # noqa: ASYNC110 - the server has no event for that, and needs none
                await trio.sleep(0.005)
        assert self.app.running == 0
        assert not self.errors

    async def aclose(self) -> None:
        for wire in self._wires:
            await wire.close()


@pytest.fixture
async def serve(nursery: trio.Nursery) -> AsyncIterator[Callable[..., Any]]:
    """Start a server: ``await serve(write_s=0.2)`` gives a ``Bench``; it is stopped afterwards."""
    benches: list[Bench] = []

    async def start(
        app: Any = None, *, tls: TlsFiles | None = None, trust: ssl.SSLContext | None = None, trusted=(), **limits: Any
    ) -> Bench:
        app = Habits() if app is None else app
        errors: list[BaseException] = []
        refusals: list[str] = []
        server = Server(
            app,
            bind=["127.0.0.1:0"],
            limits=server_limits(**{"linger_s": 0.1} | limits),
            tls=tls,
            trusted_proxies=trusted,
            error_answer=error_answer,
            on_refusal=lambda error: refusals.append(error.code),
            on_connection_error=errors.append,
        )
        benches.append(bench := Bench(server, app, errors, trust))
        bench.refusals = refusals
        await nursery.start(lambda task_status: bench.run(task_status=task_status))
        return bench

    yield start
    for bench in benches:
        bench.server.stop_accepting()
        bench.server.abort_connections()
        with trio.fail_after(2):
            await bench.returned.wait()
        await bench.aclose()
