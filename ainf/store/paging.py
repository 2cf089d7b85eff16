"""Walking a large table in pieces, so that memory stays bounded however long the ledger has grown."""

from collections.abc import Callable, Iterator

from ainf.store.transaction import Parameters, Row, Transaction

PAGE_ROWS = 1000


def walk(tx: Transaction, sql: str, start: Parameters, on_page: Callable[[int], None] | None = None) -> Iterator[Row]:
    """Yield the rows of a query, a page at a time.

    Args:
        tx: a transaction that sees one state of the database throughout.
        sql: a query whose first columns are its key. It returns what is greater than the key that is its parameters,
            in the key's order, and ends in ``LIMIT ?``.
        start: a key less than all.
        on_page: is told how many rows each page has, before they are yielded.
    """
    key = tuple(start)
    while True:
        page = tx.execute(sql, (*key, PAGE_ROWS))
        if on_page is not None:
            on_page(len(page))
        yield from page
        if len(page) < PAGE_ROWS:
            return
        key = page[-1][: len(key)]
