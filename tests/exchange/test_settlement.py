"""From an ending to its numbers: a table."""

from types import SimpleNamespace

import attrs
import pytest

from ainf.admission import Admission
from ainf.exchange.attempt import Attempt
from ainf.exchange.hold import RunningHold
from ainf.exchange.plan import Plan
from ainf.exchange.settlement import NOTHING, Course, End, EndedAttempt, blind_end, end_of, finish_reason_of, reckon
from ainf.formats.base import Answer
from ainf.inference.events import FinishReason
from ainf.inference.outcome import Ending, Evidence, Verdict
from ainf.inference.request import Operation
from ainf.inference.usage import Usage
from ainf.ledger import CapState, Window
from ainf.store.base import AttemptResult
from tests.exchange.test_hold import RATE, admission

IN = 1_000
ESTIMATE = 10  # tokens of input, by our count
GOOD = Usage(input_tokens=7, output_tokens=3)


@attrs.define
class FakePlan:
    admission: Admission
    finish_reasons: str = "extended"
    is_translated: bool = False
    inference_id: str = "inf_1"
    request: SimpleNamespace = attrs.field(factory=lambda: SimpleNamespace(operation=Operation.GENERATE))
    route: None = None


@attrs.define
class FakePipe:
    answer: Answer


@attrs.define
class FakeAttempt:
    pipe: FakePipe
    has_head: bool = True
    plan: Plan | None = None
    hold: RunningHold | None = None
    number: int = 1
    may_answer: bool = False
    aborted_billing: str | None = None


def plan(finish_reasons: str = "extended") -> Plan:
    return FakePlan(admission(), finish_reasons)  # type: ignore[return-value]


def attempt(
    *,
    head: bool = True,
    finish: str | None = None,
    usage: Usage | None = None,
    raw: str | None = None,
    reason: FinishReason = FinishReason.STOP,
    **doubts: bool,
) -> Attempt:
    answer = Answer(
        finish=reason, raw_finish_reason=finish, usage=usage, raw_usage=raw or ("{}" if usage else None), **doubts
    )
    return FakeAttempt(FakePipe(answer), head)  # type: ignore[return-value]


async def grow(want: int, least: int) -> None:
    raise AssertionError


def hold(*, received: int = 0, delivered: int | None = None, tokens: int = 8) -> RunningHold:
    terms = admission()
    running = RunningHold(terms, terms.ask.base_nusd + tokens * RATE, None, grow)  # type: ignore[arg-type]
    running.received = received
    running.delivered = received if delivered is None else delivered
    return running


def on(tried: Attempt | None, hold: RunningHold, plan: Plan | None = None) -> Attempt | None:
    """An attempt with its hold."""
    if tried is not None:
        tried.plan, tried.hold = plan or PLAN, hold
    return tried


def end_with(verdict: Verdict, tried: Attempt | None, hold: RunningHold, course: Course) -> End:
    return end_of(PLAN, verdict, on(tried, hold), hold, course)


PLAN = plan()
COMPLETED, GONE = Verdict(Ending.COMPLETED), Verdict(Ending.CLIENT_DISCONNECTED)
CUT, FAILED = Verdict(Ending.SPEND_CAP_EXCEEDED), Verdict(Ending.UPSTREAM_ERROR, "upstream_error")
METERED = Usage(input_tokens=ESTIMATE, output_tokens=2)

