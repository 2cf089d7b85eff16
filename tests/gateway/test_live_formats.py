"""The OpenAI and Anthropic SDKs, as they come, through the real server to each of the four provider formats."""

import base64
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import anthropic
import openai
import pytest
import trio

from ainf.inference.outcome import Ending
from tests.gateway.backends import FORMATS, INPUT_RATE, OUTPUT_RATE
from tests.gateway.live import Live, live
from tests.gateway.live_client import eventually
from tests.gateway.live_sdks import SDKS, MessagesSdk

pairs = pytest.mark.parametrize(
    ("sdk", "format_"), [pytest.param(sdk, each, id=f"{sdk.name}-{each}") for sdk in SDKS for each in FORMATS]
)
modes = pytest.mark.parametrize("mode", ["whole", "stream"])


async def do(
    here: Live, sdk: type[Any], deed: Callable[[Any], Any], *, retries: int = 0, key: str | None = None
) -> Any:
    """Do something with an SDK, in a thread of its own."""

    def doing() -> Any:
        talker = sdk(here.url, key or here.key, retries)
        with talker.client:
            return deed(talker)

    return await trio.to_thread.run_sync(doing)


@modes
@pairs
async def test_text_and_usage(tmp_path, sdk, format_, mode):
    """Whole and streamed: the provider's text, a normal end, and the usage that the receipt and the bill have."""
    model = f"{format_}/sim-tokens-30-cached-3"
    async with live(tmp_path, model) as here:
        answer = await do(here, sdk, lambda talker: getattr(talker, mode)(model))
        (receipt,) = await here.receipts()
        (entry,) = here.simulator.books.entries
        assert (answer.reason, len(answer.text)) == (sdk.stop, 120)
        assert (receipt["ending"], receipt["evidence"]) == (Ending.COMPLETED, "reported")
        assert answer.output_tokens == receipt["usage"]["output_tokens"] == 30
        assert answer.input_tokens == receipt["usage"]["input_tokens"] == entry.billed_input_tokens
        assert answer.cached_tokens == receipt["usage"]["cached_input_tokens"] == 3
        fresh = answer.input_tokens - 3
        assert receipt["settled_nusd"] == fresh * INPUT_RATE + 3 * INPUT_RATE // 2 + 30 * OUTPUT_RATE


@modes
@pairs
async def test_tools_are_called_and_answered(tmp_path, sdk, format_, mode):
    """Two calls at once come through whole; their results go back in the SDK's own way, and the answer follows."""
    model = f"{format_}/sim-parallel-tools-tokens-9"
    async with live(tmp_path, model) as here:
        answer = await do(here, sdk, lambda talker: talker.tool_talk(model, getattr(talker, mode)))
        assert (answer.reason, len(answer.text)) == (sdk.stop, 36)
        assert [receipt["ending"] for receipt in await here.receipts()] == [Ending.COMPLETED] * 2


@pairs
async def test_an_early_break(tmp_path, sdk, format_):
    """A reader that breaks off ends the stream at the provider too, and pays for what came."""
    model = f"{format_}/sim-tokens-2000-pace-2ms"
    async with live(tmp_path, model) as here:
        await do(here, sdk, lambda talker: talker.break_off(model, 10))
        await here.wait_settled(1)
        (receipt,) = await here.receipts()
        (entry,) = here.simulator.books.entries
        await eventually(lambda: entry.ended_at is not None)
        assert receipt["ending"] == Ending.CLIENT_DISCONNECTED
        assert 0 < receipt["usage"]["output_tokens"] < 1000
        assert entry.end == "cancelled"


@pairs
async def test_an_error_in_the_stream(tmp_path, sdk, format_):
    """An error behind the first tokens is an exception of the SDK, and is not asked again."""
    model = f"{format_}/sim-tokens-30-error-after-5"
    async with live(tmp_path, model) as here:
        with pytest.raises(sdk.error):
            await do(here, sdk, lambda talker: talker.stream(model), retries=2)
        (receipt,) = await here.receipts()
        assert receipt["ending"] == Ending.UPSTREAM_ERROR
        assert receipt["settled_nusd"] > 0


@pairs
async def test_a_refusal_of_the_provider(tmp_path, sdk, format_):
    """A status of the provider's, before anything was billed, is asked again as often as the SDK does, and is told."""
    model = f"{format_}/sim-error-500"
    async with live(tmp_path, model) as here:
        with pytest.raises(sdk.error) as caught:
            await do(here, sdk, lambda talker: talker.whole(model), retries=1)
        assert caught.value.status_code == 502
        assert [receipt["settled_nusd"] for receipt in await here.receipts()] == [0, 0]


