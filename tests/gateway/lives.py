"""One deployment that is killed again and again under a mixed crowd, and what must hold after each of its deaths.

The provider is in the test's process and outlives them all. A death is told by name (``crashing.POINTS``) or comes at a
random moment; behind it the gateway is started again, and before anybody asks it anything: what was left open is
settled, each attempt by its own rule and on the caps of its own model, once; what a client was told as an end is
settled as that; the provider's books, the receipts and the answers of idempotency keys agree.
"""

import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import Final

import attrs
import trio

from ainf.app import wall_clock
from ainf.inference.outcome import Ending
from ainf.store.beside import path_of, write_books
from ainf.store.sqlite import connect
from ainf.store.verify import verify
from tests.gateway.dialects import CHAT, DIALECTS, Dialect, Said
from tests.gateway.fickle import CONFIG, MODELS, TOKENS, FickleSimulator
from tests.gateway.law import FAILURES
from tests.gateway.live import check_law, config_text
from tests.gateway.live_client import Answer, RawClient, eventually
from tests.gateway.process import Deployment
from tests.gateway.spenders import LINES, Calls, Spenders

PROGRESS_S: Final = 0.1
TARGETS: Final = ("ainf-inference", "crew", "crew-now", "ainf-auto", "ainf-inference", "small-b", "large-a")
"""What is asked for: mostly what is chosen, some by name."""
SAMPLE: Final = 3
"""So many receipts and kept answers are asked for after each death."""

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
_REPORTED: Final = """
    SELECT inference_id, upstream_model, usage FROM attempts WHERE evidence = 'reported' AND error_code IS NULL
"""
_HELD_KEYS: Final = """
    SELECT c.idempotency_key FROM claims AS c JOIN settlements AS s ON s.inference_id = c.inference_id
    WHERE s.ending = 'abandoned' AND c.state <> 'freed'
"""
_CLOSED: Final = "SELECT inference_id, body FROM audit_events WHERE kind = 'inference.closed'"


@attrs.frozen
class Asked:
    """A request."""

    key: str
    model: str
    dialect: Dialect = CHAT
    stream: bool = True
    idempotency_key: str | None = None

    @classmethod
    def drawn(cls, chance: random.Random, key: str) -> "Asked":
        """Draw one; under the same idempotency key it is always the same question, in either mode."""
        name = f"idem-{chance.randrange(10**6)}" if chance.random() < 0.25 else None
        return cls(key, chance.choice(TARGETS), chance.choice(DIALECTS), chance.random() < 0.7, name)

    def wire(self) -> bytes:
        """The request, on a connection of its own."""
        body = json.dumps(self.dialect.question(self.model, stream=self.stream, limit=TOKENS)).encode()
        lines = [
            f"POST {self.dialect.path} HTTP/1.1", "host: gateway.test", f"authorization: Bearer {self.key}",
            "content-type: application/json", f"content-length: {len(body)}", "connection: close",
        ]  # fmt: skip
        if self.idempotency_key is not None:
            lines.append(f"idempotency-key: {self.idempotency_key}")
        return "\r\n".join((*lines, "", "")).encode() + body


@attrs.define(slots=False)
class Heard:
    """What a client was told of an exchange, to its last byte."""

    asked: Asked
    answer: Answer

    @property
    def inference_id(self) -> str:
        return self.answer.headers["x-ainf-inference-id"]

    @cached_property
    def said(self) -> Said | None:
        """The answer, as far as it came; None where it is none, or not whole."""
        if self.answer.status != 200:
            return None
        if self.asked.stream:
            return self.asked.dialect.read_stream(self.answer.payloads)
        return self.asked.dialect.read_whole(json.loads(self.answer.body)) if self.answer.whole else None

    @property
    def is_ended(self) -> bool:
        """Whether its client was told an end: a terminal frame, or a document that is whole."""
        if self.answer.status == 200 and self.asked.stream:
            return self.said.terminals > 0
        return self.answer.whole

    def check(self, ending: str) -> None:
        """Check that an end that was told is what was settled, and that nothing follows it."""
        assert ending != Ending.ABANDONED, "an end was told before it was settled"
        if self.said is None:
            assert ending != Ending.COMPLETED
        elif self.said.error is not None:
            assert ending in FAILURES
        else:
            assert ending in {Ending.COMPLETED, Ending.SPEND_CAP_EXCEEDED}, ending
            assert not self.asked.stream or (self.said.terminals, self.said.ends_with_terminal) == (1, True)


@attrs.frozen
class Left:
    """What a dead process left open, and what it must be settled at."""

    charges: Mapping[tuple[str, int], int] = attrs.field(factory=dict)
    """By exchange and attempt."""
    kinds: Counter = attrs.field(factory=Counter)
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


