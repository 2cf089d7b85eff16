"""What two configurations differ in, and what of that waits for a restart."""

from pathlib import Path

import pytest

from ainf.config import Config, load_config
from ainf.config.change import LASTING_TABLES, Change, change_of, needs_restart
from ainf.config.schema import NAMED_TABLES, TABLES

TEXT = """\
[server]
drain_s = 20
[store]
url = "sqlite:ainf.db"
[limits]
silence_s = 120
[routing]
preference_live = false
[providers.p]
format = "openai-compatible"
base_url = "http://x"
api_key_env = "KEY"
[models."org/m"]
provider = "p"
price = "free"
max_output_tokens = 100
[models.other]
provider = "p"
price = "free"
max_output_tokens = 100
silence_s = 10
[targets.t]
models = ["other"]
"""
NOTHING = Change((), (), ())


def load(folder: Path, text: str = TEXT, key: str = "sk-1") -> Config:
    path = folder / "ainf.toml"
    path.write_text(text)
    return load_config(path, {"KEY": key})


def test_the_same_file_twice(tmp_path):
    """Nothing differs: a provider's key is no reason, for it comes from the environment."""
    old, new = load(tmp_path), load(tmp_path, key="sk-2")
    assert old == new
    assert needs_restart(old, new) == []
    assert change_of(old, new) == NOTHING


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        ("drain_s = 20", "drain_s = 21", ["server.drain_s"]),
        ("sqlite:ainf.db", "sqlite:other.db", ["store.spool", "store.url"]),
        ("drain_s = 20", 'drain_s = 20\nbind = ["127.0.0.1:1"]', ["server.bind", "server.public_url"]),
        ("silence_s = 120", "silence_s = 121\nbody_bytes = 9", ["limits.body_bytes", "limits.silence_s"]),
        ("drain_s = 20\n[store]", "drain_s = 20.0\n[store]\nwait_s = 5", []),
        ("preference_live = false", "preference_live = true", []),
        ("http://x", "http://y", []),
    ],
)
def test_what_needs_a_restart(tmp_path, old, new, keys):
    """Of the server, the store and the limits all that differs; of the rest nothing."""
    assert old in TEXT
    assert sorted(needs_restart(load(tmp_path), load(tmp_path, TEXT.replace(old, new, 1)))) == keys


def test_every_table_is_one_or_the_other():
    """A table that is added must be thought of: whether it lasts, or a reload changes it."""
    assert set(TABLES) == {*LASTING_TABLES, *NAMED_TABLES, "routing"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("preference_live = false", "preference_live = true", Change((), (), ("routing.preference_live",))),
        ("http://x", "http://y", Change((), (), ("providers.p",))),
        ("silence_s = 10", "silence_s = 11", Change((), (), ("models.other",))),
        ('["other"]', '["*"]', Change((), (), ("targets.t",))),
        ("[targets.t]", "[targets.u]", Change(("targets.u",), ("targets.t",), ())),
        (
            '[models."org/m"]',
            "[models.n]",
            Change(("models.n",), ('models."org/m"',), ("targets.ainf-inference",)),
        ),
        ("silence_s = 120", "silence_s = 121", Change((), (), ("limits.silence_s", 'models."org/m"'))),
    ],
)
def test_what_has_changed(tmp_path, old, new, expected):
    """Single settings by their key; providers, models and targets by their names, also where one follows another."""
    assert old in TEXT
    assert change_of(load(tmp_path), load(tmp_path, TEXT.replace(old, new, 1))) == expected
