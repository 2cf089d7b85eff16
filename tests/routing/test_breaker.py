"""Models that fail are let rest: what opens a breaker, what closes it, and who may probe."""

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ainf.routing.breaker import MOST_RETRY_S, MOST_TIMES, Breaker, Breakers, BreakerState

FAILURES, OPEN_S = 3, 10.0


def opened(at: float = 0.0) -> Breaker:
    """Return a breaker that so many failures have just opened."""
    breaker = Breaker(FAILURES, OPEN_S)
    for _ in range(FAILURES):
        breaker.failed(breaker.begin(at), at)
    return breaker


def test_failures_one_after_the_other_open_it():
    """The last of so many failures opens it, and is told so; until then all may ask."""
    breaker = Breaker(FAILURES, OPEN_S)
    told = []
    for now in range(FAILURES):
        assert breaker.may_try(now)
        told.append(breaker.failed(breaker.begin(now), now))
    assert told == [False, False, True]
    assert (breaker.may_try(2.5), breaker.rests_s(2.5), breaker.begin(2.5)) == (False, 9.5, None)


def test_a_success_between_begins_the_count_anew():
    """Only failures that nothing parts add up."""
    breaker = Breaker(FAILURES, OPEN_S)
    for _ in range(5):
        for _ in range(FAILURES - 1):
            assert not breaker.failed(breaker.begin(0), 0)
        breaker.succeeded(breaker.begin(0))
    assert breaker.state(0) is BreakerState.CLOSED


def test_those_that_ran_at_once_add_up_too():
    """Failures count in the order in which they end, however they were begun."""
    breaker = Breaker(FAILURES, OPEN_S)
    turns = [breaker.begin(0) for _ in range(5)]
    assert [breaker.failed(turn, 1) for turn in turns] == [False, False, True, False, False]
    assert breaker.rests_s(1) == OPEN_S


def test_one_that_gives_up_is_no_failure():
    """A client that leaves says nothing of the provider; what runs beside it counts as ever."""
    breaker = Breaker(1, OPEN_S)
    other = breaker.begin(0)
    breaker.gave_up(breaker.begin(0))
    assert breaker.state(0) is BreakerState.CLOSED
    assert breaker.failed(other, 0)


def test_its_states():
    """It is closed, then open for its time, then half-open until a probe has succeeded."""
    breaker = opened(at=5.0)
    assert [breaker.state(now) for now in (5.0, 14.9, 15.0, 99.0)] == ["open", "open", "half_open", "half_open"]
    breaker.succeeded(breaker.begin(15.0))
    assert (breaker.state(15.0), breaker.rests_s(15.0)) == ("closed", None)


def test_one_probe_at_a_time():
    """While one is under way the model rests for all others."""
    breaker = opened()
    assert breaker.rests_s(10) is None
    assert breaker.begin(10) is not None
    assert (breaker.may_try(11), breaker.begin(11), breaker.rests_s(11)) == (False, None, OPEN_S)


def test_a_probe_that_gives_up_gives_its_place_back():
    """The next request may be the probe then, at once; also where giving up is said after another word."""
    breaker = opened()
    breaker.gave_up(breaker.begin(10))
    probe = breaker.begin(10)
    assert breaker.failed(probe, 11)
    breaker.gave_up(probe)
    assert breaker.rests_s(11) == 2 * OPEN_S


def test_a_place_is_given_back_once():
    """Who gives up twice does not give away the place of the next one."""
    breaker = opened()
    first = breaker.begin(10)
    breaker.gave_up(first)
    breaker.begin(10)
    breaker.gave_up(first)
    assert breaker.begin(10) is None


def test_each_probe_that_fails_doubles_the_rest():
    """Up to eight times the first; after a success it begins with the first again."""
    breaker, now, rests = opened(), 0.0, []
    for _ in range(5):
        rests.append(breaker.rests_s(now))
        now += rests[-1]
        assert breaker.failed(breaker.begin(now), now)
    assert rests == [10, 20, 40, 80, 80]
    now += 80
    breaker.succeeded(breaker.begin(now))
    rests.clear()
    for _ in range(FAILURES + 1):
        now += breaker.rests_s(now) or 0
        breaker.failed(breaker.begin(now), now)
        rests.append(breaker.rests_s(now))
    assert rests == [None, None, 10, 20]


@pytest.mark.parametrize(("told", "rest"), [(-3, 1), (0, 1), (1, 1), (30, 30), (300, 300), (4000, MOST_RETRY_S)])
def test_a_provider_that_says_when(told, rest):
    """Its first word opens the breaker, for as long as it says, within bounds."""
    breaker = Breaker(FAILURES, OPEN_S)
    assert breaker.failed(breaker.begin(7), 7, retry_after_s=told)
    assert breaker.rests_s(7) == rest


