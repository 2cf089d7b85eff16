"""The words of the checker: a query as a check, and who hears how far one has come."""

from ainf.store.invariants import Invariant, Query, Reading
from tests.store.books import Books

QUERY = Query("X1", "nothing is numbered", ("number",), "SELECT column1 FROM (VALUES (1), (2), (3))")


def test_a_query_is_a_check(tmp_path):
    """Each row that comes back breaks its invariant, under the names of its columns; no more than are of interest."""
    check = QUERY.check()
    assert check.invariants == (Invariant("X1", "nothing is numbered"),)
    breaches = list(check.breaches(Reading(Books(tmp_path).tx, most=2)))
    assert breaches == [(check.invariants[0], {"number": 1}), (check.invariants[0], {"number": 2})]


def test_who_listens_hears_of_every_page(tmp_path):
    """The rows that a walk reads are told as they come, also that there were none."""
    books, heard = Books(tmp_path), []
    reading = Reading(books.tx, on_rows=heard.append)
    sql = "SELECT account_id FROM accounts WHERE account_id > ? ORDER BY account_id LIMIT ?"
    assert list(reading.walk(sql, ("",))) == []
    books.account("acme")
    assert len(list(reading.walk(sql, ("",)))) == 1
    assert heard == [0, 1]
