"""HTTP proxies: CONNECT for https origins, absolute-form requests for http ones (RFC 9110 9.3.6, RFC 9112 3.2.2)."""

import base64
from urllib.parse import unquote, urlsplit

import attrs

from ainf.inference.errors import UpstreamError
from ainf.inference.secret import Secret
from ainf.upstream.limits import UpstreamLimits
from ainf.upstream.origin import Origin
from ainf.upstream.response import ResponseReader
from ainf.upstream.wire import Wire


@attrs.frozen
class Proxy:
    """A proxy that is spoken to in plain HTTP."""

    host: str
    port: int
    authorization: Secret | None = None
    """The value of its header, where it wants one."""

    @classmethod
    def from_url(cls, url: str) -> "Proxy":
        """Read ``http://[user:password@]host[:port]``; the port is 3128 where it is left out.

        Raises:
            ValueError: any other URL.
        """
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path not in {"", "/"} or parts.query:
            raise ValueError("a proxy is http://[user:password@]host[:port]")
        authorization = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = Secret(b"Basic " + base64.b64encode(pair.encode()))
        return cls(parts.hostname, parts.port or 3128, authorization)

    def header_lines(self) -> tuple[bytes, ...]:
        """Return the lines that only the proxy is sent: its credentials are among them."""
        return () if self.authorization is None else (b"proxy-authorization: " + self.authorization.reveal(),)


async def open_tunnel(wire: Wire, proxy: Proxy, origin: Origin, limits: UpstreamLimits) -> None:
    """Ask the proxy on this wire for a tunnel to the origin.

    Raises:
        UpstreamError: ``upstream_unreachable``: it refuses or does not speak HTTP.
        trio.BrokenResourceError: the wire broke.
    """
    authority = origin.authority.encode("ascii")
    lines = (b"CONNECT %b HTTP/1.1" % authority, b"host: " + authority, *proxy.header_lines(), b"", b"")
    await wire.send_all(b"\r\n".join(lines))
    reader = ResponseReader(header_bytes=limits.header_bytes)
    while reader.head is None:
        if reader.failure is not None:
            raise _refused() from reader.failure
        data = await wire.receive_some(limits.read_bytes)
        if data:
            reader.receive(data)
        else:
            reader.receive_eof()
    # The tunnel begins behind the head, and in it the client speaks first: bytes already here are not the origin's.
    if not 200 <= reader.head.status < 300 or reader.failure is not None or reader.take_body():
        raise _refused()


def _refused() -> UpstreamError:
    return UpstreamError("upstream_unreachable", "The proxy on the way to the provider refused the connection.")
