"""Claims of idempotency keys: what each names, what is kept under it, and until when; over every store."""

import attrs
import pytest

from ainf.inference.errors import DownstreamError
from ainf.inference.outcome import Ending
from ainf.inference.usage import Usage
from ainf.store import claims
from ainf.store.base import Claim, KeptAnswer
from ainf.store.store import Store
from ainf.store.verify import verify
from tests.store.records import COST, KEY, ROUTING, START, USAGE, closing, closing_of, later, opening, seeded, strand

PATH = "/v1/chat/completions"
ANSWER = KeptAnswer(200, True, (("content-type", "text/event-stream"), ("x-ainf-a", "é")), b"data: \xff\n\n")
UNMATCHED = """
    SELECT c.idempotency_key, a.inference_id FROM claims AS c FULL JOIN answers AS a ON a.inference_id = c.inference_id
    WHERE c.state IS NULL OR (c.state = 'kept') <> (a.inference_id IS NOT NULL)
"""
DAY = 24 * 60 * 60 * 1_000_000


def claiming(number: int = 1, key: str = "k", fingerprint: bytes = b"f", **changes):
    return opening(number, claim=Claim(key, fingerprint), **changes)


def kept(number: int = 1, **changes):
    return closing(number, **{"answer": ANSWER, "frees_claim": False, "claim_expires_at": START + DAY} | changes)


def find(at: int = START, key: str = "k", **changes):
    names = {"key_id": KEY, "path": PATH, "idempotency_key": key} | changes
    return lambda tx: claims.find(tx, at=at, **names)


async def refused(store, asked) -> str:
    with pytest.raises(DownstreamError) as caught:
        await store.open_inference(asked)
    return caught.value.code


async def test_a_running_claim_is_in_use(store):
    """Another opening with the same key writes nothing; who looks finds what runs."""
    await store.write(seeded())
    await store.open_inference(claiming())
    assert await refused(store, claiming(2)) == "idempotency_in_progress"
    assert await store.read(lambda tx: tx.execute("SELECT inference_id FROM inferences")) == [("inf-000001",)]
    found = await store.read(find())
    assert (found.inference_id, found.fingerprint, found.state) == ("inf-000001", b"f", "running")
    assert (found.answer, found.outcome) == (None, None)


async def test_an_answer_is_kept_with_the_settlement(store):
    """All of it, byte for byte, with how the exchange ended; the key is in use until it expires."""
    await store.write(seeded())
    await store.open_inference(claiming())
    await store.close_inference(kept())
    found = await store.read(find())
    assert (found.inference_id, found.state, found.answer) == ("inf-000001", "kept", ANSWER)
    assert found.outcome.ending is Ending.COMPLETED
    assert (found.outcome.usage, found.outcome.billed_nusd, found.outcome.finish_reason) == (USAGE, COST, "stop")
    assert await refused(store, claiming(2)) == "idempotency_in_progress"
    assert await refused(store, claiming(3, fingerprint=b"another")) == "idempotency_in_progress"


@pytest.mark.parametrize("served", [1, 2])
async def test_of_several_attempts_the_usage_of_the_one_that_answered_is_told(store, served):
    """What is told again says what was told: the usage of that one's answer, and what all of them cost."""
    await store.write(seeded())
    await store.open_inference(claiming(routing=ROUTING))
    await store.open_attempt(later())
    usages = (Usage(input_tokens=1), Usage(input_tokens=2))
    lines = tuple(
        attrs.evolve(line, usage=usage) for line, usage in zip(closing_of(10, 20).attempts, usages, strict=True)
    )
    whole = {"attempts": lines, "served": served, "usage": usages[0] + usages[1]}
    await store.close_inference(
        closing_of(10, 20, answer=ANSWER, frees_claim=False, claim_expires_at=START + DAY, **whole)
    )
    found = await store.read(find())
    assert (found.outcome.usage, found.outcome.billed_nusd) == (usages[served - 1], 30)


async def test_a_kept_answer_is_found_whatever_is_left_of_the_money(store):
    """The claim is looked at before the caps: what was answered is told again, not refused."""
    await store.write(seeded(key_cap=60))
    await store.open_inference(claiming())
    await store.close_inference(kept(cost_nusd=60))
    assert await refused(store, claiming(2)) == "idempotency_in_progress"


async def test_an_answer_that_is_too_large_keeps_its_claim(store):
    """It was billed: the key names it, and it is not asked again."""
    await store.write(seeded())
    await store.open_inference(claiming())
    await store.close_inference(kept(answer=None))
    found = await store.read(find())
    assert (found.state, found.answer) == ("too_large", None)
    assert await refused(store, claiming(2)) == "idempotency_in_progress"
    assert await store.read(lambda tx: tx.execute("SELECT count(*) FROM answers")) == [(0,)]


@pytest.mark.parametrize(("fingerprint", "retry_of"), [(b"f", "inf-000001"), (b"another", None)])
async def test_a_freed_key_says_what_is_asked_again(store, fingerprint, retry_of):
    """The next exchange names the one that freed the key, however long ago, if it asks the same."""
    await store.write(seeded())
    await store.open_inference(claiming())
    await store.close_inference(closing())
    assert (await store.read(find())).state == "freed"
    later = DAY // 2  # beyond what is searched by the body alone
    await store.open_inference(claiming(2, fingerprint=fingerprint, at=START + later))
    settlement = await store.close_inference(kept(2, at=START + later + 1))
    assert settlement.retry_of == retry_of
    assert (await store.read(find())).inference_id == "inf-000002"


