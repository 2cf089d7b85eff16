"""The attempts of an exchange, as they were opened."""

from ainf.store import attempts
from ainf.store.attempts import OpenedAttempt
from tests.store.records import DEARER, PRICE, START, closing_of, later, limited, opening, seeded


def opened(tx):
    return attempts.opened(tx, "inf-000001")


async def test_all_attempts_are_told(store):
    """The first as its exchange was opened, the later ones as they were, each with what is held for it alone."""
    await store.write(seeded())
    await store.write(limited(gpt=1_000, claude=1_000))
    assert await store.read(opened) == []
    await store.open_inference(opening())
    await store.open_attempt(later(2, (1, 7)))
    first, second = await store.read(opened)
    assert first == OpenedAttempt(
        1, START + 1, "gpt", "gpt-2026", "openai", PRICE.version, 11, '[["gpt",0]]', 7
    )  # fmt: skip
    assert second == OpenedAttempt(
        2, START + 21, "claude", "claude-2026", "anthropic", DEARER.version, 12, '[["claude",0]]', 80
    )  # fmt: skip
    assert second.counted_on == [("claude", 0)]


async def test_nothing_is_held_for_what_is_settled(store):
    """Whatever they cost."""
    await store.write(seeded())
    await store.open_inference(opening())
    await store.open_attempt(later(2))
    await store.close_inference(closing_of(61, 30))
    assert [attempt.held_nusd for attempt in await store.read(opened)] == [0, 0]


async def test_what_each_counts_on_can_be_changed(store):
    """Of that attempt alone."""
    await store.write(seeded())
    await store.open_inference(opening())
    for number in (2, 3):
        await store.open_attempt(later(number))
    for number, caps in [(1, '[["a",0]]'), (3, '[["b",5]]')]:
        await store.write(lambda tx, n=number, c=caps: attempts.count_on(tx, "inf-000001", n, c))
    assert [attempt.counted_on for attempt in await store.read(opened)] == [[("a", 0)], [], [("b", 5)]]


async def test_a_price_is_stored_once(store):
    """By the digest of its content; that it is there is remembered."""
    for _ in range(2):
        await store.write(lambda tx: [attempts.store_price(tx, price) for price in (PRICE, DEARER, PRICE)])
    rows = await store.read(lambda tx: tx.execute("SELECT price_version, body FROM prices"))
    assert sorted(rows) == sorted((price.version, price.canonical().decode()) for price in (PRICE, DEARER))
