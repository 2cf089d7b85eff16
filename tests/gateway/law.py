"""The law, as a check over everything that is left when a test is over: database, transcripts, provider."""

import json
from typing import Any

import trio

from ainf.inference.outcome import Ending
from ainf.store.verify import verify
from tests.gateway.world import Client, World

FAILURES = {
    Ending.UPSTREAM_ERROR, Ending.DEADLINE_EXCEEDED, Ending.SHUTDOWN, Ending.TERMINATED, Ending.INTERNAL_ERROR,
}  # fmt: skip


async def check_ledger(world: World, *, admitted: int | None = None) -> None:
    """L1, L2, L6 and the ledger's own invariants, over the whole database."""
    ((inferences, settlements, events, holds),) = await world.rows(
        "SELECT (SELECT count(*) FROM inferences), (SELECT count(*) FROM settlements),"
        " (SELECT count(*) FROM audit_events WHERE kind = 'inference.closed'), (SELECT count(*) FROM holds)"
    )
    assert (settlements, events, holds) == (inferences, inferences, 0)
    if admitted is not None:
        assert inferences == admitted
    findings = await world.store.read(verify)
    assert findings == []


async def check_provider(world: World) -> None:
    """L5 and L7: nothing was dialled that was not opened, and nothing runs on at the provider."""
    for _ in range(10):
        await trio.lowlevel.checkpoint()  # let the simulator see closes that were made this instant
    running = [entry for entry in world.simulator.books.entries if entry.ended_at is None]
    assert running == []
    opened = {row[0] for row in await world.rows("SELECT inference_id FROM inferences")}
    asked = {entry.headers.get("x-client-request-id") for entry in world.simulator.books.entries if entry.model_ran}
    assert asked <= opened


async def check_transcript(world: World, client: Client) -> Ending | None:
    """L3, L4 and L8 for one client; return how its exchange ended, None where it was not admitted."""
    assert not client.said_after_end
    inference_id = client.headers.get("x-ainf-inference-id")
    if inference_id is None:
        _check_refusal(client)
        return None
    receipt = await world.receipt(inference_id)
    ending = Ending(receipt["ending"]) if receipt["state"] == "settled" else None
    if client.gone or client.aborted:
        assert not client.ended or ending is not None  # what it saw as an end was settled first
        return ending
    assert ending is not None, "an answer ended before its settlement"
    assert client.ended
    assert ending is not Ending.CLIENT_DISCONNECTED
    if client.headers["content-type"].startswith("text/event-stream"):
        _check_stream_end(client, receipt)
    else:
        _check_whole_end(client, receipt)
    return ending


def _check_refusal(client: Client) -> None:
    if client.gone or client.aborted or client.status is None:
        return
    assert client.status >= 400
    assert client.ended
    assert client.headers["x-should-retry"] in {"true", "false"}
    assert client.json()["error"]["code"]


def _check_stream_end(client: Client, receipt: dict[str, Any]) -> None:
    payloads = client.payloads()
    assert payloads.count(b"[DONE]") == 1
    assert payloads[-1] == b"[DONE]"
    reasons = client.finish_reasons()
    assert len(reasons) == 1, reasons
    ending = Ending(receipt["ending"])
    errors = [chunk["error"] for chunk in client.chunks() if chunk.get("error")]
    if ending in FAILURES:
        assert reasons == ["error"]
        assert len(errors) == 1
        assert errors[0]["code"] == receipt["error_code"]
        billed = receipt["settled_nusd"] + receipt["overrun_nusd"]
        assert not (errors[0]["retryable"] and billed)
    else:
        assert errors == []
        assert reasons == [receipt["finish_reason"]]
        assert reasons != ["error"]


def _check_whole_end(client: Client, receipt: dict[str, Any]) -> None:
    answer = json.loads(client.body)
    ending = Ending(receipt["ending"])
    if ending in FAILURES or client.status != 200:
        assert client.status is not None
        assert client.status >= 400
        assert answer["error"]["code"] in {receipt["error_code"], "insufficient_quota"}
        billed = receipt["settled_nusd"] + receipt["overrun_nusd"]
        assert not (client.headers["x-should-retry"] == "true" and billed)
    else:
        (choice,) = answer["choices"]
        assert choice["finish_reason"] == receipt["finish_reason"]
        message = choice["message"]
        assert message.get("content") or message.get("tool_calls") or message.get("refusal"), "an empty success"
