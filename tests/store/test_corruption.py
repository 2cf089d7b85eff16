"""Every way to corrupt a ledger by hand that we could think of: each is found, and named for what it is."""

import shutil

import apsw
import pytest

from ainf import audit
from ainf.audit import Head
from ainf.store.sqlite import SQLiteEngine
from ainf.store.transaction import Transaction
from ainf.store.verify import INVARIANTS, verify
from tests.store.rich import write_rich_books
from tests.store.routed_corruptions import ROUTED_CORRUPTIONS

SECRET = 'sk-canary-4711-"quoted"'
NEW_ENTRY = (
    "INSERT INTO entries (inference_id, kind, account_id, provider, amount_nusd, at)"
    " SELECT inference_id, {kind}, account_id, provider, {amount}, opened_at FROM inferences"
    " WHERE inference_id = {whose}"
)
CLOSED = "kind = 'inference.closed' AND inference_id = :plain"
FALSE_BODY = "replace(body, '\"settled_nusd\":44260', '\"settled_nusd\":44261')"

# What is done -> the statement, the invariant that is meant, and the others that are then broken too: exactly those.
# Names such as :plain are exchanges, accounts, keys and caps of the books.
CORRUPTIONS: dict[str, tuple[str, str, str]] = {
    # --- exchanges and their ends ---
    "a settlement deleted": ("DELETE FROM settlements WHERE inference_id = :plain", "I1", "I3 D1 E1"),
    "a hold resurrected": (
        "INSERT INTO holds (inference_id, epoch, key_id, held_nusd)"
        " SELECT inference_id, epoch, key_id, 5 FROM inferences WHERE inference_id = :plain",
        "I1", "I2 I8 I10 I14",
    ),
    "a hold deleted": ("DELETE FROM holds WHERE inference_id = :running_other", "I1", "I2 I14"),
    "a hold changed": ("UPDATE holds SET held_nusd = held_nusd + 1 WHERE inference_id = :running", "I2", "I14"),
    "a hold of nothing": (
        "INSERT INTO holds (inference_id, epoch, key_id, held_nusd) VALUES ('ghost', 4, :key, 0)", "D1", "I2",
    ),
    "a settlement's amount changed": (
        "UPDATE settlements SET settled_nusd = settled_nusd + 1 WHERE inference_id = :plain", "I5", "I3 I6 A1 S1",
    ),
    "an ending changed": ("UPDATE settlements SET ending = 'shutdown' WHERE inference_id = :plain", "I13", "A1"),
    "an ending that is none": ("UPDATE settlements SET ending = 'lost' WHERE inference_id = :plain", "I13", "A1"),
    "an error without a reason": ("UPDATE settlements SET error_code = NULL WHERE inference_id = :failed", "I13", "A1"),
    "an error code that is none": (
        "UPDATE settlements SET error_code = 'oops' WHERE inference_id = :failed", "I13", "A1",
    ),
    "a finish reason for who had left": (
        "UPDATE settlements SET finish_reason = 'stop' WHERE inference_id = :overrun", "I13", "A1",
    ),
    "an abandoned one called completed": (
        "UPDATE settlements SET ending = 'completed', finish_reason = 'stop' WHERE inference_id = :lost",
        "I9", "I16 A1",
    ),
    "evidence that is none": ("UPDATE settlements SET evidence = 'rumour' WHERE inference_id = :plain", "D3", "A1"),
    "a lack of evidence made up": ("UPDATE settlements SET evidence = 'none' WHERE inference_id = :plain", "S1", "A1"),
    "called empty": ("UPDATE settlements SET is_empty = 1 WHERE inference_id = :plain", "S4", "A1"),
    "an empty one called full": ("UPDATE settlements SET is_empty = 0 WHERE inference_id = :empty", "A1", ""),
    "a retry of what was later": ("UPDATE settlements SET retry_of = :last WHERE inference_id = :early", "S3", "A1"),
    "a retry of another account's": ("UPDATE settlements SET retry_of = :early WHERE inference_id = :last", "S3", "A1"),
    "a retry of nothing": ("UPDATE settlements SET retry_of = 'ghost' WHERE inference_id = :retry", "S3", "A1"),
    "a retry that is none": ("UPDATE settlements SET retry_of = NULL WHERE inference_id = :retry", "A1", ""),
    "visible bytes changed": ("UPDATE settlements SET received_bytes = 7 WHERE inference_id = :plain", "A1", ""),
    "settled before it was opened": ("UPDATE settlements SET epoch = 0 WHERE inference_id = :plain", "I9", "A1 D1"),
    "settled by another process": ("UPDATE settlements SET epoch = 3 WHERE inference_id = :plain", "I9", "A1"),
    "a reason to settle for another process taken away": (
        "UPDATE settlements SET notes = '{}' WHERE inference_id = :spooled", "I9", "A1",
    ),
    "opened by another process": ("UPDATE inferences SET epoch = 2 WHERE inference_id = :plain", "I9", "A1"),
    "opened by no process": ("UPDATE inferences SET epoch = 0 WHERE inference_id = :running", "D1", ""),
    "opened in another window": (
        "UPDATE inferences SET opened_at = opened_at - 3600000000 WHERE inference_id = :plain", "C2", "A1 E1",
    ),
    "opened before all calendars": (
        "UPDATE inferences SET opened_at = -9000000000000000000 WHERE inference_id = :plain", "C2", "A1 E1",
    ),
    "a model changed": ("UPDATE inferences SET model = 'large' WHERE inference_id = :running", "C2", ""),
    "an account path changed": (
        "UPDATE inferences SET account_path = json_array(:account_root, :account_agent) WHERE inference_id = :plain",
        "D1", "A1 C2",
    ),
    "an account path garbled": ("UPDATE inferences SET account_path = '[' WHERE inference_id = :plain", "D1", "A1 C2"),
    "moved to another key": ("UPDATE inferences SET key_id = :key_other WHERE inference_id = :running", "D1", "I10 C2"),
    "an exchange deleted": ("DELETE FROM inferences WHERE inference_id = :plain", "D1", "I3 C1 S5"),
    # --- entries ---
    "a hold's entry doubled": (
        NEW_ENTRY.format(kind="'hold'", amount=110000, whose=":plain"), "I5", "I2 I14 C1 C2 E1",
    ),
    "a hold's entry doubled of what runs": (NEW_ENTRY.format(kind="'hold'", amount=0, whose=":running"), "I2", "E1"),
    "a settlement's entry doubled": (
        NEW_ENTRY.format(kind="'settle'", amount=44260, whose=":plain"), "I5", "I2 I3 I4 I14 C1 E1",
    ),
    "an amount of an entry changed": (
        "UPDATE entries SET amount_nusd = amount_nusd - 1 WHERE kind = 'settle' AND inference_id = :plain",
        "I5", "I2 I3 I14 C1",
    ),
    "a release deleted": ("DELETE FROM entries WHERE kind = 'release' AND inference_id = :plain", "I5", "I2 I14 C1"),
    "an overrun deleted": ("DELETE FROM entries WHERE kind = 'overrun' AND inference_id = :overrun", "I5", "I3 C1"),
    "an amount turned round": (
        "UPDATE entries SET amount_nusd = -amount_nusd WHERE kind = 'extend' AND inference_id = :running",
        "E2", "I2 I14 C1",
    ),
    "an entry of a kind that is none": ("UPDATE entries SET kind = 'gift' WHERE kind = 'adjustment'", "D3", "I16 C1"),
    "an entry moved to another account": (
        "UPDATE entries SET account_id = :account_other WHERE inference_id = :plain AND kind = 'settle'", "D1", "I2 I3",
    ),
    "an entry moved to another provider": (
        "UPDATE entries SET provider = 'sim' WHERE inference_id = :plain AND kind = 'settle'", "D1", "",
    ),
    "an entry moved to another exchange": (
        "UPDATE entries SET inference_id = :empty WHERE inference_id = :plain AND kind = 'release'", "I5", "E1",
    ),
    "an entry moved in time": (
        "UPDATE entries SET at = at + 1 WHERE inference_id = :plain AND kind = 'hold'", "E1", "",
    ),
    "entries out of order": (
        "UPDATE entries SET seq = seq + 1000 WHERE inference_id = :last AND kind = 'hold'", "E1", "",
    ),
    "an adjustment doubled": (NEW_ENTRY.format(kind="'adjustment'", amount=1, whose=":lost"), "I16", "C1"),
    "an adjustment of what was not abandoned": (
        NEW_ENTRY.format(kind="'adjustment'", amount=1, whose=":last"), "I16", "C1",
    ),
    "an adjustment changed": (
        "UPDATE entries SET amount_nusd = amount_nusd + 1 WHERE kind = 'adjustment'", "I16", "C1",
    ),
    "an adjustment deleted": ("DELETE FROM entries WHERE kind = 'adjustment'", "I16", "C1"),
    # --- attempts and prices ---
    "an attempt's cost changed": (
        "UPDATE attempts SET cost_nusd = cost_nusd + 1 WHERE inference_id = :plain", "I7", "I6 A1 S1",
    ),
    "a counted attempt's cost changed": (
        "UPDATE attempts SET cost_nusd = cost_nusd + 1 WHERE inference_id = :lost", "S1", "I6 A1",
    ),
    "an attempt's usage changed": (
        "UPDATE attempts SET usage = json_set(usage, '$.cache_write_tokens', 60) WHERE inference_id = :plain",
        "I7", "A1",
    ),
    "an attempt's usage garbled": ("UPDATE attempts SET usage = '{' WHERE inference_id = :plain", "I7", "A1"),
    "a settlement's usage changed": (
        "UPDATE settlements SET output_tokens = 1 WHERE inference_id = :plain", "I7", "A1",
    ),
    "sound in a settlement": (
        "UPDATE settlements SET audio_output_tokens = 1 WHERE inference_id = :plain", "I7", "A1",
    ),
    "an attempt deleted": ("DELETE FROM attempts WHERE inference_id = :plain", "S1", "I6 A1"),
    "an attempt renumbered": ("UPDATE attempts SET number = 2 WHERE inference_id = :plain", "S2", "I12 S5"),
    "an attempt before its hold": ("UPDATE attempts SET started_at = 5 WHERE inference_id = :plain", "I12", "A1"),
    "an attempt that we are said to have broken off": (
        "UPDATE attempts SET aborted_billing = 'drain' WHERE inference_id = :plain", "I13", "A1",
    ),
    "an attempt of nothing": (
        "UPDATE attempts SET inference_id = 'ghost' WHERE inference_id = :plain", "D1", "I6 I12 A1 S1 S5",
    ),
    "a provider's word for it changed": (
        "UPDATE attempts SET raw_usage = '{}' WHERE inference_id = :plain", "A1", "",
    ),
    "a price changed": (
        """UPDATE prices SET body = replace(body, '"output":600000000', '"output":600000001')""", "P1", "I7",
    ),
    "a price's rate taken out": ("""UPDATE prices SET body = json_remove(body, '$.cache_write')""", "P1", "I7"),
    "a price garbled": ("UPDATE prices SET body = '[]'", "P1", "I7"),
    "a price deleted": ("DELETE FROM prices", "D1", "I7"),
    # --- caps, balances and counters ---
    "a counter changed": ("UPDATE counters SET settled_nusd = settled_nusd - 1 WHERE cap_id = :cap", "C1", ""),
    "a removed cap's counter changed": (
        "UPDATE counters SET settled_nusd = settled_nusd - 1 WHERE cap_id = :cap_key", "C1", "",
    ),
    "a past window's counter changed": (
        "UPDATE counters SET settled_nusd = 0 WHERE window_start = (SELECT min(window_start) FROM counters"
        " WHERE cap_id = :cap_hour) AND cap_id = :cap_hour",
        "C1", "",
    ),
    "a counter deleted": ("DELETE FROM counters WHERE cap_id = :cap_model", "C1", ""),
    "a counter of a window that never was": ("INSERT INTO counters VALUES (:cap_hour, 7, 1, 0)", "C1", ""),
    "a counter of nothing": ("INSERT INTO counters VALUES ('ghost', 0, 0, 0)", "D1", ""),
    "a balance's counter changed": ("UPDATE counters SET held_nusd = 0 WHERE cap_id = :balance", "C1", ""),
    "a limit changed": ("UPDATE caps SET limit_nusd = 10 WHERE cap_id = :cap_hour", "L1", ""),
    "a limit's history lowered": (
        "UPDATE cap_limits SET limit_nusd = 10 WHERE cap_id = :cap_hour AND limit_nusd = 100000000", "I4", "",
    ),
    "a limit and its history lowered": (
        "UPDATE cap_limits SET limit_nusd = 10 WHERE cap_id = :cap_model;"
        " UPDATE caps SET limit_nusd = 10 WHERE cap_id = :cap_model",
        "I4", "",
    ),
    "a cap's history deleted": ("DELETE FROM cap_limits WHERE cap_id = :cap_model", "L1", "C2"),
    "a limit moved behind later ones": (
        "UPDATE cap_limits SET after_seq = (SELECT max(seq) FROM entries) WHERE number = 1", "L2", "C2",
    ),
    "a cap removed in silence": ("UPDATE caps SET removed_at = 1 WHERE cap_id = :cap_hour", "L1", ""),
    "a cap deleted": ("DELETE FROM caps WHERE cap_id = :cap_model", "D1", "C2"),
    "a cap moved to another account": (
        "UPDATE caps SET subject_id = :account_other WHERE cap_id = :cap_model", "C2", "C1",
    ),
    "a cap moved to other models": ("UPDATE caps SET model = 'large*' WHERE cap_id = :cap_model", "C2", "C1"),
    "a cap's window changed": ("""UPDATE caps SET "window" = 'day' WHERE cap_id = :cap_hour""", "C2", "C1"),
    "a cap's window that is none": ("""UPDATE caps SET "window" = 'moon' WHERE cap_id = :cap_hour""", "D3", "C1 C2"),
    "a cap that never counted": ("UPDATE caps SET counts_from = 0 WHERE cap_id = :cap", "C1", ""),
    "caps of an exchange emptied": ("UPDATE inferences SET caps = '[]' WHERE inference_id = :running", "C2", "C1"),
    "caps of an exchange garbled": ("UPDATE inferences SET caps = '[[' WHERE inference_id = :running", "C2", "C1"),
    "a cap listed twice": (
        "UPDATE inferences SET caps = json_insert(caps, '$[#]', json_array(:cap, 0)) WHERE inference_id = :running",
        "C2", "",
    ),
    "another key's cap listed": (
        "UPDATE inferences SET caps = json_insert(caps, '$[#]', json_array(:cap_key_again, 0))"
        " WHERE inference_id = :running_other",
        "C2", "C1",
    ),
    "a cap that came while it ran left out": (
        "UPDATE inferences SET caps = '[]' WHERE inference_id = :running_other", "C2", "",
    ),
    "a balance left out": ("UPDATE inferences SET caps = '[]' WHERE inference_id = :prepaid", "C2", "A1 C1"),
    "a credit changed": ("UPDATE credits SET amount_nusd = amount_nusd + 1 WHERE kind = 'top_up'", "B1", ""),
    "a credit deleted": ("DELETE FROM credits WHERE kind = 'adjustment'", "B1", ""),
    "a credit of a cap": ("UPDATE credits SET cap_id = :cap WHERE kind = 'adjustment'", "D1", "B1"),
    # --- accounts and keys ---
    "an account deleted": ("DELETE FROM accounts WHERE account_id = :account_agent", "D1", ""),
    "an account moved": ("UPDATE accounts SET parent_id = :account_root WHERE account_id = :account_agent", "D2", ""),
    "a key deleted": ("DELETE FROM keys WHERE key_id = :key_other", "D1", ""),
    # --- idempotency keys ---
    "a claim moved to another exchange": (
        "UPDATE claims SET inference_id = :last WHERE idempotency_key = 'kept'", "I10", "D1",
    ),
    "a claim moved to another one of its key": (
        "UPDATE claims SET inference_id = :retry WHERE idempotency_key = 'kept'", "I10", "",
    ),
    "two claims of one exchange": (
        "UPDATE claims SET inference_id = :failed WHERE idempotency_key = 'large'", "I10", "",
    ),
    "a claim that runs on": (
        "UPDATE claims SET state = 'running', expires_at = NULL WHERE idempotency_key = 'freed'", "I10", "",
    ),
    "a running claim freed": (
        "UPDATE claims SET state = 'freed', expires_at = 1 WHERE idempotency_key = 'running'", "I10", "",
    ),
    "a claim's body forgotten": ("UPDATE claims SET fingerprint = x'' WHERE idempotency_key = 'kept'", "I10", ""),
    "a kept answer deleted": ("DELETE FROM answers", "I10", ""),
    "an answer that nobody claims": ("DELETE FROM claims WHERE idempotency_key = 'kept'", "I10", ""),
    # --- the audit trail ---
    "an event's body changed": (f"UPDATE audit_events SET body = {FALSE_BODY} WHERE {CLOSED}", "I11", "A1"),
    "a false body with its hash": (
        f"UPDATE audit_events SET body = {FALSE_BODY}, hash = digest(prev_hash, {FALSE_BODY}) WHERE {CLOSED}",
        "I11", "A1",
    ),
    "an event deleted": ("DELETE FROM audit_events WHERE kind = 'cap.removed'", "I11", ""),
    "a closing event deleted": (f"DELETE FROM audit_events WHERE {CLOSED}", "I1", "I11"),
    "an event's kind changed": ("UPDATE audit_events SET kind = 'cap.lost' WHERE kind = 'cap.removed'", "I11", ""),
    "events swapped": (
        "UPDATE audit_events SET seq = 1000 WHERE epoch = 1 AND seq = 4;"
        " UPDATE audit_events SET seq = 4 WHERE epoch = 1 AND seq = 5;"
        " UPDATE audit_events SET seq = 5 WHERE epoch = 1 AND seq = 1000",
        "I11", "",
    ),
    "the tail of a chain cut": (
        "DELETE FROM audit_events WHERE epoch = 3 AND seq = (SELECT max(seq) FROM audit_events WHERE epoch = 3)",
        "I11", "",
    ),
    "a whole chain deleted": ("DELETE FROM audit_events WHERE epoch = 3", "I11", ""),
    "an event's usage garbled": (
        f"UPDATE audit_events SET body = json_set(body, '$.usage', 'many') WHERE {CLOSED}", "A1", "I11",
    ),
    "an adjusting event deleted": ("DELETE FROM audit_events WHERE kind = 'inference.adjusted'", "I16", "I11"),
    # --- processes ---
    "a process that ended left something open": ("UPDATE instances SET ended_at = 1 WHERE epoch = 4", "I8", ""),
    "a later gateway left something open": (
        "INSERT INTO instances (kind, started_at) VALUES ('gateway', 1)", "I8", "I11",
    ),
    "a shared process that has long been silent left something open": (
        "UPDATE instances SET shared = TRUE, lease_boot = 'b', lease_until = iif(epoch = 4, 1, 180000002)"
        " WHERE kind = 'gateway'",
        "I8", "",
    ),
    "a process wrote behind its fence": (
        "UPDATE instances SET fenced_at = 1, fenced_seq = 1 WHERE epoch = 3", "I18", "",
    ),
    "a hold moved to another process": ("UPDATE holds SET epoch = 1 WHERE inference_id = :running", "I8", "D1"),
    # --- secrets ---
    "a secret in what a provider said": (
        "UPDATE attempts SET raw_usage = json_object('key', :secret) WHERE inference_id = :plain", "I17", "A1",
    ),
    "a secret in a kept answer": ("UPDATE answers SET body = CAST('data: ' || :secret AS BLOB)", "I17", ""),
    "a secret that names a row": (
        "UPDATE claims SET idempotency_key = :secret WHERE idempotency_key = 'freed'", "I17", "",
    ),
    **ROUTED_CORRUPTIONS,
}  # fmt: skip


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    return write_rich_books(tmp_path_factory.mktemp("books"))


