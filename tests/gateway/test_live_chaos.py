"""The law on the real thing: real processes, clients of every manner, an operator at work, and sudden ends.

``AINF_SEED`` repeats what is drawn: deeds, models, commands, ends. When the kernel runs whom is not drawn.
"""

import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio

from ainf.app import wall_clock
from ainf.inference.outcome import Ending
from tests.extent import FULL, SEED
from tests.gateway.backends import models_text
from tests.gateway.crowd import BILLED_ON, LATE, MODELS, RACING, SWIFT, Asker, Guest, Visit, targets_text
from tests.gateway.law import FAILURES
from tests.gateway.leaks import SECRETS
from tests.gateway.live import PROVIDER_KEY, check_law
from tests.gateway.office import Bookkeeper, KeyRing, Operator
from tests.gateway.process import Deployment, deployment
from tests.gateway.test_live_retrier import content_of
from tests.gateway.world import Client

LIVES, LONGEST_LIFE_S = (12, 4.0) if FULL else (2, 0.8)
CLIENTS = 16
WRITE_S, DRAIN_S, EXCHANGE_S = 0.6, 0.4, 2.5
LIMITS = f"""
first_byte_s = 0.8
silence_s = 0.8
exchange_s = {EXCHANGE_S}
tail_s = 0.1
write_s = {WRITE_S}
early_head_s = 0.2
heartbeat_s = 0.1
progress_s = 0.1
header_s = 1
body_s = 1
idle_s = 1
linger_s = 0.3
idempotency_bytes = 4096
sse_line_bytes = 65536
prelude_bytes = 16384
auth_failures_per_minute = 1000000
running = 12
"""
MORE = "slice_tokens = 32\nmin_output_tokens = 1"
BILLED = "".join(
    models_text((name,), f'{MORE}\nupstream_model = "{model}"\naborted_billing = "{billing}"\nabort_read_s = 0.4')
    for name, (billing, model) in BILLED_ON.items()
)

ROUTING = "[routing]\nbreaker_open_s = 0.5\nhedging = false\n"

OUTCOMES = "SELECT status, count(*) FROM routing_outcomes GROUP BY status"
OVERTAKEN = """
    SELECT count(*) FROM attempts AS a JOIN routing_outcomes AS o ON o.inference_id = a.inference_id
    WHERE a.aborted_billing = 'delivered' AND a.error_code IS NULL AND a.model <> o.model
"""
CLOSINGS = "SELECT body FROM audit_events WHERE kind = 'inference.closed'"

TOLD_NO_LONGER = b"it goes on, ask again for it"

SUDDEN = ("kill", "kill", "terminate then kill")
ENDS = (*SUDDEN, "terminate", "terminate twice") if FULL else SUDDEN


