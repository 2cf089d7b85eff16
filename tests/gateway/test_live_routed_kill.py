"""kill -9 in the middle of many requests that fall back and are hedged: what a start makes of what was left.

An attempt that was told as ended is settled at its cost, the one that answered at its last durable progress, and every
other one at its estimated input, for it may have been called; each on the caps of its own model.
"""

import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from ainf.app import wall_clock
from ainf.store.beside import path_of, write_books
from ainf.store.sqlite import connect
from ainf.store.verify import verify
from tests.gateway.fickle import CONFIG, MODELS, TOKENS, FickleSimulator
from tests.gateway.live import check_law, config_text, unwrapped
from tests.gateway.live_client import eventually
from tests.gateway.process import Deployment
from tests.gateway.spenders import LINES, Calls, Spenders
from tests.gateway.world import question

FULL = os.environ.get("AINF_LAW") == "full"
MOMENTS, AGENTS, CLIENTS_OF_EACH = (12, 10, 15) if FULL else (2, 6, 10)
ANSWERS_OF_EACH = 400
CALLS = 80
"""Of a life: before so many it is not killed."""
PROGRESS_S = 0.1
TARGETS: Final = ("ainf-inference", "crew", "crew-now", "ainf-auto", "ainf-inference", "small-b")

_LEFT: Final = """
    SELECT o.inference_id, o.number, o.model, o.input_estimate, h.attempt, h.progress_nusd
    FROM holds AS h JOIN opened_attempts AS o ON o.inference_id = h.inference_id
"""
_TOLD: Final = "SELECT inference_id, ended FROM later_attempts"
_CHARGED: Final = """
    SELECT e.inference_id, e.attempt, sum(e.amount_nusd) FROM entries AS e
    JOIN settlements AS s ON s.inference_id = e.inference_id AND s.ending = 'abandoned'
    WHERE e.kind IN ('settle', 'overrun') GROUP BY e.inference_id, e.attempt
"""
_CAPTURED: Final = """
    SELECT s.inference_id, count(o.outcome_id), min(o.status) FROM settlements AS s
    JOIN routing_decisions AS d ON d.inference_id = s.inference_id
    LEFT JOIN routing_outcomes AS o ON o.inference_id = s.inference_id
    WHERE s.ending = 'abandoned' GROUP BY s.inference_id
"""
_COUNTED: Final = """
    SELECT c.cap_id, coalesce(n.settled_nusd, 0), coalesce(n.held_nusd, 0)
    FROM caps AS c LEFT JOIN counters AS n ON n.cap_id = c.cap_id
"""


@asynccontextmanager
async def deployed(
    folder: Path, simulator: FickleSimulator, spenders: Spenders
) -> AsyncIterator[tuple[Deployment, list[str]]]:
    """Run a gateway that can be killed, as a process of its own; the provider is in this one. Gives the keys too."""
    async with trio.open_nursery() as nursery:
        base_url = await nursery.start(simulator.serve)
        text = config_text(base_url, ("sim",), limits=f"progress_s = {PROGRESS_S}")
        (folder / "ainf.toml").write_text(text + CONFIG)
        here = Deployment(folder, None, "")
        keys = await write_books(here.books, lambda tx: spenders.plant(tx, wall_clock()), now=wall_clock)
        try:
            await here.start()
            yield here, list(keys.values())
        finally:
            for client in here.clients:
                await client.close()
            if here.gateway is not None:
                await here.gateway.stop()
        nursery.cancel_scope.cancel()


def request(key: str, model: str, *, stream: bool) -> bytes:
    """A request for an answer, on a connection of its own."""
    body = json.dumps(question(model, stream=stream, max_tokens=TOKENS)).encode()
    lines = (
        "POST /v1/chat/completions HTTP/1.1", "host: gateway.test", f"authorization: Bearer {key}",
        "content-type: application/json", f"content-length: {len(body)}", "connection: close", "", "",
    )  # fmt: skip
    return "\r\n".join(lines).encode() + body


async def ask_until_killed(here: Deployment, key: str, chance: random.Random, ended: set[str]) -> None:
    """Ask one thing after another until there is nobody to ask; add the exchanges whose end was seen."""
    try:
        while True:
            client = await here.connect()
            await client.send(request(key, chance.choice(TARGETS), stream=chance.random() < 0.75))
            taken = await client.take()
            if b"\r\n\r\n" not in taken.raw:
                return
            if taken.whole and "x-ainf-inference-id" in taken.headers:
                ended.add(taken.headers["x-ainf-inference-id"])
    except (OSError, trio.BrokenResourceError):
        return


