"""The money of a running exchange: marks in bytes, slices ahead, and no growth out of bounds."""

import attrs
import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ainf.admission import Admission, ModelTerms, admit
from ainf.exchange.hold import KeyRevokedError, OutOfBoundsError, RunningHold
from ainf.inference.errors import GatewayError
from ainf.inference.request import InferenceRequest
from ainf.ledger import CapState, Window
from ainf.metering import SLACK_TOKENS, MeterRatios, tokens_of
from ainf.pricing import parse_price, tokens_cost
from ainf.store.base import Extended

RATE = 2_000  # nano-dollars a token


def admission(*, limit: int = 100, slice_tokens: int = 8, price: str = "2") -> Admission:
    terms = ModelTerms(
        name="m", provider="p", upstream_model="m", max_output_tokens=limit, min_output_tokens=1,
        price=parse_price({"input": "1", "output": price}),
        ratios=MeterRatios(mean=4000, low=2000), slice_tokens=slice_tokens,
    )  # fmt: skip
    request = InferenceRequest(
        protocol="chat_completions", path="/", model="m", stream=True, include_usage=False, max_output_tokens=None,
        input_bytes=40, bound_bytes=40, attachment_count=0, has_tools=False, fields={},
    )  # fmt: skip
    return admit(request, terms)


@attrs.define
class Ledger:
    """Grants what a cap leaves, as the store's ledger does."""

    held: int
    headroom: int = 1 << 60
    asked: list[tuple[int, int]] = attrs.field(factory=list)
    revoked: bool = False
    away: bool = False

    async def extend(self, want: int, least: int) -> Extended:
        self.asked.append((want, least))
        await trio.lowlevel.checkpoint()
        if self.away:
            raise GatewayError("store_unavailable", "away")
        if self.revoked:
            return Extended(0, key_revoked=True)
        granted = want if want <= self.headroom else (self.headroom if self.headroom >= least else 0)
        self.held += granted
        self.headroom -= granted
        return Extended(granted)


def running(
    terms: Admission, *, tokens: int = 8, clamp: int | None = None, **ledger: object
) -> tuple[RunningHold, Ledger]:
    held = terms.ask.base_nusd + tokens_cost(tokens, terms.ask.output_rate)
    books = Ledger(held, **ledger)  # type: ignore[arg-type]
    return RunningHold(terms, held, clamp, books.extend), books


async def test_marks():
    """Eight tokens held are 32 bytes covered; the next slice is asked for when half a slice is left."""
    hold, _ = running(admission())
    assert (hold.covered, hold.wants_more_at) == (32, 16)


async def test_nothing_is_asked_for_before_its_time():
    """Above half a slice left, no call is made; below it, exactly one slice."""
    hold, books = running(admission())
    hold.received = 15
    await hold.extend_ahead()
    assert books.asked == []
    hold.received = 16
    await hold.extend_ahead()
    assert books.asked == [(8 * RATE, 8 * RATE)]
    assert (hold.covered, hold.wants_more_at) == (64, 48)


async def test_many_asks_at_once_are_one():
    """However often it is found time, one extension runs."""
    hold, books = running(admission())
    hold.received = 20
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(hold.extend_ahead)
    assert len(books.asked) == 1


async def test_the_last_slice_ends_at_the_limit():
    """No slice is asked for beyond the output limit, or beyond the clamp."""
    for limit, clamp in ((12, None), (100, 12)):
        hold, books = running(admission(limit=limit), clamp=clamp)
        hold.received = 16
        await hold.extend_ahead()
        assert books.asked == [(4 * RATE, 4 * RATE)]
        hold.received = 48
        await hold.extend_ahead()
        assert len(books.asked) == 1


@pytest.mark.parametrize("trouble", ["refused", "away"])
async def test_a_refusal_ahead_is_remembered_not_told(trouble):
    """It is not asked again until the hold is used up; then for as much as fits."""
    hold, books = running(admission(), headroom=3 * RATE, away=trouble == "away")
    hold.received = 20
    await hold.extend_ahead()
    await hold.extend_ahead()
    assert len(books.asked) == 1
    books.away = False
    assert await hold.cover(40)
    assert hold.covered == 11 * 4
    assert books.headroom == 0
    assert not await hold.cover(60)


