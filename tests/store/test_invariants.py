"""The queries of the checker are well-formed; what they find is tested with ``verify``."""

import pytest

from ainf.store.invariants import QUERIES
from tests.store.books import Books


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.name}: {query.meaning}")
def test_queries_give_the_columns_that_they_name(tmp_path, query):
    """Each query runs, and has as many columns as it names."""
    books = Books(tmp_path)
    width = len(query.columns)
    marks = ", ".join("?" * width)
    union = f"SELECT * FROM ({query.sql}) UNION ALL VALUES ({marks})"
    assert books.sql(union, *query.columns) == [query.columns]
