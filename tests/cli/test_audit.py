"""``ainf audit``."""

import json

import apsw
import pytest

from tests.store.books import COST, Books


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
