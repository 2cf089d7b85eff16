"""How much a key may ask for at a time, alone and through a whole gateway."""

import json
from math import ceil

import attrs
import pytest
import trio

from ainf.http.limits import KeyLimiter
from ainf.inference.errors import DownstreamError
from ainf.store.base import KeyLimits, KeyRecord
from tests.gateway.law import check_ledger
from tests.gateway.world import Client, World, question, world

MINUTE_S = 60.0


class Clock:
    """A clock that a test turns."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def key_of(key_id: str = "k0000000", **limits: int) -> KeyRecord:
    return KeyRecord(key_id, "acc", "agents", None, None, None, None, "extended", "402", KeyLimits(**limits))


def refused(deed) -> DownstreamError:
    with pytest.raises(DownstreamError) as caught:
        deed()
    assert caught.value.code == "rate_limited"
    assert caught.value.transient
    return caught.value


@pytest.mark.parametrize("limit", [1, 2, 7, 60, 1_000])
def test_requests_come_back_at_the_rate_of_the_limit(limit):
    """A full bucket lets as many through at once as the limit says, then one each time that its share has passed."""
    clock = Clock()
    limiter, key = KeyLimiter(clock), key_of(requests_per_minute=limit)
    for _ in range(limit):
        limiter.arrive(key, may_join=False)
    for _ in range(3):
        error = refused(lambda: limiter.arrive(key, may_join=False))
        assert error.retry_after_s == ceil(MINUTE_S / limit)
        clock.now += MINUTE_S / limit
        limiter.arrive(key, may_join=False)


def test_a_refusal_names_its_limit_and_says_what_to_do():
    """Name, value and wait stand in the message, and for a program beside it."""
    limiter, key = KeyLimiter(Clock()), key_of(requests_per_minute=2)
    limiter.arrive(key, may_join=False)
    limiter.arrive(key, may_join=False)
    error = refused(lambda: limiter.arrive(key, may_join=False))
    assert error.message == (
        "The key is at its limit of 2 requests per minute (`requests_per_minute`); ask again in 30 s, or have the "
        "limit raised."
    )
    assert error.details == {"limit": {"name": "requests_per_minute", "value": 2}}


def test_who_waits_as_long_as_told_is_let_in():
    """``retry-after`` is enough, for every limit; and it is never over a minute, since SDKs would not wait longer."""
    clock = Clock()
    limiter, key = KeyLimiter(clock), key_of(requests_per_minute=7, tokens_per_minute=600, concurrent_streams=1)
    for _ in range(7):
        limiter.arrive(key, may_join=False)
    clock.now += refused(lambda: limiter.arrive(key, may_join=False)).retry_after_s
    limiter.arrive(key, may_join=False)
    limiter.begin(key, 500)
    error = refused(lambda: limiter.begin(key, 200))
    assert (error.details["limit"]["name"], error.retry_after_s) == ("tokens_per_minute", 10)
    assert refused(lambda: limiter.begin(key, 50)).details["limit"]["name"] == "concurrent_streams"
    clock.now += 10
    limiter.end(key, 500, 5_000)
    assert refused(lambda: limiter.begin(key, 1)).retry_after_s == 60


def test_tokens_are_set_right_when_an_exchange_has_ended():
    """What was used counts, not what was estimated: the bucket may owe, and one that was refused took nothing."""
    clock = Clock()
    limiter, key = KeyLimiter(clock), key_of(tokens_per_minute=600)
    limiter.begin(key, 600)
    refused(lambda: limiter.arrive(key, may_join=False))
    limiter.end(key, 600, 0)
    limiter.begin(key, 100)
    limiter.end(key, 100, 1_200)
    clock.now += MINUTE_S
    refused(lambda: limiter.begin(key, 1))
    clock.now += 1
    limiter.begin(key, 10)


def test_a_request_over_the_whole_limit_is_let_in_when_the_bucket_is_full():
    """Else it could never be asked; what it takes is owed."""
    clock = Clock()
    limiter, key = KeyLimiter(clock), key_of(tokens_per_minute=100)
    limiter.begin(key, 1_000)
    limiter.end(key, 1_000, 1_000)
    for _ in range(9):
        clock.now += MINUTE_S
        refused(lambda: limiter.begin(key, 1))
    clock.now += MINUTE_S
    limiter.begin(key, 1_000)


def test_exchanges_at_once():
    """As many as the limit says; one that has ended makes room."""
    limiter, key = KeyLimiter(Clock()), key_of(concurrent_streams=2)
    limiter.begin(key, 1)
    limiter.begin(key, 1)
    assert refused(lambda: limiter.arrive(key, may_join=False)).retry_after_s == 1
    assert refused(lambda: limiter.begin(key, 1)).details == {"limit": {"name": "concurrent_streams", "value": 2}}
    limiter.end(key, 1, 5)
    limiter.begin(key, 1)


def test_who_may_join_an_answer_is_not_told_to_wait_for_one_of_its_own():
    """A keyed request at a key's limit of exchanges or tokens is read first: it may want the one that is running."""
    limiter, key = KeyLimiter(Clock()), key_of(concurrent_streams=1, tokens_per_minute=10, requests_per_minute=2)
    limiter.begin(key, 10)
    limiter.arrive(key, may_join=True)
    refused(lambda: limiter.arrive(key, may_join=False))
    assert refused(lambda: limiter.arrive(key, may_join=True)).details["limit"]["name"] == "requests_per_minute"