TABLE = [
    # verdict, attempt, received bytes -> usage, evidence, cost, rejected
    (GONE, None, 0, NOTHING, Evidence.METERED, 0, False),
    (FAILED, attempt(head=False), 0, NOTHING, Evidence.METERED, 0, False),
    (FAILED, attempt(head=False, usage=GOOD, finish="stop"), 8, NOTHING, Evidence.METERED, 0, False),
    (FAILED, attempt(), 0, Usage(input_tokens=ESTIMATE), Evidence.METERED, ESTIMATE * IN, False),
    (FAILED, attempt(), 8, METERED, Evidence.METERED, ESTIMATE * IN + 2 * RATE, False),
    (GONE, attempt(), 8, METERED, Evidence.METERED, ESTIMATE * IN + 2 * RATE, False),
    (COMPLETED, attempt(finish="stop", usage=GOOD), 8, GOOD, Evidence.REPORTED, 7 * IN + 3 * RATE, False),
    (GONE, attempt(finish="stop", usage=GOOD), 8, GOOD, Evidence.REPORTED, 7 * IN + 3 * RATE, False),
    (COMPLETED, attempt(finish="stop"), 8, METERED, Evidence.METERED, ESTIMATE * IN + 2 * RATE, False),
    # usage in mid-stream is no final bill, but its input count is known, and its output the least
    (GONE, attempt(usage=GOOD), 12, Usage(input_tokens=7, output_tokens=3), Evidence.METERED, 7 * IN + 3 * RATE, False),
    (GONE, attempt(usage=GOOD), 16, Usage(input_tokens=7, output_tokens=4), Evidence.METERED, 7 * IN + 4 * RATE, False),
    (GONE, attempt(usage=GOOD), 8, GOOD, Evidence.METERED, 7 * IN + 3 * RATE, False),
    (GONE, attempt(usage=Usage(input_tokens=7)), 8, Usage(input_tokens=7, output_tokens=2), Evidence.METERED,
     7 * IN + 2 * RATE, False),
    (GONE, attempt(usage=Usage(), raw="{}"), 8, METERED, Evidence.METERED, ESTIMATE * IN + 2 * RATE, True),
    (COMPLETED, attempt(finish="stop", usage=Usage(input_tokens=7), is_usage_partial=True), 8,
     Usage(input_tokens=7, output_tokens=2), Evidence.METERED, 7 * IN + 2 * RATE, False),
    # usage that cannot be true
    (COMPLETED, attempt(finish="stop", usage=Usage(input_tokens=7)), 8, METERED, Evidence.METERED,
     ESTIMATE * IN + 2 * RATE, True),
    (COMPLETED, attempt(finish="stop", usage=Usage(input_tokens=7, output_tokens=10**6)), 8, METERED, Evidence.METERED,
     ESTIMATE * IN + 2 * RATE, True),
    (COMPLETED, attempt(finish="stop", usage=Usage(input_tokens=10**6, output_tokens=3)), 8, METERED, Evidence.METERED,
     ESTIMATE * IN + 2 * RATE, True),
    (COMPLETED, attempt(finish="stop", raw='"x"'), 8, METERED, Evidence.METERED, ESTIMATE * IN + 2 * RATE, True),
    # a last word that cannot be true, and one that never came: what was told before is no count of the output
    (COMPLETED, attempt(finish="stop", usage=GOOD, is_usage_rejected=True), 8,
     Usage(input_tokens=7, output_tokens=2), Evidence.METERED, 7 * IN + 2 * RATE, True),
    (COMPLETED, attempt(finish="stop", usage=GOOD, is_usage_partial=True), 8,
     Usage(input_tokens=7, output_tokens=2), Evidence.METERED, 7 * IN + 2 * RATE, False),
    # a filter may end an answer before the provider wrote any of it: what was shown then are our own words
    (COMPLETED, attempt(finish="SAFETY", usage=Usage(input_tokens=7), reason=FinishReason.CONTENT_FILTER), 40,
     Usage(input_tokens=7), Evidence.REPORTED, 7 * IN, False),
    # cut for money: what came beyond the hold is not charged
    (CUT, attempt(), 8, METERED, Evidence.METERED, ESTIMATE * IN + 2 * RATE, False),
    (CUT, attempt(), 400, Usage(input_tokens=ESTIMATE, output_tokens=8), Evidence.METERED, ESTIMATE * IN + 8 * RATE,
     False),
    (CUT, attempt(finish="length", usage=GOOD), 8, GOOD, Evidence.REPORTED, 7 * IN + 3 * RATE, False),
    # anything else is charged for what came, within the hold or not
    (FAILED, attempt(), 400, Usage(input_tokens=ESTIMATE, output_tokens=100), Evidence.METERED,
     ESTIMATE * IN + 100 * RATE, False),
]  # fmt: skip


@pytest.mark.parametrize("row", range(len(TABLE)))
def test_reckoning(row):
    """Each ending with each state of the answer has one usage, one evidence, one cost."""
    verdict, tried, received, usage, evidence, amount, rejected = TABLE[row]
    reckoning = reckon(verdict, on(tried, hold(received=received)))
    assert (reckoning.usage, reckoning.evidence, reckoning.cost_nusd) == (usage, evidence, amount)
    assert reckoning.usage_rejected is rejected


@pytest.mark.parametrize(
    ("ending", "style", "reason"),
    [
        (Ending.COMPLETED, "extended", "odd"),
        (Ending.SPEND_CAP_EXCEEDED, "extended", "spend_cap_exceeded"),
        (Ending.SPEND_CAP_EXCEEDED, "loud", "spend_cap_exceeded"),
        (Ending.SPEND_CAP_EXCEEDED, "strict", "length"),
        (Ending.CLIENT_DISCONNECTED, "extended", None),
        *[
            (ending, "extended", "error")
            for ending in (Ending.UPSTREAM_ERROR, Ending.DEADLINE_EXCEEDED, Ending.SHUTDOWN, Ending.TERMINATED,
                           Ending.INTERNAL_ERROR)
        ],
    ],
)  # fmt: skip
def test_what_the_client_is_told(ending, style, reason):
    """The provider's reason only where the provider ended; a failure never reads as a stop."""
    assert finish_reason_of(Verdict(ending), Answer(raw_finish_reason="odd"), plan(style)) == reason


