"""What one client may take: time, bytes and connections; and the files that make a listener speak TLS."""

from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class ServerLimits:
    """Limits of the listening side, per connection unless they say otherwise. Names end in their unit."""

    write_s: float = 20.0
    """A client that takes no byte of a waiting write for this long is gone. One that reads slowly is not."""
    header_s: float = 10.0
    """From the first byte of a request to the end of its head (and for a TLS handshake)."""
    idle_s: float = 15.0
    """A connection on which no request has begun is closed after this long."""
    body_s: float = 60.0
    """From the end of the head to the end of the body, however steadily it comes."""
    body_min_rate: float = 512.0
    """Bytes per second that a body must average once ``body_grace_s`` have passed."""
    body_grace_s: float = 10.0
    linger_s: float = 1.0
    """How long a connection that we close goes on being read (and dropped), so that a reset does not eat the answer."""
    body_bytes: int = 10 * 1024 * 1024
    header_bytes: int = 65536
    header_lines: int = 100
    target_bytes: int = 8192
    read_ahead_bytes: int = 65536
    """What a client may send beyond its running request before it is cut: pipelined requests and stray bytes."""
    connections: int = 2000
    """Open connections in all."""
    connections_per_peer: int = 1000
    """Open connections per address. Trusted proxies are exempt, for they speak for many; loopback is not."""


@attrs.frozen
class TlsFiles:
    """A certificate chain and its key, both PEM."""

    cert: Path
    key: Path