def test_a_refused_request_counts_as_a_request():
    """But one that its limit of requests refuses takes nothing: who asks on and on still gets its rate."""
    clock = Clock()
    limiter, key = KeyLimiter(clock), key_of(requests_per_minute=3, concurrent_streams=0)
    for _ in range(3):
        assert refused(lambda: limiter.arrive(key, may_join=False)).details["limit"]["name"] == "concurrent_streams"
    for _ in range(100):
        error = refused(lambda: limiter.arrive(key, may_join=False))
        assert (error.details["limit"]["name"], error.retry_after_s) == ("requests_per_minute", 20)


@pytest.mark.parametrize("limit", [1, 60_000_001, 2**53])
def test_no_more_is_left_than_the_limit(limit):
    """However large it is."""
    limiter, key = KeyLimiter(Clock()), key_of(tokens_per_minute=limit)
    assert dict(limiter.headers(key))[b"x-ratelimit-remaining-tokens"] == str(limit).encode()


def test_a_limit_that_is_raised_shortens_what_is_owed():
    """A key that owes hours at its old rate owes minutes at a higher one; a lower one makes nobody wait longer."""
    clock = Clock()
    limiter, key = KeyLimiter(clock), key_of(tokens_per_minute=100)
    limiter.begin(key, 10)
    limiter.end(key, 10, 100_000)  # a thousand minutes
    more = attrs.evolve(key, limits=KeyLimits(tokens_per_minute=99_900))
    refused(lambda: limiter.begin(more, 1))
    clock.now += MINUTE_S
    refused(lambda: limiter.begin(more, 1))
    clock.now += 1
    refused(lambda: limiter.begin(key, 10))
    limiter.begin(more, 10)


def test_a_limit_that_is_changed_holds_at_once():
    """What was taken stays taken, as the same share of the new limit."""
    limiter, key = KeyLimiter(Clock()), key_of(requests_per_minute=10)
    for _ in range(5):
        limiter.arrive(key, may_join=False)
    assert dict(limiter.headers(key))[b"x-ratelimit-remaining-requests"] == b"5"
    more = attrs.evolve(key, limits=KeyLimits(requests_per_minute=100))
    assert dict(limiter.headers(more))[b"x-ratelimit-remaining-requests"] == b"50"
    none = attrs.evolve(key, limits=KeyLimits())
    for _ in range(1_000):
        limiter.arrive(none, may_join=False)
    assert limiter.headers(none) == []


