"""Every cell of docs/clients.md: the helpers of the SDKs, as they come, at every ending, on a gateway on a socket."""

from collections.abc import Callable
from functools import partial
from typing import Any

import anthropic
import openai
import pytest
import trio

from ainf.inference.money import format_usd
from tests.gateway.backends import FORMATS
from tests.gateway.client_helpers import CHAT, MESSAGES, RESPONSES, SDKS, Sdk, raised
from tests.gateway.clients import (
    BREAKING,
    ENDINGS,
    PAGE,
    PAIRS,
    PLACES,
    RETRIED,
    Ending,
    Retried,
    document,
    expected,
)
from tests.gateway.live import Live, live
from tests.gateway.live_client import eventually

MORE = "slice_tokens = 8\nmin_output_tokens = 4"
CAP_NUSD = 400_000
pairs = pytest.mark.parametrize(
    ("sdk", "pair"),
    [pytest.param(sdk, n, id=f"{sdk.protocol}-{PAIRS[sdk.protocol][n]}") for sdk in SDKS for n in (0, 1)],
)
sdks = pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.protocol)


def model_of(sdk: Sdk, pair: int, ending: Ending) -> str:
    return f"{PAIRS[sdk.protocol][pair]}/{ending.model}"


def heard(deed: Callable[[], str]) -> str:
    """What a helper made of an answer, in a word."""
    try:
        return deed()
    except Exception as error:  # noqa: BLE001 - whatever comes is what is asked for
        return raised(error)


class Asking:
    """Asks all helpers of an SDK at once for answers with an ending."""

    def __init__(self, here: Live, sdk: Sdk, pair: int):
        self.here = here
        self.sdk = sdk
        self.pair = pair
        self.seen: dict[str, dict[int, str]] = {}

    @property
    def words(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(word for _, word in sorted(words.items())) for name, words in self.seen.items()}

    async def ask(self, ending: Ending) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(len(self.sdk.helpers)):
                nursery.start_soon(self._ask_one, ending, number)

    async def _ask_one(self, ending: Ending, number: int) -> None:
        key = await self._key(ending, number)
        client = self.sdk.client(self.here.url, key, max_retries=0)
        fields: dict[str, Any] = dict(self.sdk.limit) if ending.name == "length" else {}
        if ending.name == "deadline":
            fields = {"extra_headers": {"x-ainf-deadline-ms": "1000"}}
        deed = partial(self.sdk.helpers[number].deed, client, model_of(self.sdk, self.pair, ending), **fields)
        with client:
            word = await trio.to_thread.run_sync(heard, deed)
        self.seen.setdefault(ending.name, {})[number] = word

    async def _key(self, ending: Ending, number: int) -> str:
        if not ending.is_cap:
            return self.here.key
        account = f"{ending.name}_{number}"
        await self.here.new_account(account)
        await self.here.set_cap(CAP_NUSD, account=account)
        key_id = f"k{ENDINGS.index(ending):03}{number:04}"
        return await self.here.new_key(account, key_id=key_id, finish_reasons=ending.mode)


@pairs
async def test_endings_of_an_answer(tmp_path, says_json, sdk, pair):
    """What each helper returns or raises at each ending is what the page says."""
    endings = [ending for ending in ENDINGS if pair in ending.pairs and ending.name not in BREAKING]
    models = dict.fromkeys(model_of(sdk, pair, ending) for ending in endings)
    async with live(tmp_path, *models, more=MORE) as here:
        asking = Asking(here, sdk, pair)
        for ending in endings:
            await asking.ask(ending)
        assert asking.words == {ending.name: expected(sdk, ending) for ending in endings}
        receipts = await here.receipts()
        capped = [receipt for receipt in receipts if receipt["ending"] == "spend_cap_exceeded"]
        assert len(capped) == 3 * len(sdk.helpers)


def all_under_way(here: Live) -> bool:
    """Whether the provider stalls in every answer, and every stream has begun."""
    begun = [each.first_byte_s for each in here.running.gateway.inflight if each.plan.request.stream]
    return None not in begun and all(entry.output_tokens for entry in here.simulator.books.entries)


@pairs
@pytest.mark.parametrize("name", BREAKING)
async def test_endings_of_a_gateway(tmp_path, says_json, sdk, pair, name):
    """What each helper makes of a gateway that shuts down, or of a connection that dies, is what the page says."""
    (ending,) = [each for each in ENDINGS if each.name == name]
    model = model_of(sdk, pair, ending)
    async with live(tmp_path, model, more=MORE) as here:
        asking = Asking(here, sdk, pair)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asking.ask, ending)
            await eventually(lambda: len(here.running.gateway.inflight) == len(sdk.helpers))
            await eventually(partial(all_under_way, here))
            if name == "shutdown":
                here.running.stop.set()
            else:
                here.running.server.abort_connections()
        assert asking.words == {name: expected(sdk, ending)}