@attrs.frozen
class Left:
    """What a dead process left open, and what it must be settled at."""

    charges: Mapping[tuple[str, int], int]
    """By exchange and attempt."""
    kinds: Counter
    """By what the attempts are settled at."""

    @classmethod
    def of(cls, here: Deployment) -> "Left":
        told = {
            (inference_id, number): cost
            for inference_id, ended in here.rows(_TOLD)
            for number, cost in json.loads(ended)
        }
        charges, kinds = {}, Counter()
        for inference_id, number, model, estimate, answering, progress in here.rows(_LEFT):
            called = inference_id, number
            if called in told:
                kind, charges[called] = "told as ended", told[called]
            elif number == answering and progress is not None:
                kind, charges[called] = "at its progress", progress
            else:
                kind, charges[called] = "at its input", estimate * MODELS[model].input_rate
            kinds[kind] += 1
        return cls(charges, kinds)


def check_recovered(here: Deployment, left: Left, spenders: Spenders, seen: set[tuple[str, int]]) -> None:
    """Each attempt that was left is settled by its own rule, on the caps of its model, once, and told of."""
    charged = {(inference_id, number): amount for inference_id, number, amount in here.rows(_CHARGED)}
    assert {called: amount for called, amount in charged.items() if called not in seen} == left.charges
    seen.update(left.charges)
    captured = {inference_id: (count, status) for inference_id, count, status in here.rows(_CAPTURED)}
    assert set(captured.values()) <= {(1, "abandoned")}
    asked = dict(here.rows("SELECT inference_id, requested_model FROM inferences"))
    assert captured.keys() == {inference_id for inference_id, _ in seen if asked[inference_id] not in MODELS}
    events = here.rows("SELECT inference_id, body FROM audit_events WHERE kind = 'inference.closed'")
    abandoned = [inference_id for inference_id, body in events if json.loads(body)["ending"] == "abandoned"]
    assert sorted(abandoned) == sorted({inference_id for inference_id, _ in seen})
    assert here.rows("SELECT * FROM holds") == []
    sums = spenders.charged(here.rows(LINES))
    assert {cap_id: (settled, held) for cap_id, settled, held in here.rows(_COUNTED)} == {
        cap_id: (amount, 0) for cap_id, amount in sums.items()
    }
    assert here.read(verify) == []


async def test_what_a_kill_leaves_of_routed_requests_is_settled_by_attempt(tmp_path, tell):
    """Killed at random moments: every call was durable before it was made, each attempt is settled by its own rule."""
    seed = int(os.environ.get("AINF_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
    tell(f"routed, and killed: AINF_SEED={seed}")
    chance = random.Random(seed)
    spenders, simulator = Spenders.drawn(chance, AGENTS, ANSWERS_OF_EACH), FickleSimulator(seed)
    seen: set[tuple[str, int]] = set()
    with trio.fail_after(60 + 15 * MOMENTS), unwrapped():
        async with deployed(tmp_path, simulator, spenders) as (here, keys):
            calls = Calls(connect(path_of(here.books), read_only=True))
            simulator.on_call = calls.note
            for _ in range(MOMENTS):
                ended: set[str] = set()
                before = len(calls.made)
                async with trio.open_nursery() as nursery:
                    for number in range(AGENTS * CLIENTS_OF_EACH):
                        own = random.Random(chance.random())
                        nursery.start_soon(ask_until_killed, here, keys[number % AGENTS], own, ended)
                    await eventually(lambda before=before: len(calls.made) - before >= CALLS)
                    await trio.sleep(moment := chance.uniform(0, 1.5 if FULL else 0.5))
                    await here.kill()
                left = Left.of(here)
                settled = dict(here.rows("SELECT inference_id, ending FROM settlements"))
                assert all(settled.get(inference_id, "abandoned") != "abandoned" for inference_id in ended)
                assert calls.undurable == []
                await here.start()
                check_recovered(here, left, spenders, seen)
                tell(f"killed {moment:.2f} s later: {len(ended)} had ended; attempts left: {dict(left.kinds)}")
            assert await here.terminate() == 0
            calls.books.close()
            check_law(here.books, [inference_id for inference_id, _ in calls.made])
    assert len(seen) > len({inference_id for inference_id, _ in seen}), "some had called several models"