@attrs.define
class Chaos:
    """Everything that happens to one deployment."""

    here: Deployment
    operator: Operator
    bookkeeper: Bookkeeper
    ring: KeyRing
    chance: random.Random
    visits: list[Visit] = attrs.field(factory=list)
    ends: dict[int, str] = attrs.field(factory=dict)
    """How each life of the gateway ended."""
    hedges: bool = False
    """Whether this one, or the next where none is, asks a second model beside a late one."""

    async def guests(self, number: int) -> None:
        """Visit again and again, also when nobody is there."""
        chance = random.Random(f"{SEED}-{number}")
        asker = Asker(chance, self.ring.any)
        while True:
            life = self.here.starts
            try:
                client = await self.here.connect()
            except OSError:
                await trio.sleep(0.05)
                continue
            visit = Visit(len(self.visits), life)
            self.visits.append(visit)
            asker.races = self.hedges
            await Guest(client, visit, asker, WRITE_S).run()
            self.here.clients.remove(client)

    async def live_and_die(self, *, last: bool) -> None:
        """Let the gateway live for some time, end it, check the books, and start it again unless that was the last."""
        await trio.sleep(self.chance.uniform(0.3, 1) * LONGEST_LIFE_S)
        gateway = self.here.gateway
        assert gateway is not None
        assert gateway.child.returncode is None, f"the gateway ended by itself: {gateway.output.read_text()[-2000:]}"
        end = "terminate" if last else self.chance.choice(ENDS)
        self.ends[self.here.starts] = end
        if end == "kill":
            await self.here.kill()
        elif end in {"terminate", "terminate twice"}:
            if end == "terminate twice":
                self.here.interrupt()
                await trio.sleep(self.chance.uniform(0, DRAIN_S / 2))
            with trio.fail_after(DRAIN_S + 5):
                status = await self.here.terminate()
            # A second signal may come when all is done and nobody listens for it any more.
            assert status == 0 or (end == "terminate twice" and status == -signal.SIGTERM)
        else:
            self.here.interrupt()
            await trio.sleep(self.chance.uniform(0, DRAIN_S))
            await gateway.end(signal.SIGKILL)
        await self.operator.look()
        self.configure()
        if FULL and not last and self.chance.random() < 0.5:
            await self.die_young()
        if not last:
            await self.here.start()

    async def teach(self) -> None:
        """Let it be known how soon a model begins that is late in the next life."""
        for _ in range(24):
            visit = Visit(len(self.visits), self.here.starts, "teach", sent=1)
            client = await self.here.ask(RACING, headers=(f"x-ainf-labels: request={visit.number}-1",))
            client.raw = visit.raw
            await client.take()
            self.visits.append(visit)

    def configure(self) -> None:
        """In every other life, from the second on, let one model be late, and late ones be hedged."""
        text = self.here.config.read_text()
        changes = [("hedging = false", "hedging = true"), (f'"{SWIFT}"', f'"{LATE}"')]
        self.hedges = not self.hedges
        for off, on in changes:
            text = text.replace(off, on) if self.hedges else text.replace(on, off)
        self.here.config.write_text(text)

    async def die_young(self) -> None:
        """Kill a gateway that starts: before it listens, while it settles what was left, or just after."""

        async def kill(child: trio.Process) -> None:
            child.kill()

        command = [sys.executable, "-m", "ainf", "serve", "--config", str(self.here.config)]
        environment = {**os.environ, "SIM_KEY": PROVIDER_KEY}
        with (self.here.folder / "gateway-young.log").open("ab") as log, trio.move_on_after(self.chance.uniform(0, 2)):
            await trio.run_process(command, env=environment, stdout=log, stderr=log, deliver_cancel=kill, check=False)
        await self.operator.look()


@attrs.define
class Asked:
    """What all clients asked, and the receipts of it."""

    of_request: dict[str, dict[str, Any]]
    """By the label of the request that opened the exchange; those that were looked at are taken out."""
    keys: dict[str, str]
    """The idempotency keys of requests, by label."""
    by_id: dict[str, dict[str, Any]]

    def told(self, answer: Client, label: str) -> dict[str, Any] | None:
        """The receipt of another request's exchange that an answer is of, since both have one idempotency key."""
        receipt = self.by_id.get(answer.headers.get("x-ainf-inference-id", ""))
        if receipt is not None:
            assert self.keys[label] == self.keys[receipt["labels"]["request"]]
        return receipt


def check_visit(visit: Visit, asked: Asked, end: str) -> None:
    """Check what one client got against the receipts of what it asked; they are taken out."""
    may_be_cut = visit.left or "kill" in end
    answers = visit.answers
    assert len(answers) <= max(1, visit.sent)
    for number in range(1, max(len(answers), visit.sent) + 1):
        label = f"{visit.number}-{number}"
        receipt = asked.of_request.pop(label, None)
        if number > len(answers):
            assert receipt is None or may_be_cut, f"admitted, and never answered: {receipt}"
            continue
        answer = answers[number - 1]
        joined = None
        if receipt is None and label in asked.keys:
            receipt = joined = asked.told(answer, label)
        assert answer.headers.get("x-ainf-inference-id") == (receipt and receipt["inference_id"])
        assert answer.ended or may_be_cut, f"cut off: {receipt}"
        if answer.ended and joined is not None and is_told_no_longer(answer):
            check_own_end(answer, joined)
        elif answer.ended and receipt is not None:
            check_end(answer, receipt)
        elif answer.ended and answer.status >= 400:
            assert answer.status not in {500, 501}
            assert answer.json()["error"]["billed"] == "0"
            assert answer.headers["x-should-retry"] in {"true", "false"}


def is_told_no_longer(answer: Client) -> bool:
    """Whether a stream ended since its own client's deadline passed, while the exchange that it had joined went on."""
    return TOLD_NO_LONGER in answer.body and answer.headers["content-type"].startswith("text/event-stream")