async def test_cover_asks_for_what_is_missing_and_a_slice():
    """One call pays for a large read."""
    hold, books = running(admission())
    assert await hold.cover(32)
    assert books.asked == []
    assert await hold.cover(33)
    assert books.asked == [((1 + 8) * RATE, RATE)]
    assert hold.covered == 17 * 4


@pytest.mark.parametrize("ahead", [True, False])
async def test_a_revoked_key_ends_it(ahead):
    """Both ways of asking raise."""
    hold, _ = running(admission(), revoked=True)
    hold.received = 20
    with pytest.raises(KeyRevokedError):
        await (hold.extend_ahead() if ahead else hold.cover(100))


async def test_cover_tells_that_the_store_is_away():
    """Used up and the store away: the caller decides."""
    hold, _ = running(admission(), away=True)
    with pytest.raises(GatewayError):
        await hold.cover(100)


async def test_a_free_model_needs_no_money():
    """Output that costs nothing is covered for ever."""
    hold, books = running(admission(price="0"))
    assert await hold.cover(1 << 40)
    assert hold.received < hold.wants_more_at
    assert books.asked == []


@settings(deadline=None, max_examples=200)
@given(
    limit=st.integers(1, 200),
    slice_tokens=st.integers(1, 64),
    headroom=st.integers(0, 500 * RATE),
    reads=st.lists(st.integers(1, 400), max_size=40),
)
@example(limit=10, slice_tokens=64, headroom=500 * RATE, reads=[400] * 40)
def test_every_byte_is_paid_for_before_it_passes(limit, slice_tokens, headroom, reads):
    """Whatever arrives: what passes is covered, the books agree, and the hold stays inside one and a half limits."""
    terms = admission(limit=limit, slice_tokens=slice_tokens)
    bound = terms.ask.base_nusd + (limit * 3 // 2 + SLACK_TOKENS) * RATE

    async def play() -> None:
        hold, books = running(terms, tokens=terms.ask.first_tokens, headroom=headroom)
        for size in reads:
            hold.received += size
            try:
                while hold.received > hold.covered:
                    before = hold.covered
                    if not await hold.cover(hold.received):
                        return
                    assert hold.covered > before, "a grant that covers nothing would be asked for without end"
            except OutOfBoundsError:
                assert hold.held_nusd == bound
                return
            assert hold.metered_cost(hold.received) <= hold.held_nusd
            assert tokens_of(hold.received, 4000) * RATE + terms.ask.base_nusd <= hold.held_nusd
            if hold.received >= hold.wants_more_at:
                await hold.extend_ahead()
            assert hold.held_nusd == books.held <= bound

    trio.run(play)


async def test_the_worst_is_the_output_limit_or_what_is_held():
    """What it may grow to is what its limit costs, clamped or not; where it has grown beyond, it is what is held."""
    terms = admission(limit=100)
    base = terms.ask.base_nusd
    assert running(terms)[0].worst_nusd == base + 100 * RATE
    assert running(terms, clamp=30)[0].worst_nusd == base + 30 * RATE
    hold, _ = running(terms)
    assert await hold.cover(120 * 4)
    assert hold.worst_nusd == hold.held_nusd > base + 100 * RATE


async def test_who_refused_is_remembered():
    """The cap that gave less than was asked for is named at the end, also when a later one gave nothing to say."""
    cap = CapState("cap_1", 0, 5, 0, 0, Window.HOUR, "key k1")
    hold, _ = running(admission())
    answers = [Extended(0, refused_by=cap), Extended(RATE)]

    async def extend(want: int, least: int) -> Extended:
        return answers.pop(0)

    hold._extend = extend
    assert not await hold.cover(100)
    assert await hold.cover(36)
    assert hold.refused_by == cap
