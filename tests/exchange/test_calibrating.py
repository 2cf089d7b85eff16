"""What is learnt of an end, when it comes into force, and when it is kept."""

from io import StringIO

import attrs
import pytest
import trio

from ainf.admission import Admission, ModelTerms, Reads, admit
from ainf.calibration import LEAST_INPUTS, LEAST_OUTPUTS, Calibration
from ainf.exchange.calibrating import SAVE_S, TICK_S, Calibrator, keep_calibrated
from ainf.formats.base import Answer
from ainf.inference.conversation import ReasoningAsk
from ainf.inference.errors import GatewayError
from ainf.inference.events import FinishReason
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.request import InferenceRequest, Operation
from ainf.inference.usage import Usage
from ainf.metering import MeterRatios
from ainf.pricing import FREE
from ainf.providers.base import Facts
from ainf.telemetry import Telemetry

CONFIGURED = MeterRatios(mean=4000, low=2000, image_tokens=1600)
TERMS = ModelTerms(
    name="gpt", provider="openai", upstream_model="gpt-2026", max_output_tokens=4096, min_output_tokens=16, price=FREE,
    ratios=CONFIGURED, slice_tokens=1024,
)  # fmt: skip
REQUEST = InferenceRequest(
    protocol="chat", path="/v1/chat/completions", model="gpt", stream=True, include_usage=True, max_output_tokens=None,
    input_bytes=400, bound_bytes=480, attachment_count=0, has_tools=False, fields={},
)  # fmt: skip
USAGE = Usage(input_tokens=100, output_tokens=50)


@attrs.define
class Vendor:
    facts: Facts = attrs.field(factory=Facts)


@attrs.define
class Backend:
    provider: Vendor = attrs.field(factory=Vendor)


@attrs.define
class Plan:
    request: InferenceRequest
    admission: Admission
    backend: Backend


@attrs.define
class Pipe:
    answer: Answer


@attrs.define
class Attempt:
    pipe: Pipe


@attrs.define
class Hold:
    received: int


@attrs.define
class End:
    """An end, as far as it is learnt of."""

    plan: Plan
    outcome: Outcome
    attempt: Attempt | None
    hold: Hold


def end(
    usage=USAGE, *, terms=TERMS, request=REQUEST, asked=None, ending=Ending.COMPLETED, evidence=Evidence.REPORTED,
    answer=None, received=150, facts=None,
):  # fmt: skip
    plan = Plan(request, admit(request, terms, Reads(asked)), Backend(Vendor(facts or Facts())))
    outcome = Outcome(Verdict(ending), "stop", usage, evidence, 0)
    return End(plan, outcome, Attempt(Pipe(answer or Answer(raw_finish_reason="stop"))), Hold(received))


def learnt(*ends, terms=TERMS):
    calibrator = Calibrator([terms])
    for each in ends:
        calibrator.note(each)
    return calibrator.known(terms.name)


