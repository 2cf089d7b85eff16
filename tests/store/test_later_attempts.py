"""Attempts after the first, over every store: opened, extended, settled and recovered each by itself."""

from functools import partial

import attrs
import msgspec
import pytest
import trio

from ainf.inference.errors import GatewayError
from ainf.inference.usage import Usage
from ainf.ledger import HoldAsk, Window
from ainf.store.admin import close_account, revoke_key
from ainf.store.balances import CreditKind, NewCredit, close_balance, open_balance
from ainf.store.base import AttemptOpened, Extended, Extension, Progress
from ainf.store.caps import remove_cap, set_cap, subject_of
from ainf.store.counting import Scope
from ainf.store.epochs import begin_epoch
from ainf.store.reader import InlineReader
from ainf.store.sqlite import SQLiteEngine
from ainf.store.store import Store
from ainf.store.writer import ThreadWriter
from tests.store.conftest import never
from tests.store.faults import FaultyEngine, faulty_store, full
from tests.store.records import (
    DEARER,
    KEY,
    PRICE,
    START,
    closing_of,
    counter,
    events,
    later,
    limited,
    opening,
    postings,
    seeded,
    strand,
)  # fmt: skip

HOUR = 3_600_000_000
FREE = HoldAsk(base_nusd=0, output_rate=0, first_tokens=1, worst_tokens=100, min_tokens=1)


def scope_of(model="*", *, account="org", window=Window.LIFETIME):
    return lambda tx: Scope(subject_of(tx, account=account), window, model)


async def cap(store, cap_id, limit, model="*", *, at=START, account="org", window=Window.LIFETIME):
    """Set a cap on an account."""
    scope = scope_of(model, account=account, window=window)
    await store.write(lambda tx: set_cap(tx, cap_id=cap_id, scope=scope(tx), limit_nusd=limit, at=at))


async def uncap(store, model="*"):
    await store.write(lambda tx: remove_cap(tx, scope=scope_of(model)(tx), at=START + 15))


async def balance(store, cap_id, account, amount):
    """Open a balance of an account, with an amount on it."""
    first = NewCredit(f"credit-{cap_id}", CreditKind.TOP_UP, amount)
    await store.write(lambda tx: open_balance(tx, cap_id=cap_id, account=account, at=START, first=first))


async def running(store, **caps):
    """Open exchange 1 under caps on the organisation: "all", and by the model's name. It holds 50."""
    await store.write(seeded())
    await store.write(limited(**caps))
    assert (await store.open_inference(opening())).held_nusd == 50


async def seen(store, *cap_ids):
    """Return what each counter says: (settled, held)."""
    return await store.read(lambda tx: tuple(counter(tx, cap_id) for cap_id in cap_ids))


async def held(store):
    return await store.read(lambda tx: tx.one("SELECT held_nusd FROM holds"))


async def everything(store):
    """Return all that the store holds, but for accounts and caps themselves."""
    tables = ["inferences", "later_attempts", "entries", "holds", "counters", "prices", "audit_events"]
    return await store.read(lambda tx: [tx.execute(f"SELECT * FROM {table}") for table in tables])


async def later_row(store, columns):
    return await store.read(lambda tx: tx.one(f"SELECT {columns} FROM later_attempts"))


# --- opening ---


async def test_it_holds_on_the_caps_of_its_own_model(store):
    """What it holds counts on the caps that are for its model, and on no others; the first one's stay as they are."""
    await running(store, all=1_000, gpt=1_000, claude=1_000)
    assert await store.open_attempt(later(2)) == AttemptOpened(80)
    assert await seen(store, "all", "gpt", "claude") == ((0, 130), (0, 50), (0, 80))
    assert await store.read(postings) == [(1, "openai", "hold", 50), (2, "anthropic", "extend", 80)]
    assert await held(store) == (130,)
    row = await later_row(store, "caps, model, upstream_model, provider, price_version, opened_at, ended")
    assert row[1:] == ("claude", "claude-2026", "anthropic", DEARER.version, START + 21, "[]")
    assert sorted(msgspec.json.decode(row[0])) == [["all", 0], ["claude", 0]]
    prices = await store.read(lambda tx: {row[0] for row in tx.execute("SELECT price_version FROM prices")})
    assert prices == {PRICE.version, DEARER.version}


