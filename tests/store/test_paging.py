"""Walking a table in pages."""

import pytest

from ainf.store import paging
from ainf.store.paging import walk
from tests.store.books import Books


class Counting:
    """A transaction that counts its statements."""

    def __init__(self, tx):
        self.tx = tx
        self.statements = 0

    def execute(self, sql, parameters=()):
        self.statements += 1
        return self.tx.execute(sql, parameters)


@pytest.mark.parametrize(("rows", "pages"), [(0, 1), (1, 1), (9, 1), (10, 2), (11, 2), (30, 4)])
def test_every_row_once_a_page_at_a_time(tmp_path, monkeypatch, rows, pages):
    """However many rows there are, each comes once, in order, and no more than a page is held."""
    monkeypatch.setattr(paging, "PAGE_ROWS", 10)
    books = Books(tmp_path)
    for number in range(rows):
        books.sql("INSERT INTO prices VALUES (?, 'x')", f"{number:03d}")
    tx = Counting(books.tx)
    sql = "SELECT price_version FROM prices WHERE price_version > ? ORDER BY price_version LIMIT ?"
    assert [row[0] for row in walk(tx, sql, ("",))] == [f"{number:03d}" for number in range(rows)]
    assert tx.statements == pages
