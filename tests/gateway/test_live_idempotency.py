"""The SDKs as they come, with an idempotency key, against a gateway on a socket; and processes that die under one."""

from collections.abc import Iterator

import pytest
import trio
from anthropic import Anthropic
from openai import APIStatusError, OpenAI

from ainf.app import wall_clock
from tests.gateway.live import Live, live
from tests.gateway.process import deployment
from tests.gateway.world import question

SLOW = "sim-tokens-60-pace-20ms"
ASKED = [{"role": "user", "content": "What is the weather in Delft?"}]
KEY = {"Idempotency-Key": "7f3a"}


def chat(here: Live, model: str, *, stream: bool = True) -> Iterator[str]:
    with OpenAI(base_url=f"{here.url}/v1", api_key=here.key, timeout=20) as client:
        told = client.chat.completions.create(model=model, messages=ASKED, stream=stream, extra_headers=KEY)
        if not stream:
            yield told.choices[0].message.content
            return
        with told:
            for chunk in told:
                if chunk.choices:
                    yield chunk.choices[0].delta.content or ""


def responses(here: Live, model: str, *, stream: bool = True) -> Iterator[str]:
    with OpenAI(base_url=f"{here.url}/v1", api_key=here.key, timeout=20) as client:
        told = client.responses.create(model=model, input="What?", stream=stream, extra_headers=KEY)
        if not stream:
            yield told.output_text
            return
        with told:
            for event in told:
                if event.type == "response.output_text.delta":
                    yield event.delta


def messages(here: Live, model: str, *, stream: bool = True) -> Iterator[str]:
    with Anthropic(base_url=here.url, api_key=here.key, timeout=20) as client:
        asked = {"model": model, "max_tokens": 500, "messages": ASKED, "extra_headers": KEY}
        if not stream:
            yield client.messages.create(**asked).content[0].text
            return
        with client.messages.stream(**asked) as told:
            yield from told.text_stream


SDKS = {"chat": chat, "responses": responses, "messages": messages}


def vanish(told: Iterator[str], after: int) -> str:
    """Take some of a stream, and close its connection."""
    text = "".join(next(told) for _ in range(after))
    told.close()
    return text


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("back_after_s", [0, 3], ids=["while it runs", "when it has ended"])
@pytest.mark.parametrize("sdk", SDKS)
async def test_a_stream_whose_client_vanished_and_came_back_gets_the_whole_answer_and_is_billed_once(
    sdk, back_after_s, stream, tmp_path
):
    """The answer is all there, in whichever mode it is asked for again; one provider call, one settlement."""
    model, tell = f"{sdk}/{SLOW}", SDKS[sdk]
    async with live(tmp_path, model) as here:
        begun = await trio.to_thread.run_sync(vanish, tell(here, model), 10)
        await trio.sleep(back_after_s)
        text = await trio.to_thread.run_sync("".join, tell(here, model, stream=stream))
        assert text.startswith(begun)
        assert len(text.split()) == 60
        (receipt,) = await here.receipts()
        assert (receipt["ending"], receipt["evidence"], receipt["usage"]["output_tokens"]) == (
            "completed",
            "reported",
            60,
        )
        assert len(here.simulator.books.entries) == 1
        again = await trio.to_thread.run_sync("".join, tell(here, model, stream=not stream))
        assert again == text
        assert len(await here.receipts()) == 1


async def test_an_sdk_that_retries_is_answered_by_what_it_asked_first(tmp_path):
    """An SDK that loses patience with a whole answer asks again by itself: it gets what it asked for first."""
    async with live(tmp_path, SLOW) as here:

        def ask() -> str:
            with OpenAI(base_url=f"{here.url}/v1", api_key=here.key, timeout=0.5, max_retries=5) as client:
                answer = client.chat.completions.create(model=SLOW, messages=ASKED, extra_headers=KEY)
                return answer.choices[0].message.content or ""

        assert len((await trio.to_thread.run_sync(ask)).split()) == 60
        assert len(here.simulator.books.entries) == 1
        assert len(await here.receipts()) == 1


