"""``ainf check``."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ainf.config.bundled import bundled_price
from ainf.store.migrate import known_migrations
from ainf.store.sqlite import LockFile
from tests.cli.commands import PROVIDER_KEY
from tests.store.old import write_schema_1

ENV = {"OPENAI_API_KEY": PROVIDER_KEY}


def test_a_sound_configuration(commands):
    """Providers, models, prices and the store are summed up; nothing is made."""
    result = commands.invoke("check", env=ENV)
    assert result.exit_code == 0
    assert result.stdout == (
        f"{commands.config} is sound\n"
        "listens on 127.0.0.1:8080\n"
        f"store sqlite:{commands.database}: not there yet, it will be made\n"
        "\n"
        "provider  format             base url                   key\n"
        "openai    openai-compatible  https://api.openai.com/v1  OPENAI_API_KEY\n"
        "\n"
        "model   provider  upstream  max output  input $  cached $  write $  long write $  output $  reasoning $"
        "  audio in $  audio out $\n"
        "small   openai    small          16384  0.15     0.075     -        -             0.6       0.6          -"
        "           -\n"
        "gratis  openai    tiny             100  free     free      free     free          free      free         free"
        "        free\n"
        "\n"
        "model   price             rises above tokens  changes at  from\n"
        "small   0c546e658a3a6da9  -                   -           configuration\n"
        "gratis  3d93d6e57478757c  -                   -           configuration\n"
        "\n"
        "target          also called                         floor  models that clear it\n"
        "ainf-inference  ainf-mithril, ainf-auto, ainf/auto    0.5  small 0.5, gratis 0.5\n"
    )
    assert [path.name for path in commands.folder.iterdir()] == ["ainf.toml"]


def test_faults(commands):
    """Every fault is told on stderr with its line, and the exit status is 1; the rest is not shown."""
    commands.config.write_text(commands.config.read_text().replace('"0.15"', "0.15"))
    result = commands.invoke("check")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"{commands.config}:6: providers.openai.api_key_env: the environment has no OPENAI_API_KEY, or it is empty\n"
        f'{commands.config}:10: models.small.price.input: must be a string such as "0.15", so that it is exact\n'
    )
    result = commands.invoke("check", "--json")
    assert result.exit_code == 1
    assert [(fault["line"], fault["key"]) for fault in json.loads(result.stdout)["faults"]] == [
        (6, "providers.openai.api_key_env"),
        (10, "models.small.price.input"),
    ]


@pytest.mark.threat(120)
def test_secrets_are_never_printed(commands):
    """No output of the check holds the provider's key, in either form."""
    for arguments in (["check"], ["check", "--json"]):
        result = commands.invoke(*arguments, env=ENV)
        assert result.exit_code == 0
        assert PROVIDER_KEY not in result.output
    mangled = commands.invoke("check", env={"OPENAI_API_KEY": PROVIDER_KEY + "\n"})
    assert mangled.exit_code == 1
    assert PROVIDER_KEY not in mangled.output


def test_the_store(commands):
    """The schema is told, and whether a gateway runs on it."""
    commands.run("accounts", "create", "acme")
    newest = max(known_migrations())
    assert f"schema {newest}, no gateway runs on it" in commands.invoke("check", env=ENV).stdout
    lock = LockFile(commands.database)
    assert f"schema {newest}, a gateway runs on it" in commands.invoke("check", env=ENV).stdout
    store = json.loads(commands.invoke("check", "--json", env=ENV).stdout)["store"]
    assert store == {"path": commands.database, "schema": newest, "newest_schema": newest, "gateway_runs": True}
    lock.release()
    assert "no gateway runs on it" in commands.invoke("check", env=ENV).stdout


def test_a_store_through_a_link(commands):
    """It is the folder that the link leads to in which files must be made."""
    Path(commands.database).symlink_to(commands.folder / "none" / "books.db")
    told = commands.invoke("check", env=ENV)
    assert told.exit_code == 1
    assert f"the database cannot be made or written: {commands.folder}/none is no folder" in told.stderr


def test_an_old_store(commands):
    """What will be done to it is told, and not done yet; what reads it says how to have it done."""
    Path(write_schema_1(commands.folder)).rename(commands.database)
    told = commands.invoke("check", env=ENV).stdout
    assert f"schema 1, will be brought to {max(known_migrations())}, no gateway runs on it" in told
    assert "has schema 1" in commands.refused("ledger", "verify")


def test_the_price_of_writes_to_a_cache(commands):
    """It is shown where the price covers them."""
    with_writes = 'cache_write = "0.1875", output = "0.60"'
    commands.config.write_text(commands.config.read_text().replace('output = "0.60"', with_writes))
    row, _ = [line for line in commands.invoke("check", env=ENV).stdout.splitlines() if line.startswith("small ")]
    assert row.split()[4:10] == ["0.15", "0.075", "0.1875", "-", "0.6", "0.6"]


