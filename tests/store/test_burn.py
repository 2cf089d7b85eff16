"""Silent burn, as it is found when an exchange closes: what was asked again, and what was charged for nothing."""

import pytest

from ainf.inference.outcome import Ending
from ainf.inference.usage import Usage
from ainf.ledger import divide
from ainf.store import burn
from ainf.store.admin import KeyRights, create_key
from tests.store.records import COST, START, closing, opening, seeded

SECOND = 1_000_000
MINUTE = 60 * SECOND


async def run(store, number: int, opened_s: float, closed_s: float, *, ask=None, end=None):
    """Open and close one exchange, at seconds after ``START``; the body is the same unless told otherwise."""
    await begin(store, number, opened_s, **(ask or {}))
    return await finish(store, number, closed_s, **(end or {}))


async def begin(store, number, opened_s, **ask):
    await store.open_inference(opening(number, at=START + int(opened_s * SECOND), **ask))


async def finish(store, number, closed_s, **end):
    return await store.close_inference(closing(number, at=START + int(closed_s * SECOND), **end))


FAILED = {"ending": Ending.UPSTREAM_ERROR, "error_code": "upstream_truncated"}
LEFT = {"ending": Ending.CLIENT_DISCONNECTED}
EMPTY = {"received_bytes": 0, "output_bytes": 0}
UNBILLED = {"cost_nusd": 0, "ending": Ending.UPSTREAM_ERROR, **EMPTY}


@pytest.mark.parametrize(
    ("first", "asked_after_s", "ask", "kind"),
    [
        ({}, 5, {}, "repeated"),
        (FAILED, 5, {}, "failed"),
        (LEFT, 5, {}, "failed"),
        ({"ending": Ending.SPEND_CAP_EXCEEDED}, 5, {}, "failed"),
        ({}, 600, {}, "repeated"),
        ({}, 601, {}, None),
        ({}, 601, {"sdk_retry_count": 0}, None),
        ({}, 601, {"sdk_retry_count": 1}, "repeated"),
        ({}, 3600, {"sdk_retry_count": 2}, "repeated"),
        ({}, 3601, {"sdk_retry_count": 2}, None),
        ({}, 5, {"fingerprint": b"x" * 16}, None),
    ],
)
async def test_what_is_asked_again_within_minutes(store, first, asked_after_s, ask, kind):
    """The same body within ten minutes, or an hour where the SDK says that it retries; the kind is the first's."""
    await store.write(seeded())
    await run(store, 1, 0, 3, end=first)
    second = await run(store, 2, asked_after_s, asked_after_s + 1, ask=ask)
    assert second.retry_of == ("inf-000001" if kind else None)
    assert second.burnt_nusd == ({kind: COST} if kind else {})


async def test_another_account_asks_nothing_again(store):
    """The same body of two accounts is two questions."""
    await store.write(seeded())
    await store.write(
        lambda tx: create_key(tx, key_id="key00002", digest=b"e" * 32, account="org", rights=KeyRights(), at=START)
    )
    await run(store, 1, 0, 1)
    second = await run(store, 2, 2, 3, ask={"key_id": "key00002"})
    assert (second.retry_of, second.burnt_nusd) == (None, {})


async def test_another_key_of_the_account_asks_again(store):
    """Agents of one account share what they ask: whichever key asks, the first answer was of no use."""
    await store.write(seeded())
    await store.write(
        lambda tx: create_key(tx, key_id="key00002", digest=b"e" * 32, account="team", rights=KeyRights(), at=START)
    )
    await run(store, 1, 0, 1)
    assert (await run(store, 2, 2, 3, ask={"key_id": "key00002"})).retry_of == "inf-000001"


async def test_parallel_samples_are_no_retries(store):
    """What is asked while the first still runs is another sample of it, in whichever order they end."""
    await store.write(seeded())
    for number in (1, 2, 3):
        await begin(store, number, number / 10)
    for number in (2, 1, 3):
        settlement = await finish(store, number, 10 - number)
        assert (settlement.retry_of, settlement.burnt_nusd) == (None, {})


@pytest.mark.parametrize(
    ("left_at_s", "ask", "is_retry"),
    [
        (4.9, {}, True),
        (5.9, {}, True),  # its settlement took a while
        (6.1, {}, False),  # a sample of several that was given up
        (6.1, {"sdk_retry_count": 1}, True),
    ],
)
async def test_what_the_client_had_left(store, left_at_s, ask, is_retry):
    """A client that leaves and asks again may be faster than the settlement of what it left."""
    await store.write(seeded())
    await begin(store, 1, 0)
    await begin(store, 2, 5, **ask)
    await finish(store, 1, left_at_s, **LEFT)
    second = await finish(store, 2, 60)
    assert second.retry_of == ("inf-000001" if is_retry else None)


async def test_of_a_race_nothing_burns(store):
    """Who asks the same of several, and leaves the others when the first has answered, asks nothing again."""
    await store.write(seeded())
    for number in (1, 2, 3):
        await begin(store, number, number / 100)
    settled = [await finish(store, 2, 3), await finish(store, 1, 3.01, **LEFT), await finish(store, 3, 3.02, **LEFT)]
    assert [settlement.burnt_nusd for settlement in settled] == [{}, {}, {}]


async def test_what_still_runs_is_not_asked_again(store):
    """An exchange that is not settled is no earlier one, whatever becomes of it."""
    await store.write(seeded())
    await begin(store, 1, 0)
    assert (await run(store, 2, 5, 6)).retry_of is None


