"""Usage: sums over settlements and adjustments, to the nano-dollar, of whom and when and by what is asked."""

import itertools
import json
from collections import Counter
from functools import partial

import attrs
import pytest

from ainf.inference.errors import DownstreamError
from ainf.inference.moments import DAY_US
from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.store import usage as module
from ainf.store.admin import KeyRights, create_account, create_key
from ainf.store.base import AttemptPlan
from ainf.store.period import Period
from ainf.store.settling import close_inference
from ainf.store.usage import DIMENSIONS, Sums, UsageAsk, Whose, usage
from tests.extent import FULL, SEED
from tests.store.played import played
from tests.store.records import (
    COST,
    PRICE,
    ROUTING,
    START,
    USAGE,
    closing,
    closing_of,
    later,
    opening,
    seeded,
    strand,
)

DAY_ONE = START // DAY_US * DAY_US
ALWAYS = Period(0, DAY_ONE + 1000 * DAY_US)
ALL = Whose()
EVER = Period(0, 1 << 62)

SEQUENCES = 1_000 if FULL else 100


def more_accounts(tx):
    create_account(tx, account_id="acct-other", name="other", parent=None, at=START)
    create_key(tx, key_id="key00002", digest=b"2" * 32, account="org", rights=KeyRights(), at=START)
    create_key(tx, key_id="key00003", digest=b"3" * 32, account="other", rights=KeyRights(), at=START)


@pytest.fixture
async def books(store):
    """Six exchanges of three accounts on two days, one of them running."""
    await store.write(seeded())
    await store.write(more_accounts)
    claude = AttemptPlan("claude", "claude-5", "anthropic", PRICE)
    rows = (
        (1, 0, "key00001", None, {}),
        (2, 0, "key00001", claude, {"cost_nusd": 61}),
        (3, 1, "key00001", None, {"ending": Ending.CLIENT_DISCONNECTED, "evidence": Evidence.METERED}),
        (4, 1, "key00002", None, {"usage": attrs.evolve(USAGE, audio_input_tokens=2, audio_output_tokens=5)}),
        (5, 1, "key00003", None, {}),
        (6, 1, "key00002", None, None),
    )
    for number, day, key_id, attempt, end in rows:
        asked = opening(number, at=DAY_ONE + day * DAY_US + number, key_id=key_id, fingerprint=bytes([number]) * 16)
        await store.open_inference(asked if attempt is None else attrs.evolve(asked, attempt=attempt))
        if end is not None:
            # Settled on the day after: the admission is what counts.
            await store.close_inference(closing(number, at=asked.at + DAY_US, **end))
    return store


async def ask(store, whose=ALL, period=ALWAYS, by=("day",), most_rows=None):
    return await store.read(partial(usage, ask=UsageAsk(whose, period, by, most_rows)))


def told(report):
    return [(*row.group, row.sums.exchanges, row.sums.spent_nusd) for row in report.rows]


async def test_by_each(books):
    """Every word that it may be summed by, alone."""
    by = {name: told(await ask(books, by=(name,))) for name in DIMENSIONS}
    assert by == {
        "day": [("2023-11-14", 2, COST + 61), ("2023-11-15", 3, 3 * COST)],
        "model": [("claude", 1, 61), ("gpt", 4, 4 * COST)],
        "provider": [("anthropic", 1, 61), ("openai", 4, 4 * COST)],
        "key": [("key00001", 3, 2 * COST + 61), ("key00002", 1, COST), ("key00003", 1, COST)],
        "account": [("org", 1, COST), ("other", 1, COST), ("team", 3, 2 * COST + 61)],
        "ending": [("client_disconnected", 1, COST), ("completed", 4, 3 * COST + 61)],
        "evidence": [("metered", 1, COST), ("reported", 4, 3 * COST + 61)],
    }


async def test_by_several(books):
    """Several at once, in the order asked; each exchange is in one row, and the totals are those of the rows."""
    report = await ask(books, by=("account", "day", "model"))
    assert told(report) == [
        ("org", "2023-11-15", "gpt", 1, COST),
        ("other", "2023-11-15", "gpt", 1, COST),
        ("team", "2023-11-14", "claude", 1, 61),
        ("team", "2023-11-14", "gpt", 1, COST),
        ("team", "2023-11-15", "gpt", 1, COST),
    ]
    for size in range(1, len(DIMENSIONS) + 1):
        for by in itertools.combinations(DIMENSIONS, size):
            again = await ask(books, by=by)
            assert again.totals == report.totals == sum((row.sums for row in again.rows), Sums())


