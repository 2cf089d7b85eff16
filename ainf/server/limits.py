"""What one client may take: time, bytes and connections; and the files that make a listener speak TLS."""

from pathlib import Path

import attrs

_positive = attrs.validators.gt(0)


@attrs.frozen(kw_only=True)
class ServerLimits:
    """Limits of the listening side, per connection unless they say otherwise. Names end in their unit.

    There are no defaults: those of the settings (``ainf.config.schema``) are the only ones.
    """

    write_s: float = attrs.field(validator=_positive)
    """A client that takes no byte of a waiting write for this long is gone. One that reads slowly is not."""
    header_s: float = attrs.field(validator=_positive)
    """From the first byte of a request to the end of its head (and for a TLS handshake)."""
    idle_s: float = attrs.field(validator=_positive)
    """A connection on which no request has begun is closed after this long."""
    body_s: float = attrs.field(validator=_positive)
    """From the end of the head to the end of the body, however steadily it comes."""
    body_min_bytes_per_s: float = attrs.field(validator=_positive)
    """What a body must average once ``body_grace_s`` have passed."""
    body_grace_s: float = attrs.field(validator=_positive)
    linger_s: float = attrs.field(validator=_positive)
    """How long a connection that we close goes on being read (and dropped), so that a reset does not eat the answer."""
    body_bytes: int = attrs.field(validator=_positive)
    header_bytes: int = attrs.field(validator=_positive)
    header_lines: int = attrs.field(validator=_positive)
    target_bytes: int = attrs.field(validator=_positive)
    read_ahead_bytes: int = attrs.field(validator=_positive)
    """What a client may send beyond its running request before it is cut: pipelined requests and stray bytes."""
    connections: int = attrs.field(validator=_positive)
    """Open connections in all."""
    connections_per_peer: int = attrs.field(validator=_positive)
    """Open connections per address. Trusted proxies are exempt, for they speak for many; loopback is not."""


@attrs.frozen
class TlsFiles:
    """A certificate chain and its key, both PEM."""

    cert: Path
    key: Path
