"""Many clients ask targets whose models fail and come late, until the caps above them leave nothing for another one.

Afterwards the ledger is replayed entry by entry, by what this file knows of accounts and caps: no hold took any of them
above its limit, each counts what its own models cost, nothing was refused that fitted, and what is too full for another
request is used up. Every call of the providers was of an attempt that was durable before it.
"""

import gc
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import apsw
import attrs
import pytest
import trio

from ainf.app import wall_clock
from ainf.exchange.attempt import Attempt
from ainf.exchange.route import Route
from ainf.exchange.run import Exchange
from ainf.inference.money import NANO_PER_USD, format_usd
from ainf.routing.observed import LEAST_LATENCIES
from ainf.store import balances, caps
from ainf.store.base import AttemptOpened, AttemptOpening, Extended, Extension
from ainf.store.beside import path_of
from ainf.store.sqlite import connect
from tests.extent import FULL, SEED
from tests.gateway.fickle import CONFIG, LEAST_TOKENS, MODELS, TOKENS, FickleSimulator
from tests.gateway.live import Live, live
from tests.gateway.live_client import Answer, RawClient, eventually
from tests.gateway.spenders import ENTRIES, LINES, Calls, Replay, Spenders, key_of

AGENTS, CLIENTS_OF_EACH, ANSWERS_OF_EACH = (20, 20, 80) if FULL else (10, 15, 16)
AT_ONCE = 100
"""Exchanges that run at the busiest moment, at least; some clients are refused at once, or done by then."""
LEAVES = 0.12
"""How many of the streams are left by their client."""
PATIENT = "wait_s = 60"
"""So many openings at once may wait longer than usual for the store of a busy machine; that refuses no money."""
WOKEN, LOOKS_S = 1, 0.1
USUAL_MS = 300
UNADMITTED = "SELECT status, count(*) FROM routing_outcomes WHERE inference_id IS NULL GROUP BY status"


@attrs.frozen
class Manner:
    """What a client asks for, and which model is asked first for it."""

    requested: str
    first: str
    hint: Mapping[str, Any] | None = None

    @property
    def fields(self) -> dict[str, Any]:
        return {} if self.hint is None else {"routing_hint": dict(self.hint)}


MANNERS: Final = (
    Manner("ainf-inference", "small-a"),
    Manner("crew", "large-a"),
    Manner("ainf-auto", "large-a", {"min_quality": "frontier"}),
    Manner("crew-now", "small-a", {"min_quality": 0.5, "task_type": "code"}),
    Manner("small-b", "small-b"),
)


@attrs.frozen
class Refusal:
    """Money that the ledger did not give, and between which of its entries that was decided."""

    key_id: str
    model: str
    least_nusd: int
    """What it would at least have been given, if it had fitted."""
    after_seq: int
    before_seq: int
    pattern: str
    """Of the models that what refused it is for."""
    inference_id: str = ""
    """The exchange, where it ran."""
    ended: tuple[tuple[int, int], ...] = ()
    """Attempts, by number, that were to be held for at their cost from then on."""
    is_more: bool = False
    """Whether it was more for an attempt that ran, or all that one may need that was to run beside another."""


