"""The gateway, its two simulated providers, and how to ask them."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import Any, Final

import attrs
import trio

from ainf.app import wall_clock
from ainf.store import admin
from ainf.store.beside import write_books
from ainf.store.transaction import Transaction
from benchmarks.processes import AINF, Child, free_address

Address = tuple[str, int]

PROVIDERS: Final = {
    "chat": ("openai-compatible", "/v1", 0),
    "messages": ("anthropic", "/v1", 1),
    "responses": ("openai-responses", "/v1", 0),
    "gemini": ("gemini", "/v1beta", 1),
}
"""By wire format: the vendor, where the simulator has it, and which of the simulators it is."""
INPUT_RATE, OUTPUT_RATE = 1000, 2000
"""Nano-dollars of a token."""
CAPPED: Final = "capped"
"""The account whose cap is always nearly used up."""
REVOKED: Final = "revoked"
"""The account whose keys are revoked one after the other."""
STEADY: Final = "steady"
"""The account of everybody else."""

SOUND: Final = {
    "text": "sim-tokens-20-pace-40ms",
    "long": "sim-text-english-tokens-120-per-frame-5-pace-80ms",
    "thinks": "sim-reasoning-30-per-frame-3-pace-30ms",
    "calls": "sim-tools-tokens-30-per-frame-3-pace-30ms",
    "burst": "sim-tokens-200-burst",
    "waits": "sim-delay-700ms-tokens-10",
    "unlimited": "sim-unlimited-tokens-400-per-frame-8-pace-40ms",
}
"""How models behave that answer."""
FAULTY: Final = {
    "reset": "sim-tokens-30-pace-20ms-reset-after-9",
    "ends": "sim-tokens-30-pace-20ms-eof-after-9",
    "cut": "sim-tokens-30-pace-20ms-cut-chunk-after-5",
    "stalls": "sim-tokens-30-pace-20ms-stall-after-5",
    "fails": "sim-tokens-30-pace-20ms-error-after-5",
    "gone": "sim-close-before-head",
    "silent": "sim-stall-before-head",
    "error": "sim-error-500",
    "limit": "sim-error-429",
    "page": "sim-html-200",
    "late-reset": "sim-tokens-10-reset-after-finish",
}
"""How models behave that do not."""
BILLED_ON: Final = ("drain", "held")
"""Models of providers that bill on when a client leaves, by how that is reckoned."""
FALLS_BACK, RACES, ALL_FAIL = "falls-back", "races", "all-fail"
TARGETS: Final = {
    FALLS_BACK: ("chat-error", "messages-reset", "gemini-text"),
    RACES: ("chat-waits", "messages-text", "responses-text"),
    ALL_FAIL: ("chat-error", "messages-gone"),
}
"""Models of each are of different formats, so that the providers' books tell them apart."""

_ASKED_AGAIN: Final = 2
_KEY_VARIABLE: Final = "AINF_SOAK_PROVIDER_KEY"
_CONFIG: Final = """\
[server]
bind = ["{host}:{port}"]
drain_s = 2

[store]
url = "sqlite:soak.db"

[routing]
hedging = true
breaker_open_s = 2

[limits]
first_byte_s = 2
silence_s = 2
exchange_s = 6
tail_s = 0.5
write_s = 2
heartbeat_s = 1
early_head_s = 1
linger_s = 1
idle_s = 10
upstream_idle_s = 1
idempotency_keep_s = 60
auth_failures_per_minute = 1000000
"""
_PROVIDER: Final = """
[providers.{name}]
format = "{vendor}"
base_url = "http://{host}:{port}{path}"
api_key_env = "{key}"
"""
_MODEL: Final = """
[models.{name}]
provider = "{provider}"
upstream_model = "{upstream_model}"
max_output_tokens = 512
price = {{ input = "1.00", output = "2.00" }}
hidden_reasoning = "never"
aborted_billing = "{billing}"
abort_read_s = 1
slice_tokens = 64
latency_ms = {latency}
"""


