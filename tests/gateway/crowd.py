"""Clients of every manner, each drawn by chance: what they ask, how they behave meanwhile, and what came of it."""

import json
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import attrs
import trio

from tests.gateway.backends import model_table
from tests.gateway.live_client import RawClient
from tests.gateway.test_live_retrier import FAULTS
from tests.gateway.world import Client, question

SLOW = (
    "sim-tokens-300-pace-3ms", "sim-tokens-40-pace-10ms", "sim-tokens-4000-per-frame-40-unknown-fields",
    "sim-delay-400ms", "sim-reasoning-100-pace-2ms", "sim-tools-tokens-100-pace-3ms", "sim-parallel-tools",
    "sim-tokens-60-pace-5ms-usage-continuous", "sim-endless-per-frame-50", "sim-unlimited-tokens-900-pace-1ms",
    "sim-hidden-reasoning-200-pace-1ms", "sim-cached-3-tokens-100-pace-2ms", "sim-drip-every-1ms-tokens-3",
)  # fmt: skip
MODELS = (*FAULTS, *SLOW)
BILLED_ON = {"drained": ("drain", "sim-tokens-300-pace-3ms"), "held": ("held", "sim-tokens-100-pace-5ms")}
"""Models whose provider bills what we break off: how it is settled, and what the model is."""
IDEMPOTENCY_KEYS = 8

SWIFT, LATE = "sim-tokens-4", "sim-tokens-40-delay-300ms"
"""What one model is while it is learnt how soon it begins, and what it is at other times."""
RACING = "racing"
"""The target of which it is the first."""
MIXES = tuple(f"mix-{number}" for number in range(8))
TARGETS = ("ainf-inference", "ainf/auto", RACING, *MIXES)
HINTS = (
    {"min_quality": "good"}, {"min_quality": "frontier"}, {"max_cost": "0.02"}, {"max_cost": "0.0000001"},
    {"routing_preference": "cost", "task_type": "code"}, {"routing_preference": "quickest"}, {"min_quality": 7},
)  # fmt: skip

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
GARBAGE = (
    b"", b"{", b"[]", b'{"model": "sim"}', b"\xff\xfe", b'{"model": 5, "messages": []}', b'{"n": 1e999}', b"[" * 5000,
    json.dumps(question("no-such-model")).encode(), json.dumps(question("sim", service_tier="priority")).encode(),
)  # fmt: skip
LINES = (
    b"GET /healthz HTTP/1.1", b"GET /readyz HTTP/1.1", b"GET /metrics HTTP/1.1", b"GET /v1/models HTTP/1.1",
    b"GET /v1/audit/inf_none HTTP/1.1", b"PUT /v1/models HTTP/1.1", b"GET /none HTTP/1.1",
)  # fmt: skip
NO_HTTP = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\n\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx", b"\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", b"\0" * 300,
    b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\nconnection: upgrade\r\nhttp2-settings: !\r\n\r\n",
)  # fmt: skip


def targets_text(chance: random.Random, more: str) -> str:
    """The tables of targets: of models that fail, break off, are slow or sound, drawn by chance; and of a late one."""
    text = model_table("quick", "sim", SWIFT, more)
    for name in MIXES:
        models = [chance.choice(FAULTS), chance.choice(MODELS), chance.choice((*SLOW, *BILLED_ON))]
        text += _target_text(name, models)
    return text + _target_text(RACING, ["quick", "sim-tokens-60-pace-5ms-usage-continuous"])


def _target_text(name: str, models: list[str]) -> str:
    return f"[targets.{name}]\nmodels = {json.dumps(models)}\n"


@attrs.define
class Visit:
    """One connection: what is done on it, and all that came."""

    number: int
    life: int
    """Which start of the gateway it was made to."""
    deed: str = ""
    sent: int = 0
    """Requests, whole or not; each is labelled with the visit and its place among them."""
    keyed: dict[int, str] = attrs.field(factory=dict)
    """The idempotency keys of its requests, by their place."""
    raw: bytearray = attrs.field(factory=bytearray)
    left: bool = False
    """Whether it did what counts as leaving."""

    @property
    def answers(self) -> list[Client]:
        """What came, one by one; the last may be incomplete."""
        return list(answers_in(bytes(self.raw)))


