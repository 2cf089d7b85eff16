"""What is kept of a routed request, wherever it is kept: one outcome, one decision, and what the closing event says."""

import json
from typing import Any, Final

import attrs

from ainf.inference.outcome import Ending
from tests.gateway.candidates import counter
from tests.gateway.dialects import CHAT, MESSAGES, RESPONSES, Dialect
from tests.gateway.law import check_ledger, check_provider
from tests.gateway.world import Client, World

BUILT_IN: Final = ("ainf-inference", "ainf-mithril", "ainf-auto", "ainf/auto")
OWN: Final = ("team-fast", "fast")
NAMES: Final = {**dict.fromkeys(BUILT_IN, BUILT_IN[0]), **dict.fromkeys(OWN, OWN[0])}
"""Every name of the targets here, with the canonical one."""
OWN_TARGET: Final = f'[targets.{OWN[0]}]\naliases = ["{OWN[1]}"]\n'

_OUTCOME: Final = (
    "inference_id", "status", "code", "requested_model", "target", "key_id", "path", "stream", "model", "attempts",
    "decision",
)  # fmt: skip


@attrs.frozen
class Surface:
    """A path on which answers are generated, and what is spoken there."""

    path: str
    dialect: Dialect

    def client(
        self, here: World, model: str, *, stream: bool, headers: dict[str, str] | None = None, **fields: Any
    ) -> Client:
        """A client that asks there."""
        return here.client(self.dialect.question(model, stream=stream, **fields), path=self.path, **headers or {})


SURFACES: Final = (
    Surface("/v1/chat/completions", CHAT),
    Surface("/v1/inference", CHAT),
    Surface("/v1/messages", MESSAGES),
    Surface("/v1/responses", RESPONSES),
)


async def outcomes(here: World) -> list[dict[str, Any]]:
    """All rows of outcomes, the oldest first."""
    rows = await here.rows(f"SELECT {', '.join(_OUTCOME)} FROM routing_outcomes ORDER BY outcome_id")
    return [dict(zip(_OUTCOME, row, strict=True)) for row in rows]


async def check_captured(here: World, inference_id: str, requested: str, status: str) -> dict[str, Any]:
    """A routed exchange has one outcome, one decision, and a closing event that says so; return the receipt."""
    target = NAMES[requested]
    ((key_id, path, stream),) = await here.rows(
        "SELECT key_id, path, stream FROM inferences WHERE inference_id = ?", inference_id
    )
    (outcome,) = [row for row in await outcomes(here) if row["inference_id"] == inference_id]
    assert outcome["status"] == status
    assert (outcome["requested_model"], outcome["target"]) == (requested, target)
    assert (outcome["key_id"], outcome["path"], outcome["stream"]) == (key_id, path, stream)
    ((decided,),) = await here.rows("SELECT body FROM routing_decisions WHERE inference_id = ?", inference_id)
    assert (json.loads(decided)["requested"], json.loads(decided)["target"]) == (requested, target)
    event = await closing_event(here, inference_id)
    assert (event["router"], event["routing"]["status"]) == (target, status)
    receipt = await here.receipt(inference_id)
    assert (receipt["router"], receipt["routing"]["status"]) == (target, status)
    assert receipt["error_code"] == outcome["code"]
    return receipt


async def closing_event(here: World, inference_id: str) -> dict[str, Any]:
    """The audit event that closes an exchange."""
    ((body,),) = await here.rows(
        "SELECT body FROM audit_events WHERE inference_id = ? AND kind = 'inference.closed'", inference_id
    )
    event: dict[str, Any] = json.loads(body)
    return event


async def check_direct(here: World, client: Client) -> None:
    """The exchange of a pinned model is nowhere recorded as routed, and its event, receipt and head say so."""
    assert client.headers["x-ainf-router"] == "direct"
    assert "x-ainf-routing-preference" not in client.headers
    event, receipt = await closing_event(here, client.inference_id), await here.receipt(client.inference_id)
    assert (event["router"], receipt["router"]) == ("direct", "direct")
    assert "routing" not in event
    assert receipt["routing"] is None


async def check_unadmitted(here: World, client: Client, requested: str, status: str) -> dict[str, Any]:
    """Of a routed request that was not admitted there is one outcome, the newest, with its decision, and an event."""
    newest = (await outcomes(here))[-1]
    assert newest["inference_id"] is None
    assert newest["status"] == status
    assert newest["code"] == client.json()["error"]["code"]
    assert (newest["requested_model"], newest["target"]) == (requested, NAMES[requested])
    assert newest["attempts"] == 0
    assert json.loads(newest["decision"])["requested"] == requested
    return newest


