"""The OpenAI Python SDK, as it comes, against a gateway on a socket."""

import json

import openai
import pytest
import trio
from openai import APIError, APIStatusError, OpenAI

from tests.gateway.backends import INPUT_RATE, OUTPUT_RATE
from tests.gateway.live import live
from tests.gateway.live_client import eventually

ASKED = [{"role": "user", "content": "What is the weather in Delft?"}]


async def test_a_whole_answer_is_settled_at_the_usage_that_the_provider_reports(tmp_path):
    """A chat completion arrives whole, and its receipt has its reported tokens and their price."""
    async with live(tmp_path, "sim-tokens-30-cached-3") as here:
        answer = await here.sdk(
            lambda client: client.chat.completions.create(model="sim-tokens-30-cached-3", messages=ASKED)
        )
        (receipt,) = await here.receipts()
        assert answer.choices[0].finish_reason == "stop"
        assert len(answer.choices[0].message.content) == 120
        assert (receipt["ending"], receipt["evidence"]) == ("completed", "reported")
        usage = receipt["usage"]
        assert usage["output_tokens"] == answer.usage.completion_tokens == 30
        assert usage["input_tokens"] == answer.usage.prompt_tokens
        assert usage["cached_input_tokens"] == 3
        fresh = usage["input_tokens"] - 3
        assert receipt["settled_nusd"] == fresh * INPUT_RATE + 3 * INPUT_RATE // 2 + 30 * OUTPUT_RATE


async def test_a_stream_carries_the_text_of_the_provider_and_its_finish_reason(tmp_path):
    """A streamed chat completion has the text that the simulator said, one finish reason and no usage unasked."""
    async with live(tmp_path) as here:
        chunks = await here.sdk(
            lambda client: list(client.chat.completions.create(model="sim", messages=ASKED, stream=True))
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        (entry,) = here.simulator.books.entries
        assert len(text) == entry.text_bytes == 80
        assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
        (receipt,) = await here.receipts()
        assert (receipt["evidence"], receipt["usage"]["output_tokens"]) == ("reported", 20)


@pytest.mark.parametrize("asked", [None, False, True])
@pytest.mark.parametrize(
    "model", ["sim", "sim-no-usage", "sim-usage-always", "sim-usage-continuous", "sim-usage-twice"]
)
async def test_usage_comes_in_exactly_one_chunk_if_it_was_asked_for_and_in_none_if_not(tmp_path, model, asked):
    """``include_usage`` alone decides about the usage chunk, whatever the provider does."""
    options = {} if asked is None else {"stream_options": {"include_usage": asked}}
    async with live(tmp_path, model) as here:
        chunks = await here.sdk(
            lambda client: list(client.chat.completions.create(model=model, messages=ASKED, stream=True, **options))
        )
        (receipt,) = await here.receipts()
        usages = [chunk.usage for chunk in chunks if not chunk.choices]
        if not asked:
            assert usages == []
            return
        assert len(usages) == 1, "a client that adds usages up is told twice"
        assert chunks[-1].usage is usages[0]
        assert usages[0].completion_tokens == receipt["usage"]["output_tokens"] == 20


WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
TIME = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}}},
}


