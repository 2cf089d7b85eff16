"""What is set once for a process: where it listens, where its records are, its limits. A change needs a restart."""

from pathlib import Path

import attrs

from ainf.config.declared import setting
from ainf.config.values import (
    ADDRESSES,
    BUFFER_BYTES,
    BYTES,
    BYTES_OR_NONE,
    BYTES_PER_SECOND,
    COUNT,
    FLAG,
    INTERVAL,
    KIB,
    LEASE,
    MIB,
    NETWORKS,
    PATH,
    SECONDS,
    SECONDS_OR_NONE,
    STORE_URL,
    URL,
    WHOLE_SECONDS,
    Address,
    Network,
)


@attrs.frozen(kw_only=True)
class ServerConfig:
    """Where and how the gateway listens."""

    bind: tuple[Address, ...] = attrs.field(
        default=(Address("127.0.0.1", 8080),), metadata=setting(ADDRESSES, "Where to listen; port 0 takes a free one.")
    )
    public_url: str = attrs.field(
        metadata=setting(
            URL, "The gateway's address as clients see it, for links in answers.", default_text="the first of `bind`"
        )
    )
    drain_s: float = attrs.field(
        default=20.0, metadata=setting(SECONDS_OR_NONE, "How long running streams may go on after SIGTERM.")
    )
    trusted_proxies: tuple[Network, ...] = attrs.field(
        default=(), metadata=setting(NETWORKS, "Peers whose forwarding headers are believed.")
    )
    tls_cert: Path | None = attrs.field(
        default=None, metadata=setting(PATH, "Certificate chain (PEM); with `tls_key`, the gateway speaks TLS.")
    )
    tls_key: Path | None = attrs.field(default=None, metadata=setting(PATH, "Private key (PEM) of `tls_cert`."))


@attrs.frozen(kw_only=True)
class StoreConfig:
    """Where the durable records are."""

    url: str = attrs.field(
        default="sqlite:ainf.db",
        metadata=setting(STORE_URL, "The database; a relative path is relative to the configuration file."),
    )
    wait_s: float = attrs.field(
        default=5.0, metadata=setting(SECONDS, "How long a request waits for the store before it is refused.")
    )
    close_s: float = attrs.field(
        default=10.0, metadata=setting(SECONDS, "How long a settlement is tried before it is kept in the spool.")
    )
    spool: Path = attrs.field(
        metadata=setting(
            PATH,
            "What the names of the spool files begin with: settlements wait there that the database did not take. Only"
            " gateways of one database may share it. Best on another disk.",
            default_text="the database's path and `.spool`",
        )
    )
    spool_s: float = attrs.field(
        default=2.0,
        metadata=setting(SECONDS, "How long it may take to keep a settlement in the spool before it is given up."),
    )
    ballast_bytes: int = attrs.field(
        default=16 * MIB,
        metadata=setting(
            BYTES_OR_NONE,
            "Room that a file beside the database keeps free until the disk is full, so that what runs can still be"
            " settled; while it is missing nothing is admitted.",
        ),
    )
    shared: bool = attrs.field(
        default=False, metadata=setting(FLAG, "Whether several gateway processes of this machine use the database.")
    )
    lease_s: float = attrs.field(
        default=10.0,
        metadata=setting(
            LEASE,
            "A gateway that does not show for this long that it lives admits nothing, and is"
            " taken for dead by those that share its database.",
        ),
    )
    heartbeat_s: float = attrs.field(
        default=2.0, metadata=setting(SECONDS, "How often a gateway shows that it lives; at most a third of `lease_s`.")
    )


