"""``ainf accounts``."""

import re


def test_create_list_close(commands):
    """Accounts are made, listed as a tree, and closed."""
    made = commands.run("accounts", "create", "acme")
    assert re.fullmatch(r"account  parent  id\nacme     -       acc_[0-9a-f]{32}\n", made)
    commands.run("accounts", "create", "team", "--parent", "acme")
    assert re.fullmatch(r"account  closed\nteam     \d{4}-\S+Z\n", commands.run("accounts", "close", "team"))
    listed = commands.run("accounts", "list").splitlines()
    assert re.fullmatch(r"account  parent  id +created +closed", listed[0])
    assert re.fullmatch(r"acme     -       acc_\w{32}  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  -", listed[1])
    assert re.fullmatch(r"team     acme    acc_\w{32}  \S+Z  \S+Z", listed[2])


def test_quiet_prints_only_the_id(commands):
    """A script gets nothing but the id."""
    account_id = commands.run("accounts", "create", "acme", "-q").strip()
    assert [account["account_id"] for account in commands.json("accounts", "list")] == [account_id]


def test_json(commands):
    """Programs get JSON, with times as RFC 3339."""
    made = commands.json("accounts", "create", "acme")
    assert made == commands.json("accounts", "list")[0]
    assert (made["name"], made["parent"], made["closed_at"]) == ("acme", None, None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", made["created_at"])


def test_closing_in_json(commands):
    """The time is the one that the list shows."""
    commands.run("accounts", "create", "acme")
    closed = commands.json("accounts", "close", "acme")
    assert closed == {"name": "acme", "closed_at": commands.json("accounts", "list")[0]["closed_at"]}


def test_refusals_are_one_line(commands):
    """What cannot be done is said in one line on stderr, with exit status 1."""
    assert "There is no database" in commands.refused("accounts", "list")
    commands.run("accounts", "create", "acme")
    assert commands.refused("accounts", "create", "acme") == (
        "There is an account 'acme' already; names are unique for ever."
    )
    assert commands.refused("accounts", "create", "A b").startswith("The account name 'A b' is not")
    assert commands.refused("accounts", "create", "x", "--parent", "y").startswith("There is no account 'y'")
    assert commands.refused("accounts", "close", "y").startswith("There is no account 'y'")
