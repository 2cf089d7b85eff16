"""From nothing to a wire."""

import socket
import ssl

import pytest
import trio

from ainf.inference.errors import UpstreamError
from ainf.upstream.connect import Connector
from ainf.upstream.origin import Origin
from ainf.upstream.proxy import Proxy
from ainf.upstream.tls import TlsWire, tls_context
from ainf.upstream.wire import Wire, tcp_dialer
from tests.upstream.loopback import Authority, serving
from tests.upstream.memory import LIMITS, MemoryNetwork

PLAIN = Origin("http", "provider.test", 8080)
SECURE = Origin("https", "provider.test", 443)
PROXY = Proxy("proxy.test", 3128)


def make_connector(dialer, *, proxy: Proxy | None = None, tls: ssl.SSLContext | None = None) -> Connector:
    return Connector(dialer, tls or tls_context(None), proxy, LIMITS)


async def test_a_plain_origin_is_dialled():
    """One wire, adopted at once."""
    network, adopted = MemoryNetwork(), []
    wire = await make_connector(network).connect(PLAIN, adopted.append)
    assert network.dialled == [("provider.test", 8080)]
    assert adopted == [wire] == network.wires


async def test_plain_requests_go_to_the_proxy_without_a_tunnel():
    """The proxy reads the whole URL from the request itself."""
    network = MemoryNetwork()
    await make_connector(network, proxy=PROXY).connect(PLAIN, lambda _: None)
    assert network.dialled == [("proxy.test", 3128)]
    assert network.wires[0].sent == b""


async def test_tls_goes_through_the_proxys_tunnel(tmp_path):
    """CONNECT first, then the provider's own certificate is what counts; every wire is adopted as it comes."""
    authority = Authority(tmp_path)
    asked = []

    async def proxy(stream):
        asked.append(await stream.receive_some())
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        inside = trio.SSLStream(stream, authority.server_context("provider.test"), server_side=True)
        await inside.send_all(b"hello from " + await inside.receive_some())

    adopted: list[Wire] = []
    async with serving(proxy) as port:
        connector = make_connector(tcp_dialer(LIMITS), proxy=Proxy("127.0.0.1", port), tls=tls_context(authority.file))
        wire = await connector.connect(SECURE, adopted.append)
        await wire.send_all(b"inside")
        assert await wire.receive_some(100) == b"hello from inside"
        assert asked[0].startswith(b"CONNECT provider.test:443 HTTP/1.1\r\n")
        assert len(adopted) == 2
        assert adopted[1] is wire
        assert isinstance(wire, TlsWire)
        wire.close()


async def refuse(host: str, port: int) -> Wire:
    await trio.lowlevel.checkpoint()
    raise ConnectionRefusedError(f"{host}:{port}")


async def speak_plain(host: str, port: int) -> Wire:
    wire = await MemoryNetwork()(host, port)
    wire.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    return wire


async def hang_up(host: str, port: int) -> Wire:
    wire = await MemoryNetwork()(host, port)
    wire.end()
    return wire


async def break_off(host: str, port: int) -> Wire:
    wire = await MemoryNetwork()(host, port)
    wire.reset()
    return wire


@pytest.mark.threat(73)
@pytest.mark.parametrize("dialer", [refuse, speak_plain, hang_up, break_off])
@pytest.mark.parametrize("proxy", [None, PROXY], ids=["direct", "proxy"])
async def test_whatever_goes_wrong_on_the_way_is_unreachable(dialer, proxy):
    """One code for refusal, reset and TLS failure; the message names no host."""
    with pytest.raises(UpstreamError) as caught:
        await make_connector(dialer, proxy=proxy).connect(SECURE, lambda _: None)
    assert caught.value.code == "upstream_unreachable"
    assert "test" not in caught.value.message


@pytest.mark.threat(73)
async def test_an_unknown_name_is_unreachable():
    """A name that cannot be resolved looks like a refusal."""

    class NoNames(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_args):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        async def getnameinfo(self, *_args):
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(NoNames())
    with pytest.raises(UpstreamError) as caught:
        await make_connector(tcp_dialer(LIMITS)).connect(PLAIN, lambda _: None)
    assert caught.value.code == "upstream_unreachable"
    assert "test" not in caught.value.message


@pytest.mark.threat(47, 73)
async def test_an_untrusted_certificate_is_unreachable(tmp_path):
    """Verification cannot be left out."""

    async def wait(stream):
        await stream.receive_some()

    adopted: list[Wire] = []
    async with serving(wait, Authority(tmp_path).server_context()) as port:
        with pytest.raises(UpstreamError) as caught:
            await make_connector(tcp_dialer(LIMITS)).connect(Origin("https", "127.0.0.1", port), adopted.append)
        assert caught.value.code == "upstream_unreachable"
        assert "127" not in caught.value.message
        adopted[-1].close()