@attrs.frozen
class Place:
    """Running processes, and how to ask them."""

    folder: Path
    gateway: Child
    address: Address
    simulators: tuple[Address, ...]
    keys: dict[str, str]
    """By account."""

    @property
    def database(self) -> Path:
        """Where the gateway's records are."""
        return self.folder / "soak.db"

    @property
    def books(self) -> str:
        """The URL of its database."""
        return f"sqlite:{self.database}"

    async def get(self, path: str) -> bytes:
        """Return the body of the gateway's answer; it may be so busy that it takes us for gone, and is asked again.

        Raises:
            OSError: it does not listen.
            trio.BrokenResourceError: it reset the connection three times.
        """
        for _ in range(_ASKED_AGAIN):
            with contextlib.suppress(trio.BrokenResourceError):
                return await fetch(self.address, path, self.keys[STEADY])
        return await fetch(self.address, path, self.keys[STEADY])

    async def provider_entries(self) -> list[dict[str, Any]]:
        """Return all that the simulators were asked.

        Raises:
            OverflowError: they have forgotten some of it.
        """
        entries = []
        for address in self.simulators:
            books = json.loads(await fetch(address, "/sim/books"))
            if books["totals"]["requests"] != len(books["entries"]):
                raise OverflowError("a simulator forgot its oldest entries: run for less time, or at a lower rate")
            entries += books["entries"]
        return entries


async def fetch(address: Address, path: str, key: str = "") -> bytes:
    """Return the body of an answer that has a length."""
    async with await trio.open_tcp_stream(*address) as stream:
        lines = (f"GET {path} HTTP/1.1", f"host: {address[0]}", f"authorization: Bearer {key}", "connection: close")
        await stream.send_all("\r\n".join((*lines, "", "")).encode())
        parts = [data async for data in stream]
    return b"".join(parts).partition(b"\r\n\r\n")[2]


def config_text(gateway: Address, simulators: tuple[Address, ...], latency_ms: int = 100) -> str:
    """Return the gateway's configuration; ``latency_ms`` is what a reload changes."""
    text = _CONFIG.format(host=gateway[0], port=gateway[1])
    for name, (vendor, path, number) in PROVIDERS.items():
        host, port = simulators[number]
        text += _PROVIDER.format(name=name, vendor=vendor, path=path, host=host, port=port, key=_KEY_VARIABLE)
        for model, behaviour in (SOUND | FAULTY).items():
            text += _model(f"{name}-{model}", name, behaviour, "delivered", latency_ms)
        for billing in BILLED_ON:
            text += _model(f"{name}-{billing}", name, "sim-tokens-30-pace-30ms-bills-on", billing, latency_ms)
    return text + "".join(f"[targets.{name}]\nmodels = {json.dumps(models)}\n" for name, models in TARGETS.items())


def _model(name: str, provider: str, behaviour: str, billing: str, latency_ms: int) -> str:
    return _MODEL.format(name=name, provider=provider, upstream_model=behaviour, billing=billing, latency=latency_ms)


async def _accounts(books: str) -> dict[str, str]:
    """Make the accounts, and return a key of each."""
    keys, at = {}, wall_clock()
    for account in (STEADY, CAPPED, REVOKED):
        key_id = token_hex(5)
        keys[account] = admin.key_text(key_id, token_bytes(25))

        def make(tx: Transaction, name: str = account, key_id: str = key_id) -> None:
            admin.create_account(tx, account_id=f"acc_{name}", name=name, parent=None, at=at)
            digest, rights = admin.digest_of(keys[name]), admin.KeyRights()
            admin.create_key(tx, key_id=key_id, digest=digest, account=name, rights=rights, at=at)

        await write_books(books, make, now=wall_clock)
    return keys


@contextmanager
def running_place() -> Iterator[Place]:
    """Start all processes in a folder of their own; stop them at the end.

    An error of the block gets the end of the gateway's log as a note.

    Raises:
        ProcessError: one of them does not start.
    """
    cores = os.sched_getaffinity(0)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ainf-soak-")))

        def start(name: str, *arguments: str) -> Child:
            log, environment = folder / f"{name}.log", {_KEY_VARIABLE: "any"}
            child = Child((*AINF, *arguments), folder=folder, log=log, cores=cores, environment=environment)
            stack.callback(child.stop)
            return child

        gateway, *simulators = free_address(), free_address(), free_address()
        children = [
            (start(f"provider-{number}", "simulate", "--port", str(address[1])), address)
            for number, address in enumerate(simulators)
        ]
        (folder / "ainf.toml").write_text(config_text(gateway, tuple(simulators)))
        keys = trio.run(_accounts, f"sqlite:{folder / 'soak.db'}")
        child = start("gateway", "serve")
        for each, address in (*children, (child, gateway)):
            each.wait_listening(address)
        try:
            yield Place(folder, child, gateway, tuple(simulators), keys)
        except Exception as error:
            error.add_note(child.last_words())
            raise
