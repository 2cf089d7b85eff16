"""Every cell of docs/signals.md that is an SDK's: asked as it comes, with its own retries, of a gateway on a socket."""

import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import anthropic
import anthropic._base_client
import attrs
import openai
import openai._base_client
import pytest
import trio

from ainf.app import wall_clock
from ainf.http.limits import KeyLimiter
from ainf.inference.money import format_usd
from ainf.store import balances
from ainf.store.base import KeyLimits
from tests.gateway.client_helpers import CHAT, MESSAGES, RAW, RESPONSES, Sdk, raised
from tests.gateway.clients import Ending
from tests.gateway.live import Live, live
from tests.gateway.signals import (
    CLIENTS,
    PAGE,
    REFUSALS,
    SHOWN,
    Refusal,
    Seen,
    at_ending,
    at_rate_limit,
    at_refusal,
    document,
)
from tests.gateway.test_live_sdk import requests_seen

MORE = "slice_tokens = 8\nmin_output_tokens = 4"
MODEL = "sim-tokens-30"
CAP_NUSD = 400_000
TOKEN_BYTES = 4

clients = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.protocol)


@attrs.define
class Clock:
    """A clock that goes on when somebody sleeps by it."""

    now: float = 1_000.0
    slept: list[float] = attrs.field(factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    """What the SDKs sleep by between two requests: it takes no time."""
    clock = Clock()
    stand_in = SimpleNamespace(**vars(time) | {"sleep": clock.sleep})
    for module in (openai._base_client, anthropic._base_client):
        monkeypatch.setattr(module, "time", stand_in)
    return clock


def seen_by(client: Sdk, number: int, url: str, key: str, model: str, **fields: Any) -> Seen:
    """Ask with one of a client's helpers, and say what its user sees."""
    counted: list[object] = []
    kept: list[str] = []
    module = anthropic if client is MESSAGES else openai
    http = module.DefaultHttpxClient(event_hooks={"request": [counted.append]}, timeout=20)
    with client.client(url, key, http_client=http) as talker:
        try:
            word = client.helpers[number].deed(talker, model, kept.append, **fields)
        except Exception as error:  # noqa: BLE001 - whatever comes is what is asked for
            word = raised(error)
    size, whole = len("".join(kept)), TOKEN_BYTES * int(model.partition("tokens-")[2].partition("-")[0])
    text = "no text" if not size else "all" if size == whole else "a part"
    return Seen(len(counted), text, word.partition(":")[0])


async def ask_with(here: Live, client: Sdk, number: int, key: str, model: str = MODEL, **fields: Any) -> Seen:
    named = model_of(client, model)
    return await trio.to_thread.run_sync(partial(seen_by, client, number, here.url, key, named, **fields))


def model_of(client: Sdk, model: str) -> str:
    """A model of the client's own protocol: relayed."""
    return f"{'chat' if client is RAW else client.protocol}/{model}"


async def poor_keys(here: Live, refusal: str) -> list[str]:
    """Two keys of accounts without money: one has a cap, the other a balance with nothing on it."""
    for account in ("capped", "broke"):
        await here.new_account(account)
    await here.set_cap(100, account="capped")
    await here.running.store.write(
        lambda tx: balances.open_balance(tx, cap_id="balance_1", account="broke", at=wall_clock())
    )
    return [await here.new_key(name, key_id=f"k{name:0>7}", money_refusal=refusal) for name in ("capped", "broke")]


async def doctor(here: Live, **columns: Any) -> None:
    """Set columns of all claims."""
    names = ", ".join(f"{name} = ?" for name in columns)
    await here.running.store.write(lambda tx: tx.execute(f"UPDATE claims SET {names}", list(columns.values())))


async def at_claim(here: Live, client: Sdk, number: int, refusal: Refusal) -> Seen:
    """Ask under an idempotency key that is in use: for the same elsewhere (409), or for something else (422)."""
    fields = {"extra_headers": {"idempotency-key": f"{refusal.name}-{number}"}}
    await ask_with(here, client, number, here.key, **fields)
    if refusal.name == "409":
        await doctor(here, state="running", expires_at=None)
    else:
        await doctor(here, fingerprint=b"another")
    seen = await ask_with(here, client, number, here.key, **fields)
    await here.running.store.write(lambda tx: tx.execute("DELETE FROM claims"))
    await here.running.store.write(lambda tx: tx.execute("DELETE FROM answers"))
    return seen


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
@clients
async def test_refusals(tmp_path, says_json, clock, client, refusal):
    """A refusal is asked again only where that can help, and raised whichever way one asks."""
    helpers = range(len(client.helpers))
    async with live(tmp_path, model_of(client, MODEL)) as here:
        if refusal.name in {"402", "429"}:
            keys = await poor_keys(here, refusal.name)
            before = await requests_seen(here)
            seen = [await ask_with(here, client, number, key) for number in helpers for key in keys]
            assert await requests_seen(here) == before + len(seen) == before + 2 * len(helpers)
            assert not here.simulator.books.entries
        else:
            seen = [await at_claim(here, client, number, refusal) for number in helpers]
        assert seen == [at_refusal(client, refusal)] * len(seen)
        assert (set(clock.slept) == {1}) is (refusal.requests > 1 and client is not RAW)


@clients
async def test_a_rate_limit_is_waited_for(tmp_path, says_json, clock, client):
    """An SDK waits as long as it is told, to the second, and gets its answer; a client without one is told."""
    async with live(tmp_path, model_of(client, MODEL)) as here:
        here.running.gateway.limits = KeyLimiter(clock)
        key = await here.new_key("agents", limits=KeyLimits(requests_per_minute=1))
        assert (await here.ask(model_of(client, MODEL), key=key)).status == 200
        for number in range(len(client.helpers)):
            assert await ask_with(here, client, number, key) == at_rate_limit(client, number)
        assert clock.slept == ([] if client is RAW else [60] * len(client.helpers))


@clients
async def test_endings(tmp_path, says_json, client):
    """An ending that the gateway made is asked once, whatever is made of it, and leaves the text that came."""
    models = dict.fromkeys(model_of(client, ending.model) for ending in SHOWN)
    async with live(tmp_path, *models, more=MORE) as here:
        seen: dict[tuple[str, int], Seen] = {}

        async def ask(ending: Ending, number: int, key: str) -> None:
            seen[ending.name, number] = await ask_with(here, client, number, key, ending.model)

        async with trio.open_nursery() as nursery:
            for ending in SHOWN:
                for number in range(len(client.helpers)):
                    key = await _capped_key(here, ending, number) if ending.is_cap else here.key
                    nursery.start_soon(ask, ending, number, key)
        assert seen == {(ending.name, number): at_ending(client, number, ending) for ending, number in _cells(client)}


def _cells(client: Sdk) -> list[tuple[Ending, int]]:
    return [(ending, number) for ending in SHOWN for number in range(len(client.helpers))]


async def _capped_key(here: Live, ending: Ending, number: int) -> str:
    account = f"{ending.name}_{number}"
    await here.new_account(account)
    await here.set_cap(CAP_NUSD, account=account)
    key_id = f"k{SHOWN.index(ending):03}{number:04}"
    return await here.new_key(account, key_id=key_id, finish_reasons=ending.mode)


# --- cost in the answer ---


def _chat_costs(client: Any, model: str) -> list[Any]:
    asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "?"}]}
    with_usage = asked | {"stream_options": {"include_usage": True}}
    *_, last = client.chat.completions.create(stream=True, **with_usage)
    with client.chat.completions.stream(**with_usage) as events:
        put_together = events.get_final_completion()
    return [answer.usage for answer in (client.chat.completions.create(**asked), last, put_together)]


