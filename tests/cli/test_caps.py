"""``ainf caps``."""

import re

import pytest


@pytest.fixture
def commands(commands):
    commands.run("accounts", "create", "acme")
    return commands


def test_set_list_remove(commands):
    """Caps on accounts and keys are set, changed, listed with what is left, and removed."""
    commands.run("keys", "create", "--account", "acme")
    key_id = commands.json("keys", "list")[0]["key_id"]
    cap_id = commands.run("caps", "set", "--account", "acme", "--usd", "1.50", "-q").strip()
    assert commands.json("caps", "set", "--account", "acme", "--usd", "2")["cap_id"] == cap_id
    assert f"key {key_id}" in commands.run("caps", "set", "--key", key_id, "--usd", "0.25", "--window", "lifetime")
    assert commands.run("caps", "list") == (
        "on                window    models  limit $  settled $  held $  left $  resets\n"
        "account acme      lifetime  *             2          0       0       2  -\n"
        f"key {key_id}  lifetime  *          0.25          0       0    0.25  -\n"
    )
    assert commands.json("caps", "list")[0]["limit_nusd"] == 2_000_000_000
    told = commands.run("caps", "remove", "--account", "acme")
    assert re.fullmatch(r"on            window    models  removed\naccount acme  lifetime  \*       \d{4}-\S+Z\n", told)
    assert [cap["name"] for cap in commands.json("caps", "list")] == [key_id]
    removed = commands.json("caps", "remove", "--key", key_id)
    assert re.fullmatch(r"\d{4}-\S+Z", removed.pop("removed_at"))
    assert removed == {"account": None, "key_id": key_id, "window": "lifetime", "model": "*"}
    assert commands.json("caps", "list") == []


def test_windows_and_patterns(commands):
    """Caps of several windows and models stand side by side, each with its reset; a balance is no cap."""
    for options in (["--window", "day"], ["--window", "month", "--model", "gpt-*"], ["--model", "small"]):
        commands.run("caps", "set", "--account", "acme", "--usd", "3", *options)
    commands.run("balances", "open", "--account", "acme")
    listed = commands.json("caps", "list")
    assert [(cap["window"], cap["model"]) for cap in listed] == [
        ("day", "*"),
        ("month", "gpt-*"),
        ("lifetime", "small"),
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT00:00:00\.000000Z", listed[0]["resets_at"])
    assert re.fullmatch(r"\d{4}-\d\d-01T00:00:00\.000000Z", listed[1]["resets_at"])
    assert listed[2]["resets_at"] is None
    commands.run("caps", "remove", "--account", "acme", "--window", "month", "--model", "gpt-*")
    assert [cap["window"] for cap in commands.json("caps", "list")] == ["day", "lifetime"]


@pytest.mark.parametrize(
    ("arguments", "text", "status"),
    [
        (["set", "--account", "none", "--usd", "1"], "There is no account 'none'", 1),
        (["set", "--key", "none", "--usd", "1"], "There is no key 'none'", 1),
        (["set", "--usd", "1"], "Give either --account NAME or --key ID.", 2),
        (["set", "--account", "acme", "--key", "k", "--usd", "1"], "Give either --account NAME or --key ID.", 2),
        (["set", "--account", "acme"], "Missing option '--usd'", 2),
        (["set", "--account", "acme", "--usd", "much"], "'much' is not a decimal amount", 2),
        (["set", "--account", "acme", "--usd", "-1"], "is not between 0 and", 2),
        (["set", "--account", "acme", "--usd", "1", "--window", "eon"], "is not", 2),
        (["set", "--account", "acme", "--usd", "1", "--model", ""], "a pattern such as `gpt-*`", 1),
        (["remove", "--account", "acme"], "This account has no lifetime cap", 1),
        (["remove", "--account", "acme", "--model", "x"], "This account has no lifetime cap on models x;", 1),
        (
            ["set", "--account", "acme", "--model", "ainf/auto", "--usd", "1"],
            "'ainf/auto' is a routing target, and a",
            1,
        ),
    ],
)
def test_refusals(commands, arguments, text, status):
    """Refusals say what to do; misuse has exit status 2; neither sets a cap."""
    assert text in commands.refused("caps", *arguments, status=status)
    assert commands.json("caps", "list") == []