def answers_in(raw: bytes) -> Iterator[Client]:
    """Read the answers on a connection one after the other."""
    while b"\r\n\r\n" in raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        answer = Client("", b"", {})
        answer.status = int(status_line.split(" ")[1])
        answer.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        if answer.headers.get("transfer-encoding") == "chunked":
            answer.body, answer.ended, raw = _dechunked(raw)
        else:
            size = int(answer.headers["content-length"])
            answer.body, answer.ended, raw = raw[:size], len(raw) >= size, raw[size:]
        yield answer
    assert not raw or b"HTTP/1.1 ".startswith(raw[:9]) or raw.startswith(b"HTTP/1.1 "), "bytes that belong to no answer"


def _dechunked(raw: bytes) -> tuple[bytes, bool, bytes]:
    parts, at = [], 0
    while (end := raw.find(b"\r\n", at)) >= 0:
        size, at = int(raw[at:end], 16), end + 2
        parts.append(raw[at : at + size])
        at += size + 2
        if at > len(raw):
            break
        if size == 0:
            return b"".join(parts), True, raw[at:]
    return b"".join(parts), False, b""


@attrs.define
class Asker:
    """Draws requests."""

    chance: random.Random
    key: Callable[[], str]
    """Gives a key that was valid a moment ago."""
    races: bool = False
    """Whether it asks above all where late models are hedged."""

    def request(self, visit: Visit, *, last: bool) -> bytes:
        """Draw a request; most are sound."""
        visit.sent += 1
        chance = self.chance
        label = f"x-ainf-labels: request={visit.number}-{visit.sent}"
        lines = ["host: gateway.test", f"connection: {'close' if last else 'keep-alive'}", label]
        if chance.random() < 0.94:
            lines.append(f"authorization: Bearer {self.key()}")
        elif chance.random() < 0.5:
            lines.append("authorization: Bearer ainf_k0000000_wrong")
        if chance.random() < 0.08:
            return b"\r\n".join([chance.choice(LINES), *(line.encode() for line in lines), b"", b""])
        if chance.random() < 0.15:
            lines.append(f"x-ainf-deadline-ms: {chance.choice((1, 20, 200, 600))}")
        question = self._question(chance)
        if chance.random() < 0.25:
            visit.keyed[visit.sent] = name = f"idem-{chance.randrange(IDEMPOTENCY_KEYS)}"
            lines.append(f"idempotency-key: {name}")
            if chance.random() < 0.9:  # else the same key with another body
                question = self._question(random.Random(name)) | {"stream": chance.random() < 0.7}
        data = chance.choice(GARBAGE) if chance.random() < 0.06 else json.dumps(question).encode()
        path = chance.choice(("/v1/chat/completions", "/v1/chat/completions", "/v1/inference"))
        lines += ["content-type: application/json", f"content-length: {len(data)}"]
        return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode() + data

    def _question(self, chance: random.Random) -> dict[str, Any]:
        model = chance.choice((*SLOW, *BILLED_ON) if chance.random() < 0.5 else FAULTS)
        fields: dict[str, Any] = {}
        if chance.random() < (0.6 if self.races else 0.35):
            model = RACING if self.races else chance.choice(TARGETS)
            if chance.random() < 0.2:
                fields["routing_hint"] = chance.choice(HINTS)
            if chance.random() < 0.7:
                fields["max_tokens"] = chance.choice((8, 30))  # there is often room for little
        if "tools" in model or chance.random() < 0.1:
            fields["tools"] = [TOOL]
        if chance.random() < 0.3:
            fields["max_tokens"] = chance.choice((1, 30, 500, 4096))
        stream = chance.random() < 0.75
        if stream and chance.random() < 0.4:
            fields["stream_options"] = {"include_usage": chance.random() < 0.8}
        return question(model, stream=stream, **fields)


