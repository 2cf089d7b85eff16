"""What the outcomes of routed exchanges say of their models; every store."""

import attrs
import pytest

from ainf.inference.events import FinishReason
from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.routing.observed import PastAttempt
from ainf.store import routing_history
from ainf.store.base import Unrouted
from ainf.store.routing import note_unrouted
from ainf.store.routing_history import recent_outcomes
from tests.store.records import (
    COST,
    KEY,
    ROUTING,
    START,
    closing,
    closing_of,
    later,
    opening,
    seed,
    seeded,
)

GPT = {"provider": "openai", "model": "gpt"}
CLAUDE = {"provider": "anthropic", "model": "claude"}
STOPPED = {"ending": Ending.COMPLETED, "error_code": None, "finish": FinishReason.STOP, "has_content": True}
BROKEN = {
    "ending": Ending.UPSTREAM_ERROR,
    "error_code": "upstream_error",
    "finish_reason": "error",
    "first_byte_us": None,
}


@pytest.fixture
async def books(store):
    await store.write(seed)
    return store


def routed(number=1, **changes):
    """Return the opening of a routed exchange; each asks something else."""
    return opening(number, **{"routing": ROUTING, "fingerprint": number.to_bytes(16)} | changes)


def line(**changes):
    (attempt,) = closing().attempts
    return attrs.evolve(attempt, **changes)


async def told(store, since=0, most=100):
    return await store.read(lambda tx: recent_outcomes(tx, since=since, most=most))


async def test_nothing_is_told_of_nothing(books):
    """A database without routed exchanges has no history; pinned ones say nothing, nor does one that still runs."""
    await books.open_inference(opening())
    await books.close_inference(closing())
    await books.open_inference(routed(2))
    assert await told(books) == []


async def test_an_answer(books):
    """It is told with its provider's word for its end, and how soon it began after its own beginning."""
    await books.open_inference(routed())
    started = line(started_at=START + 1 + 40)
    await books.close_inference(closing(first_byte_us=5_040, attempts=(started,)))
    assert await told(books) == [PastAttempt(**GPT, **STOPPED, first_content_us=5_000)]


async def test_a_whole_answer_has_no_first_content(books):
    """What comes first of it is its end: it says nothing of how soon a stream begins."""
    await books.open_inference(routed(stream=False))
    await books.close_inference(closing(first_byte_us=5_000))
    assert await told(books) == [PastAttempt(**GPT, **STOPPED)]


async def test_a_clock_that_was_set_back(books):
    """A time that cannot be is none."""
    await books.open_inference(routed())
    await books.close_inference(closing(first_byte_us=5_000, attempts=(line(started_at=START + 9_000),)))
    assert await told(books) == [PastAttempt(**GPT, **STOPPED)]


@pytest.mark.parametrize(
    ("raw", "finish"),
    [("length", "length"), ("MAX_TOKENS", "length"), ("refusal", "content_filter"), ("odd", "other"), (None, None)],
)
async def test_words_of_any_format(books, raw, finish):
    """A provider's word for an end is told in ours."""
    await books.open_inference(routed())
    await books.close_inference(closing(attempts=(line(raw_finish_reason=raw),)))
    (past,) = await told(books)
    assert past.finish == finish


async def test_an_attempt_that_another_followed(books):
    """It counts for its own model, with its own error; how the exchange ended is the last one's."""
    await books.open_inference(routed())
    await books.open_attempt(later(2, (1, 3)))
    ended = closing_of(3, COST, first_byte_us=900)
    first, second = ended.attempts
    lines = (
        attrs.evolve(first, error_code="upstream_overloaded", raw_finish_reason=None),
        attrs.evolve(second, started_at=START + 1 + 300),
    )
    await books.close_inference(attrs.evolve(ended, attempts=lines, served=2))
    assert await told(books) == [
        PastAttempt(**CLAUDE, **STOPPED, first_content_us=600),
        PastAttempt(**GPT, ending=None, error_code="upstream_overloaded"),
    ]


async def test_a_slower_attempt(books):
    """Of two that ran at once the one that won is told as the answer, whatever its number; the other says nothing."""
    await books.open_inference(routed())
    await books.open_attempt(later())
    ended = closing_of(COST, 30, served=1)
    await books.close_inference(ended)
    assert await told(books) == [
        PastAttempt(**CLAUDE, ending=None, error_code=None),
        PastAttempt(**GPT, **STOPPED),
    ]


async def test_a_model_that_was_tried_twice(books):
    """Its last try is the answer; the one before it failed."""
    await books.open_inference(routed())
    await books.open_attempt(attrs.evolve(later(2, (1, 0)), attempt=routed().attempt))
    lines = line(error_code="upstream_unreachable", cost_nusd=0), line()
    await books.close_inference(closing(attempts=lines, charges=(0, COST), served=2))
    assert [(past.ending, past.error_code) for past in await told(books)] == [
        (Ending.COMPLETED, None),
        (None, "upstream_unreachable"),
    ]