def test_headers_are_those_of_openai():
    """Limit, what is left, and how long until all of it is back, in the way that OpenAI writes a time."""
    clock = Clock()
    limiter, key = KeyLimiter(clock), key_of(requests_per_minute=120, tokens_per_minute=1_000)
    limiter.arrive(key, may_join=False)
    limiter.begin(key, 20)
    assert [(name.decode(), value.decode()) for name, value in limiter.headers(key)] == [
        ("x-ratelimit-limit-requests", "120"),
        ("x-ratelimit-remaining-requests", "119"),
        ("x-ratelimit-reset-requests", "500ms"),
        ("x-ratelimit-limit-tokens", "1000"),
        ("x-ratelimit-remaining-tokens", "980"),
        ("x-ratelimit-reset-tokens", "1.2s"),
    ]
    limiter.end(key, 20, 6_000)
    clock.now += 1
    headers = dict(limiter.headers(key))
    assert headers[b"x-ratelimit-remaining-tokens"] == b"0"
    assert headers[b"x-ratelimit-reset-tokens"] == b"5m59s"
    assert headers[b"x-ratelimit-reset-requests"] == b"0s"


def test_keys_are_remembered_no_longer_than_needed():
    """Keys without limits not at all; of the others, however many, those with a full bucket are forgotten."""
    clock = Clock()
    limiter = KeyLimiter(clock)
    for number in range(10_000):
        limiter.arrive(key_of(f"free{number}"), may_join=False)
    assert len(limiter) == 0
    running = key_of("running", concurrent_streams=1)
    limiter.begin(running, 1)
    for number in range(20_000):
        limiter.arrive(key_of(f"key{number}", requests_per_minute=6), may_join=False)
        clock.now += 0.01
    assert len(limiter) < 5_000
    refused(lambda: limiter.begin(running, 1))


# through a whole gateway


async def limited(here: World, **limits: int) -> None:
    """Ask with a key that has limits from now on."""
    here.key_id = "k0limits"
    here.key = await here.new_key("agents", key_id=here.key_id, limits=KeyLimits(**limits))


async def rejections(here: World) -> int:
    rows = await here.rows("SELECT body FROM audit_events WHERE kind = 'rejected'")
    bodies = [json.loads(body) for (body,) in rows]
    return sum(body.get("count", 1) for body in bodies if body["code"] == "rate_limited")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_requests_in_a_minute(stream, tmp_path, autojump_clock):
    """The one too many is a 429 that is worth a retry, which then succeeds; each answer says what is left."""
    async with world(tmp_path, "sim") as here:
        await limited(here, requests_per_minute=2)
        left = [(await here.ask(stream=stream)).headers["x-ratelimit-remaining-requests"] for _ in range(2)]
        assert left == ["1", "0"]
        client = await here.ask(stream=stream)
        assert (client.status, client.json()["error"]["code"]) == (429, "rate_limited")
        assert client.json()["error"]["limit"] == {"name": "requests_per_minute", "value": 2}
        assert client.headers["x-should-retry"] == "true"
        assert client.headers["x-ratelimit-remaining-requests"] == "0"
        await trio.sleep(int(client.headers["retry-after"]))
        assert (await here.ask(stream=stream)).status == 200
        assert await rejections(here) == 1
        assert len(here.simulator.books.entries) == 3
        await check_ledger(here, admitted=3)


@pytest.mark.parametrize("limits", [{"requests_per_minute": 1}, {"tokens_per_minute": 1}])
async def test_a_refused_request_is_answered_before_its_body_comes(limits, tmp_path, autojump_clock):
    """The limits come behind the credential and before the body: nobody waits for it."""
    async with world(tmp_path, "sim") as here:
        await limited(here, **limits)
        await here.ask()
        client = here.client(b"")
        client._unsent.clear()  # the head has come, and nothing else
        with trio.fail_after(1):
            await here.run(client)
        assert (client.status, client.json()["error"]["code"]) == (429, "rate_limited")


