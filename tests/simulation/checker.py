"""What must hold behind every seed: the law over the whole database, every transcript, and the providers' books."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import attrs

from ainf.inference.outcome import Ending
from ainf.store.receipts import receipt
from ainf.store.transaction import Transaction
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.simulation.clients import SimulatedClient
from tests.simulation.settings import SECRET

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

_NO_ANSWERS: Final = ("/v1/messages/count_tokens", "/v1/embeddings")
_STORE_FAULTS: Final = frozenset({
    "nothing can be written",
    "the store refuses",
    "the store is full",
    "the store is slow",
    "the store breaks",
})
_REASONS_TO_CUT: Final = _STORE_FAULTS | {"interrupt", "freeze"}
_REASONS_TO_HOLD_NOTHING: Final = _STORE_FAULTS | {"freeze"}
"""A process that is stopped in a transaction keeps all others from theirs."""
_LINES: Final = """
    SELECT inference_id, number, provider_request_id, evidence, usage FROM attempts
    WHERE provider_request_id IS NOT NULL ORDER BY inference_id, number
"""
_OVERRUNS: Final = """
    SELECT inference_id, overrun_nusd FROM settlements WHERE overrun_nusd > 0 AND ending = 'completed'
"""
"""Of what was broken off, that counts too which was read and not handed over yet."""
_EXCESSIVE: Final = ("unlimited", "endless", "-usage-", "broken-json")
_CALLED: Final = """
    SELECT inference_id, upstream_model FROM inferences
    UNION ALL SELECT inference_id, upstream_model FROM later_attempts
"""
_ABANDONED: Final = "SELECT inference_id FROM settlements WHERE ending = 'abandoned'"
_OWN_DEADLINE: Final = b"the answer was there; it goes on, ask again for it."
"""Told to one of several that bear an idempotency key."""
MUST_BE_ZERO: Final = (
    "ainf_dispatch_without_capture_total", "ainf_passthrough_captured_total", "ainf_unevidenced_total",
    "ainf_spool_lost_total",
)  # fmt: skip


@attrs.frozen
class Evidence:
    """What is left of a world, as the law's checks want it."""

    world: "World"

    @property
    def store(self) -> "Evidence":
        return self

    @property
    def simulator(self) -> Any:
        return self.world.simulator

    async def read(self, operation: Any) -> Any:
        return self.world.database.read(operation)

    async def rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        return self.world.database.rows(sql, *params)

    async def receipt(self, inference_id: str) -> dict[str, Any]:
        def read(tx: Transaction) -> dict[str, Any] | None:
            return receipt(tx, inference_id)

        found = self.world.database.read(read)
        assert found is not None, f"a client saw {inference_id}, which no record knows"
        return found


async def check(world: "World") -> None:
    """Check all of it."""
    evidence = Evidence(world)
    await check_ledger(evidence)
    await check_provider(evidence)
    for process in world.processes:
        _check_process(process)
    deeds = _deeds(world)
    if not deeds & _STORE_FAULTS:
        left = [process.left_open for process in world.processes if process.left_open]
        assert not left, f"processes that ended in good order left exchanges open: {left}"
    if not deeds & _REASONS_TO_HOLD_NOTHING:
        _check_overruns(world)
    _check_calls(world)
    _check_lines(world)
    abandoned = {row[0] for row in world.database.rows(_ABANDONED)}
    for client in world.clients:
        try:
            await _check_client(world, evidence, client, abandoned)
        except Exception as error:
            raise AssertionError(f"{client.name}, {client.scope['path']}: {error!r}") from error


def check_idle(process: "Process") -> None:
    """Nothing of a gateway runs, every place of a connection is free, and no model waits for a probe that ended."""
    assert process.running is not None
    gateway = process.running.gateway
    assert len(gateway.inflight) == 0
    assert len(gateway.shared) == 0
    for backend in gateway.backends.values():
        for lane in backend.client.pool._lanes.values():
            assert lane.places.value == lane.places.max_value, "a connection's place is not free"
    breakers = gateway.services.health._breakers._breakers
    assert not [names for names, breaker in breakers.items() if breaker._is_probed], "a probe that never ended"


def _check_process(process: "Process") -> None:
    defects = [line for line in process.log.splitlines() if '"defect"' in line]
    assert not defects, defects[0]
    assert SECRET not in process.log
    samples = process.samples()
    assert {name: samples.get(name, 0.0) for name in MUST_BE_ZERO} == dict.fromkeys(MUST_BE_ZERO, 0.0)


