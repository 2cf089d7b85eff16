"""What burnt in a period: who, how often, how much, which."""

from functools import partial

import pytest

from ainf.inference.outcome import Ending
from ainf.store.admin import KeyRights, create_key
from ainf.store.burn import Burn
from ainf.store.burn_report import Burner, burn_report
from ainf.store.period import Period
from ainf.store.settling import close_inference
from ainf.store.usage import Whose
from tests.store.records import COST, ROUTING, START, closing, closing_of, later, opening, seeded, strand

SECOND = 1_000_000
FAILED = {"ending": Ending.UPSTREAM_ERROR, "error_code": "upstream_truncated"}
EMPTY = {"received_bytes": 0, "output_bytes": 0}
ALWAYS = Period(0, START * 2)


async def run(store, number, at_s, *, body=b"f", key_id="key00001", **end):
    at = START + at_s * SECOND
    await store.open_inference(opening(number, at=at, fingerprint=body * 16, key_id=key_id))
    await store.close_inference(closing(number, at=at + SECOND, **end))


async def report(store, whose=Whose(), period=ALWAYS, **options):  # noqa: B008 - it is frozen
    return await store.read(partial(burn_report, whose=whose, period=period, **options))


def ids(found):
    return [[each.inference_id for each in body.exchanges] for body in found.bodies]


@pytest.fixture
async def books(store):
    """Two chains of one account, one of another above it, and what is no burn."""
    await store.write(seeded())
    await store.write(
        lambda tx: create_key(tx, key_id="key00002", digest=b"2" * 32, account="org", rights=KeyRights(), at=START)
    )
    await run(store, 1, 0, **EMPTY)
    await run(store, 2, 10, **FAILED)
    await run(store, 3, 20, cost_nusd=0, **FAILED)
    await run(store, 4, 30)
    await run(store, 5, 40)
    await run(store, 6, 50, body=b"g", cost_nusd=3, **EMPTY)
    await run(store, 7, 60, body=b"h")
    await run(store, 8, 70, key_id="key00002", cost_nusd=500, **FAILED)
    await run(store, 9, 80, key_id="key00002")
    return store


async def test_who_and_which(books):
    """Each burnt exchange once, by its body, the costliest first; what was free, and the last answer, did not burn."""
    found = await report(books)
    assert ids(found) == [["inf-000008"], ["inf-000001", "inf-000002", "inf-000004"], ["inf-000006"]]
    assert found.burners == (
        Burner("org", "key00002", Burn.FAILED, 1, 500),
        Burner("team", "key00001", Burn.EMPTY, 2, COST + 3),
        Burner("team", "key00001", Burn.FAILED, 1, COST),
        Burner("team", "key00001", Burn.REPEATED, 1, COST),
    )
    assert (found.exchanges, found.charged_nusd) == (5, 3 * COST + 503)
    chain = found.bodies[1].exchanges
    assert [each.kind for each in chain] == ["empty", "failed", "repeated"]
    assert [each.asked_again_by for each in chain] == ["inf-000002", "inf-000003", "inf-000005"]
    assert [each.ending for each in chain] == ["completed", "upstream_error", "completed"]
    assert found.bodies[2].exchanges[0].asked_again_by is None
    assert found.bodies[1].fingerprint == (b"f" * 16).hex()


async def test_only_what_was_empty(books):
    """The other kinds can be left out."""
    found = await report(books, only_empty=True)
    assert ids(found) == [["inf-000001"], ["inf-000006"]]
    assert [(burner.kind, burner.exchanges) for burner in found.burners] == [("empty", 2)]


@pytest.mark.parametrize(
    ("whose", "exchanges"),
    [
        (Whose("acct-org"), 5),
        (Whose("acct-org", with_below=False), 1),
        (Whose("acct-team"), 4),
        (Whose("acct-none"), 0),
    ],
)
async def test_of_whom(books, whose, exchanges):
    """An account alone, or with all below it."""
    assert (await report(books, whose)).exchanges == exchanges


async def test_when(books):
    """What burnt belongs to the moment of its own admission, also when it was asked again later."""
    found = await report(books, period=Period(START + 10 * SECOND, START + 30 * SECOND))
    assert ids(found) == [["inf-000002"]]


async def test_what_was_asked_again_twice_burnt_once(store):
    """Two that ask the same again do not make it two."""
    await store.write(seeded())
    await run(store, 1, 0, **FAILED)
    for number in (2, 3):
        await store.open_inference(opening(number, at=START + 5 * SECOND))
    for number in (2, 3):
        await store.close_inference(closing(number, at=START + 9 * SECOND))
    found = await report(store)
    assert ids(found) == [["inf-000001"]]
    assert found.bodies[0].exchanges[0].asked_again_by == "inf-000002"


async def test_the_model_is_the_one_that_answered(store):
    """Of a routed exchange it is not the one that was called first; that another was called is no burn by itself."""
    await store.write(seeded())
    for number, end in ((1, EMPTY | FAILED), (2, {})):
        at = START + number * SECOND
        await store.open_inference(opening(number, at=at, routing=ROUTING))
        await store.open_attempt(later(2, (1, 3), of=number))
        changes = {"inference_id": f"inf-{number:06d}", "at": at + 50, **end}
        await store.close_inference(closing_of(3, 9, **changes))
    ((burnt,),) = [body.exchanges for body in (await report(store)).bodies]
    assert (burnt.inference_id, burnt.model, burnt.kind, burnt.charged_nusd) == ("inf-000001", "claude", "empty", 12)


async def test_what_was_given_back_did_not_burn(store):
    """An adjustment counts: what came to nothing in the end is no burn."""
    await store.write(seeded())
    await store.open_inference(opening())
    await store.write(strand)
    assert await store.recover(START + SECOND)
    assert (await report(store)).charged_nusd == 11
    await store.write(partial(close_inference, closing=closing(cost_nusd=0)))
    assert (await report(store)).exchanges == 0
