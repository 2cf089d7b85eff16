"""An invoice beside the ledger: what is matched by which id, what differs, and what only one of them has."""

import tracemalloc
from collections import Counter
from contextlib import contextmanager
from functools import partial

import attrs
import pytest

from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.store.base import AttemptPlan
from ainf.store.period import Period
from ainf.store.reconcile import InvoiceLine, Largest, Match, Missing, ReconcileAsk, Sums, Unknown, reconcile
from tests.extent import FULL, SEED
from tests.store.played import played
from tests.store.records import COST, PRICE, ROUTING, START, USAGE, closing, closing_of, later, opening, seeded

ALWAYS = Period(0, START * 2)
EVER = Period(0, 1 << 62)
IN, OUT = USAGE.input_tokens, USAGE.output_tokens

SEQUENCES = 1_000 if FULL else 100


def attempts_of(number, **names):
    (attempt,) = closing(number).attempts
    return (attrs.evolve(attempt, **{"response_id": f"r{number}", "provider_request_id": f"p{number}"} | names),)


@pytest.fixture
async def books(store):
    """Five exchanges: two of one provider that agree, a metered one, one of another provider, one that runs."""
    await store.write(seeded())
    claude = AttemptPlan("claude", "claude-5", "anthropic", PRICE)
    rows = (
        (1, None, {}),
        (2, None, {}),
        (3, None, {"ending": Ending.CLIENT_DISCONNECTED, "evidence": Evidence.METERED}),
        (4, claude, {}),
        (5, None, None),
    )
    for number, attempt, end in rows:
        asked = opening(number)
        await store.open_inference(asked if attempt is None else attrs.evolve(asked, attempt=attempt))
        if end is not None:
            attempts = attempts_of(number, evidence=end.get("evidence", Evidence.REPORTED))
            await store.close_inference(closing(number, attempts=attempts, **end))
    return store


async def ask(store, *lines, period=ALWAYS, provider="openai", most=10):
    return await store.read(partial(reconcile, ask=ReconcileAsk(period, provider, most), lines=lines))


def line(number, **says):
    return InvoiceLine(line=number, **says)


BILLED = (
    line(2, inference_id="inf-000001", cost_nusd=COST, input_tokens=IN, output_tokens=OUT),
    line(3, provider_request_id="p2", cost_nusd=COST),
    line(4, response_id="r3", cost_nusd=COST),
)


async def test_all_agree(books):
    """Exchanges are found by any id, and agree where all that the invoice says is what the ledger says."""
    found = await ask(books, *BILLED)
    assert found.agrees
    assert found.lines == 3
    assert found.equal == Sums(3, 3 * COST, 3 * COST)


@pytest.mark.parametrize(
    "says",
    [{"cost_nusd": COST + 7}, {"cost_nusd": COST, "input_tokens": IN + 1}, {"output_tokens": OUT - 1}],
    ids=["cost", "input", "output"],
)
async def test_a_difference_in_anything(books, says):
    """It is told with both sides' numbers and how the exchange ended, and summed up by that."""
    found = await ask(books, *BILLED[:2], line(4, response_id="r3", **says))
    (match,) = found.differences.rows()
    assert match == Match(
        inference_id="inf-000003", attempt=1, line=4, lines=1, ending="client_disconnected", evidence="metered",
        ours_nusd=COST, theirs_nusd=says.get("cost_nusd"), our_input_tokens=IN,
        their_input_tokens=says.get("input_tokens"), our_output_tokens=OUT,
        their_output_tokens=says.get("output_tokens"),
    )  # fmt: skip
    difference = says.get("cost_nusd", COST) - COST
    assert match.difference_nusd == difference
    assert found.differing == Sums(1, COST, COST + difference)
    assert found.by_ending == {"client_disconnected": Sums(1, COST, COST + difference)}
    assert found.equal.count == 2
    assert not found.agrees


async def test_lines_of_one_attempt_are_added_up(books):
    """A bill of several lines, by whatever id, is one bill; one that is billed twice differs."""
    parts = line(5, response_id="r1", cost_nusd=COST - 3), line(7, provider_request_id="p1", cost_nusd=3)
    assert (await ask(books, *BILLED[1:], *parts)).agrees
    found = await ask(books, *BILLED, line(9, response_id="r2", cost_nusd=COST))
    (match,) = found.differences.rows()
    assert (match.inference_id, match.line, match.lines, match.theirs_nusd) == ("inf-000002", 3, 2, 2 * COST)


