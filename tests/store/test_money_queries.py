"""The queries of the ledger's money are well-formed; what they find is tested in ``test_corruption.py``."""

import pytest

from ainf.store.money_queries import MONEY
from tests.store.books import Books


@pytest.mark.parametrize("query", MONEY, ids=lambda query: f"{query.name}: {query.meaning}")
def test_queries_give_the_columns_that_they_name(tmp_path, query):
    """Each query runs, finds nothing in new books, and has as many columns as it names."""
    Books(tmp_path).check_columns(query)
