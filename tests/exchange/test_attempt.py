"""One call to a provider, and its line in the ledger."""

import pytest
import trio

from ainf.simulator import Stall, chunk, head, last_chunk, whole
from ainf.simulator.steps import Script
from tests.gateway.world import SimulatedWire, question, world

END = (
    b'data: {"id":"chatcmpl-1","model":"m-2026",'
    b'"choices":[{"index":0,"delta":{"content":"abcd"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8}}\n\ndata: [DONE]\n\n'
)


async def attempt_of(here) -> dict:
    ((inference_id,),) = await here.rows("SELECT inference_id FROM inferences")
    (line,) = (await here.receipt(inference_id))["attempts"]
    return line


async def test_its_line_has_all_that_cannot_be_had_later(tmp_path, autojump_clock):
    """Status, the provider's ids, its own finish reason, both model names, usage, price version, times."""
    async with world(tmp_path, "sim", more='upstream_model = "real-name"') as here:
        fields = {"content-type": "text/event-stream", "transfer-encoding": "chunked", "x-request-id": "r" * 500}
        here.simulator.set_script(Script([head(200, fields), chunk(END), last_chunk()]))
        await here.ask()
        line = await attempt_of(here)
        assert (line["model"], line["upstream_model"], line["provider"]) == ("sim", "real-name", "sim")
        assert (line["status"], line["response_id"], line["raw_finish_reason"]) == (200, "chatcmpl-1", "stop")
        assert line["provider_request_id"] == "r" * 200
        assert line["usage"]["input_tokens"] == 7
        assert line["cost_nusd"] == 7 * 1000 + 2000
        assert line["started_at"] <= line["ended_at"]
        assert line["error_code"] is None
        assert here.simulator.books.entries[0].model == "real-name"


async def test_the_credential_goes_to_the_provider_and_nowhere_else(tmp_path, autojump_clock, monkeypatch):
    """The configured key is sent, not the client's."""
    sent = b""
    send = SimulatedWire.send_all

    async def send_all(self: SimulatedWire, data: bytes) -> None:
        nonlocal sent
        sent += data
        await send(self, data)

    monkeypatch.setattr(SimulatedWire, "send_all", send_all)
    async with world(tmp_path, "sim") as here:
        client = await here.ask()
        assert b"authorization: Bearer sk-canary-provider-secret\r\n" in sent
        assert here.key.encode() not in sent
        assert f"x-client-request-id: {client.inference_id}".encode() in sent.lower()


@pytest.mark.parametrize("status", [201, 202, 206, 301, 304, 400, 401, 404, 418, 429, 500, 529])
async def test_only_200_is_an_answer(status, tmp_path, autojump_clock):
    """Every other status is a refusal that costs nothing; its status and code are in the line."""
    async with world(tmp_path, "sim") as here:
        here.simulator.set_script(Script([whole(status, "application/json", b"{}")]))
        client = await here.ask()
        line = await attempt_of(here)
        assert client.status is not None
        assert client.status >= 400
        assert line["status"] == status
        assert line["error_code"] == client.json()["error"]["code"]
        assert line["cost_nusd"] == 0


async def test_a_whole_answer_that_stood_in_the_socket_counts(tmp_path, autojump_clock, monkeypatch):
    """A client that leaves as the whole answer arrives is charged what the provider reports in it."""
    body = (
        b'{"id":"c","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"abcd"},'
        b'"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}'
    )
    async with world(tmp_path, "sim") as here:
        here.simulator.set_script(Script([whole(200, "application/json", body)]))
        client = here.client(question("sim", stream=False))
        receive = SimulatedWire.receive_some

        async def receive_late(self: SimulatedWire, max_bytes: int) -> bytes:
            await trio.sleep(1)  # all of it is there by now, and nothing is read
            client.leave()
            return await receive(self, max_bytes)

        monkeypatch.setattr(SimulatedWire, "receive_some", receive_late)
        await here.run(client)
        line = await attempt_of(here)
        assert (line["status"], line["evidence"], line["raw_finish_reason"]) == (200, "reported", "stop")
        assert line["cost_nusd"] == 7 * 1000 + 3 * 2000


async def test_a_head_that_stood_in_the_socket_counts(tmp_path, autojump_clock, monkeypatch):
    """A client that leaves as the provider's 200 arrives: the provider had taken it on, so its input is charged."""
    async with world(tmp_path, "sim") as here:
        here.simulator.set_script(Script([head(), Stall()]))
        client = here.client(question("sim"))
        receive = SimulatedWire.receive_some

        async def receive_late(self: SimulatedWire, max_bytes: int) -> bytes:
            await trio.sleep(1)  # the head is there by now, and not yet read
            client.leave()
            return await receive(self, max_bytes)

        monkeypatch.setattr(SimulatedWire, "receive_some", receive_late)
        await here.run(client)
        line = await attempt_of(here)
        assert line["status"] == 200
        assert line["cost_nusd"] > 0
