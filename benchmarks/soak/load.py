"""The clients: what they ask, how they behave meanwhile, and what came of it."""

import json
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs
import trio

from benchmarks.soak.place import (
    ALL_FAIL,
    BILLED_ON,
    CAPPED,
    FALLS_BACK,
    FAULTY,
    PROVIDERS,
    RACES,
    REVOKED,
    SOUND,
    STEADY,
    Place,
)

PATHS: Final = {
    "chat": ("/v1/chat/completions", "/v1/inference"), "messages": ("/v1/messages",), "responses": ("/v1/responses",),
}  # fmt: skip
_MOST_AT_ONCE: Final = 400
_GIVES_UP_S: Final = 60.0
_LAST_STAY_S: Final = 10.0
_KEYED: Final = 40
"""Idempotency keys in use at a time."""
_KEY_LASTS: Final = 400
"""Requests after which other keys are used."""
_RESET: Final = struct.pack("ii", 1, 0)
_GARBAGE: Final = (b"{", b"[]", b'{"model": 5}', b"\xff\xfe", b'{"model": "none", "messages": []}')
_READS: Final = ("/v1/usage", "/v1/models", "/metrics", "/healthz", "/readyz")


class BrokenAnswerError(Exception):
    """A client that stayed was not told how its answer ended."""


@attrs.define
class Load:
    """Clients that come by chance, so many a second, until they are told to stop."""

    place: Place
    chance: random.Random
    rate: float
    counts: Counter[str] = attrs.field(factory=Counter)
    """What was done, and the statuses that were answered."""
    broken: list[str] = attrs.field(factory=list)
    """Answers that ended without an end."""
    running: int = 0
    asked: int = 0
    _prompts: int = 0
    _receipts: list[str] = attrs.field(factory=list)

    async def run(self, seconds: float) -> None:
        """Let clients come for so long; then those that are still there leave, one way or the other."""
        deeds, weights = tuple(DEEDS), tuple(DEEDS.values())
        ends_at = trio.current_time() + seconds
        async with trio.open_nursery() as nursery:
            while trio.current_time() < ends_at:
                if self.running < _MOST_AT_ONCE:
                    deed = self.chance.choices(deeds, weights)[0]
                    nursery.start_soon(self._visit, deed)
                await trio.sleep(self.chance.expovariate(self.rate))
            nursery.cancel_scope.deadline = trio.current_time() + min(_LAST_STAY_S, seconds / 2)

    async def _visit(self, deed: Callable[["Visit"], Awaitable[None]]) -> None:
        self.running += 1
        self.counts[deed.__name__.replace("_", " ")] += 1
        try:
            with trio.move_on_after(_GIVES_UP_S) as patience:
                await Visit(self, await trio.open_tcp_stream(*self.place.address)).run(deed)
            if patience.cancelled_caught:
                self.broken.append(f"{deed.__name__}: no end within {_GIVES_UP_S:.0f} s")
        except BrokenAnswerError as error:
            self.broken.append(f"{deed.__name__}: {error}")
        except OSError as error:
            self.broken.append(f"{deed.__name__}: {error!r}")
        finally:
            self.running -= 1

    def question(self, *, keyed: str = "") -> tuple[str, dict[str, Any]]:
        """Draw a path and what is asked there; the same for the same idempotency key."""
        chance = random.Random(keyed) if keyed else self.chance
        client = chance.choice(tuple(PATHS))
        path = chance.choice(PATHS[client])
        self._prompts += 1
        prompt = f"Count to ten, {keyed or self._prompts}." + " and on" * chance.choice((0, 0, 10, 400))
        fields: dict[str, Any] = {"model": self._model(chance), "stream": chance.random() < 0.7}
        if client == "responses":
            return path, {**fields, "input": prompt}
        return path, {**fields, "max_tokens": 512, "messages": [{"role": "user", "content": prompt}]}

    def _model(self, chance: random.Random) -> str:
        if chance.random() < 0.25:
            return chance.choice((FALLS_BACK, FALLS_BACK, RACES, RACES, ALL_FAIL))
        provider = chance.choice(tuple(PROVIDERS))
        if chance.random() < 0.1:
            return f"{provider}-{chance.choice(BILLED_ON)}"
        return f"{provider}-{chance.choice(tuple(SOUND) if chance.random() < 0.75 else tuple(FAULTY))}"

    def idempotency_key(self) -> str:
        """Draw a key that others use too."""
        self.asked += 1
        return f"soak-{self.asked // _KEY_LASTS}-{self.chance.randrange(_KEYED)}"

    def noted(self, status: int, inference_id: str | None) -> None:
        """Count an answer, and remember whom it is the answer of."""
        self.counts[f"status {status}"] += 1
        if inference_id:
            self._receipts = [*self._receipts[-20:], inference_id]

    def receipt_path(self) -> str:
        """Return where one of the last receipts is."""
        return f"/v1/audit/{self.chance.choice(self._receipts or ['inf_none'])}"


