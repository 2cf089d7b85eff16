"""The settings of a seed's gateways, and what its providers' models are like."""

import random
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import attrs

from ainf.config import Config, ModelConfig, load_config
from ainf.routing.ruleset import Quality
from tests.gateway.backends import FORMATS, model_table

_SERVER: Final = """
[server]
public_url = "http://gateway.test"
[routing]
[targets.ainf-inference]
models = ["*-text"]
[targets.crew]
aliases = ["crew-now"]
models = ["chat-*text", "gemini-text"]
"""
_PROVIDER: Final = """
[providers.{name}]
format = "{vendor}"
base_url = "http://{name}.provider.test{path}"
api_key_env = "SIM_KEY"
"""
_EMBEDDER: Final = """
[models.embedder]
provider = "sim"
upstream_model = "mood-embedder"
kind = "embeddings"
price = { input = "0.10", output = "0.00" }
"""
SECRET: Final = "sk-canary-provider-secret"

TEXTS: Final = ("chat-text", "chat-other-text", "messages-text", "responses-text", "gemini-text")
PINNED: Final = ("drained", "held", "thinker", "wrapped")
"""Models that no target chooses: their providers bill what is broken off, or they do not stream what they say."""
EMBEDDER: Final = "embedder"

_SOUND: Final = (
    "", "", "", "-pace-5ms", "-pace-40ms", "-burst", "-usage-continuous", "-usage-in-finish", "-usage-twice",
    "-cached-2", "-comments-pings", "-crlf", "-unknown-fields", "-json-for-sse", "-sse-for-json", "-reasoning-4",
    "-finish-with-content", "-refusal", "-per-frame-5", "-delay-300ms", "-delay-1s", "-pace-100ms",
)  # fmt: skip
_SAYS: Final = ("sim-tokens-{n}-tools", "sim-tokens-{n}-parallel-tools", "sim-tokens-{n}", "sim-tokens-{n}")
_FAILS_FIRST: Final = (
    "sim-error-500", "sim-error-429", "sim-overloaded", "sim-error-401", "sim-error-404", "sim-html-200",
    "sim-empty-200", "sim-status-204", "sim-not-http", "sim-reset-before-head", "sim-close-before-head",
    "sim-reset-after-head", "sim-eof-after-head", "sim-error-first", "sim-stall-after-head", "sim-error-500-delay-1s",
)  # fmt: skip
_FAILS_LATER: Final = (
    "-reset-after-3", "-eof-after-3", "-stall-after-3", "-error-after-3", "-close-after-3", "-cut-json-after-3",
    "-broken-json-9", "-reset-after-finish", "-done-only",
)  # fmt: skip
_LATE: Final = ("-delay-1500ms", "-delay-6s", "-delay-12s", "-stall-after-finish", "-pace-300ms")
_LIES: Final = (
    "-usage-zero", "-usage-absurd", "-usage-negative", "-usage-huge", "-usage-string", "-usage-null", "-no-usage",
)  # fmt: skip
_EXCESSIVE: Final = ("sim-unlimited-tokens-150-pace-5ms", "sim-endless-per-frame-20", "sim-unlimited-tokens-90-burst")
_KINDS: Final = ("sound", "first", "later", "late", "lies", "excessive")
_WEIGHTS: Final = (62, 12, 9, 8, 5, 4)


@cache
def _base() -> Config:
    """The settings that all seeds change."""
    text = _SERVER
    text += "".join(_PROVIDER.format(name=name, vendor=vendor, path=path) for name, vendor, path in FORMATS.values())
    for name in TEXTS:
        text += model_table(name, FORMATS[name.partition("-")[0]][0], f"mood-{name}")
    text += model_table("drained", "sim", "mood-drained", 'aborted_billing = "drain"')
    text += model_table("held", "messages", "mood-held", 'aborted_billing = "held"')
    text += model_table("thinker", "responses", "mood-thinker", 'hidden_reasoning = "always"')
    text += model_table("wrapped", "sim", "mood-wrapped", 'streaming = "wrap"')
    text += _EMBEDDER
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ainf.toml"
        path.write_text(text)
        return load_config(path, {"SIM_KEY": SECRET})


