"""What a plan does to a request on its way: refusals by name, what may be dropped, stored responses, betas, clamps."""

import json
from typing import Any

import pytest

from ainf.inference.outcome import Ending
from tests.gateway.backends import FORMATS, INPUT_RATE, OUTPUT_RATE
from tests.gateway.dialects import CHAT, DIALECTS, MESSAGES, RESPONSES
from tests.gateway.law import check_ledger, check_transcript
from tests.gateway.world import Client, World, world

protocols = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
formats = pytest.mark.parametrize("format_", FORMATS)


def error_of(client: Client) -> dict[str, Any]:
    return client.json()["error"]


def sent(here: World) -> dict[str, Any]:
    """The body of the last request that the provider got."""
    return json.loads(here.simulator.books.entries[-1].request_body or b"null")


@protocols
@pytest.mark.parametrize("stream", [True, False])
async def test_a_backend_without_tools(dialect, stream, tmp_path, autojump_clock):
    """A request with tools is refused with the backend's name and what to do, before anything is spent."""
    async with world(tmp_path, "sim", more="tools = false") as here:
        client = await here.speak(dialect, stream=stream, tools=[dialect.tool])
        assert client.status == 422
        error = error_of(client)
        assert (error["code"], error["param"]) == ("tools_not_supported", "tools")
        assert "'sim'" in error["message"]
        assert "use another model" in error["message"]
        assert client.headers["x-should-retry"] == "false"
        await check_ledger(here, admitted=0)


@pytest.mark.threat(53)
@protocols
@formats
async def test_a_provider_that_cannot_stream(dialect, format_, tmp_path, autojump_clock):
    """Its whole answer is made a stream, in every protocol, and it was never asked for one."""
    model = f"{format_}/sim-tokens-6-no-stream-delay-30s"
    async with world(tmp_path, model, more='streaming = "wrap"\nsilence_s = 3') as here:
        client = await here.speak(dialect, model, limit=64)
        assert client.is_streamed
        assert len(client.said().text) == 24
        assert await check_transcript(here, client) == Ending.COMPLETED
        assert not sent(here).get("stream")
        receipt = await here.receipt(client.inference_id)
        assert receipt["held_nusd"] >= 64 * OUTPUT_RATE, "a whole answer is held whole"


@pytest.mark.threat(53)
@protocols
async def test_a_model_that_is_configured_not_to_stream(dialect, tmp_path, autojump_clock):
    """501 with the hint to send ``stream: false``; whole answers are given."""
    async with world(tmp_path, "sim", more='streaming = "reject"') as here:
        client = await here.speak(dialect)
        assert client.status == 501
        assert error_of(client)["code"] == "streaming_not_supported"
        assert "stream: false" in error_of(client)["message"]
        assert (await here.speak(dialect, stream=False)).status == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_fields_that_may_be_dropped_are_named(stream, tmp_path, autojump_clock):
    """Only what the configuration names is left out, and the client is told; parts of messages never are."""
    asked = {"seed": 7, "logit_bias": {"1": 2}}
    async with world(tmp_path, "messages/sim", more='drop_params = ["seed"]') as here:
        refused = await here.speak(CHAT, "messages/sim", stream=stream, **asked)
        assert (refused.status, error_of(refused)["param"]) == (400, "logit_bias")
        client = await here.speak(CHAT, "messages/sim", stream=stream, seed=7)
        assert client.headers["x-ainf-dropped-params"] == "seed"
        assert "seed" not in sent(here)
        plain = await here.speak(CHAT, "messages/sim", stream=stream)
        assert "x-ainf-dropped-params" not in plain.headers
    async with world(tmp_path, "messages/sim", more='drop_params = ["*"]') as here:
        client = await here.speak(CHAT, "messages/sim", stream=stream, **asked)
        assert sorted(client.headers["x-ainf-dropped-params"].split(", ")) == ["logit_bias", "seed"]
        custom = await here.speak(CHAT, "messages/sim", tools=[{"type": "custom", "custom": {"name": "x"}}])
        assert (custom.status, error_of(custom)["param"]) == (400, "tools[0]")


VENDOR = """
[providers.mistral]
format = "mistral"
base_url = "http://provider.test/v1"
api_key_env = "SIM_KEY"
[models.mistral]
provider = "mistral"
upstream_model = "sim"
max_output_tokens = 4096
price = { input = "1.00", output = "2.00" }
"""


@pytest.mark.threat(11)
@pytest.mark.parametrize(
    ("dialect", "asked", "param"),
    [
        (CHAT, {"user": "who-asks"}, "user"),
        (MESSAGES, {"metadata": {"user_id": "who-asks"}}, "metadata.user_id"),
        (RESPONSES, {"safety_identifier": "who-asks"}, "safety_identifier"),
        (RESPONSES, {"text": {"verbosity": "low"}}, "text.verbosity"),
    ],
)
async def test_what_only_this_vendor_does_not_know(dialect, asked, param, tmp_path, autojump_clock):
    """Where a vendor of the format knows no such field, it is refused by the client's name, or dropped and named."""
    async with world(tmp_path, "sim", after=VENDOR + "drop_params = []") as here:
        refused = await here.speak(dialect, "mistral", stream=False, **asked)
        assert (refused.status, error_of(refused)["param"]) == (400, param)
        assert error_of(refused)["code"] == "unsupported_parameter"
    async with world(tmp_path, "sim", after=VENDOR + f'drop_params = ["{param}"]') as here:
        client = await here.speak(dialect, "mistral", stream=False, **asked)
        assert (client.status, client.headers["x-ainf-dropped-params"]) == (200, param)
        assert not {"user", "safety_identifier", "verbosity"} & sent(here).keys()