async def test_a_failure_with_and_without_content(books):
    """Whether anything came is told, and the exchange's error where the attempt has none of its own."""
    for number, received in ((1, 0), (2, 90)):
        await books.open_inference(routed(number))
        silent = line(raw_finish_reason=None, error_code="upstream_truncated" if received else None)
        await books.close_inference(closing(number, received_bytes=received, attempts=(silent,), **BROKEN))
    failed = {**GPT, "ending": Ending.UPSTREAM_ERROR}
    assert await told(books) == [
        PastAttempt(**failed, error_code="upstream_truncated", has_content=True),
        PastAttempt(**failed, error_code="upstream_error", is_empty=True),
    ]


async def test_an_empty_answer(books):
    """That it is billed though nothing came is told."""
    await books.open_inference(routed())
    await books.close_inference(closing(output_bytes=0, received_bytes=0))
    (past,) = await told(books)
    assert (past.is_empty, past.has_content) == (True, False)


async def test_what_was_asked_again(books):
    """The answer that the same account asked again is told so, and the second is not."""
    for number in (1, 2):
        await books.open_inference(routed(number, at=START + 1_000 * number, fingerprint=b"f" * 16))
        await books.close_inference(closing(number, at=START + 1_000 * number + 100))
    assert [past.was_asked_again for past in await told(books)] == [False, True]


async def test_what_was_not_admitted_says_nothing(books, monkeypatch):
    """No model was asked; and it takes no place among those that are looked at."""
    await fill(books, 1)
    unrouted = Unrouted(
        at=START + 9_000, key_id=KEY, account_id="acct-team", path="/v1/messages", stream=True,
        requested_model="ainf/auto", routing=ROUTING, status="rejected_floor", code="no_candidate",
    )  # fmt: skip
    await books.write(lambda tx: note_unrouted(tx, unrouted))
    monkeypatch.setattr(routing_history, "LOOKED_AT", 1)
    assert len(await told(books)) == 1


async def test_an_end_without_attempts(books):
    """Where nothing was dialled, or nobody knows what was, there is nothing to tell."""
    await books.open_inference(routed())
    unknown = {"cost_nusd": None, "usage": Usage(), "evidence": Evidence.NONE, "attempts": ()}
    await books.close_inference(closing(ending=Ending.INTERNAL_ERROR, error_code="internal_error", **unknown))
    assert await told(books) == []


async def fill(store, count, models=("gpt",)):
    """Close so many routed exchanges, a millisecond after each other, of these models by turns.

    Each has its number for its time to the first content.
    """
    for number in range(1, count + 1):
        at = START + 1_000 * number
        attempt = line(model=models[number % len(models)], started_at=at)
        await store.open_inference(routed(number, at=at))
        await store.close_inference(closing(number, at=at + 100, attempts=(attempt,), first_byte_us=number))


async def test_the_newest_first_and_no_older_ones(books):
    """They come in the order in which they ended, from a moment on."""
    await fill(books, 5)
    assert [past.first_content_us for past in await told(books)] == [5, 4, 3, 2, 1]
    assert [past.first_content_us for past in await told(books, since=START + 3_100)] == [5, 4, 3]


async def test_at_most_so_many_of_each_model(books):
    """Much that is known of one model does not crowd out the others."""
    await fill(books, 6, models=("gpt", "gpt", "claude"))
    assert [past.model for past in await told(books, most=2)] == ["gpt", "claude", "gpt", "claude"]
    assert await told(books, most=0) == []


async def test_only_the_newest_are_looked_at(books, monkeypatch):
    """What is read does not grow with the books."""
    await fill(books, 4)
    monkeypatch.setattr(routing_history, "LOOKED_AT", 3)
    assert len(await told(books)) == 3


async def test_it_finds_what_it_reads_by_indexes(store):
    """One range of the newest outcomes, and for each the rows of its exchange."""
    await store.write(seeded())
    plan = await store.read(
        lambda tx: [row[3] for row in tx.execute("EXPLAIN QUERY PLAN " + routing_history._NEWEST, (0, 1))]
    )
    assert plan == [
        "CO-ROUTINE o",
        "SEARCH routing_outcomes USING INDEX routing_outcomes_by_time (at>?)",
        "SCAN o",
        "SEARCH i USING PRIMARY KEY (inference_id=?)",
        "SEARCH s USING PRIMARY KEY (inference_id=?)",
        "SEARCH a USING PRIMARY KEY (inference_id=?)",
        "CORRELATED SCALAR SUBQUERY 1",
        "SEARCH r USING COVERING INDEX settlements_retried (retry_of=?)",
        "USE TEMP B-TREE FOR LAST TERM OF ORDER BY",
    ]


async def test_who_can_count_need_not_be_able_to_answer(books):
    """Of tokens that were counted nothing is told: it would pass for an answer."""
    await books.open_inference(routed(protocol="count_tokens"))
    await books.close_inference(closing())
    assert await told(books) == []
