"""Openings, extensions and progress, over every store."""

import attrs
import msgspec
import pytest
import trio

from ainf.inference.errors import DownstreamError, GatewayError, SpendError
from ainf.inference.usage import Usage
from ainf.ledger import HoldAsk, Window
from ainf.store.admin import close_account, create_key, revoke_key
from ainf.store.base import Extended, Extension, Opened, Progress
from ainf.store.caps import remove_cap, set_cap, subject_of
from ainf.store.counting import Scope
from ainf.store.rights import KeyRights
from tests.store.records import ASK, COST, KEY, START, closing, counter, entries, opening, seeded


async def test_an_opening_holds(store):
    """The hold is set aside on every cap of the path, with one entry, and the exchange is open."""
    await store.write(seeded(account_cap=1_000, key_cap=500))
    opened = await store.open_inference(opening())
    assert opened == Opened("acct-team", "team", 50, None, epoch=1)
    assert await store.read(entries) == [("hold", 50)]
    assert await store.read(lambda tx: (counter(tx, "cap-org"), counter(tx, "cap-key"))) == ((0, 50), (0, 50))
    assert await store.read(lambda tx: tx.execute("SELECT held_nusd, key_id FROM holds")) == [(50, KEY)]
    row = await store.read(lambda tx: tx.one("SELECT account_path, caps, labels, epoch FROM inferences"))
    assert [msgspec.json.decode(part) for part in row[:3]] == [
        ["acct-org", "acct-team"],
        [["cap-key", 0], ["cap-org", 0]],
        {"run": "seven"},
    ]
    assert row[3] == 1


async def test_an_opening_is_clamped_to_the_tightest_cap(store):
    """The least headroom on the path decides: its hold, and the output limit that is sent upstream."""
    await store.write(seeded(account_cap=30, key_cap=500))
    opened = await store.open_inference(opening())
    assert (opened.held_nusd, opened.clamp_tokens, opened.clamped_by.cap_id) == (30, 20, "cap-org")
    assert await store.read(lambda tx: counter(tx, "cap-key")) == (0, 30)


async def test_a_refusal_names_its_cap_and_writes_nothing(store):
    """The message says whose cap, which window, its limit, what is left and what was needed."""
    await store.write(seeded(account_cap=60, key_cap=10**12))
    await store.open_inference(opening(1))
    with pytest.raises(SpendError) as refused:
        await store.open_inference(opening(2))
    assert refused.value.code == "spend_cap_exceeded"
    assert refused.value.message == (
        "The lifetime cap of account org (0.00000006 USD) has 0.00000001 USD left;"
        " this request needs at least 0.000000015 USD."
    )
    assert await store.read(lambda tx: tx.execute("SELECT count(*) FROM inferences")) == [(1,)]
    assert await store.read(lambda tx: counter(tx, "cap-org")) == (0, 50)


async def test_a_refusal_by_a_cap_that_is_passed_says_so(store):
    """Even what costs nothing is refused then: to say what it needs would not explain it."""
    await store.write(seeded(account_cap=60))
    await store.open_inference(opening(1))
    await store.write(
        lambda tx: set_cap(tx, cap_id="none", scope=Scope(subject_of(tx, account="org")), limit_nusd=41, at=START)
    )
    with pytest.raises(SpendError) as refused:
        await store.open_inference(opening(2, ask=HoldAsk(0, 0, 0, 0, 0)))
    assert refused.value.message == (
        "The lifetime cap of account org (0.000000041 USD) is passed by 0.000000009 USD;"
        " nothing opens before it has something left."
    )
    assert refused.value.details["cap"]["left"] == "0"


@pytest.mark.threat(55)
async def test_a_cap_pays_exactly_what_it_pays_for(store):
    """Of 200 openings at once against a cap that pays for 20, exactly 20 are admitted, and the cap is used up."""
    await store.write(seeded(account_cap=20 * 50))
    admitted, refused = [], []

    async def run(number):
        try:
            admitted.append(await store.open_inference(opening(number, ask=attrs.evolve(ASK, min_tokens=40))))
        except SpendError:
            refused.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(run, number)
    assert (len(admitted), len(refused)) == (20, 180)
    assert await store.read(lambda tx: counter(tx, "cap-org")) == (0, 1_000)


async def test_what_was_released_can_be_held_again(store):
    """A closing frees the rest of its hold for the next opening; what it settled stays used."""
    await store.write(seeded(account_cap=50 + COST))
    await store.open_inference(opening(1))
    await store.close_inference(closing(1))
    assert (await store.open_inference(opening(2))).clamp_tokens is None
    with pytest.raises(SpendError):
        await store.open_inference(opening(3))


