"""``GET /v1/usage``: the key's own account and what is below it, as JSON and CSV."""

import csv
from io import StringIO
from urllib.parse import urlencode

import attrs
import pytest

from ainf.http import usage as module
from ainf.ledger import Window
from ainf.store.base import KeyLimits
from ainf.store.caps import set_cap, subject_of
from ainf.store.counting import Scope
from tests.gateway.world import Client, World, world


async def ask(here: World, key: str | None = None, **parameters: str) -> Client:
    client = Client("/v1/usage", b"", {"authorization": f"Bearer {key or here.key}"}, "GET")
    client.scope["query_string"] = urlencode(parameters).encode()
    return await here.run(client)


async def family(here: World) -> dict[str, str]:
    """A tree around the account of the world's key: one above, one beside, one below; a key of each."""
    await here.new_account("org")
    keys = {}
    for number, (name, parent) in enumerate((("mine", "org"), ("below", "mine"), ("beside", "org")), 1):
        await here.new_account(name, parent)
        keys[name] = await here.new_key(name, key_id=f"k000001{number}")
    keys["org"] = await here.new_key("org", key_id="k0000010")
    for name, key in keys.items():
        for _ in range({"mine": 1, "below": 2, "beside": 3, "org": 4}[name]):
            here.key = key
            assert (await here.ask()).status == 200
    return keys


async def test_own_account(tmp_path, autojump_clock):
    """What one exchange was settled at is what usage says, in its sums and its totals, as a number and as text."""
    async with world(tmp_path, "sim") as here:
        receipt = await here.receipt((await here.ask()).inference_id)
        answer = await ask(here)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.headers["x-request-id"]
        told = answer.json()
        (row,) = told["rows"]
        assert row["day"] == receipt["opened_at"][:10]
        assert row["spent_nusd"] == row["settled_nusd"] == receipt["settled_nusd"]
        assert {name: row[name] for name in receipt["usage"]} == receipt["usage"]
        assert {name: value for name, value in row.items() if name != "day"} == told["totals"]
        assert told["held"] == {"exchanges": 0, "held_nusd": 0, "held_usd": "0"}
        assert (told["object"], told["account"], told["key_id"], told["by"]) == (
            "usage",
            "agents",
            here.key_id,
            ["day"],
        )
        assert told["caps"] == []
        assert told["limits"] == attrs.asdict(KeyLimits())


async def test_whose(tmp_path, autojump_clock):
    """A key sees its account, or that with all below it; never what is above or beside."""
    async with world(tmp_path, "sim") as here:
        keys = await family(here)
        seen = {}
        for name, key in keys.items():
            own = (await ask(here, key, by="account")).json()
            tree = (await ask(here, key, by="account", scope="tree")).json()
            seen[name] = [{row["account"]: row["exchanges"] for row in told["rows"]} for told in (own, tree)]
        assert seen == {
            "org": [{"org": 4}, {"org": 4, "mine": 1, "below": 2, "beside": 3}],
            "mine": [{"mine": 1}, {"mine": 1, "below": 2}],
            "below": [{"below": 2}, {"below": 2}],
            "beside": [{"beside": 3}, {"beside": 3}],
        }


async def test_caps_of_the_path(tmp_path, autojump_clock):
    """Every cap that its requests fall under, also those above the account, with what they leave."""
    async with world(tmp_path, "sim") as here:
        await here.set_cap(1_000_000_000)

        def daily(tx):
            scope = Scope(subject_of(tx, key_id=here.key_id), Window.DAY, "si*")
            return set_cap(tx, cap_id="daily", scope=scope, limit_nusd=500_000_000, at=1)

        await here.store.write(daily)
        spent = (await here.receipt((await here.ask()).inference_id))["settled_nusd"]
        first, second = (await ask(here)).json()["caps"]
        assert (first["of"], first["window"], first["model"], first["kind"]) == ("key k0000000", "day", "si*", "cap")
        assert (first["settled_nusd"], first["left_nusd"]) == (spent, 500_000_000 - spent)
        assert first["resets_at"].endswith("T00:00:00.000000Z")
        assert (second["of"], second["left_nusd"], second["resets_at"]) == ("account agents", 10**9 - spent, None)