@attrs.define
class Watch:
    """Looks into the books before and after each question to the ledger, and notes what that refuses."""

    books: apsw.Connection
    refusals: list[Refusal] = attrs.field(factory=list)

    def look(self) -> tuple[int, bool]:
        """The newest entry, and whether anything is held."""
        newest = "SELECT (SELECT coalesce(max(seq), 0) FROM entries), EXISTS (SELECT 1 FROM holds)"
        seq, is_held = self.books.execute(newest).fetchone()
        return seq, bool(is_held)

    def key_of(self, inference_id: str) -> str:
        """Return the id of the key that an exchange is of."""
        sql = "SELECT key_id FROM inferences WHERE inference_id = ?"
        (key_id,) = self.books.execute(sql, (inference_id,)).fetchone()
        return str(key_id)

    def listen(self, here: Live) -> None:
        """Note what running exchanges are refused."""
        store = here.running.store
        open_attempt, extend_hold = store.open_attempt, store.extend_hold

        async def opening(asked: AttemptOpening) -> AttemptOpened:
            after, _ = self.look()
            opened = await open_attempt(asked)
            if opened.held_nusd is None and opened.refused_by is not None:
                ended = tuple((ended.number, ended.cost_nusd) for ended in asked.ended)
                self.refusals.append(
                    Refusal(
                        self.key_of(asked.inference_id), asked.attempt.model, asked.ask.least_nusd + asked.spare_nusd,
                        after, self.look()[0], opened.refused_by.model, asked.inference_id, ended,
                        is_more=asked.ask.min_tokens > LEAST_TOKENS,
                    )
                )  # fmt: skip
            return opened

        async def extending(asked: Extension) -> Extended:
            after, _ = self.look()
            extended = await extend_hold(asked)
            if extended.refused_by is not None:
                model = "SELECT model FROM opened_attempts WHERE inference_id = ? AND number = ?"
                (called,) = self.books.execute(model, (asked.inference_id, asked.attempt)).fetchone()
                least = extended.granted_nusd + 1 if extended.granted_nusd else asked.least_nusd
                self.refusals.append(
                    Refusal(
                        self.key_of(asked.inference_id), called, least, after, self.look()[0],
                        extended.refused_by.model, asked.inference_id, is_more=True,
                    )
                )  # fmt: skip
            return extended

        store.open_attempt, store.extend_hold = opening, extending


@attrs.define
class Crowd:
    """The clients: each asks again and again, and waits for another's end where it is refused.

    One that is refused while nothing at all is held is refused for good.
    """

    here: Live
    chance: random.Random
    watch: Watch
    most_running: int = 0
    answers: Counter = attrs.field(factory=Counter)
    waiting: list[trio.Event] = attrs.field(factory=list)

    async def run(self, keys: Mapping[str, str]) -> None:
        """Ask with all keys, by agent, until everybody is refused for good."""
        async with trio.open_nursery() as background:
            background.start_soon(self.wake_the_last)
            async with trio.open_nursery() as nursery:
                for agent, key in keys.items():
                    for number in range(CLIENTS_OF_EACH):
                        nursery.start_soon(self.client, agent, key, MANNERS[number % len(MANNERS)])
            background.cancel_scope.cancel()

    async def client(self, agent: str, key: str, manner: Manner) -> None:
        while True:
            after, was_held = self.watch.look()
            self.most_running = max(self.most_running, len(self.here.running.gateway.inflight))
            status, taken = await self.ask(key, manner)
            before, is_held = self.watch.look()
            self.answers[f"{status} {'pinned' if manner.first == manner.requested else 'routed'}"] += 1
            if status != 402:
                self.wake(WOKEN)
            if status != 402 or taken is None:
                continue
            assert taken.headers["x-should-retry"] == "false"
            cap = json.loads(taken.body)["error"]["cap"]
            needs = int(Decimal(cap["needs"]) * NANO_PER_USD)
            self.watch.refusals.append(Refusal(key_of(agent), manner.first, needs, after, before, cap["model"]))
            if before == after and not was_held:
                return
            if is_held:
                self.waiting.append(event := trio.Event())
                await event.wait()

    async def ask(self, key: str, manner: Manner) -> tuple[int, Answer | None]:
        """Ask, and return the status and the answer; None where it was left before its end."""
        stream = self.chance.random() < 0.75
        client = await self.here.start(manner.requested, stream=stream, key=key, max_tokens=TOKENS, **manner.fields)
        if stream and self.chance.random() < LEAVES:
            return await leave(client, self.chance.choice((b"\r\n", b'content":"'))), None
        taken = await client.take()
        return taken.status, taken

    async def wake_the_last(self) -> None:
        """Wake all where nothing runs any more: they are refused for good, or one has been given back what fits."""
        while True:
            await trio.sleep(LOOKS_S)
            if not self.watch.look()[1]:
                self.wake(len(self.waiting))

    def wake(self, count: int) -> None:
        for _ in range(min(count, len(self.waiting))):
            self.waiting.pop(self.chance.randrange(len(self.waiting))).set()


async def leave(client: RawClient, mark: bytes) -> int:
    """Close the connection once it has brought a mark, or its end; return the status of the answer."""
    while mark not in client.raw and (data := await client.stream.receive_some(65536)):
        client.raw += data
    await client.close()
    return int(client.raw[9:12])


