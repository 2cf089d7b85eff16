"""From nothing to a wire that an origin answers on."""

import ssl
from collections.abc import Callable

import attrs
import trio

from ainf.inference.errors import UpstreamError
from ainf.upstream.limits import UpstreamLimits
from ainf.upstream.origin import Origin
from ainf.upstream.proxy import Proxy, open_tunnel
from ainf.upstream.tls import TlsWire
from ainf.upstream.wire import Dialer, Wire


@attrs.frozen
class Connector:
    """Dials origins, through a proxy where there is one. Sets no time limit: its caller's scope does."""

    dialer: Dialer
    tls: ssl.SSLContext
    proxy: Proxy | None
    limits: UpstreamLimits

    async def connect(self, origin: Origin, adopt: Callable[[Wire], None]) -> Wire:
        """Return a wire to the origin, ready for a request.

        Every wire is handed to ``adopt`` as soon as it is there, so that another task can close it while this one
        waits; the adopter closes it also when this raises or is cancelled.

        Raises:
            UpstreamError: ``upstream_unreachable``; the message names no host.
            trio.ClosedResourceError: the adopter closed the wire.
        """
        host, port = (origin.host, origin.port) if self.proxy is None else (self.proxy.host, self.proxy.port)
        try:
            wire = await self.dialer(host, port)
            adopt(wire)
            if origin.scheme == "https":
                if self.proxy is not None:
                    await open_tunnel(wire, self.proxy, origin, self.limits)
                wire = secure = TlsWire(wire, self.tls, origin.host)
                adopt(wire)
                await secure.handshake(self.limits.read_bytes)
        except ssl.SSLError as exc:
            raise UpstreamError("upstream_unreachable", "No trusted TLS connection to the provider was made.") from exc
        except (OSError, trio.BrokenResourceError) as exc:
            raise UpstreamError("upstream_unreachable", "No connection to the provider could be made.") from exc
        return wire
