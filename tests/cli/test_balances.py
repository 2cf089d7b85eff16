"""``ainf balances``."""

import re

import pytest


@pytest.fixture
def commands(commands):
    commands.run("accounts", "create", "acme")
    return commands


def test_a_balance_from_its_opening_to_its_closing(commands):
    """It is opened, topped up, corrected, listed with what was put on it, and closed; each time it is shown."""
    assert commands.run("balances", "open", "--account", "acme") == (
        "of            paid in $  settled $  held $  left $\naccount acme          0          0       0       0\n"
    )
    topped_up = commands.json("balances", "top-up", "--account", "acme", "--usd", "25", "--note", "invoice 7")
    assert (topped_up["account"], topped_up["paid_in_nusd"], topped_up["left_nusd"]) == ("acme", 25 * 10**9, 25 * 10**9)
    assert " 22.5" in commands.run("balances", "adjust", "--account", "acme", "--usd=-2.50", "--note", "paid back")
    assert commands.json("balances", "list") == [topped_up | {"paid_in_nusd": 225 * 10**8, "left_nusd": 225 * 10**8}]
    told = commands.run("balances", "list", "--credits", "acme").splitlines()
    assert re.fullmatch(r"at +kind +amount \$  note", told[0])
    assert re.fullmatch(r"\S+Z  top_up +25  invoice 7", told[1])
    assert re.fullmatch(r"\S+Z  adjustment +-2\.5  paid back", told[2])
    first, second = commands.json("balances", "list", "--credits", "acme")
    assert (first["kind"], second["amount_nusd"], second["note"]) == ("top_up", -25 * 10**8, "paid back")
    assert re.fullmatch(r"\d{4}-\S+Z", first["posted_at"])
    assert commands.json("balances", "close", "--account", "acme")["left_nusd"] == 225 * 10**8
    assert commands.json("balances", "list") == []
    assert len(commands.json("balances", "list", "--credits", "acme")) == 2


def test_a_balance_may_be_opened_with_money_on_it(commands):
    """It never stands at nothing in between."""
    assert commands.json("balances", "open", "--account", "acme", "--usd", "5")["paid_in_nusd"] == 5 * 10**9
    assert [each["kind"] for each in commands.json("balances", "list", "--credits", "acme")] == ["top_up"]


@pytest.mark.parametrize(
    ("arguments", "text", "status"),
    [
        (["open", "--account", "acme", "--note", "gift"], "--note is of what is paid in", 2),
        (["open", "--account", "none"], "There is no account 'none'", 1),
        (["open"], "Missing option '--account'", 2),
        (["open", "--account", "acme", "--usd", "0"], "A top-up is more than nothing", 1),
        (["top-up", "--account", "acme", "--usd", "1"], "The account 'acme' has no balance", 1),
        (["top-up", "--account", "acme", "--usd=-1"], "is not between 0 and", 2),
        (["adjust", "--account", "acme", "--usd=--1"], "is not between 0 and", 2),
        (["adjust", "--account", "acme", "--usd=-"], "is not a decimal amount", 2),
        (["close", "--account", "acme"], "The account 'acme' has no balance", 1),
        (["list", "--credits", "none"], "There is no account 'none'", 1),
    ],
)
def test_refusals(commands, arguments, text, status):
    """Refusals say what to do; misuse has exit status 2; neither leaves a balance."""
    assert text in commands.refused("balances", *arguments, status=status)
    assert commands.json("balances", "list") == []
