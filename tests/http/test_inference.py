"""The routes that run exchanges: refusals before one, and what the audit trail is told of them."""

import json

import pytest
import trio

from tests.gateway.law import check_ledger, check_transcript
from tests.gateway.world import Client, question, world


async def rejections(here) -> list[dict]:
    await here.ask()  # what was noted is written with the next commit
    rows = await here.rows("SELECT body FROM audit_events WHERE kind = 'rejected' ORDER BY seq")
    return [json.loads(body) for (body,) in rows]


async def test_a_known_keys_refusals_are_audited_folded(tmp_path, autojump_clock):
    """A burst of the same refusal is few events with a count; a stranger's is none; both are counted as metrics."""
    async with world(tmp_path, "sim") as here:
        for _ in range(20):
            await here.ask("unknown")
        for _ in range(5):
            await here.run(Client("/v1/chat/completions", b"{}", {"content-type": "application/json"}))
        events = await rejections(here)
        assert {event["code"] for event in events} == {"model_not_found"}
        assert {event["key_id"] for event in events} == {here.key_id}
        assert sum(event.get("count", 1) for event in events) == 20
        assert len(events) < 20
        text = here.telemetry.exposition().decode()
        assert 'ainf_rejections_total{code="model_not_found"} 20.0' in text
        assert 'ainf_rejections_total{code="invalid_api_key"} 5.0' in text
        await check_ledger(here, admitted=1)


@pytest.mark.threat(34, "C6")
async def test_the_credential_is_checked_before_the_body(tmp_path, autojump_clock):
    """A stranger's body is not parsed, whatever it is."""
    async with world(tmp_path, "sim") as here:
        client = await here.run(Client("/v1/chat/completions", b"\xff{", {"content-type": "text/html"}))
        assert client.status == 401


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON ;x=y"])
async def test_json_by_any_spelling(kind, tmp_path, autojump_clock):
    """Case and parameters of the media type do not matter."""
    async with world(tmp_path, "sim") as here:
        client = await here.run(here.client(question("sim"), content_type=kind))
        assert client.status == 200


async def test_a_body_that_comes_in_after_the_drain_began(tmp_path, autojump_clock):
    """Who was let in before the drain and sends the body after it is not admitted."""
    async with world(tmp_path, "sim") as here:
        client = here.client(question("sim"))
        receive = client.receive

        async def slowly():
            await trio.sleep(3)
            return await receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.app, client.scope, slowly, client.send)
            await trio.sleep(1)
            here.gateway.draining = True
        assert client.json()["error"]["code"] == "shutting_down"
        await check_ledger(here, admitted=0)


async def test_a_client_that_leaves_before_its_body_is_there(tmp_path, autojump_clock):
    """Nothing is opened, nothing is said, nothing stays behind."""
    async with world(tmp_path, "sim") as here:
        client = here.client(question("sim"))

        async def receive():
            if client._unsent:
                client._unsent.clear()
                return {"type": "http.request", "body": b'{"model"', "more_body": True}
            await trio.sleep(1)
            client.leave()
            return {"type": "http.disconnect"}

        await here.app(client.scope, receive, client.send)
        assert client.status is None
        assert len(here.gateway.inflight) == 0
        await check_ledger(here, admitted=0)


async def test_a_refused_opening_leaves_nothing_running(tmp_path, autojump_clock):
    """402 goes out, the exchange is forgotten, and the next one runs."""
    async with world(tmp_path, "sim") as here:
        await here.set_cap(1)
        client = await here.ask()
        assert client.status == 402
        assert "ainf-inference" not in " ".join(client.headers)
        assert len(here.gateway.inflight) == 0
        await here.set_cap(10**12)
        assert await check_transcript(here, await here.ask()) == "completed"


async def test_a_client_that_leaves_while_it_is_refused(tmp_path, autojump_clock):
    """A refusal to nobody is no error."""
    async with world(tmp_path, "sim") as here:
        await here.set_cap(1)
        client = here.client(question("sim"))
        opened = here.store.open_inference

        async def open_inference(opening):
            client.leave()
            await trio.sleep(1)
            return await opened(opening)

        here.store.open_inference = open_inference
        await here.run(client)
        assert client.status is None
        assert '"defect"' not in here.log.getvalue()
        await check_ledger(here, admitted=0)