@pytest.mark.parametrize(
    ("cost", "entry"), [(0, [("release", 50)]), (7, [("release", 43)]), (50, []), (61, [("extend", 11)])]
)
async def test_what_is_held_for_an_ended_one_becomes_its_cost(store, cost, entry):
    """It shrinks or grows to the cost, on the caps of the one that ended."""
    await running(store, all=1_000, gpt=1_000, claude=1_000)
    assert await store.open_attempt(later(2, (1, cost))) == AttemptOpened(80)
    own = [(1, "openai", *one) for one in entry]
    assert (await store.read(postings))[1:] == [*own, (2, "anthropic", "extend", 80)]
    assert await seen(store, "all", "gpt", "claude") == ((0, cost + 80), (0, cost), (0, 80))
    assert await held(store) == (cost + 80,)
    assert await later_row(store, "ended") == (f"[[1,{cost}]]",)


async def test_what_ended_ones_leave_is_for_the_next(store):
    """Under a cap that paid for the first alone, the next gets what that one gives back, and is clamped to it."""
    await running(store, all=60)
    opened = await store.open_attempt(later(2, (1, 7)))
    assert (opened.held_nusd, opened.clamp_tokens, opened.clamped_by.cap_id) == (52, 16, "all")
    assert await seen(store, "all") == ((0, 59),)
    assert await later_row(store, "clamp_tokens") == (16,)


@pytest.mark.parametrize(
    ("caps", "cost", "refused_by"),
    [
        ({"all": 79}, 50, "all"),
        ({"all": 90}, 61, "all"),
        ({"claude": 29}, 0, "claude"),
        ({"all": 1_000, "gpt": 60}, 61, "gpt"),
        ({"gpt": 60, "claude": 29}, 61, "claude"),
    ],
    ids=["what is held", "with what is grown", "its own cap", "the other's cap", "both"],
)
async def test_a_refusal_changes_nothing(store, caps, cost, refused_by):
    """Where not even the least fits beside what ended ones cost, the cap is named and nothing is written."""
    await running(store, **caps)
    before = await everything(store)
    refused = await store.open_attempt(later(2, (1, cost)))
    assert (refused.held_nusd, refused.refused_by.cap_id, refused.key_revoked) == (None, refused_by, False)
    assert await everything(store) == before


@pytest.mark.parametrize(
    ("caps", "cost"), [({"all": 80}, 50), ({"all": 91}, 61), ({"claude": 30}, 0), ({"gpt": 61}, 61)]
)
async def test_the_least_fits_exactly(store, caps, cost):
    """One nano-dollar more than what is refused is admitted."""
    await running(store, **caps)
    assert (await store.open_attempt(later(2, (1, cost)))).held_nusd in {30, 80}


async def test_what_is_given_back_is_posted_before_what_grows(store):
    """A cap is at no moment above its limit, in whatever order the ended ones are named."""
    await running(store, all=135)
    await store.open_attempt(later(2))
    assert (await store.open_attempt(later(3, (1, 55), (2, 10), ask=FREE))).held_nusd == 0
    assert (await store.read(postings))[2:] == [
        (2, "anthropic", "release", 70),
        (1, "openai", "extend", 5),
        (3, "anthropic", "extend", 0),
    ]
    assert await seen(store, "all") == ((0, 65),)


