"""What decisions are made by: a target's models as they are rated, its floor, and the rules; named by content.

Quality and floors are whole thousandths (0.85 is 850), so that two processes compare them alike.
"""

import hashlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import attrs
import msgspec

ALGORITHM: Final = 1
"""The version of how is decided; it is part of every ruleset, so that a hash never stands for two ways to decide."""
THOUSAND: Final = 1000
"""The best quality, in thousandths."""
ABILITIES: Final[Mapping[str, int]] = MappingProxyType({
    "tools": 1, "streams": 2, "image": 4, "audio": 8, "video": 16, "file": 32,
})  # fmt: skip
"""What a model may be able to, each a bit: attachments by their kinds."""

_quality = attrs.validators.and_(
    attrs.validators.instance_of(int), attrs.validators.ge(0), attrs.validators.le(THOUSAND)
)
_whole = attrs.validators.and_(attrs.validators.instance_of(int), attrs.validators.ge(0))


_Tasks = tuple[tuple[str, int], ...]


def _by_name(tasks: Iterable[tuple[str, int]]) -> _Tasks:
    return tuple(sorted(tasks))


def _rated(_quality_of: "Quality", _field: "attrs.Attribute[_Tasks]", tasks: _Tasks) -> None:
    if any(type(rating) is not int or not 0 <= rating <= THOUSAND for _, rating in tasks):
        raise ValueError(f"a quality is from 0 to {THOUSAND} thousandths")
    if len(dict(tasks)) != len(tasks):
        raise ValueError("a task has one quality")


@attrs.frozen
class Quality:
    """How good a model is held to be before its answers say anything, in thousandths."""

    default: int = attrs.field(default=500, validator=_quality)
    tasks: _Tasks = attrs.field(default=(), converter=_by_name, validator=_rated)
    """For tasks of these types."""

    def of(self, task_type: str | None) -> int:
        """Return the quality for a type of task; one that is not named, or none, has the default."""
        for name, rating in self.tasks:
            if name == task_type:
                return rating
        return self.default


@attrs.frozen
class RatedModel:
    """One model that a target may choose: what it can do, and how it is rated."""

    name: str
    provider: str
    quality: Quality
    context_tokens: int | None
    """What its input and output must fit; None: unknown, so that everything fits."""
    attachments: frozenset[str]
    """The kinds that it takes, of "image", "audio", "video" and "file"."""
    tools: bool
    streams: bool
    max_output_tokens: int
    latency_ms: int | None
    """Usual time to its first content, as configured; None: unknown."""


@attrs.frozen
class Rules:
    """What is the same for all targets."""

    preference_live: bool = False
    """Whether a hint's ``routing_preference`` moves a defaulted floor."""
    learning: bool = False
    """Whether what earlier answers showed counts: blended quality and learned latency."""
    prior_weight: int = attrs.field(default=50, validator=_whole)
    """How many observations a configured quality is worth in the blend."""
    expected_output_tokens: int = attrs.field(default=500, validator=_whole)
    """What an answer is reckoned to have where its limit is not lower."""


def _ordered(models: Iterable[RatedModel]) -> tuple[RatedModel, ...]:
    return tuple(sorted(models, key=lambda model: model.name))


def _distinct(
    _ruleset: "Ruleset", _field: "attrs.Attribute[tuple[RatedModel, ...]]", models: tuple[RatedModel, ...]
) -> None:
    if len({model.name for model in models}) != len(models):
        raise ValueError("a target names each of its models once")


@attrs.frozen
class Ruleset:
    """All that a decision follows beside the request and the moment; it is stored by its content.

    Its models stand in the order of their names, however they were given.
    """

    target: str
    """The canonical name."""
    floor: int = attrs.field(validator=_quality)
    """The quality that its models must have where a hint does not say which, in thousandths."""
    models: tuple[RatedModel, ...] = attrs.field(converter=_ordered, validator=_distinct)
    rules: Rules = attrs.field(factory=Rules)
    body: str = attrs.field(init=False, eq=False, repr=False)
    """All of it as canonical JSON."""
    hash: str = attrs.field(init=False, eq=False)
    """The name of ``body`` for ever."""
    lacks: tuple[int, ...] = attrs.field(init=False, eq=False, repr=False)
    """The abilities that each of ``models`` does not have, as bits of ``ABILITIES``."""
    _priors: Mapping[str | None, tuple[int, ...]] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        said = {
            "algorithm": ALGORITHM,
            "target": self.target,
            "floor": self.floor,
            "models": self.models,
            "rules": self.rules,
        }
        object.__setattr__(self, "body", msgspec.json.encode(said, order="sorted").decode())
        object.__setattr__(self, "hash", ruleset_hash(self.body))
        object.__setattr__(self, "lacks", tuple(_lacks(model) for model in self.models))
        tasks = {None, *(task for model in self.models for task, _ in model.quality.tasks)}
        priors = {task: tuple(model.quality.of(task) for model in self.models) for task in tasks}
        object.__setattr__(self, "_priors", priors)

    def priors(self, task_type: str | None) -> tuple[int, ...]:
        """Return the quality of each model for a type of task, in the order of ``models``."""
        return self._priors.get(task_type, self._priors[None])


def _lacks(model: RatedModel) -> int:
    able = {*model.attachments, *(["tools"] if model.tools else ()), *(["streams"] if model.streams else ())}
    return sum(bit for name, bit in ABILITIES.items() if name not in able)


def ruleset_hash(body: str) -> str:
    """Return the name of a ruleset by its canonical JSON: "rules_" and 32 hexadecimal digits."""
    return f"rules_{hashlib.sha256(body.encode()).hexdigest()[:32]}"
