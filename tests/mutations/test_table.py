"""The table of breakages: fit for the code as it is, and shown in the documentation."""

from collections import Counter

import pytest

from tests.mutations.mutation import PAGE, ROOT, page
from tests.mutations.table import MUTATIONS


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_what_is_broken_stands_there_once(mutation):
    """Whoever changes a line that a breakage is about sees that it is to be told anew; so are tests that are gone."""
    text = (ROOT / "ainf" / mutation.file).read_text()
    assert text.count(mutation.old) == 1
    compile(text.replace(mutation.old, mutation.new), mutation.file, "exec")
    for test in mutation.tests:
        file, _, rest = test.partition("::")
        assert f"def {rest.partition('[')[0]}(" in (ROOT / file).read_text() if rest else (ROOT / file).exists()


def test_a_breakage_has_a_name_of_its_own():
    """So that one can be asked for."""
    assert Counter(mutation.name for mutation in MUTATIONS).most_common(1)[0][1] == 1


def test_every_law_is_broken():
    """L1 to L9: none is without a test that would see it broken."""
    assert {mutation.law for mutation in MUTATIONS} == {f"L{number}" for number in range(1, 10)}


def test_the_page_is_in_step():
    """docs/mutations.md is what `make mutations` writes of the table."""
    assert PAGE.read_text() == page(MUTATIONS)