async def test_the_newest_is_what_is_asked_again(store):
    """Of a chain of retries each asks its predecessor again, so that all but the last are burnt, each once."""
    await store.write(seeded())
    asked = [await run(store, number, number * 10, number * 10 + 1, end=FAILED) for number in (1, 2, 3, 4)]
    assert [settlement.retry_of for settlement in asked] == [None, "inf-000001", "inf-000002", "inf-000003"]
    assert [settlement.burnt_nusd for settlement in asked] == [{}, *[{"failed": COST}] * 3]


async def test_an_empty_one_is_burnt_at_once_and_once(store):
    """It is told when it closes, and not again when it is asked again."""
    await store.write(seeded())
    first = await run(store, 1, 0, 1, end=EMPTY)
    second = await run(store, 2, 2, 3, end=EMPTY)
    third = await run(store, 3, 4, 5)
    assert (first.is_empty, first.burnt_nusd) == (True, {"empty": COST})
    assert (second.retry_of, second.burnt_nusd) == ("inf-000001", {"empty": COST})
    assert (third.is_empty, third.retry_of, third.burnt_nusd) == (False, "inf-000002", {})


async def test_two_that_ask_the_same_again_burn_it_once(store):
    """Both name it; its charge is told with the first of them."""
    await store.write(seeded())
    await run(store, 1, 0, 1, end=FAILED)
    await begin(store, 2, 2)
    await begin(store, 3, 2.5)
    second, third = await finish(store, 2, 9), await finish(store, 3, 8)
    assert (second.retry_of, third.retry_of) == ("inf-000001", "inf-000001")
    assert (second.burnt_nusd, third.burnt_nusd) == ({"failed": COST}, {})


async def test_both_kinds_at_once(store):
    """An empty answer to what was asked again: the first one's charge, and its own."""
    await store.write(seeded())
    await run(store, 1, 0, 1)
    second = await run(store, 2, 2, 3, end=EMPTY | {"cost_nusd": 7})
    assert second.burnt_nusd == {"empty": 7, "repeated": COST}


async def test_what_cost_nothing_is_not_burnt(store):
    """A failure that was not charged is asked again for free; the retry still says what it asked again."""
    await store.write(seeded())
    first = await run(store, 1, 0, 1, end=UNBILLED)
    second = await run(store, 2, 2, 3)
    assert (first.is_empty, first.burnt_nusd) == (False, {})
    assert (second.retry_of, second.burnt_nusd) == ("inf-000001", {})


async def test_a_repeated_closing_tells_the_same(store):
    """A caller that did not hear the first answer learns from the second what burnt, whoever closed between."""
    await store.write(seeded())
    await run(store, 1, 0, 1, end=FAILED)
    await begin(store, 2, 2)
    await begin(store, 3, 2)
    second = await finish(store, 2, 3, **EMPTY)
    third = await finish(store, 3, 4)
    assert second.burnt_nusd == {"empty": COST, "failed": COST}
    assert await finish(store, 2, 5) == second
    assert await finish(store, 3, 5) == third


@pytest.mark.parametrize(
    ("changes", "cost", "expected"),
    [
        (EMPTY, 5, True),
        (EMPTY, None, True),
        (EMPTY, 0, False),
        ({"received_bytes": 1, "output_bytes": 0}, 5, False),
        (EMPTY | {"brought_vectors": True}, 5, False),
        (EMPTY | {"usage": Usage(output_tokens=9, audio_output_tokens=9)}, 5, False),
        (EMPTY | {"usage": Usage(output_tokens=9, reasoning_tokens=9)}, 5, True),
    ],
)
def test_what_is_empty(changes, cost, expected):
    """Charged, and neither visible output nor vectors nor sound came; thoughts that nobody sees are nothing."""
    assert burn.is_empty(closing(**changes), divide(50, cost)) is expected


async def test_the_search_is_one_probe_of_an_index(store):
    """A close reads as little as it can: one range of an index, and a settlement for each opening in it."""
    plan = await store.read(
        lambda tx: [
            row[3]
            for row in tx.execute(
                "EXPLAIN QUERY PLAN " + burn._EARLIER, ("a", b"f", 0, 1, "i", burn.LOOKED_AT, 1, Ending.COMPLETED, 2)
            )
        ]
    )
    assert plan == [
        "CO-ROUTINE e",
        "SEARCH i USING COVERING INDEX inferences_by_fingerprint"
        " (account_id=? AND fingerprint=? AND opened_at>? AND opened_at<?)",
        "SCAN e",
        "SEARCH s USING PRIMARY KEY (inference_id=?)",
        "CORRELATED SCALAR SUBQUERY 1",
        "SEARCH r USING COVERING INDEX settlements_retried (retry_of=?)",
    ]


async def test_of_many_parallel_samples_only_the_newest_are_looked_at(store):
    """However many run with the same body, a close looks at a bounded number of them."""
    await store.write(seeded())
    await run(store, 1, 0, 1)
    for number in range(2, 2 + burn.LOOKED_AT):
        await begin(store, number, number)
    await begin(store, 100, 90)
    assert (await finish(store, 100, 91)).retry_of is None


def test_kinds():
    """Empty comes first, then how it ended."""
    assert burn.kind_of("completed", is_empty=True) is burn.Burn.EMPTY
    assert burn.kind_of("completed", is_empty=False) is burn.Burn.REPEATED
    assert {burn.kind_of(ending, is_empty=False) for ending in Ending if ending != "completed"} == {burn.Burn.FAILED}
