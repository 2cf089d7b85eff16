"""The gateway and the simulator as processes of their own, run by the commands that an operator runs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import trio

from ainf.store import admin
from ainf.store.beside import read_books, write_books
from tests.gateway.dialects import CHAT, Dialect
from tests.gateway.live import PROVIDER_KEY, config_text
from tests.gateway.live_client import Answer, RawClient

T = TypeVar("T")

STARTS_WITHIN_S = 20.0
_BOOKS = "sqlite:ainf.db"


@attrs.define
class Process:
    """One running command; its first telling line of output says where it listens."""

    child: trio.Process
    output: Path
    where: str = ""
    """Empty before it was found to listen."""

    @classmethod
    async def start(cls, output: Path, find: Callable[[str], str | None], *arguments: str) -> "Process":
        """Run ``python -m ainf`` with arguments, until a line of its output tells where it listens."""
        process = await cls.launch(output, python("ainf", *arguments))
        await process.listen(find)
        return process

    @classmethod
    async def launch(cls, output: Path, command: Sequence[str]) -> "Process":
        """Run a command, and wait for nothing."""
        with output.open("wb") as sink:
            child = await trio.lowlevel.open_process(
                list(command),
                stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env={**os.environ, "SIM_KEY": PROVIDER_KEY},
            )  # fmt: skip
        return cls(child, output)

    async def listen(self, find: Callable[[str], str | None]) -> None:
        """Wait until a line of the output tells where it listens."""
        with trio.fail_after(STARTS_WITHIN_S):
            while True:
                said = self.output.read_text()
                for line in said.splitlines():
                    if (where := find(line)) is not None:
                        self.where = where
                        return
                assert self.child.returncode is None, said
                await trio.sleep(0.02)

    async def end(self, number: int) -> int:
        """Send a signal and wait for the end; return the exit status."""
        self.child.send_signal(number)
        return await self.child.wait()

    async def stop(self) -> None:
        """Make sure that it is gone."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            if self.child.returncode is None:
                self.child.kill()
            await self.child.wait()


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours."""
    return [sys.executable, "-m", module, *arguments]


def _listening(line: str) -> str | None:
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said["bound"][0] if said.get("event") == "listening" else None


def _base_url(line: str) -> str | None:
    return line if line.startswith("http://") else None


@attrs.define
class Deployment:
    """A folder with a configuration and a database, a simulator, and a gateway that can be killed and started again."""

    folder: Path
    simulator: Process
    key: str
    gateway: Process | None = None
    starts: int = 0
    clients: list[RawClient] = attrs.field(factory=list)
    database: Path = attrs.field()
    """Where its records are; in ``folder``, unless its configuration says otherwise."""

    @database.default
    def _in_folder(self) -> Path:
        return self.folder / "ainf.db"

    @property
    def config(self) -> Path:
        return self.folder / "ainf.toml"

    @property
    def books(self) -> str:
        return f"sqlite:{self.database}"

    async def start(self, fault: str = "") -> None:
        """Start the gateway, with a fault of ``crashing`` armed, and wait until it says that it listens."""
        gateway = await self.launch(fault)
        await gateway.listen(_listening)

    async def launch(self, fault: str = "") -> Process:
        """Start the gateway, with a fault armed, and wait for nothing."""
        self.starts += 1
        program = python("tests.gateway.crashing", fault) if fault else python("ainf")
        command = [*program, "serve", "--config", str(self.config)]
        self.gateway = await Process.launch(self.folder / f"gateway-{self.starts}.log", command)
        return self.gateway

    def beside(self) -> "Deployment":
        """Another gateway for the same database, with the same configuration; not started."""
        return attrs.evolve(self, gateway=None, starts=100 * (1 + self.starts), clients=[])

    async def die_starting(self, fault: str) -> None:
        """Start the gateway with a fault that it meets before it listens."""
        gateway = await self.launch(fault)
        while gateway.child.returncode is None:
            assert '"listening"' not in gateway.output.read_text(), f"{fault} was not met"
            await trio.sleep(0.02)
        await self.died()

    async def died(self) -> None:
        """Wait until the gateway was killed, by its own fault."""
        assert self.gateway is not None
        assert await self.gateway.child.wait() == -signal.SIGKILL, self.gateway.output.read_text()[-3000:]

    async def kill(self) -> None:
        """End the gateway as a power cut would."""
        assert self.gateway is not None
        assert await self.gateway.end(signal.SIGKILL) == -signal.SIGKILL

    async def terminate(self) -> int:
        """Tell the gateway to stop, and wait for it."""
        assert self.gateway is not None
        return await self.gateway.end(signal.SIGTERM)

    def interrupt(self) -> None:
        """Tell the gateway to stop as Ctrl-C does, without waiting."""
        assert self.gateway is not None
        self.gateway.child.send_signal(signal.SIGINT)

    async def stop(self) -> None:
        """Make sure that nothing of it is left, also when a test took too long."""
        with trio.CancelScope(shield=True):
            for client in self.clients:
                await client.close()
            if self.gateway is not None:
                await self.gateway.stop()

    async def connect(self) -> RawClient:
        assert self.gateway is not None
        if not self.gateway.where:
            raise ConnectionRefusedError("the gateway does not listen yet")
        host, _, port = self.gateway.where.rpartition(":")
        self.clients.append(RawClient(await trio.open_tcp_stream(host, int(port))))
        return self.clients[-1]

    async def ask(
        self, model: str, *, stream: bool = True, headers: tuple[str, ...] = (), dialect: Dialect = CHAT
    ) -> RawClient:
        """Connect and ask; the answer is read by the test."""
        client = await self.connect()
        body = json.dumps(dialect.question(model, stream=stream)).encode()
        head = (
            f"POST {dialect.path} HTTP/1.1", "host: gateway.test", f"authorization: Bearer {self.key}",
            "content-type: application/json", f"content-length: {len(body)}", "connection: close", *headers, "", "",
        )  # fmt: skip
        await client.send("\r\n".join(head).encode() + body)
        return client

    def read(self, operation: Callable[[Any], T]) -> T:
        return read_books(self.books, operation)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.read(lambda tx: list(tx.execute(sql)))

    async def command(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command beside the gateway, to its end."""
        command = [sys.executable, "-m", "ainf", *arguments, "--config", str(self.config)]
        return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)

    async def simulated(self) -> list[dict[str, Any]]:
        """The simulator's entries."""
        host, _, port = self.simulator.where.removeprefix("http://").removesuffix("/v1").rpartition(":")
        client = RawClient(await trio.open_tcp_stream(host, int(port)))
        await client.send(b"GET /sim/books HTTP/1.1\r\nhost: simulator\r\nconnection: close\r\n\r\n")
        answer: Answer = await client.take()
        entries: list[dict[str, Any]] = json.loads(answer.body)["entries"]
        return entries