async def test_under_a_cap_that_is_passed_nothing_grows(store):
    """Not even where another one gives back more, nor for one that costs nothing; what only shrinks is no matter."""
    await running(store, gpt=200)
    await store.open_attempt(later(2, attempt=opening().attempt))
    await cap(store, "gpt", 20, "gpt")
    assert (await store.open_attempt(later(3, (1, 55), (2, 10), ask=FREE))).refused_by.cap_id == "gpt"
    assert (await store.open_attempt(later(3, (1, 45), (2, 10), ask=FREE))).held_nusd == 0
    assert await seen(store, "gpt") == ((0, 55),)


async def test_one_that_goes_on_keeps_what_it_holds(store):
    """A hedge beside the first: both are held for, and both are bound by what they share."""
    await running(store, all=129)
    opened = await store.open_attempt(later(2))
    assert (opened.held_nusd, opened.clamp_tokens) == (78, 29)
    assert (await store.extend_hold(Extension("inf-000001", START, 5, 1))).granted_nusd == 1
    assert (await store.open_attempt(later(3))).refused_by.cap_id == "all"


async def test_what_others_may_need_is_left(store):
    """A hedge is opened only beside what the first may still grow by, which is not held for that."""
    await running(store, all=50 + 30 + 10, gpt=1_000)
    assert (await store.open_attempt(later(2, spare_nusd=11))).refused_by.cap_id == "all"
    assert (await store.open_attempt(later(2, spare_nusd=10))).held_nusd == 30
    assert await seen(store, "all") == ((0, 80),)


@pytest.mark.parametrize(
    "end", [lambda tx: revoke_key(tx, key_id=KEY, at=START), lambda tx: close_account(tx, name="team", at=START)]
)
async def test_an_ended_key_opens_no_other(store, end):
    """The exchange must end: nothing is written."""
    await running(store)
    await store.write(end)
    before = await everything(store)
    assert await store.open_attempt(later(2, (1, 0))) == AttemptOpened(None, key_revoked=True)
    assert await everything(store) == before


async def test_nothing_is_opened_in_what_is_not_open(store):
    """Neither of an exchange that was never opened, nor of one that is closed: the dial comes too late."""
    await store.write(seeded())
    with pytest.raises(GatewayError, match="store_unavailable"):
        await store.open_attempt(later(2))
    await store.open_inference(opening())
    await store.close_inference(closing_of(28))
    before = await everything(store)
    with pytest.raises(GatewayError, match="store_unavailable"):
        await store.open_attempt(later(2, (1, 0)))
    assert await everything(store) == before


@pytest.mark.parametrize("number", [1, 3])
async def test_the_numbers_have_no_gap(store, number):
    """A number that is not the next is a bug of the caller's, and writes nothing."""
    await running(store)
    with pytest.raises(AssertionError, match="has 1 attempts"):
        await store.open_attempt(later(number))
    assert await held(store) == (50,)


# --- which caps ---


async def test_it_counts_in_the_hour_of_the_admission(store):
    """However late it is opened; a cap that was set in the next hour is not for it."""
    ten = START // HOUR * HOUR
    await store.write(seeded())
    await cap(store, "hourly", 1_000, "cla*", at=ten, window=Window.HOUR)
    await store.open_inference(opening(at=ten + HOUR - 1))
    await cap(store, "next", 0, at=ten + HOUR, window=Window.HOUR)
    await cap(store, "daily", 1_000, at=ten + HOUR, window=Window.DAY)
    assert (await store.open_attempt(later(2, at=ten + HOUR + 1))).held_nusd == 80
    rows = await store.read(lambda tx: tx.execute("SELECT cap_id, window_start, held_nusd FROM counters"))
    assert ("hourly", ten, 80) in rows
    assert ("next", ten + HOUR, 0) in rows
    assert [amount for cap_id, _, amount in rows if cap_id == "daily"] == [130]


async def test_a_cap_that_was_set_since_binds_it(store):
    """One on its model, which the first knows nothing of, and one on all, which the first counts on since."""
    await running(store)
    await cap(store, "claude", 40, "claude")
    await cap(store, "all", 95)
    assert (await store.open_attempt(later(2))).held_nusd == 40
    assert await seen(store, "claude", "all") == ((0, 40), (0, 90))


