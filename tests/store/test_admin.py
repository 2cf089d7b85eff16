"""Accounts and keys, as an operator makes and ends them."""

import hashlib
import re

import pytest

from ainf.inference.errors import DownstreamError
from ainf.store.admin import (
    Account,
    KeyRights,
    close_account,
    create_account,
    digest_of,
    key_text,
    list_accounts,
    list_keys,
    revoke_key,
)
from ainf.store.standing import standing_of
from tests.store.books import SECRET, Books


@pytest.fixture
def books(tmp_path):
    return Books(tmp_path)


def events(books):
    return [row[0] for row in books.sql("SELECT kind FROM audit_events ORDER BY epoch, seq")][1:]


def test_accounts_form_a_tree(books):
    """Each account knows its path from the root, and is listed with its parent's name."""
    root, team = books.account("acme"), books.account("acme.team-1", "acme")
    assert books.sql("SELECT path FROM accounts ORDER BY created_at") == [(f'["{root}"]',), (f'["{root}","{team}"]',)]
    listed = list_accounts(books.tx)
    assert [(account.name, account.parent, account.closed_at) for account in listed] == [
        ("acme", None, None),
        ("acme.team-1", "acme", None),
    ]
    assert isinstance(listed[0], Account)
    assert events(books) == ["account.created", "account.created"]


@pytest.mark.parametrize("name", ["", "A", "a b", "a/b", "x" * 65, "\u00e4", "a\n"])
def test_what_is_no_account_name(books, name):
    """A name is 1 to 64 characters of a small set; anything else is refused and writes nothing."""
    with pytest.raises(DownstreamError, match="The account name"):
        books.account(name)
    assert list_accounts(books.tx) == []
    assert events(books) == []


def test_names_are_unique_for_ever(books):
    """A closed account keeps its name."""
    books.account("acme")
    books.run(close_account, name="acme", at=books.tick())
    with pytest.raises(DownstreamError, match="There is an account 'acme' already"):
        books.account("acme")


def test_nothing_is_made_below_a_closed_account(books):
    """Neither an account nor a key can be made where any account above is closed."""
    books.account("root")
    books.account("team", "root")
    books.account("agent", "team")
    books.run(close_account, name="root", at=books.tick())
    with pytest.raises(DownstreamError, match="The account 'root' is closed"):
        books.account("other", "agent")
    with pytest.raises(DownstreamError, match="The account 'root' is closed"):
        books.key("agent")


def test_closing_an_account_stops_the_keys_below_it(books):
    """The keys are not revoked, but none on the path is valid any more."""
    books.account("root")
    books.account("team", "root")
    key_id = books.key("team")
    assert standing_of(books.tx, key_id, books.at, model="m").valid
    books.run(close_account, name="root", at=books.tick())
    assert not standing_of(books.tx, key_id, books.at, model="m").valid
    assert list_keys(books.tx, None)[0].revoked_at is None
    with pytest.raises(DownstreamError, match="closed already"):
        books.run(close_account, name="root", at=books.tick())


def test_unknown_accounts_are_named(books):
    """A name that is none says so, whatever was to be done with it."""
    with pytest.raises(DownstreamError, match="There is no account 'none'"):
        books.run(create_account, account_id="a", name="x", parent="none", at=1)
    with pytest.raises(DownstreamError, match="There is no account 'none'"):
        books.run(close_account, name="none", at=1)
    with pytest.raises(DownstreamError, match="There is no account 'none'"):
        books.key("none")
    with pytest.raises(DownstreamError, match="There is no account 'none'"):
        list_keys(books.tx, "none")


def test_a_key_is_stored_as_its_digest_only(books, tmp_path):
    """The secret is nowhere in the database, not even in the audit trail; the digest finds the key."""
    books.account("acme")
    key_id = books.key("acme")
    text = key_text(key_id, SECRET)
    assert re.fullmatch(r"ainf_[a-z0-9]+_[a-z2-7]{40}", text)
    assert digest_of(text) == hashlib.sha256(text.encode()).digest()
    assert books.sql("SELECT key_id FROM keys WHERE digest = ?", digest_of(text)) == [(key_id,)]
    secret = text.rsplit("_", 1)[1].encode()
    books.engine.close()
    assert not [path for path in tmp_path.iterdir() if secret in path.read_bytes()]


def test_a_short_secret_is_a_bug():
    """Fewer than 192 bits never make a key."""
    with pytest.raises(AssertionError):
        key_text("abcdefgh", b"x" * 23)


def test_rights_are_kept(books):
    """Models, endpoints, expiry and how money shows are listed as they were given."""
    books.account("acme")
    rights = KeyRights(("m1", "m2"), ("/v1/inference",), books.at + 10**6, "strict", "429")
    key_id = books.key("acme", rights)
    books.account("other")
    books.key("other")
    (key,) = list_keys(books.tx, "acme")
    assert (key.key_id, key.account, key.models, key.endpoints) == (key_id, "acme", ("m1", "m2"), ("/v1/inference",))
    assert (key.finish_reasons, key.money_refusal, key.expires_at) == ("strict", "429", rights.expires_at)
    assert len(list_keys(books.tx, None)) == 2
    assert standing_of(books.tx, key_id, rights.expires_at - 1, model="m").valid
    assert not standing_of(books.tx, key_id, rights.expires_at, model="m").valid


@pytest.mark.parametrize(
    ("rights", "text"),
    [
        (KeyRights(finish_reasons="odd"), "Finish reasons are one of"),
        (KeyRights(money_refusal="403"), "A money refusal is one of"),
        (KeyRights(expires_at=1), "The expiry is in the past"),
        (KeyRights(endpoints=("v1/inference",)), "No endpoint is named"),
    ],
)
def test_wrong_rights(books, rights, text):
    """Each wrong right is refused by name."""
    books.account("acme")
    with pytest.raises(DownstreamError, match=text):
        books.key("acme", rights)
    assert list_keys(books.tx, None) == []


def test_revoking(books):
    """A revoked key is no longer valid; revoking twice, or what is no key, is refused."""
    books.account("acme")
    key_id = books.key("acme")
    books.run(revoke_key, key_id=key_id, at=books.tick())
    assert not standing_of(books.tx, key_id, books.at, model="m").valid
    assert events(books) == ["account.created", "key.created", "key.revoked"]
    with pytest.raises(DownstreamError, match="revoked already"):
        books.run(revoke_key, key_id=key_id, at=books.tick())
    with pytest.raises(DownstreamError, match="There is no key 'none'"):
        books.run(revoke_key, key_id="none", at=books.tick())