@attrs.define
class Guest:
    """One client at its visit."""

    client: RawClient
    visit: Visit
    asker: Asker
    write_s: float

    @property
    def chance(self) -> random.Random:
        return self.asker.chance

    async def run(self) -> None:
        """Draw a deed and do it; whatever the gateway does to the connection meanwhile is no error here."""
        deed = self.chance.choices(tuple(DEEDS), tuple(DEEDS.values()))[0]
        self.visit.deed = deed.__name__
        self.client.raw = self.visit.raw
        over = False
        try:
            await deed(self)
            over = True
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            over = True
        finally:
            self.visit.left |= not over
            await self.client.close()

    # what deeds are made of

    async def ask(self) -> None:
        """Send a request; sometimes several at once."""
        count = self.chance.choice((1, 1, 1, 1, 2, 4))
        data = b"".join(self.asker.request(self.visit, last=number == count - 1) for number in range(count))
        await self.client.send(data)

    async def read(self, at_most: int = 65536, pause_s: float = 0) -> None:
        """Read to the end of the connection."""
        while data := await self.client.stream.receive_some(at_most):
            self.visit.raw += data
            await trio.sleep(pause_s)

    async def linger(self, seconds: float) -> None:
        """Read for some time."""
        with trio.move_on_after(self.chance.uniform(0, seconds)):
            await self.read()

    async def leave(self) -> None:
        """Close or reset the connection."""
        self.visit.left = True
        if self.chance.random() < 0.5:
            self.client.reset()
        else:
            await self.client.close()

    # deeds

    async def stay(self) -> None:
        await self.ask()
        await self.read()

    async def take_turns(self) -> None:
        """Ask again on the same connection when the answer is whole."""
        for number in range(turns := self.chance.randrange(2, 5)):
            await self.client.send(self.asker.request(self.visit, last=number == turns - 1))
            while sum(answer.ended for answer in self.visit.answers) <= number:
                data = await self.client.stream.receive_some(65536)
                if not data:
                    return
                self.visit.raw += data
        await self.read()

    async def leave_before_the_head(self) -> None:
        await self.ask()
        await trio.sleep(self.chance.choice((0, 0, 0.002, 0.02)))
        await self.leave()

    async def leave_midway(self) -> None:
        await self.ask()
        await self.linger(self.chance.choice((0.05, 0.3, 1.5)))
        await self.leave()

    async def leave_at_the_end(self) -> None:
        await self.ask()
        self.visit.left = True
        while b"finish_reason" not in self.visit.raw or b"[DONE]" not in self.visit.raw:
            data = await self.client.stream.receive_some(self.chance.choice((100, 65536)))
            if not data:
                return
            self.visit.raw += data
        await self.leave()

    async def half_close(self) -> None:
        await self.ask()
        await self.linger(0.3)
        self.visit.left = True
        await self.client.stream.send_eof()
        await self.read()

    async def stall(self) -> None:
        await self.ask()
        self.visit.left = True
        await trio.sleep(self.chance.uniform(0, 2 * self.write_s))
        await self.read()

    async def read_slowly(self) -> None:
        """Read slowly, or so slowly that nobody can tell.

        A loopback peer hears of what was read in steps of about 90 KB: at the lower rate not once in a write limit.
        """
        await self.ask()
        at_most = self.chance.choice((50, 4000))
        self.visit.left = at_most == 50
        await self.read(at_most, 0.005)

    async def say_more(self) -> None:
        """Send what is no request while the answer runs: little or too much."""
        await self.ask()
        await self.linger(0.2)
        self.visit.left = True
        await self.client.send(self.chance.choice((b"\r\n", b"\0", b"GET", b"x" * 200_000)))
        await self.linger(1.0)
        await self.leave()

    async def break_off(self) -> None:
        """Send a part of a request, then leave or wait for what comes."""
        data = self.asker.request(self.visit, last=True)
        self.visit.left = True
        await self.client.send(data[: self.chance.randrange(len(data))])
        await (self.read() if self.chance.random() < 0.3 else self.leave())

    async def speak_no_http(self) -> None:
        self.visit.left = True
        await self.client.send(self.chance.choice(NO_HTTP))
        await self.read()


DEEDS: dict[Callable[[Guest], Awaitable[None]], int] = {
    Guest.stay: 8,
    Guest.take_turns: 4,
    Guest.leave_before_the_head: 3,
    Guest.leave_midway: 4,
    Guest.leave_at_the_end: 2,
    Guest.half_close: 2,
    Guest.stall: 1,
    Guest.read_slowly: 2,
    Guest.say_more: 1,
    Guest.break_off: 1,
    Guest.speak_no_http: 1,
}
"""By weight."""