def test_a_whole_answer_teaches_output_and_input():
    """By its bytes and the tokens that were reported; and how far its own metering would have been off."""
    known = learnt(end())

    assert (known.output.numerator, known.output.denominator) == (150, 50)
    assert (known.input.numerator, known.input.denominator) == (400, 100)
    assert (known.bound.numerator, known.bound.denominator) == (480, 100)
    assert (known.output_error.numerator, known.output_error.denominator) == (38, 50)
    assert known.input_error.numerator == 100
    assert known.shortfall.counts[0] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"evidence": Evidence.METERED},
        {"evidence": Evidence.NONE},
        {"ending": Ending.SPEND_CAP_EXCEEDED},
        {"ending": Ending.CLIENT_DISCONNECTED},
        {"answer": Answer(opaque_frames=1)},
        {"request": attrs.evolve(REQUEST, operation=Operation.COUNT)},
        {"terms": attrs.evolve(TERMS, name="unknown")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_is_not_whole_and_believed_teaches_nothing(changes):
    """Our own count, an answer that was broken off or could not all be read, a count of tokens, another's model."""
    assert learnt(end(**changes)).is_empty


def test_nothing_was_called():
    """An exchange without an attempt teaches nothing."""
    assert learnt(attrs.evolve(end(), attempt=None)).is_empty


@pytest.mark.parametrize(
    ("changes", "has_output", "has_input"),
    [
        ({"usage": Usage(input_tokens=100)}, False, True),
        ({"received": 0}, False, True),
        ({"usage": Usage(output_tokens=50)}, True, False),
        ({"answer": Answer(finish=FinishReason.CONTENT_FILTER)}, False, True),
        ({"usage": Usage(input_tokens=100, output_tokens=50, audio_output_tokens=1)}, False, True),
        ({"usage": Usage(input_tokens=100, output_tokens=50, audio_input_tokens=1)}, True, False),
        ({"request": attrs.evolve(REQUEST, attachment_count=1)}, True, False),
        ({"request": attrs.evolve(REQUEST, previous_response_id="resp_1")}, True, False),
        ({"request": attrs.evolve(REQUEST, operation=Operation.EMBED), "received": 0}, False, True),
    ],
)
def test_only_text_that_was_seen_whole_teaches(changes, has_output, has_input):
    """Images, sound, what a provider stores, and what a filter keeps back have tokens, but no bytes here."""
    known = learnt(end(**changes))

    assert (known.output.samples == 1, known.input.samples == 1) == (has_output, has_input)


THOUGHT = Usage(input_tokens=100, output_tokens=50, reasoning_tokens=20)
ASKED = ReasoningAsk(effort="high")


@pytest.mark.parametrize(
    ("hidden", "usage", "asked", "shows", "shown"),
    [
        ("never", THOUGHT, None, False, 50),
        ("always", USAGE, None, False, 50),
        ("always", THOUGHT, None, False, 30),
        ("always", THOUGHT, ASKED, False, 30),
        ("always", THOUGHT, attrs.evolve(ASKED, is_shown=False), True, 30),
        ("always", THOUGHT, attrs.evolve(ASKED, is_shown=True), False, 0),
        ("always", THOUGHT, None, True, 0),
        ("asked", USAGE, None, False, 50),
        ("asked", USAGE, ASKED, False, 0),
        ("asked", THOUGHT, ASKED, False, 30),
        ("asked", USAGE, ReasoningAsk(effort="none"), False, 50),
    ],
)
def test_reasoning_that_is_not_shown_is_taken_off(hidden, usage, asked, shows, shown):
    """Visible bytes are compared with the tokens that they are; where these cannot be told apart, with none."""
    terms = attrs.evolve(TERMS, hidden_reasoning=hidden)
    known = learnt(end(usage, terms=terms, asked=asked, facts=Facts(shows_reasoning=shows)), terms=terms)

    assert known.output.denominator == shown


def test_ratios_change_when_enough_is_known():
    """Once, and again when they are others; a model that is not to learn keeps its own, though errors are known."""
    fixed = attrs.evolve(TERMS, name="fixed", metering="configured")
    calibrator = Calibrator([TERMS, fixed])
    for _ in range(LEAST_OUTPUTS):
        calibrator.note(end())
        calibrator.note(end(terms=fixed))

    assert calibrator.changed_ratios() == {"gpt": attrs.evolve(CONFIGURED, mean=3000, input_mean=4000)}
    assert calibrator.changed_ratios() == {}
    assert calibrator.known("fixed").output_error.samples == LEAST_OUTPUTS
    for _ in range(LEAST_INPUTS):
        calibrator.note(end())
    assert calibrator.changed_ratios()["gpt"].low > 4000


def test_only_what_is_of_the_same_model_is_adopted():
    """A model whose provider or name there has changed begins anew; one that is not configured is ignored."""
    calibrator = Calibrator([TERMS])
    kept = Calibration("openai", "gpt-2026")
    kept.note_output(300, 100, 75)

    calibrator.adopt({"gpt": attrs.evolve(kept, upstream_model="gpt-2025"), "gone": kept})
    assert calibrator.known("gpt").is_empty
    calibrator.adopt({"gpt": kept})
    assert calibrator.known("gpt") == kept


@attrs.define
class Kept:
    """A store that keeps, is away when told, and knows what it was given and when."""

    away: bool = False
    kept: dict[str, Calibration] = attrs.field(factory=dict)
    given_at: list[float] = attrs.field(factory=list)
    slow_s: float = 0.0

    async def add_calibrations(self, learnt):
        self.given_at.append(trio.current_time())
        await trio.sleep(self.slow_s)
        if self.away:
            raise GatewayError("store_unavailable", "away")
        for name, fresh in learnt.items():
            self.kept[name] = self.kept[name].merged(fresh) if name in self.kept else fresh
        return {name: self.kept[name] for name in learnt}


async def test_what_is_saved_is_saved_once():
    """What is new goes to the store, and only that."""
    calibrator, store = Calibrator([TERMS]), Kept()
    await calibrator.save(store)
    assert store.given_at == []

    for samples in (1, 2):
        calibrator.note(end())
        await calibrator.save(store)
        assert store.kept["gpt"].output.samples == calibrator.known("gpt").output.samples == samples


async def test_what_cannot_be_saved_is_not_lost(autojump_clock):
    """Neither what was given nor what came meanwhile; all of it is given the next time."""
    calibrator, store = Calibrator([TERMS]), Kept(away=True, slow_s=1.0)
    calibrator.note(end())

    async def learn_meanwhile():
        await trio.sleep(0.5)
        calibrator.note(end())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(learn_meanwhile)
        with pytest.raises(GatewayError):
            await calibrator.save(store)
    assert calibrator.known("gpt").output.samples == 2
    store.away = False
    await calibrator.save(store)
    assert store.kept["gpt"].output.samples == calibrator.known("gpt").output.samples == 2


async def test_ratios_come_into_force_at_a_tick_and_are_saved_now_and_then(autojump_clock):
    """Within ten seconds in force, within a minute and a tick durable, and once more at the end."""
    calibrator, store, applied = Calibrator([TERMS]), Kept(), []
    began = trio.current_time()

    def apply(ratios):
        if ratios:
            applied.append((trio.current_time() - began, ratios["gpt"].mean))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_calibrated, calibrator, store, Telemetry(StringIO()), apply)
        await trio.sleep(1)
        for _ in range(LEAST_OUTPUTS):
            calibrator.note(end())
        await trio.sleep(SAVE_S + TICK_S)
        assert applied == [(TICK_S, 3000)]
        assert [at - began for at in store.given_at] == [SAVE_S]
        await trio.sleep(10 * SAVE_S)
        assert len(store.given_at) == 1
        calibrator.note(end())
        nursery.cancel_scope.cancel()
    assert store.kept["gpt"].output.samples == LEAST_OUTPUTS + 1