@pytest.mark.parametrize(
    "end",
    [
        lambda tx: revoke_key(tx, key_id=KEY, at=START),
        lambda tx: close_account(tx, name="team", at=START),
        lambda tx: tx.execute("UPDATE accounts SET closed_at = ? WHERE name = 'org'", (START,)),
        lambda tx: tx.execute("UPDATE keys SET expires_at = ?", (START,)),
        lambda tx: tx.execute("DELETE FROM keys"),
    ],
    ids=["revoked", "account closed", "account above closed", "expired", "unknown"],
)
async def test_a_key_that_ended_opens_nothing(store, end):
    """Revocation, expiry and closed accounts are read in the opening itself."""
    await store.write(seeded())
    await store.find_key(b"d" * 32)
    await store.write(end)
    with pytest.raises(DownstreamError, match="invalid_api_key"):
        await store.open_inference(opening())
    assert await store.read(lambda tx: tx.execute("SELECT count(*) FROM inferences")) == [(0,)]


async def test_a_key_ends_at_its_moment(store):
    """A key is valid until the microsecond of its expiry."""
    await store.write(seeded())
    await store.write(lambda tx: tx.execute("UPDATE keys SET expires_at = ?", (START + 3,)))
    await store.open_inference(opening(2))
    with pytest.raises(DownstreamError):
        await store.open_inference(opening(3))


async def test_a_price_is_stored_once_by_its_content(store):
    """Two exchanges at one price share its row, which gives the price back."""
    await store.write(seeded())
    await store.open_inference(opening(1))
    await store.open_inference(opening(2))
    price = opening().attempt.price
    rows = await store.read(lambda tx: tx.execute("SELECT price_version, body FROM prices"))
    assert rows == [(price.version, price.canonical().decode())]


async def test_an_extension_grows_the_hold(store):
    """All that is asked for is granted where it fits, in an entry of its own."""
    await store.write(seeded(account_cap=1_000))
    await store.open_inference(opening())
    assert await store.extend_hold(Extension("inf-000001", START, 30, 10)) == Extended(30)
    assert await store.read(entries) == [("hold", 50), ("extend", 30)]
    assert await store.read(lambda tx: counter(tx, "cap-org")) == (0, 80)


@pytest.mark.parametrize(("least", "granted"), [(10, 10), (11, 0)])
async def test_an_extension_gets_what_fits(store, least, granted):
    """A part is granted if it is of use, and the cap is named that gave no more; a refused one writes nothing."""
    await store.write(seeded(account_cap=60, key_cap=100))
    await store.open_inference(opening())
    extended = await store.extend_hold(Extension("inf-000001", START, 30, least))
    assert (extended.granted_nusd, extended.refused_by.cap_id) == (granted, "cap-org")
    assert await store.read(lambda tx: counter(tx, "cap-org")) == (0, 50 + granted)
    assert len(await store.read(entries)) == (2 if granted else 1)


async def test_caps_are_read_as_they_are_now(store):
    """A cap set meanwhile limits a running exchange too, and a removed one no longer does."""
    await store.write(seeded(account_cap=60))
    await store.open_inference(opening())
    await store.write(
        lambda tx: set_cap(tx, cap_id="late", scope=Scope(subject_of(tx, account="team")), limit_nusd=55, at=START)
    )
    assert (await store.extend_hold(Extension("inf-000001", START, 9, 1))).granted_nusd == 5
    for account in ("org", "team"):
        await store.write(lambda tx, name=account: remove_cap(tx, scope=Scope(subject_of(tx, account=name)), at=START))
    assert (await store.extend_hold(Extension("inf-000001", START, 500, 500))).granted_nusd == 500


async def test_an_ended_key_extends_nothing(store):
    """The answer says that the exchange must end."""
    await store.write(seeded())
    await store.open_inference(opening())
    await store.write(lambda tx: revoke_key(tx, key_id=KEY, at=START))
    assert await store.extend_hold(Extension("inf-000001", START, 5, 5)) == Extended(0, key_revoked=True)


async def test_a_closed_exchange_extends_nothing(store):
    """An extension that comes after the closing is refused: the exchange is another's by now, or over."""
    await store.write(seeded())
    await store.open_inference(opening())
    await store.close_inference(closing())
    with pytest.raises(GatewayError, match="store_unavailable"):
        await store.extend_hold(Extension("inf-000001", START, 5, 5))