@attrs.define
class Lives:
    """A deployment, its crowd, and everything that came of them."""

    here: Deployment
    simulator: FickleSimulator
    spenders: Spenders
    keys: list[str]
    calls: Calls
    chance: random.Random
    left: Left = attrs.field(factory=Left)
    """What the last death left."""
    heard: list[Heard] = attrs.field(factory=list)
    """Whom the life before it gave an inference id."""
    settled_by_recovery: set[tuple[str, int]] = attrs.field(factory=set)
    """By exchange and attempt."""
    deaths: int = 0
    asked_again: Counter = attrs.field(factory=Counter)
    """What was asked of the lives before, by kind."""

    # deaths

    async def die(self, fault: str, clients: int = 16) -> None:
        """Start the gateway with a fault armed, check what it makes of the last death, and let a crowd run into it."""
        await self.start(fault)
        async with trio.open_nursery() as nursery:
            self.crowd(nursery, clients)
            await self.here.died()
        self.note_death()

    async def die_at(self, moment_s: float, clients: int, calls: int = 0) -> None:
        """The same, but killed at some moment, from so many calls of models on."""
        await self.start()
        before = len(self.calls.made)
        async with trio.open_nursery() as nursery:
            self.crowd(nursery, clients)
            await eventually(lambda: len(self.calls.made) - before >= calls)
            await trio.sleep(moment_s)
            await self.here.kill()
        self.note_death()

    async def die_in_recovery(self, fault: str) -> None:
        """Start the gateway with a fault that it meets before it listens."""
        await self.here.die_starting(fault)
        self.deaths += 1

    async def die_draining(self, fault: str, clients: int = 16) -> None:
        """Start the gateway, and tell it to end with a fault on its way to that."""
        await self.start(fault)
        before = len(self.calls.made)
        async with trio.open_nursery() as nursery:
            self.crowd(nursery, clients)
            await eventually(lambda: len(self.calls.made) - before >= clients)
            self.here.interrupt()
            await self.here.died()
        self.note_death()

    async def end(self) -> None:
        """Start the gateway a last time, check, stop it in good order, and check the law over all that it did."""
        await self.start()
        assert await self.here.terminate() == 0
        self.calls.books.close()
        check_law(self.here.books, [inference_id for inference_id, _ in self.calls.made])
        self._check_billed()

    # what they are made of

    async def start(self, fault: str = "") -> None:
        """Start the gateway, and check before anybody asks it anything."""
        await self.here.start(fault)
        self._check_recovered_first()
        self._check_recovered()
        self._check_heard()

    def crowd(self, nursery: trio.Nursery, clients: int) -> None:
        """Let clients ask, each one thing after another, until there is nobody to ask; some of what is over."""
        nursery.start_soon(self._ask_of_before, list(self.heard))
        self.heard.clear()
        for number in range(clients):
            own = random.Random(self.chance.random())
            nursery.start_soon(self._ask_until_dead, self.keys[number % len(self.keys)], own)

    def note_death(self) -> None:
        """Note what was left."""
        self.deaths += 1
        self.left = Left.of(self.here)
        assert self.calls.undurable == [], "a model was called before that was durable"

    async def _ask_until_dead(self, key: str, chance: random.Random) -> None:
        try:
            while True:
                heard = await self._ask(Asked.drawn(chance, key))
                if heard is None:
                    return
                if "x-ainf-inference-id" in heard.answer.headers:
                    self.heard.append(heard)
        except (OSError, trio.BrokenResourceError):
            return

    async def _ask(self, asked: Asked) -> Heard | None:
        """Ask, and take what comes; None where that is not so much as a head."""
        client: RawClient = await self.here.connect()
        await client.send(asked.wire())
        answer = await client.take()
        self.here.clients.remove(client)
        return Heard(asked, answer) if b"\r\n\r\n" in answer.raw else None

    # what must hold

    def _check_recovered_first(self) -> None:
        """What was left is settled before anybody is listened to."""
        assert self.here.gateway is not None
        events = [json.loads(line)["event"] for line in self.here.gateway.output.read_text().splitlines()]
        assert events.index("recovered") < events.index("listening")

    def _check_recovered(self) -> None:
        """Each attempt that was left is settled by its own rule, on the caps of its model, once, and told of."""
        here, seen = self.here, self.settled_by_recovery
        charged = {(inference_id, number): amount for inference_id, number, amount in here.rows(_CHARGED)}
        assert {called: amount for called, amount in charged.items() if called not in seen} == self.left.charges
        seen.update(self.left.charges)
        self.left = Left()
        captured = {inference_id: (count, status) for inference_id, count, status in here.rows(_CAPTURED)}
        assert set(captured.values()) <= {(1, "abandoned")}
        asked = dict(here.rows("SELECT inference_id, requested_model FROM inferences"))
        assert captured.keys() == {inference_id for inference_id, _ in seen if asked[inference_id] not in MODELS}
        events = [name for name, body in here.rows(_CLOSED) if json.loads(body)["ending"] == "abandoned"]
        assert sorted(events) == sorted({inference_id for inference_id, _ in seen})
        assert here.rows("SELECT * FROM holds") == []
        assert here.rows(_HELD_KEYS) == [], "an idempotency key was not freed"
        sums = self.spenders.charged(here.rows(LINES))
        assert {cap_id: (settled, held) for cap_id, settled, held in here.rows(_COUNTED)} == {
            cap_id: (amount, 0) for cap_id, amount in sums.items()
        }
        assert here.read(verify) == []

    def _check_heard(self) -> None:
        """What clients were told as an end is settled as that."""
        for heard in self.heard:
            if heard.is_ended:
                heard.check(self._ending_of(heard))

    def _ending_of(self, heard: Heard) -> str:
        ((ending,),) = self.here.rows(f"SELECT ending FROM settlements WHERE inference_id = '{heard.inference_id}'")
        return ending

    async def _ask_of_before(self, told: list[Heard]) -> None:
        """Receipts say what was told before the last death, and idempotency keys tell it again."""
        ended = [heard for heard in told if heard.is_ended]
        keyed = [heard for heard in told if heard.asked.idempotency_key is not None]
        try:
            for heard in self.chance.sample(ended, min(SAMPLE, len(ended))):
                await self._check_receipt(heard)
            for heard in self.chance.sample(keyed, min(SAMPLE, len(keyed))):
                await self._check_told_again(heard)
        except (OSError, trio.BrokenResourceError):
            return  # it died meanwhile

    async def _check_receipt(self, heard: Heard) -> None:
        client = await self.here.connect()
        path = f"/v1/audit/{heard.inference_id}"
        lines = (f"GET {path} HTTP/1.1", "host: gateway.test", f"authorization: Bearer {heard.asked.key}")
        await client.send("\r\n".join((*lines, "connection: close", "", "")).encode())
        answer = await client.take()
        if answer.raw:
            receipt = json.loads(answer.body)
            assert (receipt["state"], receipt["ending"]) == ("settled", self._ending_of(heard))
            self.asked_again["receipts"] += 1

    async def _check_told_again(self, heard: Heard) -> None:
        """Under its idempotency key an answer is told again, byte for byte, and asked anew where there is none."""
        again = await self._ask(heard.asked)
        if again is None or "x-ainf-inference-id" not in again.answer.headers or not again.answer.whole:
            return
        is_same = again.inference_id == heard.inference_id
        if self._ending_of(heard) == Ending.ABANDONED:
            assert not is_same, "a key was not freed"
            self.asked_again["answers asked anew"] += 1
        elif heard.is_ended:
            assert is_same == (again.answer.headers.get("x-ainf-idempotent-replay") == "true")
            assert not is_same or again.answer.body == heard.answer.body, "another answer was told again"
            self.asked_again["answers told again"] += is_same

    def _check_billed(self) -> None:
        """What a provider reported and was believed is what its own books have."""
        entries = {(entry.headers["x-client-request-id"], entry.model): entry for entry in self.simulator.books.entries}
        for inference_id, model, usage in self.here.rows(_REPORTED):
            entry, tokens = entries[inference_id, model], json.loads(usage)
            assert (tokens.get("input_tokens", 0), tokens.get("output_tokens", 0)) == (
                entry.billed_input_tokens,
                entry.billed_output_tokens,
            ), inference_id


@asynccontextmanager
async def lives(
    folder: Path, seed: str, *, agents: int = 6, answers_of_each: int = 400, server: str = "", store: str = ""
) -> AsyncIterator[Lives]:
    """Deploy around a block, with a provider in this process and agents under caps; nothing is started yet."""
    chance = random.Random(seed)
    spenders = Spenders.drawn(chance, agents, answers_of_each)
    simulator = FickleSimulator(chance.randrange(1 << 30))
    async with trio.open_nursery() as nursery:
        base_url = await nursery.start(simulator.serve)
        limits = f"progress_s = {PROGRESS_S}"
        (folder / "ainf.toml").write_text(
            config_text(base_url, ("sim",), limits=limits, server=server, store=store) + CONFIG
        )
        here = Deployment(folder, None, "")
        keys = await write_books(here.books, lambda tx: spenders.plant(tx, wall_clock()), now=wall_clock)
        calls = Calls(connect(path_of(here.books), read_only=True))
        simulator.on_call = calls.note
        try:
            yield Lives(here, simulator, spenders, list(keys.values()), calls, chance)
        finally:
            await here.stop()
        nursery.cancel_scope.cancel()