async def rejections(here: World) -> list[dict[str, Any]]:
    """The audit events of requests that were not admitted."""
    await here.store.write(lambda tx: None)  # what was noted is written with the next commit
    rows = await here.rows("SELECT body FROM audit_events WHERE kind = 'rejected' ORDER BY seq")
    return [json.loads(body) for (body,) in rows]


async def check_capture(here: World, *, admitted: int, alias_hits: dict[str, int], unadmitted: int = 0) -> None:
    """The law over all that was asked, and that of capture: nothing dispatched without it, nothing pinned with it."""
    await check_provider(here)
    await check_ledger(here, admitted=admitted)
    rows = await outcomes(here)
    assert sum(row["inference_id"] is None for row in rows) == unadmitted
    assert {name: counter(here, "alias_hits", alias=name) for name in NAMES} == dict.fromkeys(NAMES, 0) | alias_hits
    counted: dict[tuple[str, str], int] = {}
    for row in rows:
        counted[row["target"], row["status"]] = counted.get((row["target"], row["status"]), 0) + 1
    for (target, status), times in counted.items():
        assert counter(here, "routing_outcomes", target=target, status=status) == times
    assert counter(here, "dispatch_without_capture") == counter(here, "passthrough_captured") == 0
    assert '"defect"' not in here.log.getvalue()


_STATUSES: Final = {
    Ending.SPEND_CAP_EXCEEDED: "capped",
    Ending.CLIENT_DISCONNECTED: "cancelled",
    Ending.UPSTREAM_ERROR: "failed",
    Ending.DEADLINE_EXCEEDED: "timed_out",
    Ending.SHUTDOWN: "shut_down",
    Ending.TERMINATED: "terminated",
    Ending.INTERNAL_ERROR: "failed",
}


class Captured:
    """What one request after the other adds to what is captured."""

    def __init__(self, here: World):
        self._here = here
        self._last = 0
        self._exchanges: set[str] = set()

    async def look(self) -> None:
        """Take what there is for given."""
        ((self._last,),) = await self._here.rows("SELECT coalesce(max(outcome_id), 0) FROM routing_outcomes")
        self._exchanges = {row[0] for row in await self._here.rows("SELECT inference_id FROM inferences")}

    async def check(self, *clients: Client, is_rejected: bool = False) -> str:
        """Some requests more: each new exchange, if it was routed, has one outcome, and there are no others.

        Requests that are to be rejected have outcomes without an exchange: at most one each, at least one if any of
        them was told. Return the first outcome's status and how many attempts were opened; empty where there is none.
        """
        rows = await self._here.rows(
            "SELECT inference_id, status, attempts FROM routing_outcomes WHERE outcome_id > ? ORDER BY outcome_id",
            self._last,
        )
        admitted = {row[0] for row in await self._here.rows("SELECT inference_id FROM inferences")} - self._exchanges
        routed = {row[0] for row in await self._here.rows("SELECT inference_id FROM routing_decisions")} & admitted
        captured = [row[0] for row in rows if row[0] is not None]
        assert sorted(captured) == sorted(routed)
        unadmitted = len(rows) - len(captured)
        if is_rejected:
            told = [client for client in clients if client.status is not None and not client.gone]
            assert bool(told) <= unadmitted <= len(clients)
        else:
            assert unadmitted == 0
        for inference_id, status, _ in rows if captured else ():
            receipt = await self._here.receipt(inference_id)
            answered = "succeeded" if receipt["routing"]["served"] == 1 else "fell_back"
            assert status == _STATUSES.get(Ending(receipt["ending"]), answered)
        return f"{rows[0][1]} {rows[0][2]}" if rows else ""


def check_let_go(here: World) -> None:
    """Nothing runs, every place of a connection is free, and no model waits for a probe that has ended."""
    assert len(here.gateway.inflight) == 0
    for backend in here.gateway.backends.values():
        for lane in backend.client.pool._lanes.values():
            assert lane.places.value == lane.places.max_value
    assert not [
        names for names, breaker in here.gateway.services.health._breakers._breakers.items() if breaker._is_probed
    ]
