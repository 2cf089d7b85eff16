"""The checker of the ledger: it finds nothing where nothing is wrong, and names whatever was changed by hand."""

import shutil

import pytest

from ainf.audit import Head
from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.pricing import cost, tokens_within
from ainf.store.base import Progress
from ainf.store.caps import remove_cap
from ainf.store.exchanges import record_progress
from ainf.store.recovery import abandon
from ainf.store.sqlite import SQLiteEngine
from ainf.store.transaction import Transaction
from ainf.store.verify import verify
from tests.store.books import COST, PRICE, Books


@pytest.fixture(scope="module")
def full_books(tmp_path_factory):
    """A database in which everything that may happen has happened."""
    books = Books(tmp_path_factory.mktemp("books"))
    books.account("root")
    books.account("team", "root")
    books.account("other")
    key, other = books.key("team"), books.key("other")
    books.close(books.open(key))  # inf..., before any cap
    early = books.open(key)
    books.cap(10**9, account="root")
    books.cap(10**6, key_id=key)
    books.extend(early, 5_000)
    books.close(early)
    overrun = books.open(key, base=1, first_tokens=1)
    books.close(overrun, ending=Ending.CLIENT_DISCONNECTED, evidence=Evidence.METERED)
    books.close(books.open(key), cost_nusd=None, evidence=Evidence.NONE, attempts=())
    books.run(remove_cap, scope=books.scope(key_id=key), at=books.tick())
    lost, unseen = books.open(key), books.open(other)
    books.run(record_progress, [Progress(lost, Usage(input_tokens=10, output_tokens=5), 4_000, 20)], books.tick())
    books.cap(10**6, key_id=key)
    books.new_epoch("gateway")
    for left in (lost, unseen):
        books.run(abandon, left, books.tick())
    books.close(lost, ending=Ending.CLIENT_DISCONNECTED)  # a late end posts an adjustment
    books.new_epoch("command")
    books.cap(1, account="root")
    books.new_epoch("gateway")
    books.open(other)
    books.close(books.open(other))
    books.engine.close()
    return books.path


class Reopened:
    """A copy of the books, open for reading and for mischief."""

    def __init__(self, path):
        self.engine = SQLiteEngine.open(str(path))
        self.tx = Transaction(self.engine, Head(0))

    def sql(self, statement):
        return self.engine.execute(statement)


@pytest.fixture
def books(full_books, tmp_path):
    return Reopened(shutil.copy(full_books, tmp_path))


def names(books):
    return sorted({finding.invariant for finding in verify(books.tx)})


def test_sound_books(books):
    """Overrun, lowered and removed caps, abandoned and adjusted exchanges, and running ones break nothing."""
    assert verify(books.tx) == []


def test_empty_books(tmp_path):
    """A new database is sound."""
    assert verify(Books(tmp_path).tx) == []


FIRST = "(SELECT min(inference_id) FROM settlements)"
RUNNING = "(SELECT inference_id FROM holds)"
OVERRUN = "(SELECT inference_id FROM entries WHERE kind = 'overrun')"
NEW_ENTRY = (
    "INSERT INTO entries (inference_id, kind, account_id, provider, amount_nusd, at)"
    " SELECT inference_id, {kind}, account_id, provider, {amount}, 1 FROM inferences WHERE inference_id = {whose}"
)

