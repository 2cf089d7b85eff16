"""Kinds of values whose edges the table of faults does not reach."""

import pytest

from ainf.config.values import ADDRESSES, BYTES_PER_TOKEN, NAMES, SHARE, STORE_URL, USD, Address, UnfitError


@pytest.mark.parametrize(("value", "expected"), [(4, 4000), (0.001, 1), (3.14, 3140), (1e2, 100_000)])
def test_thousandths_are_exact(value, expected):
    """A number with at most three decimals becomes an exact int of thousandths."""
    assert BYTES_PER_TOKEN.parse(value) == expected


@pytest.mark.parametrize("value", [0, -1, 0.0001, float("inf"), float("nan"), True, "4"])
def test_what_is_no_number_of_thousandths(value):
    """Zero, negatives, finer numbers, infinities, flags and texts are refused."""
    with pytest.raises(UnfitError):
        BYTES_PER_TOKEN.parse(value)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (1, 1000), (0.5, 500), (0.725, 725), (1.0, 1000), (-0.0, 0)])
def test_a_share(value, expected):
    """From nothing to all, both among it, in exact thousandths; it is shown as it would be written."""
    assert SHARE.parse(value) == expected
    assert SHARE.parse(float(SHARE.show(expected))) == expected


@pytest.mark.parametrize("value", [-0.001, 1.001, 0.0001, 2, float("nan"), float("inf"), -float("inf"), True, "0.5"])
def test_what_is_no_share(value):
    """Less than nothing, more than all, finer numbers, flags and texts are refused."""
    with pytest.raises(UnfitError, match="must be a number from 0 to 1 with at most three decimals"):
        SHARE.parse(value)


def test_names():
    """A name is what a client can send and a log can show: visible ASCII, not too long."""
    assert NAMES.parse(["ainf/auto", "~" * 128]) == ("ainf/auto", "~" * 128)
    for bad in ([""], ["a b"], ["\u00e9"], ["~" * 129], [1], "ainf/auto"):
        with pytest.raises(UnfitError):
            NAMES.parse(bad)


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