@attrs.define
class Visit:
    """One client on one connection."""

    load: Load
    stream: trio.SocketStream
    raw: bytearray = attrs.field(factory=bytearray)

    @property
    def chance(self) -> random.Random:
        """Where everything is drawn from."""
        return self.load.chance

    async def run(self, deed: Callable[["Visit"], Awaitable[None]]) -> None:
        """Do it; whatever the gateway does to a connection that was left meanwhile is no error."""
        try:
            await deed(self)
        finally:
            await trio.aclose_forcefully(self.stream)

    # what deeds are made of

    async def send(
        self, path: str, body: bytes = b"", *, key: str = "", more: tuple[str, ...] = (), last: bool = True
    ) -> None:
        """Send a request; without a body it is a GET."""
        lines = (
            f"{'POST' if body else 'GET'} {path} HTTP/1.1", "host: soak",
            f"authorization: Bearer {key or self.load.place.keys[STEADY]}", "content-type: application/json",
            f"content-length: {len(body)}", f"connection: {'close' if last else 'keep-alive'}",
            f"x-ainf-labels: run={self.chance.randrange(10)}", *more, "", "",
        )  # fmt: skip
        await self.stream.send_all("\r\n".join(lines).encode() + body)

    async def ask(self, *, key: str = "", more: tuple[str, ...] = (), last: bool = True, keyed: str = "") -> None:
        """Ask a model something."""
        path, question = self.load.question(keyed=keyed)
        await self.send(path, json.dumps(question).encode(), key=key, more=more, last=last)

    async def read_to_the_end(self) -> int:
        """Read one answer whole; return its status.

        Raises:
            BrokenAnswerError: the connection ended before.
        """
        while (size := answer_size(self.raw)) is None:
            try:
                data = await self.stream.receive_some(65_536)
            except trio.BrokenResourceError:
                data = b""
            if not data:
                raise BrokenAnswerError(f"cut off after {bytes(self.raw[-200:])!r}")
            self.raw += data
        head = bytes(self.raw).partition(b"\r\n\r\n")[0].decode("latin-1").lower()
        status, inference_id = int(head[9:12]), None
        for line in head.split("\r\n"):
            if line.startswith("x-ainf-inference-id: "):
                inference_id = line.partition(": ")[2]
        self.load.noted(status, inference_id)
        del self.raw[:size]
        return status

    async def read_some(self, seconds: float) -> None:
        """Read for some time, or to the end."""
        with trio.move_on_after(seconds):
            try:
                while await self.stream.receive_some(65_536):
                    pass
            except trio.BrokenResourceError:
                pass

    # deeds

    async def stay(self) -> None:
        """Read to the end."""
        await self.ask()
        await self.read_to_the_end()

    async def ask_again(self) -> None:
        """Ask several times on one connection."""
        for left in range(self.chance.randrange(2, 5), 0, -1):
            await self.ask(last=left == 1)
            await self.read_to_the_end()

    async def leave(self) -> None:
        """Close the connection before the head, or in the middle."""
        await self.ask()
        await self.read_some(self.chance.choice((0, 0.02, 0.2, 0.6)))

    async def reset(self) -> None:
        """Break the connection."""
        await self.ask()
        await self.read_some(self.chance.choice((0.02, 0.2, 0.6)))
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    async def stall(self) -> None:
        """Read nothing for longer than a client may."""
        await self.ask()
        await trio.sleep(self.chance.uniform(1, 4))
        await self.read_some(5)

    async def repeat_under_one_key(self) -> None:
        """Ask what others ask under the same idempotency key: at once, later, or after its end."""
        name = self.load.idempotency_key()
        for left in (1, 0):
            await self.ask(more=(f"idempotency-key: {name}",), keyed=name, last=not left)
            await self.read_to_the_end()

    async def spend_what_is_left(self) -> None:
        """Ask on an account that has little left."""
        await self.ask(key=self.load.place.keys[CAPPED])
        await self.read_to_the_end()

    async def use_a_key_that_goes(self) -> None:
        """Ask with a key that may be revoked by now, or soon."""
        await self.ask(key=self.load.place.keys[REVOKED])
        await self.read_to_the_end()

    async def be_late(self) -> None:
        """Give the gateway less time than most answers take."""
        await self.ask(more=(f"x-ainf-deadline-ms: {self.chance.choice((1, 100, 400))}",))
        await self.read_to_the_end()

    async def look(self) -> None:
        """Ask for what is known: a receipt, usage, metrics."""
        await self.send(self.load.receipt_path(), last=False)
        await self.read_to_the_end()
        await self.send(self.chance.choice(_READS))
        await self.read_to_the_end()

    async def be_wrong(self) -> None:
        """Send what is no request, or present a key that is none."""
        if self.chance.random() < 0.5:
            await self.send("/v1/chat/completions", self.chance.choice(_GARBAGE))
        else:
            await self.ask(key="ainf_00000000_nobody")
        await self.read_to_the_end()

    async def say_half(self) -> None:
        """Send a part of a request, and leave."""
        await self.stream.send_all(b"POST /v1/messages HTTP/1.1\r\nhost: soak\r\ncontent-length: 100\r\n\r\n{")
        await trio.sleep(self.chance.uniform(0, 1))


DEEDS: Final[dict[Callable[[Visit], Awaitable[None]], int]] = {
    Visit.stay: 40,
    Visit.ask_again: 6,
    Visit.leave: 12,
    Visit.reset: 4,
    Visit.stall: 3,
    Visit.repeat_under_one_key: 8,
    Visit.spend_what_is_left: 8,
    Visit.use_a_key_that_goes: 5,
    Visit.be_late: 4,
    Visit.look: 6,
    Visit.be_wrong: 3,
    Visit.say_half: 1,
}
"""By weight."""


def answer_size(raw: bytes | bytearray) -> int | None:
    """Return how many bytes the first answer has, None where it is not whole."""
    end = raw.find(b"\r\n\r\n")
    if end < 0:
        return None
    head, body = bytes(raw[:end]).lower(), end + 4
    if b"\r\ntransfer-encoding: chunked" in head:
        last = raw.find(b"\r\n0\r\n\r\n", end)
        return None if last < 0 else last + 7
    size = int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0] or 0)
    return body + size if len(raw) >= body + size else None