EMBEDDINGS = """
[models.vectors]
provider = "gemini"
upstream_model = "sim"
kind = "embeddings"
price = { input = "1.00", output = "0" }
"""


async def test_what_embeddings_may_drop(tmp_path, autojump_clock):
    """The settings of a model of embeddings drop what Gemini cannot be told, and name it."""
    asked = {"model": "vectors", "input": "x", "user": "who-asks"}
    async with world(tmp_path, "sim", after=EMBEDDINGS + "drop_params = []") as here:
        refused = await here.run(here.client(asked, path="/v1/embeddings"))
        assert (refused.status, error_of(refused)["param"]) == (400, "user")
    async with world(tmp_path, "sim", after=EMBEDDINGS + 'drop_params = ["user"]') as here:
        client = await here.run(here.client(asked, path="/v1/embeddings"))
        assert (client.status, client.headers["x-ainf-dropped-params"]) == (200, "user")
        assert "who-asks" not in json.dumps(sent(here))


INSTRUCTIONS = [42, ["a"], {"b": 1}, True]


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
async def test_malformed_instructions_go_to_a_provider_of_the_same_format(instructions, tmp_path, autojump_clock):
    """The provider's own validation answers, sanitised; nothing is billed. Another format cannot say them."""
    async with world(tmp_path, "responses/sim", "chat/sim") as here:
        native = await here.speak(RESPONSES, "responses/sim", stream=False, instructions=instructions)
        assert sent(here)["instructions"] == instructions
        assert native.status == 400
        assert (error_of(native)["code"], error_of(native)["param"]) == ("upstream_rejected", "instructions")
        assert (await here.receipt(native.inference_id))["settled_nusd"] == 0
        other = await here.speak(RESPONSES, "chat/sim", stream=False, instructions=instructions)
        assert (other.status, error_of(other)["param"]) == (400, "instructions")
        assert len(here.simulator.books.entries) == 1


@pytest.mark.threat(60, "C15")
async def test_a_stored_response_is_gone_on_from(tmp_path, autojump_clock):
    """It must be this account's and this provider's; its tokens are held and its id goes on."""
    async with world(tmp_path, "responses/sim", "chat/sim", "messages/sim") as here:
        first = await here.speak(RESPONSES, "responses/sim", stream=False)
        response_id = first.json()["id"]
        plain = await here.receipt(first.inference_id)
        asked = {"previous_response_id": response_id}
        second = await here.speak(RESPONSES, "responses/sim", stream=False, **asked)
        assert second.status == 200
        assert sent(here)["previous_response_id"] == response_id
        longer = await here.receipt(second.inference_id)
        tokens = plain["usage"]["input_tokens"] + plain["usage"]["output_tokens"]
        assert longer["held_nusd"] >= plain["held_nusd"] + tokens * INPUT_RATE
        for model in ("chat/sim", "messages/sim"):
            refused = await here.speak(RESPONSES, model, stream=False, **asked)
            assert (refused.status, error_of(refused)["param"]) == (400, "previous_response_id")
        await here.new_account("strangers")
        strange = await here.new_key("strangers", key_id="k0000009")
        body = RESPONSES.question("responses/sim", stream=False, **asked)
        foreign = await here.run(here.client(body, path=RESPONSES.path, authorization=f"Bearer {strange}"))
        unknown = await here.speak(RESPONSES, "responses/sim", stream=False, previous_response_id="resp_nobody")
        assert error_of(foreign)["message"] == error_of(unknown)["message"]
        assert (foreign.status, unknown.status) == (404, 404)
        await check_ledger(here)


@pytest.mark.parametrize("format_", ["chat", "responses", "gemini"])
async def test_betas_of_no_other_vendor(format_, tmp_path, autojump_clock):
    """A provider that is not Anthropic knows none of them, so all are named."""
    async with world(tmp_path, f"{format_}/sim") as here:
        body = MESSAGES.question(f"{format_}/sim", stream=False)
        betas = {"anthropic-beta": "interleaved-thinking-2025-05-14, context-1m-2025-08-07"}
        client = await here.run(here.client(body, path=MESSAGES.path, **betas))
        assert client.status == 200
        assert client.headers["x-ainf-dropped-params"] == betas["anthropic-beta"]


