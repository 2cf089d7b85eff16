"""Proxies and their tunnels."""

import pytest
import trio

from ainf.inference.errors import UpstreamError
from ainf.upstream.origin import Origin
from ainf.upstream.proxy import Proxy, open_tunnel
from tests.upstream.memory import LIMITS, MemoryWire

ORIGIN = Origin("https", "provider.test", 443)


def test_a_proxy_is_read_from_its_url():
    """Host, port and credentials; the credentials are percent-decoded and not shown."""
    proxy = Proxy.from_url("http://me:p%40ss@proxy.test:8080/")
    assert (proxy.host, proxy.port) == ("proxy.test", 8080)
    assert proxy.header_lines() == (b"proxy-authorization: Basic bWU6cEBzcw==",)
    assert "bWU" not in repr(proxy)
    assert Proxy.from_url("http://proxy.test") == Proxy("proxy.test", 3128)


@pytest.mark.parametrize("url", ["https://a.test", "socks5://a.test:1", "a.test:80", "http://", "http://a.test/path"])
def test_other_proxies_are_refused(url):
    """What we do not speak is an error at start, not at the first call."""
    with pytest.raises(ValueError, match="proxy"):
        Proxy.from_url(url)


async def test_a_tunnel_is_asked_for_by_connect():
    """The proxy gets the authority and its own credentials; a 2xx opens the tunnel, whatever lengths it declares."""
    wire = MemoryWire()
    wire.say(b"HTTP/1.1 200 Connection established\r\ncontent-length: 5\r\n\r\n")
    await open_tunnel(wire, Proxy.from_url("http://me:pass@proxy.test"), ORIGIN, LIMITS)
    assert wire.sent == (
        b"CONNECT provider.test:443 HTTP/1.1\r\nhost: provider.test:443\r\n"
        b"proxy-authorization: Basic bWU6cGFzcw==\r\n\r\n"
    )
    assert not wire.closed


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 502 provider.test is away\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * LIMITS.header_bytes * 2,
        b"",
    ],
    ids=["credentials", "status", "garbage", "early bytes", "endless head", "end"],
)
async def test_a_proxy_that_refuses_makes_the_provider_unreachable(answer):
    """Every other answer is upstream_unreachable, and its text names nobody."""
    wire = MemoryWire()
    wire.say(answer)
    wire.end()
    with pytest.raises(UpstreamError) as caught:
        await open_tunnel(wire, Proxy("proxy.test", 3128), ORIGIN, LIMITS)
    assert caught.value.code == "upstream_unreachable"
    assert "test" not in caught.value.message


async def test_a_proxy_that_breaks_is_a_broken_wire():
    """The connector says what that means."""
    wire = MemoryWire()
    wire.reset()
    with pytest.raises(trio.BrokenResourceError):
        await open_tunnel(wire, Proxy("proxy.test", 3128), ORIGIN, LIMITS)