def test_a_probe_that_is_told_when():
    """The provider's word says how long, and the next rest of which it says nothing is longer all the same."""
    breaker = opened()
    breaker.failed(breaker.begin(10), 10, retry_after_s=3)
    assert breaker.rests_s(10) == 3
    breaker.failed(breaker.begin(13), 13)
    assert breaker.rests_s(13) == 4 * OPEN_S


def test_what_was_begun_before_it_opened_does_not_close_it():
    """A stream that a provider finishes does not take back that it wants to be left alone."""
    breaker = Breaker(FAILURES, OPEN_S)
    before = breaker.begin(0)
    breaker.failed(breaker.begin(1), 1, retry_after_s=60)
    breaker.succeeded(before)
    assert breaker.rests_s(1) == 60


def test_what_was_begun_before_it_opened_does_not_count_any_more():
    """Requests that an outage hung fail long after it is over: they open nothing, and are no probe."""
    breaker = Breaker(FAILURES, OPEN_S)
    hung = [breaker.begin(0) for _ in range(2 * FAILURES)]
    for turn in hung[:FAILURES]:
        breaker.failed(turn, 1)
    probe = breaker.begin(11)
    assert not breaker.failed(hung[-1], 11)
    breaker.gave_up(hung[-2])
    assert breaker.begin(11) is None
    breaker.succeeded(probe)
    assert [breaker.failed(turn, 12) for turn in hung] == [False] * len(hung)
    assert breaker.state(12) is BreakerState.CLOSED


def test_what_a_provider_says_late_is_heard():
    """When it wants to be asked again counts whoever is told, and never shortens what it said before."""
    breaker = Breaker(1, OPEN_S)
    hung = [breaker.begin(0) for _ in range(4)]
    breaker.failed(hung.pop(), 0)
    assert not breaker.failed(hung.pop(), 1, retry_after_s=30)
    assert not breaker.failed(hung.pop(), 1, retry_after_s=2)
    assert breaker.rests_s(1) == 30
    breaker.succeeded(breaker.begin(31))
    assert breaker.failed(hung.pop(), 32, retry_after_s=5)
    assert breaker.rests_s(32) == 5


def test_a_probe_under_way_outlives_what_others_are_told():
    """Its success closes the breaker, for it is the later news; its failure shortens nothing."""
    for succeeds in (True, False):
        breaker = Breaker(1, OPEN_S)
        hung, failing = breaker.begin(0), breaker.begin(0)
        breaker.failed(failing, 0)
        probe = breaker.begin(10)
        breaker.failed(hung, 10, retry_after_s=60)
        assert breaker.rests_s(11) == 59
        if succeeds:
            breaker.succeeded(probe)
            assert breaker.rests_s(11) is None
        else:
            breaker.failed(probe, 11)
            assert breaker.rests_s(11) == 59


def test_other_settings():
    """They are in force from the next failure on, and forget nothing."""
    breaker = Breaker(FAILURES, OPEN_S)
    breaker.failed(breaker.begin(0), 0)
    breaker.adopt(2, 4.0)
    assert breaker.failed(breaker.begin(0), 0)
    breaker.adopt(2, 100.0)
    assert breaker.rests_s(0) == 4


def test_each_model_has_its_own():
    """Models of one provider rest by themselves, and one model by provider; asked again, they are the same."""
    breakers = Breakers(1, OPEN_S)
    breaker = breakers.of("openai", "gpt")
    breaker.failed(breaker.begin(0), 0)
    assert breakers.of("openai", "gpt") is breaker
    others = [("openai", "mini"), ("azure", "gpt")]
    assert [breakers.of(*name).may_try(0) for name in others] == [True, True]


def test_other_settings_for_all():
    """What is known of each model is kept; those that are made later have the new settings too."""
    breakers = Breakers(2, OPEN_S)
    known = breakers.of("openai", "gpt")
    known.failed(known.begin(0), 0)
    breakers.adopt(2, 3.0)
    new = breakers.of("openai", "mini")
    assert breakers.of("openai", "gpt") is known
    assert known.failed(known.begin(0), 0)
    assert not new.failed(new.begin(0), 0)
    assert new.failed(new.begin(0), 0)
    assert (known.rests_s(0), new.rests_s(0)) == (3, 3)


