"""Accounts and keys, as an operator makes and ends them."""

import hashlib
import re

import pytest

from ainf.inference.errors import DownstreamError
from ainf.store.admin import (
    Account,
    close_account,
    create_account,
    create_key,
    digest_of,
    key_text,
    limit_key,
    list_accounts,
    list_keys,
    revoke_key,
)
from ainf.store.base import KeyLimits
from ainf.store.rights import KeyRights
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


@pytest.mark.threat("C7")
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


def test_limits_are_kept_and_changed(books):
    """A key is made with limits or without; each is changed alone, lifted by None, and told in the audit trail."""
    books.account("acme")
    key_id = books.key("acme", KeyRights(limits=KeyLimits(requests_per_minute=60), inject_cost=True))
    (key,) = list_keys(books.tx, "acme")
    assert (key.limits, key.inject_cost) == (KeyLimits(60, None, None), True)
    change = {"tokens_per_minute": 1000, "concurrent_streams": 3}
    assert books.run(limit_key, key_id=key_id, change=change, at=books.tick()) == KeyLimits(60, 1000, 3)
    lifted = books.run(limit_key, key_id=key_id, change={"requests_per_minute": None}, at=books.tick())
    assert lifted == list_keys(books.tx, "acme")[0].limits == KeyLimits(None, 1000, 3)
    assert events(books)[-2:] == ["key.limited", "key.limited"]
    told = books.sql("SELECT body FROM audit_events WHERE kind = 'key.limited' ORDER BY seq")[1][0]
    assert '"limits":{"concurrent_streams":3,"requests_per_minute":null,"tokens_per_minute":1000}' in told


def test_what_cannot_be_limited(books):
    """No key, one that is revoked, and a limit of nothing are refused."""
    books.account("acme")
    key_id = books.key("acme")
    with pytest.raises(DownstreamError, match="There is no key 'none'"):
        books.run(limit_key, key_id="none", change={}, at=1)
    with pytest.raises(DownstreamError, match="A limit of concurrent streams is at least 1"):
        books.run(limit_key, key_id=key_id, change={"concurrent_streams": 0}, at=1)
    books.run(revoke_key, key_id=key_id, at=books.tick())
    with pytest.raises(DownstreamError, match="is revoked already"):
        books.run(limit_key, key_id=key_id, change={"concurrent_streams": 1}, at=1)
    assert list_keys(books.tx, None)[0].limits == KeyLimits()


@pytest.fixture
def family(books):
    """Accounts root > team > agent and other; a key "maker" of the team with every right bounded."""
    for name, parent in (("root", None), ("team", "root"), ("agent", "team"), ("other", "root")):
        books.account(name, parent)
    rights = KeyRights(("gpt-*", "small"), ("/v1/inference",), books.at + 10**9, limits=KeyLimits(60, 1000, 2))
    return books.key("team", rights)


def made(books, account, maker, rights=None):
    key_id = books.new_id("keyid")
    return books.run(
        create_key,
        key_id=key_id,
        digest=key_id.encode(),
        account=account,
        rights=rights or KeyRights(),
        at=books.tick(),
        maker_key_id=maker,
    )


@pytest.mark.threat("C4")
def test_a_made_key_has_its_makers_rights(books, family):
    """What is not given is the maker's; how money is told is its own; list and audit trail name the maker."""
    maker = list_keys(books.tx, "team")[0]
    key = made(books, "agent", family, KeyRights(finish_reasons="loud", inject_cost=True))
    assert (key.models, key.endpoints, key.expires_at) == (maker.models, maker.endpoints, maker.expires_at)
    assert (key.limits, key.maker_key_id) == (maker.limits, family)
    assert (key.finish_reasons, key.inject_cost) == ("loud", True)
    assert list_keys(books.tx, "agent") == [key]
    told = books.sql("SELECT body FROM audit_events WHERE kind = 'key.created' ORDER BY seq")[-1][0]
    assert f'"maker_key_id":"{family}"' in told
    of_free = made(books, "agent", books.key("team"), KeyRights(models=("any",)))
    assert (of_free.models, of_free.endpoints, of_free.expires_at) == (("any",), None, None)


