"""A key's live standing: its own end, those of the accounts above it, and all caps on the way."""

import pytest

from ainf.inference.errors import DownstreamError
from ainf.store.standing import standing_of
from tests.store.records import KEY, START, opening, seeded


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
