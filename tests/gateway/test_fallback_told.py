"""What a client is told while its models are tried: an early head that names none, heartbeats, one answer, once."""

import gc
from typing import Any

import pytest
import trio

from ainf.simulator import Stall, Wait, chunk, head
from ainf.simulator.steps import Script
from ainf.sse import HEARTBEAT
from tests.gateway.candidates import (
    LIMITS,
    Candidate,
    ask_target,
    check_routed,
    entries,
    outcomes,
    target_text,
)
from tests.gateway.dialects import CHAT, DIALECTS, PROMPT
from tests.gateway.grammar import check_grammar
from tests.gateway.keyed import ask, calls, comparable, keyed, same
from tests.gateway.law import check_ledger
from tests.gateway.test_cost import check_told, tell
from tests.gateway.world import Client, world

dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
streams = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
formats = pytest.mark.parametrize("format_", ["chat", "messages", "responses", "gemini"])
EARLY = "early_head_s = 2\nheartbeat_s = 3\nsilence_s = 60\nfirst_byte_s = 60\nexchange_s = 100"
OF_THE_MODEL = {"x-ainf-model", "x-ainf-provider", "x-ainf-stream-mode", "x-ainf-max-tokens", "x-ainf-dropped-params"}


def routed(client: Client) -> dict[str, str]:
    """The headers of a client's answer that say how it was routed."""
    return {name: client.headers[name] for name in ("x-ainf-router", "x-ainf-routing-preference")}


# --- the early head ---


@formats
@dialects
async def test_an_early_head_names_no_model(dialect, format_, tmp_path, autojump_clock):
    """The client that waits is given a head, heartbeats, and then the stream of the model that answers in the end."""
    after = target_text(Candidate("sim-delay-6s-error-500", format_), Candidate("sim-delay-6s-tokens-7", format_))
    async with world(tmp_path, "sim", limits=EARLY, after=after) as here:
        client = await ask_target(here, dialect=dialect, routing_hint={"routing_preference": "quality"})
        await check_routed(here, client, "fell_back", ["upstream_error", None])
        assert not OF_THE_MODEL & client.headers.keys()
        assert routed(client) == {"x-ainf-router": "target-0", "x-ainf-routing-preference": "balanced"}
        assert client.writes[:4] == [HEARTBEAT] * 4, "at 2, 5, 8 and 11 seconds, of 12"
        assert client.writes.count(HEARTBEAT) == 4
        check_grammar(dialect, client.payloads())
        assert len(client.said().text) == 7 * 4


async def test_a_pinned_models_early_head_names_it(tmp_path, autojump_clock):
    """Where no other one may answer there is nothing to wait for."""
    after = target_text(Candidate("sim-delay-6s-tokens-7"), Candidate())
    async with world(tmp_path, "sim", limits=EARLY, after=after) as here:
        client = await here.speak(CHAT, "target-1")
        assert (client.writes[0], client.headers["x-ainf-model"]) == (HEARTBEAT, "target-1")
        assert client.headers["x-ainf-router"] == "direct"


@dialects
async def test_a_prelude_of_one_that_failed_is_not_told(dialect, tmp_path, autojump_clock):
    """Not even behind an early head, where something could be told: the stream begins with the second one's."""
    after = target_text(
        Candidate("sim-tokens-7-stall-after-0", dialect.format), Candidate("sim-delay-3s-tokens-7", dialect.format)
    )
    limits = LIMITS.replace("silence_s = 3", "silence_s = 5") + "\nearly_head_s = 2\nheartbeat_s = 30"
    async with world(tmp_path, "sim", limits=limits, after=after) as here:
        client = await ask_target(here, dialect=dialect)
        receipt = await check_routed(here, client, "fell_back", ["upstream_timeout", None])
        first, second = receipt["attempts"]
        body = client.body.removeprefix(HEARTBEAT)
        assert first["response_id"].encode() not in body
        assert second["response_id"].encode() in body
        sent = bytes(entries(here, client)[1].written or b"")
        assert body.split(b"\n\n")[0] in sent, "what is relayed is relayed as it came"
        check_grammar(dialect, client.payloads())


async def test_heartbeats_go_on_while_another_is_opened(tmp_path, autojump_clock):
    """A slow store keeps a client waiting, not in doubt."""
    async with world(
        tmp_path, "sim", limits=EARLY, after=target_text(Candidate("sim-delay-1s-error-500"), Candidate())
    ) as here:
        opened = here.store.open_attempt

        async def slowly(opening: Any) -> Any:
            await trio.sleep(10)
            return await opened(opening)

        here.store.open_attempt = slowly  # type: ignore[method-assign]
        client = await ask_target(here)
        assert client.writes[:4] == [HEARTBEAT] * 4, "at 2, 5, 8 and 11 seconds"
        await check_routed(here, client, "fell_back", ["upstream_error", None])


