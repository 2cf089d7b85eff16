"""Keys by their digest: what is found, and for how long it is kept."""

from functools import partial

import pytest

from ainf.store import keys
from ainf.store.admin import close_account, create_account, create_key, revoke_key
from ainf.store.base import KeyLimits, KeyRecord
from ainf.store.keys import KEEP_S, KeyCache
from ainf.store.rights import KeyRights
from tests.store.records import DIGEST, KEY, START, seeded


async def test_a_key_is_found_with_its_rights(store):
    """All that authentication needs comes in one record; an unknown digest finds nothing."""
    await store.write(seeded())
    rights = KeyRights(
        models=("a", "b"),
        endpoints=("/v1/models",),
        expires_at=START + 10**12,
        limits=KeyLimits(60, None, 2),
        inject_cost=True,
    )
    await store.write(
        lambda tx: create_key(tx, key_id="key00002", digest=b"2" * 32, account="org", rights=rights, at=START)
    )
    assert await store.find_key(DIGEST) == KeyRecord(
        KEY, "acct-team", "team", None, None, None, None, "extended", "402"
    )
    found = await store.find_key(b"2" * 32)
    assert (found.models, found.endpoints, found.expires_at) == (("a", "b"), ("/v1/models",), START + 10**12)
    assert (found.limits, found.inject_cost) == (KeyLimits(60, None, 2), True)
    assert await store.find_key(b"3" * 32) is None


@pytest.mark.parametrize(
    ("ended", "revoked_at"),
    [
        ([("team", 5)], 5),
        ([("org", 6)], 6),
        ([("team", 8), ("org", 7)], 7),
        ([("key", 4), ("team", 5)], 4),
        ([("team", 5), ("key", 9)], 5),
        ([("other", 3)], None),
    ],
)
async def test_a_key_ends_with_any_account_above_it(store, ended, revoked_at):
    """Its own account or one further up that is closed ends it, at the earliest of these moments; others do not."""
    await store.write(seeded())
    await store.write(lambda tx: create_account(tx, account_id="acct-other", name="other", parent="org", at=START))
    for name, at in ended:
        if name == "key":
            await store.write(partial(revoke_key, key_id=KEY, at=START + at))
        else:
            await store.write(partial(close_account, name=name, at=START + at))
    expected = None if revoked_at is None else START + revoked_at
    assert (await store.find_key(DIGEST)).revoked_at == expected


RECORD = KeyRecord("id", "account", "name", None, None, None, None, "extended", "402")


def test_a_key_is_kept_for_a_while():
    """A change by another process is seen after ``KEEP_S`` at the latest."""
    assert KEEP_S <= 2.0, "the read routes see a revocation no later than the progress tick of 2 s does"
    cache = KeyCache()
    cache.put(b"d", RECORD, 100.0)
    assert cache.get(b"d", 100.0 + KEEP_S - 0.001) is RECORD
    assert cache.get(b"d", 100.0 + KEEP_S) is None


def test_a_cache_is_bounded(monkeypatch):
    """Beyond ``KEEP_KEYS`` the one that was put in longest ago goes."""
    monkeypatch.setattr(keys, "KEEP_KEYS", 2)
    cache = KeyCache()
    for digest in (b"1", b"2", b"1", b"3"):
        cache.put(digest, RECORD, 0.0)
    assert [cache.get(digest, 0.0) is not None for digest in (b"1", b"2", b"3")] == [True, False, True]
