"""The routes that only read."""

import pytest
from anthropic.types import ModelInfo
from openai.types import Model as OpenAIModel

from ainf.telemetry import METRICS_CONTENT_TYPE
from tests.gateway.world import Client, world


async def bare(here, path: str) -> Client:
    return await here.run(Client(path, b"", {}, "GET"))


async def test_models_as_both_sdks_list_them(tmp_path, autojump_clock):
    """All that the key may use, each also alone, slashes in names included, as OpenAI's and Anthropic's objects."""
    async with world(tmp_path, "sim", "vendor/model") as here:
        listed = (await here.get("/v1/models")).json()
        assert listed["object"] == "list"
        assert [model["id"] for model in listed["data"]] == ["sim", "vendor/model"]
        for model in listed["data"]:
            assert (await here.get(f"/v1/models/{model['id']}")).json() == model
            assert OpenAIModel.model_validate(model).owned_by == "sim"
            assert ModelInfo.model_validate(model).max_tokens == 4096
        assert (await here.get("/v1/models/nope")).json()["error"]["code"] == "model_not_found"


async def test_a_model_without_right_is_unknown(tmp_path, autojump_clock):
    """A key does not learn which models others have."""
    async with world(tmp_path, "sim", "sim-tokens-5") as here:
        narrow = await here.new_key("agents", models=("sim-tokens-*",))
        assert (await here.get("/v1/models/sim", narrow)).status == 404
        assert (await here.get("/v1/models/sim-tokens-5", narrow)).status == 200


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/sim", "/v1/audit/inf_x"])
async def test_what_needs_a_key(path, tmp_path, autojump_clock):
    """Lists and receipts are not for strangers."""
    async with world(tmp_path, "sim") as here:
        assert (await bare(here, path)).status == 401


async def test_a_receipt_as_json(tmp_path, autojump_clock):
    """All fields that a receipt promises."""
    async with world(tmp_path, "sim") as here:
        client = await here.ask()
        receipt = (await here.get(f"/v1/audit/{client.inference_id}")).json()
        promised = {
            "inference_id", "account", "key_id", "model", "provider", "ending", "finish_reason", "evidence", "usage",
            "held_nusd", "settled_nusd", "overrun_nusd", "price_version", "attempts", "opened_at", "settled_at", "hash",
            "prev_hash",
        }  # fmt: skip
        assert promised <= receipt.keys()
        assert set(receipt["usage"]) == {
            "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "cache_write_tokens",
            "long_cache_write_tokens", "audio_input_tokens", "audio_output_tokens",
        }  # fmt: skip


async def test_health(tmp_path, autojump_clock):
    """Alive always; ready until it drains or is full; both without a key."""
    async with world(tmp_path, "sim") as here:
        assert (await bare(here, "/healthz")).json() == {"status": "ok"}
        assert (await bare(here, "/readyz")).json() == {"status": "ready", "running": 0}
        here.gateway.draining = True
        assert (await bare(here, "/healthz")).status == 200
        stopping = await bare(here, "/readyz")
        assert (stopping.status, stopping.json()["error"]["code"]) == (503, "shutting_down")


async def test_metrics(tmp_path, autojump_clock):
    """Prometheus's text, without a key and without one inside."""
    async with world(tmp_path, "sim") as here:
        await here.ask()
        client = await bare(here, "/metrics")
        assert client.headers["content-type"] == METRICS_CONTENT_TYPE
        assert b'ending="completed"' in client.body
        assert here.key_id.encode() not in client.body