async def test_every_sum(books):
    """Tokens of each kind, and what was settled apart from what went over the hold."""
    (row,) = (await ask(books, Whose("acct-org"), by=("provider",))).rows[1:]
    assert row.group == ("openai",)
    assert row.sums == Sums(
        exchanges=3, input_tokens=30, cached_input_tokens=6, cache_write_tokens=12, long_cache_write_tokens=3,
        output_tokens=60, reasoning_tokens=9, audio_input_tokens=2, audio_output_tokens=5, settled_nusd=3 * COST,
    )  # fmt: skip
    (over,) = (await ask(books, by=("model",))).rows[:1]
    assert (over.sums.settled_nusd, over.sums.overrun_nusd, over.sums.spent_nusd) == (50, 11, 61)


@pytest.mark.parametrize(
    ("whose", "exchanges", "running"),
    [
        (Whose(), 5, 1),
        (Whose("acct-org"), 4, 1),
        (Whose("acct-org", with_below=False), 1, 1),
        (Whose("acct-team"), 3, 0),
        (Whose("acct-team", with_below=False), 3, 0),
        (Whose("acct-other"), 1, 0),
        (Whose("acct-tea"), 0, 0),
    ],
)
async def test_of_whom(books, whose, exchanges, running):
    """An account alone or with all below it, never with what is above or beside; what runs is held, not spent."""
    report = await ask(books, whose)
    assert (report.totals.exchanges, report.running, report.held_nusd) == (exchanges, running, 50 * running)


@pytest.mark.parametrize(
    ("since", "until", "exchanges"),
    [
        (DAY_ONE, DAY_ONE + DAY_US, 2),
        (DAY_ONE + 1, DAY_ONE + 2, 1),
        (DAY_ONE + 2, DAY_ONE + DAY_US, 1),
        (DAY_ONE + 3, DAY_ONE + DAY_US + 3, 0),
        (DAY_ONE + DAY_US, DAY_ONE + 2 * DAY_US, 3),
    ],
)
async def test_when(books, since, until, exchanges):
    """From a moment on until before another; an exchange belongs to the moment of its admission."""
    assert (await ask(books, period=Period(since, until))).totals.exchanges == exchanges


async def test_adjustments_count_when_they_are_posted(store):
    """A correction of an earlier day's exchange stands on its own day, and a row may hold nothing else."""
    await store.write(seeded())
    await store.open_inference(opening(at=DAY_ONE + 1))
    await store.write(strand)
    assert await store.recover(DAY_ONE + 2)
    late = partial(close_inference, closing=closing(at=DAY_ONE + 2 * DAY_US, cost_nusd=4))
    await store.write(late)
    report = await ask(store, by=("day", "ending"))
    assert told(report) == [("2023-11-14", "abandoned", 1, 11), ("2023-11-16", "abandoned", 0, -7)]
    assert report.totals == Sums(exchanges=1, input_tokens=11, settled_nusd=11, adjustments_nusd=-7)
    assert report.totals.spent_nusd == 4
    assert (await ask(store, period=Period(DAY_ONE, DAY_ONE + DAY_US))).totals.spent_nusd == 11


async def test_too_many_rows_are_refused(books):
    """Nothing is left out in silence: what is over the bound is refused, with how to ask for less."""
    assert len((await ask(books, by=("key",), most_rows=3)).rows) == 3
    with pytest.raises(DownstreamError, match="asks for 3 rows, and 2 is the limit: ask for less time") as refused:
        await ask(books, by=("key",), most_rows=2)
    assert (refused.value.code, refused.value.param) == ("invalid_value", "by")


async def test_nothing(store):
    """Without exchanges there are no rows, and the totals are zero."""
    report = await ask(store)
    assert (report.rows, report.totals, report.running, report.held_nusd) == ((), Sums(), 0, 0)