async def test_what_only_the_invoice_has(books):
    """Ids that nobody knows, and one that names several exchanges, belong to none."""
    await books.open_inference(opening(6))
    await books.close_inference(closing(6, cost_nusd=0, attempts=attempts_of(6, response_id="r1", cost_nusd=0)))
    unknown = line(8, inference_id="not-ours", cost_nusd=5), line(9, response_id="r1", cost_nusd=9)
    found = await ask(books, *BILLED, *unknown)
    assert found.unknown_sums == Sums(2, 0, 14)
    assert found.unknown.rows() == [Unknown(9, "r1", True, 9), Unknown(8, "not-ours", False, 5)]
    assert found.equal.count == 3


async def test_an_id_that_is_not_ours_leaves_the_others(books):
    """Where the first id of a line is unknown, the next one says whose it is."""
    lines = (
        line(2, inference_id="x", response_id="r1", cost_nusd=COST),
        line(3, inference_id="y", provider_request_id="z", response_id="r2", cost_nusd=COST),
    )
    assert (await ask(books, *lines, BILLED[2])).agrees


async def test_what_only_the_ledger_has(books):
    """What was charged in the period by this provider and is not on the invoice; not what cost nothing, or runs."""
    await books.open_inference(opening(6))
    await books.close_inference(closing(6, cost_nusd=0, attempts=()))
    found = await ask(books, *BILLED[:2])
    assert found.missing.rows() == [Missing("inf-000003", 1, "openai", "gpt", "client_disconnected", "metered", COST)]
    assert found.missing_sums == Sums(1, COST, 0)
    assert (await ask(books, *BILLED[:2], period=Period(0, START + 3))).agrees
    assert (await ask(books, *BILLED[:2], period=Period(START + 4, START + 9))).agrees
    both = await ask(books, *BILLED, provider=None)
    assert [missing.inference_id for missing in both.missing.rows()] == ["inf-000004"]


async def test_an_exchange_that_still_runs_is_not_equal(books):
    """It is told as running: what it costs is not known yet."""
    found = await ask(books, *BILLED, line(9, inference_id="inf-000005", cost_nusd=0))
    (match,) = found.differences.rows()
    assert (match.attempt, match.ending, match.evidence, match.ours_nusd) == (None, "running", None, 0)


async def test_adjustments_count(books):
    """What was posted later belongs to what an exchange cost."""
    at = START + 10**9
    await books.write(
        lambda tx: tx.execute(
            "INSERT INTO entries (inference_id, kind, account_id, provider, amount_nusd, at)"
            " VALUES ('inf-000003', 'adjustment', 'acct-team', 'openai', 11, ?)",
            (at,),
        )
    )
    assert (await ask(books, *BILLED[:2], line(4, response_id="r3", cost_nusd=COST + 11))).agrees


# --- exchanges of several attempts ---


@pytest.fixture
async def routed(store):
    """An exchange whose first attempt, at "gpt", failed for 7; the second, at "claude", answered for 90; the third,
    asked beside it at "mini" of the first one's provider, lost, at 5."""
    await store.write(seeded())
    await store.open_inference(opening(routing=ROUTING))
    await store.open_attempt(later(2, (1, 7)))
    await store.open_attempt(later(3, attempt=MINI))
    first, answered, _ = closing_of(7, 90, 5).attempts
    failed = attrs.evolve(first, status=500, error_code="upstream_error", usage=NO_USAGE, evidence=Evidence.METERED)
    lost = attrs.evolve(failed, model="mini", upstream_model="mini-1", status=200, error_code=None, cost_nusd=5)
    lines = tuple(
        attrs.evolve(one, provider_request_id=f"p{number}", response_id="r")
        for number, one in enumerate((failed, answered, lost), 1)
    )
    await store.close_inference(closing_of(7, 90, 5, attempts=lines, served=2))
    return store


MINI = AttemptPlan("mini", "mini-1", "openai", PRICE)
NO_USAGE = Usage()
INFERENCE = "inf-000001"