async def test_an_sdk_is_not_led_to_retry_what_cannot_be_told_again(tmp_path):
    """`idempotency_completed` and `idempotency_mismatch` raise at once, with the code."""
    async with live(tmp_path, "sim", limits="idempotency_bytes = 10") as here:

        def ask(text: str) -> str:
            with OpenAI(base_url=f"{here.url}/v1", api_key=here.key) as client:
                asked = [{"role": "user", "content": text}]
                client.chat.completions.create(model="sim", messages=asked, extra_headers=KEY)
                return "answered"

        seen: list[str | None] = []
        for text in ("a", "a", "b"):
            try:
                seen.append(await trio.to_thread.run_sync(ask, text))
            except APIStatusError as error:
                seen.append(error.code)
        assert seen == ["answered", "idempotency_completed", "idempotency_mismatch"]
        refused = await here.rows("SELECT body FROM audit_events WHERE kind = 'rejected'")
        assert len(refused) <= 2


async def test_a_client_that_stalls_is_dropped_alone(tmp_path):
    """Its connection is aborted by its own write limit; the other one gets all of the answer."""
    model = "sim-tokens-50000-burst-delay-1s"
    limits = "idempotency_bytes = 4096\nwrite_s = 0.5"
    async with live(tmp_path, model, more="max_output_tokens = 100000", limits=limits) as here:
        headers = (f"idempotency-key: {KEY['Idempotency-Key']}",)
        asked = here.request(question(model), headers=headers)
        stalled, quick = await here.connect(), await here.connect()
        await stalled.send(asked)
        await quick.send(asked)
        answer = await quick.take()
        assert answer.whole
        assert answer.body.endswith(b"data: [DONE]\n\n")
        assert not (await stalled.take()).whole
        (receipt,) = await here.receipts()
        assert (receipt["ending"], receipt["usage"]["output_tokens"]) == ("completed", 50_000)


async def test_a_drain_waits_for_who_is_still_told_what_has_ended(tmp_path):
    """The exchange is settled long before a slow client has read it all; the process does not end between the two."""
    model = "sim-tokens-50000-burst"
    limits = "idempotency_bytes = 67108864"
    async with live(tmp_path, model, more="max_output_tokens = 100000", limits=limits, server="drain_s = 50") as here:
        slow = await here.connect()
        await slow.send(here.request(question(model), headers=(f"idempotency-key: {KEY['Idempotency-Key']}",)))
        await here.wait_settled(1)
        await here.wait_running(0)
        here.running.stop.set()
        await trio.sleep(0.5)
        answer = await slow.take()
        assert answer.whole
        assert answer.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("end", ["killed", "stopped"])
async def test_an_answer_outlives_its_process(end, tmp_path):
    """What was kept is told by the next process, byte for byte; what was running frees its key, and is settled."""
    mine, other = ("idempotency-key: mine",), ("idempotency-key: other",)
    with trio.fail_after(60):
        async with deployment(tmp_path, SLOW, now=wall_clock, server="drain_s = 0") as here:
            first = await here.ask(SLOW, headers=mine)
            told = await first.take()
            running = await here.ask(SLOW, headers=other)
            await running.read_until(b'content":"')
            await (here.kill() if end == "killed" else here.terminate())
            await running.take()
            await here.start()
            again = await (await here.ask(SLOW, headers=mine)).take()
            assert again.headers["x-ainf-idempotent-replay"] == "true"
            assert again.body == told.body
            retried = await (await here.ask(SLOW, headers=other)).take()
            rows = here.rows("SELECT inference_id, ending, retry_of FROM settlements ORDER BY inference_id")
            endings = [ending for _, ending, _ in rows]
            if end == "killed":
                assert endings == ["completed", "abandoned", "completed"]
                assert rows[2][2] == rows[1][0]
                assert retried.body.endswith(b"data: [DONE]\n\n")
            else:  # it was told of its end, and billed: that is its answer
                assert b"shutting_down" in bytes(running.raw)
                assert endings == ["completed", "shutdown"]
                assert b"shutting_down" in retried.body
            assert len(await here.simulated()) == len(rows)