def message_of(client: OpenAI, *, stream: bool, **request):
    """Return the assistant's message and its finish reason, in either mode, as the SDK puts it together."""
    if stream:
        with client.chat.completions.stream(**request) as events:
            choice = events.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(**request).choices[0]
    return choice.message, choice.finish_reason


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "names"), [("sim-tools", ["get_weather"]), ("sim-parallel-tools", ["get_weather", "get_time"])]
)
async def test_tools_are_called_and_answered(tmp_path, stream, model, names):
    """A tool call, or two at once, come through whole; their results go back, and the answer follows."""

    def talk(client):
        request = {"model": model, "tools": [WEATHER, TIME]}
        call, reason = message_of(client, stream=stream, messages=ASKED, **request)
        assert reason == "tool_calls"
        assert [made.function.name for made in call.tool_calls] == names
        assert len({made.id for made in call.tool_calls}) == len(names)
        for made in call.tool_calls:
            assert json.loads(made.function.arguments), "arguments that are no JSON were cut or mixed up"
        assistant = {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": c.id,
                    "type": "function",
                    "function": {"name": c.function.name, "arguments": c.function.arguments},
                }
                for c in call.tool_calls
            ],
        }
        results = [{"role": "tool", "tool_call_id": made.id, "content": "sunny"} for made in call.tool_calls]
        answer, reason = message_of(client, stream=stream, messages=[*ASKED, assistant, *results], **request)
        assert (reason, len(answer.content)) == ("stop", 80)

    async with live(tmp_path, model) as here:
        await here.sdk(talk)
        assert [receipt["ending"] for receipt in await here.receipts()] == ["completed", "completed"]


async def test_a_break_out_of_a_stream_ends_it_at_the_provider_too(tmp_path):
    """A client that stops reading early and closes is settled at what it got, and the provider sees the cancel."""
    model = "sim-tokens-2000-pace-2ms"

    def leave_early(client):
        with client.chat.completions.create(model=model, messages=ASKED, stream=True) as stream:
            for number, _ in enumerate(stream):
                if number == 10:
                    break

    async with live(tmp_path, model) as here:
        await here.sdk(leave_early)
        with trio.fail_after(5):
            await here.wait_settled(1)
            (receipt,) = await here.receipts()
            entry = here.entry(receipt["inference_id"])
            await eventually(lambda: entry.client_closed_at is not None)
        assert (receipt["ending"], receipt["finish_reason"], receipt["evidence"]) == (
            "client_disconnected", None, "metered",
        )  # fmt: skip
        assert 9 <= receipt["usage"]["output_tokens"] <= entry.output_tokens < 2000
        assert receipt["settled_nusd"] == cost_of(receipt)


def cost_of(receipt):
    usage = receipt["usage"]
    assert not usage["cached_input_tokens"]
    return usage["input_tokens"] * INPUT_RATE + usage["output_tokens"] * OUTPUT_RATE


def failure(client: OpenAI, **request) -> APIStatusError:
    with pytest.raises(APIStatusError) as caught:
        client.chat.completions.create(messages=ASKED, **request)
    return caught.value


async def requests_seen(here) -> int:
    """How many requests came in, by the gateway's own metrics: admitted and refused ones."""
    metrics = (await here.get("/metrics")).body.decode()
    samples = [line.split() for line in metrics.splitlines() if not line.startswith("#")]
    counted = ("ainf_exchanges_total", "ainf_rejections_total")
    return int(sum(float(value) for name, value in samples if name.partition("{")[0] in counted))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mode", ["402", "429"])
async def test_no_money_is_one_error_and_no_retry(tmp_path, stream, mode):
    """A request over the cap is refused once, as 402 or as the key has it 429, and the SDK does not ask again."""
    async with live(tmp_path) as here:
        await here.set_cap(100)
        key = await here.new_key("agents", money_refusal=mode)
        before = await requests_seen(here)
        error = await here.sdk(lambda client: failure(client, model="sim", stream=stream), key=key)
        expected = {"402": (402, "spend_cap_exceeded"), "429": (429, "insufficient_quota")}[mode]
        assert (error.status_code, error.code) == expected
        assert isinstance(error, openai.RateLimitError) is (mode == "429")
        assert error.response.headers["x-should-retry"] == "false"
        assert error.body["billed"] == "0"
        assert await requests_seen(here) == before + 1
        assert len(here.simulator.books.entries) == 0