async def test_each_provider_has_its_part(routed):
    """An exchange that several providers were called for agrees with the invoice of each, by whichever id."""
    for names in ({"inference_id": INFERENCE}, {"response_id": "r"}):
        assert (await ask(routed, line(2, cost_nusd=12, output_tokens=0, **names))).equal == Sums(1, 12, 12)
        assert (await ask(routed, line(2, cost_nusd=90, input_tokens=IN, **names), provider="anthropic")).agrees
        assert (await ask(routed, line(2, cost_nusd=102, output_tokens=OUT, **names), provider=None)).agrees
    by_request = line(2, provider_request_id="p1", cost_nusd=7), line(3, provider_request_id="p3", cost_nusd=5)
    assert (await ask(routed, *by_request)).equal == Sums(2, 12, 12)
    assert (await ask(routed, line(2, provider_request_id="p2", cost_nusd=90), provider="anthropic")).agrees


async def test_attempts_differ_by_themselves(routed):
    """What is billed for one is laid beside that one, with its own evidence; what is billed for all, beside all."""
    lines = line(2, provider_request_id="p1", cost_nusd=9), line(3, provider_request_id="p3", cost_nusd=5)
    found = await ask(routed, *lines)
    (match,) = found.differences.rows()
    assert (match.attempt, match.ours_nusd, match.theirs_nusd, match.evidence) == (1, 7, 9, "metered")
    assert found.equal == Sums(1, 5, 5)
    # One line says no more than the exchange: then it cannot be told which of the others is of the same.
    for others in (lines, lines[::-1]):
        (match,) = (await ask(routed, *others, line(4, inference_id=INFERENCE, cost_nusd=1))).differences.rows()
        assert (match.attempt, match.lines, match.ours_nusd, match.theirs_nusd) == (None, 3, 12, 15)
        assert (match.ending, match.evidence) == ("completed", "reported")


async def test_an_attempt_that_is_not_on_the_invoice(routed):
    """It is missing by itself, though another one of its exchange is there; not where a line is of all of them."""
    found = await ask(routed, line(2, provider_request_id="p3", cost_nusd=5))
    assert found.missing.rows() == [Missing(INFERENCE, 1, "openai", "gpt", "completed", "metered", 7)]
    found = await ask(routed, line(2, provider_request_id="p2", cost_nusd=90), provider=None)
    assert [(each.attempt, each.model, each.ours_nusd) for each in found.missing.rows()] == [
        (1, "gpt", 7),
        (3, "mini", 5),
    ]
    assert (await ask(routed, line(2, inference_id=INFERENCE, cost_nusd=12))).agrees


async def test_what_another_provider_did_is_not_on_the_invoice(routed):
    """Ids that are of attempts elsewhere are unknown to this provider; what two providers call alike is told apart."""
    for names in ({"provider_request_id": "p2"}, {"inference_id": "inf-000002"}):
        found = await ask(routed, line(2, cost_nusd=90, **names))
        assert (found.unknown_sums.count, found.equal.count, found.differing.count) == (1, 0, 0)
    of_neither = await ask(routed, line(2, inference_id=INFERENCE, cost_nusd=12), provider="gemini")
    assert of_neither.unknown_sums.count == 1
    claude = AttemptPlan("claude", "claude-5", "anthropic", PRICE)
    await routed.open_inference(opening(2, attempt=claude))
    alike = {"model": "claude", "upstream_model": "claude-5", "provider": "anthropic", "provider_request_id": "p1"}
    await routed.close_inference(closing(2, attempts=attempts_of(2, **alike)))
    assert (await ask(routed, line(2, inference_id="inf-000002", cost_nusd=COST))).unknown_sums.count == 1
    p1 = line(2, provider_request_id="p1", cost_nusd=7)
    assert (await ask(routed, p1)).equal == Sums(1, 7, 7)
    assert (await ask(routed, p1, provider=None)).unknown.rows() == [Unknown(2, "p1", True, 7)]