async def test_a_removed_cap_of_the_admission_counts_on_unbound(store):
    """It binds nothing, and counts what is for its model; one that only the new model was under is gone."""
    await running(store, all=60, claude=1, gpt=1_000)
    for model in ("*", "claude", "gpt"):
        await uncap(store, model)
    assert (await store.open_attempt(later(2, (1, 0)))).held_nusd == 80
    assert await seen(store, "all", "gpt", "claude") == ((0, 80), (0, 0), (0, 0))
    await store.close_inference(closing_of(0, 28))
    assert await seen(store, "all", "gpt", "claude") == ((28, 0), (0, 0), (0, 0))


async def test_the_balance_of_the_admission_pays(store):
    """Not one nearer to the key that was opened since; and on none that was opened where there was none."""
    await store.write(seeded())
    await balance(store, "far", "org", 100)
    await store.open_inference(opening())
    await balance(store, "near", "team", 1_000)
    assert (await store.open_attempt(later(2, (1, 10)))).held_nusd == 80
    assert await seen(store, "far", "near") == ((0, 90), (0, 0))
    assert (await store.open_attempt(later(3))).refused_by.cap_id == "far"
    await store.write(lambda tx: close_balance(tx, account="org", at=START))
    assert (await store.open_attempt(later(3))).held_nusd == 80
    assert await seen(store, "far", "near") == ((0, 170), (0, 0))


async def test_where_there_was_no_balance_none_pays(store):
    """One that is opened while it runs is for what is admitted from then on."""
    await running(store)
    await balance(store, "late", "org", 10)
    assert (await store.open_attempt(later(2))).held_nusd == 80
    assert await seen(store, "late") == ((0, 0),)


async def test_a_cap_that_is_set_counts_each_by_its_own_model(store):
    """What runs, what ended and what was settled before counts where its own model belongs, and goes on there."""
    await running(store)
    await store.open_attempt(later(2, (1, 7)))
    await store.open_attempt(later(3, attempt=opening().attempt))
    await store.open_inference(opening(2))
    await store.open_attempt(later(2, (1, 0), of=2))
    await store.close_inference(closing_of(3, 28, inference_id="inf-000002"))
    for cap_id in ("gpt", "claude", "*"):
        await cap(store, cap_id, 10**6, cap_id)
    assert await seen(store, "gpt", "claude", "*") == ((3, 87), (28, 80), (31, 167))
    await store.extend_hold(Extension("inf-000001", START, 5, 1, attempt=2))
    await store.extend_hold(Extension("inf-000001", START, 2, 1, attempt=3))
    assert await seen(store, "gpt", "claude", "*") == ((3, 89), (28, 85), (31, 174))
    await store.close_inference(closing_of(7, 10, 20))
    assert await seen(store, "gpt", "claude", "*") == ((30, 0), (38, 0), (68, 0))


# --- more money, and progress ---


async def test_an_extension_is_for_one_attempt(store):
    """It is bound by that one's caps, and counts on these."""
    await running(store, gpt=1_000, claude=100)
    await store.open_attempt(later(2))
    extended = await store.extend_hold(Extension("inf-000001", START, 30, 1, attempt=2))
    assert (extended.granted_nusd, extended.refused_by.cap_id) == (20, "claude")
    assert (await store.extend_hold(Extension("inf-000001", START, 30, 30))) == Extended(30)
    assert await seen(store, "gpt", "claude") == ((0, 80), (0, 100))
    assert (await store.read(postings))[2:] == [(2, "anthropic", "extend", 20), (1, "openai", "extend", 30)]
    assert await held(store) == (180,)


async def test_progress_says_whose_it_is(store):
    """The tick's and an extension's alike."""
    await running(store)
    await store.open_attempt(later(2))
    await store.record_progress([Progress("inf-000001", Usage(input_tokens=3), 7, 9, attempt=2)])
    assert await store.read(lambda tx: tx.one("SELECT attempt, progress_nusd FROM holds")) == (2, 7)
    progress = Progress("inf-000001", Usage(), 1, 1)
    await store.extend_hold(Extension("inf-000001", START, 5, 1, progress=progress))
    assert await store.read(lambda tx: tx.one("SELECT attempt, progress_nusd FROM holds")) == (1, 1)