async def test_csv(tmp_path, autojump_clock):
    """The same rows as CSV."""
    async with world(tmp_path, "sim", "sim-tokens-5") as here:
        for model in ("sim", "sim-tokens-5", "sim"):
            await here.ask(model)
        rows = (await ask(here, by="model,ending")).json()["rows"]
        answer = await ask(here, by="model,ending", format="csv")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
        read = list(csv.DictReader(StringIO(answer.body.decode(), newline="")))
        assert read == [{name: str(value) for name, value in row.items()} for row in rows]
        assert [(row["model"], row["exchanges"]) for row in read] == [("sim", "2"), ("sim-tokens-5", "1")]


async def test_when(tmp_path, autojump_clock):
    """From ``since`` until before ``until``; the answer says which time that was."""
    async with world(tmp_path, "sim") as here:
        await here.ask()
        past = (await ask(here, since="2020-01-01", until="2020-02-01")).json()
        assert (past["since"], past["until"]) == ("2020-01-01T00:00:00.000000Z", "2020-02-01T00:00:00.000000Z")
        assert (past["rows"], past["totals"]["exchanges"]) == ([], 0)
        assert (await ask(here, since="1h")).json()["totals"]["exchanges"] == 1


@pytest.mark.parametrize(
    ("parameters", "code", "param", "text"),
    [
        ({"by": "week"}, "invalid_value", "by", "must be some of day, model, provider, key, account, ending, evidence"),
        ({"by": ""}, "invalid_value", "by", "must be some of"),
        ({"by": "day,day"}, "invalid_value", "by", "each once"),
        ({"since": "soon"}, "invalid_value", "since", "'soon' is not a date such as 2026-11-01"),
        ({"since": "0001-01-01T00:00+00:01"}, "invalid_value", "since", "is not a date"),
        ({"until": "9999-12-31T23:59-00:01"}, "invalid_value", "until", "is not a date"),
        ({"until": "2026-02-30"}, "invalid_value", "until", "is not a date"),
        ({"since": "2026-02-01", "until": "2026-02-01"}, "invalid_value", "since", "must be before `until`"),
        ({"since": "2999-01-01"}, "invalid_value", "since", "which is now where it is not given"),
        ({"scope": "all"}, "invalid_value", "scope", "must be `account` or `tree`"),
        ({"format": "xml"}, "invalid_value", "format", "must be `json` or `csv`"),
        ({"account": "org"}, "unsupported_parameter", "account", "There is no parameter `account`; there are `since`"),
        ({"x" * 500: "1"}, "unsupported_parameter", "x" * 40, "There is no parameter"),
    ],
)
async def test_bad_parameters(parameters, code, param, text, tmp_path, autojump_clock):
    """What cannot be honoured is refused by name, and nothing is guessed."""
    async with world(tmp_path, "sim") as here:
        answer = await ask(here, **parameters)
        error = answer.json()["error"]
        assert (answer.status, error["code"], error["param"]) == (400, code, param)
        assert text in error["message"]


async def test_a_parameter_twice(tmp_path, autojump_clock):
    """Which of the two was meant is not guessed."""
    async with world(tmp_path, "sim") as here:
        client = Client("/v1/usage", b"", {"authorization": f"Bearer {here.key}"}, "GET")
        client.scope["query_string"] = b"by=day&by=model"
        assert (await here.run(client)).json()["error"]["message"] == "`by` is given more than once."


async def test_more_rows_than_the_bound(tmp_path, autojump_clock, monkeypatch):
    """Too much is refused with how to ask for less; nothing is left out in silence."""
    monkeypatch.setattr(module, "MOST_ROWS", 1)
    async with world(tmp_path, "sim", "sim-tokens-5") as here:
        for model in ("sim", "sim-tokens-5"):
            await here.ask(model)
        assert (await ask(here)).status == 200
        answer = await ask(here, by="model")
        assert (answer.status, answer.json()["error"]["param"]) == (400, "by")
        assert "asks for 2 rows, and 1 is the limit" in answer.json()["error"]["message"]


async def test_it_needs_a_key(tmp_path, autojump_clock):
    """As every route that reads."""
    async with world(tmp_path, "sim") as here:
        assert (await here.run(Client("/v1/usage", b"", {}, "GET"))).status == 401
        assert (await ask(here, "ainf_nobody")).status == 401
