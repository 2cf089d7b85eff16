"""Kinds of values whose edges the table of faults does not reach."""

import pytest

from ainf.config.values import ADDRESSES, BYTES_PER_TOKEN, STORE_URL, USD, Address, UnfitError


@pytest.mark.parametrize(("value", "expected"), [(4, 4000), (0.001, 1), (3.14, 3140), (1e2, 100_000)])
def test_thousandths_are_exact(value, expected):
    """A number with at most three decimals becomes an exact int of thousandths."""
    assert BYTES_PER_TOKEN.parse(value) == expected


@pytest.mark.parametrize("value", [0, -1, 0.0001, float("inf"), float("nan"), True, "4"])
def test_what_is_no_number_of_thousandths(value):
    """Zero, negatives, finer numbers, infinities, flags and texts are refused."""
    with pytest.raises(UnfitError):
        BYTES_PER_TOKEN.parse(value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_wildcards(host):
    """Every-address is no address."""
    assert Address(host, 1).wildcard
    assert not Address("127.0.0.1", 1).wildcard


@pytest.mark.parametrize("value", [["::1:80"], ["a b:80"], [":80"], ["x:"], ["x:-1"], [80], None])
def test_what_is_no_address(value):
    """An address has a host and a port, an IPv6 host in brackets."""
    with pytest.raises(UnfitError):
        ADDRESSES.parse(value)


@pytest.mark.parametrize("value", ["sqlite:", "ainf.db", "sqlite", 5, ""])
def test_what_is_no_store(value):
    """Only a SQLite file is a store, so far."""
    with pytest.raises(UnfitError):
        STORE_URL.parse(value)


def test_an_amount_is_exact():
    """Dollars are a string, read to the nano-dollar and shown as they would stand in the file."""
    assert USD.parse("0.10") == 100_000_000
    assert USD.show(100_000_000) == '"0.1"'
    for bad in (0.1, "-1", "0.0000000001", "much", None):
        with pytest.raises(UnfitError, match=r"^must be an amount of USD"):
            USD.parse(bad)
