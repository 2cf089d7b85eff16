"""The checker of the ledger as a whole; what each invariant finds is tested in ``test_corruption.py``."""

import pytest

from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.pricing import cost, tokens_within
from ainf.store.verify import CHECKS, INVARIANTS, checks_of, verify
from tests.store import invariants_page
from tests.store.books import COST, PRICE, Books


@pytest.fixture
def books(tmp_path):
    """Books with three settled exchanges under a cap."""
    books = Books(tmp_path)
    books.account("acme")
    key = books.key("acme")
    books.cap(10**9, account="acme")
    for _ in range(3):
        books.close(books.open(key))
    return books


def test_empty_books(tmp_path):
    """A new database is sound."""
    assert verify(Books(tmp_path).tx) == []


def test_a_finding_names_its_row(books):
    """What is shown is enough to look the row up, and says what should have held."""
    books.sql("UPDATE attempts SET cost_nusd = 7 WHERE inference_id = 'inf000005'")
    finding = next(finding for finding in verify(books.tx) if finding.invariant == "I7")
    assert finding.row == {"inference_id": "inf000005", "attempt": 1, "cost_nusd": 7, "right_nusd": COST}
    assert finding.meaning.startswith("reported usage costs")


def test_as_many_rows_as_wanted(books):
    """However much is broken, only so many rows of each invariant are returned, also of those that share a walk."""
    books.sql("UPDATE attempts SET cost_nusd = 7")
    found = [finding.invariant for finding in verify(books.tx, most=2)]
    assert (found.count("I7"), found.count("A1"), found.count("S1")) == (2, 2, 2)


def test_only_what_is_asked_for(books):
    """The named invariants are checked, and what shares a walk with them is not told."""
    books.sql("UPDATE attempts SET cost_nusd = 7")
    assert {finding.invariant for finding in verify(books.tx, only={"I7", "C1"})} == {"I7"}
    assert {invariant.name for check in checks_of({"I7"}) for invariant in check.invariants} == {"I7", "A1", "R1"}
    assert checks_of() == CHECKS


def test_no_finding_shows_a_secret(books):
    """A secret that stands in a row which breaks something else too is masked there."""
    books.sql("UPDATE settlements SET finish_reason = 'sk-canary-4711', error_code = 'x'")
    findings = verify(books.tx, secrets=["sk-canary-4711"])
    assert {"I13", "I17"} <= {finding.invariant for finding in findings}
    assert "sk-canary" not in str(findings)


def test_progress(books):
    """Each check is told when it begins, and how many rows it reads then."""
    heard = []
    verify(books.tx, progress=lambda check, rows: heard.append((check, rows)))
    assert tuple(dict.fromkeys(check for check, _ in heard)) == CHECKS
    entries = books.sql("SELECT count(*) FROM entries")[0][0]
    (replay,) = checks_of({"I4"})
    assert (replay, entries) in heard


def test_names_are_in_order():
    """The common list comes first, in the order of its numbers, and then what is of this schema."""
    names = list(dict.fromkeys(invariant.name for invariant in INVARIANTS))
    assert names[:3] == ["I1", "I2", "I3"]
    assert names.index("I9") < names.index("I10") < names.index("I17") < names.index("A1") < names.index("S4")


def test_the_page_is_up_to_date():
    """docs/invariants.md lists every invariant; `python -m tests.store.invariants_page` writes it."""
    assert invariants_page.PAGE.read_text() == invariants_page.text()


@pytest.mark.parametrize("base", [1, 50_000])
def test_what_is_settled_at_what_its_hold_pays_for_is_sound(tmp_path, base):
    """An answer that was broken off, at a provider that bills on to its end: a count of ours, at its own cost."""
    books = Books(tmp_path)
    books.account("acme")
    inference_id = books.open(books.key("acme"), base=base)
    held = books.sql("SELECT held_nusd FROM holds")[0][0]
    usage = Usage(input_tokens=10, output_tokens=tokens_within(held - base, PRICE.dearest_output(10)))
    settlement = books.close(
        inference_id,
        ending=Ending.CLIENT_DISCONNECTED,
        evidence=Evidence.METERED,
        usage=usage,
        cost_nusd=cost(PRICE, usage),
    )
    assert (settlement.settled_nusd > 50_000, settlement.overrun_nusd > 0) == (True, base == 1)
    assert verify(books.tx) == []
