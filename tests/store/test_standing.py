"""A key's live standing: its own end, those of the accounts above it, and all caps on the way."""

import pytest

from ainf.inference.errors import DownstreamError
from ainf.ledger import Window, window_end, window_start
from ainf.store.admin import create_account
from ainf.store.balances import open_balance
from ainf.store.caps import remove_cap, set_cap, subject_of
from ainf.store.counting import Scope
from ainf.store.standing import caps_on_path, standing_of
from tests.store.records import KEY, START, opening, seed, seeded


async def test_all_caps_of_the_path_are_read(store):
    """Caps of the key and of every account above it come with what their counters say."""
    await store.write(seeded(account_cap=1_000, key_cap=300))
    await store.open_inference(opening())
    standing = await store.read(lambda tx: standing_of(tx, KEY, START, model="m"))
    assert standing.valid
    assert standing.owner.path == ("acct-org", "acct-team")
    found = sorted((cap.cap_id, cap.limit_nusd, cap.held_nusd, cap.headroom, cap.whose) for cap in standing.caps)
    assert found == [("cap-key", 300, 50, 250, f"key {KEY}"), ("cap-org", 1_000, 50, 950, "account org")]


async def test_a_key_without_caps(store):
    """Nothing limits it, and it is valid."""
    await store.write(seeded())
    standing = await store.read(lambda tx: standing_of(tx, KEY, START, model="m"))
    assert (standing.valid, standing.caps) == (True, [])


async def test_an_unknown_key_stands_nowhere(store):
    """It is refused in the same words as a revoked one."""
    with pytest.raises(DownstreamError, match="invalid_api_key: The API key is missing or not valid"):
        await store.read(lambda tx: standing_of(tx, "none", START, model="m"))


async def test_every_cap_of_a_path(store):
    """All caps and balances on a key and above it, whatever they are for, the nearest first; none that is removed."""

    def prepare(tx):
        seed(tx, account_cap=1000, key_cap=500)
        for cap_id, whose, window, model in (
            ("day", {"account": "team"}, Window.DAY, "*"),
            ("hour", {"account": "team"}, Window.HOUR, "gpt-*"),
            ("other", {"account": "other"}, Window.DAY, "*"),
            ("gone", {"account": "org"}, Window.DAY, "*"),
        ):
            if cap_id == "other":
                create_account(tx, account_id="acct-other", name="other", parent="org", at=START)
            set_cap(tx, cap_id=cap_id, scope=Scope(subject_of(tx, **whose), window, model), limit_nusd=9, at=START)
        remove_cap(tx, scope=Scope(subject_of(tx, account="org"), Window.DAY), at=START)
        for account in ("org", "team"):
            open_balance(tx, cap_id=f"paid-{account}", account=account, at=START)

    await store.write(prepare)
    found = await store.read(lambda tx: caps_on_path(tx, KEY, START + 1))
    assert [cap.cap_id for cap in found] == ["cap-key", "hour", "day", "paid-team", "paid-org", "cap-org"]
    assert found[1].whose == "account team"
    assert found[1].resets_at == window_end(Window.HOUR, window_start(Window.HOUR, START))