async def test_tokens_in_a_minute(tmp_path, autojump_clock):
    """What an exchange used is taken when it has ended, and comes back with time."""
    async with world(tmp_path, "sim-tokens-500") as here:
        await limited(here, tokens_per_minute=400)
        first = await here.ask("sim-tokens-500")
        receipt = await here.receipt(first.inference_id)
        used = receipt["usage"]["input_tokens"] + receipt["usage"]["output_tokens"]
        client = await here.ask("sim-tokens-500")
        assert client.json()["error"]["limit"]["name"] == "tokens_per_minute"
        wait_s = int(client.headers["retry-after"])
        assert wait_s == ceil(MINUTE_S * (used - 400 + 1) / 400)
        await trio.sleep(wait_s)
        assert (await here.ask("sim-tokens-500")).status in {200, 429}
        await trio.sleep(wait_s)
        assert (await here.ask("sim-tokens-500")).status == 200


async def test_exchanges_that_run_at_once(tmp_path, autojump_clock):
    """While as many run as may, the next is refused, streamed or not; one that ended, however, makes room."""
    model = "sim-tokens-50-pace-20ms"
    async with world(tmp_path, model) as here:
        await limited(here, concurrent_streams=1)
        async with trio.open_nursery() as nursery:
            running = here.client(question(model))
            nursery.start_soon(here.run, running)
            await trio.sleep(0.2)
            for stream in (True, False):
                client = await here.ask(model, stream=stream)
                assert (client.status, client.headers["retry-after"]) == (429, "1")
                assert client.json()["error"]["limit"] == {"name": "concurrent_streams", "value": 1}
            running.leave()
        assert (await here.ask(model)).status == 200
        assert "x-ratelimit-limit-requests" not in client.headers


async def test_a_reader_of_an_answer_that_runs_counts_as_a_request_alone(tmp_path, autojump_clock):
    """An exchange with an idempotency key takes one place, however many are told its answer; without the key, none."""
    model = "sim-tokens-50-pace-20ms"
    async with world(tmp_path, model) as here:
        await limited(here, concurrent_streams=1, requests_per_minute=4, tokens_per_minute=80)
        asked = [here.client(question(model), idempotency_key="one") for _ in range(3)]
        async with trio.open_nursery() as nursery:
            for client in asked:
                nursery.start_soon(here.run, client)
                await trio.sleep(0.2)
            other = await here.run(here.client(question(model), idempotency_key="another"))
            assert other.json()["error"]["limit"]["name"] == "concurrent_streams"
        assert [(client.status, client.text()) for client in asked] == [(200, asked[0].text())] * 3
        assert asked[0].headers["x-ratelimit-remaining-tokens"] != "80"
        assert (await here.ask(model)).json()["error"]["limit"]["name"] == "requests_per_minute"
        assert len(here.simulator.books.entries) == 1
        await check_ledger(here, admitted=1)


async def test_a_key_without_limits_is_told_of_none(tmp_path, autojump_clock):
    """No header says anything of them, and nothing is remembered."""
    async with world(tmp_path, "sim") as here:
        client = await here.ask()
        assert not [name for name in client.headers if "ratelimit" in name]
        assert len(here.gateway.limits) == 0


@pytest.mark.parametrize("refusal", ["402", "429"])
async def test_who_hammers_refusals_for_money_is_slowed_by_its_own_limit(refusal, tmp_path, autojump_clock):
    """A client that retries whatever it is told gets refusals for money, then is told to wait, and is never served."""
    async with world(tmp_path, "sim", more=f'money_refusal = "{refusal}"') as here:
        await here.set_cap(100)
        await limited(here, requests_per_minute=3)
        seen = []
        for _ in range(8):
            client: Client = await here.ask()
            seen.append((client.status, client.json()["error"]["code"], client.headers["x-should-retry"]))
            assert ("retry-after" in client.headers) is (client.headers["x-should-retry"] == "true")
        code = "spend_cap_exceeded" if refusal == "402" else "insufficient_quota"
        assert seen == [(int(refusal), code, "false")] * 3 + [(429, "rate_limited", "true")] * 5
        assert not here.simulator.books.entries
        await check_ledger(here, admitted=0)
