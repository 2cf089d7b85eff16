"""What the routing targets of a configuration come to: which models each chooses from, under which names."""

from collections.abc import Mapping

import attrs

from ainf.config.lines import KeyPath
from ainf.config.routing import DEFAULT_ALIASES, DEFAULT_TARGET, TargetConfig
from ainf.config.schema import ModelConfig
from ainf.config.values import UnfitPartsError
from ainf.ledger import covers


def resolve_targets(
    written: Mapping[str, TargetConfig | None], models: Mapping[str, ModelConfig | None]
) -> dict[str, TargetConfig]:
    """Return the targets with their models, the one that is there by itself among them.

    Args:
        written: those that stand in the file, by name; None where one has faults of its own.
        models: all models, in the order of the file; None likewise.

    Raises:
        UnfitPartsError: a name is another one's already, or a pattern is for no model; the parts are keys of the file.
    """
    answering = [name for name, model in models.items() if model is None or model.kind == "text"]
    targets = {name: target for name, target in written.items() if target is not None}
    if answering and DEFAULT_TARGET not in written:
        default = TargetConfig(name=DEFAULT_TARGET, aliases=DEFAULT_ALIASES[DEFAULT_TARGET])
        targets = {DEFAULT_TARGET: default, **targets}
    faults = _name_faults(targets, written, models)
    for target in targets.values():
        faults += _pattern_faults(target, answering)
    if faults:
        raise UnfitPartsError(faults)
    return {name: attrs.evolve(target, models=_matching(target, answering)) for name, target in targets.items()}


def _name_faults(
    targets: Mapping[str, TargetConfig], written: Mapping[str, object], models: Mapping[str, object]
) -> list[tuple[KeyPath, str]]:
    """Return a fault for each name of a target that is another one's already."""
    faults: list[tuple[KeyPath, str]] = []
    bearers = dict.fromkeys(models, "the name of a model")
    for target in targets.values():
        for part, name in _names_of(target):
            bearer = bearers.get(name)
            if bearer is None:
                bearers[name] = f"{'an alias' if part else 'the name'} of the target {target.name!r}"
            elif target.name in written:
                faults.append((("targets", target.name, *part), f"{name!r} is {bearer}; take another"))
            else:
                faults.append((("models", name), _taken_by_default(name)))
    return faults


def _names_of(target: TargetConfig) -> list[tuple[KeyPath, str]]:
    """Return what clients may call a target, each with the key where that stands in the target's table."""
    return [((), target.name), *((("aliases",), alias) for alias in target.aliases)]


def _taken_by_default(name: str) -> str:
    if name == DEFAULT_TARGET:
        return "is the name of the target that is there by itself; rename the model"
    return (
        f"is an alias of the target {DEFAULT_TARGET!r}, which is there by itself; rename the model, or set `aliases` "
        f"in [targets.{DEFAULT_TARGET}]"
    )


def _pattern_faults(target: TargetConfig, answering: list[str]) -> list[tuple[KeyPath, str]]:
    at = ("targets", target.name, "models")
    if not target.patterns:
        return [(at, "must name at least one")]
    return [
        (at, f"{pattern!r} is for no model that answers in text")
        for pattern in target.patterns
        if not any(covers(pattern, name) for name in answering)
    ]


def _matching(target: TargetConfig, answering: list[str]) -> tuple[str, ...]:
    return tuple(name for name in answering if any(covers(pattern, name) for pattern in target.patterns))