# What is done by hand, and exactly the invariants that are then broken.
CORRUPTIONS = {
    "a settlement deleted": (f"DELETE FROM settlements WHERE inference_id = {FIRST}", {"I1", "I3", "D1"}),
    "a hold deleted": ("DELETE FROM holds", {"I1", "I2", "I14"}),
    "a hold changed": ("UPDATE holds SET held_nusd = held_nusd + 1", {"I2", "I14"}),
    "a hold of a settled exchange": (
        f"INSERT INTO holds (inference_id, epoch, key_id, held_nusd) SELECT inference_id, epoch, key_id, 5"
        f" FROM inferences WHERE inference_id = {FIRST}",
        {"I1", "I2", "I8", "I14"},
    ),
    "a hold of nothing": (
        "INSERT INTO holds (inference_id, epoch, key_id, held_nusd) VALUES ('ghost', 1, 'k', 5)",
        {"I2", "I8", "I14", "D1"},
    ),
    "a settlement and its entry doubled": (
        NEW_ENTRY.format(kind="'settle'", amount=COST, whose=FIRST),
        {"I2", "I3", "I4", "I5", "I14", "C1"},
    ),
    "an amount of an entry changed": (
        f"UPDATE entries SET amount_nusd = amount_nusd - 1 WHERE kind = 'settle' AND inference_id = {FIRST}",
        {"I2", "I3", "I5", "I14", "C1"},
    ),
    "a release deleted": (
        f"DELETE FROM entries WHERE kind = 'release' AND inference_id = {FIRST}",
        {"I2", "I5", "I14", "C1"},
    ),
    "an overrun deleted": ("DELETE FROM entries WHERE kind = 'overrun'", {"I3", "I5", "C1"}),
    "a settlement's amount changed": (
        f"UPDATE settlements SET settled_nusd = settled_nusd + 1 WHERE inference_id = {FIRST}",
        {"I3", "I5", "S1", "A1"},
    ),
    "an ending changed": (f"UPDATE settlements SET ending = 'shutdown' WHERE inference_id = {FIRST}", {"A1"}),
    "an abandoned one called completed": (
        "UPDATE settlements SET ending = 'completed' WHERE ending = 'abandoned'",
        {"I9", "I16", "A1"},
    ),
    "usage changed": (f"UPDATE settlements SET output_tokens = 1 WHERE inference_id = {FIRST}", {"I7", "A1"}),
    "tokens written to a cache changed": (
        f"UPDATE settlements SET cache_write_tokens = cache_write_tokens + 1 WHERE inference_id = {FIRST}",
        {"I7", "A1"},
    ),
    "tokens written for long changed": (
        f"UPDATE settlements SET long_cache_write_tokens = 0 WHERE inference_id = {FIRST}",
        {"I7", "A1"},
    ),
    "an attempt's tokens written to a cache changed": (
        f"UPDATE attempts SET usage = json_set(usage, '$.cache_write_tokens', 60) WHERE inference_id = {FIRST}",
        {"I7"},
    ),
    "a price's rate for writes taken out": (
        """UPDATE prices SET body = json_remove(body, '$."cache_write"')""",
        {"I7", "P1"},
    ),
    "an event's usage garbled": (
        f"UPDATE audit_events SET body = json_set(body, '$.usage.cache_write_tokens', 'many')"
        f" WHERE kind = 'inference.closed' AND inference_id = {FIRST}",
        {"I11", "A1"},
    ),
    "an attempt's cost changed": (
        f"UPDATE attempts SET cost_nusd = cost_nusd + 1 WHERE inference_id = {FIRST}",
        {"I7", "S1"},
    ),
    "an attempt's usage garbled": (f"UPDATE attempts SET usage = '{{' WHERE inference_id = {FIRST}", {"I7"}),
    "an attempt deleted": (f"DELETE FROM attempts WHERE inference_id = {FIRST}", {"S1"}),
    "an attempt renumbered": (f"UPDATE attempts SET number = 2 WHERE inference_id = {FIRST}", {"S2"}),
    "a price changed": (
        "UPDATE prices SET body = replace(body, '\"output\":600000000', '\"output\":600000001')",
        {"I7", "P1"},
    ),
    "a price garbled": ("UPDATE prices SET body = '[]'", {"I7", "P1"}),
    "a price deleted": ("DELETE FROM prices", {"D1"}),
    "a counter changed": ("UPDATE counters SET settled_nusd = settled_nusd - 1", {"C1"}),
    "a counter deleted": ("DELETE FROM counters", {"C1"}),
    "a limit changed": ("UPDATE caps SET limit_nusd = 10", {"L1"}),
    "a limit's history lowered": ("UPDATE cap_limits SET limit_nusd = 10 WHERE limit_nusd = 1000000", {"I4", "L1"}),
    "a second adjustment": (
        NEW_ENTRY.format(kind="'adjustment'", amount=1, whose="(SELECT max(inference_id) FROM settlements)"),
        {"I16"},
    ),
    "an adjustment deleted": ("DELETE FROM entries WHERE kind = 'adjustment'", {"I16", "C1"}),
    "an account deleted": ("DELETE FROM accounts WHERE name = 'team'", {"D1"}),
    "an account moved": ("UPDATE accounts SET path = json_array(account_id) WHERE name = 'team'", {"D1"}),
    "a path garbled": (f"UPDATE inferences SET account_path = '[' WHERE inference_id = {FIRST}", {"D1", "C1"}),
    "a key deleted": ("DELETE FROM keys", {"D1"}),
    "an entry moved to another account": (
        f"UPDATE entries SET account_id = (SELECT account_id FROM accounts WHERE name = 'other')"
        f" WHERE inference_id = {FIRST} AND kind = 'settle'",
        {"I2", "I3", "D1"},
    ),
    "an event's body changed": (
        "UPDATE audit_events SET body = replace(body, 'completed', 'shutdown!') WHERE kind = 'inference.closed'",
        {"I11", "A1"},
    ),
    "an event's kind changed": ("UPDATE audit_events SET kind = 'cap.lost' WHERE kind = 'cap.removed'", {"I11"}),
    "an event deleted": ("DELETE FROM audit_events WHERE kind = 'cap.removed'", {"I11"}),
    "a closing event deleted": (
        f"DELETE FROM audit_events WHERE kind = 'inference.closed' AND inference_id = {FIRST}",
        {"I1", "I11"},
    ),
    "the tail of a chain cut": (
        "DELETE FROM audit_events WHERE epoch = 3 AND seq = (SELECT max(seq) FROM audit_events WHERE epoch = 3)",
        {"I11"},
    ),
    "a whole chain deleted": ("DELETE FROM audit_events WHERE epoch = 3", {"I11"}),
    "a process that ended left something open": ("UPDATE instances SET ended_at = 1", {"I8"}),
    "a later gateway left something open": (
        "INSERT INTO instances (kind, started_at) VALUES ('gateway', 1)",
        {"I8", "I11"},
    ),
    "settled before it was opened": (
        f"UPDATE settlements SET epoch = 0 WHERE inference_id = {FIRST}",
        {"I9"},
    ),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_is_found_and_named(books, name):
    """Whatever is changed by hand breaks the invariants that it should, and no other."""
    statement, expected = CORRUPTIONS[name]
    books.sql("PRAGMA foreign_keys = OFF")
    books.sql("PRAGMA ignore_check_constraints = ON")
    books.sql(statement)
    assert names(books) == sorted(expected)


def test_a_finding_names_its_row(books):
    """What is shown is enough to look the row up, and says what should have held."""
    books.sql(f"UPDATE attempts SET cost_nusd = 7 WHERE inference_id = {FIRST}")
    finding = next(finding for finding in verify(books.tx) if finding.invariant == "I7")
    assert finding.row == {"inference_id": "inf000006", "attempt": 1, "cost_nusd": 7, "right_nusd": COST}
    assert finding.meaning.startswith("reported usage costs")


def test_as_many_rows_as_wanted(books):
    """However much is broken, only so many rows of each invariant are returned."""
    books.sql("UPDATE attempts SET cost_nusd = 7")
    assert len([finding for finding in verify(books.tx, most=2) if finding.invariant == "I7"]) == 2


@pytest.mark.parametrize("base", [1, 50_000])
def test_what_is_settled_at_what_its_hold_pays_for_is_sound(tmp_path, base):
    """An answer that was broken off, at a provider that bills on to its end: a count of ours, at its own cost."""
    books = Books(tmp_path)
    books.account("acme")
    inference_id = books.open(books.key("acme"), base=base)
    held = books.sql("SELECT held_nusd FROM holds")[0][0]
    usage = Usage(input_tokens=10, output_tokens=tokens_within(held - base, PRICE.dearest_output))
    settlement = books.close(
        inference_id,
        ending=Ending.CLIENT_DISCONNECTED,
        evidence=Evidence.METERED,
        usage=usage,
        cost_nusd=cost(PRICE, usage),
    )
    assert (settlement.settled_nusd > 50_000, settlement.overrun_nusd > 0) == (True, base == 1)
    assert names(books) == []