async def test_adjustments_of_one_attempt(routed):
    """They belong to the attempt that they are for."""
    await routed.write(
        lambda tx: tx.execute(
            "INSERT INTO entries (inference_id, kind, account_id, provider, amount_nusd, at, attempt)"
            " VALUES (?, 'adjustment', 'acct-team', 'openai', 11, ?, 3)",
            (INFERENCE, START + 10**9),
        )
    )
    lines = line(2, provider_request_id="p1", cost_nusd=7), line(3, provider_request_id="p3", cost_nusd=16)
    assert (await ask(routed, *lines)).equal == Sums(2, 23, 23)
    assert (await ask(routed, line(2, inference_id=INFERENCE, cost_nusd=90), provider="anthropic")).agrees


async def test_a_later_attempt_that_still_runs(store):
    """Its exchange is known at its provider before it has ended."""
    await store.write(seeded())
    await store.open_inference(opening(routing=ROUTING))
    await store.open_attempt(later())
    (match,) = (await ask(store, line(2, inference_id=INFERENCE, cost_nusd=1), provider="anthropic")).differences.rows()
    assert (match.ending, match.ours_nusd) == ("running", 0)


@pytest.mark.law
def test_whatever_was_charged_is_somewhere(count_cases):
    """Each provider's true invoice agrees, by exchange; without one, all that was charged there is missing."""
    several = 0
    for seed in range(SEED, SEED + SEQUENCES):
        with played(seed) as player:
            charged = Counter()
            for exchange in player.model.exchanges:
                several += exchange.state != "open" and len(exchange.attempts) > 1
                for attempt in exchange.attempts:
                    provider = "anthropic" if attempt.model == "opus" else "openai"
                    charged[provider, exchange.inference_id] += attempt.charged
            for provider in ("anthropic", "openai"):
                own = {id_: amount for (name, id_), amount in charged.items() if amount and name == provider}
                lines = [line(n, inference_id=id_, cost_nusd=amount) for n, (id_, amount) in enumerate(own.items(), 2)]
                with reading(player.tx):
                    found = reconcile(player.tx, ReconcileAsk(EVER, provider, 10), lines)
                assert found.agrees, (seed, provider)
                assert found.equal == Sums(len(own), sum(own.values()), sum(own.values())), (seed, provider)
                with reading(player.tx):
                    found = reconcile(player.tx, ReconcileAsk(EVER, provider, 10), [])
                assert found.missing_sums.ours_nusd == sum(own.values()), (seed, provider)
    assert several
    count_cases(f"books beside true invoices, AINF_SEED={SEED}", SEQUENCES)


@contextmanager
def reading(tx):
    """What is made around the block is undone."""
    tx.execute("SAVEPOINT beside")
    yield
    tx.execute("ROLLBACK TO beside")
    tx.execute("RELEASE beside")


async def test_the_largest_are_listed(books):
    """Of each kind so many; all are counted."""
    unknown = [line(10 + number, response_id=f"x{number}", cost_nusd=number) for number in range(20)]
    found = await ask(books, *BILLED, *unknown, most=2)
    assert [each.theirs_nusd for each in found.unknown.rows()] == [19, 18]
    assert found.unknown_sums.count == found.unknown.count == 20


def test_largest_by_size_then_by_order():
    """Below nothing is as large as above; of equals the first stand."""
    largest = Largest(3)
    for size, name in ((1, "a"), (-5, "b"), (1, "c"), (2, "d"), (1, "e")):
        largest.add(size, name)
    assert largest.rows() == ["b", "d", "a"]


async def test_nothing_is_left_behind(books):
    """The ledger is as before, and another invoice can be laid beside it."""
    before = await books.read(lambda tx: tx.execute("SELECT count(*) FROM entries"))
    for _ in range(2):
        assert (await ask(books, *BILLED)).agrees
    assert await books.read(lambda tx: tx.execute("SELECT count(*) FROM entries")) == before


async def test_a_long_invoice_is_not_kept_in_memory(books):
    """Lines are read one by one: their number does not show in what Python holds."""
    lines = (line(number, response_id=f"x{number:030}", cost_nusd=1) for number in range(2, 30_002))
    tracemalloc.start()
    found = await books.read(partial(reconcile, ask=ReconcileAsk(ALWAYS, None, 10), lines=lines))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.unknown_sums.count == 30_000
    assert peak < 3_000_000