async def test_betas(tmp_path, autojump_clock):
    """Those that change neither price nor host go on, those that change the price are refused, the rest is named."""
    async with world(tmp_path, "messages/sim") as here:
        body = MESSAGES.question("messages/sim", stream=False)
        betas = {"anthropic-beta": "interleaved-thinking-2025-05-14, moon-landing-1969-07-20"}
        client = await here.run(here.client(body, path=MESSAGES.path, **betas))
        assert client.headers["x-ainf-dropped-params"] == "moon-landing-1969-07-20"
        refused = await here.run(here.client(body, path=MESSAGES.path, **{"anthropic-beta": "context-1m-2025-08-07"}))
        assert (refused.status, error_of(refused)["param"]) == (400, "anthropic-beta")


async def test_a_write_to_the_cache_needs_a_price(tmp_path, autojump_clock):
    """Marks of what to cache go on where the price covers them, and are refused by their path where it does not."""
    marked = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    model = "messages/sim-cache-write-2-cache-write-1h-1"
    async with world(tmp_path, model) as here:
        client = await here.speak(MESSAGES, model, stream=False, system=marked)
        assert sent(here)["system"] == marked
        usage = (await here.receipt(client.inference_id))["usage"]
        assert (usage["cache_write_tokens"], usage["long_cache_write_tokens"]) == (3, 1)
        cost = (usage["input_tokens"] - 3) * 1000 + 2 * 1250 + 1 * 2000 + 20 * OUTPUT_RATE
        assert (await here.receipt(client.inference_id))["settled_nusd"] == cost
        await check_ledger(here)
    async with world(tmp_path, model, more='price = { input = "1.00", output = "2.00" }') as here:
        client = await here.speak(MESSAGES, model, stream=False, system=marked)
        assert (client.status, error_of(client)["param"]) == (400, "system[0].cache_control")


async def test_a_clamp_leaves_the_thinking_budget(tmp_path, autojump_clock):
    """Where a cap leaves less than the budget for thinking and a little more, the request is refused."""
    model = "messages/sim-tokens-6"
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    async with world(tmp_path, model, more="min_output_tokens = 16") as here:
        await here.set_cap(1500 * OUTPUT_RATE)
        client = await here.speak(MESSAGES, model, stream=False, limit=4000, **thinking)
        clamped = int(client.headers["x-ainf-max-tokens"])
        assert 1040 <= clamped < 1500
        assert sent(here)["max_tokens"] == clamped
        assert sent(here)["thinking"] == thinking["thinking"]
        await here.set_cap(1000 * OUTPUT_RATE)
        refused = await here.speak(MESSAGES, model, stream=False, limit=4000, **thinking)
        assert refused.status == 402


@protocols
@formats
async def test_what_vendors_require_is_there(dialect, format_, tmp_path, autojump_clock):
    """A request says no more than it must, and each provider still gets what it requires."""
    model = f"{format_}/sim"
    async with world(tmp_path, model) as here:
        body = dialect.question(model, stream=False)
        client = await here.run(here.client(body, path=dialect.path))
        assert client.status == 200
        if format_ == "messages":
            assert sent(here)["max_tokens"] == 4096


WISHES = [
    (MESSAGES, {"system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]},
     {"chat": "cache_control", "responses": "cache_control", "gemini": "cache_control"}),
    (MESSAGES, {"thinking": {"type": "adaptive", "display": "summarized"}},
     {"chat": "thinking.display", "responses": None, "gemini": None}),
    (RESPONSES, {"reasoning": {"summary": "auto"}}, {"chat": "reasoning.summary", "messages": None, "gemini": None}),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "asked", "dropped"), WISHES)
async def test_wishes_that_a_format_cannot_say_are_named(dialect, asked, dropped, tmp_path, autojump_clock):
    """To cache, to see thoughts: left out by default where they cannot be said, never without a word."""
    for more, is_refused in (("", False), ("drop_params = []", True)):
        async with world(tmp_path, *(f"{format_}/sim" for format_ in dropped), more=more) as here:
            for format_, name in dropped.items():
                client = await here.speak(dialect, f"{format_}/sim", stream=False, **asked)
                if name is not None and is_refused:
                    assert (client.status, error_of(client)["param"]) == (400, name)
                else:
                    assert (client.status, client.headers.get("x-ainf-dropped-params")) == (200, name)


async def test_our_own_count_is_of_what_would_be_answered(tmp_path, autojump_clock):
    """Where we count ourselves, what the answer would be refused for is refused, and the model is named."""
    async with world(tmp_path, "chat/sim") as here:
        path = "/v1/messages/count_tokens"
        asked = {"model": "chat/sim", "messages": [{"role": "user", "content": "x" * 400}]}
        counted = await here.run(here.client(asked | {"metadata": {"user_id": "u"}}, path=path))
        assert (counted.status, 100 <= counted.json()["input_tokens"] <= 130) == (200, True)
        assert (counted.headers["x-ainf-model"], counted.headers["x-ainf-provider"]) == ("chat/sim", "sim")
        assert counted.headers["x-ainf-evidence"] == "metered"
        for field in ({"mcp_servers": [{"url": "http://x"}]}, {"tools": [{"type": "web_search_20250305"}]}):
            refused = await here.run(here.client(asked | field, path=path))
            assert (refused.status, refused.json()["error"]["code"]) == (400, "unsupported_parameter")
        await check_ledger(here, admitted=0)