async def test_the_second_has_all_its_time(tmp_path, autojump_clock):
    """How long the first one was waited for is nothing to it: its clocks begin with it."""
    after = target_text(Candidate("sim-stall-before-head"), Candidate("sim-delay-3s-tokens-7"))
    async with world(tmp_path, "sim", limits=LIMITS, after=after) as here:
        began = trio.current_time()
        client = await ask_target(here)
        assert 7 <= trio.current_time() - began < 7.5
        await check_routed(here, client, "fell_back", ["upstream_timeout", None])


# --- one answer ---


@dialects
async def test_a_relayed_answer_is_the_seconds_byte_for_byte(dialect, tmp_path, autojump_clock):
    """What the client is given is what the second model's provider sent, from the first byte to the last."""
    after = target_text(
        Candidate("sim-eof-after-0", dialect.format), Candidate("sim-tokens-7-usage-always", dialect.format)
    )
    async with world(tmp_path, "sim", after=after) as here:
        client = await ask_target(here, dialect=dialect)
        await check_routed(here, client, "fell_back", ["upstream_truncated", None])
        sent = bytes(entries(here, client)[1].written or b"").partition(b"\r\n\r\n")[2]
        assert client.body == unchunked(sent)


def unchunked(body: bytes) -> bytes:
    """The data of HTTP chunks."""
    data = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        data, body = data + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return data


@streams
async def test_the_shape_of_an_inference_is_kept(stream, tmp_path, autojump_clock):
    """``POST /v1/inference`` has its own fields whoever answers; ``cost`` is what all attempts cost."""
    after = target_text(Candidate("sim-close-after-head"), Candidate())
    async with world(tmp_path, "sim", after=after) as here:
        client = await here.run(here.client(CHAT.question("target-0", stream=stream), path="/v1/inference"))
        receipt = await check_routed(here, client, "fell_back", ["upstream_truncated", None])
        if not stream:
            body = client.json()
            assert body["content"] == body["choices"][0]["message"]["content"]
            assert body["cost"] == f"{receipt['settled_nusd'] / 1e9:.9f}".rstrip("0")
            assert body["audit_url"].endswith(client.inference_id)


@streams
@formats
@dialects
async def test_the_cost_that_is_told_is_that_of_all(dialect, format_, stream, tmp_path, autojump_clock):
    """A key whose answers tell their cost is told what it is charged, not what the answer alone cost."""
    after = target_text(Candidate("sim-close-after-head"), Candidate("sim-tokens-7-usage-always", format_))
    async with world(tmp_path, "sim", after=after) as here:
        await tell(here)
        client = await ask_target(here, dialect=dialect, stream=stream)
        await check_told(here, client)
        await check_routed(here, client, "fell_back", ["upstream_truncated", None])


@pytest.mark.parametrize("wraps", [1, 2])
@dialects
async def test_a_stream_is_made_where_the_model_does_not_stream(dialect, wraps, tmp_path, autojump_clock):
    """Each is asked in its own mode, whatever the other's is; the head says how the answer that came was made."""
    more = ['streaming = "wrap"' if number == wraps else "" for number in (1, 2)]
    after = target_text(Candidate("sim-close-after-head", more=more[0]), Candidate(more=more[1]))
    async with world(tmp_path, "sim", after=after) as here:
        client = await ask_target(here, dialect=dialect)
        await check_routed(here, client, "fell_back", ["upstream_truncated", None])
        assert [entry.stream for entry in entries(here, client)] == [wraps != 1, wraps != 2]
        assert client.headers["x-ainf-stream-mode"] == ("wrapped" if wraps == 2 else "native")
        check_grammar(dialect, client.payloads())


async def test_what_was_left_out_is_what_the_second_was_not_told(tmp_path, autojump_clock):
    """The head names the fields that who answers has no words for, not those of who failed."""
    asked = {"user": "ann", "metadata": {"run": "7"}}
    for formats_, dropped in ((("gemini", "chat"), None), (("chat", "gemini"), {"user", "metadata"})):
        after = target_text(*[Candidate("sim-error-500", formats_[0]), Candidate("sim-tokens-7", formats_[1])])
        async with world(tmp_path, "sim", after=after) as here:
            client = await ask_target(here, **asked)
            await check_routed(here, client, "fell_back", ["upstream_error", None])
            told = client.headers.get("x-ainf-dropped-params")
            assert (None if told is None else set(told.split(", "))) == dropped


async def test_tokens_are_counted_by_another_as_well(tmp_path, autojump_clock):
    """What a provider only counts falls back like an answer; it costs nothing, and is on record."""
    after = target_text(Candidate("sim-error-500", "messages"), Candidate("sim-tokens-7", "messages"))
    async with world(tmp_path, "sim", after=after) as here:
        asked = {"model": "target-0", "messages": [{"role": "user", "content": PROMPT}]}
        client = await here.run(here.client(asked, path="/v1/messages/count_tokens"))
        assert (client.status, client.json()) == (200, {"input_tokens": 4})
        assert client.headers["x-ainf-model"] == "target-2"
        (one,) = await outcomes(here)
        assert (one["status"], one["attempts"], one["cost_nusd"]) == ("fell_back", 2, 0)
        await check_ledger(here, admitted=1)


