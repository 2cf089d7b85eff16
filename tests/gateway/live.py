"""A gateway on loopback sockets: the real server, a real database file, and a simulated provider that listens too.

Whatever a test does with it, the law is checked over the whole database when the gateway has stopped: nothing open, one
settlement and one closing event for every opening, every provider call paid for by an opening, no invariant broken.
"""

import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

import attrs
import trio
from openai import OpenAI

from ainf.app import RunningGateway, running_gateway, wall_clock
from ainf.config import load_config
from ainf.simulator import Entry, Simulator
from ainf.store import admin, caps
from ainf.store.beside import read_books
from ainf.store.counting import Scope
from ainf.store.verify import verify
from ainf.telemetry import Telemetry
from tests.gateway.backends import models_text, providers_text, vendors_text
from tests.gateway.live_client import Answer, RawClient, eventually
from tests.gateway.world import question

T = TypeVar("T")

PROVIDER_KEY = "sk-canary-provider-secret"

CONFIG = """
[server]
bind = ["127.0.0.1:0"]
public_url = "{public_url}"
{server}
[store]
url = "sqlite:ainf.db"
{store}
[limits]
{limits}
"""


def config_text(
    base_url: str,
    models: tuple[str, ...],
    *,
    more: str = "",
    limits: str = "",
    server: str = "",
    store: str = "",
    public_url: str = "http://gateway.test",
) -> str:
    """A configuration for models of the simulator; ``more`` goes into every model's table."""
    text = CONFIG.format(limits=limits, server=server, store=store, public_url=public_url)
    return text + providers_text(base_url.removesuffix("/v1")) + models_text(models, more)


@attrs.define
class Live:
    """A running gateway and everything around it."""

    running: RunningGateway
    simulator: Simulator
    log: StringIO
    tls: ssl.SSLContext | None = None
    key: str = ""
    clients: list[RawClient] = attrs.field(factory=list)

    @property
    def url(self) -> str:
        return self.running.url

    @property
    def books(self) -> str:
        """The URL of its database."""
        return self.running.config.store.url

    # clients

    async def connect(self) -> RawClient:
        host, _, port = self.running.server.bound[0].rpartition(":")
        stream: trio.abc.Stream = await trio.open_tcp_stream(host, int(port))
        if self.tls is not None:
            stream = trio.SSLStream(stream, self.tls, server_hostname="127.0.0.1", https_compatible=True)
        self.clients.append(RawClient(stream))
        return self.clients[-1]

    async def start(self, model: str = "sim", *, stream: bool = True, key: str | None = None, **fields: Any):
        """Connect and ask; the answer is read by the test."""
        client = await self.connect()
        await client.send(self.request(question(model, stream=stream, **fields), key=key))
        return client

    async def ask(self, model: str = "sim", *, stream: bool = True, key: str | None = None, **fields: Any) -> Answer:
        """Ask on a connection of its own and take the answer to the end of the connection."""
        client = await self.start(model, stream=stream, key=key, **fields)
        return await client.take()

    def request(
        self,
        body: dict[str, Any] | bytes,
        *,
        key: str | None = None,
        path: str = "/v1/chat/completions",
        keep_alive: bool = False,
        headers: tuple[str, ...] = (),
    ) -> bytes:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = (
            f"POST {path} HTTP/1.1", "host: gateway.test", f"authorization: Bearer {key or self.key}",
            "content-type: application/json", f"content-length: {len(data)}",
            f"connection: {'keep-alive' if keep_alive else 'close'}", *headers,
        )  # fmt: skip
        return "\r\n".join((*lines, "", "")).encode() + data

    async def get(self, path: str, *, key: str | None = None) -> Answer:
        client = await self.connect()
        lines = (f"GET {path} HTTP/1.1", "host: gateway.test", f"authorization: Bearer {key or self.key}")
        await client.send("\r\n".join((*lines, "connection: close", "", "")).encode())
        return await client.take()

    async def sdk(self, deed: Callable[[OpenAI], T], *, key: str | None = None, retries: int = 2) -> T:
        """Do something with the OpenAI SDK as it comes, in a thread of its own."""

        def do() -> T:
            with OpenAI(base_url=f"{self.url}/v1", api_key=key or self.key, max_retries=retries, timeout=20) as client:
                return deed(client)

        return await trio.to_thread.run_sync(do)

    # books

    async def rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        return await self.running.store.read(lambda tx: list(tx.execute(sql, params)))

    async def receipts(self) -> list[dict[str, Any]]:
        """The receipts of all exchanges, in the order of their opening."""
        ids = await self.rows("SELECT inference_id FROM inferences ORDER BY inference_id")
        found = [await self.running.store.receipt(inference_id) for (inference_id,) in ids]
        return [receipt for receipt in found if receipt is not None]

    async def receipt(self, taken: Answer) -> dict[str, Any]:
        found = await self.running.store.receipt(taken.headers["x-ainf-inference-id"])
        assert found is not None
        return found

    def entry(self, inference_id: str) -> Entry:
        """The simulator's entry of an exchange."""
        (entry,) = [e for e in self.simulator.books.entries if e.headers.get("x-client-request-id") == inference_id]
        return entry

    async def wait_settled(self, count: int) -> None:
        """Wait until so many exchanges have settled."""
        while (await self.rows("SELECT count(*) FROM settlements"))[0][0] < count:  # noqa: ASYNC110 - it tells nobody
            await trio.sleep(0.005)

    async def wait_running(self, count: int) -> None:
        """Wait until so many exchanges run."""
        await eventually(lambda: len(self.running.gateway.inflight) == count)

    # deeds of an operator

    async def new_account(self, name: str) -> None:
        await self.running.store.write(
            lambda tx: admin.create_account(tx, account_id=f"acc_{name}", name=name, parent=None, at=wall_clock())
        )

    async def new_key(self, account: str, *, key_id: str = "k0000001", **rights: Any) -> str:
        key = admin.key_text(key_id, key_id.encode() * 4)
        await self.running.store.write(
            lambda tx: admin.create_key(
                tx, key_id=key_id, digest=admin.digest_of(key), account=account,
                rights=admin.KeyRights(**rights), at=wall_clock(),
            )
        )  # fmt: skip
        return key

    async def set_cap(self, limit_nusd: int, *, account: str = "agents") -> None:
        await self.running.store.write(
            lambda tx: caps.set_cap(
                tx, cap_id=f"cap_{account}", scope=Scope(caps.subject_of(tx, account=account)), limit_nusd=limit_nusd,
                at=wall_clock(),
            )
        )  # fmt: skip


