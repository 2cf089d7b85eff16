"""TLS: what is spoken, handshakes that fail, and disconnects."""

import socket
import ssl
import struct

import pytest
import trio
import trustme

from ainf.server.limits import TlsFiles

HELLO = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """Files for the server, and the context of a client that trusts them."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    files = TlsFiles(folder / "cert.pem", folder / "key.pem")
    files.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(files.key))
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    trust.set_alpn_protocols(["h2", "http/1.1"])
    return {"tls": files, "trust": trust}


async def test_tls(serve, tls):
    """TLS speaks HTTP/1.1, whatever the client would rather have, and tells the scheme."""
    bench = await serve(**tls)
    bench.app.go_on.set()
    wire = await bench.connect()
    assert wire.stream.selected_alpn_protocol() == "http/1.1"
    for path in ("/hello", "/ticks", "/hello"):
        await wire.get(path)
        assert (await wire.answer()).status == 200
    assert bench.app.scopes[0]["scheme"] == "https"


async def test_tls_bad_handshakes_touch_nothing_else(serve, tls):
    """Plain HTTP, noise, silence and a client with an old version fail alone, without a report."""
    bench = await serve(**tls, header_s=0.2)
    innocent = await bench.connect()
    await innocent.get("/ticks")
    for noise in (HELLO, b"\x16\x03\x01\x00\x05hello", b"\0" * 1000, b""):
        wire = await bench.connect(plain=True)
        if noise:
            await wire.send(noise)
        await wire.until_closed(1)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    stream = await trio.open_tcp_stream("127.0.0.1", bench.port)
    with pytest.raises(trio.BrokenResourceError):
        await trio.SSLStream(stream, old, https_compatible=True).do_handshake()
    await stream.aclose()
    bench.app.go_on.set()
    assert (await innocent.answer()).status == 200
    assert not bench.errors


@pytest.mark.parametrize("leave", ["close_notify", "fin", "rst"])
@pytest.mark.parametrize("path", ["/silent", "/flood"])
async def test_tls_disconnects(serve, tls, path, leave):
    """Over TLS a close_notify, an abrupt end and a reset are seen at once, also behind a stuck write."""
    bench = await serve(**tls)
    wire = await bench.connect()
    await wire.get(path)
    await bench.running()
    await trio.sleep(0.05)
    transport = wire.stream.transport_stream
    if leave == "close_notify":
        polite, wire.stream._https_compatible = wire.stream, False
        await polite.aclose()
    elif leave == "fin":
        await transport.aclose()
    else:
        transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.socket.close()
    await bench.sees_client_go()


async def test_tls_stalled_reader(serve, tls):
    """The write limit holds over TLS too."""
    bench = await serve(**tls, write_s=0.2)
    wire = await bench.connect()
    await wire.get("/flood")
    with trio.fail_after(1):
        await bench.app.gone.wait()
    await bench.sees_client_go()
