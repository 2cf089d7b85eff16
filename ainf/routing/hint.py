"""What a client may ask of the choice of its model: ``routing_hint`` in the request's body, in every protocol.

Numbers are read as they were written, never as sums of binary fractions, and rounded to the side of what was asked for:
a floor up, a promise of cost down.
"""

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from types import MappingProxyType
from typing import Any, Final

import attrs

from ainf.formats.fields import optional, path_of, unsupported, wrong_type, wrong_value
from ainf.inference.money import NANO_PER_USD

FIELD: Final = "routing_hint"
TIERS: Final[Mapping[str, int]] = MappingProxyType({"good": 500, "frontier": 850})
"""Floors by name, in thousandths."""
PREFERENCES: Final = ("quality", "balanced", "cost")
"""What the dial can be set to; anything else is taken for "balanced"."""
LONGEST_WORD: Final = 64
"""The most characters of a task type or a preference."""
MOST_USD: Final = 1_000_000_000
"""The highest promise of cost."""

# With the digits of a decimal context: no product of such a number with a power of ten is ever rounded.
_USD: Final = re.compile(rf"{MOST_USD}|[0-9]{{1,9}}(\.[0-9]{{1,18}})?")


@attrs.frozen
class Hint:
    """What was asked; None: nothing was said about it."""

    min_quality: int | None = None
    """The floor, in thousandths."""
    max_cost_nusd: int | None = None
    """What the inference may cost at most."""
    task_type: str | None = None
    preference: str | None = None
    """As it was sent, known or not."""


NO_HINT: Final = Hint()


def parse_hint(value: object) -> Hint:
    """Return what ``routing_hint`` asks; null, there or for one of its fields, asks nothing.

    Raises:
        DownstreamError: ``invalid_type``, ``invalid_value``, or ``unsupported_parameter`` for a name that is not
            known; ``param`` is ``routing_hint`` or ``routing_hint.NAME``.
    """
    if value is None:
        return NO_HINT
    if not isinstance(value, dict):
        raise wrong_type(FIELD, dict)
    if unknown := value.keys() - _PROPERTIES.keys():
        raise unsupported(path_of(FIELD, min(unknown)), f"known are {', '.join(_PROPERTIES)}")
    return Hint(
        min_quality=_quality(optional(value, "min_quality", float, str, at=FIELD)),
        max_cost_nusd=_cost(optional(value, "max_cost", float, str, at=FIELD)),
        task_type=_word(value, "task_type"),
        preference=_word(value, "routing_preference"),
    )


def _quality(said: float | str | None) -> int | None:
    if said is None:
        return None
    if isinstance(said, str):
        if said not in TIERS:
            raise _wrong("min_quality", f"a number from 0 to 1, or {' or '.join(map(repr, TIERS))}")
        return TIERS[said]
    if not 0 <= said <= 1:
        raise _wrong("min_quality", "from 0 to 1")
    return int((_decimal(said) * 1000).to_integral_value(ROUND_CEILING))


def _cost(said: float | str | None) -> int | None:
    if said is None:
        return None
    if isinstance(said, str):
        if not _USD.fullmatch(said):
            raise _wrong("max_cost", f'a decimal number of US dollars such as "0.15", up to {MOST_USD}')
        amount = Decimal(said)
    elif 0 <= said <= MOST_USD:
        amount = _decimal(said)
    else:
        raise _wrong("max_cost", f"from 0 to {MOST_USD} US dollars")
    return int((amount * NANO_PER_USD).to_integral_value(ROUND_FLOOR))


def _decimal(number: float) -> Decimal:
    """Return the shortest decimal that is read as this number: what the client wrote, up to 17 digits."""
    return Decimal(repr(number))


def _word(fields: Mapping[str, Any], name: str) -> str | None:
    word: str | None = optional(fields, name, str, at=FIELD)
    if word is not None and not (0 < len(word) <= LONGEST_WORD and word.isprintable()):
        raise _wrong(name, f"1 to {LONGEST_WORD} printable characters")
    return word


def _wrong(name: str, words: str) -> Exception:
    return wrong_value(path_of(FIELD, name), words)


_WORD: Final = {
    "type": ["string", "null"],
    "minLength": 1,
    "maxLength": LONGEST_WORD,
    "pattern": r"^[^\x00-\x1f\x7f]*$",
}
_PROPERTIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "min_quality": {
        "anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"enum": [*TIERS]}, {"type": "null"}],
        "description": "The quality that a model must have to be chosen; it wins over `routing_preference`. "
        + ", ".join(f"`{name}` is {floor / 1000:.2f}" for name, floor in TIERS.items())
        + "; more than three decimals are rounded up.",
    },
    "max_cost": {
        "anyOf": [
            {"type": "number", "minimum": 0, "maximum": MOST_USD},
            {"type": "string", "pattern": f"^({_USD.pattern})$"},
            {"type": "null"},
        ],
        "description": "US dollars that the inference may cost at most: a model that is expected to cost more is not "
        "chosen, and the output is limited so that the rest is kept. Rounded down to a billionth.",
    },
    "task_type": {
        **_WORD,
        "description": "What kind of task it is, such as `code`: models rated for it are compared by that rating.",
    },
    "routing_preference": {
        **_WORD,
        "description": f"{', '.join(f'`{name}`' for name in PREFERENCES)}: moves the floor by 0.10 where `min_quality` "
        "is not given and the gateway has it switched on. Anything else is taken for `balanced`.",
    },
}
HINT_SCHEMA: Final[Mapping[str, Any]] = {
    "type": ["object", "null"],
    "description": "What to mind in the choice of a model, where `model` names a routing target.",
    "properties": _PROPERTIES,
    "additionalProperties": False,
}
"""JSON Schema (draft 2020-12) of it."""