async def test_sums_are_exact(store):
    """Amounts beyond what a float can count are summed to the nano-dollar."""
    await store.write(seeded())
    large = (1 << 53) + 1
    for number in (1, 2):
        await store.open_inference(opening(number))
        await store.close_inference(closing(number, cost_nusd=large, usage=Usage(input_tokens=1)))
    assert (await ask(store)).totals.spent_nusd == 2 * large


@pytest.mark.parametrize("whose", [Whose(), Whose("a"), Whose("a", with_below=False)])
async def test_it_reads_no_more_than_the_period(store, whose):
    """Exchanges and adjustments are found by indexes on their time, whoever is asked about."""

    def plan(sql, at):
        statement = module._statement(UsageAsk(whose, ALWAYS, ("day", "model")), sql, at)
        return lambda tx: [row[3] for row in tx.execute("EXPLAIN QUERY PLAN " + statement, (*whose.parameters, 0, 1))]

    settled = await store.read(plan(module._SETTLED, "i.opened_at"))
    assert "inferences_by_account (account_id=? AND opened_at>? AND opened_at<?)" in settled[0]
    assert "SEARCH s USING PRIMARY KEY (inference_id=?)" in settled
    by_attempt = await store.read(plan(module._BY_ATTEMPT, "i.opened_at"))
    assert by_attempt[0].startswith("SEARCH i USING COVERING INDEX inferences_by_account (account_id=? AND opened_at>?")
    adjusted = await store.read(plan(module._ADJUSTED, "e.at"))
    assert adjusted[0] == "SEARCH e USING INDEX entries_adjusted (at>? AND at<?)"
    steps = settled + by_attempt + adjusted
    assert not [line for line in steps if line.startswith("SCAN") and line != "SCAN w"]


# --- exchanges of several attempts ---


async def run_both(store, *costs, ended=None, **changes):
    """Run an exchange at "gpt" and then at "claude"; ``ended``: what the first cost by then, else it goes on."""
    await store.open_inference(opening(routing=ROUTING))
    await store.open_attempt(later(2, *([] if ended is None else [(1, ended)])))
    if costs:
        lines = tuple(
            attrs.evolve(line, usage=usage) for line, usage in zip(closing_of(*costs).attempts, USAGES, strict=True)
        )
        await store.close_inference(closing_of(*costs, attempts=lines, usage=USAGES[0] + USAGES[1], **changes))


USAGES = (Usage(input_tokens=7), Usage(input_tokens=8, cached_input_tokens=3, output_tokens=60, reasoning_tokens=5))
OF_GPT = Sums(input_tokens=7, settled_nusd=7)
OF_CLAUDE = Sums(input_tokens=8, cached_input_tokens=3, output_tokens=60, reasoning_tokens=5, settled_nusd=80)


@pytest.mark.parametrize(
    ("served", "claude", "gpt"),
    [(2, {"exchanges": 1}, {}), (None, {"exchanges": 1}, {}), (1, {}, {"exchanges": 1})],
    ids=["fell back", "the last", "won against a hedge"],
)
async def test_each_attempt_where_it_called(store, served, claude, gpt):
    """By model and provider, money and tokens of each attempt are its own; the exchange counts where it was served."""
    await store.write(seeded())
    await run_both(store, 7, 91, ended=None if served == 1 else 7, served=served)
    right = [attrs.evolve(OF_CLAUDE, overrun_nusd=11, **claude), attrs.evolve(OF_GPT, **gpt)]
    for by, groups in (
        (("model",), [("claude",), ("gpt",)]),
        (("provider",), [("anthropic",), ("openai",)]),
        (("model", "ending", "provider"), [("claude", "completed", "anthropic"), ("gpt", "completed", "openai")]),
    ):
        report = await ask(store, by=by)
        assert [(row.group, row.sums) for row in report.rows] == list(zip(groups, right, strict=True))
        assert report.totals == right[0] + right[1]
    (row,) = (await ask(store, by=("account", "evidence"))).rows
    assert (row.group, row.sums) == (("team", "reported"), report.totals)


async def test_attempts_of_one_model_are_one_row(store):
    """Where an exchange called a model twice, or two of one provider, it is still one exchange."""
    await store.write(seeded())
    await store.open_inference(opening(routing=ROUTING))
    await store.open_attempt(later(attempt=opening().attempt))
    (line,) = closing().attempts
    both = {"attempts": (line, line), "charges": (5, 6), "usage": USAGE + USAGE}
    await store.close_inference(closing_of(5, 6, **both))
    for by in (("model",), ("provider",)):
        (row,) = (await ask(store, by=by)).rows
        assert (row.sums.exchanges, row.sums.spent_nusd, row.sums.input_tokens) == (1, 11, 20)