@pytest.fixture
def books(rich, tmp_path):
    return Corruptible(shutil.copy(rich.path, tmp_path), rich.named)


class Corruptible:
    """A copy of the books that is changed by who asks no operation of the store."""

    def __init__(self, path, named):
        self.connection = apsw.Connection(str(path))
        self.connection.create_scalar_function("digest", audit.digest, 2, deterministic=True)
        self.connection.pragma("foreign_keys", "OFF")
        self.connection.pragma("ignore_check_constraints", "ON")
        self.named = {**named, "secret": SECRET}

    def corrupt(self, statements):
        before = self.connection.total_changes()
        for statement in statements.split("; "):
            self.connection.execute(statement, self.named)
        assert self.connection.total_changes() > before, "nothing was corrupted"

    def findings(self, **named):
        return verify(Transaction(SQLiteEngine(self.connection), Head(0)), secrets=[SECRET], **named)


def test_sound_books(books):
    """Overrun, lowered and removed caps, balances, claims, abandoned and adjusted ones, running ones break nothing."""
    assert books.findings() == []


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_it_is_found_and_named(books, name):
    """Whatever is changed by hand breaks the invariant that it should, those that follow from it, and no other."""
    statements, meant, others = CORRUPTIONS[name]
    books.corrupt(statements)
    findings = books.findings()
    assert {finding.invariant for finding in findings} == {meant, *others.split()}
    assert SECRET not in str(findings)


def test_every_invariant_has_been_broken():
    """There is none of which nobody knows whether it can be."""
    told = {name for _, meant, others in CORRUPTIONS.values() for name in (meant, *others.split())}
    assert {invariant.name for invariant in INVARIANTS} == told