def expect_answers(here: Live) -> None:
    """Let it be known how soon the models usually begin, as after many answers: later ones are hedged."""
    for model in MODELS.values():
        for _ in range(LEAST_LATENCIES):
            here.running.gateway.services.health.observed(model.provider, model.name).note_latency(USUAL_MS)


def running_tasks(task: trio.lowlevel.Task) -> Iterator[str]:
    """The names of all tasks of exchanges below one."""
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            if ".exchange." in child.name and "keep_" not in child.name:
                yield child.name
            yield from running_tasks(child)


def in_memory() -> list[object]:
    gc.collect()
    return [found for found in gc.get_objects() if isinstance(found, Exchange | Attempt | Route)]


async def check_nothing_is_left(here: Live, others: list[object]) -> None:
    """No exchange, no task of one, no call at a provider, and nothing of them in memory but what others left there."""
    assert [line for line in here.log.getvalue().splitlines() if '"defect"' in line] == []
    with trio.fail_after(10):
        await eventually(lambda: not here.running.gateway.inflight)
        await eventually(lambda: all(entry.ended_at is not None for entry in here.simulator.books.entries))
    root = trio.lowlevel.current_root_task()
    assert root is not None
    assert [name for name in running_tasks(root) if "SharedExchanges" not in name] == []
    assert [found for found in in_memory() if not any(found is other for other in others)] == []


async def check_calls(here: Live) -> tuple[int, int]:
    """Providers were called for what was opened, once each; return how many attempts there were, and how many calls."""
    books = here.simulator.books.entries
    calls = Counter((entry.headers["x-client-request-id"], entry.model) for entry in books)
    lines = {
        (inference_id, model): (status, cost, redials)
        for inference_id, model, status, cost, redials in await here.rows(
            "SELECT inference_id, upstream_model, status, cost_nusd, redials FROM attempts"
        )
    }
    assert calls.keys() <= lines.keys(), "a provider was called for what is not in the ledger"
    for called, (status, cost, redials) in lines.items():
        if status is None and cost == 0 and called not in calls:
            continue  # its exchange, or the other one of a race, was over before it was dialled
        assert 1 <= calls[called] <= 1 + redials
    return len(lines), calls.total()


async def check_capture(here: Live) -> Counter:
    """One outcome for each routed exchange, with the status that its ending makes; none for a pinned one."""
    plain = {
        "upstream_error": "failed",
        "client_disconnected": "cancelled",
        "spend_cap_exceeded": "capped",
        "deadline_exceeded": "timed_out",
    }
    statuses: Counter = Counter()
    rows = await here.rows(
        "SELECT i.requested_model, s.ending, e.body,"
        " (SELECT json_group_array(json_array(o.status, o.attempts, o.model)) FROM routing_outcomes AS o"
        " WHERE o.inference_id = i.inference_id),"
        " (SELECT count(*) FROM opened_attempts AS n WHERE n.inference_id = i.inference_id) FROM inferences AS i"
        " JOIN settlements AS s ON s.inference_id = i.inference_id"
        " JOIN audit_events AS e ON e.inference_id = i.inference_id AND e.kind = 'inference.closed'"
    )
    for requested, ending, body, captured, attempts in rows:
        event, outcomes = json.loads(body), json.loads(captured)
        if requested == "small-b":
            assert (outcomes, event["router"]) == ([], "direct")
            continue
        plain["completed"] = "succeeded" if event["routing"]["served"] == 1 else "fell_back"
        status = plain[ending]
        assert outcomes == [[status, attempts, event["model"]]]
        statuses[status] += 1
    return statuses


def check_refusals(spenders: Spenders, replay: Replay, refusals: list[Refusal]) -> None:
    """Whatever was refused did not fit, not even the least of it, at some moment of its decision."""
    for refusal in refusals:
        shrunk: Counter = Counter()
        for number, cost in refusal.ended:
            change = replay.held_at(refusal.inference_id, number, refusal.before_seq) - cost
            for limit in spenders.over(*replay.models[refusal.inference_id, number]):
                shrunk[limit.cap_id] += change
        limits = {limit.cap_id for limit in spenders.over(refusal.key_id, refusal.model)}
        left = {
            cap_id: replay.left(cap_id, refusal.after_seq, refusal.before_seq) + shrunk[cap_id]
            for cap_id in limits | shrunk.keys()
        }
        assert any(left[cap_id] < refusal.least_nusd * (cap_id in limits) for cap_id in left), (refusal, left)


