"""TLS over a wire, without I/O of its own: what a wire took before it closed can still be decrypted."""

import functools
import ssl

import httpx
import trio

from ainf.upstream.wire import Wire


@functools.cache
def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return the context of all connections that trust the same authorities; built once, since that takes 60 ms.

    Args:
        ca_file: a PEM file of the authorities to trust *instead of* the bundled public ones.

    Raises:
        OSError: the file cannot be read or holds no certificate.
    """
    if ca_file is None:
        context = httpx.create_ssl_context(trust_env=False)
    else:
        context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


# Strategy: an SSLObject over two memory buffers. Receiving reads it until it wants more, then fetches more from the
# wire below. One task uses a wire at a time, so no locks; closing only touches the wire below.
class TlsWire:
    """A wire that encrypts what goes over the wire below.

    The peer's end counts with or without a ``close_notify``: many providers send none, and what was an end is decided
    by the framing and the format above.
    """

    __slots__ = ("_arriving", "_leaving", "_object", "_replied", "_wire")

    def __init__(self, wire: Wire, context: ssl.SSLContext, host: str) -> None:
        self._wire = wire
        self._arriving = ssl.MemoryBIO()
        self._leaving = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._arriving, self._leaving, server_hostname=host)
        self._replied = False

    async def handshake(self, read_bytes: int) -> None:
        """Shake hands; must have returned before anything else but closing.

        Raises:
            ssl.SSLError: the peer cannot be trusted or does not speak TLS.
        """
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                self._feed(await self._wire.receive_some(read_bytes))
            else:
                await self._flush()
                return

    async def send_all(self, data: bytes) -> None:
        """See ``Wire``."""
        self._replied = False
        try:
            self._object.write(data)
        except ssl.SSLError as exc:
            raise trio.BrokenResourceError("TLS") from exc
        await self._flush()

    async def receive_some(self, max_bytes: int) -> bytes:
        """See ``Wire``."""
        while True:
            try:
                data = self._read(max_bytes)
            except ssl.SSLWantReadError:
                self._feed(await self._wire.receive_some(max_bytes))
                continue
            except ssl.SSLError as exc:
                raise trio.BrokenResourceError("TLS") from exc
            if self._leaving.pending:  # an answer of the TLS layer itself, such as to a key update
                self._replied = True
                await self._flush()
            return data

    def is_quiet(self) -> bool:
        """See ``Wire``."""
        return self._wire.is_quiet() and not self._arriving.pending and not self._object.pending()

    def may_have_arrived(self) -> bool:
        """See ``Wire``."""
        return self._replied or self._wire.may_have_arrived()

    def take(self, max_bytes: int) -> bytes:
        """See ``Wire``. Nothing can be had before the handshake is done."""
        self._feed(self._wire.take(max_bytes))
        try:
            return self._read(max_bytes + self._arriving.pending + self._object.pending())
        except ssl.SSLError:
            return b""

    def close(self) -> None:
        """See ``Wire``. Sends no ``close_notify``: that could wait, and HTTP frames itself."""
        self._wire.close()

    def _read(self, max_bytes: int) -> bytes:
        """Return what can be decrypted now: one record after the other, ``b""`` at the end.

        Raises:
            ssl.SSLError: nothing can be; ``SSLWantReadError`` when more has to come first.
        """
        parts: list[bytes] = []
        left = max_bytes
        try:
            while left > 0 and (data := self._object.read(left)):
                parts.append(data)
                left -= len(data)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            pass
        except ssl.SSLError:
            if not parts:
                raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _feed(self, data: bytes) -> None:
        if data:
            self._arriving.write(data)
        else:
            self._arriving.write_eof()

    async def _flush(self) -> None:
        if self._leaving.pending:
            await self._wire.send_all(self._leaving.read())
