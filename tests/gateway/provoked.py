"""Every way to be refused that can be brought about in memory: a code, and what a client does to be told it.

What only the server refuses (before there is a path) and what needs a defect of the machine are not among them.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from ainf.http.idempotency import SharedExchanges
from ainf.http.surface import build_surface
from ainf.inference.errors import GatewayError, UpstreamError
from ainf.inference.outcome import Ending, Verdict
from ainf.simulator import Script, Send, head
from ainf.store import admin, balances
from ainf.store.balances import CreditKind, NewCredit
from ainf.store.base import KeyLimits
from tests.gateway.backends import FORMATS
from tests.gateway.world import Client, World, world

BEHAVIOURS: Final = (
    "sim", "sim-error-400", "sim-error-401", "sim-error-500", "sim-overloaded", "sim-html-200", "sim-cut-length",
    "sim-delay-9s",
)  # fmt: skip

_numbers = count(1)


@attrs.frozen
class Endpoint:
    """One path that takes requests, and the provider format that it is asked of."""

    path: str
    format: str

    @property
    def is_embeddings(self) -> bool:
        return self.path == "/v1/embeddings"

    @property
    def is_count(self) -> bool:
        return self.path == "/v1/messages/count_tokens"

    def body(self, model: str = "sim", **fields: Any) -> dict[str, Any]:
        """The least that the path takes, and these fields; a behaviour of the simulator names its model."""
        named = f"{self.format}/{model}" if model in BEHAVIOURS else model
        asked: dict[str, Any] = {"model": named}
        if self.path in {"/v1/responses", "/v1/embeddings"}:
            asked["input"] = "Count to ten."
        else:
            asked["messages"] = [{"role": "user", "content": "Count to ten."}]
        if self.path == "/v1/messages":
            asked["max_tokens"] = 50
        return asked | fields


CHAT, INFERENCE, MESSAGES, COUNT, RESPONSES, EMBEDDINGS = ENDPOINTS = (
    Endpoint("/v1/chat/completions", "chat"),
    Endpoint("/v1/inference", "chat"),
    Endpoint("/v1/messages", "messages"),
    Endpoint("/v1/messages/count_tokens", "messages"),
    Endpoint("/v1/responses", "responses"),
    Endpoint("/v1/embeddings", "chat"),
)

_BESIDE: Final = """
[models.{name}]
provider = "{provider}"
upstream_model = "sim"
price = {{ input = "1", output = "2" }}
{settings}
"""
_TEXT: Final = "max_output_tokens = 4096"
_VECTORS: Final = 'kind = "embeddings"'
_TARGET: Final = """
[targets.failing]
models = ["{format}/sim-error-500"]
"""


@asynccontextmanager
async def asked_on(tmp_path: Path, on: Endpoint) -> AsyncIterator["Asker"]:
    """Run a gateway in memory in which every deed can be done on an endpoint; yield a client of it."""
    tables = {
        "other": _TEXT if on.is_embeddings else _VECTORS,
        "toolless": f"{_TEXT}\ntools = false",
        "streamless": f'{_TEXT}\nstreaming = "reject"',
    }
    provider = FORMATS[on.format][0]
    after = "".join(_BESIDE.format(name=name, provider=provider, settings=text) for name, text in tables.items())
    after += "" if on.is_embeddings else _TARGET.format(format=on.format)
    models = [f"{on.format}/{behaviour}" for behaviour in BEHAVIOURS]
    more = _VECTORS if on.is_embeddings else ""
    async with world(tmp_path, *models, more=more, limits="body_bytes = 20000", after=after) as here:
        yield await Asker.new(here, on)


@attrs.frozen
class Asker:
    """A client of one path with a key of its own."""

    here: World
    on: Endpoint
    key: str
    key_id: str

    @classmethod
    async def new(cls, here: World, on: Endpoint, account: str = "agents", **rights: Any) -> "Asker":
        key_id = f"k{next(_numbers):07}"
        return cls(here, on, await here.new_key(account, key_id=key_id, **rights), key_id)

    def client(self, body: dict[str, Any] | bytes, **headers: str) -> Client:
        bearer = {"authorization": f"Bearer {self.key}"} | headers
        return self.here.client(body, path=self.on.path, **bearer)

    async def ask(self, model: str = "sim", headers: dict[str, str] | None = None, **fields: Any) -> Client:
        return await self.here.run(self.client(self.on.body(model, **fields), **(headers or {})))

    async def send(self, body: bytes) -> Client:
        return await self.here.run(self.client(body))


Deed = Callable[[Asker], Awaitable[Client]]


def asks(model: str = "sim", **fields: Any) -> Deed:
    async def deed(asker: Asker) -> Client:
        return await asker.ask(model, **fields)

    return deed


def sends(body: bytes) -> Deed:
    async def deed(asker: Asker) -> Client:
        return await asker.send(body)

    return deed


def with_headers(**headers: str) -> Deed:
    async def deed(asker: Asker) -> Client:
        return await asker.ask(headers=headers)

    return deed


def with_rights(**rights: Any) -> Deed:
    async def deed(asker: Asker) -> Client:
        return await (await Asker.new(asker.here, asker.on, **rights)).ask()

    return deed


def while_it_runs(deed: Callable[[Asker], Any]) -> Deed:
    """Have something happen to an exchange before its head."""

    async def run(asker: Asker) -> Client:
        client = asker.client(asker.on.body("sim-delay-9s"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asker.here.run, client)
            await trio.sleep(1)
            done = deed(asker)
            if done is not None:
                await done
        return client

    return run


# --- money ---


async def capped(asker: Asker) -> Client:
    """Behind a cap that was lowered below what is spent nothing opens, not even what costs nothing."""
    spender = attrs.evolve(asker, on=MESSAGES) if asker.on.is_count else asker
    assert (await spender.ask()).status == 200
    await asker.here.set_cap(1, key_id=asker.key_id)
    return await asker.ask()


async def quota(asker: Asker) -> Client:
    return await capped(await Asker.new(asker.here, asker.on, money_refusal="429"))


async def poor(asker: Asker) -> Client:
    here, name = asker.here, f"poor{next(_numbers)}"
    await here.new_account(name)
    debt = NewCredit(f"credit_{name}", CreditKind.ADJUSTMENT, -5)
    await here.store.write(
        lambda tx: balances.open_balance(tx, cap_id=f"balance_{name}", account=name, at=here.clock(), first=debt)
    )
    return await (await Asker.new(here, asker.on, name)).ask()


# --- idempotency keys ---


def _process(here: World, limit: int) -> World:
    """A gateway over the same store that knows nothing of what runs in this one."""
    gateway = attrs.evolve(here.gateway, shared=SharedExchanges(limit=limit, linger_s=30))
    return attrs.evolve(here, gateway=gateway, app=build_surface(gateway, body_bytes=1 << 20, started_at=0))


async def elsewhere(asker: Asker) -> Client:
    other = attrs.evolve(asker, here=_process(asker.here, 1 << 20))
    keyed = {"idempotency_key": "k-1"}
    clients = [each.client(asker.on.body("sim-delay-9s"), **keyed) for each in (asker, other)]
    async with trio.open_nursery() as nursery:
        await nursery.start(other.here.gateway.shared.run)
        nursery.start_soon(asker.here.run, clients[0])
        await trio.sleep(1)
        await other.here.run(clients[1])
        nursery.cancel_scope.cancel()
    return clients[1]


async def not_kept(asker: Asker) -> Client:
    small = attrs.evolve(asker, here=_process(asker.here, 1))
    async with trio.open_nursery() as nursery:
        await nursery.start(small.here.gateway.shared.run)
        first, again = [await small.ask(headers={"idempotency_key": "k-1"}) for _ in range(2)]
        nursery.cancel_scope.cancel()
    assert first.status == 200
    return again


async def another_body(asker: Asker) -> Client:
    keyed = {"idempotency_key": "k-1"}
    await asker.ask(headers=keyed)
    return await asker.ask(headers=keyed, user="another")


# --- the gateway's own state ---


async def too_many(asker: Asker) -> Client:
    slow = await Asker.new(asker.here, asker.on, limits=KeyLimits(requests_per_minute=1))
    await slow.ask()
    return await slow.ask()


async def draining(asker: Asker) -> Client:
    asker.here.gateway.draining = True
    return await asker.ask()


async def full(asker: Asker) -> Client:
    asker.here.gateway.running_limit = 0
    return await asker.ask()


def store_fails(here: World, error: Exception) -> None:
    """Have the store fail from now on when it is asked for a key."""

    async def find_key(digest: bytes) -> None:
        raise error

    here.store.find_key = find_key


AWAY: Final = GatewayError("store_unavailable", "The ledger cannot be read.", retry_after_s=1)


def with_store(error: Exception) -> Deed:
    async def deed(asker: Asker) -> Client:
        store_fails(asker.here, error)
        return await asker.ask()

    return deed


def kill(asker: Asker) -> None:
    for exchange in asker.here.gateway.inflight:
        exchange.offer(Verdict(Ending.TERMINATED, "killed", "An operator ended the request."))


async def revoke(asker: Asker) -> None:
    await asker.here.store.write(lambda tx: admin.revoke_key(tx, key_id=asker.key_id, at=asker.here.clock()))


# --- the provider ---


def unconnected(code: str) -> Deed:
    """Have no connection to the provider come about."""

    async def deed(asker: Asker) -> Client:
        def connect(nursery: trio.Nursery) -> None:
            raise UpstreamError(code, "No connection to the provider could be made.")

        asker.here.simulator.connect = connect
        return await asker.ask()

    return deed


def refused_with(code: str) -> Deed:
    """Have the provider refuse with a code of its own."""

    async def deed(asker: Asker) -> Client:
        body = json.dumps({"type": "error", "error": {"type": "invalid_request_error", "code": code, "message": "x"}})
        fields = {"content-type": "application/json", "content-length": str(len(body))}
        asker.here.simulator.set_script(Script([head(400, fields), Send(body.encode())]))
        return await asker.ask()

    return deed


_TOOLS: Final = {
    "chat": {"type": "function", "function": {"name": "f"}},
    "messages": {"name": "f", "input_schema": {}},
    "responses": {"type": "function", "name": "f"},
}
_DEEP: Final = b'{"a":' * 102 + b"1" + b"}" * 102

ANYWHERE: Final[dict[str, Deed]] = {
    "invalid_json": sends(b"{"),
    "invalid_encoding": sends(b"\xef\xbb\xbf{}"),
    "invalid_unicode": sends(b'{"model":"\\ud800"}'),
    "number_out_of_range": sends(b'{"seed":99999999999999999999}'),
    "too_deep": sends(_DEEP),
    "missing_field": sends(b"{}"),
    "invalid_type": asks(stream="yes"),
    "invalid_value": with_headers(x_ainf_deadline_ms="0"),
    "unsupported_parameter": asks(api_base="http://elsewhere.test"),
    "request_too_large": sends(b'{"a":"' + b"x" * 20_000 + b'"}'),
    "unsupported_media_type": with_headers(content_type="text/plain"),
    "ambiguous_credentials": with_headers(x_api_key="another"),
    "invalid_api_key": with_headers(authorization="Bearer nobody's"),
    "not_permitted": with_rights(endpoints=("/v1/nothing",)),
    "model_not_found": asks("nothing"),
    "operation_not_supported": asks("other"),
    "spend_cap_exceeded": capped,
    "insufficient_funds": poor,
    "insufficient_quota": quota,
    "rate_limited": too_many,
    "shutting_down": draining,
    "overloaded": full,
    "store_unavailable": with_store(AWAY),
    "internal_error": with_store(KeyError("a bug")),
    "key_revoked": while_it_runs(revoke),
    "killed": while_it_runs(kill),
    "deadline_exceeded": asks("sim-delay-9s", headers={"x_ainf_deadline_ms": "500"}),
    "upstream_rejected": asks("sim-error-400"),
    "context_length_exceeded": refused_with("context_length_exceeded"),
    "content_filter": refused_with("content_filter"),
    "upstream_unreachable": unconnected("upstream_unreachable"),
    "upstream_error": asks("sim-error-500"),
    "upstream_auth": asks("sim-error-401"),
    "upstream_protocol": asks("sim-html-200"),
    "upstream_truncated": asks("sim-cut-length"),
    "upstream_overloaded": asks("sim-overloaded"),
    "upstream_timeout": unconnected("upstream_timeout"),
}
"""Code -> the deed, on every path."""
CLAIMS: Final[dict[str, Deed]] = {
    "idempotency_in_progress": elsewhere,
    "idempotency_completed": not_kept,
    "idempotency_mismatch": another_body,
}
CHOICES: Final[dict[str, Deed]] = {
    "no_candidate": asks("ainf-inference", routing_hint={"min_quality": 1}),
    "all_candidates_failed": asks("failing"),
}


def deeds(on: Endpoint) -> dict[str, Deed]:
    """All deeds of an endpoint."""
    found = dict(ANYWHERE)
    if not on.is_count:
        found |= CLAIMS
    if on.is_embeddings:
        return found
    found |= CHOICES | {"tools_not_supported": asks("toolless", tools=[_TOOLS[on.format]])}
    if not on.is_count:
        found["streaming_not_supported"] = asks("streamless", stream=True)
    if on.format == "responses":
        found["not_found"] = asks(previous_response_id="resp_none")
    return found