def test_in_another_format_the_reason_is_our_word_for_it():
    """What the provider said raw stands with its attempt; the client's format has words of its own."""
    translated = FakePlan(admission(), is_translated=True)
    answer = Answer(raw_finish_reason="end_turn", finish=FinishReason.STOP)
    assert finish_reason_of(COMPLETED, answer, translated) == "stop"  # type: ignore[arg-type]


def test_usage_of_the_input_is_believed_in_all_its_parts_when_the_answer_is_cut():
    """What was cached and written to caches stands in the first event of some formats."""
    told = Usage(input_tokens=9, cached_input_tokens=2, cache_write_tokens=3, long_cache_write_tokens=1)
    cut = reckon(FAILED, on(attempt(usage=told), hold(received=0)))
    assert cut.usage == attrs.evolve(told, output_tokens=0)


def test_without_an_answer_there_is_no_reason():
    """Nothing is invented."""
    assert finish_reason_of(COMPLETED, None, plan()) is None


def test_notes_say_what_an_auditor_should_know():
    """Rejected usage, a clamp, frames that could not be read; what came and what was handed over are columns."""
    odd = attempt(raw="5")
    odd.pipe.answer.opaque_frames = 2
    odd.pipe.answer.model = "another-model"
    clamped = hold(received=9, delivered=4)
    clamped.clamp_tokens = 5
    end = end_with(FAILED, odd, clamped, Course())
    told = {"usage_rejected": True, "clamp_tokens": 5, "opaque_frames": 2, "answered_as": "another-model"}
    assert end.notes() == told
    closing = attrs.evolve(end, attempt=None).closing(1)
    assert (closing.received_bytes, closing.output_bytes) == (9, 4)
    plain = end_with(COMPLETED, attempt(finish="stop", usage=GOOD), hold(received=9, delivered=4), Course())
    assert plain.notes() == {}, "a whole answer is handed over with its end"


def test_a_cut_costs_no_more_than_its_hold():
    """Cut for money, also an input that the provider says was larger than its bound is charged inside the hold."""
    larger = attempt(usage=Usage(input_tokens=100, output_tokens=1))
    assert reckon(CUT, on(larger, hold(received=8))).cost_nusd == hold().held_nusd
    assert reckon(FAILED, on(larger, hold(received=8))).cost_nusd == 100 * IN + 2 * RATE


def test_a_blind_end_takes_the_whole_hold():
    """Cost unknown, evidence none, no attempt; the client is still told the provider's reason."""
    end = blind_end(plan(), COMPLETED, attempt(finish="stop"), hold(), Course())
    closing = end.closing(5)
    assert closing.cost_nusd is None
    assert closing.evidence is Evidence.NONE
    assert closing.finish_reason == "stop"
    assert closing.attempts == ()
    assert end.outcome.billed_nusd == hold().held_nusd


def ended(evidence: Evidence, amount: int, usage: Usage = GOOD) -> AttemptResult:
    return AttemptResult(
        model="m", upstream_model="m", provider="p", price_version="v", started_at=1, ended_at=2, status=200,
        error_code="upstream_error", provider_request_id=None, response_id=None, raw_usage=None, raw_finish_reason=None,
        usage=usage, evidence=evidence, cost_nusd=amount,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "evidence"),
    [
        ([], Evidence.REPORTED),
        ([ended(Evidence.REPORTED, 5)], Evidence.REPORTED),
        ([ended(Evidence.METERED, 5), ended(Evidence.REPORTED, 6)], Evidence.METERED),
        ([ended(Evidence.METERED, 0, NOTHING)], Evidence.REPORTED),
    ],
)
def test_failed_attempts_keep_their_own_cost(before, evidence):
    """What is settled is the sum of all attempts, and no better founded than the worst of those that cost anything.

    The client is told the usage of the answer that it got.
    """
    others = tuple(EndedAttempt(number, line) for number, line in enumerate(before, 1))
    last = attempt(finish="stop", usage=GOOD)
    last.number = len(before) + 1
    end = end_with(COMPLETED, last, hold(received=9), Course(others, opened=last.number))
    assert end.outcome.billed_nusd == sum(line.cost_nusd for line in before) + 7 * IN + 3 * RATE
    assert end.usage == sum((line.usage for line in before), GOOD)
    assert end.outcome.usage == GOOD
    assert end.outcome.evidence is evidence


def test_an_ending_for_money_names_its_cap():
    """Which cap, in which window: for whoever asks why an answer was cut; what clamped it stands there at any end."""
    cap = CapState("cap_1", 0, 5, 0, 0, Window.HOUR, "key k1")
    course = Course(cap=cap)
    assert end_with(CUT, attempt(), hold(), course).notes() == {"cap_id": "cap_1", "window": "hour"}
    assert end_with(FAILED, attempt(), hold(), course).notes() == {}
    clamped = hold()
    clamped.clamp_tokens, clamped.clamped_by = 5, cap
    assert end_with(FAILED, attempt(), clamped, course).notes() == {"clamp_tokens": 5, "clamped_by": "cap_1"}