def test_less_than_the_maker_has_may_be_given(books, family):
    """It is taken as it is given, and a key that is made of that one has no more."""
    less = KeyRights(("gpt-5*",), ("/v1/inference",), books.at + 10**8, limits=KeyLimits(tokens_per_minute=1))
    key = made(books, "team", family, less)
    assert (key.models, key.expires_at, key.limits) == (("gpt-5*",), less.expires_at, KeyLimits(60, 1, 2))
    with pytest.raises(DownstreamError, match=r"no right to the models gpt-4\."):
        made(books, "agent", key.key_id, KeyRights(models=("gpt-4",)))


@pytest.mark.parametrize(
    ("account", "text"),
    [("root", "makes keys of the account 'team' and those below it only"), ("other", "makes keys of the account")],
)
def test_a_maker_stays_below_itself(books, family, account, text):
    """No key is made in an account beside or above the maker's."""
    with pytest.raises(DownstreamError, match=text):
        made(books, account, family)


def test_a_maker_must_be_valid(books, family):
    """Unknown, expired and revoked keys, and those of closed accounts, make none."""
    with pytest.raises(DownstreamError, match="There is no key 'none'"):
        made(books, "agent", "none")
    books.at += 10**9
    with pytest.raises(DownstreamError, match="is revoked or expired, and makes none"):
        made(books, "agent", family)
    books.at -= 10**9
    books.run(revoke_key, key_id=family, at=books.tick())
    with pytest.raises(DownstreamError, match="is revoked or expired, and makes none"):
        made(books, "agent", family)
    other = books.key("team")
    books.run(close_account, name="team", at=books.tick())
    with pytest.raises(DownstreamError, match="The account 'team' is closed"):
        made(books, "agent", other)


def test_a_made_key_is_not_limited_beyond_its_maker(books, family):
    """Later changes stay within what the maker has then; lifting a limit gives the maker's."""
    key = made(books, "agent", family, KeyRights(limits=KeyLimits(30, 500, 1)))
    with pytest.raises(DownstreamError, match="The limit of 61 requests per minute is higher than the 60 of the key"):
        books.run(limit_key, key_id=key.key_id, change={"requests_per_minute": 61}, at=books.tick())
    change = {"requests_per_minute": 60, "tokens_per_minute": None}
    assert books.run(limit_key, key_id=key.key_id, change=change, at=books.tick()) == KeyLimits(60, 1000, 1)


def test_what_is_not_changed_stays(books, family):
    """Also where it is above what the maker has now, or without a limit where the maker got one."""
    whole = {"requests_per_minute": None, "tokens_per_minute": None, "concurrent_streams": None}
    books.run(limit_key, key_id=family, change=whole | {"tokens_per_minute": 1000}, at=books.tick())
    key = made(books, "agent", family)
    books.run(limit_key, key_id=family, change={"requests_per_minute": 5, "tokens_per_minute": 50}, at=books.tick())
    lowered = books.run(limit_key, key_id=key.key_id, change={"concurrent_streams": 1}, at=books.tick())
    assert lowered == KeyLimits(None, 1000, 1)
    with pytest.raises(DownstreamError, match="The limit of 51 tokens per minute is higher than the 50"):
        books.run(limit_key, key_id=key.key_id, change={"tokens_per_minute": 51}, at=books.tick())


def test_revoking_with_what_was_made(books, family):
    """Revoking a maker leaves what it made, unless it is asked for: then all, however far down, each once."""
    child = made(books, "team", family).key_id
    grandchild = made(books, "agent", child).key_id
    gone = made(books, "agent", child).key_id
    stranger = made(books, "agent", books.key("team")).key_id
    books.run(revoke_key, key_id=gone, at=books.tick())
    assert books.run(revoke_key, key_id=family, at=books.tick()) == [family]
    assert standing_of(books.tx, child, books.at, model="m").valid
    assert books.run(revoke_key, key_id=family, at=books.tick(), with_made=True) == [child, grandchild]
    assert [standing_of(books.tx, key, books.at, model="m").valid for key in (child, grandchild, stranger)] == [
        False,
        False,
        True,
    ]
    assert events(books)[-2:] == ["key.revoked", "key.revoked"]
    with pytest.raises(DownstreamError, match="revoked already"):
        books.run(revoke_key, key_id=family, at=books.tick(), with_made=True)


def test_wrong_rights_write_nothing(books):
    """A key with a wrong right is not made."""
    books.account("acme")
    with pytest.raises(DownstreamError, match="The expiry is in the past"):
        books.key("acme", KeyRights(expires_at=1))
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
