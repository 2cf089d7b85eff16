"""Why no model of a target can be tried: in words for the client, and in one for the record."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, Final

from ainf.formats.fields import path_of
from ainf.inference.errors import AinfError, DownstreamError, RoutingError
from ainf.inference.money import format_usd
from ainf.routing.candidates import Candidate, Filter
from ainf.routing.hint import FIELD, Hint
from ainf.routing.outcome import RoutingStatus
from ainf.routing.ruleset import THOUSAND

LONGEST_WAIT_S: Final = 60
"""The longest that a client is told to wait before it asks again."""

_WANTING: Final[Mapping[Filter, tuple[str, str | None]]] = {
    Filter.TOOLS: ("take no tools", "tools"),
    Filter.STREAMING: ("do not stream", "stream"),
    Filter.ATTACHMENTS: ("do not take these kinds of attachments", None),
    Filter.STORED: ("are not where the stored response is", "previous_response_id"),
    Filter.CONTEXT: ("have a context window that this does not fit", None),
}
"""What is said of models that fell at it, and the field that asks for it, where all protocols name that alike."""


def refused(
    target: str, floor: int, hint: Hint, candidates: Sequence[Candidate]
) -> tuple[RoutingStatus | None, AinfError]:
    """Return the outcome's status (None: there is no outcome) and what the client is told.

    The reason is the last filter that any candidate came to: who fell there was nearest to be chosen.

    Args:
        target: its canonical name.
        floor: that was in force, in thousandths.
        hint: what the client said about the choice.
        candidates: all that the key may use; each of them fell.
    """
    fallen = Counter(candidate.fell for candidate in candidates if candidate.fell is not None)
    if not fallen:
        message = f"This key has no right to any model of {target!r}."
        return None, DownstreamError("not_permitted", message, param="model")
    reason = max(fallen, key=list(Filter).index)
    nearest = [candidate for candidate in candidates if candidate.fell is reason]
    said: dict[str, Any] = {"target": target, "candidates": len(candidates), "floor": floor / THOUSAND}
    said["fell"] = {filter_: fallen[filter_] for filter_ in Filter if fallen[filter_]}
    match reason:
        case Filter.RESTING:
            return RoutingStatus.REJECTED_UNAVAILABLE, _all_rest(target, nearest, said)
        case Filter.COST:
            return RoutingStatus.REJECTED_COST, _too_dear(target, hint, nearest, said)
        case Filter.FLOOR:
            return RoutingStatus.REJECTED_FLOOR, _below_floor(target, hint, nearest, said)
        case _:
            return RoutingStatus.REJECTED_ABILITY, _unable(target, fallen, said)


def _all_rest(target: str, resting: Sequence[Candidate], said: dict[str, Any]) -> RoutingError:
    soonest_s = ceil(min(candidate.rests_ms or 0 for candidate in resting) / 1000)
    wait_s = min(max(soonest_s, 1), LONGEST_WAIT_S)
    return RoutingError(
        "all_candidates_failed",
        f"The models of {target!r} that could answer have failed so often of late that they are let rest; ask again in "
        f"{wait_s} s.",
        retry_after_s=wait_s,
        details={"routing": said},
    )


def _too_dear(target: str, hint: Hint, dear: Sequence[Candidate], said: dict[str, Any]) -> RoutingError:
    param = path_of(FIELD, "max_cost")
    said["least_cost"] = format_usd(min(candidate.cost_nusd for candidate in dear))
    return _no_candidate(
        f"No model of {target!r} that can do this and clears the quality floor is expected to cost as little as "
        f"{format_usd(hint.max_cost_nusd or 0)} USD; the cheapest is expected to cost {said['least_cost']} USD. Raise "
        f"`{param}`, or ask for less.",
        param,
        said,
    )


def _below_floor(target: str, hint: Hint, poor: Sequence[Candidate], said: dict[str, Any]) -> RoutingError:
    param = path_of(FIELD, "min_quality")
    best = said["best_quality"] = max(candidate.quality for candidate in poor) / THOUSAND
    own = hint.min_quality is not None
    todo = f"Lower `{param}`" if own else f"Send a `{param}` of {best:g} or less"
    return _no_candidate(
        f"No model of {target!r} that can do this clears the quality floor of {said['floor']:g}; the best has "
        f"{best:g}. {todo}, or name a model.",
        param if own else None,
        said,
    )


def _unable(target: str, fallen: Counter[Filter], said: dict[str, Any]) -> RoutingError:
    wanting = ", ".join(f"{count} {_WANTING[filter_][0]}" for filter_, count in said["fell"].items())
    params = {_WANTING[filter_][1] for filter_ in fallen}
    return _no_candidate(
        f"No model of {target!r} that this key may use can do what is asked (of {said['candidates']}: {wanting}). Ask "
        "for less, or name a model that can.",
        params.pop() if len(params) == 1 else None,
        said,
    )


def _no_candidate(message: str, param: str | None, said: dict[str, Any]) -> RoutingError:
    return RoutingError("no_candidate", message, param=param, details={"routing": said})
