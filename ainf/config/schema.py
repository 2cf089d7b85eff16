"""Every setting, declared once: name, kind, default and meaning. README's table is made from it.

Durations are seconds, sizes are bytes; money is exact (``ainf.pricing``), never a float.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from ainf.config.prices import PRICE, PRICE_ROWS
from ainf.config.values import (
    ADDRESSES,
    BUFFER_BYTES,
    BYTES,
    BYTES_PER_SECOND,
    BYTES_PER_TOKEN,
    COUNT,
    FIELD_NAMES,
    FLAG,
    INTERVAL,
    KIB,
    MIB,
    NETWORKS,
    PATH,
    PROXY_URL,
    SECONDS,
    SECONDS_OR_NONE,
    STORE_URL,
    TEXT,
    TOKENS,
    URL,
    USD,
    VARIABLE,
    WHOLE_SECONDS,
    Address,
    Kind,
    Network,
    Secret,
    choice,
)
from ainf.pricing import PriceSchedule
from ainf.providers.registry import PROVIDERS

_VENDORS: Final = "as declared of its vendor"
_NOT_FOR_THE_MODEL: Final = (
    "cache_control", "client_metadata", "metadata", "metadata.user_id", "prompt_cache_key", "reasoning.summary",
    "safety_identifier", "thinking.display", "user",
)  # fmt: skip
"""Fields that clients send by themselves and that change no answer: who asks, what belongs together, what to cache, and
that thoughts be shown (where a provider shows them, they are)."""


@attrs.frozen
class Declared:
    """What a field's metadata holds where the field is a setting."""

    kind: Kind
    meaning: str
    key: str | None
    default_text: str | None


def setting(
    kind: Kind, meaning: str, *, key: str | None = None, default_text: str | None = None
) -> dict[str, Declared]:
    """Return the metadata that makes a field a setting.

    Args:
        kind: how the value is read.
        meaning: one line for README.
        key: its name in the file, where that is not the field's.
        default_text: what README says of the default, where it is taken from elsewhere.
    """
    return {"setting": Declared(kind, meaning, key, default_text)}


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
        default=10.0, metadata=setting(SECONDS, "How long a settlement is tried before it is left to recovery.")
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


@attrs.frozen(kw_only=True)
class ProviderConfig:
    """One provider: where it is and what it speaks."""

    name: str
    format: str = attrs.field(
        metadata=setting(choice(*PROVIDERS), "Which vendor's API it speaks; what is declared of it is the default.")
    )
    base_url: str = attrs.field(
        metadata=setting(URL, "Where it is, with its version prefix.", default_text="the vendor's, if it has one")
    )
    api_key_env: str | None = attrs.field(
        default=None,
        metadata=setting(VARIABLE, "The environment variable that holds its key; left out, no key is sent."),
    )
    api_key: Secret | None = None
    """The key itself, from the environment; None also where the configuration was loaded without secrets."""
    ca_file: Path | None = attrs.field(
        default=None, metadata=setting(PATH, "Certificates (PEM) to trust instead of the system's.")
    )
    proxy: str | None = attrs.field(default=None, metadata=setting(PROXY_URL, "The HTTP proxy to reach it through."))
    max_tokens_field: str = attrs.field(
        metadata=setting(
            choice("max_completion_tokens", "max_tokens"),
            "The request field that it takes an output limit in (chat completions).",
            default_text=_VENDORS,
        ),
    )