@pytest.mark.parametrize("slow_s", [0.0, 60.0])
async def test_a_store_that_is_away_harms_nothing(autojump_clock, slow_s):
    """It is logged, tried again, and at the end waited for no longer than a second."""
    calibrator, store, log = Calibrator([TERMS]), Kept(away=True, slow_s=slow_s), StringIO()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_calibrated, calibrator, store, Telemetry(log), lambda _: None)
        await trio.sleep(1)
        calibrator.note(end())
        await trio.sleep(3 * (SAVE_S + TICK_S + slow_s))
        ended = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() <= ended + 1
    assert log.getvalue().count("calibration_refused") >= 2
    assert calibrator.known("gpt").output.samples == 1


async def test_a_defect_in_saving_ends_nothing(autojump_clock):
    """It is an alarm; what was learnt is given again."""

    class Odd(Kept):
        async def add_calibrations(self, learnt):
            if not self.given_at:
                self.given_at.append(trio.current_time())
                raise AssertionError("a bug")
            return await super().add_calibrations(learnt)

    calibrator, store, log = Calibrator([TERMS]), Odd(), StringIO()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_calibrated, calibrator, store, Telemetry(log), lambda _: None)
        await trio.sleep(1)
        calibrator.note(end())
        await trio.sleep(3 * (SAVE_S + TICK_S))
        nursery.cancel_scope.cancel()
    assert log.getvalue().count('"where":"calibration"') == 1
    assert store.kept["gpt"].output.samples == 1