@asynccontextmanager
async def deployment(
    folder: Path,
    *models: str,
    now: Callable[[], int],
    more: str = "",
    limits: str = "",
    server: str = "",
    after: str = "",
    store: str = "",
    place: Path | None = None,
    fault: str = "",
) -> AsyncIterator[Deployment]:
    """Deploy a gateway around a block; its processes end with the block.

    ``after`` goes behind its configuration, ``place`` is the folder of its database, and ``fault`` is armed at its
    first start.
    """
    simulator = await Process.start(folder / "simulator.log", _base_url, "simulate")
    text = config_text(simulator.where, models, more=more, limits=limits, server=server, store=store)
    database = (place or folder) / "ainf.db"
    (folder / "ainf.toml").write_text(text.replace(_BOOKS, f"sqlite:{database}") + after)
    key = admin.key_text("k0000000", b"k0000000" * 4)
    here = Deployment(folder, simulator, key, database=database)

    def found(tx: Any) -> None:
        at = now()
        admin.create_account(tx, account_id="acc_agents", name="agents", parent=None, at=at)
        rights = admin.KeyRights()
        admin.create_key(tx, key_id="k0000000", digest=admin.digest_of(key), account="agents", rights=rights, at=at)

    try:
        await write_books(here.books, found, now=now)
        await here.start(fault)
        yield here
    finally:
        await here.stop()
        await simulator.stop()