# --- closing ---


async def settled(store):
    return await store.read(lambda tx: tx.one("SELECT held_nusd, settled_nusd, overrun_nusd FROM settlements"))


async def test_each_is_settled_by_itself(store):
    """What one leaves does not pay for what others overran; the settlement has the sums."""
    await running(store, all=1_000, gpt=1_000, claude=1_000)
    await store.open_attempt(later(2))
    await store.open_attempt(later(3))
    settlement = await store.close_inference(closing_of(61, 30, 82))
    assert attrs.astuple(settlement)[2:6] == (210, 160, 50, 13)
    assert (await store.read(postings))[3:] == [
        (1, "openai", "settle", 50),
        (1, "openai", "overrun", 11),
        (2, "anthropic", "settle", 30),
        (2, "anthropic", "release", 50),
        (3, "anthropic", "settle", 80),
        (3, "anthropic", "overrun", 2),
    ]
    assert await seen(store, "all", "gpt", "claude") == ((173, 0), (61, 0), (112, 0))
    assert await settled(store) == (210, 160, 13)


async def test_a_fallback_is_settled(store):
    """What the ended one cost is held until the end, and settled with the one that answered."""
    await running(store, all=1_000, gpt=1_000, claude=1_000)
    await store.open_attempt(later(2, (1, 7)))
    settlement = await store.close_inference(closing_of(7, 28))
    assert attrs.astuple(settlement)[2:6] == (87, 35, 52, 0)
    assert await seen(store, "all", "gpt", "claude") == ((35, 0), (7, 0), (28, 0))
    assert [entry[2:] for entry in (await store.read(postings))[3:]] == [
        ("settle", 7), ("settle", 28), ("release", 52),
    ]  # fmt: skip


async def test_an_unknown_cost_takes_all_that_is_held(store):
    """Of each attempt, as it stands."""
    await running(store, gpt=1_000, claude=1_000)
    await store.open_attempt(later(2, (1, 7)))
    await store.close_inference(closing_of(cost_nusd=None, charges=()))
    assert await seen(store, "gpt", "claude") == ((7, 0), (80, 0))
    assert await settled(store) == (87, 87, 0)


async def test_one_that_is_not_charged_costs_nothing(store):
    """It may have been committed after its caller had given up: then nobody dialled it."""
    await running(store, gpt=1_000, claude=1_000)
    await store.open_attempt(later(2))
    await store.close_inference(closing_of(28, charges=()))
    assert await seen(store, "gpt", "claude") == ((28, 0), (0, 0))
    assert (await store.read(postings))[-2:] == [(2, "anthropic", "settle", 0), (2, "anthropic", "release", 80)]


@pytest.mark.parametrize("wrong", [closing_of(1, 2), closing_of(3, cost_nusd=4)])
async def test_charges_that_cannot_be_are_a_bug(store, wrong):
    """Of what was never opened, or that do not add up: nothing is settled, and nothing is lost."""
    await running(store)
    with pytest.raises(AssertionError):
        await store.close_inference(wrong)
    assert await held(store) == (50,)


async def test_a_repeated_closing_returns_the_same(store):
    """Nothing is settled again, of no attempt."""
    await running(store, all=1_000)
    await store.open_attempt(later(2))
    first = await store.close_inference(closing_of(61, 30))
    before = await everything(store)
    assert await store.close_inference(closing_of(1, 1)) == first
    assert await everything(store) == before


