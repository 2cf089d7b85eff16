"""A figure counts only if the ledger is exact."""

from collections import Counter

import apsw
import pytest

from benchmarks.books import Books, LedgerError, read_books

SCHEMA = """
CREATE TABLE inferences (inference_id); CREATE TABLE holds (inference_id);
CREATE TABLE settlements (inference_id, ending); CREATE TABLE audit_events (kind, inference_id);
"""


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "bench.db"
    connection = apsw.Connection(str(path))
    connection.execute(SCHEMA)
    for number, ending in enumerate(["completed", "completed", "client_disconnected"]):
        connection.execute("INSERT INTO inferences VALUES (?)", (number,))
        connection.execute("INSERT INTO settlements VALUES (?, ?)", (number, ending))
        connection.execute("INSERT INTO audit_events VALUES ('inference.closed', ?)", (number,))
    connection.execute("INSERT INTO inferences VALUES (9)")
    connection.execute("INSERT INTO holds VALUES (9)")
    connection.execute("INSERT INTO audit_events VALUES ('key.created', NULL)")
    connection.close()
    return path


def test_books_are_counts_of_what_was_opened_settled_and_audited(database):
    """The counts are by ending, and only closings count as audited."""
    assert read_books(database) == Books(4, 1, Counter(completed=2, client_disconnected=1), 3)


BEFORE = Books(10, 0, Counter(completed=10), 10)


def test_exact_books_pass():
    """Five requests, five settlements of the right ending, five audit events, nothing open."""
    Books(15, 0, Counter(completed=15), 15).check_since(BEFORE, requests=5, ending="completed")


@pytest.mark.parametrize(
    "after",
    [
        Books(15, 1, Counter(completed=14), 14),
        Books(15, 0, Counter(completed=14, upstream_error=1), 15),
        Books(15, 0, Counter(completed=15), 14),
        Books(16, 0, Counter(completed=16), 16),
        BEFORE,
    ],
)
def test_inexact_books_fail(after):
    """One left open, ended otherwise, without its audit event, or one too many, is an error."""
    with pytest.raises(LedgerError):
        after.check_since(BEFORE, requests=5, ending="completed")
