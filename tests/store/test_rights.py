"""Rights of keys: what is wrong with them, and what is within another key's."""

import pytest

from ainf.inference.errors import DownstreamError
from ainf.store.base import KeyLimits
from ainf.store.rights import KeyRights, check_rights, limits_within, within


@pytest.mark.parametrize(
    ("rights", "text"),
    [
        (KeyRights(finish_reasons="odd"), "Finish reasons are one of"),
        (KeyRights(money_refusal="403"), "A money refusal is one of"),
        (KeyRights(expires_at=5), "The expiry is in the past"),
        (KeyRights(expires_at=253_402_300_800_000_000), "The expiry is behind the year 9999"),
        (KeyRights(endpoints=("v1/inference",)), "No endpoint is named"),
        (KeyRights(limits=KeyLimits(requests_per_minute=0)), "A limit of requests per minute is at least 1"),
        (KeyRights(limits=KeyLimits(tokens_per_minute=-1)), "A limit of tokens per minute is at least 1"),
        (KeyRights(limits=KeyLimits(concurrent_streams=2**53 + 1)), "A limit of concurrent streams is at most"),
    ],
)
def test_wrong_rights(rights, text):
    """Each wrong right is refused by name."""
    with pytest.raises(DownstreamError, match=text):
        check_rights(rights, 5)


def test_rights_that_say_nothing_are_right():
    """All that is left open is allowed, and an expiry that is to come."""
    check_rights(KeyRights(expires_at=6), 5)
    check_rights(KeyRights(expires_at=253_402_300_799_999_999), 5)


@pytest.mark.parametrize(
    ("given", "maker", "found"),
    [
        (None, None, None),
        (None, ("a",), ("a",)),
        (("b",), None, ("b",)),
        (("gpt-4*", "gpt-5"), ("gpt-*",), ("gpt-4*", "gpt-5")),
        (("a*b",), ("a*",), ("a*b",)),
        (("*",), ("*",), ("*",)),
        (("a", "b"), ("b", "a", "c"), ("a", "b")),
        (("*",), ("gpt-*",), "*"),
        (("gpt*",), ("gpt-*",), "gpt*"),
        (("*b",), ("a*b",), "*b"),
        (("a", "b", "c"), ("a",), "b, c"),
        (("a",), (), "a"),
    ],
)
def test_models_are_within_the_makers(given, maker, found):
    """A name or pattern is within those that cover it as a text; what is not, is named."""
    rights, of = KeyRights(models=given), KeyRights(models=maker)
    if isinstance(found, str):
        with pytest.raises(DownstreamError) as refused:
            within(rights, of)
        assert refused.value.message == f"The key that makes it has no right to the models {found}."
    else:
        assert within(rights, of).models == found


@pytest.mark.parametrize(
    ("given", "maker", "text"),
    [
        (KeyRights(endpoints=("/a", "/b")), KeyRights(endpoints=("/a",)), "no right to the endpoints /b"),
        (KeyRights(expires_at=8), KeyRights(expires_at=7), "The expiry is later than that of the key that makes it"),
        (
            KeyRights(limits=KeyLimits(tokens_per_minute=8)),
            KeyRights(limits=KeyLimits(tokens_per_minute=7)),
            "The limit of 8 tokens per minute is higher than the 7 of the key that makes it",
        ),
    ],
)
def test_what_is_beyond_the_maker(given, maker, text):
    """Endpoints, expiry and limits beyond the maker's are refused by name; without the maker's bound they are not."""
    with pytest.raises(DownstreamError, match=text):
        within(given, maker)
    assert within(given, KeyRights()) == given
    assert within(maker, maker) == maker


def test_limits_are_the_least_of_both():
    """Where only one of the two limits, that one does."""
    assert limits_within(KeyLimits(1, None, None), KeyLimits(2, 3, None)) == KeyLimits(1, 3, None)
