"""The settings of routing: how a model is chosen for those who name none, and what they may name instead."""

from collections.abc import Mapping
from typing import Final

import attrs

from ainf.config.declared import setting
from ainf.config.lines import KeyPath
from ainf.config.values import (
    COUNT,
    FLAG,
    NAMES,
    PATTERNS,
    SECONDS,
    SHARE,
    TOKENS,
    Kind,
    UnfitError,
    UnfitPartsError,
    choice,
    each,
)
from ainf.inference.request import ATTACHMENT_KINDS
from ainf.routing.hint import LONGEST_WORD
from ainf.routing.ruleset import Quality

DEFAULT_TARGET: Final = "ainf-inference"
"""The target that is there without being written down."""
DEFAULT_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {DEFAULT_TARGET: ("ainf-mithril", "ainf-auto", "ainf/auto")}
"""The aliases of targets that name none of their own."""


@attrs.frozen(kw_only=True)
class RoutingConfig:
    """How a model is chosen."""

    preference_live: bool = attrs.field(
        default=False,
        metadata=setting(
            FLAG, "Whether a hint's `routing_preference` moves the floor of requests that name none of their own."
        ),
    )
    learning: bool = attrs.field(
        default=False,
        metadata=setting(FLAG, "Whether what outcomes show of a model's quality and latency counts in decisions."),
    )
    prior_weight: int = attrs.field(
        default=50, metadata=setting(COUNT, "As how many outcomes a model's configured quality counts beside them.")
    )
    expected_output_tokens: int = attrs.field(
        default=500,
        metadata=setting(TOKENS, "The output that candidates are compared at (less, where the request allows less)."),
    )
    attempts: int = attrs.field(
        default=3, metadata=setting(COUNT, "The most models that one request is tried at, one after another.")
    )
    hedging: bool = attrs.field(
        default=False,
        metadata=setting(FLAG, "Whether a second model is asked when the first is later than it usually is."),
    )
    breaker_failures: int = attrs.field(
        default=5, metadata=setting(COUNT, "After so many failures in a row a model at its provider is left to rest.")
    )
    breaker_open_s: float = attrs.field(
        default=10.0, metadata=setting(SECONDS, "How long it rests before one request tries it again.")
    )


@attrs.frozen(kw_only=True)
class TargetConfig:
    """One routing target: a name for which a model is chosen."""

    name: str
    aliases: tuple[str, ...] = attrs.field(
        default=(),
        metadata=setting(
            NAMES,
            "Other names for it.",
            default_text=f"[]; of `{DEFAULT_TARGET}`: {NAMES.show(DEFAULT_ALIASES[DEFAULT_TARGET])}",
        ),
    )
    patterns: tuple[str, ...] = attrs.field(
        default=("*",),
        metadata=setting(
            PATTERNS, "The text models that it chooses from; `*` in a name stands for any characters.", key="models"
        ),
    )
    models: tuple[str, ...] = ()
    """The configured models that the patterns are for, in the order of the file."""
    min_quality_milli: int = attrs.field(
        default=500,
        metadata=setting(
            SHARE, "The least quality of a model that is chosen where the request asks for none.", key="min_quality"
        ),
    )
    """Thousandths."""

    @property
    def names(self) -> tuple[str, ...]:
        """What clients may call it: its own name, then the others."""
        return (self.name, *self.aliases)


def _quality(value: object) -> Quality:
    """Return the quality that a number, or a table of one for each kind of task, says."""
    if not isinstance(value, dict):
        return Quality(default=SHARE.parse(value))
    parts: dict[str, int] = {}
    faults: list[tuple[KeyPath, str]] = []
    for task, part in value.items():
        try:
            parts[_task(task)] = SHARE.parse(part)
        except UnfitError as error:
            faults.append(((task,), str(error)))
    if faults:
        raise UnfitPartsError(faults)
    rest = {"default": parts.pop("default")} if "default" in parts else {}
    return Quality(**rest, tasks=tuple(sorted(parts.items())))


def _task(name: str) -> str:
    """Return a kind of task, if a hint can name it."""
    if not (0 < len(name) <= LONGEST_WORD and name.isprintable()):
        raise UnfitError(f"must be a kind of task, of 1 to {LONGEST_WORD} printable characters")
    return name


QUALITY: Final = Kind("0 to 1, or a table", _quality, lambda quality: SHARE.show(quality.default))
"""Of a model's answers: one number, or one for each kind of task."""
ATTACHMENTS: Final = each(choice(*ATTACHMENT_KINDS), "kinds of attachments")
