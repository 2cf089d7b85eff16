"""TLS over a wire."""

import ssl

import pytest
import trio

from ainf.upstream.tls import TlsWire, tls_context
from ainf.upstream.wire import SocketWire, tcp_dialer
from tests.upstream.loopback import Authority, serving
from tests.upstream.memory import LIMITS, MemoryWire


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


async def dial(port: int, context: ssl.SSLContext, host: str = "127.0.0.1") -> TlsWire:
    wire = TlsWire(await tcp_dialer(LIMITS)("127.0.0.1", port), context, host)
    try:
        await wire.handshake(65536)
    except BaseException:
        wire.close()
        raise
    return wire


async def test_bytes_go_both_ways_and_end(authority):
    """What is sent is decrypted there, what arrives is decrypted here, and the end is empty."""

    async def echo(stream):
        got = b""
        while len(got) < 100_000:
            got += await stream.receive_some()
        await stream.send_all(got)

    async with serving(echo, authority.server_context()) as port:
        wire = await dial(port, tls_context(authority.file))
        await wire.send_all(b"x" * 100_000)
        reads = []
        while data := await wire.receive_some(30_000):
            reads.append(data)
        assert b"".join(reads) == b"x" * 100_000
        assert max(map(len, reads)) <= 30_000
        assert await wire.receive_some(10) == b""
        wire.close()


@pytest.mark.threat(47, 73)
@pytest.mark.parametrize("case", ["unknown authority", "wrong host"])
async def test_a_peer_that_cannot_be_trusted_is_refused(authority, tmp_path_factory, case):
    """Verification is on: the authority must be ours and the certificate the host's."""

    async def wait(stream):
        await stream.receive_some()

    async with serving(wait, authority.server_context("other.test" if case == "wrong host" else "127.0.0.1")) as port:
        file = authority.file if case == "wrong host" else Authority(tmp_path_factory.mktemp("other")).file
        with pytest.raises(ssl.SSLCertVerificationError):
            await dial(port, tls_context(file))


async def test_the_public_authorities_are_not_in_a_context_with_its_own():
    """``ca_file`` replaces the bundle; without it the bundle is there; either context is built once."""
    assert len(tls_context(None).get_ca_certs()) > 50
    assert tls_context(None) is tls_context(None)


def test_a_context_with_its_own_authorities_has_only_those(authority):
    """One file with one certificate: one authority."""
    context = tls_context(authority.file)
    assert len(context.get_ca_certs()) == 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


async def test_plain_bytes_instead_of_tls_are_an_error():
    """A peer that answers the hello in HTTP does not get further."""
    below = MemoryWire()
    wire = TlsWire(below, tls_context(None), "a.test")
    below.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(ssl.SSLError):
        await wire.handshake(65536)
    wire.close()
    assert below.closed


async def test_an_end_in_the_handshake_is_an_error():
    """Half a handshake is not a connection; nothing can be taken from it."""
    below = MemoryWire()
    wire = TlsWire(below, tls_context(None), "a.test")
    below.end()
    with pytest.raises(ssl.SSLError):
        await wire.handshake(65536)
    assert wire.take(100) == b""


async def test_take_decrypts_what_had_arrived(authority):
    """What stood encrypted in the socket and what was decrypted but not handed out comes in order."""
    written = trio.Event()
    ended = trio.Event()

    async def write(stream):
        await stream.receive_some()
        await stream.send_all(b"a" * 20_000)
        await stream.send_all(b"b" * 1000)
        written.set()
        try:
            await stream.receive_some()
        finally:
            ended.set()

    async with serving(write, authority.server_context()) as port:
        wire = await dial(port, tls_context(authority.file))
        assert wire.is_quiet()
        await wire.send_all(b"go")
        await written.wait()
        assert await wire.receive_some(5) == b"aaaaa"
        assert not wire.is_quiet()
        assert wire.take(100_000) == b"a" * 19_995 + b"b" * 1000
        with trio.fail_after(5):
            await ended.wait()
        assert wire.take(10) == b""


async def test_what_was_decrypted_is_neither_overlooked_nor_lost(authority):
    """A wire whose socket is empty may still hold bytes: it is not quiet, and take returns them whatever its limit."""

    async def write(stream):
        await stream.receive_some()
        await stream.send_all(b"abcdef")
        await stream.receive_some()

    async with serving(write, authority.server_context()) as port:
        wire = await dial(port, tls_context(authority.file))
        await wire.send_all(b"go")
        assert await wire.receive_some(5) == b"abcde"
        assert wire._wire.is_quiet()
        assert not wire.is_quiet()
        assert wire.take(0) == b"f"


async def test_after_a_reply_of_the_tls_layer_the_request_counts_as_arrived(authority, monkeypatch):
    """What the wire below sent last is then not the request, so its answer says nothing about it."""

    async def write(stream):
        await stream.receive_some()
        await stream.send_all(b"x")
        await stream.receive_some()

    monkeypatch.setattr(SocketWire, "may_have_arrived", lambda _: False)
    async with serving(write, authority.server_context()) as port:
        wire = await dial(port, tls_context(authority.file))
        await wire.send_all(b"go")
        assert not wire.may_have_arrived()
        wire._leaving.write(b"as for a key update")
        assert await wire.receive_some(5) == b"x"
        assert wire.may_have_arrived()
        wire.close()


async def test_corrupted_records_break_the_wire(authority):
    """Bytes that do not decrypt are neither data nor an end; a take then has nothing and does not raise."""

    async def corrupt(stream):
        await stream.receive_some()
        await stream.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + b"junk" * 8)
        await stream.receive_some()

    async with serving(corrupt, authority.server_context()) as port:
        wire = await dial(port, tls_context(authority.file))
        await wire.send_all(b"go")
        with pytest.raises(trio.BrokenResourceError):
            await wire.receive_some(100)
        assert wire.take(100) == b""