@pairs
async def test_a_cap_in_the_stream(tmp_path, sdk, format_):
    """Typed clients that want standard words get them: a stream that runs out of money ends as one that is too long."""
    model = f"{format_}/sim-tokens-500-unlimited-pace-1ms"
    words = {"chat": "length", "responses": "max_output_tokens", "messages": "max_tokens"}
    async with live(tmp_path, model, more='finish_reasons = "strict"\nslice_tokens = 8\nmin_output_tokens = 4') as here:
        await here.set_cap(200_000)
        if sdk.name == "chat":
            with pytest.raises(openai.LengthFinishReasonError):
                await do(here, sdk, lambda talker: talker.stream(model))
        elif sdk.name == "responses":
            with pytest.raises(RuntimeError, match="completed"):
                await do(here, sdk, lambda talker: talker.stream(model))
        else:
            answer = await do(here, sdk, lambda talker: talker.stream(model))
            assert answer.reason == words[sdk.name]
            assert answer.text
        (receipt,) = await here.receipts()
        assert receipt["ending"] == Ending.SPEND_CAP_EXCEEDED
        assert receipt["settled_nusd"] <= 200_000


@pytest.mark.parametrize("vendor", ["anthropic", "openai", "gemini", "xai", "mistral"])
async def test_vendors_by_name_reach_the_end_marker(tmp_path, vendor):
    """A chat client reads a stream of each of these vendors to its ``[DONE]``."""
    path = "/v1beta" if vendor == "gemini" else "/v1"
    async with live(tmp_path, "sim-tokens-6-usage-always", vendors={vendor: path}) as here:
        taken = await here.ask(f"{vendor}-model")
        assert taken.status == 200
        assert taken.body.endswith(b"data: [DONE]\n\n")
        assert taken.headers["x-ainf-provider"] == vendor
        assert taken.headers["x-ainf-stream-mode"] == "native"
        (receipt,) = await here.receipts()
        assert (receipt["ending"], receipt["evidence"]) == (Ending.COMPLETED, "reported")


@pytest.mark.parametrize("format_", FORMATS)
async def test_counting_tokens(tmp_path, format_):
    """``count_tokens`` is the provider's own count where it has one, else ours, and it costs nothing."""
    model = f"{format_}/sim"
    async with live(tmp_path, model) as here:
        asked = {"model": model, "messages": [{"role": "user", "content": "x" * 400}]}
        counted = await do(here, MessagesSdk, lambda talker: talker.client.messages.count_tokens(**asked))
        assert 100 <= counted.input_tokens <= 130
        assert [receipt["settled_nusd"] for receipt in await here.receipts()] == ([0] if format_ == "messages" else [])


async def test_models_as_the_anthropic_sdk_lists_them(tmp_path):
    """The list of models and of targets is read by both SDKs."""
    async with live(tmp_path, "sim", "sim-tokens-5") as here:
        listed = await do(here, MessagesSdk, lambda talker: [model.id for model in talker.client.models.list()])
        assert listed == ["sim", "sim-tokens-5", "ainf-inference", "ainf-mithril", "ainf-auto", "ainf/auto"]
        target = await do(here, MessagesSdk, lambda talker: talker.client.models.retrieve("ainf/auto"))
        assert (target.type, target.max_tokens, target.ainf["target"]) == ("model", 4096, "ainf-inference")


EMBEDDERS = [each for each in FORMATS if each != "messages"]


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("format_", EMBEDDERS)
async def test_embeddings(tmp_path, format_, encoding):
    """Vectors of one text or several, in either encoding, at the price of their input."""
    model = f"{format_}/sim"
    async with live(tmp_path, model, more='kind = "embeddings"') as here:
        ask = partial(dict, model=model, encoding_format=encoding)
        answer = await here.sdk(lambda client: client.embeddings.create(**ask(input=["one text", "another one"])))
        assert [vector.index for vector in answer.data] == [0, 1]
        vectors = [vector.embedding for vector in answer.data]
        if encoding == "base64":
            vectors = [list(struct.iter_unpack("<f", base64.b64decode(vector))) for vector in vectors]
        assert len(vectors[0]) == len(vectors[1]) > 1
        assert vectors[0] != vectors[1]
        (receipt,) = await here.receipts()
        assert receipt["ending"] == Ending.COMPLETED
        assert receipt["usage"]["output_tokens"] == 0
        assert receipt["settled_nusd"] == receipt["usage"]["input_tokens"] * INPUT_RATE > 0


async def test_embeddings_of_a_provider_without(tmp_path):
    """A provider without embeddings is refused by name."""
    async with live(tmp_path, "messages/sim", more='kind = "embeddings"') as here:
        with pytest.raises(openai.UnprocessableEntityError, match="messages"):
            await here.sdk(lambda client: client.embeddings.create(model="messages/sim", input="x"))


async def test_embeddings_of_a_model_that_answers_in_text(tmp_path):
    """A model that gives text has no vectors."""
    async with live(tmp_path, "sim") as here:
        with pytest.raises(openai.UnprocessableEntityError):
            await here.sdk(lambda client: client.embeddings.create(model="sim", input="x"))


async def test_credentials_as_the_sdks_send_them(tmp_path):
    """``x-api-key`` and a bearer token are both taken; a wrong key is Anthropic's authentication error there."""
    async with live(tmp_path, "messages/sim") as here:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await do(here, MessagesSdk, lambda talker: talker.whole("messages/sim"), key="ainf_wrong")
        assert caught.value.body["error"]["type"] == "authentication_error"
        token = anthropic.Anthropic(base_url=here.url, auth_token=here.key, max_retries=0)
        asked = {"model": "messages/sim", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}
        with token:
            assert (await trio.to_thread.run_sync(lambda: token.messages.create(**asked))).content