async def test_what_asks_again_may_be_older_by_a_clock_that_was_set_back(store):
    """It names what freed the key all the same, and verify takes the ledger's word for which came first."""
    await store.write(seeded())
    await store.open_inference(claiming(at=START + DAY))
    await store.close_inference(closing(at=START + DAY))
    await store.open_inference(claiming(2))
    assert (await store.close_inference(kept(2))).retry_of == "inf-000001"
    assert [found for found in await store.read(verify) if found.invariant == "S3"] == []


async def test_a_freed_key_is_as_good_as_another_search(store):
    """What a freed key names is burnt as what is found by the body: once."""
    await store.write(seeded())
    await store.open_inference(claiming())
    await store.close_inference(closing(ending=Ending.UPSTREAM_ERROR))
    await store.open_inference(claiming(2, at=START + DAY // 2))
    settlement = await store.close_inference(kept(2, at=START + DAY // 2 + 1))
    assert settlement.burnt_nusd == {"failed": COST}


async def test_recovery_frees_the_key(store):
    """What died with its process told nobody its end: its key is free."""
    await store.write(seeded())
    await store.open_inference(claiming())
    await store.write(strand)
    await store.recover(START + 1_000)
    assert (await store.read(find())).state == "freed"
    assert (await store.open_inference(claiming(2))).held_nusd == 50


async def test_a_refused_opening_claims_nothing(store):
    """No money: the key is as unused as before."""
    await store.write(seeded(key_cap=5))
    assert await store.read(find()) is None
    with pytest.raises(Exception, match="spend_cap_exceeded"):
        await store.open_inference(claiming())
    assert await store.read(find()) is None


async def test_a_claim_is_of_key_path_and_words(store):
    """Another path or another word is another claim; exchanges without one have none."""
    await store.write(seeded())
    for number, asked in enumerate(
        (claiming(1), claiming(2, key="l"), claiming(3, path="/v1/inference"), opening(4)), 1
    ):
        await store.open_inference(asked)
        await store.close_inference(closing(number))
    rows = await store.read(lambda tx: tx.execute("SELECT path, idempotency_key FROM claims ORDER BY 1, 2"))
    assert rows == [(PATH, "k"), (PATH, "l"), ("/v1/inference", "k")]
    assert await store.read(find(path="/v1/messages")) is None
    assert await store.read(find(key_id="key00002")) is None


async def test_what_has_expired_is_not_there(store):
    """Neither found nor in the way, forgotten or not; a claim that runs does not expire."""
    await store.write(seeded())
    await store.open_inference(claiming())
    assert await store.read(find(START + 10 * DAY)) is not None
    await store.close_inference(kept())
    assert await store.read(find(START + DAY - 1)) is not None
    assert await store.read(find(START + DAY)) is None
    await store.open_inference(claiming(2, at=START + DAY))
    assert (await store.read(find(START + DAY))).inference_id == "inf-000002"


async def test_what_has_expired_is_forgotten_a_few_at_a_time(store):
    """Claims and answers go together; what has not expired, or runs, stays."""
    await store.write(seeded())
    for number in range(1, 8):
        await store.open_inference(claiming(number, key=f"k{number}"))
        if number < 7:
            await store.close_inference(kept(number, claim_expires_at=START + number * DAY))
    counts = "SELECT (SELECT count(*) FROM claims), (SELECT count(*) FROM answers)"
    at = START + 5 * DAY
    assert await store.forget_claims(at, 2) == 2
    assert await store.read(lambda tx: tx.execute(counts)) == [(5, 4)]
    assert await store.read(lambda tx: tx.execute(UNMATCHED)) == []
    assert [await store.forget_claims(at, 2), await store.forget_claims(at, 2)] == [2, 1]
    assert await store.read(lambda tx: tx.execute(counts)) == [(2, 1)]
    assert await store.forget_claims(at, 2) == 0
    assert (await store.read(find(at, key="k6"))).state == "kept"
    assert (await store.read(find(at, key="k7"))).state == "running"


async def test_nothing_is_left_of_what_was_forgotten(tmp_path):
    """Content that is kept for a day is gone from the file behind it, not only from the tables."""
    path = tmp_path / "ainf.db"
    async with Store.open(f"sqlite:{path}", now=lambda: START + 500) as store:
        await store.write(seeded())
        for number, size in enumerate((1, 100, 10_000), 1):
            await store.open_inference(claiming(number, key=f"k{number}"))
            await store.close_inference(kept(number, answer=attrs.evolve(ANSWER, body=b"CANARY" * size)))
    assert path.read_bytes().count(b"CANARY") > 10_000
    async with Store.open(f"sqlite:{path}", now=lambda: START + 500) as store:
        assert await store.forget_claims(START + DAY, 10) == 3
    assert b"CANARY" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


async def test_a_key_that_is_used_again_behind_its_expiry_leaves_no_answer(store):
    """That of the exchange that it named goes at once: nobody could find it any more."""
    await store.write(seeded())
    await store.open_inference(claiming())
    await store.close_inference(kept())
    await store.open_inference(claiming(2, at=START + 2 * DAY))
    assert await store.read(lambda tx: tx.execute("SELECT count(*) FROM answers")) == [(0,)]
    await store.close_inference(kept(2, claim_expires_at=START + 3 * DAY))
    assert (await store.read(find(START + 2 * DAY))).answer == ANSWER


async def test_a_late_closing_does_not_touch_what_has_the_key_now(store):
    """A process that was taken for dead closes what recovery closed: the key is another exchange's by then."""
    await store.write(seeded())
    await store.open_inference(claiming())
    await store.write(strand)
    await store.recover(START + 1_000)
    await store.open_inference(claiming(2))
    await store.close_inference(kept(1))
    found = await store.read(find())
    assert (found.inference_id, found.state) == ("inf-000002", "running")
    assert attrs.asdict(await store.close_inference(kept(2)))["ending"] == "completed"
    assert (await store.read(find())).answer == ANSWER
