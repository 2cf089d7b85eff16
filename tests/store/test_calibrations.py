"""What was learnt of models is kept, and added to; every store."""

from ainf.calibration import Calibration
from ainf.store import calibrations
from tests.store.records import START


def learnt(*outputs, provider="openai", upstream_model="gpt-2026"):
    made = Calibration(provider, upstream_model)
    for size, tokens in outputs:
        made.note_output(size, tokens, size // 4)
    return made


async def test_what_is_learnt_is_kept(store):
    """What was added is what is found, under the configured names."""
    assert await store.calibrations() == {}

    kept = await store.add_calibrations({"gpt": learnt((400, 100)), "other": learnt((300, 100))})

    assert kept == {"gpt": learnt((400, 100)), "other": learnt((300, 100))}
    assert await store.calibrations() == kept


async def test_what_several_learn_adds_up(store):
    """A second process on the same store adds to what the first has kept, and gets the sum."""
    await store.add_calibrations({"gpt": learnt((400, 100)), "other": learnt((300, 100))})

    kept = await store.add_calibrations({"gpt": learnt((200, 100))})

    assert kept == {"gpt": learnt((400, 100), (200, 100))}
    assert await store.calibrations() == {"gpt": learnt((400, 100), (200, 100)), "other": learnt((300, 100))}
    assert await store.read(lambda tx: tx.execute("SELECT DISTINCT updated_at FROM calibrations")) == [(START + 500,)]


async def test_another_model_under_the_name_begins_anew(store):
    """Where the provider or the model's name there has changed, what was kept says nothing."""
    await store.add_calibrations({"gpt": learnt((400, 100))})

    kept = await store.add_calibrations({"gpt": learnt((200, 100), provider="azure")})

    assert kept == await store.calibrations() == {"gpt": learnt((200, 100), provider="azure")}


async def test_what_cannot_be_read_is_nothing(store):
    """A body of another version, or a damaged one, is left out, and written over."""
    write = "INSERT INTO calibrations (model, body, updated_at) VALUES ('gpt', '{\"version\": 9}', 0)"
    await store.write(lambda tx: tx.execute(write))
    assert await store.calibrations() == {}

    await store.add_calibrations({"gpt": learnt((400, 100))})

    assert await store.calibrations() == {"gpt": learnt((400, 100))}


async def test_saving_forgets_no_key(store):
    """Requests do not have to look their keys up again because a meter has learnt."""
    store._keys.put(b"digest", "record", 0.0)
    await store.add_calibrations({"gpt": learnt((400, 100))})

    assert store._keys.get(b"digest", 0.0) == "record"


async def test_nothing_is_nothing(store):
    """No news write no row."""
    assert await store.add_calibrations({}) == {}
    assert await store.read(calibrations.load) == {}