def check_law(books: str, asked: list[str]) -> None:
    """Check the law over a whole database behind a gateway that has stopped; ``asked`` is what providers were asked."""

    def check(tx: Any) -> None:
        findings = verify(tx)
        assert not findings, findings
        assert tx.execute("SELECT inference_id FROM holds") == []
        opened = [row[0] for row in tx.execute("SELECT inference_id FROM inferences ORDER BY 1")]
        settled = [row[0] for row in tx.execute("SELECT inference_id FROM settlements ORDER BY 1")]
        events = "SELECT inference_id FROM audit_events WHERE kind = 'inference.closed' ORDER BY 1"
        assert opened == settled == [row[0] for row in tx.execute(events)]
        assert set(asked) <= set(opened), "a provider was asked for an exchange that was never opened"

    read_books(books, check)


@contextmanager
def unwrapped() -> Iterator[None]:
    """Let a single failure out without the groups that nurseries wrap it in, so that a test's report can be read."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None


@asynccontextmanager
async def live(
    tmp_path: Path,
    *models: str,
    more: str = "",
    limits: str = "",
    server: str = "",
    store: str = "",
    simulator: Simulator | None = None,
    tls: ssl.SSLContext | None = None,
    vendors: Mapping[str, str] | None = None,
    after: str = "",
    within_s: float = 60,
) -> AsyncIterator[Live]:
    """Run a gateway and its provider around a block, drain it at once behind the block, then check the law.

    ``vendors``, by name with their path at the simulator, each have a model more ("mistral-model": the first of
    ``models``), as they are declared; ``after`` goes behind its configuration. It fails when it is not over
    ``within_s``.
    """
    simulator = simulator or Simulator(keep_bytes=True)
    log, fatal = StringIO(), []
    with trio.fail_after(within_s), unwrapped():
        async with trio.open_nursery() as nursery:
            base_url = await nursery.start(simulator.serve)
            path = tmp_path / "ainf.toml"
            server = server if "drain_s" in server else f"{server}\ndrain_s = 0"
            text = config_text(base_url, models or ("sim",), more=more, limits=limits, server=server, store=store)
            path.write_text(text + vendors_text(base_url.removesuffix("/v1"), vendors or {}, models) + after)
            config = load_config(path, {"SIM_KEY": PROVIDER_KEY})
            async with running_gateway(config, Telemetry(log), on_fatal=fatal.append) as running:
                here = Live(running, simulator, log, tls)
                await here.new_account("agents")
                here.key = await here.new_key("agents", key_id="k0000000")
                try:
                    yield here
                finally:
                    for client in here.clients:
                        await client.close()
            nursery.cancel_scope.cancel()
    assert not fatal
    assert PROVIDER_KEY not in log.getvalue()
    assert [line for line in log.getvalue().splitlines() if '"defect"' in line] == []
    check_law(here.books, [e.headers["x-client-request-id"] for e in simulator.books.entries])
