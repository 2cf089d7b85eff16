"""Requests with an idempotency key, and what the tests of them look at."""

import json
from typing import Any

import attrs
import trio

from ainf.exchange.plan import Plan
from ainf.http.idempotency import SharedExchanges
from ainf.http.surface import build_surface
from ainf.protocols.registry import PROTOCOLS
from ainf.store.admin import digest_of
from ainf.store.base import Closing, Settlement
from tests.gateway.dialects import CHAT, Dialect, Said
from tests.gateway.world import Client, World

SLOW = "sim-tokens-40-pace-50ms"
"""An answer that takes two seconds."""


def keyed(
    here: World, model: str = SLOW, *, stream: bool = True, dialect: Dialect = CHAT, key: str = "k-1", **fields: Any
) -> Client:
    """A client with an idempotency key."""
    asked = dialect.question(model, stream=stream, **fields)
    return here.client(asked, path=dialect.path, idempotency_key=key)


async def ask(here: World, model: str = SLOW, **how: Any) -> Client:
    return await here.run(keyed(here, model, **how))


def calls(here: World) -> int:
    """How often a model ran."""
    return sum(entry.model_ran for entry in here.simulator.books.entries)


def error_code(client: Client) -> str:
    return client.json()["error"]["code"]


def another_process(here: World) -> World:
    """A gateway over the same store that knows nothing of what runs in this one."""
    shared = SharedExchanges(limit=1 << 20, linger_s=30)
    gateway = attrs.evolve(here.gateway, shared=shared)
    return attrs.evolve(here, gateway=gateway, app=build_surface(gateway, body_bytes=1 << 20, started_at=0))


async def state_of(here: World, key: str = "k-1") -> str | None:
    rows = await here.rows("SELECT state FROM claims WHERE idempotency_key = ?", key)
    return rows[0][0] if rows else None


def same(first: Client, *others: Client) -> None:
    """All were told the same answer of the same exchange."""
    for other in others:
        assert (other.status, other.body, other.inference_id) == (first.status, first.body, first.inference_id)


class SlowClosing:
    """A store that takes its time to settle."""

    def __init__(self, store: Any, takes_s: float):
        self._store = store
        self._takes_s = takes_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def close_inference(self, closing: Closing) -> Settlement:
        await trio.sleep(self._takes_s)
        return await self._store.close_inference(closing)


def comparable(client: Client) -> Said:
    """What a client was told, without what the modes of a protocol write differently."""
    said = client.said()
    calls = [(name, json.dumps(json.loads(arguments))) for name, arguments in said.calls]
    return attrs.evolve(said, calls=calls, reasoning_tokens=said.reasoning_tokens or 0)


async def plan_of(
    here: World, model: str, *, stream: bool = True, dialect: Dialect = CHAT, key: str = "k-1", path: str | None = None
) -> Plan:
    """The plan of a request with an idempotency key."""
    protocol = PROTOCOLS[dialect.name]
    asked = dialect.question(model, stream=stream)
    parsed = protocol.parse(asked, path=path or dialect.path, body_bytes=len(json.dumps(asked)), headers={})
    record = await here.store.find_key(digest_of(here.key))
    assert record is not None
    headers = {b"idempotency-key": key.encode()}
    return await here.gateway.plan(record, parsed, protocol, headers, trio.current_time())