@attrs.frozen(kw_only=True)
class Limits:
    """Every bound on time and size."""

    first_byte_s: float = attrs.field(
        default=300.0, metadata=setting(SECONDS, "Wait for a provider's first byte of a stream.")
    )
    silence_s: float = attrs.field(
        default=120.0, metadata=setting(SECONDS, "Wait for a provider's next meaningful event; pings do not count.")
    )
    exchange_s: float = attrs.field(default=900.0, metadata=setting(SECONDS, "The longest that one exchange may take."))
    connect_s: float = attrs.field(
        default=10.0, metadata=setting(SECONDS, "Wait for a connection to a provider, TLS included.")
    )
    tail_s: float = attrs.field(
        default=2.0, metadata=setting(SECONDS, "Wait for usage and end of body after a provider's evidence of an end.")
    )
    write_s: float = attrs.field(
        default=20.0, metadata=setting(SECONDS, "A client that takes no byte for this long has left.")
    )
    early_head_s: float = attrs.field(
        default=10.0, metadata=setting(SECONDS, "After this a waiting streaming client gets the head and heartbeats.")
    )
    heartbeat_s: float = attrs.field(
        default=15.0, metadata=setting(INTERVAL, "Between comments in a stream that is silent.")
    )
    progress_s: float = attrs.field(
        default=2.0, metadata=setting(INTERVAL, "Between durable records of the progress of running streams.")
    )
    header_s: float = attrs.field(
        default=10.0, metadata=setting(SECONDS, "Wait for the whole header block of a request.")
    )
    body_s: float = attrs.field(default=60.0, metadata=setting(SECONDS, "Wait for the whole body of a request."))
    body_grace_s: float = attrs.field(
        default=10.0, metadata=setting(SECONDS, "After this a body must have come at its lowest rate.")
    )
    body_min_bytes_per_s: int = attrs.field(
        default=512, metadata=setting(BYTES_PER_SECOND, "The lowest rate of a body; slower ones are refused.")
    )
    idle_s: float = attrs.field(default=15.0, metadata=setting(SECONDS, "An idle client connection is kept this long."))
    close_linger_s: float = attrs.field(
        default=1.0, metadata=setting(SECONDS, "A client gets this long to read our last answer and close.")
    )
    body_bytes: int = attrs.field(default=10 * MIB, metadata=setting(BYTES, "The largest request body."))
    header_bytes: int = attrs.field(default=64 * KIB, metadata=setting(BYTES, "The largest header block of a request."))
    header_lines: int = attrs.field(default=100, metadata=setting(COUNT, "The most header lines of a request."))
    target_bytes: int = attrs.field(default=8 * KIB, metadata=setting(BYTES, "The longest request target."))
    read_ahead_bytes: int = attrs.field(
        default=64 * KIB, metadata=setting(BYTES, "What a client may send behind a running request; more is cut off.")
    )
    connections: int = attrs.field(default=2000, metadata=setting(COUNT, "The most client connections."))
    connections_per_peer: int = attrs.field(
        default=1000, metadata=setting(COUNT, "The most client connections from one address (trusted proxies aside).")
    )
    running: int = attrs.field(
        default=1000, metadata=setting(COUNT, "The most exchanges at once; over it requests are refused as overloaded.")
    )
    auth_failures_per_minute: int = attrs.field(
        default=100, metadata=setting(COUNT, "Failed authentications of one address before it is told to wait.")
    )
    linger_s: float = attrs.field(
        default=30.0,
        metadata=setting(
            SECONDS_OR_NONE, "How long an answer under an `Idempotency-Key` goes on while nobody listens to it."
        ),
    )
    idempotency_keep_s: float = attrs.field(
        default=86_400.0, metadata=setting(SECONDS, "How long an answer under an `Idempotency-Key` is told again.")
    )
    idempotency_bytes: int = attrs.field(
        default=MIB,
        metadata=setting(
            BYTES, "The largest answer that is told again; how far one who listens may be behind one that is larger."
        ),
    )
    sse_line_bytes: int = attrs.field(default=MIB, metadata=setting(BYTES, "The longest line of a provider's stream."))
    sse_event_bytes: int = attrs.field(
        default=MIB, metadata=setting(BYTES, "The largest event of a provider's stream.")
    )
    prelude_bytes: int = attrs.field(
        default=64 * KIB, metadata=setting(BYTES, "The most that is kept of a stream before its first content.")
    )
    answer_bytes: int = attrs.field(
        default=16 * MIB,
        metadata=setting(
            BYTES, "The largest JSON answer of a provider, and the most that is kept of a stream to end it."
        ),
    )
    error_body_bytes: int = attrs.field(
        default=64 * KIB, metadata=setting(BYTES, "The most that is read of a provider's error body.")
    )
    error_body_s: float = attrs.field(default=2.0, metadata=setting(SECONDS, "Wait for a provider's error body."))
    upstream_header_bytes: int = attrs.field(
        default=64 * KIB, metadata=setting(BYTES, "The largest header block of a provider's answer.")
    )
    upstream_connections: int = attrs.field(
        default=1000, metadata=setting(COUNT, "The most connections to one provider.")
    )
    upstream_idle_s: float = attrs.field(
        default=30.0, metadata=setting(SECONDS, "An idle connection to a provider is kept this long.")
    )
    upstream_read_bytes: int = attrs.field(
        default=64 * KIB, metadata=setting(BUFFER_BYTES, "The most that one read takes from a provider.")
    )
    upstream_receive_buffer_bytes: int = attrs.field(
        default=64 * KIB,
        metadata=setting(BUFFER_BYTES, "How far a provider can run ahead of us, and what a cancelled call can lose."),
    )
    upstream_dead_peer_s: int = attrs.field(
        default=30, metadata=setting(WHOLE_SECONDS, "A provider that acknowledges nothing for this long is gone.")
    )