def _check_calls(world: "World") -> None:
    """L5: each call of a provider is one that was opened, for the model that was opened."""
    opened = set(world.database.rows(_CALLED))
    for entry in world.simulator.books.entries:
        if entry.model_ran:
            called = (entry.headers.get("x-client-request-id"), entry.model)
            assert called in opened, f"call {entry.number} was dialled and not opened: {called}"


def _check_lines(world: "World") -> None:
    """What is settled as reported is what the provider's own books bill, where it does not lie."""
    entries = {f"req_sim_{entry.number:08d}": entry for entry in world.simulator.books.entries}
    for inference_id, number, request_id, evidence, usage_json in world.database.rows(_LINES):
        entry = entries[request_id]
        assert entry.headers.get("x-client-request-id") == inference_id
        mood = world.simulator.behaved.get(entry.number, "")
        if evidence != "reported" or "-usage-" in mood or not entry.finish_sent:
            continue
        usage = json.loads(usage_json)
        told = (usage["input_tokens"], usage["output_tokens"])
        billed = (entry.billed_input_tokens, entry.billed_output_tokens)
        assert told == billed, f"{inference_id} attempt {number} ({mood}): settled {told}, billed {billed}"


def _check_overruns(world: "World") -> None:
    """L6: more than what was held is charged only where a provider made, or said, more than it was allowed.

    While the store is away nothing can be held for what comes with an answer's end, which is handed over all the same.
    """
    calls: dict[str | None, list[str]] = {}
    for entry in world.simulator.books.entries:
        calls.setdefault(entry.headers.get("x-client-request-id"), []).append(
            world.simulator.behaved.get(entry.number, "")
        )
    for inference_id, overrun_nusd in world.database.rows(_OVERRUNS):
        moods = calls.get(inference_id, [])
        is_excessive = any(word in mood for mood in moods for word in _EXCESSIVE)
        assert is_excessive, f"{inference_id} was charged {overrun_nusd} beyond its hold by {moods}"


def _deeds(world: "World") -> set[str]:
    return {event.deed for event in world.scenario.events}


async def _check_client(world: "World", evidence: Evidence, client: SimulatedClient, abandoned: set[str]) -> None:
    inference_id = client.headers.get("x-ainf-inference-id")
    if inference_id is None and client.status == 200:
        return  # it only read, or had tokens counted here
    stayed = not (client.gone or client.was_cut)
    if stayed and not client.ended:
        assert client.aborted, "a request's task ended without an answer"
        assert _may_abort(world, client), "the connection was closed without a terminal frame"
    if inference_id in abandoned and client.ended and _OWN_DEADLINE not in client.body:
        # Its process was taken for dead: what it found when it woke, an adjustment knows, and who has the key is told.
        own = world.processes if "x-ainf-idempotent-replay" in client.headers else [client.process]
        assert any(process.may_be_fenced for process in own), "it saw its end, and the records know nothing of it"
        return
    if client.scope["path"] in _NO_ANSWERS:
        await _check_whole(evidence, client)
    elif _OWN_DEADLINE in client.body:
        assert not client.is_streamed or client.said().terminals == 1, "its own deadline ended it"
        return
    else:
        await check_transcript(evidence, client)
    _check_looked(client)


def _check_looked(client: SimulatedClient) -> None:
    """L4: who saw the end can read the receipt at once."""
    looked = client.looked
    if looked is None or looked.status is None or not looked.ended:
        return
    if looked.status == 200:
        assert looked.json()["state"] == "settled", looked.json()
    else:
        assert looked.status in {401, 503}, looked.status


def _may_abort(world: "World", client: SimulatedClient) -> bool:
    """Whether there was a reason to close the connection of a client that was there."""
    if client.was_stopped and client.status is None:
        return True  # it came too late to be an exchange; one that is has a status to be told
    is_shared = "idempotency-key" in dict(client.asking.headers)
    return bool(_deeds(world) & _REASONS_TO_CUT) or is_shared or client.asking.manner.is_slow


async def _check_whole(evidence: Evidence, client: SimulatedClient) -> None:
    """The law for what has no terminal frame: one answer or one error, and what it says is what was settled."""
    assert not client.said_after_end
    if "x-ainf-inference-id" not in client.headers or not client.ended:
        return
    told = await evidence.receipt(client.inference_id)
    assert told["state"] == "settled"
    assert (client.status == 200) == (told["ending"] == Ending.COMPLETED), (client.status, told["ending"])


def books_of(world: "World") -> Iterator[str]:
    """Yield what the providers' books have, for the digest."""
    for entry in world.simulator.books.entries:
        yield (
            f"{entry.number} {entry.received_at:.6f} {entry.path} {entry.model} {entry.status} {entry.end}"
            f" {entry.billed_input_tokens} {entry.billed_output_tokens} {entry.wire_bytes}"
        )
