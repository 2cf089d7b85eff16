"""What must hold of any bytes on a client's connection: no request is smuggled, nobody else is harmed."""

import json
from collections.abc import Sequence
from typing import Any, Final, cast

import attrs
import trio
import trio.testing
from hypercorn.trio.worker_context import WorkerContext

from ainf.inference.errors import AinfError
from ainf.server.forwarded import TrustedProxies
from ainf.server.guard import ConnectionSettings, GuardedConnection
from ainf.server.launcher import _WorkerConfig
from ainf.server.limits import ServerLimits
from ainf.server.transport import SocketTransport
from tests.fuzz.choices import Choices
from tests.fuzz.http1 import Answer, answers_in, requests_in, values_of
from tests.gateway.steps import deterministic
from tests.server.limits import server_limits

LIMITS: Final = server_limits(body_bytes=2_000, header_bytes=4_096, target_bytes=512, header_lines=30)
_INNOCENT: Final = b"POST /innocent HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"


class MemoryTransport(trio.abc.Stream):
    """The server's end of a client's connection, in memory: the client sends its pieces and waits for an end."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.said = b""
        self.closed = False
        self._pieces = list(pieces)
        self._over = trio.Event()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        del max_bytes
        await trio.lowlevel.checkpoint()
        if self._pieces and not self.closed:
            return self._pieces.pop(0)
        await self._over.wait()
        if self.closed:
            raise trio.ClosedResourceError
        return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.closed:
            raise trio.ClosedResourceError
        await trio.lowlevel.cancel_shielded_checkpoint()
        self.said += bytes(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True
        self._over.set()

    abort = close

    def shutdown_write(self) -> None:
        """The client sees the end and closes."""
        self._over.set()

    def set_write_limit(self, seconds: float) -> None:
        pass

    def local_address(self) -> tuple[str, int]:
        return "192.0.2.2", 80


@attrs.define
class Echo:
    """An application that says what it was asked, and writes it down."""

    begun: list[tuple[bytes, bytes]] = attrs.field(factory=list)
    """Methods and targets."""
    whole: list[tuple[bytes, bytes, bytes]] = attrs.field(factory=list)
    """The same with the body, of those that came whole."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        head = (scope["method"].encode(), target)
        self.begun.append(head)
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message["body"]
            more = message["more_body"]
        self.whole.append((*head, body))
        answer = json.dumps({"bytes": len(body)}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def connection(data: bytes) -> None:
    """The application gets the requests that a strict reader finds, and no other; every answer is whole and JSON."""
    choices = Choices(data)
    with deterministic(choices.rng.randrange(1 << 32)):
        trio.run(_serve, choices, clock=trio.testing.MockClock(autojump_threshold=0))


async def _serve(choices: Choices) -> None:
    echo, errors = Echo(), list[BaseException]()
    settings = _settings(echo, errors, LIMITS)
    client, innocent = MemoryTransport(choices.cuts(choices.body)), MemoryTransport([_INNOCENT])
    with trio.fail_after(10_000):
        async with trio.open_nursery() as nursery:
            for transport in (client, innocent):
                guarded = GuardedConnection(settings, cast("SocketTransport", transport), "192.0.2.1")
                nursery.start_soon(guarded.run)
    assert errors == [], errors
    (saved,) = answers_in(innocent.said, [])[0]
    assert saved.status == 200, "another connection was harmed"
    for asked in (echo.begun, echo.whole):
        asked.remove(next(each for each in asked if each[1] == b"/innocent"))
    _check_asked(choices.body, echo)
    _check_answers(client.said, echo)


def _error_answer(path: str, error: AinfError) -> tuple[list[tuple[bytes, bytes]], bytes]:
    body = json.dumps({"path": path, "error": {"code": error.code}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    return headers, body


def _settings(echo: Echo, errors: list[BaseException], limits: ServerLimits) -> ConnectionSettings:
    refused: list[AinfError] = []
    return ConnectionSettings(
        app=echo,
        config=_WorkerConfig(limits),
        context=WorkerContext(max_requests=None),
        limits=limits,
        tls=None,
        trusted_proxies=TrustedProxies(()),
        error_answer=_error_answer,
        on_error=errors.append,
        on_refusal=refused.append,
    )


def _check_asked(data: bytes, echo: Echo) -> None:
    strict = requests_in(data)
    heads = [(request.method.upper(), request.target) for request in strict]
    assert echo.begun == heads[: len(echo.begun)], "a request that no strict reader finds"
    whole = [(request.method.upper(), request.target, request.body) for request in strict if request.body is not None]
    assert echo.whole == whole[: len(echo.whole)], "a body that no strict reader finds"


def _check_answers(said: bytes, echo: Echo) -> None:
    methods = [method for method, _ in echo.begun]
    answers, rest = answers_in(said, methods)
    if rest:  # a refusal of a request that did not begin, and that wanted no body
        answers, rest = answers_in(said, [*methods, b"HEAD"])
    assert rest == b"", "an answer that is not whole"
    assert len(answers) <= len(echo.begun) + 1, "more answers than requests"
    assert [answer.status for answer in answers[: len(echo.whole)]] == [200] * len(echo.whole)
    refusals = answers[len(echo.whole) :]
    assert len(refusals) <= 1, "two refusals"
    for refusal in refusals:
        _check_refusal(refusal)


def _check_refusal(answer: Answer) -> None:
    assert 400 <= answer.status < 500
    assert values_of(answer.headers, b"connection") == [b"close"]
    assert values_of(answer.headers, b"content-type") == [b"application/json"]
    assert answer.body == b"" or json.loads(answer.body)["error"]["code"]
