"""The ledger's arithmetic: tables, and what must hold for all numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.ledger import (
    CapState,
    Division,
    Grant,
    HoldAsk,
    Window,
    binding,
    covers,
    divide,
    extension,
    fit,
    window_start,
)
from ainf.pricing import tokens_cost

ASK = HoldAsk(base_nusd=1_000, output_rate=2_000_000, first_tokens=100, worst_tokens=1_000, min_tokens=10)
FREE_OUTPUT = HoldAsk(base_nusd=5, output_rate=0, first_tokens=100, worst_tokens=1_000, min_tokens=10)
NO_OUTPUT = HoldAsk(base_nusd=700, output_rate=2_000_000, first_tokens=0, worst_tokens=0, min_tokens=16)
FOR_NOTHING = HoldAsk(base_nusd=0, output_rate=0, first_tokens=0, worst_tokens=0, min_tokens=0)
SHORT = HoldAsk(base_nusd=0, output_rate=1_000_000, first_tokens=3, worst_tokens=3, min_tokens=10)


@pytest.mark.parametrize(
    ("ask", "headroom", "grant"),
    [
        (ASK, None, Grant(1_200, None)),
        (ASK, 3_000, Grant(1_200, None)),
        (ASK, 2_999, Grant(1_200, 999)),
        (ASK, 1_150, Grant(1_150, 75)),
        (ASK, 1_020, Grant(1_020, 10)),
        (ASK, 1_019, None),
        (ASK, 0, None),
        (ASK, -50, None),
        (FREE_OUTPUT, 5, Grant(5, None)),
        (FREE_OUTPUT, 4, None),
        (SHORT, 3, Grant(3, None)),
        (SHORT, 2, None),
        (NO_OUTPUT, None, Grant(700, None)),
        (NO_OUTPUT, 701, Grant(700, None)),
        (NO_OUTPUT, 700, Grant(700, None)),
        (NO_OUTPUT, 699, None),
        (NO_OUTPUT, -1, None),
        (FOR_NOTHING, 0, Grant(0, None)),
        (FOR_NOTHING, -1, None),
    ],
)
def test_an_opening_gets_what_fits(ask, headroom, grant):
    """The first slice is held; the output is clamped to the headroom, and refused below the least that is of use."""
    assert fit(ask, headroom) == grant


@pytest.mark.parametrize(
    ("first", "worst", "least"), [(1, 0, 0), (0, 1, 0), (2, 1, 0), (-1, -1, 0), (-1, 0, 0), (0, 0, -1), (1, 1, -1)]
)
def test_what_nobody_asks(first, worst, least):
    """What is held at first is a part of the worst case, and nothing only where there is no output at all."""
    with pytest.raises(AssertionError):
        HoldAsk(base_nusd=0, output_rate=1, first_tokens=first, worst_tokens=worst, min_tokens=least)


amounts = st.integers(min_value=0, max_value=10**15)


@st.composite
def asks(draw):
    worst = draw(st.integers(0, 10**6))
    return HoldAsk(
        base_nusd=draw(amounts),
        output_rate=draw(st.integers(0, 10**12)),
        first_tokens=draw(st.integers(min(1, worst), worst)),
        worst_tokens=worst,
        min_tokens=draw(st.integers(0, 10**4)),
    )


@given(asks(), st.one_of(st.none(), st.integers(-(10**15), 10**15)))
def test_a_grant_never_passes_the_headroom(ask, headroom):
    """What is granted fits, so does the whole clamped output, and it is refused exactly below the least."""
    grant = fit(ask, headroom)
    if headroom is not None and headroom < ask.least_nusd:
        assert grant is None
        return
    assert grant is not None
    clamp = ask.worst_tokens if grant.clamp_tokens is None else grant.clamp_tokens
    assert clamp >= min(ask.min_tokens, ask.worst_tokens)
    if headroom is not None:
        assert grant.held_nusd <= ask.base_nusd + tokens_cost(clamp, ask.output_rate) <= headroom


@pytest.mark.parametrize(
    ("want", "least", "headroom", "granted"),
    [(10, 5, None, 10), (10, 5, 10, 10), (10, 5, 7, 7), (10, 5, 5, 5), (10, 5, 4, 0), (10, 5, -1, 0), (0, 0, 0, 0)],
)
def test_an_extension_gets_all_some_or_nothing(want, least, headroom, granted):
    """A part is granted only where it is of use."""
    assert extension(want, least, headroom) == granted


def cap(cap_id, limit, settled, held):
    return CapState(cap_id, 0, limit, settled, held, "lifetime", f"account {cap_id}")


def test_the_tightest_cap_binds():
    """The least headroom counts, not the least limit."""
    caps = [cap("small", 100, 0, 0), cap("large", 1_000, 900, 50)]
    assert binding(caps) == caps[1]
    assert binding([]) is None
    assert cap("over", 10, 15, 1).headroom == -6


@pytest.mark.parametrize(
    ("held", "cost", "division"),
    [
        (100, 100, Division(100, 0, 0)),
        (100, 30, Division(30, 70, 0)),
        (100, 0, Division(0, 100, 0)),
        (100, 130, Division(100, 0, 30)),
        (100, None, Division(100, 0, 0)),
        (0, 0, Division(0, 0, 0)),
    ],
)
def test_a_hold_is_divided(held, cost, division):
    """Up to the hold is settled, the rest of it released, what is beyond posted as overrun."""
    assert divide(held, cost) == division


@given(amounts, amounts)
def test_a_division_loses_nothing(held, cost):
    """held = settled + released and cost = settled + overrun, whatever the numbers."""
    division = divide(held, cost)
    assert division.settled_nusd + division.released_nusd == held
    assert division.settled_nusd + division.overrun_nusd == cost
    assert min(division.settled_nusd, division.released_nusd, division.overrun_nusd) >= 0


@pytest.mark.parametrize(
    ("window", "kind", "said"),
    [
        (Window.HOUR, "cap", "The hour cap of key k1 (0.5 USD) is used up. It resets at 2023-11-14T23:00:00Z."),
        (Window.LIFETIME, "cap", "The lifetime cap of key k1 (0.5 USD) is used up."),
        (Window.LIFETIME, "balance", "The balance of key k1 (0.5 USD) is used up. Top it up."),
    ],
)
def test_a_cap_that_is_used_up_says_what_to_do(window, kind, said):
    """Which cap, how much it was, and when or how there is more."""
    start = window_start(window, 1_700_000_000_000_000)
    assert CapState("c", start, 500_000_000, 0, 0, window, "key k1", kind=kind).used_up() == said


def stands_for(pattern: str, text: str) -> bool:
    """What a pattern means, said by itself: a ``*`` is nothing, or one character more."""
    if not pattern or not text:
        return text == pattern.replace("*", "") == ""
    if pattern[0] == "*":
        return stands_for(pattern[1:], text) or stands_for(pattern, text[1:])
    return pattern[0] == text[0] and stands_for(pattern[1:], text[1:])


PATTERNS = st.text("ab*.", min_size=1, max_size=8)
NAMES = st.text("ab.\n", min_size=1, max_size=8)


@given(PATTERNS, NAMES)
def test_a_pattern_covers_what_its_stars_can_be(pattern, name):
    """A star is any characters, a newline too; everything else is itself, a dot too."""
    assert covers(pattern, name) is stands_for(pattern, name)


@given(PATTERNS, PATTERNS, NAMES)
def test_a_pattern_that_covers_another_covers_all_that_is_its(wide, narrow, name):
    """So a key that may use the names of one pattern can be given the other, and no name more."""
    if covers(wide, narrow) and covers(narrow, name):
        assert covers(wide, name)


def test_no_pattern_takes_for_ever():
    """Every opening asks them: one of many stars must not hold up the ledger."""
    assert not covers("*a" * 60 + "b", "a" * 64)
    assert covers("*a" * 60 + "*", "a" * 64)
