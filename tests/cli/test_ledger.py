"""``ainf ledger``."""

import json

import apsw
import pytest

from ainf.store.verify import INVARIANTS
from tests.cli.commands import PROVIDER_KEY
from tests.store.books import Books


def corrupt(commands, statement):
    connection = apsw.Connection(commands.database)
    connection.execute(statement)
    connection.close()


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
    """A sound ledger is said to be so, with exit status 0, and whether there were keys to look for."""
    names = list(dict.fromkeys(invariant.name for invariant in INVARIANTS))
    hold = f"The ledger is sound: {len(names)} invariants hold."
    unlooked = " No provider's key is in the environment to look for (I17).\n"
    assert commands.run("ledger", "verify") == hold + unlooked
    assert commands.json("ledger", "verify") == {"invariants": names, "keys_looked_for": 0, "findings": []}
    result = commands.invoke("ledger", "verify", env={"OPENAI_API_KEY": PROVIDER_KEY})
    assert (result.exit_code, result.stdout) == (0, hold + "\n")


def test_broken(commands):
    """A broken one gives its rows as a table, or as JSON, exit status 1, and what is to be done."""
    corrupt(commands, "UPDATE counters SET settled_nusd = 7")
    result = commands.invoke("ledger", "verify")
    assert result.exit_code == 1
    head, row = result.stdout.splitlines()
    assert head.split() == ["broken", "what", "should", "hold", "row"]
    assert row.startswith("C1      a counter is the sum of the entries that count on it, ")
    assert result.stderr.startswith("The ledger is never repaired by itself: ")
    result = commands.invoke("ledger", "verify", "--json")
    assert result.exit_code == 1
    (finding,) = json.loads(result.stdout)["findings"]
    assert (finding["invariant"], finding["row"]["settled_nusd"]) == ("C1", 7)


def test_only_some(commands):
    """Only the named invariants are checked; a name that is none is refused with those that are."""
    corrupt(commands, "UPDATE counters SET settled_nusd = 7")
    assert commands.run("ledger", "verify", "--only", "I4") == "The ledger is sound: I4 holds.\n"
    assert commands.json("ledger", "verify", "--only", "I4", "--only", "I5")["invariants"] == ["I4", "I5"]
    assert commands.invoke("ledger", "verify", "--only", "C1").exit_code == 1
    assert "'I4'" in commands.refused("ledger", "verify", "--only", "I99", status=2)


def test_a_provider_s_key_is_found_and_not_shown(commands):
    """The keys that the environment has are looked for; what is printed names the row."""
    corrupt(commands, f"UPDATE attempts SET raw_usage = 'Bearer {PROVIDER_KEY}'")
    result = commands.invoke("ledger", "verify", "--only", "I17", env={"OPENAI_API_KEY": PROVIDER_KEY})
    assert result.exit_code == 1
    assert "table=attempts, column=raw_usage, inference_id=" in result.stdout
    assert PROVIDER_KEY not in result.output


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