async def test_of_several_attempts_nothing_is_known(store):
    """What is held for each is charged there; tokens are nowhere, and the exchange is the first one's."""
    await store.write(seeded())
    await run_both(store)
    await store.close_inference(
        closing(cost_nusd=None, evidence=Evidence.NONE, attempts=(), usage=Usage(), ending=Ending.INTERNAL_ERROR)
    )
    rows = (await ask(store, by=("model",))).rows
    assert [row.sums for row in rows] == [Sums(settled_nusd=80), Sums(exchanges=1, settled_nusd=50)]


async def test_adjustments_of_attempts(store):
    """A correction is of the attempt that it is for, on the day on which it was posted."""
    await store.write(seeded())
    await run_both(store)
    await store.write(strand)
    assert await store.recover(START + 90)
    late = closing_of(4, 9, at=START + DAY_US)
    await store.write(partial(close_inference, closing=late))
    # Recovery took the estimated input of each: 11 tokens at 1, 12 at 2 nano-dollars.
    assert told(await ask(store, by=("model", "day"))) == [
        ("claude", "2023-11-14", 1, 24),
        ("claude", "2023-11-15", 0, 9 - 24),
        ("gpt", "2023-11-14", 0, 11),
        ("gpt", "2023-11-15", 0, 4 - 11),
    ]


async def test_what_is_held_for_attempts(store):
    """What runs is held for all its attempts, and is one exchange; what an ended one cost is held until the end."""
    await store.write(seeded())
    await run_both(store, ended=7)
    for by in (("model",), ("day",)):
        report = await ask(store, by=by)
        assert (report.rows, report.running, report.held_nusd) == ((), 1, 87)


def some_dimensions():
    """Each alone, every two, and all."""
    for size in (1, 2, len(DIMENSIONS)):
        yield from itertools.combinations(DIMENSIONS, size)


def posted(tx, kind):
    return tx.one("SELECT coalesce(sum(amount_nusd), 0) FROM entries WHERE kind = ?", (kind,))[0]


@pytest.mark.law
def test_sums_are_the_ledgers(count_cases):
    """By whatever it is summed, it comes to what was posted; each attempt's money is in its own model's row."""
    seen = Counter()
    for seed in range(SEED, SEED + SEQUENCES):
        with played(seed) as player:
            seen += player.seen
            whole = usage(player.tx, UsageAsk(ALL, EVER))
            sums = whole.totals
            amounts = sums.settled_nusd, sums.overrun_nusd, sums.adjustments_nusd
            assert amounts == tuple(posted(player.tx, kind) for kind in ("settle", "overrun", "adjustment")), seed
            running = [each.held for each in player.model.exchanges if each.state == "open"]
            assert (whole.running, whole.held_nusd) == (len(running), sum(running)), seed
            for by in some_dimensions():
                report = usage(player.tx, UsageAsk(ALL, EVER, by))
                assert report.totals == sum((row.sums for row in report.rows), Sums()) == sums, (seed, by)
            check_rows(player, seed)
    assert seen.keys() >= {"settled with several attempts", "recovered with several attempts", "hedges", "adjusted"}
    count_cases(f"books whose usage is the ledger's, AINF_SEED={SEED}", SEQUENCES)


def check_rows(player, seed):
    """The model says what each attempt was charged, closing events who served."""
    spent, served = Counter(), Counter()
    for exchange in player.model.exchanges:
        for attempt in exchange.attempts:
            spent[attempt.model, exchange.key.key_id] += attempt.charged
    for (body,) in player.tx.execute("SELECT body FROM audit_events WHERE kind = 'inference.closed'"):
        event = json.loads(body)
        served[event["model"], event["key_id"]] += 1
    rows = usage(player.tx, UsageAsk(ALL, EVER, ("model", "key"))).rows
    assert {row.group: row.sums.spent_nusd for row in rows if row.sums.spent_nusd} == +spent, seed
    assert {row.group: row.sums.exchanges for row in rows if row.sums.exchanges} == served, seed