def check_own_end(answer: Client, receipt: dict[str, Any]) -> None:
    """Check a stream that ended before the exchange it had joined: a piece of the answer, one end, nothing charged."""
    payloads, chunks = answer.payloads(), answer.chunks()
    assert payloads.count(b"[DONE]") == 1
    assert payloads[-1] == b"[DONE]"
    assert "opaque_frames" in receipt["notes"] or sum(map(visible, chunks)) <= receipt["received_bytes"]
    assert answer.finish_reasons() == ["error"]
    (error,) = [chunk["error"] for chunk in chunks if chunk.get("error")]
    assert (error["code"], error["billed"], error["retryable"]) == ("deadline_exceeded", "0", True)


def check_end(answer: Client, receipt: dict[str, Any]) -> None:
    """Check that an answer that is whole ends in one way, as its receipt says, and as a success only with evidence."""
    if answer.headers["content-type"].startswith("text/event-stream"):
        reason, errors = end_of_stream(answer, receipt)
    else:
        document = answer.json()
        reason = document["choices"][0]["finish_reason"] if "choices" in document else "error"
        errors = [document["error"]] if "error" in document else []
    billed = receipt["settled_nusd"] + receipt["overrun_nusd"]
    assert not (errors and billed and answer.headers.get("x-should-retry") == "true")
    assert not (errors and billed and errors[0].get("retryable"))
    ending = Ending(receipt["ending"])
    if ending in FAILURES:
        assert (reason, [error["code"] for error in errors]) == ("error", [receipt["error_code"]])
    elif ending is Ending.SPEND_CAP_EXCEEDED:
        assert reason in {receipt["finish_reason"], "error"}
        assert {error["code"] for error in errors} <= {"spend_cap_exceeded"}
    else:
        assert ending is Ending.COMPLETED, f"no answer ends so: {receipt}"
        assert (reason, errors) == (receipt["finish_reason"], [])
        served = receipt["routing"]["served"] if "routing" in receipt else 1
        assert receipt["attempts"][served - 1]["raw_finish_reason"], "a success without evidence"


