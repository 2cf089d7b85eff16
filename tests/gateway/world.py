"""A whole gateway in memory: surface, exchange, store and a simulated provider, under one (mock) clock.

Nothing here is a mock: the store is the real one over an in-memory database, the provider the real simulator on
in-memory connections, and a client speaks ASGI as hypercorn does. What is left out is hypercorn and the kernel.
"""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import attrs
import trio

from ainf import app as composition
from ainf.config import load_config
from ainf.exchange.calibrating import keep_calibrated
from ainf.exchange.inflight import keep_progress
from ainf.http.gateway import Gateway
from ainf.http.surface import build_surface
from ainf.ledger import Window
from ainf.simulator import MemoryStream, Simulator
from ainf.sse import EventStreamReader
from ainf.store import admin, caps
from ainf.store.counting import Scope
from ainf.store.store import Store
from ainf.store.transaction import Transaction
from ainf.telemetry import Telemetry
from tests.gateway.backends import models_text, providers_text
from tests.gateway.dialects import Dialect, Said, dialect_of

CONFIG = """
[server]
public_url = "http://gateway.test"
drain_s = 20
[store]
url = "sqlite:unused.db"
[limits]
write_s = 20
"""

DEFAULT_MODELS = ("sim", "sim-tokens-500-pace-20ms")