async def requests_until_it_gives_up(here: Live, sdk: Sdk, model: str, retried: Retried) -> int:
    """How many requests an SDK with its own number of retries sends before it raises."""
    counted: list[object] = []
    http = (anthropic if sdk is MESSAGES else openai).DefaultHttpxClient(event_hooks={"request": [counted.append]})
    key = here.key
    if retried.money_refusal:
        account = f"poor_{retried.money_refusal}"
        await here.new_account(account)
        await here.set_cap(100, account=account)
        key = await here.new_key(account, key_id=f"k0000{retried.money_refusal}", money_refusal=retried.money_refusal)
    client = sdk.client(here.url, key, http_client=http)
    create = sdk.helpers[2 if sdk is not MESSAGES else 3] if retried.stream else sdk.helpers[0]
    with client:
        word = await trio.to_thread.run_sync(
            heard, partial(create.deed, client, model, extra_headers=dict(retried.headers))
        )
    assert word.startswith(("raises", "`failed`"))
    return len(counted)


@sdks
async def test_what_is_asked_again(tmp_path, sdk):
    """An SDK asks again after what is transient and cost nothing, and after nothing else."""
    format_ = PAIRS[sdk.protocol][0]
    models = [f"{format_}/{retried.model}" for retried in RETRIED]
    seen: dict[str, int] = {}

    async with live(tmp_path, *dict.fromkeys(models)) as here:

        async def count(retried: Retried, model: str) -> None:
            seen[retried.title] = await requests_until_it_gives_up(here, sdk, model, retried)

        for draining in (False, True):
            here.running.gateway.draining = draining
            async with trio.open_nursery() as nursery:
                for retried, model in zip(RETRIED, models, strict=True):
                    if retried.draining is draining:
                        nursery.start_soon(count, retried, model)
    assert seen == {retried.title: retried.requests for retried in RETRIED}


@sdks
async def test_a_lost_connection_is_asked_again(tmp_path, sdk):
    """A connection that dies before the head says nothing of retries: the SDK asks twice more, each is settled."""
    model = f"{PAIRS[sdk.protocol][0]}/sim-stall-before-head"
    async with live(tmp_path, model) as here:
        async with trio.open_nursery() as nursery:
            client = sdk.client(here.url, here.key)
            deed = partial(sdk.helpers[0].deed, client, model)
            nursery.start_soon(trio.to_thread.run_sync, heard, deed)
            for number in (1, 2, 3):
                await eventually(lambda number=number: len(here.simulator.books.entries) == number)
                here.running.server.abort_connections()
        client.close()
        await here.wait_settled(3)
        assert [receipt["ending"] for receipt in await here.receipts()] == ["client_disconnected"] * 3


def caught(sdk: Sdk, here: Live, model: str, *, stream: bool) -> dict[str, Any]:
    """What a failure is met as: ``error`` or ``response``."""
    with sdk.client(here.url, here.key, max_retries=0) as client:
        if sdk is RESPONSES and stream:
            *_, last = client.responses.create(model=model, input="?", stream=True)
            return {"response": last.response}
        asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "?"}], "stream": stream}
        with pytest.raises((openai.APIError, anthropic.APIError)) as failure:  # noqa: PT012 - a stream fails when read
            if sdk is MESSAGES:
                list(client.messages.create(**asked, max_tokens=4096))
            elif sdk is CHAT:
                list(client.chat.completions.create(**asked))
            else:
                client.responses.create(model=model, input="?")
        return {"error": failure.value}


@pytest.mark.parametrize(
    ("sdk", "stream", "place"),
    [
        (CHAT, False, "openai, a status"),
        (RESPONSES, False, "openai, a status"),
        (CHAT, True, "openai, in a stream"),
        (RESPONSES, True, "openai, `response.failed`"),
        (MESSAGES, False, "anthropic, a status"),
        (MESSAGES, True, "anthropic, in a stream"),
    ],
)
@pytest.mark.parametrize("pair", [0, 1])
async def test_where_a_failure_says_what(tmp_path, sdk, stream, place, pair):
    """Code, inference id, bill and verdict are where the page says, and are those of the receipt."""
    model = f"{PAIRS[sdk.protocol][pair]}/sim-tokens-30-error-after-5"
    async with live(tmp_path, model) as here:
        met = await trio.to_thread.run_sync(partial(caught, sdk, here, model, stream=stream))
        (receipt,) = await here.receipts()
        assert {name: eval(expression, {}, met) for name, expression in PLACES[place].items()} == {
            "code": receipt["error_code"],
            "inference id": receipt["inference_id"],
            "billed": format_usd(receipt["settled_nusd"]),
            "verdict on retries": False if stream else "false",
        }


def test_the_page_is_what_the_command_writes():
    """Nothing in the page is written by hand."""
    assert PAGE.read_text() == document()
    assert set(PAIRS) == {sdk.protocol for sdk in SDKS} <= set(FORMATS)