async def test_what_is_transient_and_free_is_retried_and_nothing_else(tmp_path):
    """The SDK asks again after a provider's refusal that cost nothing, and not after a failure that was billed."""
    async with live(tmp_path, "sim-error-503", "sim-reset-after-5", "sim-error-401") as here:
        for model, asked in (("sim-error-503", 3), ("sim-error-401", 1)):
            here.simulator.books.clear()
            await here.sdk(lambda client, model=model: failure(client, model=model))
            assert len(here.simulator.books.entries) == asked, model
        here.simulator.books.clear()
        error = await here.sdk(lambda client: failure(client, model="sim-reset-after-5"))
        billed = [entry.billed_output_tokens for entry in here.simulator.books.entries]
        assert len(billed) == 1, "a failure that was billed was asked again"
        assert error.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("sim-error-after-5", "upstream_overloaded"),
        ("sim-error-string-after-5", "upstream_error"),
        ("sim-error-event-after-5", "upstream_overloaded"),
        ("sim-reset-after-5", "upstream_truncated"),
        ("sim-close-after-5", "upstream_truncated"),
        ("sim-eof-after-5", "upstream_truncated"),
        ("sim-cut-chunk-after-5", "upstream_truncated"),
    ],
)
async def test_a_failure_in_a_stream_is_raised_as_an_exception(tmp_path, model, code):
    """A stream that fails after its head raises: the tokens before it are delivered, no end is made up."""
    tokens = []

    def read(client):
        for said in client.chat.completions.create(model=model, messages=ASKED, stream=True):
            tokens.append(said.choices[0].delta.content or "")
            assert said.choices[0].finish_reason is None, "a failure was dressed as an end"

    async with live(tmp_path, model) as here:
        with pytest.raises(APIError) as caught:
            await here.sdk(read)
        (receipt,) = await here.receipts()
        assert type(caught.value) is APIError
        assert caught.value.code == code
        assert caught.value.body["inference_id"] == receipt["inference_id"]
        assert caught.value.body["retryable"] is False, "it was billed"
        assert len("".join(tokens)) == receipt["output_bytes"] == 20
        assert (receipt["ending"], receipt["finish_reason"]) == ("upstream_error", "error")
        assert receipt["settled_nusd"] == cost_of(receipt)


async def test_half_a_frame_at_the_end_of_a_body_is_no_end(tmp_path):
    """A body that ends cleanly in the middle of a frame raises in the client, and is settled as truncated."""
    model = "sim-cut-json-after-5"
    async with live(tmp_path, model) as here:
        with pytest.raises((APIError, json.JSONDecodeError)):
            await here.sdk(
                lambda client: list(client.chat.completions.create(model=model, messages=ASKED, stream=True))
            )
        with trio.fail_after(5):
            await here.wait_settled(1)
        (receipt,) = await here.receipts()
        # The half frame is relayed as it came; the SDK may give up on it before it has read the error behind it.
        assert (receipt["ending"], receipt["error_code"]) in {
            ("upstream_error", "upstream_truncated"),
            ("client_disconnected", None),
        }


CAPPED = "sim-tokens-400"


@pytest.mark.parametrize("mode", ["extended", "strict", "loud"])
async def test_a_cap_in_a_stream_shows_as_the_key_has_it(tmp_path, mode):
    """``extended`` ends with its own reason, ``strict`` with ``length``, ``loud`` raises; the receipt says it."""
    chunks = []

    def read(client):
        chunks.extend(client.chat.completions.create(model=CAPPED, messages=ASKED, stream=True))

    async with live(tmp_path, CAPPED) as here:
        await here.set_cap(600_000)
        key = await here.new_key("agents", finish_reasons=mode)
        before = await requests_seen(here)
        if mode == "loud":
            with pytest.raises(APIError) as caught:
                await here.sdk(read, key=key)
            assert caught.value.code == "spend_cap_exceeded"
            assert await requests_seen(here) == before + 1
        else:
            await here.sdk(read, key=key)
            reasons = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
            assert reasons == [{"extended": "spend_cap_exceeded", "strict": "length"}[mode]]
        (receipt,) = await here.receipts()
        assert receipt["ending"] == "spend_cap_exceeded"
        # What the bound of the input holds beyond what it costs stays unused.
        assert 0.85 * 600_000 <= receipt["settled_nusd"] <= 600_000