@pytest.mark.parametrize(
    ("charges", "adjusted", "told"),
    [
        ((11, 33), [(2, "anthropic", 9)], 9),
        ((0, 20), [(1, "openai", -11), (2, "anthropic", -4)], -15),
        ((20, 15), [(1, "openai", 9), (2, "anthropic", -9)], 0),
        ((11, 24), [], None),
    ],
    ids=["one", "both", "one for the other", "none"],
)
async def test_a_late_closing_adjusts_each_by_itself(store, charges, adjusted, told):
    """Once, on its own caps and provider, so that no cap is left with less than nothing; one event has the sum."""
    await running(store, gpt=1_000, claude=1_000)
    await store.open_attempt(later(2))
    await store.write(strand)
    await store.recover(START)
    assert await seen(store, "gpt", "claude") == ((11, 0), (24, 0))
    for _ in range(2):
        await store.close_inference(closing_of(*charges))
    assert await seen(store, "gpt", "claude") == ((charges[0], 0), (charges[1], 0))
    posted = [entry for entry in await store.read(postings) if entry[2] == "adjustment"]
    assert posted == [(number, provider, "adjustment", more) for number, provider, more in adjusted]
    bodies = [msgspec.json.decode(text) for text in await store.read(lambda tx: events(tx, "inference.adjusted"))]
    assert [body["adjustment_nusd"] for body in bodies] == ([] if told is None else [told])


# --- a store that fails, and many at once ---


async def test_a_failed_write_leaves_nothing():
    """Where any of its rows cannot be written, none is; the exchange goes on without it."""
    async with faulty_store() as (store, engine):
        await running(store, all=1_000)
        before = await everything(store)
        for part in ("INTO later_attempts", "INTO entries", "UPDATE holds", "INTO counters"):
            engine.statement_faults = {part: full()}
            with pytest.raises(GatewayError, match="store_unavailable"):
                await store.open_attempt(later(2, (1, 0)))
            engine.statement_faults = {}
            assert await everything(store) == before, part
        engine.commit_faults = {engine.commits + 1: full()}
        with pytest.raises(GatewayError, match="store_unavailable"):
            await store.open_attempt(later(2, (1, 0)))
        assert await everything(store) == before
        await store.close_inference(closing_of(28))
        assert await seen(store, "all") == ((28, 0),)


async def test_one_that_came_too_late_is_released_by_the_closing(tmp_path):
    """It commits after its caller was told that the store is away, who dialled nothing: it costs nothing."""
    engine = FaultyEngine(SQLiteEngine.open(str(tmp_path / "a.db")))
    writer = ThreadWriter(engine, begin_epoch(engine.inner, "gateway", 1), wait_s=0.3, on_fatal=never)
    store = Store(writer, InlineReader(engine.inner), now=lambda: START)
    await running(store, gpt=1_000, claude=1_000)
    engine.gate.clear()
    with pytest.raises(GatewayError, match="store_unavailable"):
        await store.open_attempt(later(2, (1, 7)))
    engine.gate.set()
    await store.close_inference(closing_of(7))
    assert [entry[2:] for entry in (await store.read(postings))[1:]] == [
        ("release", 43), ("extend", 80), ("settle", 7), ("settle", 0), ("release", 80),
    ]  # fmt: skip
    assert await seen(store, "gpt", "claude") == ((7, 0), (0, 0))
    await store.aclose()


async def test_later_attempts_at_once_share_a_cap_exactly(store):
    """Of many exchanges that fall back at once, as many go on as the cap pays for."""
    await store.write(seeded())
    for number in range(1, 21):
        await store.open_inference(opening(number))
    await cap(store, "claude", 10 * 80, "claude")
    ask = attrs.evolve(later().ask, min_tokens=30)
    answers = []

    async def fall_back(number):
        answers.append(await store.open_attempt(later(2, (1, 0), of=number, ask=ask)))

    async with trio.open_nursery() as nursery:
        for number in range(1, 21):
            nursery.start_soon(partial(fall_back, number))
    assert sorted(answer.held_nusd or 0 for answer in answers) == [0] * 10 + [80] * 10
    assert await seen(store, "claude") == ((0, 800),)