async def test_an_attempt_that_was_not_opened_is_not_extended(store):
    """It is held for before its dial, or not dialled at all."""
    await store.write(seeded())
    await store.open_inference(opening())
    with pytest.raises(GatewayError, match="store_unavailable"):
        await store.extend_hold(Extension("inf-000001", START, 30, 1, attempt=2))
    assert await store.read(lambda tx: tx.one("SELECT held_nusd FROM holds")) == (50,)


async def test_an_extension_carries_progress(store):
    """What an extension grants and how far its exchange has come are durable together; a refusal writes neither."""
    await store.write(seeded(account_cap=60))
    await store.open_inference(opening())
    for want, nusd in ((10, 7), (10, 8)):  # the cap has room for the first only
        step = Progress("inf-000001", Usage(output_tokens=nusd), nusd, nusd * 4)
        await store.extend_hold(Extension("inf-000001", START, want, want, step))
    rows = await store.read(lambda tx: tx.execute("SELECT held_nusd, progress_nusd, output_bytes FROM holds"))
    assert rows == [(60, 7, 28)]


async def test_progress_is_kept(store):
    """Each running exchange keeps its last progress; one that is closed meanwhile is passed over."""
    await store.write(seeded())
    await store.open_inference(opening(1))
    await store.open_inference(opening(2))
    await store.close_inference(closing(2))
    seen = await store.record_progress([
        Progress("inf-000001", Usage(input_tokens=3), 7, 9),
        Progress("inf-000002", Usage(), 1, 1),
    ])
    assert seen.revoked == frozenset()
    rows = await store.read(
        lambda tx: tx.execute("SELECT inference_id, progress_at, progress_nusd, output_bytes FROM holds")
    )
    assert rows == [("inf-000001", START + 500, 7, 9)]


@pytest.mark.parametrize(
    "end",
    [
        lambda tx: revoke_key(tx, key_id=KEY, at=START),
        lambda tx: tx.execute("UPDATE keys SET expires_at = ? WHERE key_id = ?", (START, KEY)),
        lambda tx: tx.execute("UPDATE accounts SET closed_at = ? WHERE name = 'team'", (START,)),
    ],
    ids=["revoked", "expired", "account closed"],
)
async def test_the_tick_sees_ended_keys(store, end):
    """Progress tells which running exchanges must end: those whose key or account ended, and no others."""
    await store.write(seeded())
    await store.write(
        lambda tx: create_key(tx, key_id="key00002", digest=b"2" * 32, account="org", rights=KeyRights(), at=START)
    )
    await store.open_inference(opening(1))
    await store.open_inference(opening(2, key_id="key00002"))
    await store.write(end)
    assert (await store.record_progress([])).revoked == {"inf-000001"}


async def test_the_tick_sees_accounts_closed_above(store):
    """A closed account ends the exchanges of every account below it."""
    await store.write(seeded())
    await store.open_inference(opening())
    await store.write(lambda tx: tx.execute("UPDATE accounts SET closed_at = ? WHERE name = 'org'", (START,)))
    assert (await store.record_progress([])).revoked == {"inf-000001"}


async def test_free_output_needs_no_headroom_for_it(store):
    """A model that costs nothing runs under a cap that is used up to its last unit."""
    await store.write(seeded(account_cap=0))
    free = HoldAsk(base_nusd=0, output_rate=0, first_tokens=1, worst_tokens=100, min_tokens=1)
    assert await store.open_inference(opening(ask=free)) == Opened("acct-team", "team", 0, None, epoch=1)


HOUR = 3_600_000_000
TEN = START // HOUR * HOUR
"""The full hour before everything in these records."""


def on_team(cap_id, limit, window=Window.LIFETIME, model="*", account="team"):
    """Return an operation that sets a cap at a moment."""
    return lambda tx, at=START: set_cap(
        tx, cap_id=cap_id, scope=Scope(subject_of(tx, account=account), window, model), limit_nusd=limit, at=at
    )


def windows(cap_id):
    """Return an operation that reads what a cap has seen: by window, settled and held."""
    return lambda tx: {
        start: (settled, held)
        for start, settled, held in tx.execute(
            "SELECT window_start, settled_nusd, held_nusd FROM counters WHERE cap_id = ?", (cap_id,)
        )
    }


