"""Which of a target's models a request goes to: the cheapest of those that can do it and are good enough.

Words: a *candidate* is a model of the target that the key may use; the others are *barred*. It *falls* at the first
filter that it does not pass; those that pass all are *ranked* by what the request is expected to cost, then by latency,
then by name. The *floor* is the quality that a model must have. The *dial* is a hint's ``routing_preference``: it moves
a floor that the hint does not name itself.
"""

from collections.abc import Mapping
from typing import Final

import attrs
import msgspec

from ainf.inference.errors import AinfError
from ainf.pricing import Price
from ainf.routing.candidates import Candidate, Filter, Need, Seen, scales_for, weigh
from ainf.routing.hint import PREFERENCES, Hint
from ainf.routing.outcome import RoutingStatus
from ainf.routing.refusals import refused
from ainf.routing.ruleset import Rules, Ruleset

__all__ = ["Candidate", "Decision", "Filter", "Need", "Seen", "decide"]

DIAL: Final = {"quality": 100, "cost": -100}
"""How far a preference moves a floor, in thousandths."""
DIAL_LEAST: Final = 500
DIAL_MOST: Final = 850
"""Beyond these the dial moves no floor; one that is beyond them already, it moves no further out."""

_BALANCED: Final = "balanced"
_UNKNOWN_LATENCY: Final = 1 << 62
"""Slower than any."""


class _Asked(msgspec.Struct, gc=False, omit_defaults=True):
    """What a decision records of its hint; of the preference it says what came of it."""

    min_quality: int | None = None
    max_cost_nusd: int | None = None
    task_type: str | None = None


class _Record(msgspec.Struct, gc=False, omit_defaults=True):
    """A decision as it is stored."""

    target: str
    requested: str
    ruleset: str
    need: Need
    hint: _Asked
    floor: int
    floor_from: str
    preference: str
    ranked: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    barred: tuple[str, ...]
    unknown_preference: str | None = None


# The order of sets is fixed, so that equal decisions are equal bytes; all else stands in the order of its class.
_encode = msgspec.json.Encoder(order="deterministic").encode


@attrs.frozen
class Decision:
    """What was decided, and all that explains it afterwards."""

    ruleset: Ruleset
    requested: str
    """The name that the client asked for: the target's own or an alias."""
    need: Need
    hint: Hint
    floor: int
    """In thousandths."""
    floor_from: str
    """"hint", "default" (the ruleset's), or "dial" (the ruleset's, moved)."""
    preference: str
    """What took effect: "quality" or "cost" only where it moved the floor, else "balanced"."""
    ranked: tuple[str, ...]
    """The names of the models to try, best first; where there are none, ``refusal`` says why."""
    candidates: tuple[Candidate, ...]
    """In the order of their names."""
    barred: tuple[str, ...]
    """The names of the target's models that the key may not use."""
    prices: tuple[Price, ...]
    """Of the candidates."""

    @property
    def target(self) -> str:
        """The target's canonical name."""
        return self.ruleset.target

    @property
    def preference_header(self) -> bytes | None:
        """What ``x-ainf-routing-preference`` says: what took effect, where the client sent any preference."""
        return None if self.hint.preference is None else self.preference.encode()

    def record(self) -> str:
        """Return the decision as JSON whose bytes are the same for equal decisions.

        Qualities and floors are thousandths, amounts nano-dollars; what is not known, or as usual, is left out. A
        preference that is known and changed nothing leaves no trace, so that ``balanced`` is the same as none.
        """
        hint = self.hint
        record = _Record(
            target=self.ruleset.target,
            requested=self.requested,
            ruleset=self.ruleset.hash,
            need=self.need,
            hint=_Asked(hint.min_quality, hint.max_cost_nusd, hint.task_type),
            floor=self.floor,
            floor_from=self.floor_from,
            preference=self.preference,
            ranked=self.ranked,
            candidates=self.candidates,
            barred=self.barred,
            unknown_preference=None if hint.preference in PREFERENCES else hint.preference,
        )
        return _encode(record).decode()

    def refusal(self) -> tuple[RoutingStatus | None, AinfError]:
        """Return why nothing is ranked: the outcome's status, and what the client is told.

        The reason is the last filter that any candidate came to. Where the key may use no model of the target, nothing
        was decided, and there is no outcome to write (None).
        """
        assert not self.ranked, "there is a model to try"
        return refused(self.target, self.floor, self.hint, self.candidates)


def decide(ruleset: Ruleset, need: Need, hint: Hint, seen: Mapping[str, Seen], *, requested: str) -> Decision:
    """Return which models of a target to try for a request, in which order, and why.

    What answers showed of the models counts where the rules say so and it leaves one to try. Where it leaves none, it
    counts for nothing: a model that is not asked any more can show nothing better, and one client's answers would
    refuse all others.

    Args:
        ruleset: the target's models as they are rated, its floor and the rules.
        need: what the request needs of a model.
        hint: what the client says about the choice.
        seen: the models at this moment, by name; the key may not use one that is missing.
        requested: the name that the client asked for.
    """
    rules = ruleset.rules
    decision = _decided(ruleset, rules, need, hint, seen, requested)
    if decision.ranked or not rules.learning:
        return decision
    unlearnt = _decided(ruleset, attrs.evolve(rules, learning=False), need, hint, seen, requested)
    return unlearnt if unlearnt.ranked else decision


def _decided(
    ruleset: Ruleset, rules: Rules, need: Need, hint: Hint, seen: Mapping[str, Seen], requested: str
) -> Decision:
    floor, floor_from, preference = _floor(ruleset, hint)
    scales = scales_for(need, rules, floor, hint.max_cost_nusd)
    candidates: list[Candidate] = []
    barred: list[str] = []
    prices: list[Price] = []
    standing: list[tuple[int, int, str]] = []
    priors = ruleset.priors(hint.task_type)
    for model, lacks, prior in zip(ruleset.models, ruleset.lacks, priors, strict=True):
        state = seen.get(model.name)
        if state is None or not state.allowed:
            barred.append(model.name)
            continue
        candidate = weigh(scales, model, lacks, prior, state)
        candidates.append(candidate)
        prices.append(state.price)
        if candidate.fell is None:
            latency = _UNKNOWN_LATENCY if candidate.latency_ms is None else candidate.latency_ms
            standing.append((candidate.cost_nusd, latency, model.name))
    return Decision(
        ruleset=ruleset,
        requested=requested,
        need=need,
        hint=hint,
        floor=floor,
        floor_from=floor_from,
        preference=preference,
        ranked=tuple([name for _, _, name in sorted(standing)]),
        candidates=tuple(candidates),
        barred=tuple(barred),
        prices=tuple(prices),
    )


def _floor(ruleset: Ruleset, hint: Hint) -> tuple[int, str, str]:
    """Return the floor, where it is from, and the preference that took effect."""
    if hint.min_quality is not None:
        return hint.min_quality, "hint", _BALANCED
    default, preference = ruleset.floor, hint.preference
    if ruleset.rules.preference_live and preference in DIAL:
        moved = _moved(default, DIAL[preference])
        if moved != default:
            return moved, "dial", preference
    return default, "default", _BALANCED


def _moved(floor: int, step: int) -> int:
    """Return the floor moved by a step, but not out of the dial's range, nor further out of it."""
    if step > 0:
        return min(floor + step, max(floor, DIAL_MOST))
    return max(floor + step, min(floor, DIAL_LEAST))