@attrs.define
class Model:
    """What a breaker is by its description: who is still asked about, not by counted turns but by name."""

    failures: int
    open_s: float
    until: float | None = None
    streak: int = 0
    doubled: int = 0
    current: set[int] = attrs.field(factory=set)
    """Requests that run and were begun since it last opened or closed."""
    probe: int | None = None

    def may_try(self, now: float) -> bool:
        return self.until is None or (self.probe is None and self.until <= now)

    def open(self, until: float) -> None:
        self.until, self.streak, self.probe = until, 0, None
        self.current.clear()

    def succeeded(self, name: int) -> None:
        if name not in self.current:
            return
        self.current.discard(name)
        self.streak = 0
        if self.until is not None:
            self.until, self.probe, self.doubled = None, None, 0
            self.current.clear()

    def failed(self, name: int, now: float, told: int | None) -> bool:
        wait = None if told is None else max(1, min(300, told))
        if name not in self.current:
            if wait is None:
                return False
            if self.until is None:
                self.open(now + wait)
                return True
            self.until = max(self.until, now + wait)
            return False
        self.current.discard(name)
        if self.until is not None:
            self.doubled += 1
            longest = self.open_s * min(2**self.doubled, 8)
            self.open(max(self.until, now + (longest if wait is None else wait)))
            return True
        self.streak += 1
        if wait is None and self.streak < self.failures:
            return False
        self.open(now + (self.open_s if wait is None else wait))
        return True

    def gave_up(self, name: int) -> None:
        self.current.discard(name)
        if name == self.probe:
            self.probe = None


SECONDS = st.one_of(st.integers(0, 40), st.just(400))


class BreakerMachine(RuleBasedStateMachine):
    """Any requests, in any order, ended in any way: the breaker and its description agree."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker, self.model = Breaker(FAILURES, OPEN_S), Model(FAILURES, OPEN_S)
        self.running: dict[int, int] = {}
        self.ended: list[int] = []
        self.names = 0

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def one_begins(self) -> None:
        turn = self.breaker.begin(self.now)
        assert (turn is not None) == self.model.may_try(self.now)
        if turn is not None:
            self.names += 1
            self.running[self.names] = turn
            self.model.current.add(self.names)
            if self.model.until is not None:
                self.model.probe = self.names

    def _end(self, data: st.DataObject) -> tuple[int, int]:
        name = data.draw(st.sampled_from(sorted(self.running)))
        turn = self.running.pop(name)
        self.ended.append(turn)
        return name, turn

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def one_succeeds(self, data: st.DataObject) -> None:
        name, turn = self._end(data)
        self.breaker.succeeded(turn)
        self.model.succeeded(name)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), told=st.none() | st.integers(-5, 400))
    def one_fails(self, data: st.DataObject, told: int | None) -> None:
        name, turn = self._end(data)
        told_open = self.breaker.failed(turn, self.now, retry_after_s=told)
        assert told_open == self.model.failed(name, self.now, told)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def one_gives_up(self, data: st.DataObject) -> None:
        name, turn = self._end(data)
        self.breaker.gave_up(turn)
        self.model.gave_up(name)

    @precondition(lambda self: self.model.until is not None and self.model.probe is None)
    @rule(succeeds=st.booleans())
    def its_rest_is_over_and_a_probe_runs(self, succeeds: bool) -> None:
        self.now = max(self.now, self.model.until)
        self.one_begins()
        turn = self.running.pop(self.names)
        if succeeds:
            self.breaker.succeeded(turn)
            self.model.succeeded(self.names)
        else:
            assert self.breaker.failed(turn, self.now)
            self.model.failed(self.names, self.now, None)

    @rule(failures=st.integers(1, 4), open_s=st.sampled_from([1.0, 10.0, 60.0]))
    def settings_change(self, failures: int, open_s: float) -> None:
        self.breaker.adopt(failures, open_s)
        self.model.failures, self.model.open_s = failures, open_s

    @invariant()
    def they_agree(self) -> None:
        may_try, rests_s = self.breaker.may_try(self.now), self.breaker.rests_s(self.now)
        assert may_try == self.model.may_try(self.now) == (rests_s is None)
        assert may_try or rests_s > 0
        if self.model.until is not None and self.model.until > self.now:
            assert rests_s == self.model.until - self.now
            assert rests_s <= max(MOST_RETRY_S, MOST_TIMES * 60)

    @invariant()
    def no_place_is_lost(self) -> None:
        """Where no probe runs, somebody gets its place in the end."""
        if self.model.probe is None:
            assert self.breaker.may_try(self.now + max(MOST_RETRY_S, MOST_TIMES * 60))

    @invariant()
    def what_has_ended_gives_no_place_back(self) -> None:
        """Giving up again, as a ``finally`` does, changes nothing."""
        for turn in self.ended:
            if turn not in self.running.values():
                self.breaker.gave_up(turn)


BreakerMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_any_course = BreakerMachine.TestCase