def _responses_costs(client: Any, model: str) -> list[Any]:
    *_, last = client.responses.create(model=model, input="?", stream=True)
    with client.responses.stream(model=model, input="?") as events:
        put_together = events.get_final_response()
    return [answer.usage for answer in (client.responses.create(model=model, input="?"), last.response, put_together)]


def _messages_costs(client: Any, model: str) -> list[Any]:
    asked = {"model": model, "max_tokens": 4096, "messages": [{"role": "user", "content": "?"}]}
    (last,) = (event for event in client.messages.create(stream=True, **asked) if event.type == "message_delta")
    with client.messages.stream(**asked) as events:
        put_together = events.get_final_message()
    assert put_together.usage.output_tokens == last.usage.output_tokens
    assert "cost" not in (put_together.usage.model_extra or {}), "the page says that the SDK leaves it out"
    return [client.messages.create(**asked).usage, last.usage]


@pytest.mark.parametrize(
    ("client", "costs"),
    [(CHAT, _chat_costs), (RESPONSES, _responses_costs), (MESSAGES, _messages_costs)],
    ids=lambda each: getattr(each, "protocol", ""),
)
@pytest.mark.parametrize("format_", ["chat", "messages", "responses", "gemini"])
async def test_the_cost_arrives(tmp_path, client, costs: Callable[..., list[Any]], format_):
    """Whole and streamed, the types of the SDKs take ``usage.cost``, and it is the receipt's."""
    model = f"{format_}/{MODEL}"
    async with live(tmp_path, model) as here:
        key = await here.new_key("agents", inject_cost=True)

        def ask() -> list[Any]:
            with client.client(here.url, key) as talker:
                return costs(talker, model)

        usages = await trio.to_thread.run_sync(ask)
        amounts = {receipt["settled_nusd"] + receipt["overrun_nusd"] for receipt in await here.receipts()}
        (amount,) = amounts  # they all asked the same
        assert [usage.model_extra["cost"] for usage in usages] == [float(format_usd(amount))] * len(usages)


async def test_the_cost_of_embeddings_arrives(tmp_path):
    """In the usage of OpenAI's embeddings."""
    async with live(tmp_path, "sim", more='kind = "embeddings"') as here:
        key = await here.new_key("agents", inject_cost=True)
        answer = await here.sdk(lambda client: client.embeddings.create(model="sim", input="one text"), key=key)
        (receipt,) = await here.receipts()
        assert answer.usage.model_extra["cost"] == float(format_usd(receipt["settled_nusd"]))


def test_the_page_is_what_the_command_writes():
    """Nothing in the page is written by hand."""
    assert PAGE.read_text() == document()
