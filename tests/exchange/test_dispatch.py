"""The way to the commit point, where a whole gateway does not show it: what is tried again, how one is let go of."""

from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from ainf.exchange import dispatch
from ainf.exchange.dispatch import FALLS_BACK, lead, let_go, reach_content, retire
from ainf.exchange.settlement import EndedAttempt
from ainf.formats.base import Answer, Reading
from ainf.inference.errors import CODES, AinfError, UpstreamError
from ainf.inference.outcome import Ending, Verdict
from ainf.simulator import Send, Wait, chunk, head, last_chunk
from ainf.simulator.steps import Script
from tests.gateway.backends import INPUT_RATE, OUTPUT_RATE
from tests.gateway.candidates import LIMITS, Candidate, ask_target, check_routed, target_text
from tests.gateway.law import check_ledger
from tests.gateway.world import world

PAIR = target_text(Candidate(), Candidate())
GAP = b": nothing yet\n\n"
DELTA = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"abcdefgh"},"finish_reason":null}]}\n\n'
FINISH = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n'


def test_every_failure_of_a_provider_is_decided_on():
    """All are tried elsewhere but what says that the request itself is wrong; that goes for new codes too."""
    of_providers = {code for code in CODES if code.startswith("upstream_")}
    assert of_providers - FALLS_BACK == {"upstream_rejected"}
    assert FALLS_BACK - of_providers == {"context_length_exceeded"}


# --- leading ---


@attrs.define
class Fake:
    """An attempt that reads as told, and the exchange that it belongs to."""

    readings: list[tuple[Reading, Any]]
    """Each with what the answer is known to be behind it: an error, a finish reason, or nothing."""
    route: object = "a route"
    turn: int | None = 1
    prelude: list[bytes] = attrs.field(factory=list)
    dialled: bool = False
    body_ended: bool = False
    led: list[Reading] = attrs.field(factory=list)
    touched: int = 0
    answer: Answer = attrs.field(factory=Answer)

    @property
    def plan(self) -> Any:
        return SimpleNamespace(route=self.route)

    @property
    def pipe(self) -> Any:
        return SimpleNamespace(answer=self.answer)

    async def dial(self) -> None:
        self.dialled = True

    async def read(self) -> Reading:
        reading, known = self.readings.pop(0)
        if isinstance(known, AinfError):
            self.answer.error = known
        else:
            self.answer.raw_finish_reason = known
        return reading

    # the exchange's side

    @property
    def services(self) -> Any:
        return SimpleNamespace(clocks=SimpleNamespace(prelude_bytes=10))

    @property
    def watcher(self) -> Any:
        return SimpleNamespace(touch=self.touch)

    def touch(self, attempt: object) -> None:
        assert attempt is self
        self.touched += 1

    def take_lead(self, attempt: object, reading: Reading) -> None:
        assert attempt is self
        self.led.append(reading)


def reading(data: bytes = b"", *, content: bool = False, meaningful: bool = False) -> Reading:
    return Reading(data, 0, content, meaningful)


async def led(fake: Fake) -> Reading:
    return await lead(fake, fake)  # type: ignore[arg-type]


async def test_what_comes_before_content_is_kept():
    """In its order, and without what was empty; only what the model says resets its silence."""
    first, second, last = reading(b"a"), reading(b"bc", meaningful=True), reading(b"d", content=True, meaningful=True)
    fake = Fake([(first, None), (reading(), None), (second, None), (last, None)])
    assert await led(fake) is last
    assert (fake.prelude, fake.led, fake.touched) == ([b"a", b"bc"], [last], 2)


async def test_the_evidence_of_an_end_is_content_enough():
    """An answer without a word has its own end, which is the client's."""
    fake = Fake([(reading(b"x"), None), (reading(), "stop")])
    assert (await led(fake)).data == b""
    assert len(fake.led) == 1


async def test_an_error_in_the_answer_is_why_it_failed():
    """With all that it says, and after what came with it was kept."""
    error = AinfError("context_length_exceeded", "Too long.", param="messages", retry_after_s=7)
    fake = Fake([(reading(b"a"), None), (reading(b"b"), error)])
    with pytest.raises(UpstreamError) as caught:
        await led(fake)
    told = caught.value
    assert (told.code, told.message, told.param, told.retry_after_s) == (error.code, "Too long.", "messages", 7)
    assert (fake.prelude, fake.led) == ([b"a", b"b"], [])