BUNDLED = """
[providers.google]
format = "gemini"
api_key_env = "OPENAI_API_KEY"
[models."gemini-2.5-pro"]
provider = "google"
max_output_tokens = 100
[models.dated]
provider = "google"
max_output_tokens = 100
price = [{ input = "1", output = "1" }, { from = 9000-01-01, input = "2", output = "2" }]
"""


def test_where_a_price_is_from(commands):
    """A price that is bundled tells its source and its tiers, one that changes tells when."""
    commands.config.write_text(commands.config.read_text() + BUNDLED)
    bundled = bundled_price("gemini", "gemini-2.5-pro")
    told = [line.split() for line in commands.invoke("check", env=ENV).stdout.splitlines()]
    price, moment = bundled.prices.at(0), "9000-01-01T00:00:00Z"
    assert ["gemini-2.5-pro", price.version, "200000", "-", bundled.source, f"({bundled.checked})"] in told
    (dated,) = [row for row in told if row[:1] == ["dated"] and "configuration" in row]
    assert dated[2:] == ["-", moment, "configuration"]
    models = {each["name"]: each for each in json.loads(commands.invoke("check", "--json", env=ENV).stdout)["models"]}
    assert models["gemini-2.5-pro"]["price_source"] == bundled.prices.source
    assert models["dated"]["price_source"] is None
    assert [(each["from"], each["price"]["input"]) for each in models["dated"]["coming_prices"]] == [
        ("9000-01-01T00:00:00.000000Z", 2 * 10**9)
    ]


TARGETS = """\
quality = { default = 0.65, code = 0.4 }
[targets.good]
min_quality = 0.6
models = ["gratis"]
[targets.best]
aliases = ["top"]
min_quality = 0.7
"""


def test_targets(commands):
    """Each target is told with its floor, and which of its models clear that as they are rated."""
    commands.config.write_text(commands.config.read_text() + TARGETS)
    told = commands.invoke("check", env=ENV).stdout
    assert told.partition("\ntarget ")[2].splitlines() == [
        "         also called                         floor  models that clear it    models below it",
        "ainf-inference  ainf-mithril, ainf-auto, ainf/auto    0.5  small 0.5, gratis 0.65  -",
        "good            -                                     0.6  gratis 0.65             -",
        "best            top                                   0.7  -                       small 0.5, gratis 0.65",
    ]
    checked = json.loads(commands.invoke("check", "--json", env=ENV).stdout)
    assert checked["targets"][1:] == [
        {"name": "good", "aliases": [], "min_quality_milli": 600, "models": ["gratis"]},
        {"name": "best", "aliases": ["top"], "min_quality_milli": 700, "models": ["small", "gratis"]},
    ]
    assert [model["quality_milli"] for model in checked["models"]] == [{"default": 500}, {"default": 650, "code": 400}]


EMBEDDINGS = """\
[models.vectors]
provider = "openai"
kind = "embeddings"
price = "free"
"""


def test_nothing_to_choose_from(commands):
    """Where no model answers in text there is no target, and none is told."""
    text = commands.config.read_text()
    commands.config.write_text(text[: text.index("[models.small]")] + EMBEDDINGS)
    assert "target" not in commands.invoke("check", env=ENV).stdout


def test_a_folder_that_is_none(commands):
    """A database in a folder that cannot be written is found before the start."""
    commands.config.write_text(commands.config.read_text().replace("sqlite:books.db", "sqlite:none/books.db"))
    result = commands.invoke("check", env=ENV)
    assert result.exit_code == 1
    assert "the database cannot be made or written:" in result.stderr
    assert "none is no folder that this user may write to" in result.stderr


def test_a_spool_in_a_folder_that_is_none(commands):
    """It is found before the start, and told as the spool's."""
    commands.config.write_text(f'[store]\nspool = "none/spool"\n{commands.config.read_text().replace("[store]", "")}')
    result = commands.invoke("check", env=ENV)
    assert result.exit_code == 1
    assert "the spool cannot be made or written:" in result.stderr
    assert "none is no folder that this user may write to" in result.stderr


def test_a_disk_without_room_for_the_ballast(commands, monkeypatch):
    """The gateway would start and admit nothing: that is told, with what is needed."""
    full = SimpleNamespace(f_bavail=1, f_frsize=4096)
    monkeypatch.setattr("ainf.store.ballast.os.statvfs", lambda _: full)
    result = commands.invoke("check", env=ENV)
    assert result.exit_code == 1
    assert "has no room for the ballast (store.ballast_bytes is 16777216, and twice that must be free)" in result.stderr
