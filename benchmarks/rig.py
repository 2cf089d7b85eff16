"""A gateway between the generator and a simulated provider, as it runs in production, on a database of its own."""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import attrs

from benchmarks.books import Books, LedgerError, read_books
from benchmarks.dialects import CHAT, Dialect
from benchmarks.processes import AINF, Child, ainf, free_address

BODY_BYTES: Final = 100
"""Of a request, as in workload A."""
SHORT: Final = "bench-short"
HELD: Final = "bench-held"
CHAT_PROVIDER: Final = "chat"
_UPSTREAM_MODELS: Final = {
    "bench-json": "bench-json",
    "bench-burst": "bench-burst",
    "bench-paced": "bench-paced",
    SHORT: "sim-tokens-8-burst",
    HELD: "sim-tokens-8-stall-after-2",
}
_CONFIG: Final = """\
[server]
bind = ["{host}:{port}"]
drain_s = 1

[limits]
idle_s = 300  # connections of one load wait while another runs

[store]
url = "sqlite:bench.db"
"""
_VENDORS: Final = {CHAT_PROVIDER: "openai-compatible", "messages": "anthropic", "responses": "openai-responses"}
_PROVIDER: Final = """
[providers.{name}]
format = "{vendor}"
base_url = "{base_url}"
api_key_env = "{key}"
"""
_MODEL: Final = """
[models.{provider}-{name}]
provider = "{provider}"
upstream_model = "{upstream_model}"
max_output_tokens = 4096
price = {{ input = "0.15", cached_input = "0.075", output = "0.60" }}
"""
_PROVIDER_KEY: Final = "AINF_BENCH_PROVIDER_KEY"
_SETTLED_S: Final = 10.0


@attrs.frozen
class Rig:
    """Running processes, and how to ask them."""

    folder: Path
    gateway: Child
    provider: Child
    gateway_address: tuple[str, int]
    provider_address: tuple[str, int]
    key: str

    def request(
        self,
        model: str,
        *,
        stream: bool,
        body_bytes: int = BODY_BYTES,
        dialect: Dialect = CHAT,
        provider: str = CHAT_PROVIDER,
    ) -> bytes:
        """Return a request to the gateway for a model of a provider, its body padded to ``body_bytes``."""
        body = dialect.body(f"{provider}-{model}", stream=stream, size=body_bytes)
        return _request(self.gateway_address, self.key, dialect.path, body)

    def direct_request(self, model: str, *, stream: bool) -> bytes:
        """Return the same request in chat, to the provider."""
        body = CHAT.body(_UPSTREAM_MODELS[model], stream=stream, size=BODY_BYTES)
        return _request(self.provider_address, self.key, CHAT.path, body)

    def books(self) -> Books:
        """Return what the ledger says now."""
        return read_books(self.folder / "bench.db")

    def wait_settled(self, before: Books, *, requests: int, ending: str) -> None:
        """Wait until so many requests since ``before`` are settled as ``ending``; clients have left, so none is told.

        Raises:
            LedgerError: not so within 10 s.
        """
        deadline = time.monotonic() + _SETTLED_S
        while True:
            try:
                self.books().check_since(before, requests=requests, ending=ending)
            except LedgerError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


def _request(address: tuple[str, int], key: str, path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextmanager
def running_rig(*, pinned: bool, gateway_command: Sequence[str] = AINF, more: str = "") -> Iterator[Rig]:
    """Start provider and gateway in a folder of their own; at the end verify the whole ledger, and stop them.

    An error of the block gets the end of the gateway's log as a note.

    Args:
        pinned: the gateway has the first core for itself, and all else shares the others; otherwise all share all.
        gateway_command: what runs the gateway; ``serve`` and its options follow.
        more: what else stands in its configuration.

    Raises:
        ProcessError: one of them does not start, or ``ainf ledger verify`` finds a fault.
    """
    cores = os.sched_getaffinity(0)
    gateway_cores = {min(cores)} if pinned else cores
    other_cores = (cores - gateway_cores) or cores
    provider, gateway = free_address(), free_address()
    with ExitStack() as stack:
        os.sched_setaffinity(0, other_cores)
        stack.callback(os.sched_setaffinity, 0, cores)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ainf-bench-")))

        def start(name: str, command: Sequence[str], address: tuple[str, int], cores: set[int]) -> Child:
            log = folder / f"{name}.log"
            child = Child(command, folder=folder, log=log, cores=cores, environment={_PROVIDER_KEY: "any"})
            stack.callback(child.stop)
            child.wait_listening(address)
            return child

        simulate = (*AINF, "simulate", "--port", str(provider[1]))
        provider_child = start("provider", simulate, provider, other_cores)
        key = _set_up(folder, gateway, provider, more)
        gateway_child = start("gateway", (*gateway_command, "serve", "--config", "ainf.toml"), gateway, gateway_cores)
        try:
            yield Rig(folder, gateway_child, provider_child, gateway, provider, key)
        except Exception as exc:
            exc.add_note(gateway_child.last_words())
            raise
        ainf(folder, "ledger", "verify", "--config", "ainf.toml")


def _set_up(folder: Path, gateway: tuple[str, int], provider: tuple[str, int], more: str) -> str:
    """Write the configuration, make an account with a cap, and return a key of it."""
    base_url = f"http://{provider[0]}:{provider[1]}/v1"
    text = _CONFIG.format(host=gateway[0], port=gateway[1])
    for name, vendor in _VENDORS.items():
        text += _PROVIDER.format(name=name, vendor=vendor, base_url=base_url, key=_PROVIDER_KEY)
        for model, upstream_model in _UPSTREAM_MODELS.items():
            text += _MODEL.format(provider=name, name=model, upstream_model=upstream_model)
    (folder / "ainf.toml").write_text(text + more)
    ainf(folder, "accounts", "create", "bench", "--config", "ainf.toml")
    ainf(
        folder, "caps", "set", "--account", "bench", "--usd", "100000", "--window", "lifetime", "--config", "ainf.toml"
    )
    return ainf(folder, "keys", "create", "--account", "bench", "-q", "--config", "ainf.toml")
