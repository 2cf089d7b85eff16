"""The routes that only read."""

import pytest
from anthropic.types import ModelInfo
from openai.types import Model as OpenAIModel

from ainf.telemetry import METRICS_CONTENT_TYPE
from tests.gateway.world import Client, world

TARGETS = ["ainf-inference", "ainf-mithril", "ainf-auto", "ainf/auto"]
"""The names of the target that is there by default."""


async def bare(here, path: str) -> Client:
    return await here.run(Client(path, b"", {}, "GET"))


async def test_models_as_both_sdks_list_them(tmp_path, autojump_clock):
    """All that the key may use, each also alone, slashes in names included, as OpenAI's and Anthropic's objects."""
    async with world(tmp_path, "sim", "vendor/model") as here:
        listed = (await here.get("/v1/models")).json()
        assert listed["object"] == "list"
        assert [model["id"] for model in listed["data"]] == ["sim", "vendor/model", *TARGETS]
        assert (listed["first_id"], listed["last_id"]) == ("sim", TARGETS[-1])
        for model in listed["data"]:
            assert (await here.get(f"/v1/models/{model['id']}")).json() == model
            assert OpenAIModel.model_validate(model).owned_by == ("ainf" if model["id"] in TARGETS else "sim")
            assert ModelInfo.model_validate(model).max_tokens == 4096
        assert (await here.get("/v1/models/nope")).json()["error"]["code"] == "model_not_found"


async def told(here, name, key=None):
    """What is said of a name besides what the SDKs have: (owner, most output tokens, our own part)."""
    client = await here.get(f"/v1/models/{name}", key)
    if client.status == 404:
        return None
    told = client.json()
    return told["owned_by"], told["max_tokens"], told["ainf"]


async def test_targets_are_listed_as_models(tmp_path, autojump_clock):
    """Under each of their names, with what they choose from, and the output that the roomiest of these gives."""
    async with world(tmp_path, "sim", "sim-tokens-5", after=FLEET) as here:
        assert await told(here, "sim") == ("sim", 4096, {"kind": "model"})
        every = ["roomy", "sim", "sim-tokens-5"]
        for name in TARGETS:
            owner, most, own = await told(here, name)
            assert (owner, most, sorted(own.pop("models"))) == ("ainf", 9000, every)
            assert own == {"kind": "target", "target": "ainf-inference"}
        for name in ("fleet", "my/fleet"):
            own = {"kind": "target", "target": "fleet", "models": ["sim", "sim-tokens-5"]}
            assert await told(here, name) == ("ainf", 4096, own)


FLEET = """
[models.roomy]
provider = "sim"
max_output_tokens = 9000
price = "free"
[targets.fleet]
models = ["sim*"]
aliases = ["my/fleet"]
"""


async def test_a_key_sees_of_a_target_what_it_may_get(tmp_path, autojump_clock):
    """Of a target that it has no right to, the models that it may use by themselves; where there are none, nothing."""
    async with world(tmp_path, "sim", "sim-tokens-5", after=FLEET) as here:
        pins = await here.new_key("agents", models=("sim", "roomy"))
        assert await told(here, "fleet", pins) == (
            "ainf",
            4096,
            {"kind": "target", "target": "fleet", "models": ["sim"]},
        )
        names = [model["id"] for model in (await here.get("/v1/models", pins)).json()["data"]]
        assert names == ["sim", "roomy", *TARGETS, "fleet", "my/fleet"]
        routed = await here.new_key("agents", key_id="k0000002", models=("my/fleet",))
        assert [model["id"] for model in (await here.get("/v1/models", routed)).json()["data"]] == ["my/fleet"]
        assert (await told(here, "my/fleet", routed))[2]["models"] == ["sim", "sim-tokens-5"]
        assert await told(here, "fleet", routed) is None
        assert await told(here, "sim", routed) is None
        nothing = await here.new_key("agents", key_id="k0000003", models=("other",))
        assert (await here.get("/v1/models", nothing)).json()["data"] == []
        assert await told(here, "fleet", nothing) is None


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
            "inference_id", "account", "key_id", "router", "model", "provider", "ending", "finish_reason", "evidence",
            "usage", "held_nusd", "settled_nusd", "overrun_nusd", "price_version", "routing", "attempts", "opened_at",
            "settled_at", "hash", "prev_hash",
        }  # fmt: skip
        assert promised <= receipt.keys()
        assert (receipt["router"], receipt["routing"]) == ("direct", None)
        assert set(receipt["usage"]) == {
            "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "cache_write_tokens",
            "long_cache_write_tokens", "audio_input_tokens", "audio_output_tokens",
        }  # fmt: skip


async def test_the_receipt_of_a_routed_one_as_json(tmp_path, autojump_clock):
    """It names the target, the name that was asked for, and how each model fared that the key may get, and no other."""
    async with world(tmp_path, "sim", "sim-tokens-5", after=FLEET) as here:
        key = await here.new_key("agents", models=("sim",))
        here.key = key
        client = await here.ask("my/fleet", routing_hint={"min_quality": 0.4, "task_type": "code"})
        receipt = (await here.get(f"/v1/audit/{client.inference_id}")).json()
        assert (receipt["requested_model"], receipt["router"], receipt["model"]) == ("my/fleet", "fleet", "sim")
        routing = receipt["routing"]
        assert (routing["status"], routing["served"], routing["ranked"]) == ("succeeded", 1, ["sim"])
        assert (routing["floor"], routing["floor_from"], routing["hint"]["task_type"]) == (400, "hint", "code")
        assert [(one["model"], one["quality"], one["fell"]) for one in routing["candidates"]] == [("sim", 500, None)]
        assert "sim-tokens-5" not in str(receipt)


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
