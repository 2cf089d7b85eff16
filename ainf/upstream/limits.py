"""How much a provider may take of us."""

import attrs

_positive = attrs.validators.gt(0)
_positive_s = attrs.validators.gt(0.0)


@attrs.frozen(kw_only=True)
class UpstreamLimits:
    """Limits of the connections to one provider; seconds and bytes.

    The defaults are those of the settings (``ainf.config.schema``); a test compares them.
    """

    connect_s: float = attrs.field(default=10.0, validator=_positive_s)
    """From the wish for a connection to its readiness: a free place, DNS, TCP, proxy and TLS together."""
    header_bytes: int = attrs.field(default=65536, validator=_positive)
    """An answer's head, with every informational answer before it; also what framing may cost between body bytes."""
    read_bytes: int = attrs.field(default=65536, validator=_positive)
    """The most that one read takes."""
    receive_buffer_bytes: int = attrs.field(default=65536, validator=_positive)
    """``SO_RCVBUF``: how far a provider can run ahead of us, and so how much a cancelled call can lose."""
    idle_s: float = attrs.field(default=30.0, validator=_positive_s)
    """How long an unused connection is kept for the next call."""
    connections_per_origin: int = attrs.field(default=1000, validator=_positive)
    """Connections to one origin, used and unused together; a call over it waits within ``connect_s``."""
    dead_peer_s: int = attrs.field(default=30, validator=_positive)
    """When a peer that acknowledges nothing counts as gone (``TCP_USER_TIMEOUT`` and keep-alive probes)."""
    error_body_bytes: int = attrs.field(default=65536, validator=_positive)
    """The most that is read of an error's body."""
    error_body_s: float = attrs.field(default=2.0, validator=_positive_s)
    """The longest that is waited for an error's body."""