@attrs.frozen(kw_only=True)
class ModelConfig:
    """One model that clients may name, and what it costs."""

    name: str
    provider: str = attrs.field(metadata=setting(TEXT, "The provider that serves it."))
    upstream_model: str = attrs.field(
        metadata=setting(TEXT, "Its name at the provider.", default_text="the table's name")
    )
    kind: str = attrs.field(
        default="text", metadata=setting(choice("text", "embeddings"), "What it gives: answers in text, or embeddings.")
    )
    max_output_tokens: int = attrs.field(
        metadata=setting(
            TOKENS, "The most output that it can give.", default_text="required, but for embeddings, which have none"
        )
    )
    min_output_tokens: int = attrs.field(
        default=16, metadata=setting(TOKENS, "A cap that leaves less output than this refuses the request.")
    )
    prices: PriceSchedule = attrs.field(
        metadata=setting(
            PRICE,
            'A table of USD per million tokens as strings, `{ input = "0.15", output = "0.60" }`; an array of such '
            'tables, each `from` a day on; "free"; or "bundled": as `ainf prices` lists it.',
            key="price",
            default_text='"bundled"',
        )
    )
    hidden_reasoning: str = attrs.field(
        metadata=setting(
            choice("never", "asked", "always"),
            "When it bills output that it does not show (then all of it is held at once): never, when the request asks "
            "it to think, or always.",
            default_text=_VENDORS,
        ),
    )
    reports_usage: bool = attrs.field(
        metadata=setting(
            FLAG, "Whether it tells its usage; if not, streams are not asked for it.", default_text=_VENDORS
        )
    )
    aborted_billing: str = attrs.field(
        metadata=setting(
            choice("delivered", "drain", "held"),
            "How it bills an answer that we break off: what it had delivered, or on to its end; then it is read on for "
            'what it bills ("drain"), or all output that was held is settled ("held").',
            default_text=_VENDORS,
        )
    )
    abort_read_s: float = attrs.field(
        default=10.0,
        metadata=setting(SECONDS, 'With `aborted_billing = "drain"`: how long an answer that we break off is read on.'),
    )
    abort_read_nusd: int = attrs.field(
        default=100_000_000,
        metadata=setting(
            USD,
            "Likewise: how much it may cost beyond what was held when we broke it off.",
            key="abort_read_usd",
        ),
    )
    """Nano-dollars."""
    drop_params: tuple[str, ...] = attrs.field(
        default=_NOT_FOR_THE_MODEL,
        metadata=setting(
            FIELD_NAMES,
            "Request fields that are left out, and named in the answer, where its provider's format cannot say them; "
            '`["*"]` for all; else such requests are refused.',
        ),
    )
    bytes_per_token_milli: int = attrs.field(
        default=4000,
        metadata=setting(BYTES_PER_TOKEN, "Mean bytes of a token, for the meter.", key="bytes_per_token"),
    )
    """Thousandths of a byte."""
    input_bytes_per_token_low_milli: int = attrs.field(
        default=2000,
        metadata=setting(
            BYTES_PER_TOKEN, "The fewest bytes of an input token, for the hold.", key="input_bytes_per_token_low"
        ),
    )
    """Thousandths of a byte."""
    metering: str = attrs.field(
        default="calibrated",
        metadata=setting(
            choice("calibrated", "configured", "strict"),
            "How tokens are counted that nobody reports: by what was learnt of the model from usage that was reported "
            "(until enough is: as configured); always by the two settings above; or likewise, with a byte a token as "
            "the bound of the input.",
        ),
    )
    image_tokens: int = attrs.field(
        default=1600, metadata=setting(TOKENS, "Input tokens that an image or other attachment is reckoned with.")
    )
    slice_tokens: int = attrs.field(
        default=1024, metadata=setting(TOKENS, "How much output of a visible stream is held at a time.")
    )
    streaming: str = attrs.field(
        metadata=setting(
            choice("native", "wrap", "reject"),
            'Whether it streams; "wrap" makes a stream of its whole answer, "reject" answers 501.',
            default_text=_VENDORS,
        )
    )
    tools: bool = attrs.field(
        metadata=setting(FLAG, "Whether it takes tools; if not, such requests get 422.", default_text=_VENDORS)
    )
    finish_reasons: str | None = attrs.field(
        default=None,
        metadata=setting(
            choice("extended", "strict", "loud"), "How a cap shows in an ending.", default_text="the key's setting"
        ),
    )
    money_refusal: str | None = attrs.field(
        default=None,
        metadata=setting(choice("402", "429"), "The status of a money refusal.", default_text="the key's setting"),
    )
    first_byte_s: float = attrs.field(metadata=setting(SECONDS, "As the limit.", default_text="`limits.first_byte_s`"))
    silence_s: float = attrs.field(metadata=setting(SECONDS, "As the limit.", default_text="`limits.silence_s`"))
    exchange_s: float = attrs.field(metadata=setting(SECONDS, "As the limit.", default_text="`limits.exchange_s`"))


@attrs.frozen(kw_only=True)
class Config:
    """A whole, checked configuration; an exchange keeps the one of its admission."""

    server: ServerConfig
    store: StoreConfig
    limits: Limits
    providers: Mapping[str, ProviderConfig]
    models: Mapping[str, ModelConfig]


TABLES: Final[Mapping[str, type[Any]]] = {
    "server": ServerConfig,
    "store": StoreConfig,
    "limits": Limits,
    "providers": ProviderConfig,
    "models": ModelConfig,
}
NAMED_TABLES: Final = frozenset({"providers", "models"})
"""Tables that hold one table per name."""


def settings_of(cls: type[Any]) -> Iterator[tuple[str, Declared, "attrs.Attribute[Any]"]]:
    """Yield the settings of a class of this module: key in the file, what was declared, the field."""
    for field in attrs.fields(cls):
        declared = field.metadata.get("setting")
        if declared is not None:
            yield declared.key or field.name, declared, field


@attrs.frozen
class Setting:
    """One row of README's table."""

    table: str
    """As it stands in the file, without brackets: "limits", "models.NAME"."""
    key: str
    unit: str
    default: str
    """As it would stand in the file, or words; "required" where there is none."""
    meaning: str


def _rows() -> Iterator[Setting]:
    for table, cls in TABLES.items():
        name = f"{table}.NAME" if table in NAMED_TABLES else table
        for key, declared, field in settings_of(cls):
            yield Setting(name, key, declared.kind.unit, _default_text(declared, field), declared.meaning)
            if declared.key == "price":
                yield from (Setting(f"{name}.price", part, *row) for part, row in PRICE_ROWS.items())


def _default_text(declared: Declared, field: "attrs.Attribute[Any]") -> str:
    if declared.default_text is not None:
        return declared.default_text
    if field.default is attrs.NOTHING:
        return "required"
    return "none" if field.default is None else declared.kind.show(field.default)


SETTINGS: Final[tuple[Setting, ...]] = tuple(_rows())


def document() -> str:
    """Return README's table of settings as Markdown."""
    head = ["| setting | unit | default | meaning |", "|---|---|---|---|"]
    rows = [f"| `{row.table}.{row.key}` | {row.unit} | {row.default} | {row.meaning} |" for row in SETTINGS]
    return "\n".join(head + rows) + "\n"