def draw(chance: random.Random, *, is_shared: bool) -> tuple[Config, Mapping[str, tuple[str, ...]]]:
    """Return the settings, and what each model does, by its name at its provider.

    Args:
        chance: what they are drawn by.
        is_shared: whether several gateways share the database.
    """
    base = _base()
    models = {name: _model(chance, model) for name, model in base.models.items()}
    config = attrs.evolve(
        base,
        server=attrs.evolve(base.server, drain_s=chance.choice((0.0, 1.0, 5.0, 20.0))),
        store=_store(chance, base, is_shared=is_shared),
        limits=_limits(chance, base),
        routing=_routing(chance, base),
        models=models,
    )
    return config, {f"mood-{name}": _moods(chance, name) for name in models}


def changed(chance: random.Random, config: Config) -> Config:
    """Return other settings, as a reload would bring."""
    models = {name: _model(chance, model) for name, model in config.models.items()}
    if chance.random() < 0.3:
        del models["drained"]
    moved = chance.choice(sorted(config.providers))
    provider = attrs.evolve(config.providers[moved], base_url=f"http://moved.{moved}.provider.test/v1")
    if moved == "gemini":
        provider = config.providers[moved]
    return attrs.evolve(
        config, models=models, providers={**config.providers, moved: provider}, routing=_routing(chance, config)
    )


def _store(chance: random.Random, base: Config, *, is_shared: bool) -> object:
    return attrs.evolve(
        base.store,
        shared=is_shared,
        wait_s=chance.choice((0.5, 2.0, 5.0)),
        close_s=chance.choice((1.0, 4.0)),
        ballast_bytes=chance.choice((0, 1 << 16, 1 << 16)),
    )


def _limits(chance: random.Random, base: Config) -> object:
    return attrs.evolve(
        base.limits,
        write_s=chance.choice((2.0, 20.0)),
        early_head_s=chance.choice((0.2, 3.0, 10.0)),
        heartbeat_s=chance.choice((1.0, 15.0)),
        progress_s=chance.choice((0.1, 2.0)),
        linger_s=chance.choice((0.0, 1.0, 30.0)),
        idempotency_bytes=chance.choice((600, 1 << 20)),
        idempotency_keep_s=chance.choice((5.0, 86_400.0)),
        running=chance.choice((2, 1000, 1000, 1000)),
        upstream_connections=chance.choice((2, 1000)),
        connect_s=2.0,
    )


def _routing(chance: random.Random, base: Config) -> object:
    return attrs.evolve(
        base.routing,
        attempts=chance.choice((1, 2, 3, 3)),
        hedging=chance.random() < 0.6,
        learning=chance.random() < 0.5,
        preference_live=chance.random() < 0.5,
        breaker_failures=chance.choice((1, 2, 5)),
        breaker_open_s=chance.choice((0.5, 10.0)),
    )


def _model(chance: random.Random, model: ModelConfig) -> ModelConfig:
    least = chance.choice((1, 4, 16))
    return attrs.evolve(
        model,
        slice_tokens=chance.choice((4, 8, 8, 1024)),
        min_output_tokens=least,
        max_output_tokens=0 if model.kind == "embeddings" else chance.choice((40, 400, 4096)),
        abort_read_s=chance.choice((0.2, 10.0)),
        abort_read_nusd=chance.choice((20_000, 100_000_000)),
        finish_reasons=chance.choice((None, None, "extended", "strict", "loud")),
        money_refusal=chance.choice((None, None, "402", "429")),
        metering=chance.choice(("calibrated", "configured", "strict")),
        quality=Quality(default=chance.choice((400, 600, 900))),
        latency_ms=chance.choice((None, 50, 200)),
        first_byte_s=chance.choice((0.5, 4.0, 30.0)),
        silence_s=chance.choice((1.0, 3.0)),
        exchange_s=chance.choice((5.0, 30.0)),
    )


def _moods(chance: random.Random, name: str) -> tuple[str, ...]:
    """Draw what a model does: mostly it is sound all the time."""
    count = 1 if chance.random() < 0.6 else chance.randrange(2, 4)
    return tuple(_mood(chance, name) for _ in range(count))


def _mood(chance: random.Random, name: str) -> str:
    (kind,) = chance.choices(_KINDS, _WEIGHTS)
    if kind == "first":
        return chance.choice(_FAILS_FIRST)
    if kind == "excessive":
        return chance.choice(_EXCESSIVE)
    mood = chance.choice(_SAYS).format(n=chance.choice((1, 3, 6, 12, 12, 30)))
    if name in {"drained", "held"}:
        mood += "-bills-on-pace-60ms"
    elif name == "thinker":
        mood += "-hidden-reasoning-9"
    mores = {"sound": _SOUND, "later": _FAILS_LATER, "late": _LATE, "lies": _LIES}[kind]
    return mood + chance.choice(mores)
