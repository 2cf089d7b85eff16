"""The search for providers' keys in the database."""

import pytest

from ainf.store.invariants import Reading
from ainf.store.leaks import LEAKS, without_secrets
from tests.store.books import Books

SECRET = 'sk-canary-"4711"'


@pytest.fixture
def books(tmp_path):
    books = Books(tmp_path)
    books.account("acme")
    books.close(books.open(books.key("acme")))
    return books


def found(books, *secrets, most=100):
    return [row for _, row in LEAKS.breaches(Reading(books.tx, most=most, secrets=secrets))]


def test_nothing_to_find(books):
    """Without secrets nothing is read; with some that stand nowhere nothing is found."""
    assert found(books) == found(books, SECRET) == []


@pytest.mark.parametrize("stored", [SECRET, f"Bearer {SECRET}!", 'sk-canary-\\"4711\\"'])
def test_a_text_that_holds_one(books, stored):
    """It is found within other text and as JSON writes it; table, column and row are told."""
    books.sql("UPDATE attempts SET provider_request_id = ?", stored)
    assert found(books, "sk-another-one", SECRET) == [
        {"table": "attempts", "column": "provider_request_id", "inference_id": "inf000003", "number": 1}
    ]


def test_a_blob_that_holds_one(books):
    """Behind a zero byte, and between bytes that are no text, it is found too."""
    books.sql("UPDATE keys SET digest = ?", b"\x00\xff" + SECRET.encode() + b"\xff")
    assert found(books, SECRET) == [{"table": "keys", "column": "digest", "key_id": "keyid000002"}]


def test_every_table_is_searched(books):
    """A text that stands in all of them is found in each that has rows; as many rows of each as are of interest."""
    tables = {row["table"] for row in found(books, "inf000003")}
    assert tables == {"attempts", "audit_events", "entries", "inferences", "settlements"}
    assert len(found(books, "inf000003", most=1)) == len(tables)


def test_what_is_too_short_to_be_a_key(books):
    """It would be found everywhere, and says nothing."""
    assert found(books, "acme", "") == []


def test_rows_are_told_without_secrets():
    """Every secret in a row's texts is masked, as it is and as JSON writes it; numbers stay."""
    row = {"number": 4711, "body": f'{SECRET} and sk-canary-\\"4711\\"', "other": None}
    assert without_secrets(row, [SECRET]) == {"number": 4711, "body": "*** and ***", "other": None}
