"""``ainf audit``."""

import json
import re

import apsw
import pytest

from ainf.inference.money import format_usd
from ainf.inference.outcome import Ending
from tests.store.books import COST, Books
from tests.store.routed import Routed


@pytest.fixture
def inference_id(commands):
    books = Books(commands.folder)
    books.account("acme")
    key = books.key("acme")
    inference_id = books.open(key)
    books.close(inference_id, finish_reason="stop\x1b[31m\n")
    books.engine.close()
    commands.config.write_text(commands.config.read_text().replace("books.db", "ainf.db"))
    commands.database = books.path
    return inference_id


def test_show(commands, inference_id):
    """A receipt is a table for people; whatever a provider wrote into it is shown escaped."""
    shown = commands.run("audit", "show", inference_id)
    lines = dict(line.split(maxsplit=1) for line in shown.splitlines() if len(line.split(maxsplit=1)) == 2)
    assert lines["ending"] == "completed"
    assert lines["settled_nusd"] == str(COST)
    assert lines["finish_reason"] == r"stop\x1b[31m\n"
    assert "\x1b" not in shown
    assert "\nattempt 1" in shown


def test_show_json(commands, inference_id):
    """Programs get the receipt as the gateway gives it."""
    receipt = commands.json("audit", "show", inference_id)
    assert (receipt["state"], receipt["settled_nusd"], len(receipt["attempts"])) == ("settled", COST, 1)


def test_show_of_a_routed_one(commands):
    """The decision is a part of its own, and so is each candidate."""
    books = Books(commands.folder)
    inference_id = Routed(books).fallen_back()
    books.engine.close()
    commands.config.write_text(commands.config.read_text().replace("books.db", "ainf.db"))
    parts = [part.splitlines() for part in commands.run("audit", "show", inference_id).split("\n\n")]
    assert [lines[0] for lines in parts] == [
        "receipt", "routing", "candidate 1", "candidate 2", "candidate 3", "attempt 1", "attempt 2",
    ]  # fmt: skip
    receipt, routing, large, *_ = [dict(line.split(maxsplit=1) for line in lines[1:]) for lines in parts]
    assert receipt["router"] == "fleet"
    assert (routing["status"], routing["served"], routing["floor"]) == ("fell_back", "2", "500")
    assert (large["model"], large["quality"], large["fell"]) == ("large", "900", "-")


def test_show_nothing(commands, inference_id):
    """An id that is none is refused."""
    assert commands.refused("audit", "show", "inf_none") == "there is no inference 'inf_none'"
    assert inference_id


def test_verify(commands, inference_id):
    """A whole trail is said to be so; a changed event is named, with exit status 1."""
    assert commands.run("audit", "verify") == "the audit trail is whole: 4 events in 1 epochs\n"
    assert commands.json("audit", "verify") == {"epochs": 1, "events": 4, "faults": []}
    connection = apsw.Connection(commands.database)
    connection.execute("UPDATE audit_events SET body = replace(body, 'completed', 'shutdown') WHERE seq = 4")
    connection.close()
    result = commands.invoke("audit", "verify")
    assert (result.exit_code, result.stdout) == (1, "broken\nepoch 1 seq 4: its hash is not that of its body\n")
    assert json.loads(commands.invoke("audit", "verify", "--json").stdout)["faults"] == [
        "epoch 1 seq 4: its hash is not that of its body"
    ]
    assert inference_id


@pytest.fixture
def burnt(commands):
    """An empty answer that was asked again, one that broke off and was asked again, and the answer at last."""
    books = Books(commands.folder)
    books.account("acme")
    key = books.key("acme")
    ids = []
    for end in ({"received_bytes": 0, "output_bytes": 0}, {"ending": Ending.UPSTREAM_ERROR}, {}):
        ids.append(books.open(key))
        books.close(ids[-1], **end)
    books.engine.close()
    commands.config.write_text(commands.config.read_text().replace("books.db", "ainf.db"))
    return key, ids


def test_burn(commands, burnt):
    """Who burnt how much how often, and which exchanges those were."""
    key, ids = burnt
    who, which = commands.run("audit", "burn", "--since", "2023-11-01").split("\n\n")
    assert [line.split() for line in who.splitlines()[1:]] == [
        ["acme", key, "empty", "1", format_usd(COST)],
        ["acme", key, "failed", "1", format_usd(COST)],
        ["total", "2", format_usd(2 * COST)],
    ]
    first, second = [line.split() for line in which.splitlines()[1:]]
    body = "01" * 4
    opened = "2023-11-14T22:13:20Z"
    assert first == [body, ids[0], opened, key, "small", "completed", "empty", format_usd(COST), ids[1]]
    assert second == [body, ids[1], opened, key, "small", "upstream_error", "failed", format_usd(COST), ids[2]]


def test_burn_json(commands, burnt):
    """The same for programs, by body."""
    key, ids = burnt
    told = commands.json("audit", "burn", "--since", "2023-11-01", "--account", "acme")
    assert (told["exchanges"], told["charged_nusd"], len(told["burners"])) == (2, 2 * COST, 2)
    assert told["burners"][0]["key_id"] == key
    (body,) = told["bodies"]
    assert [each["inference_id"] for each in body["exchanges"]] == ids[:2]
    assert body["exchanges"][0]["opened_at"].startswith("2023-11-14T22:13:20.")
    (only,) = commands.json("audit", "burn", "--since", "2023-11-01", "--empty")["bodies"]
    assert [each["kind"] for each in only["exchanges"]] == ["empty"]


def test_no_burn(commands, burnt):
    """Where nothing burnt it says so; an account that is none is refused."""
    assert re.fullmatch(r"Nothing burnt since \d{4}-\d\d-\d\dT00:00:00Z\.\n", commands.run("audit", "burn"))
    assert "There is no account 'none'" in commands.refused("audit", "burn", "--account", "none")
    assert "--since must be before" in commands.refused("audit", "burn", "--since", "2999-01-01", status=2)
    assert burnt
