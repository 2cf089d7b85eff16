"""``ainf ledger``."""

import json

import apsw
import pytest

from tests.store.books import Books


@pytest.fixture
def commands(commands):
    """Books with one settled exchange under a cap."""
    books = Books(commands.folder)
    books.account("acme")
    key = books.key("acme")
    books.cap(10**9, account="acme")
    books.close(books.open(key))
    books.engine.close()
    commands.config.write_text(commands.config.read_text().replace("books.db", "ainf.db"))
    commands.database = books.path
    return commands


def test_sound(commands):
    """A sound ledger is said to be so, with exit status 0."""
    assert commands.run("ledger", "verify") == "the ledger is sound: 19 invariants hold\n"
    assert commands.json("ledger", "verify") == {"invariants": 19, "findings": []}


def test_broken(commands):
    """A broken one gives its rows as a table, or as JSON, and exit status 1."""
    connection = apsw.Connection(commands.database)
    connection.execute("UPDATE counters SET settled_nusd = 7")
    connection.close()
    result = commands.invoke("ledger", "verify")
    assert result.exit_code == 1
    head, row = result.stdout.splitlines()
    assert head.split() == ["broken", "what", "should", "hold", "row"]
    assert row.startswith("C1      a cap's counter is the sum of the entries under it  cap_id=")
    result = commands.invoke("ledger", "verify", "--json")
    assert result.exit_code == 1
    (finding,) = json.loads(result.stdout)["findings"]
    assert (finding["invariant"], finding["row"]["settled_nusd"]) == ("C1", 7)


def test_verifying_writes_nothing(commands):
    """Looking at the books opens no epoch and changes no row."""
    connection = apsw.Connection(commands.database)
    before = connection.execute("SELECT count(*) FROM instances").fetchall()
    commands.run("ledger", "verify")
    assert connection.execute("SELECT count(*) FROM instances").fetchall() == before


def test_a_file_that_is_no_database(commands):
    """What is no database is said to be none."""
    commands.config.write_text(commands.config.read_text().replace("ainf.db", "ainf.toml"))
    assert "ainf.toml cannot be used: " in commands.refused("ledger", "verify")