@dialects
async def test_the_request_is_dropped_at_the_commit_point(dialect, tmp_path, autojump_clock):
    """While the second model's stream runs on, nothing in memory holds what the client had asked."""
    after = target_text(Candidate("sim-error-500", "messages"), Candidate(), Candidate("sim", "gemini"))
    marker = "remember-me-" * 9
    async with world(tmp_path, "sim", after=after) as here:
        here.simulator.set_script(
            Script([head(500, {"content-length": "0"})], [head(), chunk(DELTA), Wait(5), Stall()])
        )
        client = here.client(dialect.ask("target-0", True, marker, None), path=dialect.path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(2)
            here.simulator.books.clear()
            (exchange,) = here.gateway.inflight
            assert exchange.plan.request.fields == {}
            assert exchange.plan.route is not None
            assert exchange.plan.route.is_exhausted
            gc.collect()
            assert [found for found in gc.get_objects() if holds(found, marker)] == []
            client.leave()


DELTA = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"one"},"finish_reason":null}]}\n\n'


def holds(found: object, marker: str) -> bool:
    """Whether a container of the program (not of this test) holds the marker, as text or as bytes."""
    values = list(found.values()) if isinstance(found, dict) else list(found) if isinstance(found, list | tuple) else []
    return any(
        (isinstance(value, str) and marker in value and value is not marker)
        or (isinstance(value, bytes | bytearray) and marker.encode() in value)
        or (not gc.is_tracked(value) and holds(value, marker))
        for value in values
    )


# --- idempotency keys ---


@streams
@dialects
async def test_one_exchange_under_a_key(dialect, stream, tmp_path, autojump_clock):
    """Clients with the same key are told one answer of one exchange that fell back; so is one that asks later."""
    after = target_text(Candidate("sim-close-after-head"), Candidate("sim-delay-1s-tokens-7"))
    async with world(tmp_path, "sim", after=after) as here:
        clients = [keyed(here, "target-0", dialect=dialect, stream=stream) for _ in range(3)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(here.run, client)
        later = await ask(here, "target-0", dialect=dialect, stream=stream)
        same(*clients, later)
        assert later.headers["x-ainf-idempotent-replay"] == "true"
        assert later.headers["x-ainf-model"] == "target-2"
        assert calls(here) == 2
        await check_routed(here, clients[0], "fell_back", ["upstream_truncated", None])
        assert len(await outcomes(here)) == 1
        await check_ledger(here, admitted=1)


@streams
@formats
@dialects
async def test_it_is_told_again_in_the_other_mode(dialect, format_, stream, tmp_path, autojump_clock):
    """Whole or streamed, while it runs or afterwards: the answer of the second model, with its own usage."""
    after = target_text(Candidate("sim-close-after-head", format_), Candidate("sim-delay-1s-tokens-7", format_))
    async with world(tmp_path, "sim", after=after) as here:
        first, other = (keyed(here, "target-0", dialect=dialect, stream=mode) for mode in (stream, not stream))
        async with trio.open_nursery() as nursery:
            for client in (first, other):
                nursery.start_soon(here.run, client)
                await trio.sleep(0.1)
        later = await ask(here, "target-0", dialect=dialect, stream=not stream)
        assert comparable(first) == comparable(other) == comparable(later)
        assert first.said().input_tokens == 4
        assert calls(here) == 2
        await check_routed(here, first, "fell_back", ["upstream_truncated", None])


@dialects
async def test_the_early_head_of_a_shared_answer_names_no_model(dialect, tmp_path, autojump_clock):
    """Neither that of the client which made the exchange, nor that of one which came later."""
    after = target_text(Candidate("sim-delay-6s-error-500"), Candidate("sim-delay-6s-tokens-7"))
    async with world(tmp_path, "sim", limits=EARLY, after=after) as here:
        first, second = (keyed(here, "target-0", dialect=dialect) for _ in range(2))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, first)
            await trio.sleep(1)
            nursery.start_soon(here.run, second)
        for client in (first, second):
            assert client.writes[0] == HEARTBEAT
            assert not OF_THE_MODEL & client.headers.keys()
            assert len(client.said().text) == 7 * 4
            check_grammar(dialect, client.payloads())
        await check_routed(here, first, "fell_back", ["upstream_error", None])


async def test_a_key_is_free_when_all_have_failed_for_nothing(tmp_path, autojump_clock):
    """Nothing was charged, so the same key may ask again at once; what was charged is told again."""
    after = target_text(Candidate("sim-error-500"), Candidate("sim-error-500"))
    after += target_text(Candidate("sim-close-after-head"), Candidate("sim-error-500"), name="charge-0")
    async with world(tmp_path, "sim", after=after) as here:
        free = [await ask(here, "target-0") for _ in range(2)]
        assert free[0].inference_id != free[1].inference_id
        assert [client.status for client in free] == [503, 503]
        told = [await ask(here, "charge-0", key="k-2") for _ in range(2)]
        same(*told)
        assert [client.headers["x-should-retry"] for client in told] == ["false", "false"]
        await check_ledger(here, admitted=3)