def end_of_stream(answer: Client, receipt: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Check that a stream has one end and holds what its receipt says; return the finish reason and the errors."""
    payloads, chunks = answer.payloads(), answer.chunks()
    assert payloads.count(b"[DONE]") == 1
    assert payloads[-1] == b"[DONE]"
    if "opaque_frames" not in receipt["notes"]:
        # What another request asked for whole, and this one is told as a stream, was handed over with its end.
        told = receipt["output_bytes"] if receipt["stream"] else receipt["received_bytes"]
        assert sum(map(visible, chunks)) == told
    (reason,) = answer.finish_reasons()
    return reason, [chunk["error"] for chunk in chunks if chunk.get("error")]


def visible(chunk: dict[str, Any]) -> int:
    """The visible bytes in a chunk."""
    deltas = [choice["delta"] for choice in chunk.get("choices") or ()]
    names = [call["function"].get("name") or "" for delta in deltas for call in delta.get("tool_calls") or ()]
    return sum(len(text.encode()) for text in (*map(content_of, deltas), *names))


async def provider_entries(here: Deployment) -> dict[str, list[dict[str, Any]]]:
    """What the provider was asked, by inference id, once nothing runs there any more."""
    with trio.fail_after(5):
        while any(entry["ended_at"] is None for entry in await here.simulated()):  # noqa: ASYNC110 - another process
            await trio.sleep(0.05)
    entries: dict[str, list[dict[str, Any]]] = {}
    for entry in await here.simulated():
        entries.setdefault(entry["headers"]["x-client-request-id"], []).append(entry)
    return entries


def check_attempts(
    receipts: list[dict[str, Any]], entries: dict[str, list[dict[str, Any]]], opened: Counter[str]
) -> None:
    """Check exchanges against what the provider was asked: no more often than was opened; no success without an end."""
    for receipt in receipts:
        asked = entries.get(receipt["inference_id"], [])
        redials = sum(line["redials"] for line in receipt["attempts"])
        assert len(asked) <= 1 + opened[receipt["inference_id"]] + redials, receipt
        if receipt["ending"] == Ending.COMPLETED:
            assert any(entry["finish_sent"] for entry in asked), "a success without evidence"


async def check_everything(chaos: Chaos, tell: Callable[[str], None]) -> None:
    here = chaos.here
    entries = await provider_entries(here)
    check_law(here.books, list(entries))
    receipts = [json.loads(body) for (body,) in here.rows(CLOSINGS)]
    check_attempts(receipts, entries, Counter(row[0] for row in here.rows("SELECT inference_id FROM later_attempts")))
    asked = Asked(
        {receipt["labels"]["request"]: receipt for receipt in receipts},
        {f"{visit.number}-{number}": key for visit in chaos.visits for number, key in visit.keyed.items()},
        {receipt["inference_id"]: receipt for receipt in receipts},
    )
    assert len(asked.of_request) == len(receipts), "a request was admitted twice"
    tell(
        f"{here.starts} lives {dict(Counter(chaos.ends.values()))}, {len(chaos.visits)} connections,"
        f" {sum(visit.sent for visit in chaos.visits)} requests, {chaos.operator.commands.total()} commands,"
        f" {dict(chaos.bookkeeper.done)} beside,"
        f" {len(receipts)} admitted {dict(Counter(receipt['ending'] for receipt in receipts))};"
        f" routed {dict(here.rows(OUTCOMES))}, {here.rows(OVERTAKEN)[0][0]} overtaken"
    )
    wrong = []
    for visit in chaos.visits:
        end, raw = chaos.ends[visit.life], bytes(visit.raw)
        try:
            check_visit(visit, asked, end)
        except (AssertionError, LookupError, ValueError, TypeError) as error:
            wrong.append(f"{error!r}\n{attrs.evolve(visit, raw=raw[-300:])} of {len(raw)} bytes; then: {end}")
    assert not wrong, f"{len(wrong)} wrong\n" + "\n\n".join(wrong[:10])
    assert not asked.of_request, "exchanges that nobody asked for"


def check_secrets(chaos: Chaos) -> None:
    """No secret of the provider's or a client's is in any log, answer or table; no log tells of a defect."""
    folder = chaos.here.folder
    for path in sorted(folder.glob("gateway-*.log")):
        said = path.read_text()
        assert '"defect"' not in said, [line for line in said.splitlines() if '"defect"' in line][:3]
        assert "Traceback" not in said, said[-3000:]
        assert "sk-canary" not in said
        assert "sk-provider" not in said
        assert not any(key in said for key in (chaos.here.key, *chaos.ring.made))
    for path in sorted(folder.glob("ainf.db*")):
        kept = path.read_bytes()
        assert PROVIDER_KEY.encode() not in kept
        assert chaos.here.key.encode() not in kept
    for visit in chaos.visits:
        assert not [secret for secret in SECRETS if secret.encode() in visit.raw]


@pytest.mark.law
async def test_the_law_holds_whatever_clients_providers_operators_and_power_cuts_do(tmp_path, tell, count_cases):
    """After any life and any end of it the books are sound, and what every client saw agrees with its receipt."""
    chance = random.Random(SEED)
    tell(f"AINF_SEED={SEED}")
    with trio.fail_after(60 + LIVES * 30):
        server, after = f"drain_s = {DRAIN_S}", ROUTING + BILLED + targets_text(chance, MORE)
        async with deployment(
            tmp_path, *MODELS, now=wall_clock, more=MORE, limits=LIMITS, server=server, after=after
        ) as here:
            ring = KeyRing({here.key: "agents"}, random.Random(SEED))
            bookkeeper = Bookkeeper(here, random.Random(SEED + 1), ring)
            chaos = Chaos(here, Operator(here, chance, ring), bookkeeper, ring, chance)
            await chaos.teach()
            async with trio.open_nursery() as nursery:
                for number in range(CLIENTS):
                    nursery.start_soon(chaos.guests, number)
                nursery.start_soon(chaos.operator.run)
                nursery.start_soon(bookkeeper.run)
                for number in range(LIVES):
                    await chaos.live_and_die(last=number == LIVES - 1)
                nursery.cancel_scope.cancel()
            await check_everything(chaos, tell)
            check_secrets(chaos)
    count_cases("kills", sum(end in SUDDEN for end in chaos.ends.values()))
