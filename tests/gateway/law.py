"""The law, as a check over everything that is left when a test is over: database, transcripts, provider."""

from collections import Counter
from typing import Any

import trio

from ainf.inference.outcome import Ending
from ainf.store.verify import verify
from tests.gateway.world import Client, World

FAILURES = {
    Ending.UPSTREAM_ERROR, Ending.DEADLINE_EXCEEDED, Ending.SHUTDOWN, Ending.TERMINATED, Ending.INTERNAL_ERROR,
}  # fmt: skip

_CUT_SHORT = {"length", "max_tokens", "max_output_tokens"}
"""Reasons of an answer whose limit may have been used up by what is thought and not shown."""


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
    assert findings == [], findings


async def check_provider(world: World) -> None:
    """L5 and L7: nothing was dialled that was not opened, and nothing runs on at the provider."""
    for _ in range(10):
        await trio.lowlevel.checkpoint()  # let the simulator see closes that were made this instant
    running = [entry for entry in world.simulator.books.entries if entry.ended_at is None]
    assert running == []
    opened = {row[0] for row in await world.rows("SELECT inference_id FROM inferences")}
    asked = {entry.headers.get("x-client-request-id") for entry in world.simulator.books.entries if entry.model_ran}
    assert asked <= opened
    calls = Counter(entry.headers.get("x-client-request-id") for entry in world.simulator.books.entries)
    later = dict(await world.rows("SELECT inference_id, count(*) FROM later_attempts GROUP BY inference_id"))
    assert not [id_ for id_ in opened if calls[id_] > 1 + later.get(id_, 0)], "an attempt was dialled and not opened"


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
    said = client.said()
    assert (said.terminals, said.ends_with_terminal) == (1, True)
    if Ending(receipt["ending"]) in FAILURES:
        assert said.reason in {"error", "failed", None}
        assert said.error is not None
        _check_error(said.error, receipt)
        assert not (said.error["retryable"] and _billed(receipt))
    elif said.error is not None and receipt["ending"] == Ending.SPEND_CAP_EXCEEDED:  # told loudly
        assert said.reason in {client.dialect.cap_reason, "failed"}
        _check_error(said.error, receipt)
        assert not said.error["retryable"]
    else:
        assert said.error is None
        assert said.reason not in {"error", "failed", None}
        _check_reason(client, said.reason, receipt)


def _check_whole_end(client: Client, receipt: dict[str, Any]) -> None:
    if Ending(receipt["ending"]) in FAILURES or client.status != 200:
        assert client.status is not None
        assert client.status >= 400
        _check_error(client.json()["error"], receipt)
        assert not (client.headers["x-should-retry"] == "true" and _billed(receipt))
        return
    said = client.said()
    _check_reason(client, said.reason, receipt)
    is_cut_short = receipt["ending"] == Ending.SPEND_CAP_EXCEEDED or said.reason in _CUT_SHORT
    assert said.text or said.calls or said.refusal or said.reasoning or is_cut_short, "an empty success"


def _check_error(error: dict[str, Any], receipt: dict[str, Any]) -> None:
    assert error["code"] in {receipt["error_code"], "insufficient_quota"}


def _check_reason(client: Client, reason: str | None, receipt: dict[str, Any]) -> None:
    """What the client was told is what the records say, in the client's words where the provider's are others."""
    if receipt["ending"] == Ending.SPEND_CAP_EXCEEDED:
        loud = {"failed"} if client.dialect.format == "responses" else set()
        assert reason in {client.dialect.cap_reason, client.dialect.strict_reason, *loud}
    elif client.dialect.format == "chat" and receipt["provider"] == "sim":
        assert reason == receipt["finish_reason"]
    else:
        assert reason


def _billed(receipt: dict[str, Any]) -> int:
    return receipt["settled_nusd"] + receipt["overrun_nusd"]