@pytest.mark.parametrize(("size", "fails"), [(10, False), (11, True)])
async def test_a_prelude_has_a_limit(size, fails):
    """What is kept for a client in several reads is bounded."""
    fake = Fake([(reading(b"a" * 5), None), (reading(b"b" * (size - 5)), None), (reading(content=True), None)])
    if not fails:
        await led(fake)
        return
    with pytest.raises(UpstreamError, match="upstream_protocol"):
        await led(fake)


@pytest.mark.parametrize("route", [None, "a route"])
async def test_who_rests_is_not_dialled_unless_it_is_pinned(route):
    """Between decision and dial others may have failed: a client that names the model asks it all the same."""
    fake = Fake([(reading(content=True), None)], route=route, turn=None)
    if route is None:
        await led(fake)
    else:
        with pytest.raises(UpstreamError, match="upstream_overloaded"):
            await led(fake)
    assert fake.dialled is (route is None)


@attrs.define
class Exchange(Fake):
    """... which has ended in the very step in which its provider failed."""

    opened: int = 1
    hold: object = None
    arbiter: Any = attrs.field(factory=lambda: SimpleNamespace(verdict=Verdict(Ending.CLIENT_DISCONNECTED)))
    services: Any = None
    route: Any = attrs.field(factory=lambda: SimpleNamespace(hedges=False))

    @property
    def plan(self) -> Any:
        terms = SimpleNamespace(name="m", provider="p")
        return SimpleNamespace(route=self.route, admission=SimpleNamespace(terms=terms))

    @property
    def attempt(self) -> "Exchange":
        return self

    def begin_attempt(self, plan: Any, hold: object) -> "Exchange":
        assert (plan.route, hold, self.opened) == (self.route, self.hold, 1)
        return self

    def note_failure(self, attempt: object, error: UpstreamError) -> UpstreamError:
        assert attempt is self
        return error

    async def dial(self) -> None:
        raise UpstreamError("upstream_overloaded", "Too much.")


async def test_behind_an_ending_nobody_else_is_tried():
    """A failure that comes with the exchange's own end opens nothing, and leaves the attempt to that."""
    with pytest.raises(UpstreamError, match="upstream_overloaded"):
        await reach_content(Exchange([]))  # type: ignore[arg-type]


# --- letting go ---


@attrs.define
class Call:
    """A call to a provider, and what its socket still holds."""

    left: bytes = b""
    is_complete: bool = False
    did: list[str] = attrs.field(factory=list)

    def abort(self) -> None:
        self.did.append("abort")

    async def aclose(self) -> None:
        self.did.append("aclose")

    async def residue(self) -> bytes:
        return self.left


@attrs.define
class Failed:
    """An attempt to be let go of."""

    call: Call
    fails: Exception | None = None
    body_ended: bool = False
    has_head: bool = True
    error_code: str | None = None
    answer: Answer = attrs.field(factory=Answer)
    taken: list[str] = attrs.field(factory=list)
    plan: Any = attrs.field(factory=lambda: SimpleNamespace(inference_id="inf_1"))

    @property
    def pipe(self) -> Any:
        return self

    def notice_late_head(self) -> None:
        pass

    def receive(self, data: bytes) -> str:
        if self.fails is not None:
            raise self.fails
        return data.decode()

    def receive_eof(self) -> str:
        return "the end"

    def take_residue(self, what: str) -> None:
        self.taken.append(what)


@attrs.define
class Alarms:
    """Telemetry that remembers defects."""

    defects: list[str] = attrs.field(factory=list)

    @property
    def telemetry(self) -> "Alarms":
        return self

    def defect(self, where: str, error: Exception, **facts: str) -> None:
        assert facts == {"inference_id": "inf_1"}
        self.defects.append(f"{where}: {error}")


async def let_it_go(failed: Failed) -> Alarms:
    alarms = Alarms()
    await let_go(alarms, failed)  # type: ignore[arg-type]
    return alarms


