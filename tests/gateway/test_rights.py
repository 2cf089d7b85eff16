"""What a key may do, through a whole gateway: its endpoints, its models, and its end in mid-answer by whichever way."""

from typing import Any

import pytest
import trio

from ainf.store import admin
from tests.gateway.clock import SteppedClock
from tests.gateway.dialects import DIALECTS
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.told import check_failure
from tests.gateway.world import Client, World, world

PATHS = (
    "/v1/chat/completions", "/v1/inference", "/v1/messages", "/v1/messages/count_tokens", "/v1/responses",
    "/v1/embeddings",
)  # fmt: skip
VECTORS = """
[models.vectors]
provider = "sim"
upstream_model = "sim"
kind = "embeddings"
price = { input = "1.00", output = "0" }
"""
WITHIN_S = 5
"""How long a key that has ended may still be served."""


def asked(here: World, path: str) -> Client:
    messages = [{"role": "user", "content": "Count to ten."}]
    body: dict[str, Any] = {"model": "sim", "messages": messages, "max_tokens": 50}
    if path == "/v1/responses":
        body = {"model": "sim", "input": "Count to ten."}
    elif path == "/v1/embeddings":
        body = {"model": "vectors", "input": "Count to ten."}
    elif path == "/v1/messages/count_tokens":
        del body["max_tokens"]
    return here.client(body, path=path)


@pytest.mark.threat(40)
@pytest.mark.parametrize("allowed", PATHS)
async def test_endpoints(allowed, tmp_path, autojump_clock):
    """A key for one path is served there, and refused by name on every other, which dials nothing."""
    async with world(tmp_path, "sim", after=VECTORS) as here:
        here.key = await here.new_key("agents", endpoints=(allowed,))
        for path in PATHS:
            client = await here.run(asked(here, path))
            if path == allowed:
                assert client.status == 200, client.body
            else:
                error = client.json()["error"]
                assert (client.status, error["code"]) == (403, "not_permitted")
                assert client.headers["x-should-retry"] == "false"
        assert {entry.path for entry in here.simulator.books.entries} <= {"/v1/chat/completions", "/v1/embeddings"}
        assert len(here.simulator.books.entries) <= 1
        await check_ledger(here)


@pytest.mark.threat(40)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_patterns_of_models(dialect, tmp_path, autojump_clock):
    """A key for `chat/*` asks these and lists these; of the others it learns nothing but that it has no right."""
    models = ("chat/sim", "chat/sim-tokens-5", "messages/sim", "gemini/sim")
    async with world(tmp_path, *models) as here:
        here.key = await here.new_key("agents", models=("chat/*", "gemini/sim"))
        told = {model: (await here.speak(dialect, model)).status for model in models}
        assert told == {"chat/sim": 200, "chat/sim-tokens-5": 200, "messages/sim": 403, "gemini/sim": 200}
        listed = (await here.get("/v1/models")).json()["data"]
        mine = {"chat/sim", "chat/sim-tokens-5", "gemini/sim"}
        assert {model["id"] for model in listed if model["ainf"]["kind"] == "model"} == mine
        assert all(set(model["ainf"]["models"]) == mine for model in listed if model["ainf"]["kind"] == "target")
        await check_ledger(here, admitted=3)


async def end_of_key(here: World, how: str) -> None:
    at = here.clock()
    if how == "revoked":
        await here.store.write(lambda tx: admin.revoke_key(tx, key_id="k0000001", at=at))
    elif how != "expired":
        account = {"closed": "team", "closed-above": "org"}[how]
        await here.store.write(lambda tx: admin.close_account(tx, name=account, at=at))


@pytest.mark.threat(41, "C16")
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("how", ["revoked", "expired", "closed", "closed-above"])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_a_key_that_ends_while_it_is_answered(dialect, how, stream, tmp_path, autojump_clock):
    """Revoked, expired, its account closed or one above: terminated within five seconds, settled for what came, told in
    the client's words; and it is let in no more."""
    model = f"{dialect.format}/sim-tokens-500-pace-100ms"
    async with world(tmp_path, model, clock=SteppedClock("2026-11-21T10:59:58")) as here:
        await here.new_account("org")
        await here.new_account("team", "org")
        expires_at = here.clock() + 3_500_000 if how == "expired" else None
        here.key = await here.new_key("team", expires_at=expires_at)
        client = here.client(dialect.question(model, stream=stream), path=dialect.path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(3.5)
            await end_of_key(here, how)
            began = trio.current_time()
        assert trio.current_time() - began <= WITHIN_S
        ((inference_id,),) = await here.rows("SELECT inference_id FROM inferences")
        receipt = await here.receipt(inference_id)
        assert (receipt["ending"], receipt["error_code"]) == ("terminated", "key_revoked")
        assert await check_transcript(here, client) == "terminated"
        check_failure(client, receipt, "key_revoked", in_stream=stream)
        assert (receipt["evidence"], receipt["overrun_nusd"]) == ("metered", 0)
        if stream:
            assert 35 <= receipt["usage"]["output_tokens"] <= 10 * (3.5 + WITHIN_S)
        again = await here.speak(dialect, model, stream=stream)
        assert (again.status, again.json()["error"]["code"]) == (401, "invalid_api_key")
        await check_provider(here)
        await check_ledger(here, admitted=1)