async def test_an_exchange_counts_in_the_hour_of_its_admission(store):
    """What is extended and settled after the hour has turned counts in the one before, and is bound by it."""
    late, next_hour = TEN + HOUR - 60_000_000, TEN + HOUR + 60_000_000
    await store.write(seeded())
    await store.write(lambda tx: on_team("hourly", 100, Window.HOUR)(tx, late))
    await store.open_inference(opening(1, at=late))
    extended = await store.extend_hold(Extension("inf-000001", next_hour, 70, 1))
    assert (extended.granted_nusd, extended.refused_by.cap_id, extended.refused_by.window_start) == (50, "hourly", TEN)
    assert (await store.open_inference(opening(2, at=next_hour))).clamp_tokens is None
    await store.close_inference(closing(1, at=next_hour))
    assert await store.read(windows("hourly")) == {TEN: (COST, 0), TEN + HOUR: (0, 50)}


async def test_a_cap_of_the_next_hour_binds_nothing_of_this_one(store):
    """A running exchange of the hour before is neither counted nor bound by a cap for hours; one for days does both."""
    late, next_hour = TEN + HOUR - 60_000_000, TEN + HOUR + 60_000_000
    await store.write(seeded())
    await store.open_inference(opening(1, at=late))
    await store.write(lambda tx: on_team("hourly", 0, Window.HOUR)(tx, next_hour))
    assert (await store.extend_hold(Extension("inf-000001", next_hour, 30, 30))).granted_nusd == 30
    assert await store.read(windows("hourly")) == {TEN + HOUR: (0, 0)}
    with pytest.raises(SpendError, match="The hour cap of account team"):
        await store.open_inference(opening(2, at=next_hour))
    await store.write(lambda tx: on_team("daily", 85, Window.DAY)(tx, next_hour))
    assert (await store.extend_hold(Extension("inf-000001", next_hour, 30, 1))).granted_nusd == 5


async def test_a_cap_counts_no_window_before_its_own(store):
    """An opening that was on its way when the hour turned is not under a cap that was set in between."""
    late, next_hour = TEN + HOUR - 1, TEN + HOUR
    await store.write(seeded())
    await store.write(lambda tx: on_team("hourly", 0, Window.HOUR)(tx, next_hour))
    assert (await store.open_inference(opening(1, at=late))).clamp_tokens is None
    assert await store.read(windows("hourly")) == {next_hour: (0, 0)}
    await store.write(lambda tx: on_team("daily", 49, Window.DAY)(tx, next_hour))
    assert await store.read(windows("daily")) == {TEN // (24 * HOUR) * 24 * HOUR: (0, 50)}
    with pytest.raises(SpendError, match="The day cap of account team"):
        await store.open_inference(opening(2, at=late))


@pytest.mark.parametrize(("pattern", "binds"), [("gpt", True), ("g*", True), ("*t", True), ("gpt-*", False)])
async def test_a_cap_on_models_counts_these_alone(store, pattern, binds):
    """A pattern is held against the whole configured name, for what runs already too."""
    await store.write(seeded())
    await store.open_inference(opening(1))
    await store.write(on_team("models", 60, model=pattern))
    assert await store.read(lambda tx: counter(tx, "models")) == (0, 50 if binds else 0)
    assert (await store.extend_hold(Extension("inf-000001", START, 30, 1))).granted_nusd == (10 if binds else 30)
    if binds:
        with pytest.raises(SpendError, match="The lifetime cap of account team on models"):
            await store.open_inference(opening(2))
    else:
        assert (await store.open_inference(opening(2))).clamp_tokens is None


async def test_of_several_caps_the_tightest_decides(store):
    """Caps of every window on every level count together, and the one that leaves least is the one that is named."""
    await store.write(seeded(account_cap=10**6, key_cap=10**6))
    await store.write(on_team("hourly", 10**6, Window.HOUR, account="org"))
    await store.write(on_team("weekly", 70, Window.WEEK))
    await store.write(on_team("monthly", 80, Window.MONTH, "gpt*"))
    await store.open_inference(opening(1))
    extended = await store.extend_hold(Extension("inf-000001", START, 30, 1))
    assert (extended.granted_nusd, extended.refused_by.cap_id) == (20, "weekly")
    for cap_id in ("cap-org", "cap-key", "hourly", "weekly", "monthly"):
        assert await store.read(lambda tx, cap_id=cap_id: counter(tx, cap_id)) == (0, 70), cap_id
    await store.write(on_team("weekly", 10**6, Window.WEEK))
    extended = await store.extend_hold(Extension("inf-000001", START, 30, 30))
    assert (extended.granted_nusd, extended.refused_by.cap_id) == (0, "monthly")
