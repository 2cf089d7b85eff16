"""``ainf keys``."""

import hashlib
import re
from datetime import UTC, datetime, timedelta

import apsw
import pytest


@pytest.fixture
def commands(commands):
    commands.run("accounts", "create", "acme")
    return commands


def test_the_key_is_shown_once(commands):
    """Making a key prints it; no other command ever does, and the database has only its digest."""
    key = commands.run("keys", "create", "--account", "acme", "-q").strip()
    assert re.fullmatch(r"ainf_[0-9a-f]{12}_[a-z2-7]{40}", key)
    secret = key.rsplit("_", 1)[1]
    assert secret not in commands.run("keys", "list") + commands.run("keys", "list", "--json")
    (digest,) = apsw.Connection(commands.database).execute("SELECT digest FROM keys").fetchone()
    assert digest == hashlib.sha256(key.encode()).digest()


def test_two_keys_differ(commands):
    """Each key has chance of its own."""
    first, second = (commands.run("keys", "create", "--account", "acme", "-q") for _ in range(2))
    assert first != second


def test_rights(commands):
    """Models, endpoints, expiry and the client's quirks are kept and listed."""
    made = commands.json(
        "keys", "create", "--account", "acme", "--model", "small", "--model", "gratis", "--endpoint", "/v1/inference",
        "--expires", "2100-01-02", "--finish-reasons", "strict", "--money-refusal", "429",
    )  # fmt: skip
    assert made.pop("key").startswith(f"ainf_{made['key_id']}_")
    assert made == commands.json("keys", "list")[0]
    assert (made["models"], made["endpoints"]) == (["small", "gratis"], ["/v1/inference"])
    assert (made["expires_at"], made["finish_reasons"]) == ("2100-01-02T00:00:00.000000Z", "strict")
    line = commands.run("keys", "list", "--account", "acme").splitlines()[1]
    assert " valid  small, gratis  /v1/inference  " in line


@pytest.mark.parametrize("name", ["ainf-inference", "ainf-auto", "ainf/auto", "ainf-*"])
def test_a_right_to_a_routing_target(commands, name):
    """A key may be for what a model is chosen by, under any of its names."""
    made = commands.json("keys", "create", "--account", "acme", "--model", name)
    assert made["models"] == [name]


def test_limits(commands):
    """A key is made with limits; they are changed one by one, lifted with `none`, and listed."""
    made = commands.json(
        "keys", "create", "--account", "acme", "--requests-per-minute", "60", "--tokens-per-minute", "1000",
        "--concurrent-streams", "2", "--inject-cost",
    )  # fmt: skip
    limits = {"requests_per_minute": 60, "tokens_per_minute": 1000, "concurrent_streams": 2}
    assert (made["limits"], made["inject_cost"]) == (limits, True)
    listed = commands.run("keys", "list")
    assert "  60 requests per minute, 1000 tokens per minute, 2 concurrent streams  -  " in listed
    told = commands.run("keys", "limit", made["key_id"], "--tokens-per-minute", "none", "--concurrent-streams", "5")
    assert told == f"id            limits\n{made['key_id']}  60 requests per minute, 5 concurrent streams\n"
    limits |= {"tokens_per_minute": None, "concurrent_streams": 5}
    assert commands.json("keys", "list")[0]["limits"] == limits
    limits["requests_per_minute"] = 1
    told = commands.json("keys", "limit", made["key_id"], "--requests-per-minute", "1")
    assert told == {"key_id": made["key_id"], "limits": limits}


@pytest.mark.parametrize(
    ("arguments", "text", "status"),
    [
        (["none", "--requests-per-minute", "1"], "There is no key 'none'", 1),
        (["none"], "Give a limit to change.", 2),
        (["none", "--requests-per-minute", "0"], "is not in the range", 2),
        (["none", "--requests-per-minute", "few"], "'few' is not a valid", 2),
    ],
)
def test_refused_limits(commands, arguments, text, status):
    """Refusals say what to do; misuse has exit status 2."""
    assert text in commands.refused("keys", "limit", *arguments, status=status)


def test_a_key_in_the_name_of_another(commands):
    """It has that one's rights and no more, shows its maker, and goes with it where that is asked for."""
    commands.run("accounts", "create", "agent", "--parent", "acme")
    maker = commands.json("keys", "create", "--account", "acme", "--model", "s*", "--requests-per-minute", "9")[
        "key_id"
    ]
    made = commands.json("keys", "create", "--account", "agent", "--maker", maker)
    assert (made["models"], made["limits"]["requests_per_minute"], made["maker_key_id"]) == (["s*"], 9, maker)
    assert f"  {maker}  " in commands.run("keys", "list", "--account", "agent")
    refused = commands.refused("keys", "create", "--account", "agent", "--maker", maker, "--model", "gratis")
    assert refused == "The key that makes it has no right to the models gratis."
    revoked = commands.json("keys", "revoke", maker, "--with-made")
    assert [each["key_id"] for each in revoked] == [maker, made["key_id"]]
    assert all(key["revoked_at"] == revoked[0]["revoked_at"] for key in commands.json("keys", "list"))


def test_revoke(commands):
    """A revoked key is listed as such, since when it was told to be."""
    for _ in range(2):
        commands.run("keys", "create", "--account", "acme")
    key, other = commands.json("keys", "list")
    told = commands.run("keys", "revoke", key["key_id"])
    assert re.fullmatch(rf"id +revoked\n{key['key_id']}  \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n", told)
    assert " revoked " in commands.run("keys", "list")
    (revoked,) = commands.json("keys", "revoke", other["key_id"])
    (listed,) = [each for each in commands.json("keys", "list") if each["key_id"] == other["key_id"]]
    assert revoked == {"key_id": other["key_id"], "revoked_at": listed["revoked_at"]}
    assert commands.refused("keys", "revoke", key["key_id"]).endswith("is revoked already.")


@pytest.mark.parametrize(
    ("arguments", "text", "status"),
    [
        (["--account", "none"], "There is no account 'none'", 1),
        (
            ["--account", "acme", "--model", "smal"],
            "no model or routing target 'smal' is configured; known are small, gratis, ",
            1,
        ),
        (["--account", "acme", "--model", "gpt-*"], "no model or routing target 'gpt-*' is configured; known", 1),
        (["--account", "acme", "--maker", "none"], "There is no key 'none'", 1),
        (["--account", "acme", "--endpoint", "v1"], "No endpoint is named 'v1'", 1),
        (["--account", "acme", "--expires", "2001-01-01T00:00:00Z"], "The expiry is in the past", 1),
        (["--account", "acme", "--expires", "soon"], "'soon' is no time such as 2030-12-31", 2),
        (["--account", "acme", "--finish-reasons", "odd"], "is not one of", 2),
        ([], "Missing option '--account'", 2),
    ],
)
def test_refusals(commands, arguments, text, status):
    """Refusals say what to do; misuse has exit status 2."""
    assert text in commands.refused("keys", "create", *arguments, status=status)
    assert commands.json("keys", "list") == []


def test_a_time_zone_counts(commands):
    """A time with a zone is the moment that it names."""
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)  # noqa: TID251 - compared with the command's clock
    made = commands.json("keys", "create", "--account", "acme", "--expires", later.isoformat())
    assert made["expires_at"] == later.strftime("%Y-%m-%dT%H:%M:%S.000000Z")