async def test_a_body_that_ended_leaves_its_connection():
    """It can serve the next call; nothing is broken off."""
    failed = Failed(Call(b"x"), body_ended=True)
    await let_it_go(failed)
    assert (failed.call.did, failed.taken) == (["aclose"], [])


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({}, ["rest"]),
        ({"has_head": False}, []),  # it was no answer
        ({"answer": Answer(raw_finish_reason="stop")}, []),  # it is counted by the provider's own word
        ({"call": Call(b"rest", is_complete=True)}, ["rest", "the end"]),
        ({"call": Call(b"", is_complete=True)}, ["the end"]),
        ({"call": Call(b"", is_complete=True), "error_code": "upstream_error"}, []),  # its end is known already
    ],
)
async def test_what_the_socket_held_is_counted(change, taken):
    """Of what was an answer, up to its end where that came too."""
    failed = attrs.evolve(Failed(Call(b"rest")), **change)
    alarms = await let_it_go(failed)
    assert (failed.call.did, failed.taken, alarms.defects) == (["abort"], taken, [])


@pytest.mark.parametrize(
    ("fails", "defects"),
    [(UpstreamError("upstream_protocol", "Garbage."), []), (ZeroDivisionError("a bug"), ["residue: a bug"])],
)
async def test_what_cannot_be_read_of_it_stops_nothing(fails, defects):
    """Garbage is the provider's; a defect is ours and is told, and the exchange goes on."""
    failed = Failed(Call(b"rest"), fails)
    alarms = await let_it_go(failed)
    assert (failed.taken, alarms.defects) == ([], defects)


@pytest.mark.parametrize("is_late", [False, True])
async def test_one_that_was_cut_short_is_charged_what_had_come(is_late, tmp_path, autojump_clock):
    """What its provider had sent behind the prelude that was too long is read, without waiting, and paid."""
    async with world(tmp_path, "sim", limits=LIMITS + "\nprelude_bytes = 2000", after=PAIR) as here:
        answer = Send(b"".join(chunk(data).data for data in (DELTA, FINISH, USAGE, b"data: [DONE]\n\n")))
        prelude = Send(chunk(GAP).data * 6_000)  # more than one read
        later = [Wait(1), answer] if is_late else [attrs.evolve(prelude, data=prelude.data + answer.data)]
        here.simulator.set_script(Script([head(), *([prelude] if is_late else []), *later, last_chunk()]))
        client = await ask_target(here)
        first = (await check_routed(here, client, "fell_back", ["upstream_protocol", None]))["attempts"][0]
        estimate = first["usage"]["input_tokens"] * INPUT_RATE
        reported = 7 * INPUT_RATE + 3 * OUTPUT_RATE
        assert (first["evidence"], first["cost_nusd"]) == (("metered", estimate) if is_late else ("reported", reported))


# --- retiring ---


async def test_an_attempt_that_cannot_be_reckoned_ends_its_exchange(tmp_path, autojump_clock, monkeypatch):
    """A bug in the arithmetic of one that failed: nobody else is asked, and the whole hold is taken."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    async with world(tmp_path, "sim", after=target_text(Candidate("sim-error-500"), Candidate())) as here:
        monkeypatch.setattr(dispatch, "reckon", broken)
        client = await ask_target(here)
        receipt = await here.receipt(client.inference_id)
        assert (client.status, receipt["ending"], receipt["routing"]["status"]) == (500, "internal_error", "failed")
        assert len(here.simulator.books.entries) == 1
        await check_ledger(here, admitted=1)


async def test_retiring_tells_the_exchange_and_the_ledger(tmp_path, autojump_clock):
    """Its line with its cost is kept, for the next opening too; its hold asks for no more, and its model is free."""
    async with world(tmp_path, "sim", limits=LIMITS, after=target_text(Candidate("sim-delay-1s"), Candidate())) as here:
        seen: list[Any] = []
        begin = here.gateway.services.health.begin

        def look(attempt: Any) -> None:
            begin(attempt)
            seen.append(attempt)

        here.gateway.services.health.begin = look  # type: ignore[method-assign]
        freed: list[Any] = []
        here.gateway.services.health.gave_up = freed.append  # type: ignore[method-assign]
        await ask_target(here)
        (attempt,) = seen
        exchange: Any = SimpleNamespace(
            services=here.gateway.services,
            ended=[],
            newly_ended=[],
            dropped=[],
            drop=lambda one: freed.append("dropped"),
        )
        await retire(exchange, attempt, Verdict(Ending.UPSTREAM_ERROR, "upstream_error"))
        (ended,) = exchange.ended
        assert isinstance(ended, EndedAttempt)
        assert (exchange.newly_ended, ended.number, ended.result.model) == ([ended], 1, "target-1")
        assert ended.result.cost_nusd > 0
        assert freed[-2:] == [attempt, "dropped"]
        with pytest.raises(AssertionError, match="an ended exchange"):
            await attempt.hold._extend(1, 1)