async def totals(here: Live) -> dict[str, tuple[int, int]]:
    """What each cap and balance says that it has settled, and holds."""
    at = wall_clock()
    listed = await here.running.store.read(lambda tx: [*caps.list_caps(tx, at), *balances.list_balances(tx)])
    return {each.cap_id: (each.settled_nusd, each.held_nusd) for each in listed}


@pytest.mark.law
async def test_caps_on_models_hold_while_requests_fall_back_and_are_hedged(tmp_path, tell):
    """L6 at every entry under every cap; each counts its own models alone, and is used up where it binds."""
    tell(f"routed caps: AINF_SEED={SEED}")
    chance = random.Random(SEED)
    spenders, simulator = Spenders.drawn(chance, AGENTS, ANSWERS_OF_EACH), FickleSimulator(SEED)
    others = in_memory()
    async with live(tmp_path, store=PATIENT, simulator=simulator, after=CONFIG, within_s=400) as here:
        keys = await here.running.store.write(lambda tx: spenders.plant(tx, wall_clock()))
        books = connect(path_of(here.books), read_only=True)
        crowd, called = Crowd(here, chance, Watch(books)), Calls(books)
        simulator.on_call = called.note
        crowd.watch.listen(here)
        expect_answers(here)
        started_at = trio.current_time()
        await crowd.run(keys)
        took_s = trio.current_time() - started_at
        await check_nothing_is_left(here, others)
        attempts, calls = await check_calls(here)
        statuses = await check_capture(here)
        replay = Replay(spenders, await here.rows(ENTRIES))
        lines, settled = await here.rows(LINES), await totals(here)
        unadmitted = dict(await here.rows(UNADMITTED))
        metrics = here.running.gateway.services.telemetry.exposition().decode()
        books.close()

    assert called.undurable == []
    assert replay.passed == []
    assert settled == {cap_id: (charged, 0) for cap_id, charged in spenders.charged(lines).items()}
    for cap_id, limit in spenders.limits.items():
        assert settled[cap_id][0] <= limit.limit_nusd + replay.overrun[cap_id]
    check_refusals(spenders, replay, crowd.watch.refusals)
    assert unadmitted == {"rejected_money": crowd.answers["402 routed"]}
    used = used_up(spenders, crowd.watch.refusals, settled)
    for agent in keys:
        for manner in MANNERS:
            assert any(limit.cap_id in used for limit in spenders.over(key_of(agent), manner.first))
    hedges = [line for line in metrics.splitlines() if line.startswith("ainf_hedges_total{")]
    spent = format_usd(sum(cost for _, _, cost in lines))
    tell(
        f"{sum(statuses.values()):,} routed exchanges ({dict(statuses)}) of {len(keys)} agents, at most"
        f" {crowd.most_running} at once, {attempts:,} attempts, {calls:,} calls, {spent} USD in {took_s:.0f} s;"
        f" {dict(crowd.answers)}; {hedges}; {len(crowd.watch.refusals):,} refusals of money; {len(used)} of"
        f" {len(spenders.limits)} limits are used up, to {100 * min(used.values()):.2f} % at least; none was passed"
    )
    assert statuses.keys() >= {"succeeded", "fell_back", "failed", "cancelled", "capped"}
    assert crowd.most_running >= AT_ONCE
    assert {refusal.pattern for refusal in crowd.watch.refusals} >= {"*", "large-*"}
    assert min(used.values()) >= 0.97


def used_up(spenders: Spenders, refusals: list[Refusal], settled: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """Return the limits that leave less than the least of what was refused under them, each with its used share."""
    needs = dict.fromkeys(spenders.limits, 0)
    for refusal in refusals:
        if refusal.is_more:
            continue
        for limit in spenders.over(refusal.key_id, refusal.model):
            needs[limit.cap_id] = max(needs[limit.cap_id], refusal.least_nusd)
    return {
        cap_id: settled[cap_id][0] / limit.limit_nusd
        for cap_id, limit in spenders.limits.items()
        if limit.limit_nusd - settled[cap_id][0] < needs[cap_id]
    }