async def test_models_are_listed_as_far_as_the_key_may_use_them(tmp_path):
    """``models.list`` and ``models.retrieve`` show the configured models and targets that the key has a right to."""
    async with live(tmp_path, "sim", "sim-tools") as here:
        narrow = await here.new_key("agents", models=("sim",))
        listed = await here.sdk(lambda client: [model.id for model in client.models.list()])
        targets = ["ainf-inference", "ainf-mithril", "ainf-auto", "ainf/auto"]
        assert listed == ["sim", "sim-tools", *targets]
        listed = await here.sdk(lambda client: [model.id for model in client.models.list()], key=narrow)
        assert listed == ["sim", *targets]
        target = await here.sdk(lambda client: client.models.retrieve("ainf/auto"), key=narrow)
        assert (target.owned_by, target.ainf) == (
            "ainf", {"kind": "target", "target": "ainf-inference", "models": ["sim"]}
        )  # fmt: skip
        assert (await here.sdk(lambda client: client.models.retrieve("sim-tools"))).owned_by == "sim"
        with pytest.raises(openai.NotFoundError):
            await here.sdk(lambda client: client.models.retrieve("sim-tools"), key=narrow)


async def test_refusals_are_the_exceptions_that_the_sdk_has_for_them(tmp_path):
    """401, 403, 404 and 400 arrive as the SDK's classes, with our code, once each."""
    async with live(tmp_path, "sim", "sim-tools") as here:
        narrow = await here.new_key("agents", models=("sim",))
        cases = [
            (
                "ainf_nokey000_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                {"model": "sim"},
                openai.AuthenticationError,
                "invalid_api_key",
            ),
            (narrow, {"model": "sim-tools"}, openai.PermissionDeniedError, "not_permitted"),
            (None, {"model": "gpt-none"}, openai.NotFoundError, "model_not_found"),
            (None, {"model": "sim", "n": 2}, openai.BadRequestError, "unsupported_parameter"),
        ]
        for key, request, kind, code in cases:
            before = await requests_seen(here)
            error = await here.sdk(lambda client, request=request: failure(client, **request), key=key)
            assert (type(error), error.code) == (kind, code)
            assert error.request_id, "an error without an id cannot be asked about"
            assert await requests_seen(here) == before + 1


@pytest.mark.parametrize("stream", [False, True])
async def test_the_headers_lead_to_a_receipt_that_is_there_when_the_answer_has_ended(tmp_path, stream):
    """The answer names its receipt, which is settled as soon as the end was seen, and is another account's 404."""

    def ask(client):
        raw = client.chat.completions.with_raw_response.create(model="sim", messages=ASKED, stream=stream)
        parsed = raw.parse()
        if stream:
            list(parsed)
        url = raw.headers["x-ainf-audit-url"]
        path = url.removeprefix("http://gateway.test/v1")
        return raw.headers, client.get(path, cast_to=dict), path

    async with live(tmp_path) as here:
        headers, receipt, path = await here.sdk(ask)
        inference_id = headers["x-ainf-inference-id"]
        assert receipt["inference_id"] == inference_id
        assert (receipt["state"], receipt["ending"], receipt["account"]) == ("settled", "completed", "agents")
        assert (headers["x-ainf-agent-id"], headers["x-ainf-model"], headers["x-ainf-provider"]) == (
            "agents",
            "sim",
            "sim",
        )
        assert headers["x-ainf-stream-mode"] == "native"
        assert headers["x-request-id"] == inference_id
        await here.new_account("others")
        stranger = await here.new_key("others", key_id="k0000002")
        with pytest.raises(openai.NotFoundError):
            await here.sdk(lambda client: client.get(path, cast_to=dict), key=stranger)
        with pytest.raises(openai.AuthenticationError):
            await here.sdk(lambda client: client.get(path, cast_to=dict), key="ainf_wrong")
