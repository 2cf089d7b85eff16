"""Who the client is behind proxies."""

import pytest

from ainf.server.forwarded import TrustedProxies

PROXIES = TrustedProxies(["10.0.0.0/8", "::1/128"])


@pytest.mark.threat(32)
@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ([], "10.0.0.1"),
        ([b"203.0.113.7"], "203.0.113.7"),
        ([b"6.6.6.6, 203.0.113.7"], "203.0.113.7"),
        ([b"203.0.113.7, 10.2.3.4"], "203.0.113.7"),
        ([b"6.6.6.6", b"203.0.113.7,10.2.3.4"], "203.0.113.7"),
        ([b"10.9.9.9"], "10.9.9.9"),
        ([b"203.0.113.7, nonsense"], "10.0.0.1"),
        ([b"nonsense, 203.0.113.7"], "203.0.113.7"),
        ([b"::ffff:203.0.113.7"], "203.0.113.7"),
        ([b"2001:db8::1"], "2001:db8::1"),
        ([b"\xff"], "10.0.0.1"),
    ],
)
def test_client_of(headers, client):
    """The client is the rightmost hop that is not a trusted proxy; nothing behind an odd entry is believed."""
    lines = [(b"host", b"a"), *((b"x-forwarded-for", line) for line in headers)]
    assert PROXIES.client_of("10.0.0.1", lines) == client


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("::1", True), ("11.0.0.1", False), ("", False)],
)
def test_contains(peer, trusted):
    """Membership follows the networks, also for IPv4 peers of a dual-stack listener."""
    assert (peer in PROXIES) is trusted


def test_a_wrong_network_is_an_error():
    """A misspelt network is refused at construction."""
    with pytest.raises(ValueError, match="not-a-network"):
        TrustedProxies(["not-a-network"])