class SimulatedWire:
    """The gateway's end of an in-memory connection to the simulator, as an upstream wire."""

    def __init__(self, stream: MemoryStream):
        self.stream = stream

    async def send_all(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def receive_some(self, max_bytes: int) -> bytes:
        return await self.stream.receive_some(max_bytes)

    def is_quiet(self) -> bool:
        pipe = self.stream._incoming
        return not (pipe.buffer or pipe.eof or pipe.broken)

    def may_have_arrived(self) -> bool:
        return True

    def take(self, max_bytes: int) -> bytes:
        pipe = self.stream._incoming
        data = bytes(pipe.buffer[:max_bytes]) if not self.stream._closed else b""
        self.stream.close()
        return data

    def close(self) -> None:
        self.stream.close()


class Client:
    """One client: its request, and everything it sees of the answer.

    ``send`` behaves as the server's: it hands bytes over whole or, where it is cancelled before, not at all; it holds
    while the client is stalled (until the write limit ends the connection), and says nothing to a client that is gone.
    """

    def __init__(self, path: str, body: bytes, headers: dict[str, str], method: str = "POST", write_s: float = 20.0):
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.writes: list[bytes] = []
        self.ended = False
        self.aborted = False
        self.gone = False
        self.said_after_end = False
        self._unsent = [{"type": "http.request", "body": body, "more_body": False}]
        self._gone = trio.Event()
        self._unstalled = trio.Event()
        self._unstalled.set()
        self._write_s = write_s
        self.on_write: Callable[[int], None] | None = None
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self.scope: dict[str, Any] = {
            "type": "http", "asgi": {"spec_version": "2.3", "version": "3.0"}, "http_version": "1.1", "method": method,
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": [(b"host", b"gateway.test"), *raw], "client": ("192.0.2.1", 4711), "server": ("192.0.2.2", 80),
            "extensions": {}, "ainf.connection": self,
        }  # fmt: skip

    # the client's own deeds

    def leave(self) -> None:
        """Close the connection."""
        self.gone = True
        self._gone.set()
        self._unstalled.set()

    def stall(self) -> None:
        """Take no more bytes."""
        self._unstalled = trio.Event()

    # the server's side

    def abort(self) -> None:
        self.aborted = True
        self._gone.set()
        self._unstalled.set()

    async def receive(self) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if self._unsent:
            return self._unsent.pop(0)
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
            with trio.move_on_after(self._write_s) as patience:
                await self._unstalled.wait()
            if patience.cancelled_caught:
                self.leave()
        if self.gone or self.aborted:
            return
        if self.ended:
            self.said_after_end = True
        if message["type"] == "http.response.start":
            assert self.status is None
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        assert self.status is not None
        data = message.get("body", b"")
        if data:
            self.body += data
            self.writes.append(data)
        if not message.get("more_body", False):
            self.ended = True
            self._gone.set()  # hypercorn's way: our own end is followed by a disconnect
        if self.on_write is not None:
            self.on_write(len(self.writes))

    # what was seen

    @property
    def dialect(self) -> Dialect:
        """The protocol of its path."""
        return dialect_of(self.scope["path"])

    @property
    def is_streamed(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    def said(self) -> Said:
        """What the answer said, streamed or whole."""
        if self.is_streamed:
            return self.dialect.read_stream(self.payloads())
        return self.dialect.read_whole(self.json())

    @property
    def inference_id(self) -> str:
        return self.headers["x-ainf-inference-id"]

    def json(self) -> Any:
        return json.loads(self.body)

    def payloads(self) -> list[bytes]:
        """The data of each event of a stream, in order."""
        reader = EventStreamReader(max_line_bytes=1 << 20, max_event_bytes=1 << 20)
        payloads = reader.receive(self.body).payloads
        assert not reader.pending, "the answer ends inside an event"
        return payloads

    def chunks(self) -> list[dict[str, Any]]:
        """The payloads that are JSON objects; a relayed stream may hold others."""
        chunks = []
        for payload in self.payloads():
            with contextlib.suppress(ValueError):
                if isinstance(chunk := json.loads(payload), dict):
                    chunks.append(chunk)
        return chunks

    def text(self) -> str:
        return "".join(
            chunk["choices"][0]["delta"].get("content") or "" for chunk in self.chunks() if chunk.get("choices")
        )

    def finish_reasons(self) -> list[str]:
        return [
            chunk["choices"][0]["finish_reason"]
            for chunk in self.chunks()
            if chunk.get("choices") and chunk["choices"][0].get("finish_reason")
        ]


@attrs.define
class World:
    simulator: Simulator
    store: Store
    gateway: Gateway
    app: Any
    key: str
    key_id: str
    telemetry: Telemetry
    log: StringIO
    wires: list[SimulatedWire]
    clock: Callable[[], int]

    def client(self, body: dict[str, Any] | bytes, *, path: str = "/v1/chat/completions", **headers: str) -> Client:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Client(
            path,
            data,
            {
                "authorization": f"Bearer {self.key}",
                "content-type": "application/json",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
        )

    async def run(self, client: Client) -> Client:
        """Serve one request to its end, as the server would."""
        await self.app(client.scope, client.receive, client.send)
        return client

    async def get(self, path: str, key: str | None = None) -> Client:
        client = Client(path, b"", {"authorization": f"Bearer {key or self.key}"}, "GET")
        return await self.run(client)

    async def ask(self, model: str = "sim", *, stream: bool = True, **fields: Any) -> Client:
        return await self.run(self.client(question(model, stream=stream, **fields)))

    async def speak(self, dialect: Dialect, model: str = "sim", *, stream: bool = True, **fields: Any) -> Client:
        """Ask in any protocol."""
        return await self.run(self.client(dialect.question(model, stream=stream, **fields), path=dialect.path))

    async def receipt(self, inference_id: str) -> dict[str, Any]:
        receipt = await self.store.receipt(inference_id)
        assert receipt is not None
        return receipt

    async def rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        return await self.store.read(lambda tx: list(tx.execute(sql, params)))

    async def set_cap(
        self,
        limit_nusd: int,
        *,
        account: str = "agents",
        key_id: str | None = None,
        window: Window = Window.LIFETIME,
        model: str = "*",
    ) -> None:
        """Set a cap on an account, or on a key where one is given; its id says what it is on."""
        parts = [key_id or account] + [part for part in (window, model) if part not in {Window.LIFETIME, "*"}]
        cap_id, at = "_".join(["cap", *parts]), self.clock()

        def operation(tx: Transaction) -> str:
            subject = caps.subject_of(tx, key_id=key_id) if key_id else caps.subject_of(tx, account=account)
            return caps.set_cap(tx, cap_id=cap_id, scope=Scope(subject, window, model), limit_nusd=limit_nusd, at=at)

        await self.store.write(operation)

    async def new_key(self, account: str, *, key_id: str = "k0000001", **rights: Any) -> str:
        key = admin.key_text(key_id, key_id.encode() * 4)
        await self.store.write(
            lambda tx: admin.create_key(
                tx, key_id=key_id, digest=admin.digest_of(key), account=account,
                rights=admin.KeyRights(**rights), at=self.clock(),
            )
        )  # fmt: skip
        return key

    async def new_account(self, name: str, parent: str | None = None) -> None:
        await self.store.write(
            lambda tx: admin.create_account(tx, account_id=f"acc_{name}", name=name, parent=parent, at=self.clock())
        )


async def _everywhere(host: str) -> None:
    """Every host can be reached."""


def question(model: str, *, stream: bool = True, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Count to ten."}], "stream": stream, **fields}


def config_text(models: tuple[str, ...], more: str = "", limits: str = "") -> str:
    text = CONFIG.replace("write_s = 20\n", f"write_s = 20\n{limits}\n")
    return text + providers_text("http://provider.test") + models_text(models, more)


@asynccontextmanager
async def world(
    tmp_path: Path,
    *models: str,
    more: str = "",
    limits: str = "",
    after: str = "",
    simulator: Simulator | None = None,
    store: Store | None = None,
    clock: Callable[[], int] = composition.wall_clock,
    reach: Callable[[str], Awaitable[None]] = _everywhere,
) -> AsyncIterator[World]:
    """Run a gateway in memory around a block.

    ``more`` goes into every model's table, ``limits`` into [limits], ``after`` behind everything; ``clock`` is the wall
    clock of all of it; ``reach`` is asked for each host before it is connected to, and may fail, or take its time.
    """
    path = tmp_path / "ainf.toml"
    path.write_text(config_text(models or DEFAULT_MODELS, more, limits) + after)
    config = load_config(path, {"SIM_KEY": "sk-canary-provider-secret"})
    simulator = simulator or Simulator(keep_bytes=True)
    log = StringIO()
    telemetry = Telemetry(log)
    wires: list[SimulatedWire] = []
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        chosen = store or await stack.enter_async_context(Store.open("memory:", now=clock))

        async def dial(host: str, port: int) -> SimulatedWire:
            await trio.lowlevel.checkpoint()
            await reach(host)
            wire = SimulatedWire(simulator.connect(nursery))
            wires.append(wire)
            return wire

        gateway = composition.build_gateway(config, telemetry, chosen, clock=clock, dialer=dial)
        surface = build_surface(gateway, body_bytes=config.limits.body_bytes, started_at=0)
        here = World(simulator, chosen, gateway, surface, "", "", telemetry, log, wires, clock)
        await here.new_account("agents")
        here.key_id = "k0000000"
        here.key = await here.new_key("agents", key_id=here.key_id)
        async with trio.open_nursery() as background:
            await background.start(gateway.shared.run)
            background.start_soon(keep_progress, gateway.inflight, chosen, telemetry, config.limits.progress_s)
            calibrator = gateway.services.calibrator
            background.start_soon(keep_calibrated, calibrator, chosen, telemetry, gateway.recalibrate)
            yield here
            background.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
