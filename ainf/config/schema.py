"""Every setting, declared once: name, kind, default and meaning; and README's table, made from that.

``process`` and ``routing`` declare the tables that are subjects of their own; here are providers, models and the whole.

Durations are seconds, sizes are bytes; money is exact (``ainf.pricing``), never a float.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from ainf.config.declared import Declared, setting, settings_of
from ainf.config.prices import PRICE, PRICE_ROWS
from ainf.config.process import Limits, ServerConfig, StoreConfig
from ainf.config.routing import ATTACHMENTS, QUALITY, RoutingConfig, TargetConfig
from ainf.config.values import (
    BYTES_PER_TOKEN,
    FIELD_NAMES,
    FLAG,
    MILLISECONDS,
    PATH,
    PROXY_URL,
    SECONDS,
    TEXT,
    TOKENS,
    URL,
    USD,
    VARIABLE,
    choice,
)
from ainf.inference.request import ATTACHMENT_KINDS
from ainf.inference.secret import Secret
from ainf.pricing import PriceSchedule
from ainf.providers.registry import PROVIDERS
from ainf.routing.ruleset import Quality

_VENDORS: Final = "as declared of its vendor"
_NOT_FOR_THE_MODEL: Final = (
    "cache_control", "client_metadata", "metadata", "metadata.user_id", "prompt_cache_key", "reasoning.summary",
    "safety_identifier", "thinking.display", "user",
)  # fmt: skip
"""Fields that clients send by themselves and that change no answer: who asks, what belongs together, what to cache, and
that thoughts be shown (where a provider shows them, they are)."""


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
    api_key: Secret | None = attrs.field(default=None, eq=False)
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
    attachments: tuple[str, ...] = attrs.field(
        default=ATTACHMENT_KINDS,
        metadata=setting(ATTACHMENTS, "What it takes beside text; a target does not choose it for other requests."),
    )
    context_tokens: int | None = attrs.field(
        default=None,
        metadata=setting(
            TOKENS, "What input and output must fit together; a target does not choose it for longer requests."
        ),
    )
    quality: Quality = attrs.field(
        default=Quality(),
        metadata=setting(
            QUALITY,
            "How good its answers are held to be: a number, or one for each `task_type` that a hint may name, "
            "`{ default = 0.7, code = 0.85 }`.",
        ),
    )
    latency_ms: int | None = attrs.field(
        default=None,
        metadata=setting(MILLISECONDS, "Its usual time to the first content; of two that cost the same, the lower."),
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
    routing: RoutingConfig
    providers: Mapping[str, ProviderConfig]
    models: Mapping[str, ModelConfig]
    targets: Mapping[str, TargetConfig]


TABLES: Final[Mapping[str, type[Any]]] = {
    "server": ServerConfig,
    "store": StoreConfig,
    "limits": Limits,
    "routing": RoutingConfig,
    "providers": ProviderConfig,
    "models": ModelConfig,
    "targets": TargetConfig,
}
NAMED_TABLES: Final = frozenset({"providers", "models", "targets"})
"""Tables that hold one table per name."""


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
